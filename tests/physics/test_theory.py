from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import theory

SQRT_S = 10.58
masses = st.floats(0, 10.5)
couplings = st.floats(1e-8, 1e-1)


def test_published_cross_section():
    # physics of R0 2.7 at m = 0 and g = 1e-3: 0.1184 pb
    assert theory.cross_section(0.0, 1e-3, sqrt_s=SQRT_S) == pytest.approx(0.1184, abs=5e-5)
    assert theory.cross_section(SQRT_S, 1e-3, sqrt_s=SQRT_S) == 0


@given(masses, couplings)
def test_differential_integrates_to_total(mass, coupling):
    total, _ = quad(
        lambda c: float(theory.differential_cross_section(c, mass, coupling, sqrt_s=SQRT_S)), -1, 1
    )
    assert total == pytest.approx(float(theory.cross_section(mass, coupling, sqrt_s=SQRT_S)))


@given(st.floats(0, np.pi), masses)
def test_differential_as_printed(theta, mass):
    expected = (
        theory.GEV2_TO_PB
        * 1e-6
        * theory.ALPHA
        / 128
        * (3 + np.cos(2 * theta))
        * (1 - mass**2 / SQRT_S**2) ** 3
    )
    value = theory.differential_cross_section(np.cos(theta), mass, 1e-3, sqrt_s=SQRT_S)
    assert value == pytest.approx(expected, rel=1e-10)


@given(masses)
def test_recoil_photon_and_alp_share_the_energy(mass):
    momentum = float(theory.recoil_energy(mass, sqrt_s=SQRT_S))
    assert momentum + np.hypot(momentum, mass) == pytest.approx(SQRT_S)


def test_width_and_decay_length_by_hand():
    # m = 1 GeV, g = 1e-3: Gamma = 1e-6/(64 pi) = 4.974e-9 GeV, c tau = 3.967e-6 cm
    assert theory.width(1.0, 1e-3) == pytest.approx(4.97359e-9, rel=1e-5)
    assert theory.decay_length(1.0, 1e-3, beta_gamma=1.0) == pytest.approx(3.96749e-6, rel=1e-5)
    assert theory.alp_beta_gamma(1.0, sqrt_s=SQRT_S) == pytest.approx(5.24274, rel=1e-5)
    # equivalently tau = hbar/Gamma
    seconds = theory.decay_length(1.0, 1e-3, beta_gamma=1.0) / 2.99792458e10
    assert seconds == pytest.approx(6.582119569e-25 / 4.97359e-9, rel=1e-5)


@given(masses.filter(lambda m: m > 1e-3), couplings, st.floats(0.1, 3))
def test_decay_length_scales(mass, coupling, factor):
    length = theory.decay_length(mass, coupling, beta_gamma=2.0)
    assert theory.decay_length(mass, factor * coupling, beta_gamma=2.0) == pytest.approx(
        length / factor**2
    )
    assert theory.decay_length(mass, coupling, beta_gamma=2.0 * factor) == pytest.approx(
        length * factor
    )
    assert theory.decay_length(mass * factor, coupling, beta_gamma=2.0) == pytest.approx(
        length / factor**3
    )


def test_decay_fraction_limits():
    assert theory.decay_fraction(1.0, 1.0) == pytest.approx(1 - np.exp(-1))
    assert theory.decay_fraction(300.0, np.inf) == 0
    assert theory.decay_fraction(300.0, 0.0) == 1
    # no cancellation for very long-lived particles
    assert theory.decay_fraction(1.0, 1e18) == pytest.approx(1e-18)
    assert theory.decay_length(0.0, 1e-3, beta_gamma=np.inf) == np.inf


@given(st.floats(0, 10.3))
def test_radiative_fraction_is_the_integral_over_soft_radiation(mass):
    beta = 0.0876921  # 2 alpha/pi (ln(s/m_e^2) - 1) at 10.58 GeV
    end = 1 - mass**2 / SQRT_S**2
    # x = u^(1/beta) takes the singularity out of beta x^(beta-1) dx
    expected, _ = quad(lambda u: max(1 - u ** (1 / beta) / end, 0) ** 3, 0, end**beta)
    value = float(theory.radiative_fraction(mass, sqrt_s=SQRT_S))
    assert value == pytest.approx(expected, rel=1e-4)


@given(masses, couplings)
def test_coupling_inverts_cross_section(mass, coupling):
    sigma = theory.cross_section(mass, coupling, sqrt_s=SQRT_S)
    assert theory.coupling_from_cross_section(sigma, mass, sqrt_s=SQRT_S) == pytest.approx(coupling)
    reference = theory.cross_section(mass, 1e-3, sqrt_s=SQRT_S)
    assert theory.coupling_from_theory(sigma, reference, coupling_theory=1e-3) == pytest.approx(
        coupling
    )


def test_coupling_is_undefined_where_nothing_is_produced():
    assert np.isnan(theory.coupling_from_cross_section(1.0, SQRT_S, sqrt_s=SQRT_S))
    assert np.isnan(theory.coupling_from_theory(1.0, 0.0, coupling_theory=1e-3))


def test_luminosity_scaling():
    # R1: 54.24 to 569 fb^-1 improves g by the fourth root of the ratio, 1.80
    scaled = theory.scale_coupling_limit(1e-3, luminosity_from=54.24, luminosity_to=569.0)
    assert 1e-3 / scaled == pytest.approx(1.7997, abs=1e-4)
    back = theory.scale_coupling_limit(scaled, luminosity_from=569.0, luminosity_to=54.24)
    assert back == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("mass", "coupling", "expected"),
    [
        (1.0, 1e-3, "resolved"),
        (0.2, 1e-3, "resolved"),
        (0.1, 1e-2, "merged"),
        (0.1, 1e-4, "displaced"),
        (0.02, 1e-4, "invisible"),
        (0.0, 1e-3, "invisible"),
        (10.58, 1e-3, "resolved"),
    ],
)
def test_regimes(mass, coupling, expected):
    assert theory.regime(mass, coupling, sqrt_s=SQRT_S) == expected


def test_regime_borders_are_the_documented_thresholds():
    mass = np.geomspace(0.01, 10, 400)
    coupling = np.geomspace(1e-7, 1e-1, 300)[:, None]
    regime = theory.regime(mass, coupling, sqrt_s=SQRT_S)
    beta_gamma = theory.alp_beta_gamma(mass, sqrt_s=SQRT_S)
    length = theory.decay_length(mass, coupling, beta_gamma=beta_gamma)
    angle = np.broadcast_to(theory.minimum_opening_angle(mass, sqrt_s=SQRT_S), length.shape)
    assert set(np.unique(regime)) == {"resolved", "merged", "displaced", "invisible"}
    np.testing.assert_array_equal(regime == "invisible", length >= theory.DETECTOR_LENGTH)
    prompt = (regime == "merged") | (regime == "resolved")
    np.testing.assert_array_equal(prompt, length < theory.DISPLACED_LENGTH)
    assert (angle[regime == "merged"] < theory.MERGING_ANGLE).all()
    assert (angle[regime == "resolved"] >= theory.MERGING_ANGLE).all()


def test_merging_border_is_at_150_mev():
    # R4: merged if m < 150 MeV
    assert theory.minimum_opening_angle(0.15, sqrt_s=SQRT_S) == pytest.approx(
        theory.MERGING_ANGLE, abs=1e-4
    )


def test_minimum_opening_angle_limits():
    np.testing.assert_allclose(
        theory.minimum_opening_angle([0.0, SQRT_S], sqrt_s=SQRT_S), [0, np.pi], atol=1e-7
    )


def test_bad_elements_become_nan_and_do_not_spread():
    mass = np.array([-1.0, 0.0, 11.0, np.nan, np.inf, 1.0])
    good = np.array([False, True, False, False, False, True])
    for value in (
        theory.cross_section(mass, 1e-3, sqrt_s=SQRT_S),
        theory.recoil_energy(mass, sqrt_s=SQRT_S),
        theory.coupling_from_cross_section(0.1, mass, sqrt_s=SQRT_S),
        theory.minimum_opening_angle(mass, sqrt_s=SQRT_S),
    ):
        np.testing.assert_array_equal(np.isfinite(value), good)
    coupling = np.array([-1e-3, 1e-3, np.nan, np.inf])
    value = theory.cross_section(1.0, coupling, sqrt_s=SQRT_S)
    np.testing.assert_array_equal(np.isnan(value), [True, False, True, True])
    sigma = theory.coupling_from_cross_section([-0.1, 0.0, 0.1], 1.0, sqrt_s=SQRT_S)
    np.testing.assert_array_equal(np.isnan(sigma), [True, False, False])
    assert theory.regime(np.array([11.0]), 1e-3, sqrt_s=SQRT_S)[0] == "undefined"


def test_missing_scalar_stays_missing():
    assert np.isnan(theory.coupling_from_cross_section(np.nan, 1.0, sqrt_s=SQRT_S))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.cross_section(11.0, 1e-3, sqrt_s=SQRT_S), r"mass = 11.0 GeV must lie in"),
        (lambda: theory.cross_section(1.0, -1e-3, sqrt_s=SQRT_S), "coupling = -0.001 1/GeV"),
        (lambda: theory.cross_section(1.0, 1e-3, sqrt_s=-1.0), "sqrt_s = -1.0 GeV must be"),
        (lambda: theory.cross_section(1.0, 1e-3, sqrt_s=np.nan), "sqrt_s = nan"),
        (lambda: theory.width(-1.0, 1e-3), "mass = -1.0 GeV must not be negative"),
        (lambda: theory.cross_section(np.ones(2), np.ones(3), sqrt_s=SQRT_S), r"cross_section.*\("),
        (lambda: theory.cross_section("heavy", 1e-3, sqrt_s=SQRT_S), "mass must be a number"),
        (
            lambda: theory.differential_cross_section(2.0, 1.0, 1e-3, sqrt_s=SQRT_S),
            "cos_theta = 2.0 must lie",
        ),
        (
            lambda: theory.scale_coupling_limit(1e-3, luminosity_from=0.0, luminosity_to=1.0),
            "luminosity_from = 0.0 must be positive",
        ),
        (
            lambda: theory.regime(1.0, 1e-3, sqrt_s=SQRT_S, displaced_length=400.0),
            "must not exceed",
        ),
        (
            lambda: theory.regime(1.0, 1e-3, sqrt_s=SQRT_S, merging_angle=0.0),
            "merging_angle = 0.0",
        ),
    ],
)
def test_wrong_scalars_and_shapes_raise(call, message):
    with pytest.raises(PhysicsError, match=message):
        call()
