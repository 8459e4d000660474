"""Helpers of the figures."""

from __future__ import annotations

import itertools

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.plots.arrays import (
    interruptions,
    nearest_edges,
    poisson_errors,
    rebinned,
    segments,
    transitions,
)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Particle Data Group, Review of Particle Physics (2022), and Garwood's table at 68.27 %
    [(0, 0.0, 1.841), (1, 0.173, 3.300), (4, 2.086, 7.163), (10, 6.891, 14.267)],
)
def test_poisson_intervals(count: int, low: float, high: float) -> None:
    down, up = poisson_errors([count])
    assert count - down[0] == pytest.approx(low, abs=1e-3)
    assert count + up[0] == pytest.approx(high, abs=1e-3)


def test_poisson_intervals_cover() -> None:
    """For any mean, the interval contains it in at least 68.27 % of experiments."""
    from scipy.stats import poisson

    counts = np.arange(0, 200)
    down, up = poisson_errors(counts)
    for mean in np.linspace(0.1, 60, 300):
        inside = (counts - down <= mean) & (mean <= counts + up)
        assert poisson.pmf(counts[inside], mean).sum() >= 0.6827 - 1e-6


@given(st.lists(st.booleans(), max_size=40))
def test_segments_are_the_runs(good: list[bool]) -> None:
    runs = segments(good)
    covered = [i for run in runs for i in range(run.start, run.stop)]
    assert covered == [i for i, value in enumerate(good) if value]
    assert all(a.stop < b.start for a, b in itertools.pairwise(runs))


def test_lines_end_where_masses_were_left_out() -> None:
    mass = np.concatenate((np.linspace(0.3, 0.45, 15), np.linspace(0.63, 0.9, 19), [1.2, 1.22]))
    first = [15, 15 + 19]
    np.testing.assert_allclose(mass[first], [0.63, 1.2])
    assert interruptions(mass) == first
    assert segments(np.ones(len(mass)), interruptions(mass)) == [
        slice(0, first[0]),
        slice(first[0], first[1]),
        slice(first[1], len(mass)),
    ]
    good = np.ones(len(mass))
    good[first[0] - 1] = 0.0  # next to the gap
    assert segments(good, first)[:2] == [slice(0, first[0] - 1), slice(first[0], first[1])]


@given(st.integers(0, 30), st.floats(1.0, 1.5))
def test_steps_that_change_slowly_are_no_interruption(count: int, growth: float) -> None:
    assert interruptions(np.cumsum(0.01 * growth ** np.arange(count))) == []


@pytest.mark.parametrize(
    "mass",
    [[], [1.0], [1.0, 5.0], [0.3, 1.0, 5.0, 20.0, 80.0], [0.1, 1.0, 2.0, 3.0], [1.0, 1.0, 2.0]],
)
def test_coarse_grids_are_not_interrupted(mass: list[float]) -> None:
    assert interruptions(mass) == []


def test_transitions_lie_between_the_neighbours() -> None:
    assert transitions([1.0, 2.0, 4.0, 5.0], ["a", "a", "b", "b"]) == [(3.0, "a", "b")]
    assert transitions([1.0], ["a"]) == []


@given(st.integers(1, 50))
def test_rebinning_conserves_contents(groups: int) -> None:
    rng = np.random.default_rng(groups)
    histogram = hist.Hist(hist.axis.Regular(300, -1, 2, name="x"), storage="weight")
    histogram.fill(rng.uniform(-1, 2, 500), weight=rng.uniform(0, 3, 500))
    index = np.unique(np.concatenate(([0, 300], rng.integers(0, 301, groups))))
    values, variances = rebinned(histogram, index)
    assert values.sum() == pytest.approx(histogram.values().sum())
    assert variances.sum() == pytest.approx(histogram.variances().sum())
    assert values[0] == pytest.approx(histogram.values()[: index[1]].sum())


@given(st.lists(st.floats(-2, 12), min_size=1, max_size=20))
def test_nearest_edges_are_nearest(grid: list[float]) -> None:
    edges = np.linspace(0, 10, 101) ** 1.5
    index = nearest_edges(edges, np.sort(grid))
    brute = np.unique([np.argmin(np.abs(edges - g)) for g in grid])
    assert np.abs(edges[index] - edges[brute]).max() < 1e-9
