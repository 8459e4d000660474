"""Duplicate events and files, and what finding them costs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st
from ntuples import canonical, catalogue, write_parquet, write_root

from alp_coffea.errors import (
    ConfigurationError,
    DuplicateEventError,
    UnreadableFileError,
    WrongTypeError,
)
from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.events.ledger import IdentityCheck, _compare, _examine, check_identities

Write = Callable[..., Path]


def checked(folder: Path, *files: str, exact_up_to: int = 10**8, **changes: Any) -> IdentityCheck:
    made = catalogue(folder, *files, **changes)
    return check_identities(open_catalogue(made), made.samples, exact_up_to=exact_up_to)


@pytest.mark.parametrize("write", [write_root, write_parquet])
def test_different_events_pass_and_are_counted(tmp_path: Path, write: Write) -> None:
    suffix = "root" if write is write_root else "parquet"
    write(tmp_path / f"a.{suffix}", canonical(np.arange(3000), run=1))
    write(tmp_path / f"b.{suffix}", canonical(np.arange(3000), run=2))
    write(tmp_path / f"c.{suffix}", canonical(np.arange(3000, 5000), run=1))
    write(tmp_path / f"d.{suffix}", canonical(np.arange(3000), run=1, production=4))
    made = catalogue(tmp_path, f"*.{suffix}")
    records = open_catalogue(made)
    report = check_identities(records, made.samples)
    assert (report.events, report.unchecked, report.exact) == (11_000, 0, True)
    assert [record.runs for record in records] == [
        {(7, 1): 3000},
        {(7, 2): 3000},
        {(7, 1): 2000},
        {(7, 1): 3000},
    ]
    assert report.wall_seconds > 0


@pytest.mark.parametrize("write", [write_root, write_parquet])
def test_an_event_twice_in_a_file_is_named(tmp_path: Path, write: Write) -> None:
    path = tmp_path / ("a.root" if write is write_root else "a.parquet")
    write(path, canonical([5, 9, 1, 9, 12], run=[3, 3, 3, 3, 4]))
    with pytest.raises(
        DuplicateEventError, match=r"a\.\w+: tree 'events' has event 9 of experiment 7, run 3"
    ):
        checked(tmp_path, path.name)
    assert checked(tmp_path, path.name, allow_duplicate_events=True).events == 5


def test_the_same_number_in_another_run_is_another_event(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical([5, 5, 5], run=[1, 2, 3]))
    assert checked(tmp_path, "a.root").events == 3


def test_events_shared_by_files_are_named(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(0, 2000, 2)))
    write_root(tmp_path / "b.root", canonical(np.arange(1, 2000, 2)))
    assert checked(tmp_path, "*.root").events == 2000
    write_root(tmp_path / "c.root", canonical([5000, 1234, 1001]))
    with pytest.raises(DuplicateEventError) as caught:
        checked(tmp_path, "*.root")
    message = str(caught.value)
    assert "event 1001 of experiment 7, run 1, production 0 is in" in message
    assert "b.root and in" in message
    assert "c.root, as are 1 other events" in message
    assert "allow_duplicate_events" in message
    assert checked(tmp_path, "*.root", allow_duplicate_events=True).events == 2003


def test_large_samples_are_compared_by_run_and_range(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(0, 100)))
    write_root(tmp_path / "b.root", canonical(np.arange(100, 200)))
    report = checked(tmp_path, "*.root", exact_up_to=10)
    assert (report.events, report.exact) == (200, False)
    write_root(tmp_path / "c.root", canonical([150, 1000]))
    with pytest.raises(DuplicateEventError, match="has events 100 to 199 and .* 150 to 1000 of"):
        checked(tmp_path, "*.root", exact_up_to=10)
    # within a file the check stays exact
    write_root(tmp_path / "c.root", canonical([1000, 1000]))
    with pytest.raises(DuplicateEventError, match="more than once"):
        checked(tmp_path, "*.root", exact_up_to=10)


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=8), max_size=4))
def test_duplicates_are_found_exactly_when_there_are_any(files: list[Any]) -> None:
    """Against Python sets, for any events in any files."""
    examined = []
    seen: list[tuple[int, int]] = []
    refused = False
    for number, events in enumerate(file for file in files if file):
        seen += events
        record = FileRecord("data", f"{number}.parquet", "events", expected=len(events))
        record.branches = frozenset({"__experiment__", "__run__", "__event__"})
        columns = [np.array(column, dtype=np.int64) for column in zip(*events, strict=True)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "alp_coffea.events.ledger._read_parquet",
                lambda *_, c=columns: iter([[np.ones_like(c[0]), c[0], c[1]]]),
            )
            try:
                examined.append(_examine(record, True, True, False))
            except DuplicateEventError:
                refused = True
                break
    if not refused:
        try:
            _compare(examined, exact=True)
        except DuplicateEventError:
            refused = True
    assert refused == (len(set(seen)) < len(seen))


def test_signed_event_numbers_of_old_releases_are_unsigned_ones(tmp_path: Path) -> None:
    new = np.array([4_000_000_000], dtype=np.uint32)
    write_root(tmp_path / "new.root", canonical(new))
    write_root(tmp_path / "old.root", canonical(new.astype(np.int32)))
    with pytest.raises(DuplicateEventError, match="event 4000000000 of"):
        checked(tmp_path, "*.root")


def test_a_file_without_identity_is_noted(tmp_path: Path) -> None:
    columns = canonical(np.arange(10))
    del columns["__run__"]
    write_root(tmp_path / "a.root", columns)
    report = checked(tmp_path, "a.root")
    assert (report.events, report.unchecked) == (0, 10)
    assert "no branch __run__: duplicate events cannot be noticed" in report.notes[0]


@pytest.mark.parametrize(
    "event", [np.array([1.0, 2.0]), np.array([2**33, 1], dtype=np.int64)], ids=["float", "large"]
)
def test_a_column_that_is_no_event_number_is_named(tmp_path: Path, event: Any) -> None:
    write_root(tmp_path / "a.root", canonical(event))
    with pytest.raises(WrongTypeError, match="branch '__event__'"):
        checked(tmp_path, "a.root")


def test_unreadable_identities_stop_or_stay_unchecked(tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root", canonical(np.random.default_rng(1).permutation(50_000)))
    with uproot.open(path) as file:
        basket = file["events/__event__"].basket(0)
        start = file["events/__event__"].basket_key(0).fSeekKey + basket.compressed_bytes // 2
    content = bytearray(path.read_bytes())
    content[start : start + 400] = bytes(400)
    path.write_bytes(content)
    made = catalogue(tmp_path, "a.root")
    records = open_catalogue(made)
    with pytest.raises(UnreadableFileError, match=r"a\.root: tree 'events', branch"):
        check_identities(records, made.samples)
    report = check_identities(records, made.samples, allow_missing=True)
    assert report.unchecked == 50_000
    assert "identity not read" in report.notes[0]


def test_a_copy_under_another_name_is_refused(tmp_path: Path) -> None:
    path = write_root(tmp_path / "a.root", canonical(np.arange(10)))
    shutil.copy(path, tmp_path / "b.root")
    with pytest.raises(ConfigurationError, match=r"b\.root .* is a copy of .*a\.root .*identity"):
        checked(tmp_path, "*.root")
    write_parquet(tmp_path / "a.parquet", canonical(np.arange(10)))
    shutil.copy(tmp_path / "a.parquet", tmp_path / "b.parquet")
    with pytest.raises(ConfigurationError, match="is a copy of"):
        checked(tmp_path, "*.parquet")


def test_more_events_than_were_generated_are_refused(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(10)))
    simulated = {
        "kind": "background",
        "luminosity": None,
        "cross_section": {"value": 1.0, "source": "x"},
    }
    assert checked(tmp_path, "a.root", generated_events=10, **simulated).events == 10
    with pytest.raises(ConfigurationError, match="have 10 events, but 'generated_events' is 9"):
        checked(tmp_path, "a.root", generated_events=9, **simulated)
