"""Opening catalogues: counting, identities, and every kind of damaged input."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from alp_coffea.config import Catalogue, load_catalogue
from alp_coffea.errors import (
    ConfigurationError,
    EmptyFileError,
    InputError,
    MissingFieldError,
    MissingFileError,
    MissingTreeError,
    UnreadableFileError,
)
from alp_coffea.events.datasets import FileRecord, covered_fraction, open_catalogue
from alp_coffea.events.schema import canonical_branch, check_fields


def write(path: Path, entries: int = 100, tree: str = "events") -> Path:
    with uproot.recreate(path) as file:
        file.mktree(tree, {"__run__": np.dtype("i4"), "weight": np.dtype("f8")})
        if entries:
            file[tree].extend(
                {"__run__": np.arange(entries, dtype="i4"), "weight": np.ones(entries)}
            )
    return path


def catalogue(folder: Path, *files: str, tree: str = "events") -> Catalogue:
    path = folder / "catalogue.yaml"
    entry = {
        "name": "mc",
        "kind": "background",
        "files": list(files),
        "luminosity": 100.0,
        "tree": tree,
    }
    path.write_text(yaml.safe_dump({"samples": [entry]}), "utf-8")
    return load_catalogue(path)


def test_entries_and_identities_are_counted_per_file(tmp_path: Path) -> None:
    write(tmp_path / "b.root", 30)
    write(tmp_path / "a.root", 70)
    records = open_catalogue(catalogue(tmp_path, "*.root"))
    assert [(Path(r.path).name, r.expected) for r in records] == [("a.root", 70), ("b.root", 30)]
    assert len({r.identity for r in records}) == 2
    assert records[0].size == (tmp_path / "a.root").stat().st_size
    assert records[0].branches == {"__run__", "weight"}


def test_parquet_is_opened_too(tmp_path: Path) -> None:
    ak.to_parquet(ak.Array({"weight": np.ones(12)}), tmp_path / "a.parquet")
    (record,) = open_catalogue(catalogue(tmp_path, "a.parquet"))
    assert (record.expected, record.branches) == (12, {"weight"})


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_the_tail(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def overwrite_with_text(path: Path) -> None:
    path.write_text("not a ROOT file", "utf-8")


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_in_half, cut_the_tail, overwrite_with_text, make_empty])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = write(tmp_path / "bad.root", 50_000)
    damage(path)
    with pytest.raises(
        UnreadableFileError, match=r"sample 'mc': .*bad.root (is truncated|is not a ROOT file)"
    ):
        open_catalogue(catalogue(tmp_path, "bad.root"))


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "sample_1.root")
    with pytest.raises(MissingFileError, match="no file matches .*did you mean 'sample_1.root'"):
        open_catalogue(catalogue(tmp_path, "sampel_1.root"))


def test_missing_tree_lists_the_trees(tmp_path: Path) -> None:
    write(tmp_path / "a.root", tree="event")
    with pytest.raises(
        MissingTreeError, match="no tree 'events'; did you mean 'event'.*The file has: event"
    ):
        open_catalogue(catalogue(tmp_path, "a.root"))


def test_tree_without_entries_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.root", 0)
    with pytest.raises(EmptyFileError, match="a.root: tree 'events' has no entries"):
        open_catalogue(catalogue(tmp_path, "a.root"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.root").chmod(0)
    with pytest.raises(UnreadableFileError, match="permission denied"):
        open_catalogue(catalogue(tmp_path, "a.root"))


def test_a_file_listed_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.root")
    with pytest.raises(ConfigurationError, match="events would count twice"):
        open_catalogue(catalogue(tmp_path, "a.root", "*.root"))


def test_allowed_losses_are_reported_with_their_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.root", 100)
    cut_in_half(write(tmp_path / "b.root", 50_000))
    records = open_catalogue(catalogue(tmp_path, "*.root", "gone.root"), allow_missing=True)
    assert [r.status for r in records] == ["pending", "unusable", "unusable"]
    assert "b.root" in records[1].reason
    assert "gone.root" in records[2].reason


def test_limit_files_is_per_sample(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.root")
    records = open_catalogue(catalogue(tmp_path, "*.root"), limit_files=2)
    assert [record.status for record in records] == ["pending", "pending", "left_out"]
    assert records[2].reason == "left out by the limit on files"


def record(expected: int, read: int) -> FileRecord:
    return FileRecord("mc", "x", "events", expected=expected, read=read)


def test_covered_fraction() -> None:
    assert covered_fraction([record(60, 60), record(40, 40)], "mc") == 1
    assert covered_fraction([record(60, 60), record(40, 0)], "mc") == 0.6
    # a file that could not be counted is taken to be as large as the others are on average
    assert covered_fraction([record(50, 50), record(0, 0)], "mc") == 0.5
    assert covered_fraction([record(0, 0)], "mc") == 0
    assert covered_fraction([], "mc") == 0


def test_missing_fields_are_explained() -> None:
    with pytest.raises(MissingFieldError) as caught:
        check_fields(
            ["Photon.clusterTiming", "run"],
            ["gamma_clusterTming", "__run__"],
            path="f.root",
            tree="events",
            processor="strahlung",
        )
    message = str(caught.value)
    assert "f.root: tree 'events' lacks what processor 'strahlung' reads" in message
    assert "Photon.clusterTiming (branch 'gamma_clusterTiming'; did you mean" in message
    assert "'gamma_clusterTming'" in message
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("field", "branch"),
    [("Photon.E", "gamma_E"), ("Track.dr", "track_dr"), ("event", "__event__"), ("L1x", "L1x")],
)
def test_canonical_names(field: str, branch: str) -> None:
    assert canonical_branch(field) == branch
