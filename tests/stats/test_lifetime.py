"""Couplings with a lifetime: limits of the formula, monotony, and the plane they span."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import theory
from alp_coffea.stats.lifetime import (
    coupling_limit,
    decay_acceptance,
    exclusion_plane,
    limit_curve,
)

SQRT_S = 10.58


def test_heavy_and_strongly_coupled_alps_decay_promptly() -> None:
    assert decay_acceptance(3.0, 1e-3, length=10.0, sqrt_s=SQRT_S) == pytest.approx(1.0)
    prompt = theory.coupling_from_cross_section(0.5, 3.0, sqrt_s=SQRT_S)
    assert coupling_limit(0.5, 3.0, length=10.0, sqrt_s=SQRT_S) == pytest.approx(prompt)


def test_the_acceptance_of_a_long_lifetime_by_hand() -> None:
    """L >> length: F = L / (beta gamma c tau), with Gamma = g^2 m^3 / 64 pi (R0 2.9, 2.10)."""
    m, g, length = 0.1, 1e-5, 5.0
    gamma = g**2 * m**3 / (64 * np.pi)
    momentum = (SQRT_S**2 - m**2) / (2 * SQRT_S)
    distance = momentum / m * 1.973269804e-14 / gamma  # hbar c in GeV cm
    assert distance > 100 * length
    found = decay_acceptance(m, g, length=length, sqrt_s=SQRT_S)
    assert found == pytest.approx(length / distance, rel=0.01)


def test_a_long_lifetime_limit_scales_with_the_fourth_root() -> None:
    """sigma F ~ g^4 there: a four times weaker limit costs a factor sqrt(2) in g."""
    one, other = (
        float(coupling_limit(sigma, 0.02, length=0.1, sqrt_s=SQRT_S)) for sigma in (1e-4, 4e-4)
    )
    assert other / one == pytest.approx(np.sqrt(2), rel=0.01)


@given(st.floats(0.05, 9.0), st.floats(1e-4, 10.0), st.floats(0.1, 300.0))
def test_the_limit_solves_its_equation(mass: float, sigma: float, length: float) -> None:
    g = float(coupling_limit(sigma, mass, length=length, sqrt_s=SQRT_S))
    visible = theory.cross_section(mass, g, sqrt_s=SQRT_S) * decay_acceptance(
        mass, g, length=length, sqrt_s=SQRT_S
    )
    assert visible == pytest.approx(sigma, rel=1e-6)
    assert g >= theory.coupling_from_cross_section(sigma, mass, sqrt_s=SQRT_S) * (1 - 1e-9)
    assert float(coupling_limit(sigma, mass, length=2 * length, sqrt_s=SQRT_S)) <= g * (1 + 1e-9)


def test_the_plane_is_excluded_above_the_limit() -> None:
    mass, sigma = np.array([0.2, 1.0, 5.0]), np.array([0.1, 0.2, 0.4])
    grid = np.array([0.1, 0.2, 1.0, 3.0, 5.0, 6.0])
    couplings = np.geomspace(1e-6, 1e-1, 400)
    plane = exclusion_plane(limit_curve(mass, sigma), grid, couplings, length=10.0, sqrt_s=SQRT_S)
    assert not plane.excluded[:, [0, 5]].any()  # beyond the scan
    for column, m, s in ((1, 0.2, 0.1), (2, 1.0, 0.2), (4, 5.0, 0.4)):
        smallest = couplings[np.argmax(plane.excluded[:, column])]
        exact = float(coupling_limit(s, m, length=10.0, sqrt_s=SQRT_S))
        assert exact <= smallest < exact * (couplings[1] / couplings[0])
        assert np.all(np.diff(plane.excluded[:, column].astype(int)) >= 0)
    assert set(plane.regime[:, 1]) <= set(theory.REGIMES)
    assert plane.regime[0, 1] == "invisible"
    assert plane.regime[-1, 4] == "resolved"


def test_missing_limits_stay_missing() -> None:
    found = coupling_limit([0.1, np.nan], [1.0, 1.0], length=1.0, sqrt_s=SQRT_S)
    assert np.isfinite(found).tolist() == [True, False]
    curve = limit_curve([1.0, 2.0, 3.0], [0.1, np.nan, 0.1])
    assert np.isnan(curve(np.array([1.5, 2.5]))).all()
    with pytest.raises(PhysicsError, match="length = 0 cm"):
        coupling_limit(0.1, 1.0, length=0, sqrt_s=SQRT_S)
