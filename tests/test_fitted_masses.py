"""The three-photon search with masses of the kinematic fit, from files to limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import alp_coffea
from alp_coffea.config import load_catalogue
from alp_coffea.errors import ConfigurationError, UnreadableFileError
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB
from alp_coffea.physics.photon_covariance import (
    AngularResolution,
    EnergyResolution,
    PhotonCovariance,
    Region,
    Tail,
)

ANGLE = AngularResolution(constant=0.003, stochastic=0.0035)
REGION = Region(
    energy=EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003), theta=ANGLE, phi=ANGLE
)
COVARIANCE = PhotonCovariance(
    source="constants of the simulation", regions=(REGION,), energy_tail=Tail(alpha=1.2, n=6.0)
)


def run(folder: Path, sample: str, **settings: Any) -> dict[str, Any]:
    catalogue = load_catalogue(folder / "input" / "catalogue.yaml")
    records = [r for r in open_catalogue(catalogue) if r.sample == sample]
    processor = load_processor("strahlung", settings, beams=SUPERKEKB)
    return process_files(processor, records, catalogue)[sample]


@pytest.fixture(scope="module")
def covariance(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("covariance") / "covariance.json"
    COVARIANCE.write(path)
    return str(path)


@pytest.fixture(scope="module")
def published(small_input: Path) -> dict[str, Any]:
    return run(small_input, "signal_4.5000", variations=True)


@pytest.fixture(scope="module")
def fitted(small_input: Path, covariance: str) -> dict[str, Any]:
    options = {"masses": "kinematic_fit", "covariance": covariance, "variations": True}
    return run(small_input, "signal_4.5000", **options)


def half_width(histogram: Any) -> float:
    cumulative = np.cumsum(histogram.values()) / histogram.values().sum()
    low, high = np.interp([0.1587, 0.8413], cumulative, histogram.axes[0].edges[1:])
    return float(high - low) / 2


def test_fit_replaces_both_masses_and_is_narrower(
    published: dict[str, Any], fitted: dict[str, Any]
) -> None:
    mass = fitted["histograms"]["mass"]
    assert list(mass.axes["definition"]) == ["fit"]
    where = {"energy_set": "high_mass", "origin": "true"}
    one = published["histograms"]["mass"][where | {"definition": "diphoton"}]
    other = mass[where | {"definition": "fit"}]
    # 0.33 in docs/kinematic-fit.md; about 2000 candidates
    assert half_width(other) / half_width(one) == pytest.approx(0.33, abs=0.06)
    assert other.sum(flow=True).value == pytest.approx(one.sum(flow=True).value, rel=0.005)
    assert other.sum().value == other.sum(flow=True).value  # nothing in the overflow, where NaN is


def test_selection_has_one_more_cut(published: dict[str, Any], fitted: dict[str, Any]) -> None:
    for energy_set in ("low_mass", "high_mass"):
        before = published["cutflow"].steps(energy_set)
        after = fitted["cutflow"].steps(energy_set)
        assert [s.cut for s in after] == [*(s.cut for s in before), "fit_chi2"]
        assert [s.events for s in after[:-1]] == [s.events for s in before]
        assert after[-1].events == pytest.approx(before[-1].events, rel=0.003)
        mass = fitted["histograms"]["mass"][{"energy_set": energy_set}].sum(flow=True)
        assert mass.value == 3 * after[-1].events
        chi2 = fitted["histograms"]["fit_chi2_n_minus_1"][{"energy_set": energy_set}]
        assert chi2.sum(flow=True).value == before[-1].events
        assert chi2[:25j].sum().value == after[-1].events
    assert fitted["counts"]["failed_fits"] == 0
    assert "failed_fits" not in published["counts"]


def test_energies_of_variations_are_fitted_again(fitted: dict[str, Any]) -> None:
    varied = fitted["histograms"]["true_mass_variations"]
    assert list(varied.axes["definition"]) == ["fit"]
    chosen = {"energy_set": "high_mass", "definition": "fit"}
    nominal = varied[chosen | {"variation": "nominal"}]
    smeared = varied[chosen | {"variation": "photon_resolution_up"}]
    assert not np.array_equal(nominal.values(), smeared.values())
    assert half_width(smeared) == pytest.approx(half_width(nominal), rel=0.1)


def test_photons_of_unknown_resolution_fail_and_are_counted(
    small_input: Path, tmp_path: Path
) -> None:
    barrel = REGION.model_copy(update={"theta_min": 1.0, "theta_max": 2.0})
    path = tmp_path / "barrel.json"
    COVARIANCE.model_copy(update={"regions": (barrel,)}).write(path)
    output = run(small_input, "signal_4.5000", masses="kinematic_fit", covariance=str(path))
    failed = output["counts"]["failed_fits"]
    steps = {step.cut: step.events for step in output["cutflow"].steps("high_mass")}
    assert failed > 0
    assert 0 < steps["fit_chi2"] < steps["delta_theta_phi"]
    assert output["histograms"]["mass"][{"energy_set": "high_mass"}].sum(flow=True).value == (
        3 * steps["fit_chi2"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masses": "kinematic_fits"}, "did you mean 'kinematic_fit'"),
        ({"masses": "kinematic_fit"}, "needs 'covariance'"),
        ({"covariance": "some.json"}, "only used with 'masses: kinematic_fit'"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_processor("strahlung", options, beams=SUPERKEKB)


def test_missing_covariance_is_named() -> None:
    options = {"masses": "kinematic_fit", "covariance": "nowhere.json"}
    with pytest.raises(UnreadableFileError, match=r"nowhere.json: cannot be read"):
        load_processor("strahlung", options, beams=SUPERKEKB)


def test_covariance_of_the_simulation_comes_with_the_package() -> None:
    options = {"masses": "kinematic_fit", "covariance": "photon-covariance-simulation.json"}
    ours = load_processor("strahlung", options, beams=SUPERKEKB).covariance
    for energy in (0.5, 2.0, 6.0):
        one, other = (np.sqrt(np.diagonal(c.matrices(energy, 1.2), 0)) for c in (ours, COVARIANCE))
        assert one == pytest.approx(other, rel=0.03)


@pytest.mark.slow
def test_files_to_limits(small_input: Path, covariance: str, tmp_path: Path) -> None:
    analysis = yaml.safe_load((small_input / "analysis.yaml").read_text())
    analysis["catalogue"] = str(small_input / "input" / "catalogue.yaml")
    analysis["options"] = {"masses": "kinematic_fit", "covariance": covariance}
    analysis["scan"] |= {"definitions": ["fit"], "step": 20.0}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(analysis))
    stages = ("process", "model", "scan")
    result = alp_coffea.run_analysis(tmp_path / "fit.yaml", tmp_path / "out", stages=stages)
    assert set(result.scan["definition"]) == {"fit"}
    assert set(result.scan["status"]) == {"ok"}
    assert np.all(result.scan["sigma_exp"] > 0)
