"""What is finished is used again exactly when nothing that it depends on has changed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alp_coffea.errors import (
    ConfigurationError,
    ProcessorError,
    UnreadableFileError,
)
from alp_coffea.execution import load_processor, process_files
from alp_coffea.execution.checkpoints import SEGMENT_BYTES, Record, Store, read, writer
from alp_coffea.execution.chunks import tile
from alp_coffea.execution.progress import Status
from alp_coffea.physics import SUPERKEKB


class Bench:
    """A folder with four files, a processor, and checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.processor = folder / "filler.py"
        self.processor.write_text(inputs.PROCESSOR, "utf-8")
        self.catalogue = inputs.small_catalogue(folder)
        self.status: Status | None = None

    def run(self, *, options: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
        """Process; the final status stays in ``status``."""

        def update(status: Status) -> None:
            self.status = status

        self.status = None
        processor = load_processor(str(self.processor), options or {}, beams=SUPERKEKB)
        settings = {"chunksize": 100, "checkpoints": self.checkpoints, **settings}
        self.records = inputs.opened(self.catalogue)
        return process_files(processor, self.records, self.catalogue, progress=update, **settings)

    @property
    def computed(self) -> int:
        """Events that the latest run processed itself."""
        return 0 if self.status is None else self.status.events - self.status.resumed


KINDS = ["index", "data"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def finished(bench: Bench) -> tuple[Bench, dict[str, Any]]:
    """With a finished run's checkpoints and result."""
    return bench, bench.run()


def test_a_second_run_computes_nothing_and_gives_the_same_bits(bench: Bench) -> None:
    first = bench.run()
    assert bench.computed == 4000
    second = bench.run()
    assert bench.computed == 0
    assert second == first
    assert [(r.read, r.selected, r.status) for r in bench.records] == [
        (1000, selected, "done") for selected in (334, 333, 333, 334)
    ]


def test_fresh_forgets(bench: Bench) -> None:
    first = bench.run()
    assert bench.run(fresh=True) == first
    assert bench.computed == 4000


def test_a_failure_keeps_what_was_finished(bench: Bench) -> None:
    with pytest.raises(ProcessorError):
        bench.run(options={"mishap": "raise", "at": 2550})
    # the same source and options again, the mishap gone with the data that caused it
    undisturbed = bench.run(checkpoints=None)
    inputs.write_events(bench.folder / "f2.root", 100_000, 1000)
    bench.run(options={"mishap": "raise", "at": 2550})
    assert bench.status is not None
    assert bench.status.resumed == 2000
    assert undisturbed["one"]["sum"] == 1999000


def test_added_files_are_computed_alone(bench: Bench) -> None:
    whole = bench.run(checkpoints=None)
    everything = bench.catalogue
    bench.catalogue = inputs.write_catalogue(
        bench.folder, {"one": ["f0.root", "f1.root"], "two": ["f2.root"]}
    )
    bench.run()
    assert bench.computed == 3000
    bench.catalogue = everything
    assert inputs.same(bench.run(), whole)
    assert bench.computed == 1000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("cut", 4000),
        ("option", 4000),
        ("imported module", 4000),
        ("version", 4000),
        ("file replaced", 1000),
        ("sample's mass", 2000),
        ("touched", 0),
        ("another folder", 0),
    ],
)
def test_what_changed_is_computed_again_and_nothing_else(
    bench: Bench, change: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = bench.folder / "helper_of_the_user.py"
    helper.write_text("OFFSET = 0\n", "utf-8")
    monkeypatch.syspath_prepend(bench.folder)
    sys.modules.pop("helper_of_the_user", None)  # that of another test
    source = "import helper_of_the_user\n" + inputs.PROCESSOR
    bench.processor.write_text(source, "utf-8")
    before = bench.run(options={"pause": 0.0})
    options = {"pause": 0.0}
    if change == "cut":
        bench.processor.write_text(source.replace("SCALE = 1", "SCALE = 2"), "utf-8")
    elif change == "option":
        options["pause"] = 1e-9
    elif change == "imported module":
        helper.write_text("OFFSET = 1\n", "utf-8")
    elif change == "version":
        monkeypatch.setattr("alp_coffea.__version__", "99.0")
    elif change == "file replaced":
        inputs.write_events(bench.folder / "f3.root", 3000, 1000)
    elif change == "sample's mass":
        one = bench.catalogue.samples[0].model_copy(update={"mass": 1.0})
        samples = [one, bench.catalogue.samples[1]]
        bench.catalogue = bench.catalogue.model_copy(update={"samples": samples})
    elif change == "touched":
        os.utime(bench.folder / "f3.root")
    else:
        moved = bench.folder / "moved"
        moved.mkdir()
        for file in bench.folder.glob("*.root"):
            file.rename(moved / file.name)
        bench.catalogue = inputs.write_catalogue(
            bench.folder,
            {"one": ["moved/f0.root", "moved/f1.root"], "two": ["moved/f2.root", "moved/f3.root"]},
        )
    after = bench.run(options=options)
    assert bench.computed == expected
    if bench.status is not None:
        # one record of each file was in the way
        assert bench.status.stale == expected // 1000
    if change == "cut":
        assert after["one"]["sum"] == 2 * before["one"]["sum"]
        assert inputs.same(after, bench.run(options=options, checkpoints=None))
    else:
        assert inputs.same(after, before)
    bench.run(options=options)
    assert bench.computed == 0


def test_finished_files_are_kept_as_one_record_each(bench: Bench) -> None:
    bench.run()
    indices = list(bench.checkpoints.glob("*.index"))
    assert sum(len(index.read_text().splitlines()) for index in indices) == 4
    assert {p.suffix for p in bench.checkpoints.iterdir()} == {".index", ".data", ""}


def test_another_chunk_size_uses_finished_files(bench: Bench) -> None:
    first = bench.run(chunksize=170)
    assert inputs.same(bench.run(chunksize=999), first)
    assert bench.computed == 0


def test_a_test_drive_does_not_spoil_a_finished_run(bench: Bench) -> None:
    first = bench.run()
    drive = bench.run(limit_chunks=2)
    assert drive["one"]["sum"] == 199 * 200 // 2
    assert bench.run() == first
    assert bench.computed == 0


def rows(bench: Bench, kind: str = "index") -> Path:
    """The one file of a kind that a finished run has left."""
    (path,) = bench.checkpoints.glob(f"*.{kind}")
    return path


def cut(path: Path) -> None:
    """As after a power cut."""
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def garble(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "damage", "lost"),
    [
        ("index", cut, 1),
        ("index", flip, 1),
        ("index", garble, 4),
        ("data", cut, 1),
        ("data", flip, 1),
        ("data", garble, 4),
        ("data", empty, 4),
        ("data", Path.unlink, 4),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_damaged_checkpoints_are_said_counted_and_computed_again(
    bench: Bench, kind: str, damage: Callable[[Path], None], lost: int
) -> None:
    first = bench.run()
    damage(rows(bench, kind))
    after = bench.run()
    assert after == first
    assert bench.computed == 1000 * lost
    assert bench.status is not None
    # random bytes may look like any number of lines
    assert bench.status.stale == lost or (damage is garble and kind == "index")
    (note,) = bench.status.notes
    assert re.search(r"checkpoint .*\.data is damaged \(.*computed again", note)
    assert ("entries" if kind == "data" else "of its index makes no sense") in note
    # and forgotten with that
    assert bench.run() == first
    assert (bench.computed, bench.status.stale, bench.status.notes) == (0, 0, [])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), kind=st.sampled_from(KINDS))
def test_no_flipped_bit_changes_a_result(
    finished: tuple[Bench, Any], place: float, bit: int, kind: str
) -> None:
    bench, first = finished
    path = rows(bench, kind)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    assert bench.run() == first
    assert bench.computed in (1000, 2000)  # two if the end of a line was hit
    assert bench.run(fresh=True) == first


def test_a_checksum_with_a_flipped_case_is_damage(finished: tuple[Bench, Any]) -> None:
    bench, first = finished
    path = rows(bench, "index")
    line, *others = path.read_bytes().splitlines(keepends=True)
    text, _, checksum = line.rpartition(b" ")
    if checksum == checksum.upper():  # no letter in it
        checksum = b"ABCDEF00\n"
    path.write_bytes(b"".join([text + b" " + checksum.upper(), *others]))
    assert bench.run() == first
    assert bench.computed == 1000
    assert bench.run(fresh=True) == first


def test_damage_during_a_run_ends_it_and_the_next_one_mends_it(bench: Bench) -> None:
    first = bench.run(checkpoints=None)

    def spoil(status: Status) -> None:
        bench.status = status
        if status.events == 900:
            for data in bench.checkpoints.glob("chunk-*.data"):
                flip(data)

    processor = load_processor(str(bench.processor), {}, beams=SUPERKEKB)
    arguments = inputs.opened(bench.catalogue), bench.catalogue
    with pytest.raises(UnreadableFileError, match="is damaged at byte .*Run the same command"):
        process_files(
            processor, *arguments, chunksize=100, checkpoints=bench.checkpoints, progress=spoil
        )
    assert bench.run() == first
    assert bench.status is not None
    assert bench.status.stale == 1
    assert bench.status.resumed == 900


def test_leftovers_of_other_runs_are_not_looked_into(bench: Bench) -> None:
    bench.run()
    flip(rows(bench, "data"))
    everything = bench.catalogue
    bench.catalogue = inputs.write_catalogue(bench.folder, {"three": ["f0.root"]})
    bench.run()
    assert bench.status is not None
    assert bench.status.notes == []
    bench.catalogue = everything
    bench.run()
    assert len(bench.status.notes) == 1


def test_one_run_at_a_time(bench: Bench) -> None:
    store = Store(bench.checkpoints, fresh=False, keys={})
    try:
        with pytest.raises(ConfigurationError, match="in use by another run"):
            bench.run()
    finally:
        store.close()
    bench.run()


def test_a_folder_that_workers_do_not_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot see the run's folder.*filesystem"):
        writer(tmp_path, "run-of-another-machine")


def test_names_of_hosts_may_have_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node07.cluster.example.org")
    keys = {"p": ("c", "f")}
    store = Store(tmp_path, fresh=False, keys=keys)
    key = {"code": "c", "file": "f", "selected": None, "path": "p"}
    record = writer(tmp_path, store.run).append("file", b"x", start=0, stop=1, entries=1, **key)
    store.close()
    again = Store(tmp_path, fresh=False, keys=keys)
    assert again.records("c", "f") == [record]
    again.finish()
    assert read(tmp_path, record) == b"x"
    again.close()


def test_data_files_are_removed_as_soon_as_nothing_in_them_is_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path, fresh=False, keys={})
    write = writer(tmp_path, store.run).append
    key = {"code": "c", "file": "f", "selected": None, "path": "p"}
    big = write("chunk", bytes(SEGMENT_BYTES + 1), start=0, stop=1, entries=1, **key)
    small = write("chunk", b"abc", start=1, stop=2, entries=1, **key)
    assert big.segment != small.segment
    store.add(big)
    store.add(small)
    store.drop([big, small])
    # the second may still be written to
    assert [p.stem for p in tmp_path.glob("*.data")] == [small.segment]
    assert read(tmp_path, small) == b"abc"
    store.finish()
    assert not list(tmp_path.glob("*.data"))
    store.close()


def test_records_and_gaps_cover_every_entry_once() -> None:
    def record(start: int, stop: int) -> Record:
        return Record("c", "f", start, stop, stop - start, None, "s", 0, 0, 0, "p")

    records = [record(0, 20), record(0, 10), record(30, 40), record(35, 50), record(90, 120)]
    used, superseded, gaps = tile(records, 100)
    assert [(r.start, r.stop) for r in used] == [(0, 20), (30, 40)]
    assert [(r.start, r.stop) for r in superseded] == [(0, 10)]
    assert gaps == [(20, 30), (40, 100)]


SCRIPT = """
import signal
import sys
# a test started in the background of a shell inherits an ignored Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
import inputs
from pathlib import Path
from alp_coffea.config import load_catalogue
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB

if __name__ == "__main__":
    folder = Path({folder!r})
    catalogue = load_catalogue(folder / "catalogue.yaml")
    processor = load_processor(str(folder / "filler.py"), {options!r}, beams=SUPERKEKB)
    process_files(processor, inputs.opened(catalogue), catalogue, executor={executor!r},
                  workers=2, chunksize=100, checkpoints=folder / "checkpoints",
                  progress=lambda status: print(status.events, flush=True))
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize(
    "executor", ["iterative", pytest.param("futures", marks=pytest.mark.slow),
                 pytest.param("dask", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_client_that_is_killed_or_interrupted_goes_on_where_it_was(
    bench: Bench, executor: str, blow: signal.Signals
) -> None:
    options = {"pause": 0.02}
    script = bench.folder / "client.py"
    tests = str(Path(__file__).parent)
    script.write_text(
        SCRIPT.format(tests=tests, folder=str(bench.folder), options=options, executor=executor)
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if int(line) >= 1500:
                break
        os.kill(client.pid, blow)
        client.stdout.read()
        assert client.wait(timeout=60) != 0
    after = bench.run(options=options)
    assert bench.status is not None
    assert bench.status.resumed >= 1500
    assert inputs.same(after, bench.run(options=options, checkpoints=None))
