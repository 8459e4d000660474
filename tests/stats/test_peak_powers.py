"""Powers of tails that are hardly there stay where they can be fitted."""

from __future__ import annotations

import numpy as np
import pytest

from alp_coffea.stats.peaks import POWERS, PeakFit
from alp_coffea.stats.signal import _smooth_powers


def fit(mass: float, power: float) -> PeakFit:
    return PeakFit(
        mass, "fit", "all", 1e4, mass**2, 0.01, 0.1, 0.001, 1.5, 0.1, power, 0.2 * power, 30.0, 30,
        0.1, 0.001, True,
    )  # fmt: skip


def test_a_curve_beyond_the_limits_of_the_fit_ends_at_them() -> None:
    """A steep curve overshoots points that lie on the limit; Minuit refuses such a value."""
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


def test_inside_the_limits_nothing_changes() -> None:
    masses = np.linspace(1, 9, 9)
    smooth = _smooth_powers([fit(m, 3.0) for m in masses], "n")
    assert smooth(4.4) == pytest.approx(3.0)
