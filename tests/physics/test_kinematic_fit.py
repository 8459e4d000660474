"""The kinematic fit against a general minimiser, closed forms, limits and symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from strategies import (
    SEEDS,
    angles,
    boost,
    mass2,
    three_photon_events,
    two_photon_decays,
    unit_vectors,
)

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import SUPERKEKB, Beams
from alp_coffea.physics import kinematic_fit as kf
from alp_coffea.physics.constants import ELECTRON_MASS
from alp_coffea.physics.kinematics import CANDIDATE_ROLES
from alp_coffea.physics.photon_covariance import (
    AngularResolution,
    EnergyResolution,
    PhotonCovariance,
    Region,
    Tail,
    crystal_ball_log_density,
)

CALIBRATION = PhotonCovariance(
    source="test",
    regions=(
        Region(
            energy=EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003),
            theta=AngularResolution(constant=0.003, stochastic=0.0035),
            phi=AngularResolution(constant=0.003, stochastic=0.0035),
        ),
    ),
    energy_tail=Tail(alpha=1.2, n=6.0),
)
TAIL = (1.2, 6.0)


def measured(rng, p4, covariance=None):
    """(n, N, 3) Gaussian measurements of four-vectors (n, N, 4), and their covariance."""
    true = np.stack(angles(p4), axis=-1)
    if covariance is None:
        covariance = CALIBRATION.matrices(true[..., 0], true[..., 1])
    noise = np.linalg.cholesky(covariance) @ rng.standard_normal((*true.shape, 1))
    return true + noise[..., 0], covariance


def central(p4):
    """Events in the barrel, as the selection has them: away from the poles of the angles."""
    _, theta, _ = angles(p4)
    return p4[((theta > 0.5) & (theta < 2.3) & (p4[..., 0] > 0.3)).all(axis=1)]


def events(rng, n, beams=SUPERKEKB):
    return central(beams.to_lab(three_photon_events(rng, n, beams.sqrt_s)))


def run(y, covariance, beams=SUPERKEKB, **options):
    return kf.fit(y[..., 0], y[..., 1], y[..., 2], covariance, beams, **options)


def parameters(result):
    return np.stack([result.energy, result.theta, result.phi], axis=-1)


def momenta(y, mass=0.0):
    e, theta, phi = np.moveaxis(y, -1, 0)
    p = np.sqrt(e**2 - mass**2)
    direction = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
    return np.stack([e, *(p * d for d in direction)], axis=-1)


def random_covariance(rng, true):
    """Correlated matrices with the usual standard deviations, within a factor of two."""
    sigma = np.sqrt(np.einsum("niaa->nia", CALIBRATION.matrices(true[..., 0], true[..., 1])))
    sigma = sigma * rng.uniform(0.5, 2.0, sigma.shape)
    rho = np.broadcast_to(np.eye(3), (*true.shape, 3)).copy()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        rho[..., a, b] = rho[..., b, a] = rng.uniform(-0.5, 0.5, true.shape[:2])
    return rho * sigma[..., :, None] * sigma[..., None, :]


def minimise(y0, covariance, beams, *, start, log_density=None, free=None):
    """The constrained minimum by SLSQP, in parameters scaled to their standard deviations.

    ``log_density`` of the energy pulls replaces their Gaussian; ``free`` is the beam along which
    a photon of unknown energy is radiated.
    """
    particles = len(y0)
    sigma = np.sqrt(np.einsum("iaa->ia", covariance)).ravel()
    inverse = np.linalg.inv(covariance)

    def unscaled(x):
        return y0 + (x[: 3 * particles] * sigma).reshape(-1, 3)

    def cost(x):
        d = unscaled(x) - y0
        if log_density is None:
            return np.einsum("ia,iab,ib", d, inverse, d)
        pulls = (d / sigma.reshape(-1, 3)).ravel()
        pulls[::3] = 0
        return pulls @ pulls - 2 * log_density(-x[: 3 * particles : 3]).sum()

    def constraint(x):
        left = momenta(unscaled(x)).sum(axis=0) - beams.momentum
        if free is not None:
            left = left + 0.01 * x[-1] * free
        return 10 * left

    found = optimize.minimize(
        cost,
        np.concatenate([((start - y0).ravel() / sigma), [] if free is None else [1.0]]),
        jac="3-point",
        constraints={"type": "eq", "fun": constraint, "jac": None},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 400},
    )
    return found.fun, unscaled(found.x)


def slsqp_difference(result, k, y0, covariance, beams=SUPERKEKB, **options):
    """Largest difference to SLSQP in standard deviations, and that of chi^2."""
    fitted = parameters(result)[k]
    # from the measured values: the fit must not help its own check
    value, best = minimise(y0[k], covariance[k], beams, start=y0[k], **options)
    sigma = np.sqrt(np.einsum("iaa->ia", covariance[k]))
    return np.abs((best - fitted) / sigma).max(), abs(value - result.chi2[k])


# --- against a general minimiser --------------------------------------------------------------


def compare_with_slsqp(n):
    rng = np.random.default_rng(5)
    p4 = events(rng, 6 * n)[:n]
    true = np.stack(angles(p4), axis=-1)
    y, covariance = measured(rng, p4, random_covariance(rng, true))
    result = run(y, covariance)
    assert len(result) == n
    assert result.converged.all()
    differences = [slsqp_difference(result, k, y, covariance) for k in range(n)]
    return np.array(differences).T


def test_parameters_agree_with_slsqp():
    parameter, chi2 = compare_with_slsqp(40)
    assert parameter.max() < 1e-5
    assert chi2.max() < 1e-6


@pytest.mark.slow
def test_parameters_agree_with_slsqp_on_a_thousand_events():
    parameter, chi2 = compare_with_slsqp(1000)
    assert parameter.max() < 1e-5
    assert chi2.max() < 1e-6


def test_free_radiation_agrees_with_slsqp():
    rng = np.random.default_rng(6)
    beams = SUPERKEKB
    share = 0.05
    # the electron has radiated: the rest has the momentum of weaker beams
    weaker = Beams((1 - share) * beams.electron_energy, beams.positron_energy, beams.crossing_angle)
    p4 = events(rng, 400, weaker)[:12]
    y, covariance = measured(rng, p4)
    result = run(y, covariance, radiation="free")
    assert result.converged.all()
    assert np.all(result.radiated[:, 1] == 0)
    differences = np.array(
        [slsqp_difference(result, k, y, covariance, free=beams.electron) for k in range(len(y))]
    )
    assert differences[:, 0].max() < 1e-5
    assert result.radiated[:, 0] == pytest.approx(share, abs=0.03)


def test_robust_weights_are_the_likelihood_of_the_tail():
    rng = np.random.default_rng(7)
    p4 = events(rng, 400)[:15]
    true = np.stack(angles(p4), axis=-1)
    y, covariance = measured(rng, p4)
    # three sigma too low: in the tail, but with a unique minimum
    y[:, 1, 0] -= 3 * np.sqrt(covariance[:, 1, 0, 0])
    result = run(y, covariance, tail=TAIL)
    assert result.converged.all()

    def log_density(t):
        return crystal_ball_log_density(t, *TAIL)

    worst = []
    for k in range(len(y)):
        fitted = parameters(result)[k]
        # minima on both photons are possible: start where the fit ended, but perturbed
        start = fitted + 0.01 * (true[k] - fitted)
        _, best = minimise(y[k], covariance[k], SUPERKEKB, start=start, log_density=log_density)
        sigma = np.sqrt(np.einsum("iaa->ia", covariance[k]))
        worst.append(np.abs((best - fitted) / sigma).max())
    assert max(worst) < 2e-5


# --- closure ----------------------------------------------------------------------------------


def test_gaussian_events_without_radiation_close():
    rng = np.random.default_rng(8)
    p4 = events(rng, 200_000)
    y, covariance = measured(rng, p4)
    result = run(y, covariance)
    assert result.converged.mean() > 0.999
    expected = stats.chi2.median(4)
    assert np.median(result.chi2) / expected == pytest.approx(1, abs=0.02)
    assert 0.008 < np.mean(result.probability < 0.01) < 0.016
    for column, (_, one, two) in enumerate(CANDIDATE_ROLES):
        true = mass2(p4[:, one] + p4[:, two])
        pull = (result.mass2[:, column] - true) / result.sigma_mass2[:, column]
        low, high = np.percentile(pull, stats.norm.cdf([-1, 1]) * 100)
        assert (high - low) / 2 == pytest.approx(1, abs=0.03)
        assert abs(np.median(pull)) < 0.03


def test_free_photon_has_three_degrees_of_freedom_where_it_is_radiated():
    rng = np.random.default_rng(9)
    weaker = Beams(6.5, 4.002, 0.083)
    beams = Beams(7.2, 4.002, 0.083)
    p4 = events(rng, 60_000, weaker)
    y, covariance = measured(rng, p4)
    result = run(y, covariance, beams, radiation="free")
    assert result.constraints == 3
    assert np.median(result.chi2) / stats.chi2.median(3) == pytest.approx(1, abs=0.02)
    assert np.median(result.radiated[:, 0]) == pytest.approx(0.7 / 7.2, abs=0.001)
    true = mass2(p4[:, 0] + p4[:, 1])
    pull = (result.mass2[:, 2] - true) / result.sigma_mass2[:, 2]
    assert pull.std() == pytest.approx(1, abs=0.03)


def test_prior_favours_soft_radiation():
    rng = np.random.default_rng(10)
    y, covariance = measured(rng, events(rng, 20_000))
    none, free, prior = (run(y, covariance, radiation=mode) for mode in ("none", "free", "prior"))
    assert np.all(prior.radiated > 0)
    # events that fluctuate towards radiation get less of it than the best chi^2 asks for
    strong = free.chi2 < none.chi2 - 1
    shrunk = prior.radiated[strong].sum(axis=1) / free.radiated[strong].sum(axis=1)
    assert strong.sum() > 1000
    assert shrunk.max() < 1
    # where there is no sign of radiation it is a small fraction of its error
    assert np.median(prior.radiated[~strong]) < 0.1 * np.median(free.radiated[strong].sum(axis=1))


def test_radiated_events_are_recovered_by_the_prior():
    """Shares drawn from the spectrum itself: calibrated errors, no bias, which 4C cannot do."""
    rng = np.random.default_rng(11)
    n = 40_000
    beta = kf.radiator_exponent(SUPERKEKB.s)
    share = rng.uniform(size=n) ** (1 / beta)
    chosen = share < 0.15
    side = rng.uniform(size=n) < 0.5
    true, y, v = [], [], []
    for electron in (True, False):
        for low, high in ((0, 0.001), (0.001, 0.01), (0.01, 0.05), (0.05, 0.15)):
            use = chosen & (side == electron) & (share >= low) & (share < high)
            mean = share[use].mean()
            factors = (1 - mean, 1.0) if electron else (1.0, 1 - mean)
            weaker = Beams(
                SUPERKEKB.electron_energy * factors[0],
                SUPERKEKB.positron_energy * factors[1],
                SUPERKEKB.crossing_angle,
            )
            p4 = events(rng, int(use.sum()), weaker)
            some, covariance = measured(rng, p4)
            true.append(mass2(p4[:, 0] + p4[:, 1]))
            y.append(some)
            v.append(covariance)
    true, y, v = np.concatenate(true), np.concatenate(y), np.concatenate(v)

    def pulls(mode):
        result = run(y, v, radiation=mode)
        assert result.converged.mean() > 0.999
        return (result.mass2[:, 2] - true) / result.sigma_mass2[:, 2]

    prior, none = pulls("prior"), pulls("none")
    low, high = np.percentile(prior, [15.87, 84.13])
    assert (high - low) / 2 == pytest.approx(1, abs=0.06)
    assert abs(np.median(prior)) < 0.1
    low, high = np.percentile(none, [15.87, 84.13])
    assert (high - low) / 2 > 1.15


def test_posterior_moments_are_the_integrals():
    beta = 0.0877
    for z in (-15.9, -16.1, -4.0, -0.3, 0.0, 0.7, 3.3, 9.0, 15.9, 16.1):
        # t = u^beta removes the singularity
        def weight(t, z=z):
            return math.exp(-((t ** (1 / beta) - z) ** 2) / 2 + min(z, 0.0) ** 2 / 2) / beta

        top = (max(z, 0.0) + 12) ** beta
        points = [p for p in (max(z + shift, 0) ** beta for shift in (-3, -1, 0, 1, 3)) if p > 0]
        norm = integrate.quad(weight, 0, top, points=points, epsabs=0, limit=500)[0]
        first = integrate.quad(
            lambda t, w=weight: w(t) * t ** (1 / beta), 0, top, points=points, epsabs=0, limit=500
        )[0]
        log_integral, mean = kf.radiation_moments(beta, z)
        expected = math.log(norm) - min(z, 0.0) ** 2 / 2
        assert log_integral == pytest.approx(expected, abs=1e-8)
        assert mean == pytest.approx(first / norm, rel=1e-7)
        table = kf.kernels.interpolate(kf._moments_table(beta), kf._SPACING, kf._LARGEST, beta, z)
        tolerance = 1e-6 if abs(z) < 16 else 1e-2
        assert table[0] == pytest.approx(expected, abs=tolerance)
        assert table[1] == pytest.approx(first / norm, rel=tolerance)


def test_moments_are_those_of_the_variable_eta():
    """The published substitution k = K erf(|eta|/sqrt 2)^(1/beta) makes the prior Gaussian."""
    beta, largest, measured_k, sigma = 0.0877, 5.0, 0.12, 0.05
    eta = np.linspace(0, 8, 400_001)
    k = largest * np.array([math.erf(value / math.sqrt(2)) for value in eta]) ** (1 / beta)
    posterior = np.exp(-(eta**2) / 2 - ((k - measured_k) / sigma) ** 2 / 2)
    mean = np.trapezoid(posterior * k, eta) / np.trapezoid(posterior, eta)
    assert sigma * kf.radiation_moments(beta, measured_k / sigma)[1] == pytest.approx(
        mean, rel=1e-5
    )


# --- limits and symmetries --------------------------------------------------------------------


def test_an_unmeasured_photon_is_what_is_missing():
    """Without any knowledge of one photon its momentum is what the others leave."""
    rng = np.random.default_rng(12)
    p4 = events(rng, 2000)[:200]
    y, covariance = measured(rng, p4)
    covariance = covariance.copy()
    covariance[:, 2] = np.diag([1e4, 1e2, 1e2])
    result = run(y, covariance)
    assert result.converged.all()
    # one constraint is left, that the missing momentum is massless
    missing = SUPERKEKB.momentum - momenta(parameters(result)[:, :2]).sum(axis=1)
    assert np.abs(missing - momenta(parameters(result)[:, 2])).max() < 1e-9
    assert np.abs(mass2(missing)).max() < 1e-8
    # and the two measured photons move least to reach it: 1C by hand
    for k in range(20):

        def cost(x, k=k):
            d = x.reshape(2, 3)
            return np.einsum("ia,iab,ib", d, np.linalg.inv(covariance[k, :2]), d)

        def massless(x, k=k):
            left = SUPERKEKB.momentum - momenta(y[k, :2] + x.reshape(2, 3)).sum(axis=0)
            return mass2(left)

        found = optimize.minimize(
            cost,
            (parameters(result)[k, :2] - y[k, :2]).ravel() * 0.9,
            constraints={"type": "eq", "fun": massless},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 300},
        )
        assert result.chi2[k] == pytest.approx(found.fun, rel=2e-3, abs=1e-4)


def test_momenta_add_up_to_the_beams():
    rng = np.random.default_rng(13)
    y, covariance = measured(rng, events(rng, 3000))
    for mode in ("none", "free", "prior"):
        result = run(y, covariance, radiation=mode)
        radiated = result.radiated @ np.stack([SUPERKEKB.electron, SUPERKEKB.positron])
        total = momenta(parameters(result)).sum(axis=1) + radiated
        assert np.abs(total - SUPERKEKB.momentum).max() < 1e-8
        recoil = SUPERKEKB.momentum - radiated - momenta(parameters(result))[:, 0]
        assert result.mass2[:, 0] == pytest.approx(mass2(recoil), abs=1e-7)


def test_exact_events_stay_where_they_are():
    rng = np.random.default_rng(14)
    p4 = events(rng, 500)
    true = np.stack(angles(p4), axis=-1)
    result = run(true, CALIBRATION.matrices(true[..., 0], true[..., 1]))
    assert result.chi2 == pytest.approx(0, abs=1e-18)
    assert parameters(result) == pytest.approx(true, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, mode=st.sampled_from(["none", "free", "prior"]), robust=st.booleans())
def test_the_order_of_the_particles_does_not_matter(seed, mode, robust):
    rng = np.random.default_rng(seed)
    y, covariance = measured(rng, events(rng, 20))
    order = rng.permutation(3)
    options = {"radiation": mode, "tail": TAIL if robust else None}
    one = run(y, covariance, **options)
    other = run(
        y[:, order],
        covariance[:, order],
        groups=[[int(np.argsort(order)[i]) for i in pair] for pair in kf.PAIRS],
        **options,
    )
    both = one.converged & other.converged
    assert both.sum() >= 0.9 * len(both)
    assert other.chi2[both] == pytest.approx(one.chi2[both], rel=1e-4, abs=1e-6)
    assert parameters(one)[both][:, order] == pytest.approx(parameters(other)[both], abs=1e-6)
    assert other.mass2[both] == pytest.approx(one.mass2[both], abs=1e-5)
    assert other.sigma_mass2[both] == pytest.approx(one.sigma_mass2[both], rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, turn=st.floats(-3, 3), mode=st.sampled_from(["none", "free", "prior"]))
def test_turning_and_mirroring_symmetric_beams_changes_nothing(seed, turn, mode):
    rng = np.random.default_rng(seed)
    beams = Beams.symmetric(10.58)
    y, covariance = measured(rng, central(three_photon_events(rng, 20, 10.58)))
    one = run(y, covariance, beams, radiation=mode)
    turned = run(y + np.array([0, 0, turn]), covariance, beams, radiation=mode)
    # theta -> pi - theta exchanges the beams; the sign of its correlations turns, there are none
    mirrored = y.copy()
    mirrored[..., 1] = math.pi - y[..., 1]
    mirror = run(mirrored, covariance, beams, radiation=mode)
    assert one.converged.all()
    assert turned.chi2 == pytest.approx(one.chi2, rel=1e-6, abs=1e-8)
    assert turned.phi == pytest.approx(one.phi + turn, abs=1e-8)
    assert turned.mass2 == pytest.approx(one.mass2, abs=1e-6)
    assert mirror.chi2 == pytest.approx(one.chi2, rel=1e-6, abs=1e-8)
    assert mirror.radiated[:, ::-1] == pytest.approx(one.radiated, abs=1e-7)
    assert mirror.sigma_mass2 == pytest.approx(one.sigma_mass2, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, factor=st.floats(0.05, 20))
def test_errors_scale_with_the_covariance(seed, factor):
    """A common factor of all errors moves nothing and scales chi^2 and sigma."""
    rng = np.random.default_rng(seed)
    y, covariance = measured(rng, events(rng, 20))
    one = run(y, covariance)
    other = run(y, covariance * factor**2)
    assert parameters(other) == pytest.approx(parameters(one), abs=1e-7)
    assert other.chi2 * factor**2 == pytest.approx(one.chi2, rel=1e-6)
    assert other.sigma_mass2 == pytest.approx(one.sigma_mass2 * factor, rel=1e-6)


def test_error_of_the_mass_is_the_spread_of_repeated_measurements():
    rng = np.random.default_rng(15)
    for p4 in events(rng, 100)[:4]:
        y, covariance = measured(rng, np.repeat(p4[None], 20_000, axis=0))
        result = run(y, covariance)
        assert result.mass2.std(axis=0) == pytest.approx(
            np.median(result.sigma_mass2, axis=0), rel=0.05
        )


def test_leptons_and_photons_of_fusion_events():
    """e+e- gamma gamma with precise tracks: four particles with a mass, any group."""
    rng = np.random.default_rng(16)
    n = 20_000
    # two pairs back to back, each decays in its own frame
    masses = np.array([ELECTRON_MASS, ELECTRON_MASS, 0.0, 0.0])
    pair_masses = (6.0, 2.0)
    s = SUPERKEKB.s
    one2, two2 = (m**2 for m in pair_masses)
    momentum = math.sqrt((s - one2 - two2) ** 2 - 4 * one2 * two2) / (2 * math.sqrt(s))
    flight = unit_vectors(rng, n)
    p4 = []
    for m, daughter, side in zip(pair_masses, masses[[0, 2]], (1, -1), strict=True):
        p = math.sqrt(m**2 / 4 - daughter**2) * unit_vectors(rng, n)
        velocity = side * momentum / math.hypot(momentum, m) * flight
        half = np.full((n, 1), m / 2)
        p4 += [boost(np.concatenate([half, sign * p], axis=1), velocity) for sign in (1, -1)]
    p4 = SUPERKEKB.to_lab(np.stack(p4, axis=1))
    p4 = central(p4)
    true = np.stack(angles(p4), axis=-1)
    covariance = CALIBRATION.matrices(true[..., 0], true[..., 1])
    covariance[:, :2] *= 0.04  # tracks are better
    y, _ = measured(rng, p4, covariance)
    tails = [(math.inf, 2.0)] * 2 + [TAIL] * 2
    result = run(y, covariance, mass=masses, groups=[(2, 3), (0, 1, 2)])
    assert result.converged.mean() > 0.999
    assert np.median(result.chi2) / stats.chi2.median(4) == pytest.approx(1, abs=0.05)
    true2 = mass2(p4[:, 2] + p4[:, 3])
    pull = (result.mass2[:, 0] - true2) / result.sigma_mass2[:, 0]
    low, high = np.percentile(pull, [15.87, 84.13])
    assert (high - low) / 2 == pytest.approx(1, abs=0.04)
    total = sum(momenta(parameters(result)[:, i], masses[i]) for i in range(4))
    assert np.abs(total - SUPERKEKB.momentum).max() < 1e-8
    robust = run(y, covariance, mass=masses, tail=tails, radiation="prior", groups=[(2, 3)])
    assert robust.converged.mean() > 0.999


def test_covariance_at_the_fitted_energies_removes_the_bias():
    """Errors taken at measured energies favour energies measured too low."""
    rng = np.random.default_rng(17)
    mass = 1.0
    p4 = central(SUPERKEKB.to_lab(two_photon_decays(rng, np.full(400_000, mass), 10.5796)))
    true = np.stack(angles(p4), axis=-1)
    wide = CALIBRATION.scaled(energy=4.0)
    y, _ = measured(rng, p4, wide.matrices(true[..., 0], true[..., 1]))
    y = y[(y[..., 0] > 0.1).all(axis=1)]
    columns = y[..., 0], y[..., 1], y[..., 2]
    fitted = kf.fit_photons(*columns, wide, SUPERKEKB, radiation="none", robust=False)
    naive = kf.fit(*columns, wide.matrices(columns[0], columns[1]), SUPERKEKB)

    def bias(result):
        return np.median((result.mass2[:, 0] - mass**2) / result.sigma_mass2[:, 0])

    assert abs(bias(fitted)) < 0.5 * abs(bias(naive))


# --- bad input --------------------------------------------------------------------------------


def good_event(seed=18):
    rng = np.random.default_rng(seed)
    return measured(rng, events(rng, 100)[:1])


BAD_MATRICES = {
    "zero": np.zeros((3, 3)),
    "singular": np.full((3, 3), 1e-4),
    "negative": -np.eye(3) * 1e-4,
    "indefinite": np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]) * 1e-4,
    "asymmetric": np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]) * 1e-4,
    "missing": np.full((3, 3), np.nan),
    "infinite": np.diag([np.inf, 1e-4, 1e-4]),
}


@pytest.mark.parametrize("name", BAD_MATRICES)
def test_bad_covariances_are_flagged(name):
    y, covariance = good_event()
    covariance = np.repeat(covariance, 2, axis=0)
    covariance[0, 1] = BAD_MATRICES[name]
    result = run(np.repeat(y, 2, axis=0), covariance)
    assert kf.STATUS[result.status[0]] == "bad_covariance"
    assert kf.STATUS[result.status[1]] == "converged"
    assert result.counts == {
        "converged": 1,
        "not_converged": 0,
        "bad_particle": 0,
        "bad_covariance": 1,
        "impossible_constraints": 0,
    }


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, np.nan), (0, 0.0), (0, -1.0), (0, np.inf), (1, 0.0), (1, 3.2), (1, np.nan), (2, np.nan)],
)
def test_missing_and_impossible_photons_are_flagged(column, value):
    y, covariance = good_event()
    y[0, 2, column] = value
    result = run(y, covariance)
    assert kf.STATUS[result.status[0]] == "bad_particle"


@pytest.mark.parametrize("particles", [1, 2])
def test_too_few_directions_are_impossible(particles):
    """One photon, or several along one line, cannot have the momentum of the beams."""
    y, covariance = good_event()
    y = np.repeat(y[:, :1], particles, axis=1)
    covariance = np.repeat(covariance[:, :1], particles, axis=1)
    result = run(y, covariance, groups=[(0,)])
    assert not result.converged.any()
    assert result.counts["converged"] == 0
    assert sum(result.counts.values()) == 1


def test_photons_on_one_side_do_not_pass_silently():
    """Three photons in one hemisphere: no convergence, or a chi^2 that says so."""
    y = np.array([[[4.0, 0.5, 0.1], [3.5, 0.6, 0.2], [3.0, 0.4, 0.3]]])
    result = run(y, CALIBRATION.matrices(y[..., 0], y[..., 1]))
    assert not result.converged[0] or result.chi2[0] > 1000


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=9, max_size=9),
    errors=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=6, max_size=6),
    mode=st.sampled_from(["none", "free", "prior"]),
    robust=st.booleans(),
)
def test_whatever_comes_in_nan_comes_out_only_with_a_flag(values, errors, mode, robust):
    y = np.array(values).reshape(1, 3, 3)
    a, b, c, d, e, f = errors
    v = np.array([[a, d, e], [d, b, f], [e, f, c]])
    result = run(y, v, radiation=mode, tail=TAIL if robust else None)
    everything = [parameters(result), result.chi2, result.radiated, result.mass2]
    everything.append(result.sigma_mass2)
    finite = all(np.isfinite(part).all() for part in everything)
    nothing = all(np.isnan(part).all() for part in everything)
    assert finite if result.converged[0] else nothing
    assert sum(result.counts.values()) == 1


def test_wrong_arguments_raise():
    y, covariance = good_event()
    columns = y[..., 0], y[..., 1], y[..., 2]
    with pytest.raises(PhysicsError, match=r"one shape \(n, N\).*got \(1, 3\), \(1, 3\), \(3,\)"):
        kf.fit(columns[0], columns[1], columns[2][0], covariance, SUPERKEKB)
    with pytest.raises(PhysicsError, match=r"covariance of shape \(2, 2\) must broadcast"):
        run(y, np.eye(2))
    with pytest.raises(PhysicsError, match=r"radiation = 'isr' must be one of none, free, prior"):
        run(y, covariance, radiation="isr")
    with pytest.raises(PhysicsError, match=r"group \(0, 3\) must name particles"):
        run(y, covariance, groups=[(0, 3)])
    with pytest.raises(PhysicsError, match=r"tail = \(1.0, 0.5\) must be \(alpha, n\)"):
        run(y, covariance, tail=(1.0, 0.5))
    with pytest.raises(PhysicsError, match=r"mass = -1 must be one non-negative number"):
        run(y, covariance, mass=-1)
    with pytest.raises(PhysicsError, match=r"max_iterations = 0 must be at least 1"):
        run(y, covariance, max_iterations=0)


def test_no_events_are_no_problem():
    result = kf.fit(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3)), np.eye(3), SUPERKEKB)
    assert len(result) == 0
    assert result.counts["converged"] == 0
    assert result.mass2.shape == (0, 3)


def test_an_event_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(19)
    y, covariance = measured(rng, events(rng, 3000))
    y[3, 0, 0] = np.nan
    together = run(y, covariance, radiation="prior", tail=TAIL)
    for k in (0, 2, 4, 5):
        alone = run(y[k : k + 1], covariance[k : k + 1], radiation="prior", tail=TAIL)
        assert np.array_equal(parameters(alone)[0], parameters(together)[k])
        assert alone.chi2[0] == together.chi2[k]
