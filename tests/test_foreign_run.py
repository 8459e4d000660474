"""The same analysis on the same simulated events in basf2's layouts gives the same results."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import pytest
import uproot
import yaml

from alp_coffea.__main__ import main
from alp_coffea.pipeline import run_analysis
from alp_coffea.results import Run
from alp_coffea.simulation import simulate

CATALOGUE = {
    "samples": [
        {
            "name": "pseudo_data",
            "kind": "data",
            "files": ["x"],
            "luminosity": 30,
            "simulate": {"process": "ggg", "seed": 3, "luminosity": 30},
        },
        {
            "name": "signal",
            "kind": "signal",
            "mass": 3.0,
            "files": ["x"],
            "simulate": {"process": "signal", "seed": 4, "events": 600},
        },
    ]
}


def write_analysis(folder: Path, catalogue: Path) -> Path:
    path = folder / "analysis.yaml"
    path.write_text(
        yaml.safe_dump({"catalogue": str(catalogue), "processor": "strahlung"}), "utf-8"
    )
    return path


def test_list_trees_give_the_results_of_canonical_files(tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(CATALOGUE), "utf-8")
    runs: list[Run] = []
    for layout in ("canonical", "event_trees"):
        made = simulate(tmp_path / "catalogue.yaml", tmp_path / layout, layout=layout)
        path = write_analysis(tmp_path / layout, made)
        runs.append(run_analysis(path, tmp_path / layout / "out", stages=("process",)))
    canonical, lists = runs
    tables = [(run.folder / "cutflow.csv").read_text("utf-8") for run in runs]
    assert tables[0] == tables[1]
    assert set(lists.histograms) == set(canonical.histograms)
    for name, histogram in canonical.histograms.items():
        assert lists.histograms[name] == histogram, name
    for row in lists.ledger:
        assert row["conversion"]["layout"] == "event_based"
        assert row["conversion"]["processed_events_known"]
        assert row["path"].endswith(".parquet")
    assert lists.samples["signal"]["covered_luminosity"] == pytest.approx(
        canonical.samples["signal"]["covered_luminosity"]
    )


def test_truncated_lists_are_said_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(CATALOGUE), "utf-8")
    made = simulate(tmp_path / "catalogue.yaml", tmp_path / "lists", layout="event_trees")
    (path,) = (made.parent / name for name in ("pseudo_data.root",))
    with uproot.open(path) as file:
        trees = {name: file[name] for name in file.keys(cycle=False)}
        trees = {n: t.arrays() for n, t in trees.items() if isinstance(t, uproot.TTree)}
    with uproot.recreate(path) as file:
        for name, arrays in trees.items():
            content = {field: arrays[field] for field in arrays.fields}
            lists = {f: v for f, v in content.items() if v.ndim == 2}
            scalars = {f: ak.to_numpy(v) for f, v in content.items() if f not in lists}
            if name == "photons":  # as maxCandidates: 1 would write it
                lists = {f: v[:, :1] for f, v in lists.items()}
            types = {f: v.dtype for f, v in scalars.items()}
            jagged = ak.zip(lists)
            types["list"] = jagged.type.content
            tree = file.mktree(
                name,
                types,
                counter_name=lambda _: "__count__",
                field_name=lambda outer, inner: inner if outer in ("", "list") else outer,
            )
            tree.extend({**scalars, "list": jagged})
    analysis = write_analysis(tmp_path, made)
    out = tmp_path / "out"
    assert main(["run", str(analysis), "-o", str(out), "--stages", "process"]) == 0
    assert "have truncated lists (maxCandidates)" in capsys.readouterr().err
    (row,) = [row for row in Run(out).ledger if row["sample"] == "pseudo_data"]
    assert row["conversion"]["truncated_events"] > 0.9 * row["read"]


def test_candidate_rows_take_the_number_of_events_from_the_catalogue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(CATALOGUE), "utf-8")
    made = simulate(tmp_path / "catalogue.yaml", tmp_path / "rows", layout="candidates")
    content = yaml.safe_load(made.read_text("utf-8"))
    signal = next(s for s in content["samples"] if s["name"] == "signal")
    assert signal["generated_events"] == 600
    path = write_analysis(tmp_path, made)
    # candidate rows have no tracks: the processor says what it misses
    code = main(["run", str(path), "-o", str(tmp_path / "out"), "--stages", "process"])
    assert code == 3
    said = capsys.readouterr().err
    assert "lacks what processor 'Strahlung' reads" in said
    assert "Track.dr" in said
    manifest = Run(tmp_path / "out").manifest
    (row,) = [row for row in manifest["ledger"] if row["sample"] == "signal"]
    assert row["conversion"]["processed_events_known"] is False
    assert row["expected"] < 600
    (sample,) = [row for row in manifest["samples"] if row["name"] == "signal"]
    cross_section = sample["cross_section"]["value"]
    assert sample["luminosity"] == pytest.approx(600 / cross_section)
