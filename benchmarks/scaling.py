"""What running at scale costs: overhead per chunk, memory, merging, resuming.

    python benchmarks/scaling.py [--json FILE] [--chunks N] [--events N] [PART ...]

PART is one of cpu, overhead, memory, resume (default: all). Ratios are reliable on a busy
machine, seconds are not. docs/scaling.md explains the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uproot
import yaml
from coffea.processor import (
    DaskExecutor,
    IterativeExecutor,
    ProcessorABC,
    Runner,
    accumulate,
)
from sample import write_sample

from alp_coffea.config import Catalogue, load_catalogue
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.schema import AlpSchema
from alp_coffea.execution import Cluster, Status, load_processor, process_files
from alp_coffea.execution.dask_engine import DaskEngine, connect
from alp_coffea.execution.encoding import encode, unpacked
from alp_coffea.physics import SUPERKEKB

WORKERS = 2
#: Numbers to stay below.
TARGETS = {
    "cpu_ratio_dask": 1.15,
    "overhead_iterative_ms": 2.0,
    "overhead_dask_ms": 4.0,
    "resume_share": 0.08,
}

EMPTY = """
from coffea.processor import ProcessorABC

class Empty(ProcessorABC):
    def process(self, events):
        return {events.metadata["dataset"]: {"n": len(events)}}

    def postprocess(self, accumulator):
        return accumulator
"""

#: Fills as many bins of the histograms of the real processor as 250 000 events do.
REALISTIC = """
import hist
import numpy as np
from coffea.processor import ProcessorABC

FILLS = 3000

class Realistic(ProcessorABC):
    def process(self, events):
        random = np.random.default_rng(events.metadata["entrystart"])
        mass = hist.Hist(
            hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
            hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
            hist.axis.StrCategory([], name="origin", growth=True),
            hist.axis.Regular(15_000, -4.0, 11.0, name="mass"),
            storage="weight",
        )
        for energy_set in ("low_mass", "high_mass"):
            for definition in ("diphoton", "recoil"):
                mass.fill(energy_set, definition, "other", random.uniform(0, 10, FILLS), weight=1.0)
        variables = {
            name: hist.Hist(
                hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
                hist.axis.Regular(100, 0, 1, name="x"),
                storage="weight",
            )
            for name in ("a", "b", "c", "d", "e")
        }
        for variable in variables.values():
            variable.fill("low_mass", random.uniform(0, 1, FILLS), weight=1.0)
        return {events.metadata["dataset"]: {"histograms": {"mass": mass, **variables}}}

    def postprocess(self, accumulator):
        return accumulator
"""


def load(folder: Path, text: str) -> ProcessorABC:
    """A processor from source."""
    path = folder / "processor.py"
    path.write_text(text, "utf-8")
    return load_processor(str(path), {}, beams=SUPERKEKB)


def catalogue(folder: Path, files: list[Path]) -> Catalogue:
    """One background sample."""
    row = {
        "name": "mc",
        "kind": "background",
        "luminosity": 1.0,
        "files": [str(file) for file in files],
    }
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"samples": [row]}), "utf-8")
    return load_catalogue(path)


def small_files(folder: Path, files: int, entries: int) -> list[Path]:
    """Files with hardly anything in them: all that they cost is overhead."""
    paths = []
    for number in range(files):
        path = folder / f"small_{number:05}.root"
        with uproot.recreate(path) as file:
            file.mktree("events", {"__event__": np.dtype("i8")})
            first = number * entries
            file["events"].extend({"__event__": np.arange(first, first + entries)})
        paths.append(path)
    return paths


def cpu_of(process: psutil.Process) -> float:
    """User and system CPU time [s]."""
    times = process.cpu_times()
    return float(times.user + times.system)


# --- CPU per event -------------------------------------------------------------------------------

HALF = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from scaling import catalogue, open_catalogue, process_files, load_processor, SUPERKEKB

if __name__ == "__main__":
    files = [Path(f) for f in sys.argv[2:]]
    folder = Path(sys.argv[1])
    folder.mkdir()
    processor = load_processor("strahlung", {{}}, beams=SUPERKEKB)
    samples = catalogue(folder, files)
    process_files(processor, open_catalogue(samples), samples, chunksize=125_000, limit_chunks=1)
    records = open_catalogue(samples)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.process_time()
    process_files(processor, records, samples, chunksize=125_000, checkpoints=folder / "cp")
    print(time.process_time() - start, flush=True)
"""


def cpu_per_event(folder: Path, events: int) -> dict[str, float]:
    """Dask on two processes against two independent processes at the same time."""
    files = [folder / f"events_{number}.root" for number in range(4)]
    for number, path in enumerate(files):
        write_sample(path, events // len(files), seed=number)
    script = folder / "half.py"
    script.write_text(HALF.format(here=str(Path(__file__).parent)), "utf-8")
    command = [sys.executable, str(script)]
    halves = [
        subprocess.Popen(
            [*command, str(folder / f"half{i}"), *map(str, files[2 * i : 2 * i + 2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for half in halves:
        assert half.stdout is not None
        assert half.stdout.readline() == "ready\n"
    for half in halves:
        assert half.stdin is not None
        half.stdin.write("go\n")
        half.stdin.flush()
    independent = sum(float(half.communicate()[0]) for half in halves)

    samples = catalogue(folder, files)
    processor = load_processor("strahlung", {}, beams=SUPERKEKB)
    settings: dict[str, Any] = {"chunksize": 125_000}
    with connect(Cluster(WORKERS)) as engine:
        for _ in range(3):  # so that each worker has compiled and loaded everything
            records = open_catalogue(samples, limit_files=2)
            process_files(processor, records, samples, executor=engine, **settings)
        records = open_catalogue(samples)
        processes = [psutil.Process(pid) for pid in engine.client.run(os.getpid).values()]
        before = sum(map(cpu_of, processes)), time.process_time()
        process_files(
            processor, records, samples, executor=engine, checkpoints=folder / "cp", **settings
        )
        workers = sum(map(cpu_of, processes)) - before[0]
        client = time.process_time() - before[1]
    total = sum(record.expected for record in records)
    return {
        "cpu_us_per_event_independent": 1e6 * independent / total,
        "cpu_us_per_event_dask_workers": 1e6 * workers / total,
        "cpu_us_per_event_dask_client_and_scheduler": 1e6 * client / total,
        "cpu_ratio_dask": (workers + client) / independent,
    }


# --- overhead per chunk --------------------------------------------------------------------------


def overhead(folder: Path, chunks: int = 400) -> dict[str, float]:
    """Time per chunk of an empty processor on top of coffea's bare Runner."""
    files = small_files(folder, 4, chunks // 4 * 10)
    processor = load(folder, EMPTY)
    samples = catalogue(folder, files)
    fileset = {"mc": {"files": {str(file): "events" for file in files}}}
    result: dict[str, float] = {}

    def bare(executor: Any) -> float:
        run = Runner(executor=executor, schema=AlpSchema, chunksize=10, metadata_cache={})
        items = list(run.preprocess(fileset))
        assert len(items) == chunks
        start = time.perf_counter()
        run.run(items, processor)
        return time.perf_counter() - start

    def ours(executor: Any) -> float:
        records = open_catalogue(samples)
        with tempfile.TemporaryDirectory(dir=folder) as store:
            start = time.perf_counter()
            process_files(
                processor,
                records,
                samples,
                executor=executor,
                chunksize=10,
                checkpoints=Path(store),
            )
            return time.perf_counter() - start

    def compare(name: str, theirs: Callable[[], float], mine: Callable[[], float]) -> None:
        # alternating, and the least disturbed of several
        rounds = [(theirs(), mine()) for _ in range(5)]
        a, b = (1e3 * min(column) / chunks for column in zip(*rounds, strict=True))
        result[f"bare_{name}_ms"], result[f"ours_{name}_ms"] = a, b
        result[f"overhead_{name}_ms"] = b - a

    compare("iterative", lambda: bare(IterativeExecutor(status=False)), lambda: ours("iterative"))
    with connect(Cluster(WORKERS)) as engine:
        compare(
            "dask",
            lambda: bare(DaskExecutor(client=engine.client, status=False)),
            lambda: ours(engine),
        )
    return result


# --- memory of many chunks -----------------------------------------------------------------------


@contextmanager
def external_cluster(folder: Path) -> Iterator[tuple[DaskEngine, psutil.Process]]:
    """Scheduler and workers in processes of their own; an engine and the scheduler."""
    file = str(folder / "scheduler.json")
    serve = ["dask_scheduler", "--no-dashboard", "--host", "127.0.0.1", "--port", "0"]
    work = ["dask_worker", "--no-dashboard", "--nworkers", str(WORKERS), "--nthreads", "1"]

    def start(name: str, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *options, "--scheduler-file", file],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    scheduler, worker = start(*serve), start(*work)
    try:
        while not Path(file).exists():
            time.sleep(0.1)
        address = json.loads(Path(file).read_text("utf-8"))["address"]
        with connect(Cluster(scheduler=address)) as engine:
            yield engine, psutil.Process(scheduler.pid)
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()


def memory(folder: Path, chunks: int) -> dict[str, float]:
    """Memory of client and scheduler while very many chunks are processed."""
    entries = 2
    files = small_files(folder, 20, chunks // 20 * entries)
    samples = catalogue(folder, files)
    me = psutil.Process()
    megabytes: list[tuple[int, float, float]] = []
    last_chunk = 0.0
    result: dict[str, float] = {"chunks": chunks}
    with external_cluster(folder) as (engine, scheduler):

        def watch(status: Status) -> None:
            nonlocal last_chunk
            if status.chunks >= 1000 * len(megabytes):
                mine, its = (process.memory_info().rss / 1e6 for process in (me, scheduler))
                megabytes.append((status.chunks, mine, its))
            if status.chunks == status.chunks_total and not last_chunk:
                last_chunk = time.perf_counter()

        processor = load(folder, REALISTIC)
        records = open_catalogue(samples)
        before = time.perf_counter(), cpu_of(scheduler), time.process_time()
        output = process_files(
            processor,
            records,
            samples,
            executor=engine,
            chunksize=entries,
            checkpoints=folder / "many",
            progress=watch,
        )
        after = time.perf_counter(), cpu_of(scheduler), time.process_time()
    kept = sum(p.stat().st_size for p in (folder / "many").iterdir())
    assert output["mc"]["histograms"]["mass"].sum().value == chunks * 4 * 3000
    result |= {
        "seconds": after[0] - before[0],
        "scheduler_cpu_ms_per_chunk": 1e3 * (after[1] - before[1]) / chunks,
        "client_cpu_ms_per_chunk": 1e3 * (after[2] - before[2]) / chunks,
        "client_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "scheduler_peak_mb": max(its for _, _, its in megabytes),
        "merge_after_last_chunk_s": after[0] - last_chunk,
        "checkpoints_left_mb": kept / 1e6,
    }
    # growth once everything is loaded and all workers are busy
    settled = np.array(megabytes[len(megabytes) // 4 :])
    for column, name in enumerate(("client", "scheduler"), start=1):
        slope = np.polyfit(settled[:, 0], settled[:, column], 1)[0]
        result[f"{name}_growth_mb_per_1000_chunks"] = 1000 * float(slope)
    return result | merging(output)


def merging(output: dict[str, Any]) -> dict[str, float]:
    """Cost of writing one result down, and of adding one to a sum."""
    data = encode(output)
    total = unpacked(data)

    def timed(function: Callable[[], object]) -> float:
        start = time.process_time()
        for _ in range(20):
            function()
        return 1e3 * (time.process_time() - start) / 20

    return {
        "result_kb": len(data) / 1e3,
        "write_ms": timed(lambda: encode(output)),
        "read_and_add_ms": timed(lambda: accumulate([unpacked(data)], total)),
    }


# --- resume --------------------------------------------------------------------------------------


def resume(folder: Path, events: int, chunk: int = 25_000, rounds: int = 3) -> dict[str, float]:
    """Finish a run of which 95 % is there, against the whole run: medians of several."""
    path = folder / "resumed.root"
    write_sample(path, events)
    samples = catalogue(folder, [path])
    processor = load_processor("strahlung", {}, beams=SUPERKEKB)

    def run(store: str, progress: Callable[[Status], None] | None = None) -> float:
        start = time.process_time()
        process_files(
            processor,
            open_catalogue(samples),
            samples,
            chunksize=chunk,
            checkpoints=folder / store,
            progress=progress,
        )
        return time.process_time() - start

    def stop(status: Status) -> None:
        if status.events >= 0.95 * status.total:
            raise KeyboardInterrupt

    run("warm")
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        whole = run(f"whole {number}")
        try:
            run(f"stopped {number}", stop)
        except KeyboardInterrupt:
            times.append((whole, run(f"stopped {number}")))
    whole, rest = (float(np.median(column)) for column in zip(*times, strict=True))
    shares = [b / a for a, b in times]
    return {
        "whole_s": whole,
        "resume_s": rest,
        "resume_share": float(np.median(shares)),
        "resume_share_worst": max(shares),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    parts: dict[str, Callable[[Path], dict[str, float]]] = {
        "cpu": lambda folder: cpu_per_event(folder, options.events),
        "overhead": overhead,
        "memory": lambda folder: memory(folder, options.chunks),
        "resume": lambda folder: resume(folder, options.events),
    }
    result: dict[str, float] = {}
    for name in options.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            measured = parts[name](Path(folder))
        result |= measured
        for key, value in measured.items():
            target = f"   (target {TARGETS[key]:g})" if key in TARGETS else ""
            print(f"{key:45s} {value:12.4g}{target}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
