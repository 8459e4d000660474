from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import awkward as ak
import pyarrow.parquet as pq
import pytest

from alp_coffea import file_commands
from alp_coffea.errors import ConfigurationError, UnreadableFileError

sys.path.insert(0, str(Path(__file__).parent / "events"))
from foreign import candidate_rows, make_events, take, write_lists, write_rows


def run(command, *words):
    parser = argparse.ArgumentParser()
    getattr(file_commands, f"add_{command}")(parser)
    arguments = parser.parse_args([str(word) for word in words])
    return getattr(file_commands, f"{command}_command")(arguments)


def test_inspect_draws_and_writes_json(tmp_path, capsys):
    path = write_lists(tmp_path / "f.root", make_events(5))
    assert run("inspect", path) == 0
    assert "VariablesToEventBasedTree" in capsys.readouterr().out.replace("\n", "")
    assert run("inspect", path, tmp_path / "nothing.root", "--json") == 3
    one, two = json.loads(capsys.readouterr().out)
    assert one["trees"][0]["entries"] == 5
    assert "no such file" in two["problem"]


def test_convert_joins_into_one_file(tmp_path, capsys):
    event = make_events(30)
    path = write_lists(tmp_path / "f.root", event)
    assert run("convert", path, "-o", tmp_path / "sub" / "out.parquet") == 0
    assert pq.read_metadata(tmp_path / "sub" / "out.parquet").num_rows == 30
    assert "30 events" in capsys.readouterr().err


def test_convert_many_files_and_keeps_going(tmp_path, capsys):
    names = [tmp_path / f"f{i}.root" for i in range(3)]
    for number, path in enumerate(names):
        write_rows(path, candidate_rows(make_events(10, minimum=3, seed=number)))
    names[1].write_text("broken")
    settings = tmp_path / "map.yaml"
    settings.write_text("fields: {'Photon.*': 'ALP_gamma{i}_*'}\n")
    assert run("convert", *names, "-o", tmp_path / "o", "--settings", settings, "--workers", 2) == 3
    captured = capsys.readouterr().err
    assert "not a ROOT file" in captured
    assert "1 of 3 files were not converted" in captured
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["f0.parquet", "f2.parquet"]


def test_join_option(tmp_path):
    event = make_events(10)
    path = write_lists(tmp_path / "f.root", event, tracks=take(event, slice(5, 10)))
    assert run("convert", path, "-o", tmp_path / "out.parquet", "--join", "identity") == 0
    got = ak.from_parquet(tmp_path / "out.parquet")
    assert ak.all(ak.num(got.track_dr[:5]) == 0)


def test_wrong_arguments(tmp_path):
    path = write_lists(tmp_path / "f.root", make_events(3))
    (tmp_path / "sub").mkdir()
    other = write_lists(tmp_path / "sub" / "f.root", make_events(3))
    with pytest.raises(ConfigurationError, match="would both become"):
        run("convert", path, other, "-o", tmp_path / "out")
    with pytest.raises(ConfigurationError, match="is a file; give a folder"):
        run("convert", path, "-o", path)
    with pytest.raises(ConfigurationError, match="--workers 0"):
        run("convert", path, "-o", tmp_path / "out", "--workers", 0)
    path.write_text("broken")
    with pytest.raises(UnreadableFileError):
        run("convert", path, "-o", tmp_path / "out.parquet")
