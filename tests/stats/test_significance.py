"""Look-elsewhere estimates against toys of a process with known crossings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from alp_coffea.errors import PhysicsError
from alp_coffea.stats.significance import (
    bonferroni,
    from_toys,
    from_up_crossings,
    up_crossings,
)


def gaussian_scans(scans: int, points: int, per_width: int, seed: int) -> np.ndarray:
    """Significances of peaks of width ``per_width`` points in flat noise, shape (scans, points)."""
    rng = np.random.default_rng(seed)
    t = np.arange(-5 * per_width, 5 * per_width + 1) / per_width
    kernel = np.exp(-(t**2) / 2)
    kernel /= np.sqrt((kernel**2).sum())
    noise = rng.standard_normal((scans, points + len(kernel) - 1))
    return np.stack([np.convolve(row, kernel, mode="valid") for row in noise])


def test_up_crossings_by_hand() -> None:
    z = [2.0, 0.0, 1.5, np.nan, 1.6, 0.5, 3.0, 0.2]
    assert up_crossings(z, 1.0) == 2  # starting above is no crossing, NaN no dip
    assert up_crossings(z, 2.5) == 1
    with pytest.raises(PhysicsError, match="shape"):
        up_crossings([[1.0]], 0)


def test_crossing_rate_of_a_gaussian_process() -> None:
    """Rice: for correlation exp(-d^2/4w^2) the rate of level u is exp(-u^2/2)/(2 sqrt2 pi w)."""
    width, points = 20, 4000
    z = gaussian_scans(60, points, width, seed=1)
    for level in (0.5, 1.0, 2.0):
        count = sum(up_crossings(row, level) for row in z)
        rice = 60 * points * math.exp(-(level**2) / 2) / (2 * math.sqrt(2) * math.pi * width)
        assert count == pytest.approx(rice, abs=5 * math.sqrt(rice) + 0.02 * rice)


def test_up_crossings_predict_what_toys_find() -> None:
    z = gaussian_scans(4000, 300, 5, seed=2)
    maxima = z.max(axis=1)
    crossings = sum(up_crossings(row, 1.0) for row in z)
    for observed in (3.0, 3.5):
        toys = from_toys(observed, maxima)
        estimate = from_up_crossings(observed, crossings, 1.0, scans=len(z))
        error = math.sqrt(toys.p * (1 - toys.p) / len(z))
        # points are 1/5 width apart, so maxima between them are missed: the estimate is higher
        assert toys.p - 3 * error < estimate.p < 1.25 * toys.p + 3 * error
        assert estimate.low < estimate.p < estimate.high
        assert bonferroni(observed, 300).p > toys.p


@given(z=st.floats(0, 8), crossings=st.integers(0, 100), level=st.floats(0, 2))
def test_global_p_is_a_probability_not_below_the_local_one(
    z: float, crossings: int, level: float
) -> None:
    result = from_up_crossings(z, crossings, level)
    assert norm.sf(z) <= result.low <= result.p <= result.high <= 1


def test_toy_interval_is_clopper_pearson() -> None:
    none = from_toys(5.0, np.zeros(1000))
    assert (none.p, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.15865525 ** (1 / 1000), rel=1e-6)
    everything = from_toys(-1.0, np.zeros(10))
    assert (everything.p, everything.high) == (1, 1)
    assert from_toys(2.0, np.repeat([1.0, 3.0], 50)).z == pytest.approx(0)


def test_failed_toys_are_not_ignored() -> None:
    with pytest.raises(PhysicsError, match="1 that are not finite"):
        from_toys(1.0, [0.5, np.nan])
    with pytest.raises(PhysicsError, match="crossings = -1"):
        from_up_crossings(1.0, -1, 0.5)
