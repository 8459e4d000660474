"""Scale factors of tracking errors and the smearing they make: known answers come back."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from scipy import stats

from alp_coffea.errors import InputError, PhysicsError
from alp_coffea.stats.recoil_scale import (
    ScaleFactor,
    below_recoil,
    corrected,
    scale_factor,
    scale_factors,
    tracking_smearing,
    without_radiation,
)

PULLS = hist.axis.Regular(1000, -10.0, 10.0, name="pull")
COMPONENTS = hist.axis.StrCategory(["x", "y", "z"], name="component")


@pytest.mark.parametrize("width", [0.5, 0.97, 1.6])
def test_width_of_gaussian_pulls_comes_back(width):
    expected = 1e6 * np.diff(stats.norm.cdf(PULLS.edges, 0.0, width))
    found = scale_factor(PULLS.edges, expected)
    assert found.value == pytest.approx(width, rel=1e-3)
    # of a Gaussian seen within three standard deviations: a little more than 1/sqrt(2 n)
    assert 1 < found.error / (width / np.sqrt(2e6)) < 1.3


def test_the_mean_and_what_lies_outside_do_not_matter():
    shifted = 1e6 * np.diff(stats.norm.cdf(PULLS.edges, 0.05, 1.1))
    assert scale_factor(PULLS.edges, shifted).value == pytest.approx(1.1, rel=1e-3)
    tailed = shifted.copy()
    tailed[np.abs(PULLS.centers) > 4] += 100.0
    assert scale_factor(PULLS.edges, tailed).value == pytest.approx(1.1, rel=1e-3)


def test_error_is_the_spread_of_repeated_fits():
    rng = np.random.default_rng(1)
    found = [
        scale_factor(PULLS.edges, np.histogram(rng.normal(0, 1.2, 5000), PULLS.edges)[0])
        for _ in range(60)
    ]
    spread = np.std([f.value for f in found])
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.3)


def radiated(rng, n, widths, share=0.4):
    """Pulls of pure pairs by true recoil: radiation moves z."""
    recoil = np.where(rng.uniform(size=n) < share, 1e-6, 10 ** rng.uniform(-4, -0.3, n))
    pulls = {name: width * rng.standard_normal(n) for name, width in widths.items()}
    pulls["z"] += recoil / 0.03 * rng.choice([-1, 1], n)
    seen = hist.Hist(COMPONENTS, PULLS, storage="weight")
    edges = [1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 0.1, 0.5]
    below = hist.Hist(
        COMPONENTS, hist.axis.Variable(edges, name="radiated"), PULLS, storage="weight"
    )
    for name, pull in pulls.items():
        seen.fill(component=name, pull=pull)
        below.fill(component=name, radiated=recoil, pull=pull)
    return seen, below


def test_radiation_is_taken_out_of_simulation_and_of_data():
    rng = np.random.default_rng(2)
    simulated, below = radiated(rng, 100_000, {"x": 1.0, "y": 1.0, "z": 1.0})
    data, _ = radiated(rng, 100_000, {"x": 1.1, "y": 1.2, "z": 1.1})
    raw, plateau = scale_factors(simulated), without_radiation(below)
    assert raw["z"].value > 1.1
    for name in "xyz":
        assert plateau[name].value == pytest.approx(1.0, abs=4 * plateau[name].error)
    points = below_recoil(below)["z"]
    assert [limit for limit, _ in points] == [1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 0.1, 0.5]
    assert points[-1][1].value > 1.05 > points[0][1].value
    found = corrected(scale_factors(data), raw, plateau)
    assert found["x"].value == pytest.approx(1.1, abs=0.02)
    assert found["y"].value == pytest.approx(1.2, abs=0.02)
    assert found["z"].value == pytest.approx(1.1, abs=0.04)


def errors_of(sigma, share_x, share_z, n=1000):
    histogram = hist.Hist(
        hist.axis.Regular(1, 1.0, 2.0, name="p_recoil"),
        hist.axis.Regular(120, 0.002, 0.5, transform=hist.axis.transform.log, name="error"),
        hist.axis.Regular(6, 0.0, 1.0, name="share_x"),
        hist.axis.Regular(6, 0.0, 1.0, name="share_z"),
        storage="weight",
    )
    one = np.ones(n)
    return histogram.fill(1.5 * one, sigma * one, share_x * one, share_z * one)


CENTRES = np.linspace(-1, 1, 401)


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.1])
def test_one_error_makes_one_gaussian(sigma):
    smearing = tracking_smearing(errors_of(sigma, 0.4, 0.4), None, CENTRES)[0]
    assert smearing.sum() == pytest.approx(1.0)
    assert smearing @ CENTRES == pytest.approx(0.0, abs=1e-12)
    # bins of the error are 4.7 % wide
    assert np.sqrt(smearing @ CENTRES**2) == pytest.approx(sigma, rel=0.024)


def test_a_sum_of_gaussians_has_the_sum_of_their_variances():
    both = errors_of(0.02, 0.4, 0.4) + errors_of(0.06, 0.4, 0.4, n=3000)
    smearing = tracking_smearing(both, None, CENTRES)[0]
    assert np.sqrt(smearing @ CENTRES**2) == pytest.approx(
        np.sqrt((0.02**2 + 3 * 0.06**2) / 4), rel=0.024
    )


@pytest.mark.parametrize(("x", "z"), [(9 / 12, 1 / 12), (1 / 12, 9 / 12), (1 / 12, 1 / 12)])
def test_factors_act_along_the_recoil(x, z):
    """R0 eq. 8.14, at the middle of bins of the shares."""
    factors = {name: ScaleFactor(v, 0.0) for name, v in (("x", 1.5), ("y", 1.2), ("z", 0.7))}
    plain, scaled = (
        np.sqrt(tracking_smearing(errors_of(0.05, x, z), f, CENTRES)[0] @ CENTRES**2)
        for f in (None, factors)
    )
    expected = np.sqrt(x * 1.5**2 + (1 - x - z) * 1.2**2 + z * 0.7**2)
    assert scaled / plain == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(InputError, match="100 pure muon pairs; 500 are needed"):
        scale_factor(PULLS.edges, np.full(1000, 0.1))
    with pytest.raises(PhysicsError, match="do not fit"):
        scale_factor(PULLS.edges, np.ones(3))
    with pytest.raises(InputError, match="does not settle"):
        scale_factor(PULLS.edges, np.where(np.abs(PULLS.centers) > 9, 1000.0, 0.0))
    empty = hist.Hist(
        COMPONENTS, hist.axis.Variable([1e-5, 1e-4], name="radiated"), PULLS, storage="weight"
    )
    with pytest.raises(InputError, match="without radiation"):
        without_radiation(empty)
