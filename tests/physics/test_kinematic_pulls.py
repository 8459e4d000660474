"""Pulls of fitted photons, the angular resolution they tell, and the normality monitor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alp_coffea.errors import InputError, PhysicsError
from alp_coffea.physics import SUPERKEKB
from alp_coffea.physics import kinematic_fit as kf
from alp_coffea.physics.kinematic_pulls import angular_scale, half_width, photon_pulls
from alp_coffea.physics.normality import (
    SignalTriples,
    departure,
    mass_pulls,
    normality,
    scan_scales,
)
from alp_coffea.physics.photon_covariance import (
    AngularResolution,
    Correlation,
    EnergyResolution,
    PhotonCovariance,
    Region,
)

ANGLE = AngularResolution(constant=0.003, stochastic=0.0035)
ENERGY = EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003)
COVARIANCE = PhotonCovariance(
    source="test", regions=(Region(energy=ENERGY, theta=ANGLE, phi=ANGLE),)
)
CORRELATED = PhotonCovariance(
    source="test",
    regions=(
        Region(
            energy=ENERGY,
            theta=ANGLE,
            phi=AngularResolution(constant=0.005, stochastic=0.002),
            correlation=Correlation(energy_theta=0.3, energy_phi=-0.2, theta_phi=0.4),
        ),
    ),
)


def decays(rng, n, mass, radiation=None):
    """True photons (n, 3) in the lab, and which one recoils, of e+e- -> gamma a."""
    share = np.zeros((n, 2)) if radiation is None else radiation
    beams = np.stack([SUPERKEKB.electron, SUPERKEKB.positron])
    total = ((1 - share)[:, :, None] * beams).sum(axis=1)
    s = total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(axis=1)
    root = np.sqrt(s)

    def direction():
        z, turn = rng.uniform(-1, 1, n), rng.uniform(-math.pi, math.pi, n)
        r = np.sqrt(1 - z**2)
        return np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)

    def boosted(p4, by):
        beta = by[:, 1:] / by[:, :1]
        b2 = (beta**2).sum(axis=1)
        gamma = 1 / np.sqrt(1 - b2)
        along = (p4[:, 1:] * beta).sum(axis=1)
        factor = (gamma - 1) * along / np.maximum(b2, 1e-300) + gamma * p4[:, 0]
        return np.column_stack([gamma * (p4[:, 0] + along), p4[:, 1:] + factor[:, None] * beta])

    energy, n1, n2 = (s - mass**2) / (2 * root), direction(), direction()
    photon = np.column_stack([energy, energy[:, None] * n1])
    alp = np.column_stack([root - energy, -energy[:, None] * n1])
    half = np.full((n, 1), mass / 2)
    one = boosted(np.column_stack([half, mass / 2 * n2]), alp)
    p4 = np.stack([boosted(p, total) for p in (photon, one, alp - one)], axis=1)
    e, theta = p4[..., 0], np.arctan2(np.hypot(p4[..., 1], p4[..., 2]), p4[..., 3])
    phi = np.arctan2(p4[..., 2], p4[..., 1])
    order = np.argsort(-e, axis=1)
    columns = [np.take_along_axis(c, order, axis=1) for c in (e, theta, phi)]
    keep = (columns[0] > 0.5).all(axis=1) & (np.abs(columns[1] - 1.5) < 1.1).all(axis=1)
    return [c[keep] for c in columns], (order == 0).argmax(axis=1)[keep]


def measured(rng, true, covariance):
    v = covariance.matrices(true[0], true[1])
    noise = np.linalg.cholesky(v) @ rng.standard_normal((*v.shape[:-1], 1))
    return [column + noise[..., k, 0] for k, column in enumerate(true)]


@pytest.mark.parametrize("covariance", [COVARIANCE, CORRELATED])
def test_pulls_are_unit_gaussians_without_radiation(covariance):
    rng = np.random.default_rng(1)
    true, _ = decays(rng, 40_000, 3.0)
    pulls = photon_pulls(*measured(rng, true, covariance), covariance, SUPERKEKB, radiation="none")
    assert np.isfinite(pulls).all()
    for k in range(3):
        width, error = half_width(pulls[:, :, k])
        assert width == pytest.approx(1.0, abs=0.012)
        assert error < 0.005
        assert np.abs(np.median(pulls[:, :, k])) < 0.03
        assert pulls[:, :, k].std() == pytest.approx(1.0, abs=0.015)


def test_spread_of_the_residuals_in_closed_form():
    """V J^T (J V J^T)^-1 J V with a numerical Jacobian at the fitted parameters."""
    rng = np.random.default_rng(2)
    true, _ = decays(rng, 60, 2.0)
    seen = measured(rng, true, CORRELATED)
    pulls = photon_pulls(*seen, CORRELATED, SUPERKEKB, radiation="none", robust=False)
    result = kf.fit_photons(*seen, CORRELATED, SUPERKEKB, radiation="none", robust=False)

    def total(y):
        e, theta, phi = y.reshape(3, 3).T
        return np.array(
            [
                e.sum(),
                (e * np.sin(theta) * np.cos(phi)).sum(),
                (e * np.sin(theta) * np.sin(phi)).sum(),
                (e * np.cos(theta)).sum(),
            ]
        )

    for event in range(len(pulls)):
        y = np.stack([result.energy[event], result.theta[event], result.phi[event]], axis=1).ravel()
        y0 = np.stack([column[event] for column in seen], axis=1).ravel()
        v = np.zeros((9, 9))
        blocks = CORRELATED.matrices(result.energy[event], seen[1][event])
        for i in range(3):
            v[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = blocks[i]
        step = 1e-6 * np.eye(9)
        jacobian = np.array([(total(y + h) - total(y - h)) / 2e-6 for h in step]).T
        spread = v @ jacobian.T @ np.linalg.inv(jacobian @ v @ jacobian.T) @ jacobian @ v
        expected = (y0 - y) / np.sqrt(np.diag(spread))
        assert pulls[event].ravel() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def radiation(rng, n):
    """Shares of the beams' energies with the spectrum of the prior, along one beam per event."""
    beta = kf.radiator_exponent(SUPERKEKB.s)
    share = np.zeros((n, 2))
    share[np.arange(n), rng.integers(0, 2, n)] = 0.3 * rng.uniform(size=n) ** (1 / beta)
    return share


@pytest.mark.parametrize("factor", [1.0, 1.4])
def test_angular_resolution_is_found_in_phi_pulls(factor):
    rng = np.random.default_rng(3)
    truth = COVARIANCE.scaled(theta=factor, phi=factor)
    true, _ = decays(rng, 30_000, 4.0, radiation(rng, 30_000))
    scale = angular_scale(*measured(rng, true, truth), COVARIANCE, SUPERKEKB)
    # what radiation leaves in the pulls: about 1 % of their width, 2 % of the factor
    assert scale.factor == pytest.approx(factor, rel=0.035)
    assert 0.003 < scale.error / scale.factor < 0.02
    same, _ = decays(rng, 30_000, 4.0, radiation(rng, 30_000))
    reference = angular_scale(*measured(rng, same, COVARIANCE), COVARIANCE, SUPERKEKB)
    spread = math.hypot(scale.error / scale.factor, reference.error / reference.factor)
    assert abs(scale.factor / reference.factor / factor - 1) < 4 * spread


def test_pulls_of_events_without_a_fit_are_missing():
    rng = np.random.default_rng(4)
    true, _ = decays(rng, 200, 3.0)
    true[0][5, 1] = np.nan
    pulls = photon_pulls(*true, COVARIANCE, SUPERKEKB)
    assert np.isnan(pulls[5]).all()
    assert np.isfinite(np.delete(pulls, 5, axis=0)).all()


def test_half_width_of_a_gaussian_and_its_error():
    rng = np.random.default_rng(5)
    found = [half_width(rng.normal(0.3, 2.0, 4000)) for _ in range(200)]
    widths = [width for width, _ in found]
    assert np.mean(widths) == pytest.approx(2.0, rel=0.005)
    assert np.mean([error for _, error in found]) == pytest.approx(np.std(widths), rel=0.15)


def test_what_cannot_be_measured_is_refused():
    rng = np.random.default_rng(6)
    true, _ = decays(rng, 2000, 3.0)
    with pytest.raises(InputError, match="9 values; 200 are needed"):
        half_width(np.arange(9.0))
    exact = measured(rng, true, COVARIANCE.scaled(energy=3, theta=9, phi=9))
    with pytest.raises(InputError, match=r"phi pulls are .* never 1"):
        angular_scale(*exact, COVARIANCE, SUPERKEKB)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(7)
    found = []
    for mass in (1.0, 3.0, 6.0, 8.0):
        true, candidate = decays(rng, 6000, mass, radiation(rng, 6000))
        found.append(SignalTriples(mass, *measured(rng, true, COVARIANCE), candidate))
    return found


def test_pulls_of_the_mass_are_normal_with_the_right_covariance(samples):
    rows = normality(samples, COVARIANCE, SUPERKEKB)
    assert [row.mass for row in rows] == [1.0, 3.0, 6.0, 8.0]
    for row, sample in zip(rows, samples, strict=True):
        pulls = mass_pulls(sample, COVARIANCE, SUPERKEKB)
        assert row.events == len(pulls) > 2000
        assert row.failed == np.isnan(pulls).sum()
        assert abs(row.median) < 0.1
        assert row.width == pytest.approx(1.0, abs=0.08)
    assert departure(rows) < 0.08
    wrong = normality(samples, COVARIANCE.scaled(theta=0.7, phi=0.7, energy=0.7), SUPERKEKB)
    assert departure(wrong) > 0.3


def mass_error(sample, covariance):
    """Median error of the true candidates' squared mass [GeV^2]."""
    result = kf.fit_photons(sample.energy, sample.theta, sample.phi, covariance, SUPERKEKB)
    return np.nanmedian(result.sigma_mass2[np.arange(len(sample.candidate)), sample.candidate])


def test_scan_finds_factors_that_undo_a_wrong_covariance(samples):
    wrong = COVARIANCE.scaled(energy=1 / 1.25, theta=0.85, phi=0.85)
    scan = scan_scales(samples, wrong, SUPERKEKB, energy=(0.8, 1.0, 1.4), angle=(0.8, 1.0, 1.4))
    assert scan.departure.shape == (3, 3)
    assert scan.best_departure <= scan.departure.min()
    assert scan.best_departure < 0.25 * scan.departure[1, 1]
    # energies and angles partly stand for each other: their product is not known, but the errors
    # of the masses are, to the statistical error of the widths
    for sample in samples:
        assert mass_error(sample, scan.apply(wrong)) == pytest.approx(
            mass_error(sample, COVARIANCE), rel=0.06
        )
        assert mass_error(sample, wrong) < 0.87 * mass_error(sample, COVARIANCE)
    assert departure(normality(samples, scan.apply(wrong), SUPERKEKB)) == pytest.approx(
        scan.best_departure
    )


def test_triples_of_other_lengths_are_refused():
    with pytest.raises(PhysicsError, match=r"must be \(2, 3\)"):
        SignalTriples(1.0, *np.ones((3, 4, 3)), np.zeros(2, int))
