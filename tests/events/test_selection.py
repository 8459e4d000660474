"""Cutflows: bookkeeping, merging, and independence of chunking."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from coffea.processor import accumulate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alp_coffea.errors import PhysicsError
from alp_coffea.events.selection import Cutflow, Selection

CUTS = ("first", "second", "third")


def fill(weight: np.ndarray, passed: np.ndarray) -> Cutflow:
    cutflow = Cutflow()
    selection = Selection(cutflow, "flow", weight=weight)
    for name, mask in zip(CUTS, passed.T, strict=True):
        selection.cut(name, mask)
    return cutflow


def test_each_step_counts_events_that_pass_it_and_all_before() -> None:
    weight = np.array([1.0, 2.0, 4.0, 8.0])
    passed = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], dtype=bool)
    steps = fill(weight, passed).steps("flow")
    assert [s.cut for s in steps] == ["all", *CUTS]
    assert [s.events for s in steps] == [4, 3, 2, 1]
    assert [s.weighted for s in steps] == [15, 11, 9, 1]
    assert steps[1].error == pytest.approx(np.sqrt(1 + 4 + 64))


@given(
    weight=arrays(float, 12, elements=st.floats(0, 1e3)),
    passed=arrays(bool, (12, 3)),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_chunking_does_not_matter(weight: np.ndarray, passed: np.ndarray, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 12]
    parts = [fill(weight[a:b], passed[a:b]) for a, b in pairwise(edges)]
    merged = accumulate(parts)
    whole = fill(weight, passed)
    for a, b in zip(merged, whole, strict=True):
        assert (a.flow, a.step, a.cut, a.events) == (b.flow, b.step, b.cut, b.events)
        assert a.weighted == pytest.approx(b.weighted, rel=1e-12)
        assert a.error == pytest.approx(b.error, rel=1e-12)


def test_json_round_trip_is_exact() -> None:
    cutflow = fill(np.array([0.1, 0.2, 0.3]), np.ones((3, 3), dtype=bool))
    assert list(Cutflow.from_json(cutflow.to_json())) == list(cutflow)


def test_nan_fails_a_cut() -> None:
    selection = Selection(Cutflow(), "flow", weight=np.ones(2))
    selection.cut("energy", np.array([np.nan, 2.0]) > 1)
    assert selection.mask.tolist() == [False, True]


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones(2)])
def test_wrong_masks_are_refused(mask: np.ndarray) -> None:
    selection = Selection(Cutflow(), "flow", weight=np.ones(2))
    with pytest.raises(
        PhysicsError, match=r"cut 'energy' of 'flow': need booleans of shape \(2,\)"
    ):
        selection.cut("energy", mask)
