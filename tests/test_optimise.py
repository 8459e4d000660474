"""From the processor's cut grids to ``alp-coffea optimise``."""

from __future__ import annotations

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
