"""Leave-one-out on peaks that are smooth in mass, and on one that is not."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from windows import EDGES, FLAT, SQUARES

from alp_coffea.config import Scan
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.holdout import leave_one_out
from alp_coffea.stats.shapes import crystal_ball
from alp_coffea.stats.signal import SignalSample, fit_signal

MASSES = (1.0, 1.3, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 3.9)
KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]


def sample(mass: float, stretch: float = 1.0) -> SignalSample:
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton"], name="definition"),
        hist.axis.StrCategory(["true", "other"], name="origin"),
        hist.axis.Regular(15000, -4, 11, name="mass"),
        storage="weight",
    )
    width = stretch * 0.04 * mass**1.8
    shape = crystal_ball(SQUARES, mass**2, width, 1.3, 4.0)
    counts = np.random.default_rng(int(1000 * mass)).poisson(8000 * shape)
    view = histogram.view()
    view.value[0, 0, 0] = view.variance[0, 0, 0] = counts
    return SignalSample(mass, 1.0, 20_000.0, histogram)


def held_out(samples: list[SignalSample]):
    model = fit_signal(samples, sqrt_s=10.58, definitions={"diphoton": 0})
    flat = Spectra(EDGES, dict.fromkeys(KEYS, 300 * FLAT))
    return leave_one_out(model, samples, flat, Scan(), luminosity=445.0)


def test_smooth_peaks_are_predicted() -> None:
    rows = held_out([sample(mass) for mass in MASSES])
    assert [row.mass for row in rows] == list(MASSES[1:-1])
    total, degrees = sum(row.chi2 for row in rows), sum(row.ndf for row in rows)
    # the prediction has an error of its own: a little above the distribution of a true model
    assert total / degrees == pytest.approx(1.05, abs=4 * np.sqrt(2 / degrees))
    for row in rows:
        assert row.efficiency_ratio == pytest.approx(1, abs=5 * row.efficiency_error)
        assert row.limit_ratio == pytest.approx(1, abs=0.03)


def test_a_mass_that_is_not_like_its_neighbours_stands_out() -> None:
    rows = held_out([sample(mass, 1.3 if mass == 2.4 else 1.0) for mass in MASSES])
    worst = max(rows, key=lambda row: row.chi2 / row.ndf)
    assert worst.mass == 2.4
    assert worst.chi2 / worst.ndf > 3
    assert worst.own_chi2 / worst.own_ndf < 2
    assert worst.limit_ratio < 0.95
