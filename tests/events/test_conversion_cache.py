from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from functools import partial

import awkward as ak
import pytest
import uproot
from foreign import list_tree, make_events, write_lists

from alp_coffea.errors import ConfigurationError, MissingFileError, UnreadableFileError
from alp_coffea.events.conversion.conversion_cache import canonical_files, friend_groups, is_foreign
from alp_coffea.events.conversion.convert import convert
from alp_coffea.execution.mapping import for_each
from alp_coffea.execution.running import open_engine


@contextmanager
def on(executor):
    """Where files are converted, None for the default."""
    if executor is None:
        yield None
    else:
        with open_engine(executor, 2) as engine:
            yield partial(for_each, engine)


@pytest.mark.parametrize("executor", [None, "iterative", "futures", "dask"])
def test_mixed_files(tmp_path, executor):
    foreign = [str(write_lists(tmp_path / f"f{i}.root", make_events(10, seed=i))) for i in (0, 1)]
    convert(foreign[:1], tmp_path / "canonical.parquet")
    (tmp_path / "text.root").write_text("hello")
    inputs = [*foreign, str(tmp_path / "canonical.parquet"), str(tmp_path / "text.root")]
    calls = []
    with on(executor) as where:
        files = canonical_files(
            [[path] for path in inputs],
            tmp_path / "cache",
            for_each=where,
            progress=lambda *numbers: calls.append(numbers),
        )
    assert [file.sources for file in files] == [(path,) for path in inputs]
    assert [file.report is not None for file in files] == [True, True, False, False]
    assert files[2].path == inputs[2]
    assert files[3].path == ""
    assert isinstance(files[3].error, UnreadableFileError)
    assert calls == [(n, 4) for n in (1, 2, 3, 4)]
    for seed in (0, 1):
        got = ak.from_parquet(files[seed].path)
        assert ak.all(got.gamma_E == make_events(10, seed=seed)["photons"]["E"])
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    again = canonical_files([[path] for path in inputs], tmp_path / "cache")
    assert [file.path for file in again] == [file.path for file in files]
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}


def test_workers_that_die_and_folders_they_cannot_see(tmp_path):
    foreign = [str(write_lists(tmp_path / f"f{i}.root", make_events(10, seed=i))) for i in (0, 1)]

    def mishaps(function, arguments):
        def call(group):
            if group[0].endswith("f1.root"):
                os.kill(os.getpid(), signal.SIGKILL)
            return function(group)

        with open_engine("futures", 2) as engine:
            yield from for_each(engine, call, arguments)

    files = canonical_files([[path] for path in foreign], tmp_path / "cache", for_each=mishaps)
    assert files[0].error is None
    assert isinstance(files[1].error, UnreadableFileError)
    assert str(files[1].error).startswith(f"{foreign[1]}: the worker died of it, twice")

    def elsewhere(function, arguments):
        (mark,) = (tmp_path / "cache").glob(".visible-*")
        mark.unlink()
        for number, argument in enumerate(arguments):
            yield number, function(argument)

    with pytest.raises(ConfigurationError, match="cannot see the folder .*cache"):
        canonical_files([foreign[:1]], tmp_path / "cache", for_each=elsewhere)
    assert not list((tmp_path / "cache").glob(".visible-*"))


def test_friend_files(tmp_path):
    event = make_events(10)
    for name, columns in (("a", event["photons"]), ("a_tracks", event["tracks"])):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            list_tree(file, "tree", columns, event["identity"])
    groups = friend_groups([str(tmp_path / "a.root")], ["{folder}/{stem}_tracks.root"])
    assert groups == [(str(tmp_path / "a.root"), str(tmp_path / "a_tracks.root"))]
    (file,) = canonical_files(groups, tmp_path / "cache")
    assert ak.all(ak.from_parquet(file.path).track_dr == event["tracks"]["dr"])
    (lost,) = canonical_files(
        friend_groups([str(tmp_path / "a.root")], ["{folder}/{stem}_muons.root"]), tmp_path
    )
    assert isinstance(lost.error, MissingFileError)
    with pytest.raises(ConfigurationError, match=r"only \{stem\} and \{folder\}.*steam"):
        friend_groups(["a.root"], ["{steam}_tracks.root"])


def test_foreign_or_not(tmp_path):
    assert is_foreign(str(write_lists(tmp_path / "f.root", make_events(3))))
    with uproot.recreate(tmp_path / "g.root") as file:
        file.mktree("x", {"y": float}).extend({"y": [1.0]})
    assert not is_foreign(str(tmp_path / "g.root"))
    convert([tmp_path / "f.root"], tmp_path / "h.parquet")
    assert not is_foreign(str(tmp_path / "h.parquet"))
