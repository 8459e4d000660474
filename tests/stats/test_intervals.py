"""Intervals of efficiencies: published numbers, coverage, symmetry."""

from __future__ import annotations

import math

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from alp_coffea.errors import ModelError
from alp_coffea.stats.intervals import ONE_SIGMA, clopper_pearson, lower_limit, trigger_efficiency

PUBLISHED = 18_244  # events, all of which passed (R0 eq. 5.13)


def test_published_trigger_efficiency_is_one_sided() -> None:
    one_sided = lower_limit(PUBLISHED, PUBLISHED)
    assert 1 - one_sided.low == pytest.approx(6e-5, abs=0.5e-5)
    assert 1 - one_sided.low == pytest.approx(1 - (1 - ONE_SIGMA) ** (1 / PUBLISHED), rel=1e-9)


def test_the_central_interval_is_wider() -> None:
    central = clopper_pearson(PUBLISHED, PUBLISHED)
    assert (central.value, central.high) == (1, 1)
    assert 1 - central.low == pytest.approx(1.0e-4, abs=0.05e-4)
    assert 1 - central.low == pytest.approx(1 - ((1 - ONE_SIGMA) / 2) ** (1 / PUBLISHED), rel=1e-9)


@given(total=st.integers(1, 60), truth=st.floats(0.01, 0.99))
def test_central_interval_covers(total: int, truth: float) -> None:
    covered = sum(
        binom.pmf(k, total, truth)
        for k in range(total + 1)
        if clopper_pearson(k, total).low <= truth <= clopper_pearson(k, total).high
    )
    assert covered >= ONE_SIGMA - 1e-12


@given(total=st.integers(1, 500), data=st.data())
def test_passing_and_failing_are_mirror_images(total: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, total))
    one, other = clopper_pearson(passed, total), clopper_pearson(total - passed, total)
    assert one.low == pytest.approx(1 - other.high, abs=1e-12)
    assert one.low <= one.value <= one.high


def test_no_events_and_impossible_counts() -> None:
    for interval in (clopper_pearson, lower_limit):
        assert math.isnan(interval(0, 0).value)
        with pytest.raises(ModelError, match="got 3 of 2"):
            interval(3, 2)


def test_trigger_histogram_by_axis_and_in_total() -> None:
    histogram = hist.Hist(
        hist.axis.StrCategory(["fired", "silent"], name="probe"),
        hist.axis.Regular(2, 0, 2, name="mass"),
        hist.axis.Regular(2, 0, 2, name="energy_sum"),
    )
    # one event beyond the axis counts in the total only
    histogram.fill(["fired"] * 4 + ["silent"], [0.5, 0.5, 1.5, 7.0, 1.5], [0.5] * 5)
    (total,) = trigger_efficiency(histogram)
    assert (total.passed, total.total) == (4, 5)
    bins = trigger_efficiency(histogram, "mass")
    assert [(b.passed, b.total) for b in bins] == [(2, 2), (1, 2)]
    assert np.all(np.diff([b.value for b in bins]) < 0)
