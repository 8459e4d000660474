"""Smooth curves through fitted points: known functions, honest errors, no extrapolation."""

from __future__ import annotations

import numpy as np
import pytest

from alp_coffea.errors import ModelError
from alp_coffea.stats.interpolation import Curve, cross_validated_series

MASS = np.geomspace(0.2, 9.7, 28)
BETWEEN = np.sqrt(MASS[1:] * MASS[:-1])


def truth(mass: np.ndarray) -> np.ndarray:
    x = np.log(mass)
    return 0.3 + 0.05 * x - 0.02 * x**2 + 0.004 * x**3


@pytest.mark.parametrize("method", ["spline", "chebyshev"])
def test_a_smooth_function_is_found_within_its_uncertainty(method) -> None:
    pulls, calm = [], []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        error = np.full(len(MASS), 0.004)
        curve = Curve("f", MASS, truth(MASS) + generator.normal(0, error), error, method)
        sigma = curve.uncertainty(BETWEEN)
        pulls.append((curve(BETWEEN) - truth(BETWEEN)) / sigma)
        calm.append(np.median(sigma))
    # smoothing gains over the points' own errors, and the claimed error is the real one
    assert np.mean(calm) < 0.75 * 0.004
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.25)


def test_cross_validation_chooses_the_order_of_a_polynomial() -> None:
    x = np.linspace(-1, 2, 40)
    y = 1 - 2 * x + 0.5 * x**3
    generator = np.random.default_rng(4)
    noisy = y + generator.normal(0, 0.01, 40)
    series = cross_validated_series(x, noisy, np.full(40, 100.0))
    assert 3 <= series.degree() <= 5
    assert np.abs(series(x) - y).max() < 0.012


def test_leave_one_out_error_is_that_of_real_omissions() -> None:
    """The leverage formula against fits that leave each point out."""
    generator = np.random.default_rng(2)
    x = np.linspace(0, 1, 12)
    y, weight = generator.normal(size=12), generator.uniform(0.5, 2, 12)
    chosen = cross_validated_series(x, y, weight).degree()

    def omitted(order: int) -> float:
        total = 0.0
        for i in range(12):
            keep = np.arange(12) != i
            fit = np.polynomial.Chebyshev.fit(
                x[keep], y[keep], order, w=weight[keep], domain=[0.0, 1.0]
            )
            total += (weight[i] * (y[i] - fit(x[i]))) ** 2
        return total

    assert chosen == int(np.argmin([omitted(order) for order in range(10)]))


def test_a_steep_end_of_phase_space_is_followed() -> None:
    """Like the efficiency of a search with leptons: no low order in log m has such an end."""

    def efficiency(mass: np.ndarray) -> np.ndarray:
        return (0.1 + 0.2 * mass) * (1 - (mass / 10.5) ** 12)

    error = 0.01 * efficiency(MASS)
    noisy = efficiency(MASS) + np.random.default_rng(3).normal(0, error)
    curve = Curve("efficiency", MASS, noisy, error, "chebyshev")
    assert np.abs(curve(BETWEEN) / efficiency(BETWEEN) - 1).max() < 0.03


def test_few_points_are_joined() -> None:
    curve = Curve("f", [1.0, 2.0, 4.0], [1.0, 3.0, 2.0], [0.1, 0.1, 0.1])
    assert not curve.smoothed
    assert curve([1.0, 2.0, 4.0]) == pytest.approx([1.0, 3.0, 2.0])
    assert curve.uncertainty(2.0) == pytest.approx(0.1, rel=0.3)


def test_limits_of_a_curve_are_named() -> None:
    curve = Curve("width", MASS, truth(MASS), np.full(28, 0.01))
    with pytest.raises(ModelError, match=r"width asked at 9.8 GeV, but it is simulated from 0.2"):
        curve(9.8)
    with pytest.raises(ModelError, match="known at 1 masses"):
        Curve("width", [1.0], [1.0], [0.1])
