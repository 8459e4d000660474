"""The same events in the two layouts that basf2 itself writes.

``event_trees``: ``VariablesToEventBasedTree``, one tree per particle list, unprefixed jagged
branches. ``candidates``: ``VariablesToNtuple``, one row per three-photon candidate, three per
photon triple, made as the public ALP3Gamma skim makes them; events without candidate leave no
trace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alp_coffea.physics.beams import Beams
from alp_coffea.simulation.columns import Table
from alp_coffea.simulation.writer import RootWriter, offsets, records

Array = NDArray[np.float64]

#: tree of each particle list
LIST_TREES: Final = {"gamma": "photons", "track": "tracks", "mc": "mcparticles"}
#: tree of candidate rows, the usual name in user scripts
ROWS_TREE: Final = "variables"
_IDENTITY: Final = ("__experiment__", "__run__", "__event__", "__production__")

# The ALP3Gamma skim (basf2 skim/scripts/skim/WGs/dark.py): photons of the ALP in the drift
# chamber's acceptance, all above 0.1 GeV, 0.80 < m(3 gamma)/sqrt(s) < 1.05.
_ENERGY_MIN: Final = 0.1
_THETA_MIN: Final = 0.296706
_THETA_MAX: Final = 2.61799
_MASS_MIN: Final = 0.80
_MASS_MAX: Final = 1.05


class EventTreesWriter(RootWriter):
    """One tree per particle list with basf2's counters and types."""

    def __init__(self, path: Path, beams: Beams) -> None:
        super().__init__(path)
        self._sqrt_s = beams.sqrt_s

    def write(self, table: Table) -> None:
        """Append a batch to every tree."""
        size = table.event["weight"].size
        event: dict[str, NDArray[Any]] = {
            name: table.event[name] for name in ("__event__", "__run__", "__experiment__")
        }
        event["__production__"] = table.event["__production__"]
        event["__weight__"] = np.ones(size, np.float32)
        event["generatorEventWeight"] = table.event["weight"]
        event["Ecms"] = np.full(size, self._sqrt_s)
        for prefix, fields in table.collections.items():
            columns = {**event, "list": records(fields, table.counts[prefix])}
            name = LIST_TREES[prefix]
            if name not in self.trees:
                types = {key: values.dtype for key, values in event.items()}
                types["list"] = columns["list"].type.content
                self.trees[name] = self.file.mktree(
                    name,
                    types,
                    counter_name=lambda _: "__ncandidates__",
                    field_name=lambda outer, inner: inner if outer in ("", "list") else outer,
                )
            self.trees[name].extend(columns)


class CandidatesWriter(RootWriter):
    """One row per candidate with basf2's counters and types; photons as user aliases."""

    def __init__(self, path: Path, beams: Beams) -> None:
        super().__init__(path)
        self._sqrt_s = beams.sqrt_s

    def write(self, table: Table) -> None:
        """Append the candidates of a batch."""
        rows = candidate_rows(table, self._sqrt_s)
        if ROWS_TREE not in self.trees:
            types = {name: values.dtype for name, values in rows.items()}
            self.trees[ROWS_TREE] = self.file.mktree(ROWS_TREE, types)
        if rows["__candidate__"].size:
            self.trees[ROWS_TREE].extend(rows)


def candidate_rows(table: Table, sqrt_s: float) -> dict[str, NDArray[Any]]:
    """Columns of candidate rows: ``ALP_gamma0_*``, ``ALP_gamma1_*`` and ``recoil_*`` per photon."""
    photons = table.collections["gamma"]
    counts = table.counts["gamma"]
    p4 = _massless(photons["E"], photons["theta"], photons["phi"])
    number = counts * (counts - 1) * (counts - 2) // 2
    found = np.empty((int(number.sum()), 5), np.int64)
    used = _candidates(offsets(counts), p4, photons["theta"], sqrt_s, found)
    event, candidate, *slots = found[:used].T
    rows: dict[str, NDArray[Any]] = {name: table.event[name][event] for name in _IDENTITY}
    rows["__event__"] = rows["__event__"].astype(np.uint32)
    rows["__candidate__"] = candidate.astype(np.int32)
    rows["__ncandidates__"] = np.bincount(event, minlength=counts.size)[event].astype(np.int32)
    rows["__weight__"] = np.ones(used)
    rows["generatorEventWeight"] = table.event["weight"][event]
    rows["Ecms"] = np.full(used, sqrt_s)
    rows["nTracks"] = table.counts["track"][event].astype(np.float64)
    rows["InvM"] = _mass(p4[slots[0]] + p4[slots[1]] + p4[slots[2]])
    rows["ALP_InvM"] = _mass(p4[slots[0]] + p4[slots[1]])
    for alias, slot in zip(("ALP_gamma0", "ALP_gamma1", "recoil"), slots, strict=True):
        rows |= {f"{alias}_{name}": values[slot] for name, values in photons.items()}
    return rows


def _massless(energy: Array, theta: Array, phi: Array) -> Array:
    pt = energy * np.sin(theta)
    return np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), energy * np.cos(theta)], axis=-1)


def _mass(p4: Array) -> Array:
    mass2 = p4[:, 0] ** 2 - np.sum(p4[:, 1:] ** 2, axis=1)
    return np.asarray(np.sqrt(np.maximum(mass2, 0.0)))


@njit(cache=True)
def _candidates(starts, p4, theta, sqrt_s, found):  # type: ignore[no-untyped-def]
    """Rows (event, candidate, first, second, recoil); returns their number."""
    used = 0
    for event in range(starts.size - 1):
        before = used
        for recoil in range(starts[event], starts[event + 1]):
            if p4[recoil, 0] < _ENERGY_MIN:
                continue
            for a in range(starts[event], starts[event + 1]):
                if a == recoil or not _usable(p4[a, 0], theta[a]):
                    continue
                for b in range(a + 1, starts[event + 1]):
                    if b == recoil or not _usable(p4[b, 0], theta[b]):
                        continue
                    total = p4[a] + p4[b] + p4[recoil]
                    mass2 = total[0] ** 2 - total[1] ** 2 - total[2] ** 2 - total[3] ** 2
                    if not (_MASS_MIN * sqrt_s) ** 2 <= mass2 <= (_MASS_MAX * sqrt_s) ** 2:
                        continue
                    found[used, 0] = event
                    found[used, 1] = used - before
                    found[used, 2] = a
                    found[used, 3] = b
                    found[used, 4] = recoil
                    used += 1
    return used


@njit(cache=True)
def _usable(energy, theta):  # type: ignore[no-untyped-def]
    return energy >= _ENERGY_MIN and _THETA_MIN <= theta <= _THETA_MAX
