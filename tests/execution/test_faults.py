"""Real faults. The result equals an undisturbed run's, or the run says what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs
import pytest
from services import scheduler, worker

from alp_coffea.errors import (
    ConfigurationError,
    IncompleteRunError,
    MissingFieldError,
    ProcessorError,
)
from alp_coffea.execution import Cluster, load_processor, process_files
from alp_coffea.execution.progress import Status
from alp_coffea.physics import SUPERKEKB

WHOLE = {"one": 1_999_000, "two": 5_999_000}


class Bench:
    """Four files of 1000 events and a processor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "filler.py").write_text(inputs.PROCESSOR, "utf-8")
        self.catalogue = inputs.small_catalogue(folder)
        self.records = inputs.opened(self.catalogue)
        self.status: Status | None = None
        (folder / "undisturbed.py").write_text(inputs.PROCESSOR, "utf-8")

    def run(
        self, *, at_event: Callable[[], object] | None = None, after: int = 0, **settings: Any
    ) -> dict[str, Any]:
        """Process in chunks of 100; call ``at_event`` once, after so many events."""
        waiting = [] if at_event is None else [at_event]

        def update(status: Status) -> None:
            self.status = status
            if waiting and status.events >= after:
                waiting.pop()()

        options = settings.pop("options", {})
        processor = load_processor(str(self.folder / "filler.py"), options, beams=SUPERKEKB)
        settings = {"chunksize": 100, "checkpoints": self.folder / "checkpoints", **settings}
        return process_files(processor, self.records, self.catalogue, progress=update, **settings)

    def is_whole(self, output: dict[str, Any]) -> bool:
        """Whether a result is that of an undisturbed run, histograms and all."""
        processor = load_processor(str(self.folder / "undisturbed.py"), {}, beams=SUPERKEKB)
        records = inputs.opened(self.catalogue)
        undisturbed = process_files(processor, records, self.catalogue, chunksize=100)
        assert sums(undisturbed) == WHOLE
        return inputs.same(output, undisturbed)

    def again(self, **settings: Any) -> dict[str, Any]:
        """The same with files opened anew."""
        self.records = inputs.opened(self.catalogue)
        return self.run(**settings)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sums(output: dict[str, Any]) -> dict[str, int]:
    return {sample: part["sum"] for sample, part in output.items()}


# --- files ---------------------------------------------------------------------------------------


def damage(path: Path, catalogue_entries: int) -> None:
    """Overwrite the data of the third of four baskets."""
    import uproot

    with uproot.open(path) as file:
        branch = file["events"]["__event__"]
        seek = int(branch.member("fBasketSeek")[2])
        assert branch.num_entries == catalogue_entries
    with path.open("r+b") as stream:
        stream.seek(seek + 120)
        stream.write(b"\xff" * 60)


def test_damaged_entries_are_named_exactly_and_the_rest_is_kept(bench: Bench) -> None:
    path = inputs.write_events(bench.folder / "f1.root", 1000, 1000, baskets=4)
    bench.again(options={"at": 1}, checkpoints=None)  # whole
    damage(path, 1000)
    bench.records = inputs.opened(bench.catalogue)
    with pytest.raises(IncompleteRunError, match=r"f1.root: entries 500 to 750 not read") as caught:
        bench.run(chunksize=400)
    assert caught.value.exit_code == 3
    bench.records = inputs.opened(bench.catalogue)
    output = bench.run(chunksize=400, allow_missing=True)
    lost = sum(range(1500, 1750))
    assert sums(output) == {"one": WHOLE["one"] - lost, "two": WHOLE["two"]}
    assert bench.status is not None
    assert bench.status.lost == 250
    record = bench.records[1]
    assert (record.read, record.status) == (750, "partial")
    assert record.reason.startswith("entries 500 to 750 not read: ")
    # repaired: only what was missing is computed
    inputs.write_events(bench.folder / "f1.root", 1000, 1000, baskets=4)
    assert bench.is_whole(bench.again(chunksize=400))
    assert bench.status.resumed >= 3000


def test_a_short_failure_to_read_is_tried_again_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alp_coffea.execution.tasks.PAUSES", (0.0, 0.0))
    counter = bench.folder / "tries"
    source = inputs.PROCESSOR.replace(
        "            self.meet()\n",
        f"            tries = Path({str(counter)!r})\n"
        "            tries.write_text((tries.read_text() if tries.exists() else '') + 'x')\n"
        "            if len(tries.read_text()) < 3:\n"
        "                raise OSError('the network has hiccups')\n",
    )
    assert source != inputs.PROCESSOR
    (bench.folder / "filler.py").write_text(source, "utf-8")
    assert bench.is_whole(bench.run(options={"at": 1550}))
    assert bench.status is not None
    assert (bench.status.failures, bench.status.lost) == (2, 0)
    assert counter.read_text() == "xxx"


def test_a_file_that_is_cut_while_it_is_read_is_named(bench: Bench) -> None:
    def cut() -> None:
        with (bench.folder / "f3.root").open("r+b") as file:
            file.truncate(3000)

    with pytest.raises(IncompleteRunError, match=r"f3.root: entries .*replaced or changed"):
        bench.run(at_event=cut, after=1000)
    assert [record.status for record in bench.records] == ["done", "done", "done", "partial"]
    inputs.write_events(bench.folder / "f3.root", 3000, 1000)
    assert bench.is_whole(bench.again())


def test_a_file_that_vanishes_is_named(bench: Bench) -> None:
    def vanish() -> None:
        (bench.folder / "f3.root").unlink()

    with pytest.raises(IncompleteRunError, match=r"f3.root: entries .* disappeared"):
        bench.run(at_event=vanish, after=1000)
    assert [record.status for record in bench.records] == ["done", "done", "done", "partial"]
    inputs.write_events(bench.folder / "f3.root", 3000, 1000)
    assert bench.is_whole(bench.again())


def test_a_file_that_is_replaced_while_it_is_read_is_refused(bench: Bench) -> None:
    def replace() -> None:
        inputs.write_events(bench.folder / "new.root", 9000, 1000)
        (bench.folder / "new.root").replace(bench.folder / "f3.root")

    with pytest.raises(IncompleteRunError, match=r"f3.root was replaced or changed"):
        bench.run(at_event=replace, after=3500)
    after = bench.again()
    assert after["two"]["sum"] == sum(range(2000, 3000)) + sum(range(9000, 10_000))


def test_nothing_readable_at_all_is_an_error_with_every_file(bench: Bench) -> None:
    def vanish() -> None:
        for file in bench.folder.glob("*.root"):
            file.unlink()

    with pytest.raises(IncompleteRunError) as caught:
        bench.run(at_event=vanish, after=100)
    assert all(f"f{i}.root" in str(caught.value) for i in range(4))


def test_a_copy_under_another_name_is_refused(bench: Bench) -> None:
    (bench.folder / "f1.root").write_bytes((bench.folder / "f0.root").read_bytes())
    with pytest.raises(ConfigurationError, match=r"f1.root .* is a copy of .*f0.root .*twice"):
        bench.again()


def test_a_failing_processor_is_heard_once_and_stops_the_run(bench: Bench) -> None:
    with pytest.raises(ProcessorError, match=r"entries 500 to 600 .*ZeroDivisionError at filler"):
        bench.run(options={"mishap": "raise", "at": 1550})
    assert bench.status is not None
    assert bench.status.events == 1500


def test_a_field_that_the_processor_did_not_declare_is_still_named(bench: Bench) -> None:
    source = inputs.PROCESSOR.replace("events.event)", "events.evnet)")
    (bench.folder / "filler.py").write_text(source, "utf-8")
    with pytest.raises((ProcessorError, MissingFieldError), match="evnet"):
        bench.run()


# --- disk ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["iterative", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_full_disk_stops_the_run_and_more_room_lets_it_go_on(bench: Bench, executor: str) -> None:
    folder = bench.folder / "checkpoints"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs to be allowed to mount a small filesystem")
    try:
        with pytest.raises(IncompleteRunError, match="cannot be written: No space left") as caught:
            bench.run(executor=executor, workers=2)
        assert caught.value.exit_code == 3
        subprocess.run(["mount", "-o", "remount,size=10m", str(folder)], check=True)
        assert bench.is_whole(bench.again(executor=executor, workers=2))
        assert bench.status is not None
        assert bench.status.resumed > 0
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# --- workers -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["futures", "dask"])
def test_a_worker_killed_in_the_middle_of_a_chunk(bench: Bench, executor: str) -> None:
    options = {"mishap": "kill once", "at": 1550, "flag": str(bench.folder / "flag")}
    assert bench.is_whole(bench.run(options=options, executor=executor, workers=2))
    assert (bench.folder / "flag").exists()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["futures", "dask"])
def test_a_chunk_that_always_kills_its_worker(bench: Bench, executor: str) -> None:
    options = {"mishap": "kill", "at": 1557}
    settings = {"options": options, "executor": executor, "workers": 2}
    output = bench.run(allow_missing=True, **settings)
    assert sums(output) == {"one": WHOLE["one"] - 1557, "two": WHOLE["two"]}
    assert bench.records[1].read == 999
    assert "entries 557 to 558 not read: the worker died" in bench.records[1].reason


@pytest.mark.slow
def test_two_workers_killed_at_once(bench: Bench) -> None:
    from alp_coffea.execution.dask_engine import connect

    with connect(Cluster(2)) as engine:
        pids = list(engine.client.run(os.getpid).values())
        assert len(pids) == 2

        def kill() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        output = bench.run(at_event=kill, after=500, executor=engine, options={"pause": 0.05})
    assert bench.is_whole(output)


@pytest.mark.slow
def test_a_nanny_killed_with_its_worker(bench: Bench) -> None:
    with (
        scheduler(bench.folder) as address,
        worker(address, bench.folder) as victim,
        worker(address, bench.folder),
    ):
        output = bench.run(
            at_event=victim.kill,
            after=500,
            executor=Cluster(scheduler=address),
            options={"pause": 0.05},
        )
    assert bench.is_whole(output)


@pytest.mark.slow
def test_a_worker_that_needs_too_much_memory_gets_smaller_chunks(bench: Bench) -> None:
    hungry = inputs.PROCESSOR.replace(
        "        time.sleep(self.pause)\n",
        "        if len(numbers) > 60 and (numbers == self.at).any():\n"
        "            wasted = [np.ones(2_000_000) for _ in range(100)]\n"
        "            time.sleep(len(wasted))\n",
    )
    assert hungry != inputs.PROCESSOR
    (bench.folder / "filler.py").write_text(hungry, "utf-8")
    with scheduler(bench.folder) as address, worker(address, bench.folder, memory="900MB"):
        output = bench.run(executor=Cluster(scheduler=address), options={"at": 1550})
    assert bench.is_whole(output)
    assert bench.status is not None
    assert bench.status.lost == 0
    assert bench.status.failures > 0


@pytest.mark.slow
def test_a_lost_scheduler_leaves_a_folder_to_resume(bench: Bench) -> None:
    settings = {"options": {"pause": 0.05}}
    with scheduler(bench.folder) as address, worker(address, bench.folder):

        def kill() -> None:
            pid = int(subprocess.check_output(["pgrep", "-f", f"scheduler.*{bench.folder}"]))
            os.kill(pid, signal.SIGKILL)

        with pytest.raises(IncompleteRunError, match=f"scheduler at {address} was lost or"):
            bench.run(at_event=kill, after=1500, executor=Cluster(scheduler=address), **settings)
    with scheduler(bench.folder) as address, worker(address, bench.folder):
        assert bench.is_whole(bench.again(executor=Cluster(scheduler=address), **settings))
    assert bench.status is not None
    assert bench.status.resumed >= 1500


@pytest.mark.slow
def test_a_scheduler_that_is_restarted_leaves_a_folder_to_resume(bench: Bench) -> None:
    import distributed

    settings: dict[str, Any] = {"options": {"pause": 0.05}}
    with scheduler(bench.folder) as address, worker(address, bench.folder):

        def restart() -> None:
            with distributed.Client(address, set_as_default=False) as somebody_else:
                somebody_else.restart()

        settings["executor"] = Cluster(scheduler=address)
        with pytest.raises(IncompleteRunError, match="was lost or restarted") as caught:
            bench.run(at_event=restart, after=1500, **settings)
        assert caught.value.exit_code == 3
        assert bench.is_whole(bench.again(**settings))
    assert bench.status is not None
    assert bench.status.resumed >= 1500
