"""Signal model: peaks drawn from known shapes come back, interpolated and never extrapolated."""

from __future__ import annotations

from pathlib import Path

import hist
import numpy as np
import pytest
from numpy.typing import NDArray

from alp_coffea.errors import ModelError
from alp_coffea.physics.kinematics import signed_root, signed_square
from alp_coffea.physics.theory import cross_section
from alp_coffea.stats.shapes import crystal_ball
from alp_coffea.stats.signal import SignalModel, SignalSample, fit_signal

SQRT_S = 10.58
COUPLING = 1e-3
MASSES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
ALPHA, N = 1.3, 4.0


def sigma(mass: float) -> float:
    """A resolution in m^2 that rises as in the calorimeter [GeV^2]."""
    return 0.04 * mass**1.8


def efficiency(mass: float) -> float:
    return 0.25 + 0.01 * mass


def spectrum(mass: float, side: int, events: float, rng: np.random.Generator) -> NDArray[float]:
    edges = signed_square(np.linspace(-4, 11, 15001))
    expected = crystal_ball(edges, mass**2, sigma(mass), side * ALPHA, N)
    return rng.poisson(events * expected)


def sample(mass: float, events: int = 40_000, seed: int = 1) -> SignalSample:
    rng = np.random.default_rng([seed, int(mass * 1000)])
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
        hist.axis.StrCategory(["true", "other"], name="origin"),
        hist.axis.Regular(15000, -4, 11, name="mass"),
        storage="weight",
    )
    view = histogram.view()
    for i, side in enumerate((+1, -1)):
        counts = spectrum(mass, side, events * efficiency(mass), rng)
        view.value[0, i, 0] = view.variance[0, i, 0] = counts
    born = float(cross_section(mass, COUPLING, sqrt_s=SQRT_S))
    return SignalSample(mass, born, events / born, histogram)


@pytest.fixture(scope="module")
def model() -> SignalModel:
    samples = [sample(mass) for mass in MASSES]
    return fit_signal(samples, sqrt_s=SQRT_S, definitions={"diphoton": 0, "recoil": 3.0})


def test_true_parameters_come_back_within_errors(model: SignalModel) -> None:
    assert len(model.of("diphoton", "low_mass")) == 8
    assert len(model.of("recoil", "low_mass")) == 4  # only from 3 GeV on
    pulls = []
    for fit in model.fits:
        assert fit.converged
        assert fit.n == pytest.approx(N, rel=0.3)
        assert fit.p_value > 1e-3
        pulls += [
            (fit.mu - fit.mass**2) / fit.mu_error,
            (fit.sigma - sigma(fit.mass)) / fit.sigma_error,
            (fit.efficiency - efficiency(fit.mass)) / fit.efficiency_error,
        ]
    assert np.mean(np.square(pulls)) == pytest.approx(1, abs=4 * np.sqrt(2 / len(pulls)))


def test_interpolation_between_masses(model: SignalModel) -> None:
    for mass in (1.25, 2.2, 3.5, 5.4):
        assert model.sigma(mass, "diphoton", "low_mass") == pytest.approx(sigma(mass), rel=0.02)
        assert model.efficiency(mass, "diphoton", "low_mass") == pytest.approx(
            efficiency(mass), rel=0.02
        )
        assert model.mu(mass, "diphoton", "low_mass") == pytest.approx(
            mass**2, abs=0.05 * sigma(mass)
        )
        width = sigma(mass) / (2 * mass)
        assert model.width(mass, "diphoton", "low_mass") == pytest.approx(width, rel=0.02)


def test_template_is_the_true_shape(model: SignalModel) -> None:
    mass = 2.2
    edges = np.linspace(mass**2 - 15 * sigma(mass), mass**2 + 8 * sigma(mass), 60)
    for definition, side, mass in (("diphoton", 1, 2.2), ("recoil", -1, 4.5)):
        edges = mass**2 + sigma(mass) * np.linspace(-12, 12, 60)
        expected = crystal_ball(edges, mass**2, sigma(mass), side * ALPHA, N)
        template = model.template(edges, mass, definition, "low_mass")
        assert template.sum() <= 1
        assert np.abs(template - expected).max() < 0.02 * expected.max()


def test_wider_templates_keep_their_yield(model: SignalModel) -> None:
    edges = 4.0 + sigma(2.0) * np.linspace(-200, 200, 8001)
    narrow = model.template(edges, 2.0, "diphoton", "low_mass")
    wide = model.template(edges, 2.0, "diphoton", "low_mass", width_scale=1.2)
    assert wide.sum() == pytest.approx(narrow.sum(), rel=1e-3)
    assert wide.max() == pytest.approx(narrow.max() / 1.2, rel=1e-3)


@pytest.mark.parametrize("mass", [0.9, 6.1])
def test_nothing_is_extrapolated(model: SignalModel, mass: float) -> None:
    with pytest.raises(ModelError, match=r"simulated from 1 to 6 GeV and is never extrapolated"):
        model.efficiency(mass, "diphoton", "low_mass")


def test_unknown_group_is_named(model: SignalModel) -> None:
    with pytest.raises(ModelError, match="no fits for diphoton/high_mass"):
        model.sigma(2.0, "diphoton", "high_mass")


def test_one_mass_cannot_be_interpolated() -> None:
    lonely = fit_signal([sample(2.0)], sqrt_s=SQRT_S, definitions={"diphoton": 0})
    with pytest.raises(ModelError, match="at least two simulated masses"):
        lonely.sigma(2.0, "diphoton", "low_mass")


def test_a_definition_with_one_mass_does_not_disturb_the_other() -> None:
    samples = [sample(mass) for mass in (2.0, 2.5, 3.0)]
    found = fit_signal(samples, sqrt_s=SQRT_S, definitions={"diphoton": 0, "recoil": 3.0})
    assert found.sigma(2.2, "diphoton", "low_mass") == pytest.approx(sigma(2.2), rel=0.05)
    with pytest.raises(ModelError, match="recoil, low_mass"):
        found.sigma(3.0, "recoil", "low_mass")


def test_json_round_trip(model: SignalModel, tmp_path: Path) -> None:
    model.save(tmp_path / "signal_model.json")
    again = SignalModel.load(tmp_path / "signal_model.json")
    assert again == model
    masses = np.linspace(1, 6, 50)
    assert np.array_equal(
        again.sigma(masses, "diphoton", "low_mass"), model.sigma(masses, "diphoton", "low_mass")
    )


def test_weighted_samples_count_with_their_effective_number() -> None:
    plain = sample(2.0)
    weighted = sample(2.0)
    weighted.histogram.view().value *= 3
    weighted.histogram.view().variance *= 9
    scaled = SignalSample(2.0, plain.cross_section, 3 * plain.luminosity, weighted.histogram)
    (one,), (two,) = (
        fit_signal([s], sqrt_s=SQRT_S, definitions={"diphoton": 0}).fits for s in (plain, scaled)
    )
    for name in ("mu", "sigma", "sigma_error", "efficiency", "efficiency_error"):
        assert getattr(two, name) == pytest.approx(getattr(one, name), rel=1e-9)


def test_signed_roots_invert_squares() -> None:
    m2 = np.array([-2.0, 0.0, 3.0])
    assert np.allclose(signed_square(signed_root(m2)), m2)
