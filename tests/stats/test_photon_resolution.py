"""The resolution of photons from radiative dimuons: known answers come back."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from scipy import stats

from alp_coffea.errors import InputError, PhysicsError
from alp_coffea.physics.photon_covariance import EnergyResolution
from alp_coffea.stats.photon_resolution import (
    ResolutionFit,
    calorimeter_function,
    unfold,
    unfold_all,
)
from alp_coffea.stats.shapes import crystal_ball

AXIS = hist.axis.Regular(401, -1.0025, 1.0025, name="difference")
EDGES = AXIS.edges


def crystal_balls(rng, n, sigma, alpha=1.2, power=6.0):
    """Differences E - E_true, from the fine cumulative function."""
    edges = np.linspace(-2, 2, 40_001)
    cumulative = np.concatenate([[0], np.cumsum(crystal_ball(edges, 0.0, sigma, alpha, power))])
    return np.interp(rng.uniform(size=n), cumulative / cumulative[-1], edges)


def smearings(rng, n, tracking=0.03):
    """p_recoil - E_true: tracking, and radiation that adds to the recoil in a tenth of events."""
    radiated = rng.exponential(0.05, n) * (rng.uniform(size=n) < 0.1)
    return tracking * rng.standard_normal(n) + radiated


def binned(values):
    return np.histogram(values, EDGES)[0].astype(float)


@pytest.mark.parametrize("sigma", [0.025, 0.05, 0.1])
def test_unfolding_finds_the_width_and_no_unfolding_does_not(sigma):
    rng = np.random.default_rng(1)
    n = 60_000
    seen = binned(crystal_balls(rng, n, sigma) - smearings(rng, n, 0.8 * sigma))
    template = binned(smearings(rng, 10 * n, 0.8 * sigma))
    fit = unfold(EDGES, seen, 2.0, template)
    assert fit.converged
    assert fit.sigma == pytest.approx(sigma, rel=0.03)
    assert abs(fit.sigma - sigma) < 4 * fit.sigma_error
    assert abs(fit.mu) < 0.05 * sigma
    assert stats.chi2.sf(fit.chi2, fit.ndf) > 1e-3
    assert unfold(EDGES, seen, 2.0).sigma > 1.15 * sigma


def test_radiation_left_out_of_the_template_looks_like_a_tail():
    rng = np.random.default_rng(4)
    sigma, n = 0.025, 60_000
    seen = binned(crystal_balls(rng, n, sigma) - smearings(rng, n, 0.02))
    complete = unfold(EDGES, seen, 2.0, binned(smearings(rng, 10 * n, 0.02)))
    tracking_only = unfold(EDGES, seen, 2.0, binned(0.02 * rng.standard_normal(10 * n)))
    assert complete.alpha == pytest.approx(1.2, abs=0.1)
    assert tracking_only.alpha < 0.9 * complete.alpha


def test_errors_are_the_spread_of_repeated_fits():
    rng = np.random.default_rng(2)
    template = binned(smearings(rng, 200_000))
    fits = [
        unfold(EDGES, binned(crystal_balls(rng, 4000, 0.05) - smearings(rng, 4000)), 2.0, template)
        for _ in range(40)
    ]
    pulls = np.array([(fit.sigma - 0.05) / fit.sigma_error for fit in fits])
    assert abs(pulls.mean()) < 0.6
    assert 0.6 < pulls.std() < 1.5


def test_every_bin_with_events_is_fitted():
    rng = np.random.default_rng(3)
    momentum = hist.axis.Regular(4, 1.25, 3.25, name="p_recoil")
    data = hist.Hist(momentum, AXIS, storage="weight")
    smearing = hist.Hist(momentum, AXIS, storage="weight")
    for k, energy in enumerate(momentum.centers[:3]):
        sigma = 0.02 * energy
        n = 20_000 if k < 2 else 50
        at = np.full(n, energy)
        data.fill(at, crystal_balls(rng, n, sigma) - smearings(rng, n), weight=0.5)
        smearing.fill(np.full(100_000, energy), smearings(rng, 100_000))
    fits = unfold_all(data, smearing.values())
    assert [fit.energy for fit in fits] == [1.5, 2.0]
    assert [fit.sigma for fit in fits] == pytest.approx([0.03, 0.04], rel=0.08)
    assert [f.energy for f in unfold_all(data, smearing.values(), [1.48, 1.97, 2.5, 3.0])] == [
        1.48,
        1.97,
    ]


def fit_at(energy, sigma, converged=True, error=1e-4):
    return ResolutionFit(energy, 0.0, 0.001, sigma, error * sigma, 1.2, 6.0, 1.0, 1, converged)


def test_calorimeter_function_is_exact_on_its_own_curve():
    true = EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003)
    energies = np.arange(1.5, 6.1, 0.5)
    fits = [fit_at(e, float(true.sigma(e))) for e in energies]
    found = calorimeter_function(fits)
    assert found.sigma(energies) == pytest.approx(true.sigma(energies), rel=1e-6)
    assert found.stochastic == pytest.approx(0.02, rel=1e-4)
    # terms that would be negative are zero
    steep = [fit_at(e, 0.01 * e**1.5) for e in energies]
    assert calorimeter_function(steep).noise == 0.0


def test_noise_that_is_not_seen_is_left_out():
    true = EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003)
    energies = np.arange(1.5, 6.1, 0.5)
    exact = [fit_at(e, float(true.sigma(e)), error=0.02) for e in energies]
    found = calorimeter_function(exact)
    assert found.noise == 0.0
    # nor missed: the other terms take its place
    below = np.array([1.0, 1.5, 3.0, 6.0])
    assert found.sigma(below) == pytest.approx(true.sigma(below), rel=0.01)
    noisy = EnergyResolution(stochastic=0.02, constant=0.016, noise=0.04)
    seen = [fit_at(e, float(noisy.sigma(e)), error=0.02) for e in energies]
    assert calorimeter_function(seen).noise == pytest.approx(0.04, rel=1e-4)
    # with fluctuations, what the function says at 1 GeV has no bias
    rng = np.random.default_rng(5)
    at_one = [
        float(
            calorimeter_function(
                [fit_at(f.energy, f.sigma * (1 + 0.02 * rng.standard_normal()), error=0.02)
                 for f in exact]
            ).sigma(1.0)
        )
        / float(true.sigma(1.0))
        for _ in range(200)
    ]  # fmt: skip
    assert np.mean(at_one) == pytest.approx(1.0, abs=0.012)


def test_a_known_tail_is_kept_and_tells_the_width_better():
    rng = np.random.default_rng(6)
    seen = binned(crystal_balls(rng, 40_000, 0.05))
    free, fixed = unfold(EDGES, seen, 2.0), unfold(EDGES, seen, 2.0, tail=(1.2, 6.0))
    assert (fixed.alpha, fixed.n) == (1.2, 6.0)
    assert fixed.sigma == pytest.approx(0.05, abs=4 * fixed.sigma_error)
    assert fixed.sigma_error < 0.8 * free.sigma_error


def test_what_cannot_be_fitted_is_refused():
    counts = np.full(401, 10.0)
    with pytest.raises(InputError, match="12 events at 2 GeV; 200 are needed"):
        unfold(EDGES, np.full(401, 12 / 401), 2.0)
    with pytest.raises(InputError, match="smearing at 2 GeV is empty"):
        unfold(EDGES, counts, 2.0, np.zeros(401))
    with pytest.raises(PhysicsError, match=r"smearing \(3,\) where \(401,\)"):
        unfold(EDGES, counts, 2.0, np.ones(3))
    with pytest.raises(PhysicsError, match="uniform and symmetric"):
        unfold(EDGES + 0.1, counts, 2.0)
    with pytest.raises(PhysicsError, match="number of bins must be odd"):
        unfold(np.linspace(-1, 1, 401), np.full(400, 10.0), 2.0)
    with pytest.raises(PhysicsError, match=r"\(3,\) counts do not fit"):
        unfold(EDGES, np.ones(3), 2.0)
    with pytest.raises(InputError, match="at least three energies"):
        calorimeter_function([fit_at(1.0, 0.02), fit_at(2.0, 0.03), fit_at(3.0, 0.04, False)])
