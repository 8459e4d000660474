"""The plan of a run: files, luminosities, branches, and what would be computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from alp_coffea.__main__ import main
from alp_coffea.pipeline import Options, plan, run_analysis
from alp_coffea.simulation import simulate


@pytest.fixture
def analysis(small_input: Path, tmp_path: Path) -> Any:
    """Write variants of the small analysis and catalogue."""

    def write(changes: dict[str, Any] | None = None, **samples: dict[str, Any]) -> Path:
        catalogue = yaml.safe_load((small_input / "input" / "catalogue.yaml").read_text("utf-8"))
        for sample in catalogue["samples"]:
            sample["files"] = [str(small_input / "input" / f) for f in sample["files"]]
            sample |= samples.get(sample["name"], {})
        (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(catalogue), "utf-8")
        settings = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
        settings |= {"catalogue": "catalogue.yaml"} | (changes or {})
        path = tmp_path / "analysis.yaml"
        path.write_text(yaml.safe_dump(settings), "utf-8")
        return path

    return write


def dry(path: Path, out: Path, *more: str) -> int:
    return main(["run", str(path), "-o", str(out), "--dry-run", *more])


def test_a_plan_says_everything_and_does_nothing(
    analysis: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert dry(analysis(), out) == 0
    said = capsys.readouterr().out
    assert "to be computed" in said
    assert "445" in said
    assert "yields and limits for 445/pb" in said
    assert "0 are kept in checkpoints" in said
    assert "stages: process, model, scan, report" in said
    assert "nothing was processed" in said
    assert not out.exists()


def test_what_is_computed_is_kept_until_something_changes(analysis: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = Options(chunksize=4000, limit_chunks=1)
    run_analysis(analysis(), out, stages=("process",), options=options)
    planned = plan(analysis(), out)
    for record in planned.records:
        finished = planned.finished[record.path]
        assert (finished.entries, finished.stale) == (min(4000, record.expected), 0)
    run_analysis(analysis(), out, stages=("process",))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    planned = plan(analysis(), out)
    assert all(planned.finished[r.path].entries == r.expected for r in planned.records)
    assert planned.luminosity == 445
    assert planned.ready
    changed = plan(analysis({"blinding": {"policy": "fraction"}}), out)
    for record in changed.records:
        finished = changed.finished[record.path]
        data = record.sample == "pseudo_data"
        assert finished.entries == (0 if data else record.expected)
        assert (finished.stale > 0) == data
    assert changed.luminosity == pytest.approx(44.5)
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_states_in_words(analysis: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run_analysis(analysis(), out, stages=("process",))
    assert dry(analysis(), out) == 0
    said = capsys.readouterr().out
    assert "kept from checkpoints" in said
    assert " 0 to be computed;" in said
    assert dry(analysis(), out, "--fresh") == 0
    assert "to be computed again (--fresh)" in capsys.readouterr().out
    assert dry(analysis({"blinding": {"policy": "sideband"}}), out) == 0
    assert "checkpoints are stale: to be computed again" in capsys.readouterr().out
    assert dry(analysis(), out, "--limit-files", "1") == 0


def test_what_is_wrong_with_files_is_listed_at_once(
    analysis: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with uproot.recreate(tmp_path / "few.root") as file:
        file.mktree("events", {"__event__": "int32", "gamma_E": "var * float64"})
        energies = ak.Array([[1.0], [2.0]])
        file["events"].extend({"__event__": np.array([1, 2], "i4"), "gamma_E": energies})
    (tmp_path / "text.root").write_text("hello", "utf-8")
    path = analysis(
        ggg={"files": ["text.root", "gone.root"]},
        **{"signal_3.0000": {"files": ["few.root"], "event_weight": None}},
    )
    assert dry(path, tmp_path / "out") == 3
    said = capsys.readouterr().out
    assert "text.root is not a ROOT file" in said
    assert "no file matches" in said
    assert "few.root: tree 'events' lacks what processor 'Strahlung' reads" in said
    assert "the run would stop: sample 'ggg': the luminosity that is left is unknown" in said


def test_luminosity_by_run_and_remarks_are_shown(
    analysis: Any, small_input: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with uproot.open(small_input / "input" / "pseudo_data.root") as file:
        arrays = file["events"].arrays(["__experiment__", "__run__"], library="np")
    runs = sorted(set(zip(*(values.tolist() for values in arrays.values()), strict=True)))
    rows = [*(f"{e},{r},{300 / len(runs)!r}" for e, r in runs), "9999,1,100"]
    table = "\n".join(["experiment,run,luminosity", *rows])
    (tmp_path / "lumi.csv").write_text(table, "utf-8")
    path = analysis(
        pseudo_data={"luminosity": None, "luminosity_table": "lumi.csv"},
        **{"signal_3.0000": {"coupling": 2e-3}},
    )
    assert dry(path, tmp_path / "out") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "yields and limits for 300/pb" in said
    planned = plan(path, tmp_path / "out")
    samples = {row["name"]: row for row in planned.samples}
    data = samples["pseudo_data"]
    assert (data["luminosity"], data["covered_luminosity"]) == pytest.approx((400, 300))
    assert "1 runs of which no entry was read" in data["note"]
    # a quarter, and some initial-state radiation
    assert "0.242 times the " in samples["signal_3.0000"]["note"]


def test_files_to_be_converted_are_checked_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = {
        "name": "pseudo_data",
        "kind": "data",
        "files": ["x"],
        "luminosity": 3,
        "simulate": {"process": "ggg", "seed": 3, "luminosity": 3},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"samples": [sample]}), "utf-8")
    for layout, code in (("event_trees", 0), ("candidates", 3)):
        made = simulate(tmp_path / "c.yaml", tmp_path / layout, layout=layout)
        path = tmp_path / layout / "analysis.yaml"
        settings = {"catalogue": str(made), "processor": "strahlung"}
        path.write_text(yaml.safe_dump(settings), "utf-8")
        out = tmp_path / layout / "out"
        assert dry(path, out) == code
        said = capsys.readouterr().out
        assert "to be converted, then computed" in said
        assert not out.exists()
        # candidate rows have no tracks
        assert ("Track.dr" in said) == (layout == "candidates")
    assert "lacks what processor 'Strahlung' reads" in said
    path = tmp_path / "event_trees" / "analysis.yaml"
    out = tmp_path / "event_trees" / "out"
    (before,) = plan(path, out).records
    run = run_analysis(path, out, stages=("process",))
    assert before.expected == run.ledger[0]["expected"]
    (after,) = plan(path, out).records
    assert after.is_parquet
    assert plan(path, out).finished[after.path].entries == before.expected


def test_a_demonstration_is_not_simulated_for_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--demo", "-o", str(tmp_path / "demo"), "--dry-run"]) == 0
    assert "would be simulated into" in capsys.readouterr().out
    assert not (tmp_path / "demo").exists()
