"""A large ntuple for timing: radiative e+e- -> gamma gamma (gamma) with soft clusters.

Toy kinematics (no matrix element), but the shape of real input: 3.8 photon candidates per event,
canonical names, doubles, 30 branches besides the counters. Deterministic.
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from alp_coffea.physics.beams import SUPERKEKB

PHOTON_FIELDS = (
    *("E", "theta", "phi", "clusterE", "clusterTheta", "clusterPhi", "clusterTiming"),
    *("clusterErrorTiming", "clusterNHits", "clusterZernikeMVA", "clusterE1E9", "minC2TDist"),
    *("beamBackgroundSuppression", "clusterReg"),
)
TRACK_FIELDS = (
    *("charge", "p", "pt", "theta", "phi", "dr", "dz", "nCDCHits", "electronID", "muonID"),
    "clusterE",
)
#: Share of events with a hard third photon, and mean number of soft clusters.
THREE_PHOTONS, SOFT_CLUSTERS = 0.3, 1.65
BATCH = 125_000


def hard_photons(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Lab (E, theta, phi) of three massless particles in a plane, shape (n, 3); E = 0 for none."""
    s = SUPERKEKB.sqrt_s
    three = rng.random(n) < THREE_PHOTONS
    # energies flat in the Dalitz triangle; two back-to-back photons otherwise
    a, b = np.sort(rng.random((2, n)), axis=0)
    x = np.stack([1 - a, 1 - (b - a), b], axis=1)
    x[~three] = (1.0, 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cos12 = 1 - 2 * (1 - x[:, 2]) / (x[:, 0] * x[:, 1])
        cos13 = 1 - 2 * (1 - x[:, 1]) / (x[:, 0] * x[:, 2])
    angle = np.stack([np.zeros(n), np.arccos(np.clip(cos12, -1, 1)), np.zeros(n)], axis=1)
    angle[:, 2] = -np.arccos(np.clip(np.nan_to_num(cos13, nan=1.0), -1, 1))
    # a random plane
    axis = rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    other = np.cross(axis, rng.normal(size=(n, 3)))
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    direction = (
        np.cos(angle)[:, :, None] * axis[:, None] + np.sin(angle)[:, :, None] * other[:, None]
    )
    p4 = np.concatenate([np.ones((n, 3, 1)), direction], axis=2) * (0.5 * s * x)[:, :, None]
    lab = SUPERKEKB.to_lab(p4)
    energy = lab[..., 0] * (1 + rng.normal(scale=0.02, size=(n, 3)))
    theta = np.arctan2(np.hypot(lab[..., 1], lab[..., 2]), lab[..., 3])
    return energy, theta, np.arctan2(lab[..., 2], lab[..., 1])


def batch(rng: np.random.Generator, n: int, first: int) -> dict[str, object]:
    """Columns of ``n`` events, numbered from ``first``."""
    hard = hard_photons(rng, n)
    soft = rng.poisson(SOFT_CLUSTERS, n)
    seen = (hard[0] > 0.02) & (hard[1] > 0.22) & (hard[1] < 2.6)
    count = seen.sum(axis=1) + soft
    total = int(count.sum())
    event = np.concatenate([np.nonzero(seen)[0], np.repeat(np.arange(n), soft)])
    order = np.argsort(event, kind="stable")
    k = int(soft.sum())
    noise = (
        0.02 + rng.exponential(0.06, k),
        np.arccos(rng.uniform(-0.85, 0.97, k)),
        rng.uniform(-np.pi, np.pi, k),
    )
    columns = [np.concatenate([h[seen], s])[order] for h, s in zip(hard, noise, strict=True)]
    energy, theta, phi = columns
    gamma = {
        "E": energy,
        "theta": theta,
        "phi": phi,
        "clusterE": energy,
        "clusterTheta": theta,
        "clusterPhi": phi,
        "clusterTiming": rng.normal(scale=3.0, size=total),
        "clusterErrorTiming": rng.uniform(2.0, 8.0, total),
        "clusterNHits": 1.0 + rng.poisson(8 * np.sqrt(energy)),
        "clusterZernikeMVA": rng.beta(8, 1, total),
        "clusterE1E9": rng.uniform(0.3, 1.0, total),
        "minC2TDist": rng.uniform(0, 250, total),
        "beamBackgroundSuppression": rng.random(total),
        "clusterReg": np.where(theta < 0.55, 1.0, np.where(theta < 2.25, 2.0, 3.0)),
    }
    tracks = rng.poisson(0.1, n)
    t = int(tracks.sum())
    track = {name: rng.normal(size=t) for name in TRACK_FIELDS}
    track |= {"dr": rng.exponential(3.0, t), "dz": rng.normal(scale=10.0, size=t)}
    track |= {"nCDCHits": np.rint(rng.uniform(0, 60, t))}
    return {
        "__experiment__": np.full(n, 3, np.int32),
        "__run__": np.full(n, 1, np.int32),
        "__event__": np.arange(first, first + n, dtype=np.int32),
        "__production__": np.zeros(n, np.int32),
        "weight": np.ones(n),
        "gamma": _jagged(gamma, PHOTON_FIELDS, count),
        "track": _jagged(track, TRACK_FIELDS, tracks),
    }


def _jagged(columns: dict[str, np.ndarray], fields: tuple[str, ...], counts: np.ndarray) -> object:
    record = ak.contents.RecordArray(
        [ak.contents.NumpyArray(columns[name]) for name in fields], list(fields)
    )
    offsets = ak.index.Index64(np.concatenate([[0], np.cumsum(counts)]))
    return ak.Array(ak.contents.ListOffsetArray(offsets, record))


def write_sample(path: Path, events: int, *, basket: int | None = None, seed: int = 1) -> Path:
    """A TTree ``events``, ZLIB level 1; baskets of one batch (1 MB), or of ``basket`` bytes."""
    rng = np.random.default_rng(seed)
    step = BATCH // 4 if basket is None else max(int(basket / (3.8 * 8)), 1)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        tree = None
        for start in range(0, events, BATCH):
            content = batch(rng, min(BATCH, events - start), start)
            if tree is None:
                types = {
                    name: column.dtype if isinstance(column, np.ndarray) else column.type.content
                    for name, column in content.items()
                }
                tree = file.mktree(
                    "events",
                    types,
                    counter_name=lambda counted: f"n_{counted}",
                    field_name=lambda outer, inner: f"{outer}_{inner}" if outer else inner,
                    initial_basket_capacity=events // step + 10,
                )
            length = len(content["weight"])
            for low in range(0, length, step):
                tree.extend({k: v[low : low + step] for k, v in content.items()})
    return path
