"""Named cuts and the cutflow they leave behind.

A :class:`Selection` applies one named cut after the other to a chunk of events and books each
step in a :class:`Cutflow`, which merges over chunks, files and workers.

>>> import numpy as np
>>> cutflow = Cutflow()
>>> selection = Selection(cutflow, "demo", weight=np.array([1.0, 2.0, 1.0]))
>>> selection.cut("energy", np.array([True, True, False]))
>>> selection.cut("angle", np.array([True, False, True]))
>>> [(step.cut, step.events, step.weighted) for step in cutflow.steps("demo")]
[('all', 3, 4.0), ('energy', 2, 3.0), ('angle', 1, 1.0)]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from coffea.processor import AccumulatorABC
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError


class Step(NamedTuple):
    """One row of a cutflow: events passing this and all earlier cuts of its flow.

    ``weighted`` is the sum of event weights, ``error`` the root of the sum of their squares.
    """

    flow: str
    step: int
    cut: str
    events: int
    weighted: float
    error: float


class Cutflow(AccumulatorABC):
    """Counts of events after each named cut, for one or several parallel flows of cuts.

    Event counts are exact integers; weighted sums agree for any chunking to rounding (1e-12).
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, float, float]] = {}

    def book(self, flow: str, cut: str, events: int, sum_w: float, sum_w2: float) -> None:
        """Add events to a step; a new step comes after those already in its flow."""
        n, w, w2 = self._counts.get((flow, cut), (0, 0.0, 0.0))
        self._counts[flow, cut] = (n + events, w + sum_w, w2 + sum_w2)

    def flows(self) -> list[str]:
        """Names of the flows in order of first booking."""
        return list(dict.fromkeys(flow for flow, _ in self._counts))

    def steps(self, flow: str) -> list[Step]:
        """Steps of one flow in order of application."""
        rows = [(cut, *c) for (name, cut), c in self._counts.items() if name == flow]
        return [
            Step(flow, number, cut, events, sum_w, math.sqrt(sum_w2))
            for number, (cut, events, sum_w, sum_w2) in enumerate(rows)
        ]

    def __iter__(self) -> Iterator[Step]:
        for flow in self.flows():
            yield from self.steps(flow)

    def identity(self) -> Cutflow:
        """An empty cutflow."""
        return Cutflow()

    def add(self, other: Cutflow) -> None:
        """Merge another cutflow in place."""
        for (flow, cut), counts in other._counts.items():
            self.book(flow, cut, *counts)

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as plain dictionaries, see :meth:`from_json`."""
        return [
            {"flow": flow, "cut": cut, "events": n, "sum_w": w, "sum_w2": w2}
            for (flow, cut), (n, w, w2) in self._counts.items()
        ]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> Cutflow:
        """Inverse of :meth:`to_json`."""
        cutflow = cls()
        for row in rows:
            cutflow.book(**row)
        return cutflow


class Selection:
    """Cuts applied in order to one chunk of events.

    Parameters
    ----------
    cutflow
        Where steps are booked.
    flow
        Name of this sequence of cuts.
    weight
        Event weights, shape (n,).
    """

    def __init__(self, cutflow: Cutflow, flow: str, *, weight: ArrayLike) -> None:
        self._cutflow = cutflow
        self._flow = flow
        self._weight = np.asarray(weight, dtype=np.float64)
        #: Events passing all cuts so far, shape (n,).
        self.mask: NDArray[np.bool_] = np.ones(len(self._weight), dtype=bool)
        self._book("all")

    def cut(self, name: str, passed: ArrayLike) -> None:
        """Apply one cut, shape (n,); a comparison with NaN is False, so bad events fail.

        Raises PhysicsError when the mask does not have one entry per event or is not boolean.
        """
        passed = np.asarray(passed)
        if passed.shape != self.mask.shape or passed.dtype != np.bool_:
            raise PhysicsError(
                f"cut '{name}' of '{self._flow}': need booleans of shape {self.mask.shape}, "
                f"got {passed.dtype} of shape {passed.shape}"
            )
        self.mask = self.mask & passed
        self._book(name)

    def _book(self, name: str) -> None:
        weight = self._weight[self.mask]
        self._cutflow.book(
            self._flow, name, len(weight), float(weight.sum()), float(weight @ weight)
        )
