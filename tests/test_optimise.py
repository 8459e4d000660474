"""From the processor's cut grids to ``alp-coffea optimise``."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from alp_coffea.__main__ import main
from alp_coffea.pipeline import Options, run_analysis
from alp_coffea.results import Run
from alp_coffea.stats.punzi import CutGrid, published


@pytest.fixture(scope="module")
def processed(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("optimise")
    settings = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
    settings["catalogue"] = str(small_input / "input" / "catalogue.yaml")
    settings["options"] = {"optimisation": True}
    (folder / "analysis.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    options = Options(executor="iterative")
    return run_analysis(
        folder / "analysis.yaml", folder / "out", stages=("process",), options=options
    )


def test_grid_at_the_published_cuts_is_the_final_selection(processed: Run) -> None:
    for mass, width in ((2.0, 0.0335), (3.0, 0.0488), (5.0, 0.0751)):
        name = f"signal_{mass:.4f}"
        grid = processed.histograms[f"{name}/cut_grid"]
        assert list(grid.axes["hypothesis"]) == [f"{mass:.4f}"]
        kept = CutGrid({mass: grid}, processed.histograms["ggg/cut_grid"])
        thresholds = published(mass)
        corner = grid[{"hypothesis": f"{mass:.4f}"}].values(flow=True)
        for number, (cut, value) in enumerate(thresholds.items()):
            axis = kept.axes[number]
            assert axis.name == cut
            edge = int(np.argmin(np.abs(axis.edges - value)))
            keep = slice(edge + 1, None) if cut.startswith("min_") else slice(0, edge + 1)
            corner = np.moveaxis(np.moveaxis(corner, number, 0)[keep], 0, number)
        energy_set = "low_mass" if mass < 4 else "high_mass"
        spectrum = processed.histograms[f"{name}/mass"][
            {"energy_set": energy_set, "definition": "diphoton", "origin": "true"}
        ]
        centres = spectrum.axes[0].centers
        window = (centres > mass - 5 * width) & (centres < mass + 3 * width)
        # a photon outside the barrel, or without hits, is replaced only in the final selection
        assert corner.sum() == pytest.approx(spectrum.values()[window].sum(), rel=0.01)


def test_command_writes_tables_and_plots(
    processed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["optimise", str(processed.folder)]) == 0
    assert "Punzi optimum" in capsys.readouterr().out
    content = json.loads((processed.folder / "optimise.json").read_text("utf-8"))
    assert list(content["masses"]) == ["2.0000", "3.0000", "5.0000"]
    for row in content["masses"].values():
        assert 0 < row["published_merit"] <= 1
        # with the others in place, the published cuts on energy and mass cost next to nothing
        for scan in row["scans"][:2]:
            assert scan["n_minus_1"]["price"] < 0.03
    assert (processed.folder / "plots" / "optimise_max_right_fraction.png").is_file()


def test_a_run_without_grids_says_what_to_do(
    processed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(processed.folder / "manifest.json", tmp_path)
    from alp_coffea.storage import save_histograms

    save_histograms({"ggg/mass": processed.histograms["ggg/mass"]}, tmp_path / "histograms.zip")
    assert main(["optimise", str(tmp_path)]) != 0
    assert "option 'optimisation: true'" in capsys.readouterr().err


def test_cutflow_prints_every_format(processed: Run, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["cutflow", str(processed.folder), "--sample", "ggg", "--flow", "high_mass"]
    shown = {}
    for style in ("table", "csv", "html", "latex"):
        assert main([*command, "--format", style]) == 0
        shown[style] = capsys.readouterr().out
    title, header, *lines = shown["csv"].splitlines()
    assert title == "# ggg, high_mass"
    rows = list(csv.DictReader([header, *lines]))
    steps = processed.cutflow["ggg"].steps("high_mass")
    assert [(row["cut"], int(row["events"])) for row in rows if row["cut"]] == [
        (step.cut, step.events) for step in steps
    ]
    assert f"{steps[-1].events:,}" in shown["table"]
    assert shown["html"].count("<tr>") == len(steps) + 1
    assert r"\begin{tabular}" in shown["latex"]
    assert main([*command[:2], "--format", "csv"]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("# ")]
    assert len(titles) == 3 * len(processed.samples)
    assert main([*command[:2], "--flow", "high_mas"]) != 0
    assert "no flow 'high_mas'; did you mean 'high_mass'?" in capsys.readouterr().err


def test_compare_prints_yields_and_agreement(
    processed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(processed.folder)]) == 0
    assert "data / simulation" in capsys.readouterr().out
    content = json.loads((processed.folder / "comparison.json").read_text("utf-8"))
    for row in content["yields"]:
        # both are the same simulation with other seeds
        assert abs(row["ratio"] - 1) < 4 * row["ratio_error"]
    # entries of one variable are independent where there is one per event
    single = {"three_photon_mass", "zernike_mva", "timing_chi"}
    rows = [row for row in content["variables"] if row["variable"] in single]
    assert len(rows) == 6
    assert all(row["p"] > 1e-4 and row["ks_p"] > 1e-4 for row in rows)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The samples for choosing cuts, a fifth of the backgrounds."""
    from alp_coffea.simulation import simulate

    folder = tmp_path_factory.mktemp("complete")
    root = Path(__file__).parents[1]
    described = yaml.safe_load((root / "datasets" / "optimisation.yaml").read_text("utf-8"))
    for sample in described["samples"]:
        how = sample["simulate"]
        if sample["kind"] == "signal":
            how["events"] = 10_000
        else:
            how["luminosity"] *= 0.2
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(described), "utf-8")
    made = simulate(folder / "catalogue.yaml", folder / "input", workers=2)
    settings = yaml.safe_load((root / "analyses" / "optimisation.yaml").read_text("utf-8"))
    settings["catalogue"] = str(made)
    (folder / "analysis.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return run_analysis(
        folder / "analysis.yaml",
        folder / "out",
        stages=("process",),
        options=Options(executor="iterative"),
    )


def grid_of(run: Run, *backgrounds: str) -> CutGrid:
    signals = {
        row["mass"]: run.histograms[f"{name}/cut_grid"]
        for name, row in run.samples.items()
        if row["kind"] == "signal"
    }
    scaled = [run.histograms[f"{b}/cut_grid"] * run.samples[b]["scale"] for b in backgrounds]
    return CutGrid(signals, sum(scaled[1:], scaled[0]))


@pytest.mark.slow
def test_published_cuts_are_near_the_punzi_optimum(complete: Run) -> None:
    """R0 sec. 5.2 and 5.3: the published cuts on energy and three-photon mass.

    Each is within one scan step of the optimum or costs less than 3 %, others in place.
    """
    grid = grid_of(complete, "ggg", "gg", "eeg")
    assert grid.masses == (0.5, 1.0, 2.0, 3.0, 5.0, 6.5, 8.0, 9.3)
    for mass in grid.masses:
        for cut in ("min_photon_energy", "max_right_fraction"):
            scan = grid.scan(cut, mass, published(mass))
            assert scan.price(published(mass)[cut]) < 0.03, (mass, cut)
    # an optimum that is one: without the cut at low mass half of the merit is lost
    assert grid.scan("min_photon_energy", 0.5, published(0.5)).price(0.1) > 0.4
    # and the energy that is best for all masses together is the one of the low-mass set
    assert abs(grid.optimise().thresholds["min_photon_energy"] - 1.0) < 0.0501


@pytest.mark.slow
def test_soft_photons_of_three_photon_events_are_why_there_is_an_energy_cut(complete: Run) -> None:
    """What is missing where the optimum is not at 1 GeV: photons below a generator's cut."""
    prices = {}
    whole = grid_of(complete, "ggg", "gg", "eeg")
    prices["all"] = whole.scan("min_photon_energy", 0.5, published(0.5)).price(1.0)
    alone = grid_of(complete, "ggg")
    prices["ggg"] = alone.scan("min_photon_energy", 0.5, published(0.5)).price(1.0)
    # events generated above 0.45 GeV only, as in the demonstration
    background = complete.histograms["ggg/cut_grid"] * complete.samples["ggg"]["scale"]
    position = background.axes.name.index("min_photon_energy")
    below = background.axes["min_photon_energy"].index(0.4501)
    cut: list[slice] = [slice(None)] * background.ndim
    cut[position] = slice(0, below + 1)  # with the underflow bin in front
    background.view(flow=True)[tuple(cut)] = 0
    truncated = CutGrid({0.5: complete.histograms["signal_0.5000/cut_grid"]}, background)
    scan = truncated.scan("min_photon_energy", 0.5, published(0.5))
    assert scan.price(1.0) > 0.04
    assert scan.best < 0.45
    # lost Bhabha tracks and beam background shift it by less than one percent
    assert prices["ggg"] < 0.03
    assert abs(prices["all"] - prices["ggg"]) < 0.01
