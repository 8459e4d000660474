"""Candidate rows into events: one row per candidate becomes one list of objects per event.

A photon appears in several candidates of its event; it is kept once. Two entries are the same
object when their key columns are equal bit by bit (NaN equals NaN), which is what copies of one
value are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Objects:
    """Distinct objects of each event: ``counts`` (n_events,) and flat ``columns``.

    ``differing`` names the first column of which two copies of one object disagree, if any.
    """

    counts: Index
    columns: Mapping[str, Array]
    differing: str | None = None


def event_starts(identity: Sequence[NDArray[Any]]) -> Index:
    """Row at which each run of equal identities begins; arrays of shape (n_rows,)."""
    rows = len(identity[0])
    if rows == 0:
        return np.empty(0, np.int64)
    changed = np.zeros(rows, bool)
    changed[0] = True
    for column in identity:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def distinct_objects(
    starts: Index,
    slots: Mapping[str, Sequence[Array]],
    *,
    key: Sequence[str],
    same: Sequence[str] = (),
) -> Objects:
    """Distinct objects of each event, in order of first appearance (row by row, slot by slot).

    Parameters
    ----------
    starts
        First row of each event, ascending from 0.
    slots
        For each variable one float64 array (n_rows,) per slot.
    key
        Variables that identify an object.
    same
        Variables that must agree between all copies of an object.
    """
    variables = list(slots)
    width = len(slots[variables[0]])
    rows = len(slots[variables[0]][0])
    stacked = {name: _stack(slots[name], rows) for name in variables}
    bounds = np.append(starts, rows).astype(np.int64)
    keys = tuple(stacked[name].view(np.int64) for name in key)
    first, counts, original = _first_appearances(bounds, width, keys)
    columns = {name: stacked[name].ravel()[first] for name in variables}
    differing = None
    for name in same:
        bits = stacked[name].view(np.int64).ravel()
        if not np.array_equal(bits, bits[original]):
            differing = name
            break
    return Objects(counts, columns, differing)


def _stack(columns: Sequence[Array], rows: int) -> Array:
    stacked = np.empty((len(columns), rows))
    for slot, column in enumerate(columns):
        stacked[slot] = column
    return stacked


@njit(cache=True)
def _first_appearances(bounds, width, keys):  # type: ignore[no-untyped-def]
    """Flat indices (slot * rows + row) of first appearances, their number per event, and for
    every entry the index of the object's first appearance."""
    rows = bounds[-1]
    first = np.empty(rows * width, np.int64)
    original = np.empty(rows * width, np.int64)
    counts = np.zeros(len(bounds) - 1, np.int64)
    total = 0
    for event in range(len(bounds) - 1):
        begin = total
        for row in range(bounds[event], bounds[event + 1]):
            for slot in range(width):
                found = -1
                for known in range(begin, total):
                    index = first[known]
                    equal = True
                    for key in keys:
                        if key[slot, row] != key[index // rows, index % rows]:
                            equal = False
                            break
                    if equal:
                        found = index
                        break
                if found < 0:
                    found = slot * rows + row
                    first[total] = found
                    total += 1
                original[slot * rows + row] = found
        counts[event] = total - begin
    return first[:total].copy(), counts, original
