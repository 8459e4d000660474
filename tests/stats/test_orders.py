"""Choosing order and window of the background where the right order is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import EDGES, FLAT, MODEL, SQUARES

from alp_coffea.config import Scan
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.goodness import merged_bins, pearson
from alp_coffea.stats.orders import OrderFit, combinations, order_fits, sufficient_order

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]
CENTRES = (SQUARES[1:] + SQUARES[:-1]) / 2
FREE = Scan(background_coefficients="free")


def fits_of(contents: np.ndarray, orders: tuple[int, ...] = (1, 2, 3, 4)) -> list[OrderFit]:
    data = Spectra(EDGES, dict.fromkeys(KEYS, contents))
    shape = Spectra(EDGES, dict.fromkeys(KEYS, FLAT))
    return order_fits(data, shape, MODEL, FREE, [5.0], luminosity=445.0, orders=orders)


def quadratic(curvature: float, per_gev2: float = 400.0) -> np.ndarray:
    # a parabola over the window of 5 GeV, about 12 GeV^2 wide on either side
    t = np.clip((CENTRES - 25.0) / 12.0, -1, 1)
    return FLAT * per_gev2 * (1 + curvature * t**2)


def test_the_order_of_the_parent_is_sufficient_and_no_lower_one() -> None:
    asimov = fits_of(quadratic(1.0))
    assert [fit.order for fit in asimov] == [1, 2, 3, 4]
    assert asimov[0].p < 1e-6
    assert asimov[1].chi2 < 0.1
    assert asimov[1].likelihood_p < 1e-12
    assert asimov[2].likelihood_p > 0.9
    fits = fits_of(np.random.default_rng(1).poisson(quadratic(1.0)).astype(float))
    assert sufficient_order(fits) == 2
    assert sufficient_order(fits, test="likelihood_p") == 2
    assert sufficient_order(fits[:1]) == 1


def test_probabilities_are_uniform_when_the_lower_order_is_enough() -> None:
    """200 toys of a straight line: chi^2, F and likelihood-ratio probabilities of order 2."""
    generator = np.random.default_rng(3)
    toys = [fits_of(generator.poisson(quadratic(0.0)).astype(float), (1, 2)) for _ in range(200)]
    for values in (
        [fits[0].p for fits in toys],
        [fits[1].f_p for fits in toys],
        [fits[1].likelihood_p for fits in toys],
    ):
        # Kolmogorov distance at the 0.1 % level: 1.95 / sqrt(n)
        assert np.abs(np.sort(values) - (np.arange(200) + 0.5) / 200).max() < 1.95 / np.sqrt(200)


def test_the_combination_that_describes_the_data_is_chosen() -> None:
    generator = np.random.default_rng(8)
    shape = Spectra(EDGES, dict.fromkeys(KEYS, FLAT))
    # a bend at 25 GeV^2, for which a straight line is not enough
    bent = generator.poisson(FLAT * 400 * (1 + np.abs(CENTRES - 25) / 12)).astype(float)
    data = Spectra(EDGES, dict.fromkeys(KEYS, bent))
    masses = [4.8, 4.9, 5.0, 5.1, 5.2]
    fits = order_fits(
        data, shape, MODEL, FREE, masses, luminosity=445.0, orders=(1, 5), widen=(-5.0, 0.0)
    )
    assert len(fits) == 2 * 2 * len(masses)
    found = combinations(fits)
    assert len(found) == 4
    assert found[0].order == 5
    assert abs(found[0].mean - 1) < 0.3
    assert found[-1].order == 1
    assert [c.distance for c in found] == sorted(c.distance for c in found)
    assert {(c.left, c.right) for c in found} == {(15.0, 25.0), (20.0, 30.0)}


@given(st.lists(st.floats(0, 50), min_size=1, max_size=60))
def test_merged_bins_expect_enough(expected: list[float]) -> None:
    contents = np.array(expected)
    starts = merged_bins(contents)
    groups = np.add.reduceat(contents, starts)
    assert starts[0] == 0
    assert np.all(np.diff(starts) > 0)
    assert groups.sum() == pytest.approx(contents.sum())
    assert len(starts) == 1 or groups.min() >= 5 - 1e-9


def test_pearson_by_hand() -> None:
    starts = merged_bins(np.array([4.0, 4.0, 10.0, 1.0]))
    assert starts.tolist() == [0, 2]
    # (10 - 8)^2 / 8 + (9 - 11)^2 / 11
    assert pearson(np.array([6.0, 4.0, 8.0, 1.0]), np.array([4.0, 4.0, 10.0, 1.0]), starts) == (
        pytest.approx(0.5 + 4 / 11),
        2,
    )
