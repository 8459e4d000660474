"""Detected events as the branches of the canonical ntuple, basf2's names and conventions.

A *table* is a dict of arrays: event-level columns of shape (n,), collections as dicts of flat
arrays beside their counts per event. Lab frame, GeV, rad, ns, cm; missing values are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.physics.beams import Beams
from alp_coffea.simulation.constants import PHOTON
from alp_coffea.simulation.detector import CLUSTER_COLUMNS, TRACK_COLUMNS, DetectedEvents
from alp_coffea.simulation.generator import GeneratedEvents

#: fields of photon candidates and tracks in data and simulation
PHOTON_FIELDS = (
    "E",
    "theta",
    "phi",
    "clusterE",
    "clusterTheta",
    "clusterPhi",
    "clusterTiming",
    "clusterErrorTiming",
    "clusterNHits",
    "clusterZernikeMVA",
    "clusterE1E9",
    "minC2TDist",
    "beamBackgroundSuppression",
    "clusterReg",
)
TRACK_FIELDS = (
    "charge",
    "p",
    "pt",
    "theta",
    "phi",
    "dr",
    "dz",
    "nCDCHits",
    "electronID",
    "muonID",
    "clusterE",
    "clusterTiming",
    "clusterErrorTiming",
    "d0",
    "z0",
    "clusterTheta",
    "clusterPhi",
    "helixExtTheta",
    "helixExtPhi",
    "clusterTrackMatch",
    "ptErr",
    "thetaErr",
    "phiErr",
)


@dataclass(frozen=True)
class Table:
    """Columns of a batch of events: ``event`` per event, ``collections`` flat with ``counts``."""

    event: dict[str, NDArray[Any]]
    collections: dict[str, dict[str, NDArray[np.float64]]]
    counts: dict[str, NDArray[np.int64]]

    def select(self, keep: NDArray[np.bool_]) -> Table:
        """Only the events where ``keep``, shape (n,), is true."""
        objects = {prefix: np.repeat(keep, counts) for prefix, counts in self.counts.items()}
        return Table(
            {name: values[keep] for name, values in self.event.items()},
            {
                prefix: {name: values[objects[prefix]] for name, values in fields.items()}
                for prefix, fields in self.collections.items()
            },
            {prefix: counts[keep] for prefix, counts in self.counts.items()},
        )


@dataclass(frozen=True)
class Particles:
    """Generated particles of a batch, flat: ``p4`` (N, 4) CM frame, codes, and offsets (n + 1,)."""

    p4: NDArray[np.float64]
    pdg: NDArray[np.int64]
    mother: NDArray[np.int64]
    stable: NDArray[np.bool_]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, events: GeneratedEvents) -> Particles:
        """The particles of generated events of one process."""
        count, rows = events.p4.shape[:2]
        present = events.p4[:, :, 0] > 0.0
        keep = present.ravel()
        return cls(
            p4=events.p4.reshape(-1, 4)[keep],
            pdg=np.tile(np.array(events.pdg, np.int64), count)[keep],
            mother=np.tile(np.array(events.mother, np.int64), count)[keep],
            stable=np.tile(np.arange(rows) < events.final, count)[keep],
            offsets=np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64),
        )

    def between(self, first: int, last: int) -> Particles:
        """Events ``first`` to ``last``."""
        rows = slice(self.offsets[first], self.offsets[last])
        return Particles(
            p4=self.p4[rows],
            pdg=self.pdg[rows],
            mother=self.mother[rows],
            stable=self.stable[rows],
            offsets=self.offsets[first : last + 1] - self.offsets[first],
        )


def build(
    particles: Particles,
    detected: DetectedEvents,
    event: dict[str, NDArray[Any]],
    beams: Beams,
    *,
    truth: bool,
) -> Table:
    """The table of a batch; ``truth`` adds what only a simulation knows."""
    cluster = dict(zip(CLUSTER_COLUMNS, detected.clusters, strict=True))
    photon = {name: cluster[name] for name in PHOTON_FIELDS if name in cluster}
    photon |= {"clusterE": cluster["E"]}
    photon |= {"clusterTheta": cluster["theta"], "clusterPhi": cluster["phi"]}
    collections = {"gamma": {name: photon[name] for name in PHOTON_FIELDS}}
    counts = {"gamma": detected.cluster_counts}

    track = dict(zip(TRACK_COLUMNS, detected.tracks, strict=True))
    collections["track"] = {name: track[name] for name in TRACK_FIELDS}
    counts["track"] = detected.track_counts

    if truth:
        lab = beams.to_lab(particles.p4)
        energy = lab[:, 0]
        first = particles.offsets[:-1]
        matched, row = _match(cluster["truth"], np.repeat(first, detected.cluster_counts))
        pdg = _or_nan(matched, particles.pdg, row)
        collections["gamma"] |= {
            "mcPDG": pdg,
            "genMotherPDG": _or_nan(matched, particles.mother, row),
            "isSignal": np.where(matched, (pdg == PHOTON).astype(np.float64), np.nan),
            "mcE": _or_nan(matched, energy, row),
        }
        matched, row = _match(track["truth"], np.repeat(first, detected.track_counts))
        collections["track"] |= {"mcPDG": _or_nan(matched, particles.pdg, row)}
        collections["mc"] = {
            "PDG": particles.pdg.astype(np.float64),
            "E": energy,
            "theta": np.arctan2(np.hypot(lab[:, 1], lab[:, 2]), lab[:, 3]),
            "phi": _azimuth(lab),
            "genMotherPDG": particles.mother.astype(np.float64),
        }
        counts["mc"] = np.diff(particles.offsets)
    return Table(event, collections, counts)


def _match(
    truth: NDArray[np.float64], first: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether objects have a generated particle, and its row in the batch."""
    matched = truth >= 0
    return matched, np.where(matched, first + truth.astype(np.int64), 0)


def _or_nan(
    matched: NDArray[np.bool_], values: NDArray[Any], row: NDArray[np.int64]
) -> NDArray[np.float64]:
    if values.size == 0:
        return np.full(matched.shape, np.nan)
    return np.where(matched, values[row].astype(np.float64), np.nan)


def _azimuth(p4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Azimuth in (-pi, pi]."""
    phi = np.arctan2(p4[:, 2], p4[:, 1])
    return np.where(phi == -np.pi, np.pi, phi)
