"""Candidates made of several objects of an event: all combinations, and the best of each event."""

from __future__ import annotations

from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Combinations(NamedTuple):
    """Candidates, flat: position of each one's event in the chunk (n,), and its objects by name."""

    event: NDArray[np.int64]
    objects: ak.Array

    def where(self, chosen: NDArray[np.bool_ | np.integer]) -> Combinations:
        """Those of a mask (n,) or of positions (m,)."""
        return Combinations(self.event[chosen], self.objects[chosen])

    def column(self, field: str, *names: str) -> Array:
        """A field of the objects of these names, shape (n, len(names))."""
        columns = [ak.to_numpy(self.objects[name, field]) for name in names]
        return np.stack(columns, axis=1).astype(np.float64)

    def events_with(self, passed: NDArray[np.bool_], events: int) -> NDArray[np.bool_]:
        """Which of so many events have a candidate that ``passed`` (n,)."""
        found = np.zeros(events, dtype=bool)
        found[self.event[passed]] = True
        return found

    def best(self, distance: Array) -> Combinations:
        """Of each event the candidate of the smallest ``distance`` (n,), first of equals."""
        order = np.lexsort((distance, self.event))
        _, first = np.unique(self.event[order], return_index=True)
        return self.where(order[first])


def combine(event: NDArray[np.int64], **lists: ak.Array) -> Combinations:
    """Every combination of one entry of each list; lists have one row per ``event`` (positions).

    Entries are objects named by their list, or tuples of named objects, as
    ``ak.combinations(photons, 2, fields=["first", "second"])`` makes them.

    >>> pairs = ak.combinations(ak.Array([[{"E": 1}, {"E": 2}], []]), 2, fields=["a", "b"])
    >>> electrons = ak.Array([[{"p": 3}, {"p": 5}], [{"p": 6}]])
    >>> found = combine(np.array([4, 7]), pair=pairs, e=electrons)
    >>> found.event, found.column("E", "a", "b").tolist(), found.column("p", "e")[:, 0]
    (array([4, 4]), [[1.0, 2.0], [1.0, 2.0]], array([3., 5.]))
    """
    product = ak.cartesian(lists)
    flat = ak.flatten(product)
    objects: dict[str, ak.Array] = {}
    for name in lists:
        entries = flat[name]
        inner = [f for f in entries.fields if entries[f].fields]
        objects |= {f: entries[f] for f in inner} if inner else {name: entries}
    return Combinations(
        np.repeat(event, ak.to_numpy(ak.num(product))), ak.zip(objects, depth_limit=1)
    )
