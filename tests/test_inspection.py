from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from rich.console import Console

from alp_coffea.builtin import builtin_folder
from alp_coffea.errors import InputError, MissingFileError
from alp_coffea.events.conversion.convert import convert
from alp_coffea.execution.processors import load_processor
from alp_coffea.inspection import Needs, builtin_needs, inspect_file, inspect_files, render
from alp_coffea.physics import SUPERKEKB

sys.path.insert(0, str(Path(__file__).parent / "events"))
from foreign import candidate_rows, list_tree, make_events, write_lists, write_rows

NEEDS = {
    "three_photons": Needs(
        ("Photon.E", "Photon.clusterTiming", "Track.dr"), ("Photon.isSignal", "Photon.mcPDG")
    )
}


def drawn(*reports, full=False):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for report in reports:
        render(report, console, full=full)
    console.file.close()
    return console.export_text()


def missing(report, number=0):
    return [item.field for item in report.inputs[number].missing["three_photons"]]


def test_list_trees_are_one_input(tmp_path):
    path = write_lists(tmp_path / "f.root", make_events(20))
    report = inspect_file(path, NEEDS)
    assert [(t.name, t.entries, t.layout, t.collection) for t in report.trees] == [
        ("photons", 20, "event_based", "Photon"),
        ("tracks", 20, "event_based", "Track"),
    ]
    (one,) = report.inputs
    assert one.trees == ("photons", "tracks")
    assert one.fields["Photon.E"] == ("E",)
    assert one.fields["Track.dr"] == ("dr",)
    assert one.fields["run"] == ("__run__",)
    assert one.fields["Ecms"] == ("Ecms",)
    assert missing(report) == ["Photon.mcPDG"]
    text = drawn(report)
    assert "VariablesToEventBasedTree" in text
    assert "processor 'three_photons': has all it needs" in text
    assert "also needs for simulated signal: Photon.mcPDG" in text
    assert f"alp-coffea convert {path} -o f.parquet" in text


def test_candidate_rows(tmp_path):
    def names(slot, variable):
        return f"ALP_gamma{slot}_{variable}" if slot < 2 else f"recoil_{variable}"

    columns = candidate_rows(make_events(20, minimum=3), names)
    columns["recoil_clusterTimming"] = columns.pop("recoil_clusterTiming")
    report = inspect_file(write_rows(tmp_path / "f.root", columns), NEEDS)
    (one,) = report.inputs
    assert one.layout == "candidates"
    assert one.fields["Photon.E"] == ("ALP_gamma0_E", "ALP_gamma1_E", "recoil_E")
    assert "ALP_M" in one.unused
    lacking = {item.field: item.nearest for item in one.missing["three_photons"]}
    assert lacking["Photon.clusterTiming"] in ("recoil_clusterTimming", "ALP_gamma0_clusterTiming")
    assert "Track.dr" in lacking
    assert "Photon.isSignal" not in lacking
    text = drawn(report)
    assert "lacks Photon.clusterTiming (nearest: " in text
    assert "do not tell how many events were processed" in text
    assert "Track.dr: []" in text


def test_unknown_aliases_ask_for_a_map(tmp_path):
    columns = candidate_rows(make_events(20, minimum=3), lambda s, v: f"{'xyz'[s]}__{v}")
    report = inspect_file(write_rows(tmp_path / "f.root", columns), NEEDS)
    assert "no photons recognised" in report.inputs[0].advice[0]
    assert "fields" in report.inputs[0].advice[0]
    assert missing(report)[0] == "Photon.E"


@pytest.mark.parametrize("container", ["TTree", "RNTuple", "parquet"])
def test_canonical_files(tmp_path, container):
    source = write_lists(tmp_path / "f.root", make_events(20))
    path = tmp_path / "f.parquet"
    convert([source], path)
    if container != "parquet":
        content = ak.from_parquet(path)
        path = tmp_path / "g.root"
        with uproot.recreate(path) as file:
            columns = {name: content[name] for name in content.fields}
            if container == "TTree":
                file.mktree("events", {n: v.type.content for n, v in columns.items()}).extend(
                    columns
                )
            else:
                file.mkrntuple("events", columns)
    report = inspect_file(path, NEEDS)
    assert report.trees[0].container == container
    assert report.trees[0].entries == 20
    assert report.trees[0].layout == "canonical"
    assert report.inputs[0].fields["Photon.clusterTiming"] == ("gamma_clusterTiming",)
    assert missing(report) == ["Photon.mcPDG"]
    assert "ready to be used" in report.inputs[0].advice[-1]


def test_files_that_have_nothing_to_do_with_photons(tmp_path):
    with uproot.recreate(tmp_path / "h.root") as file:
        file["folder/h"] = np.histogram([1.0, 2.0])
    with uproot.recreate(tmp_path / "t.root") as file:
        tree = file.mktree("a/Events", {"nJet": "int32", "Jet_pt": "var * float32"})
        tree.extend({"nJet": np.array([1]), "Jet_pt": ak.Array([[1.0]])})
    ak.to_parquet(ak.Array({"city": ["Tsukuba"], "people": [250_000]}), tmp_path / "c.parquet")
    histogram, tree, table = inspect_files(
        [tmp_path / "h.root", tmp_path / "t.root", tmp_path / "c.parquet"], NEEDS
    )
    assert histogram.trees == ()
    assert "TH1D" in drawn(histogram)
    assert (tree.trees[0].name, tree.trees[0].layout) == ("a/Events", "unknown")
    assert table.trees[0].columns == 2
    for report in (tree, table):
        assert report.inputs == ()
        assert "no events here" in drawn(report)


def test_empty_trees_say_so(tmp_path):
    event = make_events(3)
    with uproot.recreate(tmp_path / "f.root") as file:
        empty = {name: values[:0] for name, values in event["identity"].items()}
        list_tree(file, "photons", {n: v[:0] for n, v in event["photons"].items()}, empty)
    report = inspect_file(tmp_path / "f.root", NEEDS)
    assert "tree 'photons' has no entries" in report.inputs[0].advice


def test_unreadable_files_are_reported_beside_good_ones(tmp_path):
    good = write_lists(tmp_path / "good.root", make_events(2000))
    cut = tmp_path / "cut.root"
    cut.write_bytes(good.read_bytes()[:1000])
    (tmp_path / "text.root").write_text("hello")
    paths = [good, cut, tmp_path / "text.root", tmp_path / "goood.root"]
    reports = inspect_files(paths, NEEDS)
    assert [bool(report.problem) for report in reports] == [False, True, True, True]
    assert "cut.root cannot be read" in reports[1].problem
    assert "not a ROOT file" in reports[2].problem
    assert "did you mean 'good.root'" in reports[3].problem
    for report in reports[1:]:
        assert drawn(report).split() == report.problem.split()
    with pytest.raises(MissingFileError):
        inspect_file(tmp_path / "goood.root")
    with pytest.raises(InputError):
        inspect_file(tmp_path / "text.root")


def test_report_is_json(tmp_path):
    path = write_lists(tmp_path / "f.root", make_events(5))
    data = json.loads(json.dumps(inspect_file(path, NEEDS).to_json()))
    assert data["trees"][0]["name"] == "photons"
    assert data["inputs"][0]["fields"]["Photon.E"] == ["E"]
    assert data["inputs"][0]["missing"]["three_photons"][0]["field"] == "Photon.mcPDG"


def test_odd_names_are_drawn_as_they_are(tmp_path):
    event = make_events(5)
    event["photons"]["a_bracket"] = event["photons"]["E"]
    path = write_lists(tmp_path / "[red]f.root", event)
    assert "[red]f.root" in drawn(inspect_file(path, NEEDS))


def test_unused_columns_are_listed_in_full_on_request(tmp_path):
    columns = candidate_rows(make_events(5, minimum=3), lambda s, v: f"gamma{s}_{v}")
    columns |= {f"other{i}": columns["Ecms"] for i in range(20)}
    report = inspect_file(write_rows(tmp_path / "f.root", columns), NEEDS)
    assert "other19" not in drawn(report)
    assert "and 13 more" in drawn(report)
    assert "other19" in drawn(report, full=True)


def test_looking_at_a_file_compiles_nothing(tmp_path):
    """The time of a look is that of a few imports."""
    path = write_lists(tmp_path / "lists.root", make_events(10))
    code = (
        "import sys; from alp_coffea.__main__ import main\n"
        f"assert main(['inspect', {str(path)!r}]) == 0\n"
        "heavy = {'numba', 'coffea', 'scipy', 'vector', 'hist', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_needs_of_built_in_processors_are_what_they_declare():
    needs = builtin_needs()
    assert set(needs) <= {path.stem for path in builtin_folder("processors").glob("*.py")}
    processor = load_processor("strahlung", {}, beams=SUPERKEKB)
    assert needs["strahlung"].always == processor.uses
    assert needs["strahlung"].truth == processor.uses_truth
