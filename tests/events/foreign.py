"""Files in basf2's two foreign layouts, built from plain events for the conversion tests."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

PHOTON = (
    "E",
    "theta",
    "phi",
    "clusterE",
    "clusterTheta",
    "clusterPhi",
    "clusterTiming",
    "isSignal",
)


def make_events(n, seed=1, *, experiment=1003, mean=2.0, minimum=0, production=12):
    """Identity and jagged photons and tracks of ``n`` events."""
    rng = np.random.default_rng(seed)
    counts = minimum + rng.poisson(mean, n)
    total = counts.sum()
    flat = {
        "E": rng.uniform(0.1, 5, total),
        "theta": rng.uniform(0.3, 2.6, total),
        "phi": rng.uniform(-np.pi, np.pi, total),
        "clusterE": rng.uniform(0.1, 5, total),
        "clusterTheta": rng.uniform(0.3, 2.6, total),
        "clusterPhi": rng.uniform(-np.pi, np.pi, total),
        "clusterTiming": rng.normal(0, 10, total),
        "isSignal": rng.integers(0, 2, total).astype(float),
    }
    track_counts = rng.poisson(0.7, n)
    tracks = {
        "p": rng.uniform(0.1, 5, track_counts.sum()),
        "theta": rng.uniform(0.3, 2.6, track_counts.sum()),
        "phi": rng.uniform(-3, 3, track_counts.sum()),
        "dr": rng.normal(0, 1, track_counts.sum()),
        "dz": rng.normal(0, 2, track_counts.sum()),
        "nCDCHits": rng.integers(0, 50, track_counts.sum()).astype(float),
    }
    identity = {
        "__experiment__": np.full(n, experiment, np.int32),
        "__run__": np.sort(rng.integers(1, 20, n)).astype(np.int32),
        "__event__": np.arange(1, n + 1).astype(np.uint32),
        "__production__": np.full(n, production, np.int32),
    }
    return {
        "identity": identity,
        "photons": {name: ak.unflatten(v, counts) for name, v in flat.items()},
        "tracks": {name: ak.unflatten(v, track_counts) for name, v in tracks.items()},
        "Ecms": rng.normal(10.58, 0.005, n),
    }


def list_tree(
    file, name, columns, identity, scalars=None, *, ncandidates=None, counter="__count__"
):
    """A VariablesToEventBasedTree tree; ``ncandidates`` defaults to the true list lengths."""
    first = next(iter(columns.values()))
    scalars = dict(scalars or {})
    counts = ak.to_numpy(ak.num(first)).astype(np.int32)
    content = {**identity, **scalars, "__weight__": np.ones(len(counts), np.float32)}
    if ncandidates is None:
        counter = "__ncandidates__"
    else:
        content["__ncandidates__"] = np.asarray(ncandidates, np.int32)
    jagged = ak.zip(columns)
    types = {key: value.dtype for key, value in content.items()}
    types["list"] = jagged.type.content
    tree = file.mktree(
        name,
        types,
        counter_name=lambda _: counter,
        field_name=lambda outer, inner: inner if outer in ("", "list") else f"{outer}_{inner}",
    )
    tree.extend({**content, "list": jagged})


def take(event, index):
    """The events at ``index``."""
    return {
        "identity": {k: v[index] for k, v in event["identity"].items()},
        "photons": {k: v[index] for k, v in event["photons"].items()},
        "tracks": {k: v[index] for k, v in event["tracks"].items()},
        "Ecms": event["Ecms"][index],
    }


def write_lists(path: Path, event, tracks=None, **options):
    """Photon and track trees in one file; ``tracks`` may be other events."""
    with uproot.recreate(path) as file:
        list_tree(
            file, "photons", event["photons"], event["identity"], {"Ecms": event["Ecms"]}, **options
        )
        other = event if tracks is None else tracks
        list_tree(file, "tracks", other["tracks"], other["identity"])
    return path


def candidate_rows(event, rename=lambda slot, variable: f"ALP_gamma{slot}_{variable}"):
    """Columns of one row per (triple, recoil) as VariablesToNtuple writes three-photon candidates.

    Slots 0 and 1 are the ALP's photons, slot 2 the recoil photon.
    """
    rows, triples, number, total = [], [], [], []
    for entry, count in enumerate(ak.num(event["photons"]["E"]).to_list()):
        candidates = [
            (i, j, k)
            for triple in combinations(range(count), 3)
            for k in triple
            for i, j in [tuple(sorted(set(triple) - {k}))]
        ]
        rows += [entry] * len(candidates)
        triples += candidates
        number += range(len(candidates))
        total += [len(candidates)] * len(candidates)
    rows = np.array(rows, int)
    triples = np.array(triples, int).reshape(-1, 3)
    columns = {name: values[rows] for name, values in event["identity"].items()}
    columns["__candidate__"] = np.array(number, np.int32)
    columns["__ncandidates__"] = np.array(total, np.int32)
    columns["__weight__"] = np.ones(len(rows))
    columns["Ecms"] = event["Ecms"][rows]
    columns["ALP_M"] = np.arange(len(rows), dtype=float)
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(event["photons"]["E"])))])
    for name, values in event["photons"].items():
        flat = ak.to_numpy(ak.flatten(values))
        for slot in range(3):
            columns[rename(slot, name)] = flat[offsets[rows] + triples[:, slot]]
    return columns


def write_rows(path: Path, columns, tree="variables"):
    """A flat TTree."""
    with uproot.recreate(path) as file:
        file.mktree(tree, {name: values.dtype for name, values in columns.items()}).extend(columns)
    return path
