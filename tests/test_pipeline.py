"""The whole path on a small simulated input: files, contracts and reproducibility."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyhf
import pytest
import yaml

import alp_coffea
from alp_coffea.config import load_analysis
from alp_coffea.errors import InputError, UnreadableFileError
from alp_coffea.physics.theory import coupling_from_cross_section
from alp_coffea.pipeline import Options, run_analysis
from alp_coffea.results import Run, load
from alp_coffea.stats.published import published_curves, published_limits
from alp_coffea.stats.scan import BANDS, COLUMNS, ScanResult, scan


@pytest.fixture(scope="module")
def run(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("out")
    return run_analysis(small_input / "analysis.yaml", out)


def test_every_promised_file_is_there(run: Run) -> None:
    expected = {
        "manifest.json",
        "histograms.zip",
        "cutflow.csv",
        "cutflow.json",
        "signal_model.json",
        "workspaces",
        "scan.csv",
        "scan.json",
        "plots",
    }
    assert expected <= {path.name for path in run.folder.iterdir()}
    pngs = {path.stem for path in (run.folder / "plots").glob("*.png")}
    assert {"limits_g", "limits_sigma", "significance", "mass_diphoton", "efficiency"} <= pngs
    assert pngs == {path.stem for path in (run.folder / "plots").glob("*.pdf")}
    assert not list(run.folder.rglob("*.tmp"))


def test_scan_csv_has_every_column_and_all_points_are_ok(run: Run) -> None:
    with (run.folder / "scan.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(run.scan) > 3
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["definition"] for row in rows} == {"diphoton"}
    assert [float(row["mass"]) for row in rows] == sorted(float(row["mass"]) for row in rows)
    assert float(rows[0]["luminosity"]) == 445


def test_limits_are_ordered_and_convert_to_couplings(run: Run) -> None:
    scan = run.scan
    bands = np.array([scan[f"sigma_{band}"] for band in BANDS])
    assert np.all(np.diff(bands, axis=0) > 0)
    assert np.all(scan["sigma_obs"] > 0)
    for name in ("obs", *BANDS):
        coupling = coupling_from_cross_section(
            scan[f"sigma_{name}"], scan["mass"], sqrt_s=scan.sqrt_s
        )
        np.testing.assert_allclose(scan[f"g_{name}"], coupling, rtol=1e-12)


def test_pyhf_finds_cls_alpha_at_our_observed_limit(run: Run) -> None:
    assert len({row["variation"] for row in run.scan}) > 1
    for row in run.scan:
        workspace = pyhf.Workspace(run.workspace(row["mass"], limit=True))
        model = workspace.model()
        cls = pyhf.infer.hypotest(
            row["sigma_obs"] / row["limit_unit"], workspace.data(model), model, test_stat="qtilde"
        )
        assert float(cls) == pytest.approx(0.05, abs=1e-4)


def test_limits_are_the_weakest_of_nine_background_choices(run: Run, small_input: Path) -> None:
    settings = load_analysis(small_input / "analysis.yaml").scan
    nominal_only = settings.model_copy(update={"background_choices": "nominal"})
    data = run.scaled("mass", "data")
    assert data is not None
    nominal, _ = scan(
        data,
        run.signal_model,
        nominal_only,
        luminosity=run.luminosity,
        background=run.scaled("mass", "background"),
    )
    assert np.all(run.scan["sigma_obs"] >= nominal["sigma_obs"])
    assert np.all(run.scan["sigma_exp"] >= nominal["sigma_exp"])
    assert np.all(run.scan["z_lowest"] <= nominal["z_local"])
    np.testing.assert_array_equal(run.scan["z_local"], nominal["z_local"])
    assert set(run.scan["variation"]) - {"nominal"}
    same = run.scan["variation"] == "nominal"
    np.testing.assert_array_equal(run.scan["sigma_obs"][same], nominal["sigma_obs"][same])


def test_yield_is_cross_section_times_efficiency_times_luminosity(run: Run) -> None:
    for row in run.scan:
        expected = row["sigma_hat"] * row["efficiency"] * row["luminosity"]
        assert row["yield"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_manifest_accounts_for_every_entry(run: Run) -> None:
    manifest = run.manifest
    assert manifest["complete"]
    assert manifest["input_complete"]
    assert manifest["synthetic"]
    assert manifest["alp_coffea"] == alp_coffea.__version__
    assert manifest["luminosity"] == 445
    assert set(manifest["stages"]) == {"process", "model", "scan", "report"}
    for row in run.ledger:
        assert (row["status"], row["read"]) == ("done", row["expected"])
        assert row["identity"]
    for sample, cutflow in run.cutflow.items():
        steps = cutflow.steps("low_mass")
        assert steps[0].events == sum(r["read"] for r in run.ledger if r["sample"] == sample)
    assert str(Path.home()) not in json.dumps(manifest["command"])


def test_scaled_background_is_the_expectation_at_the_luminosity(run: Run) -> None:
    data, background = run.scaled("mass", "data"), run.scaled("mass", "background")
    assert data is not None
    assert background is not None
    observed, expected = data.sum(flow=True).value, background.sum(flow=True).value
    # candidates come in threes
    assert abs(observed - expected) < 4 * np.sqrt(3 * observed)
    assert run.scaled("mass", "cosmics") is None
    assert run.scaled("nothing", "data") is None


def test_window_fit_describes_the_data(run: Run) -> None:
    fit = run.window_fit(3.0)
    assert len(fit.edges) == len(fit.data) + 1
    total = fit.background + fit.signal
    assert total.sum() == pytest.approx(fit.data.sum(), rel=0.02)
    chi2 = ((fit.data - total) ** 2 / total).sum()
    assert chi2 < len(fit.data) + 5 * np.sqrt(2 * len(fit.data))


def test_results_survive_loading(run: Run) -> None:
    again = load(run.folder)
    assert again.scan == run.scan
    assert "masses from 2.500" in repr(again.scan)
    assert "simulation (synthetic)" in repr(again.scan)
    assert again.signal_model == run.signal_model


def test_a_stage_can_be_repeated_alone(run: Run, small_input: Path) -> None:
    before = run.scan
    run_analysis(small_input / "analysis.yaml", run.folder, stages=("scan",))
    assert ScanResult.load(run.folder / "scan.json") == before


def test_an_injected_signal_is_found_and_recorded(run: Run, small_input: Path) -> None:
    before = run.scan
    options = Options(inject=("mass=3.0,sigma=3.0",))
    again = run_analysis(
        small_input / "analysis.yaml", run.folder, stages=("scan",), options=options
    )
    nearest = int(np.argmin(np.abs(again.scan["mass"] - 3.0)))
    assert again.scan["z_local"][nearest] > before["z_local"][nearest] + 2
    assert again.scan.meta["injected"] == ["mass=3.0,sigma=3.0"]
    run_analysis(small_input / "analysis.yaml", run.folder, stages=("scan",))


def test_histograms_of_another_configuration_are_refused(
    run: Run, small_input: Path, tmp_path: Path
) -> None:
    changed = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
    changed["catalogue"] = str(small_input / "input" / "catalogue.yaml")
    (tmp_path / "same.yaml").write_text(yaml.safe_dump(changed), "utf-8")
    run_analysis(tmp_path / "same.yaml", run.folder, stages=("model",))
    with pytest.raises(InputError, match="made with another catalogue, processor or options"):
        run_analysis(
            tmp_path / "same.yaml", run.folder, stages=("scan",), options=Options(limit_chunks=1)
        )


def test_stages_before_their_time_are_explained(small_input: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the 'process' stage first"):
        run_analysis(small_input / "analysis.yaml", tmp_path, stages=("scan",))
    with pytest.raises(InputError, match="no manifest.json, so not an output folder"):
        load(tmp_path)


def test_published_curve_is_read_and_its_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "curve.txt"
    path.write_text("# mass [eV] g\n2e8 1e0\n2e8 1e-3\n3e8 2e-3 # comment\n", "utf-8")
    mass, coupling = published_limits(path)
    assert mass.tolist() == pytest.approx([0.2, 0.3])
    assert coupling.tolist() == [1e-3, 2e-3]
    path.write_text("2e8 1e-3\n2e8\n", "utf-8")
    with pytest.raises(InputError, match=r"curve.txt, line 2: expected 'mass"):
        published_limits(path)


def test_published_limits_of_a_folder(tmp_path: Path) -> None:
    for name in ("B", "A"):
        (tmp_path / f"{name}.txt").write_text("# curve\n1e9 1e-3\n", "utf-8")
    (tmp_path / "notes.md").write_text("not a curve", "utf-8")
    names = [name for name, *_ in published_curves([tmp_path, tmp_path / "B.txt"])]
    assert names == ["A", "B", "B"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFileError, match=r"empty: no \*.txt files"):
        published_curves([tmp_path / "empty"])
