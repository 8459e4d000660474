"""The photon covariance: formulas, file, and its estimate from truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from alp_coffea.errors import InputError, PhysicsError, UnreadableFileError
from alp_coffea.physics.photon_covariance import (
    AngularResolution,
    Correlation,
    EnergyResolution,
    PhotonCovariance,
    Region,
    Tail,
    crystal_ball_log_density,
)

REGION = Region(
    energy=EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003),
    theta=AngularResolution(constant=0.003, stochastic=0.0035),
    phi=AngularResolution(constant=0.004, stochastic=0.005),
    correlation=Correlation(energy_theta=0.2, energy_phi=-0.1, theta_phi=0.05),
)
COVARIANCE = PhotonCovariance(source="test", regions=(REGION,), energy_tail=Tail(alpha=1.2, n=6))


@given(energy=st.floats(0.01, 10), theta=st.floats(0.01, 3.1))
def test_matrices_have_the_terms_in_quadrature(energy, theta):
    v = COVARIANCE.matrices(energy, theta)
    relative = math.hypot(0.02 / math.sqrt(energy), 0.016, 0.003 / energy)
    assert math.sqrt(v[0, 0]) == pytest.approx(relative * energy)
    assert math.sqrt(v[1, 1]) == pytest.approx(math.hypot(0.003, 0.0035 / math.sqrt(energy)))
    assert math.sqrt(v[2, 2]) == pytest.approx(math.hypot(0.004, 0.005 / math.sqrt(energy)))
    assert v[0, 1] / math.sqrt(v[0, 0] * v[1, 1]) == pytest.approx(0.2)
    assert v[2, 0] / math.sqrt(v[0, 0] * v[2, 2]) == pytest.approx(-0.1)
    assert np.array_equal(v, v.T)
    assert np.linalg.eigvalsh(v).min() > 0


def test_regions_are_found_by_angle():
    wide = REGION.model_copy(update={"theta_min": 1.0, "theta_max": 2.0})
    narrow = REGION.model_copy(
        update={
            "theta_min": 0.5,
            "theta_max": 1.0,
            "theta": AngularResolution(constant=0.001, stochastic=0),
        }
    )
    both = PhotonCovariance(source="test", regions=(wide, narrow))
    v = both.matrices(np.full((1, 4), 1.0), [[0.5, 1.0, 2.0, 0.4]])
    assert v.shape == (1, 4, 3, 3)
    assert math.sqrt(v[0, 0, 1, 1]) == pytest.approx(0.001)
    assert math.sqrt(v[0, 1, 1, 1]) == pytest.approx(math.hypot(0.003, 0.0035))
    assert np.isnan(v[0, 2:]).all()
    assert np.isnan(both.matrices([0.0, -1.0, np.nan], 1.5)).all()
    assert both.tail is None


def test_factors_multiply_standard_deviations():
    one = COVARIANCE.matrices(2.0, 1.0)
    scaled = COVARIANCE.scaled(energy=1.5, phi=0.5)
    other = scaled.matrices(2.0, 1.0)
    factors = np.array([1.5, 1.0, 0.5])
    assert other == pytest.approx(one * np.outer(factors, factors))
    assert scaled.source == "test; energy x 1.5, theta x 1, phi x 0.5"
    with pytest.raises(PhysicsError, match="must be positive and finite"):
        COVARIANCE.scaled(energy=0)


def test_file_round_trip(tmp_path):
    path = tmp_path / "covariance.json"
    COVARIANCE.write(path)
    assert PhotonCovariance.read(path) == COVARIANCE
    content = json.loads(path.read_text())
    assert content["format"] == "photon_covariance"
    assert content["regions"][0]["energy"] == {
        "stochastic": 0.02,
        "constant": 0.016,
        "noise": 0.003,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regions": []}, "regions"),
        ({"format": "something"}, "format"),
        ({"version": 2}, "version"),
        ({"sigma": 1}, "sigma: Extra inputs"),
        ({"energy_tail": {"alpha": 1.0, "n": 1.0}}, "energy_tail.n"),
        ({"source": ""}, "source"),
    ],
)
def test_wrong_files_are_named(tmp_path, change, message):
    path = tmp_path / "covariance.json"
    path.write_text(json.dumps(COVARIANCE.model_dump(mode="json") | change))
    with pytest.raises(UnreadableFileError, match=message) as error:
        PhotonCovariance.read(path)
    assert str(path) in str(error.value)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"nowhere.json: cannot be read"):
        PhotonCovariance.read(tmp_path / "nowhere.json")
    (tmp_path / "foreign.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableFileError, match="is not text"):
        PhotonCovariance.read(tmp_path / "foreign.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UnreadableFileError, match="Invalid JSON"):
        PhotonCovariance.read(tmp_path / "broken.json")


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="not positive definite"):
        Correlation(energy_theta=0.9, energy_phi=0.9, theta_phi=-0.9)
    with pytest.raises(ValueError, match="must be below"):
        Region(theta_min=2, theta_max=1, **REGION.model_dump(include={"energy", "theta", "phi"}))
    with pytest.raises(ValueError, match="regions overlap"):
        PhotonCovariance(source="test", regions=(REGION, REGION))


def test_crystal_ball_is_a_density():
    def density(t):
        return math.exp(crystal_ball_log_density(t, 1.2, 6.0))

    total = integrate.quad(density, -np.inf, -1.2)[0] + integrate.quad(density, -1.2, 12)[0]
    assert total == pytest.approx(1, rel=1e-8)
    # continuous with its derivative at the junction
    left, right = crystal_ball_log_density([-1.2 - 1e-6, -1.2 + 1e-6], 1.2, 6.0)
    assert left == pytest.approx(right, abs=4e-6)
    gaussian = crystal_ball_log_density(np.linspace(-3, 3, 13), 30.0, 6.0)
    assert gaussian == pytest.approx(stats.norm.logpdf(np.linspace(-3, 3, 13)))


def crystal_ball_pulls(rng, n, alpha, power):
    """Tail below -alpha by inversion, Gaussian above by rejection."""
    b = power / alpha - alpha
    tail = power / alpha / (power - 1) * math.exp(-(alpha**2) / 2)
    core = math.sqrt(2 * math.pi) * stats.norm.cdf(alpha)
    below = rng.uniform(size=n) < tail / (tail + core)
    pulls = b - power / alpha * rng.uniform(size=n) ** (-1 / (power - 1))
    pulls[~below] = stats.norm.ppf(rng.uniform(stats.norm.cdf(-alpha), 1, (~below).sum()))
    return pulls


def simulated(rng, n, angular=1.0):
    energy = rng.uniform(0.3, 7, n)
    theta, phi = rng.uniform(0.6, 2.2, n), rng.uniform(-math.pi, math.pi, n)
    sigma = np.sqrt(np.einsum("iaa->ia", COVARIANCE.matrices(energy, theta)))
    pulls = rng.multivariate_normal(np.zeros(2), [[1, 0.05], [0.05, 1]], n)
    moved = phi + angular * sigma[:, 2] * pulls[:, 1]
    # measured azimuths are in (-pi, pi]
    moved = np.remainder(moved + math.pi, 2 * math.pi) - math.pi
    measured = (
        energy + sigma[:, 0] * crystal_ball_pulls(rng, n, 1.2, 6.0),
        theta + angular * sigma[:, 1] * pulls[:, 0],
        moved,
    )
    return measured, (energy, theta, phi)


def test_estimate_from_truth_finds_what_was_simulated():
    rng = np.random.default_rng(1)
    measured, true = simulated(rng, 60_000)
    # wrong matches do not matter
    measured[1][:50] += 0.5
    found = PhotonCovariance.from_truth(*measured, *true, source="simulation")
    assert found.tail == pytest.approx((1.2, 6.0), rel=0.15)
    for energy in (0.5, 1.0, 3.0, 6.0):
        one = np.sqrt(np.diag(COVARIANCE.matrices(energy, 1.0)))
        other = np.sqrt(np.diag(found.matrices(energy, 1.0)))
        assert other == pytest.approx(one, rel=0.02)
    assert found.regions[0].correlation.theta_phi == pytest.approx(0.05, abs=0.02)
    assert found.regions[0].correlation.energy_phi == pytest.approx(0.0, abs=0.02)
    assert found.source == "simulation"


def test_estimate_in_regions_of_the_polar_angle():
    rng = np.random.default_rng(2)
    measured, true = simulated(rng, 30_000)
    worse, also = simulated(rng, 30_000, angular=2.0)
    forward = also[1] - 0.6 < 0.8  # 0.6 to 1.4 worse, 1.4 to 2.2 as simulated
    keep = true[1] >= 1.4
    columns = [np.concatenate([a[keep], b[forward]]) for a, b in zip(measured, worse, strict=True)]
    truth = [np.concatenate([a[keep], b[forward]]) for a, b in zip(true, also, strict=True)]
    found = PhotonCovariance.from_truth(
        *columns, *truth, source="test", theta_edges=(0.6, 1.4, 2.2)
    )
    sigma = np.sqrt(np.einsum("iaa->ia", found.matrices(2.0, [1.0, 2.0])))
    assert sigma[0, 1] / sigma[1, 1] == pytest.approx(2, rel=0.05)
    assert sigma[0, 0] / sigma[1, 0] == pytest.approx(1, rel=0.05)


def test_too_few_photons_are_refused():
    measured, true = simulated(np.random.default_rng(3), 500)
    with pytest.raises(InputError, match="1000 matched photons are needed"):
        PhotonCovariance.from_truth(*measured, *true, source="test")
    with pytest.raises(PhysicsError, match="need one shape"):
        PhotonCovariance.from_truth(*measured, *true[:2], true[2][:5], source="test")
