"""Results of a run in the formats of others."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pyhf
import pytest
import uproot
import yaml

from alp_coffea.__main__ import main
from alp_coffea.errors import ConfigurationError, InputError
from alp_coffea.export import write_csv, write_hepdata, write_root
from alp_coffea.pipeline import Options, run_analysis
from alp_coffea.results import Run
from alp_coffea.stats.scan_result import ScanResult


@pytest.fixture(scope="module")
def run(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("exported")
    stages = ("process", "model", "scan")
    return run_analysis(
        small_input / "analysis.yaml", out, stages=stages, options=Options(executor="iterative")
    )


def changed(run: Run, change: Callable[[ScanResult], ScanResult], **manifest: Any) -> Run:
    """The run with another scan and manifest."""
    other = Run(run.folder)
    # cached properties live in the instance's dictionary
    other.__dict__["scan"] = change(run.scan)
    other.__dict__["manifest"] = run.manifest | manifest
    return other


@pytest.fixture(scope="module")
def submission(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hepdata(run, tmp_path_factory.mktemp("hepdata"))


def documents(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Head of a submission, and entry and content of its tables by name."""
    head, *tables = yaml.safe_load_all((folder / "submission.yaml").read_text("utf-8"))
    content = {
        table["name"]: table | yaml.safe_load((folder / table["data_file"]).read_text("utf-8"))
        for table in tables
    }
    return head, content


def columns(table: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    variables = table["independent_variables"] + table["dependent_variables"]
    return {variable["header"]["name"]: variable["values"] for variable in variables}


def accepted(archive: Path) -> bool:
    """What HEPData's own check says, in its own process: it leaves files open."""
    command = [Path(sys.executable).with_name("hepdata-validate"), "--archive", archive]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_hepdatas_validator_accepts_it(submission: Path, tmp_path: Path) -> None:
    assert accepted(submission)
    # it does find mistakes
    with tarfile.open(submission) as tar:
        tar.extractall(tmp_path / "broken", filter="data")
    broken = tmp_path / "broken" / "fits.yaml"
    broken.write_text(broken.read_text("utf-8").replace("value:", "number:"), "utf-8")
    with tarfile.open(tmp_path / "broken.tar.gz", "w:gz") as tar:
        for file in (tmp_path / "broken").iterdir():
            tar.add(file, file.name)
    assert not accepted(tmp_path / "broken.tar.gz")


@pytest.mark.parametrize(("quantity", "name"), [("sigma", "cross section"), ("g", "coupling")])
def test_limits_are_those_of_the_scan(run: Run, submission: Path, quantity: str, name: str) -> None:
    _, tables = documents(submission.parent)
    table = columns(tables[f"Limits on {name}"])
    assert [row["value"] for row in table["M(A)"]] == pytest.approx(run.scan["mass"], rel=1e-4)
    observed = [row["value"] for row in table[f"Observed limit on {name}"]]
    assert observed == pytest.approx(run.scan[f"{quantity}_obs"], rel=1e-4)
    expected = table[f"Expected limit on {name}"]
    median = np.array([row["value"] for row in expected])
    assert median == pytest.approx(run.scan[f"{quantity}_exp"], rel=1e-4)
    for number, label in ((1, "1 s.d."), (2, "2 s.d.")):
        errors = [
            next(e["asymerror"] for e in row["errors"] if e["label"] == label) for row in expected
        ]
        for sign, end, band in ((-1, "minus", "m"), (1, "plus", "p")):
            sizes = np.array([error[end] for error in errors])
            assert np.all(sign * sizes > 0)
            wanted = run.scan[f"{quantity}_exp_{band}{number}"]
            assert median + sizes == pytest.approx(wanted, rel=2e-4)


def test_efficiency_and_resolution_are_the_fitted_ones(run: Run, submission: Path) -> None:
    _, tables = documents(submission.parent)
    fits = {
        (f.mass, f"{f.definition}, {f.energy_set.replace('_', ' ')}"): f
        for f in run.signal_model.fits
    }
    checked = 0
    for name, value, error in (
        ("Signal efficiency", lambda f: f.efficiency, lambda f: f.efficiency_error),
        ("Mass resolution", lambda f: f.width, lambda f: f.sigma_error / (2 * f.mass)),
    ):
        table = columns(tables[name])
        masses = [row["value"] for row in table.pop("M(A)")]
        for group, cells in table.items():
            for mass, cell in zip(masses, cells, strict=True):
                if (mass, group) not in fits:
                    assert cell == {"value": "-"}
                    continue
                fit = fits[mass, group]
                assert cell["value"] == pytest.approx(value(fit), rel=1e-4)
                assert cell["errors"][0]["symerror"] == pytest.approx(error(fit), rel=1e-4)
                checked += 1
    assert checked == 2 * len(fits)


def test_cutflow_is_scaled_to_the_luminosity(run: Run, submission: Path) -> None:
    _, tables = documents(submission.parent)
    table = columns(tables["Cutflow low mass"])
    for sample in ("pseudo_data", "ggg", "signal_3.0000"):
        steps = run.cutflow[sample].steps("low_mass")
        assert [row["value"].replace(" ", "_") for row in table["Cut"]] == [s.cut for s in steps]
        scale = 1.0 if sample == "pseudo_data" else run.samples[sample]["scale"]
        events = [row["value"] for row in table[f"Events, {sample}"]]
        assert events == pytest.approx([scale * step.weighted for step in steps], rel=1e-4)


def test_workspaces_in_the_archive_give_the_limits(run: Run, submission: Path) -> None:
    with tarfile.open(submission) as tar:
        file = tar.extractfile("workspaces.zip")
        assert file is not None
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            assert names == sorted(run.workspaces)
            spec = json.loads(archive.read(names[0]))
    assert spec == run.workspaces[names[0]]
    assert pyhf.Workspace(spec).model().config.poi_name == "sigma"
    head, _ = documents(submission.parent)
    assert {"location": "workspaces.zip", "type": "HistFactory"}.items() <= head[
        "additional_resources"
    ][1].items()


def test_simulation_is_called_so_everywhere(run: Run, submission: Path, tmp_path: Path) -> None:
    head, tables = documents(submission.parent)
    assert "Simulation (synthetic)" in head["comment"]
    assert all("Simulation (synthetic)" in table["description"] for table in tables.values())
    real = changed(run, lambda scan: replace(scan, synthetic=False))
    head, tables = documents(write_hepdata(real, tmp_path / "real").parent)
    assert "synthetic" not in head["comment"]


def test_a_blinded_scan_has_no_observed_numbers(run: Run, tmp_path: Path) -> None:
    observed = ("sigma_obs", "g_obs", "sigma_hat", "z_local", "p_local", "n_data")

    def blind(scan: ScanResult) -> ScanResult:
        hidden = dict.fromkeys(observed) | {"status": "blinded"}
        return replace(scan, rows=tuple(row | hidden for row in scan.rows))

    archive = write_hepdata(changed(run, blind), tmp_path / "out")
    head, tables = documents(archive.parent)
    assert "BLINDED" in head["comment"]
    names = {name for table in tables.values() for name in columns(table)}
    assert "Expected limit on coupling" in names
    assert not [name for name in names if name.startswith(("Observed", "Fitted", "Signed"))]
    assert accepted(archive)


def test_injected_signals_and_failed_points_are_named(run: Run, tmp_path: Path) -> None:
    def change(scan: ScanResult) -> ScanResult:
        rows = [dict(row) for row in scan.rows]
        rows[1] |= {"status": "fit did not converge"}
        return replace(scan, rows=tuple(rows), meta={"injected": ["mass=3,sigma=0.5"]})

    head, tables = documents(write_hepdata(changed(run, change), tmp_path / "out").parent)
    assert "INJECTED SIGNAL added to the data: mass=3,sigma=0.5" in head["comment"]
    assert f"left out: {run.scan['mass'][1]:.4g} GeV" in head["comment"]
    assert len(columns(tables["Fits"])["M(A)"]) == len(run.scan) - 1

    def fail(scan: ScanResult) -> ScanResult:
        return replace(scan, rows=tuple(row | {"status": "bad"} for row in scan.rows))

    with pytest.raises(InputError, match="no mass hypothesis has a result"):
        write_hepdata(changed(run, fail), tmp_path / "none")


def test_nothing_of_others_is_touched(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work", "utf-8")
    with pytest.raises(ConfigurationError, match="not empty and holds no submission"):
        write_hepdata(run, "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    first = write_hepdata(run, "mine")
    names = sorted(p.name for p in first.parent.iterdir())
    (first.parent / "old_table.yaml").write_text("", "utf-8")
    write_hepdata(run, "mine")  # an earlier submission is replaced
    assert sorted(p.name for p in first.parent.iterdir()) == names
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "thesis"]


def test_a_missing_library_is_said_with_its_remedy(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hepdata_lib", None)
    assert main(["export", "hepdata", str(run.folder)]) == 2
    assert "pip install 'alp-coffea[hepdata]'" in capsys.readouterr().err


def test_root_file_holds_every_bin_scaled(run: Run, tmp_path: Path) -> None:
    path = write_root(run, tmp_path / "sub" / "histograms.root")
    with uproot.open(path) as file:
        for sample in ("pseudo_data", "ggg", "signal_3.0000"):
            scale = 1.0 if sample == "pseudo_data" else run.samples[sample]["scale"]
            mass = run.histograms[f"{sample}/mass"]
            for origin in mass.axes["origin"]:
                read = file[f"{sample}/mass/low_mass/diphoton/{origin}"]
                ours = mass[{"energy_set": "low_mass", "definition": "diphoton", "origin": origin}]
                np.testing.assert_allclose(read.axis().edges(), ours.axes[0].edges, atol=1e-12)
                for part in ("values", "variances"):
                    written = getattr(read, part)(flow=True)
                    wanted = getattr(ours, part)(flow=True)
                    factor = scale if part == "values" else scale**2
                    np.testing.assert_allclose(written, factor * wanted, rtol=1e-14)
            plane = file[f"{sample}/delta_theta_phi_n_minus_1/high_mass"]
            assert plane.classname == "TH2D"


def test_csv_files_add_up(run: Run, tmp_path: Path) -> None:
    paths = write_csv(run, tmp_path / "csv")
    assert len(paths) == len(run.histograms)
    for name, histogram in run.histograms.items():
        sample = run.samples[name.partition("/")[0]]
        scale = 1.0 if sample["kind"] == "data" else sample["scale"]
        with (tmp_path / "csv" / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        flow = {"flow": True}
        for column, whole in (
            ("value", scale * histogram.values(**flow).sum()),
            ("variance", scale**2 * histogram.variances(**flow).sum()),
        ):
            assert sum(float(row[column]) for row in rows) == pytest.approx(whole, rel=1e-8)


def test_csv_names_bins_and_their_edges(run: Run, tmp_path: Path) -> None:
    filled = hist.Hist(
        hist.axis.StrCategory(["a", "b"], name="kind"),
        hist.axis.Regular(10, 0, 1, name="x"),
        hist.axis.Integer(0, 3, name="n", overflow=False),
        storage="double",
    )
    filled.fill(kind=["a", "b", "b"], x=[0.31, -5.0, 0.99], n=[0, 1, 2])
    other = Run(run.folder)
    other.__dict__["histograms"] = {"pseudo_data/test": filled}
    (path,) = write_csv(other, tmp_path)
    assert path.read_text("utf-8").splitlines() == [
        "kind,x_low,x_high,n_low,n_high,value,variance",
        "a,0.3,0.4,0.0,1.0,1.0,1.0",
        "b,-inf,0.0,1.0,2.0,1.0,1.0",
        "b,0.9,1.0,2.0,3.0,1.0,1.0",
    ]


def test_categories_alone_become_a_labelled_axis(run: Run, tmp_path: Path) -> None:
    filled = hist.Hist(
        hist.axis.StrCategory(["up", "down"], name="variation"),
        hist.axis.StrCategory(["low", "high"], name="kind"),
        storage="weight",
    )
    filled.fill(variation=["up", "up", "down"], kind=["low", "high", "high"], weight=[1, 2, 4])
    other = Run(run.folder)
    other.__dict__["histograms"] = {"pseudo_data/test": filled}
    with uproot.open(write_root(other, tmp_path / "x.root")) as file:
        read = file["pseudo_data/test/up"]
        assert read.axis().labels() == ["low", "high"]
        assert read.values().tolist() == [1, 2]
        assert read.variances().tolist() == [1, 4]
    (path,) = write_csv(other, tmp_path)
    assert path.read_text("utf-8").splitlines()[1:] == [
        "up,low,1.0,1.0",
        "up,high,2.0,4.0",
        "down,high,4.0,16.0",
    ]


@pytest.mark.parametrize(
    ("kind", "made"),
    [("hepdata", "hepdata/submission.tar.gz"), ("root", "histograms.root"), ("csv", "csv")],
)
def test_command_writes_beside_the_results(
    run: Run, kind: str, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", kind, str(run.folder)]) == 0
    assert (run.folder / made).exists()
    assert made in capsys.readouterr().out.replace("\n", "")
