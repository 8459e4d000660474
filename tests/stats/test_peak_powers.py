"""Tails that are hardly there: their powers, and fits that step far outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from alp_coffea.events.histograms import mass_histogram
from alp_coffea.stats import peaks
from alp_coffea.stats.peaks import POWERS, Peak, PeakFit, SignalSample
from alp_coffea.stats.signal import _smooth_powers


def fit(mass: float, power: float) -> PeakFit:
    return PeakFit(
        mass, "fit", "all", 1e4, mass**2, 0.01, 0.1, 0.001, 1.5, 0.1, power, 0.2 * power, 30.0, 30,
        0.1, 0.001, True,
    )  # fmt: skip


def test_a_curve_beyond_the_limits_of_the_fit_ends_at_them() -> None:
    """A steep curve overshoots points that lie on the limit."""
    masses = np.linspace(1, 9, 9)
    for powers, limit in (
        (np.where(masses < 5, 60.0, 60.0 * np.exp(5 - masses)), POWERS[1]),
        (np.where(masses < 5, 1.05, 1.05 * np.exp(masses - 5)), POWERS[0]),
    ):
        smooth = _smooth_powers([fit(m, p) for m, p in zip(masses, powers, strict=True)], "n")
        values = [smooth(mass) for mass in np.linspace(1, 9, 81)]
        assert min(values) >= POWERS[0]
        assert max(values) <= POWERS[1]
        assert limit in values


def test_a_step_far_outside_does_not_end_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minuit once tried a mean of -6e5 GeV^2 on its way: a large deviance, not NaN."""

    class Probing(peaks.Minuit):
        def __init__(self, function: Callable[..., float], *start: float, name: object) -> None:
            far = function(-6e5, *start[1:])
            assert np.isfinite(far)
            assert far > 100 * function(*start)
            super().__init__(function, *start, name=name)

    monkeypatch.setattr(peaks, "Minuit", Probing)
    histogram = mass_histogram(["all"], ["true"], ["fit"])
    mass = np.sqrt(np.random.default_rng(6).normal(0.09, 0.006, 6000))
    histogram.fill(energy_set="all", definition="fit", origin="true", mass=mass, weight=4e-3)
    peak = Peak.of(SignalSample(0.3, 2.0, 1e4, histogram), "fit", "all")
    assert peak is not None
    assert peak.fit("double_sided", powers=(2.9, 59.9)).mu == pytest.approx(0.09, abs=0.001)


def test_inside_the_limits_nothing_changes() -> None:
    masses = np.linspace(1, 9, 9)
    smooth = _smooth_powers([fit(m, 3.0) for m in masses], "n")
    assert smooth(4.4) == pytest.approx(3.0)
