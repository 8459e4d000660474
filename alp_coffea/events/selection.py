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
>>> selection.all_but("energy")
array([ True, False,  True])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from coffea.processor import AccumulatorABC
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError

Mask = NDArray[np.bool_]


class Step(NamedTuple):
    """One row of a cutflow: events passing this and all earlier cuts of its flow.

    ``weighted`` is the sum of event weights, ``error`` the root of the sum of their squares;
    ``candidates`` counts passing candidates where the cut is on candidates, else None.
    """

    flow: str
    step: int
    cut: str
    events: int
    weighted: float
    error: float
    candidates: int | None = None


class _Counts(NamedTuple):
    events: int
    sum_w: float
    sum_w2: float
    candidates: int | None = None

    def plus(self, other: _Counts) -> _Counts:
        known = [c for c in (self.candidates, other.candidates) if c is not None]
        return _Counts(
            self.events + other.events,
            self.sum_w + other.sum_w,
            self.sum_w2 + other.sum_w2,
            sum(known) if known else None,
        )


class Cutflow(AccumulatorABC):
    """Counts of events after each named cut, for one or several parallel flows of cuts.

    Beside the steps it may hold, for each cut, the events that pass all *other* cuts of the flow
    (N-1). Event counts are exact integers; weighted sums agree for any chunking to rounding
    (1e-12).
    """

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], _Counts] = {}
        self._others: dict[tuple[str, str], _Counts] = {}

    def book(
        self,
        flow: str,
        cut: str,
        events: int,
        sum_w: float,
        sum_w2: float,
        candidates: int | None = None,
        *,
        n_minus_1: bool = False,
    ) -> None:
        """Add events to a step, or to the N-1 row of a cut.

        A new step comes after those already in its flow.
        """
        rows = self._others if n_minus_1 else self._steps
        counts = _Counts(events, sum_w, sum_w2, candidates)
        before = rows.get((flow, cut))
        rows[flow, cut] = counts if before is None else before.plus(counts)

    def flows(self) -> list[str]:
        """Names of the flows in order of first booking."""
        return list(dict.fromkeys(flow for flow, _ in self._steps))

    def steps(self, flow: str) -> list[Step]:
        """Steps of one flow in order of application."""
        return _rows(self._steps, flow)

    def n_minus_1(self, flow: str) -> dict[str, Step]:
        """By cut: events that pass all other cuts of the flow, where booked."""
        return {step.cut: step for step in _rows(self._others, flow)}

    def __iter__(self) -> Iterator[Step]:
        for flow in self.flows():
            yield from self.steps(flow)

    def identity(self) -> Cutflow:
        """An empty cutflow."""
        return Cutflow()

    def add(self, other: Cutflow) -> None:
        """Merge another cutflow in place."""
        for row in other.to_json():
            self.book(**row)

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as plain dictionaries, see :meth:`from_json`."""
        return [
            {"flow": flow, "cut": cut, **counts._asdict(), "n_minus_1": n_minus_1}
            for n_minus_1, rows in ((False, self._steps), (True, self._others))
            for (flow, cut), counts in rows.items()
        ]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> Cutflow:
        """Inverse of :meth:`to_json`."""
        cutflow = cls()
        for row in rows:
            cutflow.book(**row)
        return cutflow

    def _repr_html_(self) -> str:
        from alp_coffea.events.cutflow_tables import html_table

        return "".join(html_table(self, flow) for flow in self.flows())


def _rows(rows: dict[tuple[str, str], _Counts], flow: str) -> list[Step]:
    chosen = [(cut, counts) for (name, cut), counts in rows.items() if name == flow]
    return [
        Step(flow, number, cut, c.events, c.sum_w, math.sqrt(c.sum_w2), c.candidates)
        for number, (cut, c) in enumerate(chosen)
    ]


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
        self.mask: Mask = np.ones(len(self._weight), dtype=bool)
        self._required: Mask = np.ones(len(self._weight), dtype=bool)
        self._passed: dict[str, Mask] = {}
        self._book("all", None)

    def cut(self, name: str, passed: ArrayLike) -> None:
        """Apply one cut, shape (n,); a comparison with NaN is False, so bad events fail.

        Raises PhysicsError when the mask does not have one entry per event or is not boolean.
        """
        mask = self._checked(name, passed)
        self._passed[name] = mask
        self._narrow(name, mask)

    def require(self, name: str, passed: ArrayLike) -> None:
        """Like :meth:`cut`, for a cut that decides which objects the later cuts are about.

        Without it those cuts would be about other objects, so it has no N-1 here.
        """
        mask = self._checked(name, passed)
        self._required = self._required & mask
        self._narrow(name, mask)

    def cut_candidates(self, name: str, passed: ArrayLike) -> None:
        """A cut on candidates, shape (n, k): an event with a failing candidate goes as a whole.

        The step also counts the candidates that pass among the events left so far.
        """
        candidates = np.asarray(passed)
        if candidates.ndim != 2:
            raise PhysicsError(
                f"cut '{name}' of '{self._flow}': candidates need shape (n, k), "
                f"got {candidates.shape}"
            )
        # column by column: numpy reduces a short last axis slowly
        mask = self._checked(name, functools.reduce(np.logical_and, candidates.T))
        counted = sum(int(np.count_nonzero(column & self.mask)) for column in candidates.T)
        self._passed[name] = mask
        self._narrow(name, mask, counted)

    def all_but(self, *names: str) -> Mask:
        """Events passing every cut applied so far except those named, shape (n,)."""
        mask = self._required.copy()
        for name, passed in self._passed.items():
            if name not in names:
                mask &= passed
        return mask

    def book_n_minus_1(self, **others: ArrayLike) -> None:
        """Book the N-1 row of every cut; ``others`` are masks (n,) of cuts that need their own.

        Call it once, after the last cut.
        """
        masks = {name: self.all_but(name) for name in self._passed}
        for name, mask in (masks | {k: self._checked(k, v) for k, v in others.items()}).items():
            self._cutflow.book(self._flow, name, *self._counts(mask), n_minus_1=True)

    def _checked(self, name: str, passed: ArrayLike) -> Mask:
        mask = np.asarray(passed)
        if mask.shape != self._weight.shape or mask.dtype != np.bool_:
            raise PhysicsError(
                f"cut '{name}' of '{self._flow}': need booleans of shape {self._weight.shape}, "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        return mask

    def _narrow(self, name: str, mask: Mask, candidates: int | None = None) -> None:
        self.mask = self.mask & mask
        self._book(name, candidates)

    def _book(self, name: str, candidates: int | None) -> None:
        self._cutflow.book(self._flow, name, *self._counts(self.mask, candidates))

    def _counts(self, mask: Mask, candidates: int | None = None) -> _Counts:
        weight = self._weight.take(np.flatnonzero(mask))
        # not weight @ weight: BLAS threads cost more than they bring here
        return _Counts(len(weight), float(weight.sum()), float(np.square(weight).sum()), candidates)
