"""Lost files take exactly their own luminosity with them, or the run says what it cannot know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import candidate_rows, make_events, write_lists, write_rows
from hypothesis import given
from hypothesis import strategies as st
from ntuples import canonical, catalogue, write_parquet, write_root

from alp_coffea.config import Catalogue, Sample
from alp_coffea.errors import (
    AlpCoffeaError,
    ConfigurationError,
    MissingFileError,
    UncountedFileError,
)
from alp_coffea.events.datasets import FileRecord, covered_uncertainty, open_catalogue
from alp_coffea.events.file_entries import (
    complete_counts,
    read_file_entries,
    write_file_entries,
)
from alp_coffea.events.ledger import check_identities, runs_in
from alp_coffea.events.luminosity import Coverage, coverage, require_counts, uncounted
from alp_coffea.physics.production import Strahlung

#: Experiment 7: 10/pb, 20/pb and 4/pb.
TABLE = "experiment,run,luminosity\n7,1,10\n7,2,20\n7,3,4\n"


def write_runs(path: Path, first: int, **entries: int) -> Path:
    """A file with so many entries of each run (``r1=30``), event numbers from ``first`` on."""
    run = np.concatenate([np.full(n, int(name[1:])) for name, n in entries.items()])
    return write_root(path, canonical(np.arange(first, first + len(run)), run=run))


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """Runs 1 and 2 in two files each, run 3 in one: a.root, b.root, c.root."""
    (tmp_path / "lumi.csv").write_text(TABLE, "utf-8")
    write_runs(tmp_path / "a.root", 0, r1=60)
    write_runs(tmp_path / "b.root", 1000, r1=40, r2=30)
    write_runs(tmp_path / "c.root", 2000, r2=10, r3=5)
    return tmp_path


def data(folder: Path, *files: str, **changes: Any) -> Catalogue:
    changes = {"luminosity": None, "luminosity_table": "lumi.csv"} | changes
    return catalogue(folder, *(files or ("*.root",)), **changes)


def read_all(made: Catalogue, *, earlier: Path | None = None) -> list[FileRecord]:
    """Open and count; whatever can be read is read."""
    records = open_catalogue(made, allow_missing=True)
    check_identities(records, made.samples, allow_missing=True)
    records = complete_counts(records, made.samples, earlier=earlier, allow_missing=True)
    for record in records:
        if record.status == "pending":
            record.read = record.expected
    return records


def covered(made: Catalogue, records: list[FileRecord]) -> Coverage:
    return coverage(made.samples[0], records, production=Strahlung(10.58))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


LIST = "file,experiment,run,entries\na.root,7,1,60\nb.root,7,1,40\nb.root,7,2,30\n"
LIST += "c.root,7,2,10\nc.root,7,3,5\n"


@pytest.mark.parametrize("loss", ["cut", "gone"])
@pytest.mark.parametrize("files", [("*.root",), ("a.root", "b.root", "c.root")])
def test_runs_spread_over_files_lose_their_share(
    spread: Path, loss: str, files: tuple[str, ...]
) -> None:
    (spread / "list.csv").write_text(LIST, "utf-8")
    made = data(spread, *files, file_entries="list.csv")
    assert covered(made, read_all(made)).covered == 34
    if loss == "cut":
        cut(spread / "b.root")
    else:
        (spread / "b.root").unlink()
    records = read_all(made)
    require_counts(records, made.samples)
    result = covered(made, records)
    assert result.covered == pytest.approx(10 * 60 / 100 + 20 * 10 / 40 + 4)
    assert (result.recorded, result.uncertainty) == (34, None)
    assert result.fraction == pytest.approx(75 / 145)
    (lost,) = [record for record in records if record.status == "unusable"]
    assert (lost.expected, lost.counted) == (70, "list")


def test_without_a_list_the_loss_is_refused_not_guessed(spread: Path) -> None:
    made = data(spread)
    require_counts(read_all(made), made.samples)
    cut(spread / "b.root")
    records = read_all(made)
    with pytest.raises(UncountedFileError) as caught:
        require_counts(records, made.samples)
    said = str(caught.value)
    assert "sample 'data': the luminosity that is left is unknown" in said
    assert f"{spread / 'b.root'}: sample 'data'" in said
    assert "truncated" in said
    assert "columns file,experiment,run,entries" in said
    assert "--estimate-missing" in said
    require_counts(records, made.samples, estimate=True)
    estimate = covered(made, records)
    # two files with 60 and 15 entries, the third taken for their mean
    assert estimate.covered == pytest.approx(34 * 2 / 3)
    assert estimate.uncertainty is not None
    assert estimate.uncertainty > 1
    assert "the luminosity is an estimate" in estimate.notes[-1]


def test_an_earlier_run_has_counted_what_is_lost_now(spread: Path) -> None:
    made = data(spread)
    earlier = spread / "out" / "file_entries.csv"
    earlier.parent.mkdir()
    write_file_entries(read_all(made), made.samples, earlier)
    assert read_file_entries(earlier, "other") == {}
    (spread / "b.root").unlink()
    listed = data(spread, "a.root", "b.root", "c.root")
    for _ in range(2):  # what is known of lost files is handed on
        records = read_all(listed, earlier=earlier)
        require_counts(records, listed.samples)
        assert covered(listed, records).covered == pytest.approx(6 + 5 + 4)
        assert [record.counted for record in records] == ["file", "earlier run", "file"]
        write_file_entries(records, listed.samples, earlier)
    # a pattern that matches nothing now stands for what it matched then
    (spread / "c.root").unlink()
    patterns = data(spread, "a.root", "b*.root", "[c-z].root")
    records = read_all(patterns, earlier=earlier)
    require_counts(records, patterns.samples)
    assert covered(patterns, records).covered == pytest.approx(6)
    write_file_entries(records, patterns.samples, earlier)
    assert covered(patterns, read_all(patterns, earlier=earlier)).covered == pytest.approx(6)


def test_files_that_vanish_from_a_pattern_are_noticed(spread: Path) -> None:
    (spread / "list.csv").write_text(LIST, "utf-8")
    made = data(spread, file_entries="list.csv")
    (spread / "b.root").unlink()
    records = open_catalogue(made)
    with pytest.raises(MissingFileError, match=r"'b\.root' is in .*list\.csv, but not among"):
        complete_counts(records, made.samples)


def test_runs_of_their_own_need_no_numbers(spread: Path) -> None:
    """A list of file and run is enough while no other file has the run."""
    (spread / "list.csv").write_text("file,experiment,run,entries\nd.root,7,3,\n", "utf-8")
    write_runs(spread / "c.root", 2000, r2=10)
    write_runs(spread / "d.root", 3000, r3=5)
    cut(spread / "d.root")
    made = data(spread, file_entries="list.csv")
    records = read_all(made)
    require_counts(records, made.samples)
    assert covered(made, records).covered == pytest.approx(30)
    (spread / "list.csv").write_text("file,experiment,run,entries\nd.root,7,2,\n", "utf-8")
    assert uncounted(read_all(made), made.samples[0])


def test_lost_entries_count_for_their_run(spread: Path) -> None:
    """Half of a file is not half of each of its runs."""
    made = data(spread)
    records = read_all(made)
    broken = records[1]  # 40 entries of run 1, then 30 of run 2
    broken.status, broken.read, broken.unread = "partial", 35, [(35, 70)]
    broken.unread_runs = runs_in(broken, broken.unread)
    assert broken.unread_runs == {(7, 1): 5, (7, 2): 30}
    assert covered(made, records).covered == pytest.approx(10 * 95 / 100 + 20 * 10 / 40 + 4)


def test_entries_without_runs_do_where_luminosity_is_one_number(tmp_path: Path) -> None:
    for name, n in (("a", 30), ("b", 10)):
        write_root(tmp_path / f"{name}.root", canonical(np.arange(n), production=ord(name)))
    (tmp_path / "list.csv").write_text("file,entries\na.root,30\nb.root,10\n", "utf-8")
    made = catalogue(tmp_path, "*.root", file_entries="list.csv")
    cut(tmp_path / "b.root")
    records = read_all(made)
    require_counts(records, made.samples)
    assert covered(made, records).covered == pytest.approx(75)
    unlisted = catalogue(tmp_path, "*.root")
    with pytest.raises(UncountedFileError, match=r"(?s)events were in.*columns file,entries;"):
        require_counts(read_all(unlisted), unlisted.samples)


def test_files_that_can_be_counted_need_no_list(tmp_path: Path) -> None:
    """Refused for other reasons, their entries and runs are known all the same."""
    import awkward as ak

    (tmp_path / "lumi.csv").write_text(TABLE, "utf-8")
    write_parquet(tmp_path / "good.parquet", canonical(np.arange(30), run=1))
    text = canonical(np.arange(100, 110), run=1) | {"decay": ak.Array(["x"] * 10)}
    write_parquet(tmp_path / "text.parquet", text)
    with_tree = data(tmp_path, "*.parquet")
    records = read_all(with_tree)
    require_counts(records, with_tree.samples)
    assert covered(with_tree, records).covered == pytest.approx(10 * 30 / 40)
    # an empty tree loses nothing
    write_root(tmp_path / "empty.root", canonical(np.arange(0)))
    both = data(tmp_path, "good.parquet", "empty.root")
    records = read_all(both)
    require_counts(records, both.samples)
    assert covered(both, records).covered == pytest.approx(10)


def test_events_of_files_that_cannot_be_converted_are_counted(tmp_path: Path) -> None:
    event = make_events(60, minimum=3)
    write_lists(tmp_path / "good.root", event)
    other = make_events(40, seed=2, production=13, minimum=3)
    rows = candidate_rows(other, rename=lambda slot, variable: f"my{slot}_{variable}")
    write_rows(tmp_path / "rows.root", rows, tree="t")
    made = catalogue(tmp_path, "good.root", "rows.root")
    records = open_catalogue(made, cache=tmp_path / "cache", allow_missing=True)
    assert [record.status for record in records] == ["pending", "unusable"]
    # events, not rows
    assert (records[1].expected, len(rows["__event__"]) > 40) == (40, True)
    assert sum(records[1].runs.values()) == 40
    records[0].read = 60
    require_counts(records, made.samples)
    assert covered(made, records).covered == pytest.approx(60)


def test_left_out_files_are_estimated(tmp_path: Path) -> None:
    for number in range(4):
        columns = canonical(np.arange(10 + number), production=number)
        write_root(tmp_path / f"{number}.root", columns)
    made = catalogue(tmp_path, "*.root")
    records = open_catalogue(made, limit_files=2)
    assert [r.status for r in records] == ["pending", "pending", "left_out", "left_out"]
    for record in records[:2]:
        record.read = record.expected
    require_counts(records, made.samples)  # wanted, not lost
    result = covered(made, records)
    assert result.covered == pytest.approx(50)
    assert result.uncertainty == pytest.approx(50 * covered_uncertainty(records, "data"))
    # files of 10 and 11 entries: 0.7 of 10.5, twice, and the mean of two that stands for both
    assert covered_uncertainty(records, "data") == pytest.approx(2 * np.sqrt(0.5) / 42)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,entry\n", "no column 'entries'"),
        ("file,entries\n,3\n", "line 2: 'file' is empty"),
        ("file,entries\na.root,many\n", "line 2: entries 'many' is not a whole number"),
        ("file,entries\na.root,-1\n", "entries '-1' is not a whole number"),
        ("file,entries\na.root,\n", "entries '' is not a whole number"),
        ("file,entries\na.root,3\na.root,4\n", "line 3: 'a.root' is there twice"),
        ("file,experiment,run,entries\na.root,7,x,4\n", "line 2: experiment '7' and run 'x'"),
        ("file,run,entries\na.root,7,4\n", "line 2: experiment '' and run '7'"),
        (
            "file,experiment,run,entries\na.root,7,1,4\na.root,7,1,4\n",
            "line 3: experiment 7, run 1 of 'a.root' is there twice",
        ),
        ("file,entries\n${NO_SUCH_VARIABLE}/a.root,3\n", "NO_SUCH_VARIABLE"),
    ],
)
def test_mistakes_in_lists_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=f"list.csv: .*{message}"):
        read_file_entries(path, "data")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.root,7,1,61", "says that .*a.root has 61 entries, but it has 60"),
        ("a.root,7,2,60", "60 entries of experiment 7, run 2, but it has none|no entries of exp"),
    ],
)
def test_a_list_must_agree_with_the_files(spread: Path, line: str, message: str) -> None:
    (spread / "list.csv").write_text(LIST.replace("a.root,7,1,60", line), "utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_all(data(spread, file_entries="list.csv"))


def test_a_bare_name_must_be_unambiguous(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        columns = canonical(np.arange(3), production=ord(folder))
        write_root(tmp_path / folder / "a.root", columns)
    (tmp_path / "list.csv").write_text("file,entries\na.root,3\n", "utf-8")
    made = catalogue(tmp_path, "*/a.root", file_entries="list.csv")
    with pytest.raises(ConfigurationError, match="have that name; give their paths"):
        read_all(made)
    (tmp_path / "list.csv").write_text("file,entries\nx/a.root,3\ny/a.root,3\n", "utf-8")
    assert len(read_all(made)) == 2


@given(st.text(alphabet='file,entris,u"\n 01-#é/.\x00', max_size=60))
def test_any_text_is_a_list_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (text, "file,entries\n" + text, "file,experiment,run,entries\n" + text):
        path.write_text(content, "utf-8")
        try:
            read_file_entries(path, "data")
        except AlpCoffeaError as error:
            assert "any.csv" in str(error)


@given(
    files=st.lists(
        st.dictionaries(st.integers(1, 3), st.integers(1, 9), min_size=1), min_size=1, max_size=5
    ),
    lost=st.sets(st.integers(0, 4)),
)
def test_any_files_and_losses_give_the_share_of_each_run(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[int, int]], lost: set[int]
) -> None:
    """Against a plain sum over runs, with everything counted beforehand."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "lumi.csv").write_text(TABLE, "utf-8")
    rows = [f"{k}.root,7,{run},{n}" for k, file in enumerate(files) for run, n in file.items()]
    (folder / "list.csv").write_text("file,experiment,run,entries\n" + "\n".join(rows), "utf-8")
    content = {"name": "data", "kind": "data", "files": ("x",)}
    sample = Sample.model_validate(
        content
        | {
            "luminosity_table": str(folder / "lumi.csv"),
            "file_entries": str(folder / "list.csv"),
        }
    )
    records = []
    for k, file in enumerate(files):
        n = sum(file.values())
        record = FileRecord("data", f"/d/{k}.root", "events")
        if k in lost:
            record.status = "unusable"
        else:
            record.expected = record.read = n
            record.counted = "file"
            record.runs = {(7, run): number for run, number in file.items()}
        records.append(record)
    records = complete_counts(records, [sample], allow_missing=True)
    require_counts(records, [sample])
    luminosity = {1: 10.0, 2: 20.0, 3: 4.0}
    expected = 0.0
    for run, value in luminosity.items():
        every = sum(file.get(run, 0) for file in files)
        kept = sum(file.get(run, 0) for k, file in enumerate(files) if k not in lost)
        expected += value * kept / every if every else 0.0
    assert coverage(sample, records, production=Strahlung(10.58)).covered == pytest.approx(expected)
