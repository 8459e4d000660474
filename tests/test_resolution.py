"""Photon resolution from muon pairs, from simulated files to corrections and a covariance."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import alp_coffea
from alp_coffea import plots
from alp_coffea.__main__ import main
from alp_coffea.errors import InputError
from alp_coffea.events.corrections import Corrections
from alp_coffea.physics.photon_covariance import EnergyResolution, PhotonCovariance
from alp_coffea.results import Run
from alp_coffea.run_resolution import dimuon_histograms, photon_triples
from alp_coffea.stats.energy_calibration import (
    Calibration,
    bin_energies,
    calibrate_data,
    calibrate_simulation,
    energy_corrections,
)
from alp_coffea.stats.photon_resolution import unfold_all

CUTS = {"energy_min": 0.9, "theta_min": 16.0, "theta_max": 151.0}
PAIR = CUTS | {"energy_min": 1.9}
#: Data: wider and lower photons, tracks worse than their errors say.
DATA = {
    "calorimeter": {"energy_stochastic": 0.04, "energy_scale": 0.99},
    "tracker": {"error_scale": 0.8},
}
TRUE = EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003)
TRUE_DATA = EnergyResolution(stochastic=0.04, constant=0.016, noise=0.003)


def catalogue(radiative: float, pure: float) -> dict[str, Any]:
    """Pairs with and without a photon, of given luminosities [1/pb]."""
    samples = []
    for seed, (kind, process, luminosity) in enumerate(
        (
            ("data", "mumug", radiative),
            ("data", "mumu", pure),
            ("background", "mumug", radiative),
            ("background", "mumu", pure),
        )
    ):
        simulate = {
            "process": process,
            "seed": 40 + seed,
            "luminosity": luminosity,
            "cuts": CUTS if process == "mumug" else PAIR,
            "detector": DATA if kind == "data" else {},
        }
        name = f"{kind}_{process}"
        sample = {"name": name, "kind": kind, "campaign": process, "files": [f"{name}.root"]}
        samples.append(sample | {"simulate": simulate})
        if kind == "data":
            samples[-1]["luminosity"] = luminosity
    return {"samples": samples}


def produce(folder: Path, radiative: float, pure: float) -> Run:
    from alp_coffea.simulation import simulate

    (folder / "pairs.yaml").write_text(yaml.safe_dump(catalogue(radiative, pure)), "utf-8")
    simulate(folder / "pairs.yaml", folder / "input")
    analysis = {
        "catalogue": "input/catalogue.yaml", "processor": "dimuon_photon", "theory": "none",
    }  # fmt: skip
    (folder / "pairs_analysis.yaml").write_text(yaml.safe_dump(analysis), "utf-8")
    return alp_coffea.run_analysis(
        folder / "pairs_analysis.yaml", folder / "out", stages=("process",)
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return produce(tmp_path_factory.mktemp("pairs"), 2400.0, 25.0)


@pytest.fixture(scope="module")
def calibrations(pairs: Run) -> tuple[Calibration, Calibration]:
    simulation = calibrate_simulation(dimuon_histograms(pairs, "background"))
    return simulation, calibrate_data(dimuon_histograms(pairs, "data"), simulation)


def test_scale_factors_are_those_of_the_simulated_tracker(
    calibrations: tuple[Calibration, Calibration],
) -> None:
    simulation, data = calibrations
    for found, true in ((simulation, 1.0), (data, 1.25)):
        for factor in found.factors.values():
            assert factor.error / true < 0.025
            assert factor.value == pytest.approx(true, abs=4 * factor.error)
    # radiation goes along the beams
    assert simulation.raw["z"].value > 1.1 > simulation.raw["y"].value


def test_widths_and_energies_of_the_simulation_come_back(
    calibrations: tuple[Calibration, Calibration],
) -> None:
    for found, true in zip(calibrations, (TRUE, TRUE_DATA), strict=True):
        assert len(found.unfolded) >= 7
        for fit in found.unfolded:
            assert abs(fit.sigma - float(true.sigma(fit.energy))) < 4.5 * fit.sigma_error
        energies = np.array([1.5, 2.0, 3.0])
        assert found.function.sigma(energies) == pytest.approx(true.sigma(energies), rel=0.12)
    simulation, data = calibrations
    assert not data.true
    for fit, plain, true_fit in zip(
        simulation.unfolded[:4], simulation.plain, simulation.true, strict=False
    ):
        assert plain.sigma > 1.15 * true_fit.sigma
        assert fit.sigma == pytest.approx(true_fit.sigma, rel=0.15)


def test_parts_of_the_smearing_are_the_true_ones(
    pairs: Run, calibrations: tuple[Calibration, Calibration]
) -> None:
    """Sum of Gaussians against p_recoil - p_true, in the widths of their middle."""
    simulation, _ = calibrations
    true = dimuon_histograms(pairs, "background")["tracking"].values()

    def half_width(content: np.ndarray) -> float:
        cumulative = np.cumsum(content) / content.sum()
        low, high = np.interp([0.1587, 0.8413], cumulative, simulation.centres)
        return float(high - low) / 2

    for k in range(6):
        assert simulation.smearing[k].sum() == pytest.approx(1.0, abs=0.01)
        assert half_width(simulation.tracking[k]) == pytest.approx(half_width(true[k]), rel=0.1)
        assert half_width(simulation.smearing[k]) > half_width(simulation.tracking[k])


def test_radiation_left_out_is_taken_for_resolution(
    pairs: Run, calibrations: tuple[Calibration, Calibration]
) -> None:
    """In the whole range, as in R0; radiation's tail above is where it shows most."""
    simulation, _ = calibrations
    histograms = dimuon_histograms(pairs, "background")
    whole = (-math.inf, math.inf)
    without = simulation.without_isr(histograms, limits=whole)
    complete = unfold_all(
        histograms["resolution"], simulation.smearing, bin_energies(histograms), limits=whole
    )
    ratio = np.array([a.sigma / b.sigma for a, b in zip(without[:6], complete, strict=False)])
    assert ratio.mean() > 1.08


def test_corrections_undo_what_was_simulated(
    calibrations: tuple[Calibration, Calibration],
) -> None:
    simulation, data = calibrations
    found = energy_corrections(data, simulation)
    mean = np.average(found.bias, weights=found.bias_error**-2.0)
    error = np.sum(found.bias_error**-2.0) ** -0.5
    assert mean == pytest.approx(1 / 0.99 - 1, abs=4 * error)
    assert error < 0.0015
    expected = np.sqrt(0.04**2 - 0.02**2) / np.sqrt(found.energy)
    assert found.smearing[:5] == pytest.approx(expected[:5], rel=0.25)


def test_energies_stand_for_the_events_of_their_bin(pairs: Run) -> None:
    histograms = dimuon_histograms(pairs, "background")
    energies = bin_energies(histograms)
    edges = histograms["resolution"].axes[0].edges
    assert ((energies > edges[:-1]) & (energies < edges[1:])).all()


@pytest.fixture(scope="module")
def written(pairs: Run) -> Path:
    assert main(["resolution", str(pairs.folder)]) == 0
    return pairs.folder / "resolution"


def test_command_writes_what_an_analysis_reads(written: Path) -> None:
    corrections = yaml.safe_load((written / "corrections.yaml").read_text("utf-8"))
    read = Corrections.of(corrections["corrections"])
    assert read.energy_bias is not None
    assert read.energy_smearing is not None
    assert read.energy_bias([2.0])[0] == pytest.approx(0.0101, abs=0.006)
    assert read.energy_smearing([1.5])[0] == pytest.approx(0.028, rel=0.3)
    covariance = PhotonCovariance.read(written / "photon-covariance.json")
    energy = np.array([1.5, 2.0, 3.0])
    sigma = np.sqrt(covariance.matrices(energy, 1.2)[:, 0, 0])
    assert sigma == pytest.approx(TRUE_DATA.sigma(energy), rel=0.12)
    assert "angles: embedded simulation" in covariance.source
    with (written / "scale_factors.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["component"]) for row in rows] == [
        (kind, name) for kind in ("simulation", "data") for name in "xyz"
    ]
    names = (
        "scale_plateau", "smearing", "resolution", "corrections", "recoil_pulls_data",
        "unfolding_simulation",
    )  # fmt: skip
    for name in names:
        assert (written / f"{name}.png").stat().st_size > 10_000


def test_corrected_data_and_smeared_simulation_agree(pairs: Run, written: Path) -> None:
    """The corrections, given to the processor, close the difference they were made from."""
    analysis = yaml.safe_load((pairs.folder.parent / "pairs_analysis.yaml").read_text("utf-8"))
    corrections = yaml.safe_load((written / "corrections.yaml").read_text("utf-8"))
    analysis["options"] = corrections
    path = pairs.folder.parent / "corrected.yaml"
    path.write_text(yaml.safe_dump(analysis), "utf-8")
    out = alp_coffea.run_analysis(path, pairs.folder.parent / "corrected", stages=("process",))
    simulation = calibrate_simulation(dimuon_histograms(out, "background"))
    data = calibrate_data(dimuon_histograms(out, "data"), simulation)
    again = energy_corrections(data, simulation)
    mean = np.average(again.bias, weights=again.bias_error**-2.0)
    assert abs(mean) < 0.002
    for one, other in list(zip(data.unfolded, simulation.unfolded, strict=False))[:6]:
        error = np.hypot(one.sigma_error, other.sigma_error)
        # the correction has the same events' errors
        assert abs(one.sigma - other.sigma) < 5 * error


def test_runs_without_muon_pairs_are_refused(
    pairs: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    histograms = dimuon_histograms(pairs, "background")
    del histograms["recoil_pull_below"]
    with pytest.raises(InputError, match="no simulation with recoil_pull_below"):
        calibrate_simulation(histograms)
    assert main(["resolution", str(tmp_path / "nothing")]) == 3
    assert "no manifest.json" in capsys.readouterr().err


def test_photons_of_a_run_without_a_skim_are_refused(
    pairs: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resolution", str(pairs.folder), "--photons", str(pairs.folder)]) == 3
    assert "skim" in capsys.readouterr().err


def test_corrected_energies_are_not_compared_with_uncorrected_muon_pairs(tmp_path: Path) -> None:
    options = {
        "skim": {"folder": str(tmp_path)},
        "corrections": {"energy_bias": {"energy": [1.0], "value": [0.003]}},
    }
    manifest = {"configuration": {"analysis": {"options": options}}, "samples": []}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(InputError, match="corrected already; use one without 'energy_bias'"):
        photon_triples(Run(tmp_path), "data")


@pytest.mark.slow
def test_angles_and_normality_from_a_three_photon_run(
    pairs: Run, small_input: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
    analysis["catalogue"] = str(small_input / "input" / "catalogue.yaml")
    analysis["options"] = {
        "skim": {
            "folder": str(tmp_path / "skim"),
            "columns": ["Photon.E"],
            "truth_columns": ["Photon.genMotherPDG"],
        }
    }
    (tmp_path / "photons.yaml").write_text(yaml.safe_dump(analysis), "utf-8")
    alp_coffea.run_analysis(tmp_path / "photons.yaml", tmp_path / "photons", stages=("process",))
    assert main(["resolution", str(pairs.folder), "--photons", str(tmp_path / "photons")]) == 0
    folder = pairs.folder / "resolution"
    with (folder / "angles.csv").open(encoding="utf-8") as file:
        rows = {row["kind"]: row for row in csv.DictReader(file)}
    # the same angles in data and simulation; radiation moves the pulls by a few per cent
    assert float(rows["simulation"]["factor"]) == pytest.approx(1.0, abs=0.1)
    with (folder / "normality.csv").open(encoding="utf-8") as file:
        normal = list(csv.DictReader(file))
    assert len(normal) == 10
    for row in normal:
        assert float(row["width"]) == pytest.approx(1.0, abs=0.2)
    best = PhotonCovariance.read(folder / "photon-covariance-normal.json")
    assert best.energy_tail is not None
    assert "normality of the mass pulls, 5 masses" in capsys.readouterr().out


def test_figures_do_not_need_data(calibrations: tuple[Calibration, Calibration]) -> None:
    from alp_coffea.plots import photon_resolution as figures

    simulation, _ = calibrations
    figure = figures.resolution(simulation, None, synthetic=True)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["Simulation, true", "Simulation, raw", "Simulation, unfolded"]
    with plots.style():
        _, ax = plots.new_figure()
    drawn = figures.draw_widths(ax, simulation.unfolded, "black", "all")
    assert len(drawn.lines[0].get_xdata()) == len(simulation.unfolded)
