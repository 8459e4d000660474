"""Four-momenta of massive particles, errors of leptons, and the fit of photons and leptons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.errors import PhysicsError
from alp_coffea.physics.beams import SUPERKEKB
from alp_coffea.physics.constants import ELECTRON_MASS
from alp_coffea.physics.four_momenta import four_momenta, squared_mass
from alp_coffea.physics.photon_covariance import (
    AngularResolution,
    EnergyResolution,
    PhotonCovariance,
    Region,
)
from alp_coffea.physics.photon_lepton_fit import fit_photons_and_leptons, lepton_covariances

RESOLUTION = PhotonCovariance(
    source="test",
    regions=(
        Region(
            energy=EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003),
            theta=AngularResolution(constant=0.003, stochastic=0.0035),
            phi=AngularResolution(constant=0.003, stochastic=0.0035),
        ),
    ),
)
MASSES = np.array([0.0, 0.0, ELECTRON_MASS, ELECTRON_MASS])
ANGLE = st.floats(0.1, 3.0)


@given(st.floats(0.5, 8), ANGLE, st.floats(-3.1, 3.1), st.floats(0, 0.4))
def test_momenta_have_their_energy_mass_and_direction(
    energy: float, theta: float, phi: float, mass: float
) -> None:
    p4 = four_momenta(energy, theta, phi, mass)
    assert p4[0] == energy
    assert squared_mass(p4) == pytest.approx(mass**2, abs=1e-12 * energy**2)
    assert np.arctan2(np.hypot(p4[1], p4[2]), p4[3]) == pytest.approx(theta)
    assert np.arctan2(p4[2], p4[1]) == pytest.approx(phi, abs=1e-9)


def test_covariance_of_leptons_is_that_of_toys() -> None:
    """pT, theta and phi smeared independently of each other."""
    rng = np.random.default_rng(2)
    p, theta, n = 2.0, 0.7, 400_000
    errors = {"pt": 0.01, "theta": 0.003, "phi": 0.002}
    pt = p * np.sin(theta) + errors["pt"] * rng.normal(size=n)
    polar = theta + errors["theta"] * rng.normal(size=n)
    azimuth = errors["phi"] * rng.normal(size=n)
    toys = np.cov(np.stack([pt / np.sin(polar), polar, azimuth]))
    found = lepton_covariances(p, theta, errors["pt"], errors["theta"], errors["phi"])
    scale = np.sqrt(np.outer(np.diag(toys), np.diag(toys)))
    np.testing.assert_allclose(found / scale, toys / scale, atol=0.01)


def events(n: int, seed: int = 3):
    """True (E, theta, phi) of photons and leptons that add up to the beams, (n, 4, 4)."""
    rng = np.random.default_rng(seed)
    # two decays to two bodies each: X -> gamma gamma recoils against Y -> e e
    s, mx, my = SUPERKEKB.sqrt_s, 3.0, 4.0
    energy = (s**2 + mx**2 - my**2) / (2 * s)
    found = []
    for e, m, daughter, sign in ((energy, mx, 0.0, 1), (s - energy, my, ELECTRON_MASS, -1)):
        axis = rng.normal(size=(n, 3)) if sign > 0 else axis  # noqa: F821
        unit = axis / np.linalg.norm(axis, axis=1)[:, None]
        velocity = sign * unit * np.sqrt(e**2 - m**2) / e
        direction = rng.normal(size=(n, 3))
        direction /= np.linalg.norm(direction, axis=1)[:, None]
        k = np.sqrt(m**2 / 4 - daughter**2)
        for way in (1, -1):
            p, gamma = way * k * direction, e / m
            along = (velocity * p).sum(axis=1)
            boosted = gamma * (m / 2 + along)
            shift = gamma**2 / (gamma + 1) * along + gamma * m / 2
            found.append(np.column_stack([boosted, p + shift[:, None] * velocity]))
    lab = SUPERKEKB.to_lab(np.stack(found, axis=1))
    np.testing.assert_allclose(lab.sum(axis=1) - SUPERKEKB.momentum, 0, atol=1e-9)
    theta = np.arctan2(np.hypot(lab[..., 1], lab[..., 2]), lab[..., 3])
    keep = ((theta > 0.3) & (theta < 2.6)).all(axis=1)
    return lab[keep, :, 0], theta[keep], np.arctan2(lab[..., 2], lab[..., 1])[keep]


def test_chi2_has_four_degrees_of_freedom_and_the_mass_its_error() -> None:
    energy, theta, phi = events(30_000)
    rng = np.random.default_rng(5)
    true_p = energy[:, 2:]
    pt_error = 0.005 * true_p * np.sin(theta[:, 2:])
    leptons = lepton_covariances(true_p, theta[:, 2:], pt_error, 0.001, 0.001)
    v = np.concatenate([RESOLUTION.matrices(energy[:, :2], theta[:, :2]), leptons], axis=1)
    noise = np.einsum("naij,naj->nai", np.linalg.cholesky(v), rng.normal(size=(*energy.shape, 3)))
    measured = (energy + noise[..., 0], theta + noise[..., 1], phi + noise[..., 2])
    result = fit_photons_and_leptons(
        *measured, RESOLUTION, leptons, SUPERKEKB, mass=MASSES, radiation="none", groups=[(0, 1)]
    )
    assert result.converged.mean() > 0.999
    chi2 = result.chi2[result.converged]
    assert np.mean(chi2) == pytest.approx(4, abs=0.1)
    pull = ((result.mass2 - 9.0) / result.sigma_mass2)[result.converged]
    assert abs(np.median(pull)) < 0.05
    assert np.std(pull[np.abs(pull) < 4]) == pytest.approx(1, abs=0.04)
    unfitted = squared_mass(four_momenta(*measured, MASSES)[:, :2].sum(axis=1))
    assert np.std(np.sqrt(unfitted)) > 2 * np.median(result.sigma_mass)


def test_leptons_that_are_not_the_last_particles_are_refused() -> None:
    energy, theta, phi = events(100)
    with pytest.raises(PhysicsError, match=r"must be \(n, L, 3, 3\)"):
        fit_photons_and_leptons(
            energy, theta, phi, RESOLUTION, np.ones((len(energy), 3, 3)), SUPERKEKB, mass=MASSES
        )
