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
        self._all = np.asarray(weight, dtype=np.float64)
        self._start(self._all)
        self._book("all", None)

    def _start(self, weight: NDArray[np.float64]) -> None:
        self._weight = weight
        #: Events passing all cuts so far, shape (n,).
        self.mask: Mask = np.ones(len(weight), dtype=bool)
        self._passed: dict[str, Mask] = {}

    def cut(self, name: str, passed: ArrayLike) -> None:
        """Apply one cut: booleans of shape (n,), or (n, k) for a cut on k candidates per event.

        A comparison with NaN is False, so bad events fail. An event with a failing candidate goes
        as a whole; the step then also counts the passing candidates of the events left so far.
        Raises PhysicsError when ``passed`` does not have one row per event or is not boolean.
        """
        array = np.asarray(passed)
        if array.ndim not in (1, 2) or len(array) != len(self.mask) or array.dtype != np.bool_:
            n = len(self.mask)
            raise PhysicsError(
                f"cut '{name}' of '{self._flow}': need booleans of shape ({n},) or ({n}, k), "
                f"got {array.dtype} of shape {array.shape}"
            )
        candidates = None
        if array.ndim == 2:
            candidates = sum(int(np.count_nonzero(column & self.mask)) for column in array.T)
        self._passed[name] = all_candidates(array)
        self.mask = self.mask & self._passed[name]
        self._book(name, candidates)

    def choose(self, name: str, event: NDArray[np.integer]) -> None:
        """Go on with some events only, given by their positions (m,) in the chunk, as a step.

        For a condition that decides which objects the later cuts are about: those have one row
        per chosen event. It has no N-1 here, as without it they would be about other objects.
        Raises PhysicsError after a cut, which would be forgotten.
        """
        if self._passed:
            raise PhysicsError(
                f"'{name}' of '{self._flow}' chooses events after the cuts {list(self._passed)}; "
                "choose first"
            )
        self._start(self._all[event])
        self._book(name, None)

    def all_but(self, *names: str) -> Mask:
        """Events passing every cut except those named, shape (n,)."""
        mask = np.ones(len(self.mask), dtype=bool)
        for name, passed in self._passed.items():
            if name not in names:
                mask &= passed
        return mask

    def book_n_minus_1(self, **others: NDArray[np.float64]) -> None:
        """Book the N-1 row of every cut, once, after the last cut.

        ``others`` gives, for cuts that choose, the weights of the events that pass without them.
        """
        for name in self._passed:
            sums = _sums(self._weight, self.all_but(name))
            self._cutflow.book(self._flow, name, *sums, n_minus_1=True)
        for name, weight in others.items():
            sums = _sums(weight, np.ones(len(weight), dtype=bool))
            self._cutflow.book(self._flow, name, *sums, n_minus_1=True)

    def _repr_html_(self) -> str:
        """The cuts so far, for notebooks."""
        from alp_coffea.events.cutflow_tables import html_table

        return html_table(self._cutflow, self._flow)

    def _book(self, name: str, candidates: int | None) -> None:
        self._cutflow.book(self._flow, name, *_sums(self._weight, self.mask), candidates)


def all_candidates(passed: Mask) -> Mask:
    """Events (n,) all of whose candidates (n, k) pass; booleans (n,) are returned as they are."""
    # column by column: numpy reduces a short last axis slowly
    return passed if passed.ndim == 1 else functools.reduce(np.logical_and, passed.T)


def _sums(weight: NDArray[np.float64], passed: Mask) -> tuple[int, float, float]:
    events = int(np.count_nonzero(passed))
    if (weight == 1.0).all():  # as in data and most simulations: no need to add them up
        return events, float(events), float(events)
    # zeros are faster than leaving events out; not passing @ passing, as BLAS threads cost more
    # than they bring here
    passing = np.where(passed, weight, 0.0)
    total = float(passing.sum())
    return events, total, float(np.square(passing, out=passing).sum())
