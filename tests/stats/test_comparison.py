"""Data against expectation: distributions of the test statistics, and table 7.3's errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from alp_coffea.errors import ModelError
from alp_coffea.events.histograms import mass_histogram
from alp_coffea.stats.comparison import Yield, agreement, yields

SHAPE = np.exp(-np.linspace(0, 6, 30))
SHAPE /= SHAPE.sum()


def test_chi2_of_true_samples_has_its_distribution() -> None:
    rng = np.random.default_rng(1)
    expected = 3000 * SHAPE
    found = [agreement(rng.poisson(expected), expected, 0 * expected) for _ in range(400)]
    assert len({a.ndf for a in found}) == 1
    assert kstest([a.p for a in found], "uniform").pvalue > 1e-3


def test_limited_simulation_is_accounted_for() -> None:
    rng = np.random.default_rng(2)
    truth = 3000 * SHAPE
    p = []
    for _ in range(400):
        simulated = rng.poisson(2 * truth) / 2  # twice the luminosity
        p.append(agreement(rng.poisson(truth), simulated, simulated / 2).p)
    assert kstest(p, "uniform").pvalue > 1e-3


def test_small_bins_are_merged_and_nothing_is_lost() -> None:
    expected = np.array([0.1, 0.2, 9.0, 4.0, 3.0, 1.0, 0.5])
    counts = np.array([0, 1, 8, 5, 2, 0, 1])
    found = agreement(counts, expected, np.zeros(7))
    # groups: 0.1 + 0.2 + 9, and 4 + 3 with the remainder 1 + 0.5
    by_hand = (9 - 9.3) ** 2 / 9.3 + (8 - 8.5) ** 2 / 8.5
    assert (found.ndf, found.chi2) == (2, pytest.approx(by_hand))
    assert found.p == pytest.approx(chi2.sf(by_hand, 2))


def test_distance_is_the_largest_difference_of_cumulative_shares() -> None:
    expected, counts = np.array([50.0, 30.0, 20.0]), np.array([30, 30, 40])
    found = agreement(counts, expected, np.zeros(3))
    assert found.ks == pytest.approx(0.2)
    # normalisation does not enter the distance
    assert agreement(counts, 3 * expected, np.zeros(3)).ks == pytest.approx(0.2)
    assert found.ks_p < agreement(counts, expected, 10 * expected).ks_p


def test_distance_is_conservative_for_true_samples() -> None:
    rng = np.random.default_rng(3)
    expected = 2000 * SHAPE
    p = [agreement(rng.poisson(expected), expected, 0 * expected).ks_p for _ in range(500)]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) < level) < level + 3 * math.sqrt(level * (1 - level) / 500)


def test_no_data_and_wrong_input() -> None:
    assert math.isnan(agreement(np.zeros(3), np.ones(3) * 9, np.zeros(3)).ks)
    with pytest.raises(ModelError, match="nothing is expected"):
        agreement(np.ones(3), np.zeros(3), np.zeros(3))
    with pytest.raises(ModelError, match=r"shapes \(3,\), \(2,\), \(3,\)"):
        agreement(np.ones(3), np.ones(2), np.ones(3))


def test_published_yields_and_their_ratio() -> None:
    """R0 table 7.3 prints 1.036 +- 0.009 with sqrt(N); three candidates per event make it more."""
    row = Yield("high_mass", "all", 15777, 15225, 54)
    assert row.ratio == pytest.approx(1.036, abs=5e-4)
    assert row.data_error == pytest.approx(218, abs=0.5)
    by_hand = 1.036 * math.hypot(math.sqrt(3 / 15777), 54 / 15225)
    assert row.ratio_error == pytest.approx(by_hand, rel=1e-3)
    assert math.isnan(Yield("high_mass", "all", 3, 0, 0).ratio)


def test_regions_of_squared_mass() -> None:
    data = mass_histogram(["low_mass", "high_mass"], ["other"])
    # signed roots: below zero, m^2 = 0.25, m^2 = 4, and beyond the axis
    for mass, count in ((-0.5, 1), (0.5, 2), (2.0, 4), (12.0, 8)):
        data.fill("low_mass", "diphoton", "other", np.full(count, mass))
    data.fill("low_mass", "recoil", "other", np.full(100, 3.0))
    rows = {(row.energy_set, row.region): row for row in yields(data, data * 0.5)}
    assert rows["low_mass", "all"].data == 15
    assert rows["low_mass", "m2 > 1"].data == 12
    assert rows["low_mass", "m2 > 1"].simulation == 6
    assert rows["low_mass", "m2 > 1"].simulation_error == pytest.approx(math.sqrt(3 * 12 * 0.25))
    assert rows["high_mass", "all"].data == 0
