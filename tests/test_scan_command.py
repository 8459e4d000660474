"""``alp-coffea scan`` and ``plot``: from an output folder alone, resumed, and still blind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from alp_coffea.__main__ import main
from alp_coffea.pipeline import run_analysis
from alp_coffea.pipeline.reopening import run_again
from alp_coffea.pipeline.scan_parts import ScanParts
from alp_coffea.results import load
from alp_coffea.run_studies import Study, toy_source
from alp_coffea.stats import scan as scan_module

FILES = ("manifest.json", "histograms.zip", "cutflow.json", "cutflow.csv", "signal_model.json")


@pytest.fixture(scope="module")
def processed(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("processed")
    run_analysis(small_input / "analysis.yaml", out, stages=["process", "model"])
    return out


@pytest.fixture
def folder(processed: Path, tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(processed / name, tmp_path / name)
    return tmp_path


def scan(folder: Path, *options: str) -> int:
    return main(["scan", str(folder), "--no-plots", *options])


def test_a_folder_is_enough_to_scan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(folder, "--background-choices", "nominal", "--confidence-level", "0.9") in (0, 4)
    run = load(folder)
    assert set(run.scan["level"]) == {0.9}
    assert "ScanResult:" in capsys.readouterr().out
    assert run.manifest["stages"]["scan"]["command"].startswith("alp-coffea scan")
    # the same as the stage of a run from the beginning
    again = run_again(folder, ["scan"], scan={"background_choices": "nominal"})
    assert np.array_equal(again.scan["sigma_exp"], run.scan["sigma_exp"], equal_nan=True)


def test_resuming_keeps_points_and_their_models(folder: Path) -> None:
    low = load(folder).manifest["configuration"]["analysis"]["scan"]["low"]
    middle, high = str(low + 0.4), str(low + 0.6)
    scan(folder, "--background-choices", "nominal", "--high", middle)
    first = load(folder).scan
    marked = json.loads((folder / "scan.json").read_text("utf-8"))
    for row in marked["rows"]:
        row["note"] = "kept"
    (folder / "scan.json").write_text(json.dumps(marked), "utf-8")
    scan(folder, "--high", high, "--resume")
    second = load(folder)
    assert len(second.scan) > len(first)
    kept = second.scan["note"] == "kept"
    assert kept.sum() == (first["status"] == "ok").sum()
    for row in second.scan:
        if row["status"] == "ok":
            assert second.workspace(row["mass"])["channels"]
    # without asking for it, or with other settings, everything is fitted again
    scan(folder, "--confidence-level", "0.9", "--resume")
    assert not (load(folder).scan["note"] == "kept").any()


#: Scans in blocks of 50 masses and is killed, as a batch system would, once ``parts`` are kept.
KILLED = """
import os, signal, sys
from alp_coffea.__main__ import main
from alp_coffea.pipeline.scan_parts import ScanParts

add, left = ScanParts.add, [int(sys.argv[1])]

def add_and_die(self, rows, workspaces):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    add(self, rows, workspaces)

ScanParts.add = add_and_die
main(["scan", sys.argv[2], "--no-plots", *sys.argv[3:]])
"""


def test_a_killed_scan_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--background-choices", "discrete", "--step", "0.3"]
    scan(folder, *options)
    whole, workspaces = load(folder).scan, load(folder).workspaces
    assert len(whole) > 120
    for file in (folder / "scan.json", folder / "workspaces" / "workspaces.zip"):
        file.unlink()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "2", str(folder), *options], check=False, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (folder / "scan.json").exists()
    parts = sorted((folder / "scan_parts").iterdir())
    assert [len(json.loads(part.read_text("utf-8"))["rows"]) for part in parts] == [50, 50]

    fitted: list[float] = []
    choices = scan_module.scan_choices

    def counted(*arguments: Any, **named: Any) -> Any:
        if len(named["choices"]) == 3:  # of the scan, not of the crossing of the definitions
            fitted.extend(arguments[4])
        return choices(*arguments, **named)

    monkeypatch.setattr(scan_module, "scan_choices", counted)
    scan(folder, *options)
    run = load(folder)
    # what was finished is not fitted again, and nothing tells the result from an undisturbed one
    assert fitted == whole["mass"][100:].tolist()
    assert run.scan.rows == whole.rows
    assert run.workspaces == workspaces
    assert not (folder / "scan_parts").exists()


def test_parts_of_another_scan_and_damaged_ones_are_not_used(tmp_path: Path) -> None:
    row = {"mass": 1.0, "status": "ok"}
    ScanParts(tmp_path / "parts", "one").add([row], {"m_1.0000.json": {"data": np.arange(2)}})
    again = ScanParts(tmp_path / "parts", "one")
    assert again.rows == [row]
    # a point that failed is tried again, which does not cost the part that it was in
    again.add([row], {})
    assert len(ScanParts(tmp_path / "parts", "one").rows) == 2
    again.clear()
    ScanParts(tmp_path / "parts", "one").add([row], {"m_1.0000.json": {"data": np.arange(2)}})
    again = ScanParts(tmp_path / "parts", "one")
    assert json.loads(again.workspaces["m_1.0000.json"]) == {"data": [0, 1]}
    assert ScanParts(tmp_path / "parts", "one", fresh=True).rows == []
    ScanParts(tmp_path / "parts", "one").add([row], {})
    assert ScanParts(tmp_path / "parts", "another").rows == []
    ScanParts(tmp_path / "parts", "one").add([row], {})
    (part,) = (tmp_path / "parts").iterdir()
    part.write_text(part.read_text("utf-8")[:-5], "utf-8")
    assert ScanParts(tmp_path / "parts", "one").rows == []


def test_spurious_signals_as_a_nuisance_weaken_limits_of_a_run(folder: Path) -> None:
    settings = {"background_choices": "nominal"}
    plain = run_again(folder, ["scan"], scan=settings).scan
    nuisances = {"spurious_signal": True}
    run = run_again(folder, ["scan"], scan={**settings, "nuisances": nuisances})
    growth = np.sqrt(1 + plain["spurious_z"] ** 2)
    assert growth.max() > 1.1
    np.testing.assert_allclose(run.scan["sigma_exp"] / plain["sigma_exp"], growth, rtol=0.06)
    np.testing.assert_array_equal(run.scan["spurious_z"], plain["spurious_z"])
    names = [s["name"] for s in run.workspace(3.0)["channels"][0]["samples"]]
    assert names[-1] == "spurious_signal"
    fit = run.window_fit(3.0)
    assert abs(fit.signal.sum() + fit.background.sum() - fit.data.sum()) < 0.05 * fit.data.sum()


def test_mistakes_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(folder, "--background-choices", "discret") == 2
    assert "scan.background_choices: Input should be 'nominal'" in capsys.readouterr().err
    assert main(["scan", str(folder / "nothing")]) == 3
    assert scan(folder, "--low", "0.001") == 2
    assert "never extrapolated" in capsys.readouterr().err


def test_what_was_blind_stays_blind(
    small_input: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
    analysis["blinding"] = {"policy": "full"}
    path = small_input / "blind.yaml"
    path.write_text(yaml.safe_dump(analysis), "utf-8")
    out = tmp_path / "blind"
    run_analysis(path, out, stages=["process", "model"])
    assert scan(out, "--background-choices", "nominal") in (0, 4)
    found = load(out).scan
    assert (found["status"] == "blinded").any()
    assert np.isnan(found["sigma_obs"]).all()
    assert "blinded" in capsys.readouterr().out


@pytest.mark.slow
def test_figures_and_report_once_more(folder: Path) -> None:
    scan(folder, "--background-choices", "nominal")
    assert main(["plot", str(folder), "--workers", "1"]) == 0
    assert (folder / "report.html").exists()
    assert (folder / "plots" / "limits_g.png").exists()


@pytest.mark.slow
def test_studies_write_tables_and_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(folder, "--background-choices", "nominal", "--step", "6")
    which = ["orders", "basis", "impacts", "signal", "coupling", "bias", "coverage"]
    assert main(["study", str(folder), *which, "--toys", "20"]) == 0
    written = {path.name for path in (folder / "studies").iterdir()}
    tables = {*which, "systematics", "correlations"}
    assert {f"{name}.csv" for name in tables} <= written
    assert {
        "orders.png",
        "impacts.png",
        "correlations.png",
        "exclusion_plane.png",
        "bias.png",
    } <= written
    for name in tables:
        lines = (folder / "studies" / f"{name}.csv").read_text("utf-8").splitlines()
        assert len(lines) > 1
    assert "masses left out: chi2/ndf" in capsys.readouterr().out
    # toys need the masses of single events
    assert main(["study", str(folder), "global"]) == 3
    assert "processor option 'skim" in capsys.readouterr().err


@pytest.mark.slow
def test_toys_of_the_skim_are_those_of_the_run(small_input: Path, tmp_path: Path) -> None:
    analysis = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
    analysis["options"] = {"skim": {"folder": str(tmp_path / "skim"), "selection": "final"}}
    path = small_input / "skim.yaml"
    path.write_text(yaml.safe_dump(analysis), "utf-8")
    out = tmp_path / "out"
    run_analysis(path, out, stages=["process", "model", "scan"])
    study = Study.of(load(out))
    source, mean = toy_source(study.run, study.background)
    spectra = source.spectra()
    for definition in study.background.definitions:
        for energy_set in ("low_mass", "high_mass"):
            key = (definition, energy_set)
            np.testing.assert_allclose(spectra[key], study.background[key], rtol=1e-9, atol=1e-9)
    assert 3 * mean == pytest.approx(study.background["diphoton", "high_mass"].sum(), rel=1e-9)
    assert main(["study", str(out), "global", "--toys", "30"]) == 0
    lines = (out / "studies" / "global.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("z,p_toys")
    assert (out / "studies" / "global.png").exists()
