"""Cutflows: bookkeeping, merging, and independence of chunking."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import numpy as np
import pytest
from coffea.processor import accumulate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from alp_coffea.errors import PhysicsError
from alp_coffea.events.cutflow_tables import (
    csv_table,
    cutflow_rows,
    html_table,
    latex_table,
    rich_table,
)
from alp_coffea.events.selection import Cutflow, Selection

CUTS = ("first", "second", "third")


def fill(weight: np.ndarray, passed: np.ndarray) -> Cutflow:
    cutflow = Cutflow()
    selection = Selection(cutflow, "flow", weight=weight)
    for name, mask in zip(CUTS, passed.T, strict=True):
        selection.cut(name, mask)
    selection.cut("candidates", np.stack([passed[:, 0], passed[:, 2]], axis=1))
    selection.book_n_minus_1()
    return cutflow


def test_each_step_counts_events_that_pass_it_and_all_before() -> None:
    weight = np.array([1.0, 2.0, 4.0, 8.0])
    passed = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], dtype=bool)
    steps = fill(weight, passed).steps("flow")
    assert [s.cut for s in steps] == ["all", *CUTS, "candidates"]
    assert [s.events for s in steps] == [4, 3, 2, 1, 1]
    assert [s.weighted for s in steps] == [15, 11, 9, 1, 1]
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
    others = [[*flow.n_minus_1("flow").values()] for flow in (merged, whole)]
    for a, b in zip([*merged, *others[0]], [*whole, *others[1]], strict=True):
        assert (a.flow, a.step, a.cut, a.events) == (b.flow, b.step, b.cut, b.events)
        assert a.candidates == b.candidates
        assert a.weighted == pytest.approx(b.weighted, rel=1e-12)
        assert a.error == pytest.approx(b.error, rel=1e-12)


def test_json_round_trip_is_exact() -> None:
    cutflow = fill(np.array([0.1, 0.2, 0.3]), np.ones((3, 3), dtype=bool))
    copy = Cutflow.from_json(cutflow.to_json())
    assert list(copy) == list(cutflow)
    assert copy.n_minus_1("flow") == cutflow.n_minus_1("flow")


def test_nan_fails_a_cut() -> None:
    selection = Selection(Cutflow(), "flow", weight=np.ones(2))
    selection.cut("energy", np.array([np.nan, 2.0]) > 1)
    assert selection.mask.tolist() == [False, True]


@pytest.mark.parametrize(
    "mask", [np.ones(3, dtype=bool), np.ones(2), np.ones((3, 2), dtype=bool), np.True_]
)
def test_wrong_masks_are_refused(mask: np.ndarray) -> None:
    selection = Selection(Cutflow(), "flow", weight=np.ones(2))
    with pytest.raises(
        PhysicsError, match=r"cut 'energy' of 'flow': need booleans of shape \(2,\)"
    ):
        selection.cut("energy", mask)


@given(passed=arrays(bool, (12, 3)))
def test_n_minus_1_is_all_other_cuts(passed: np.ndarray) -> None:
    weight = np.arange(1.0, 13.0)
    selection = Selection(Cutflow(), "flow", weight=weight)
    chosen = np.array([0, 2, 3, 7, 11])
    selection.choose("objects", chosen)
    passed = passed[chosen]
    for name, mask in zip(CUTS, passed.T, strict=True):
        selection.cut(name, mask)
    np.testing.assert_array_equal(selection.mask, passed.all(axis=1))
    np.testing.assert_array_equal(selection.all_but("second"), passed[:, 0] & passed[:, 2])
    np.testing.assert_array_equal(selection.all_but("first", "third"), passed[:, 1])


def test_n_minus_1_rows_and_masks_of_their_own() -> None:
    cutflow = Cutflow()
    selection = Selection(cutflow, "flow", weight=np.array([1.0, 2.0, 4.0]))
    selection.choose("objects", np.array([0, 1]))
    selection.cut("energy", np.array([True, False]))
    selection.book_n_minus_1(objects=np.array([1.0, 4.0]))
    assert [step.events for step in cutflow.steps("flow")] == [3, 2, 1]
    rows = cutflow.n_minus_1("flow")
    assert {name: (row.events, row.weighted) for name, row in rows.items()} == {
        "energy": (2, 3.0),
        "objects": (2, 5.0),
    }


def test_a_candidate_step_counts_candidates_and_drops_whole_events() -> None:
    cutflow = Cutflow()
    selection = Selection(cutflow, "flow", weight=np.ones(3))
    selection.cut("first", np.array([True, True, False]))
    selection.cut("pairs", np.array([[True, True], [True, False], [True, True]]))
    step = cutflow.steps("flow")[-1]
    assert (step.events, step.candidates) == (1, 3)


def test_objects_are_chosen_before_cuts_on_them() -> None:
    selection = Selection(Cutflow(), "flow", weight=np.ones(3))
    selection.choose("objects", np.array([0, 2]))
    selection.cut("energy", np.array([True, False]))
    with pytest.raises(PhysicsError, match=r"'others' of 'flow' chooses events after the cuts"):
        selection.choose("others", np.array([0]))


def demo_cutflow() -> Cutflow:
    cutflow = Cutflow()
    selection = Selection(cutflow, "low_mass", weight=np.array([1.0, 2.0, 1.0, 0.5]))
    selection.cut("photon_energy", np.array([True, True, True, False]))
    selection.cut("apart", np.array([[1, 1], [1, 0], [1, 1], [0, 1]], dtype=bool))
    selection.book_n_minus_1()
    return cutflow


def test_weighted_efficiency_has_the_binomial_error_for_equal_weights() -> None:
    cutflow = Cutflow()
    selection = Selection(cutflow, "flow", weight=np.full(100, 0.3))
    selection.cut("some", np.arange(100) < 20)
    row = cutflow_rows(cutflow, "flow")[-1]
    assert row.efficiency_total == pytest.approx(0.2)
    assert row.efficiency_total_error == pytest.approx(np.sqrt(0.2 * 0.8 / 100))


def test_efficiency_after_an_empty_step_is_unknown() -> None:
    cutflow = Cutflow()
    selection = Selection(cutflow, "flow", weight=np.ones(2))
    selection.cut("nothing", np.zeros(2, dtype=bool))
    selection.cut("after", np.ones(2, dtype=bool))
    assert cutflow_rows(cutflow, "flow")[-1].efficiency_step is None
    assert "–" in html_table(cutflow, "flow")


def test_tables_show_the_same_numbers() -> None:
    cutflow = demo_cutflow()
    rows = list(csv.DictReader(io.StringIO(csv_table(cutflow, "low_mass"))))
    assert [row["cut"] for row in rows] == ["all", "photon_energy", "apart"]
    assert (rows[2]["events"], rows[2]["candidates"], rows[2]["n_minus_1"]) == ("2", "5", "3")
    assert float(rows[2]["efficiency_total"]) == pytest.approx(2 / 4.5)
    console = Console(file=io.StringIO(), width=120)
    console.print(rich_table(cutflow, "low_mass"))
    for text in (console.file.getvalue(), cutflow._repr_html_()):
        assert "photon energy" in text
        assert "44.44 ± 26.82" in text


def test_latex_table() -> None:
    assert latex_table(demo_cutflow(), "low_mass") == (
        r"""\begin{tabular}{lrrrrrr}
\hline
cut & events & weighted & of last [\%] & of all [\%] & $N-1$ & candidates \\
\hline
all & 4 & 4.5 $\pm$ 2.5 & 100.00 $\pm$ 0.00 & 100.00 $\pm$ 0.00 & -- & -- \\
photon energy & 3 & 4 $\pm$ 2.45 & 88.89 $\pm$ 11.58 & 88.89 $\pm$ 11.58 & 2 & -- \\
apart & 2 & 2 $\pm$ 1.41 & 50.00 $\pm$ 30.62 & 44.44 $\pm$ 26.82 & 3 & 5 \\
\hline
\end{tabular}
"""
    )
