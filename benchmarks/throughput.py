"""What the three-photon selection costs per event, side by side with other ways to write it.

    python benchmarks/throughput.py --root-python rootenv/bin/python --json out.json

One process, one thread, warm; CPU seconds per million events, the least of several rounds taken
in turn, so that a busy machine slows all of them alike. Makes its input in a temporary folder.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import importlib.util
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uproot
from awkward_strahlung import AwkwardStrahlung
from coffea.nanoevents import NanoEventsFactory
from sample import write_sample

from alp_coffea.events.schema import AlpSchema, canonical_branch
from alp_coffea.execution import load_processor
from alp_coffea.physics import SUPERKEKB

CHUNK = 250_000
#: As workers have it: glibc would hand large buffers back to the system after every chunk, and
#: page faults would be what is measured.
MALLOC = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "33554432"}
#: basf2 writes baskets of 1600 bytes into trees with many branches.
SMALL_BASKET = 1600
#: What the processor reads.
BRANCHES = [
    canonical_branch(field) for field in load_processor("strahlung", {}, beams=SUPERKEKB).uses
]
METADATA = {"dataset": "background", "kind": "background", "mass": None, "event_weight": None}

ROOT_SCRIPT = """
import sys, time
import ROOT
ROOT.gSystem.SetBuildDir(sys.argv[2])
assert ROOT.gSystem.CompileMacro(sys.argv[1], "kO"), "rdataframe.C does not compile"
for path in sys.argv[3:]:
    start = time.process_time()
    count = ROOT.rdataframe(path)
    print("RESULT", count, time.process_time() - start, flush=True)
"""


def chunks(path: Path) -> list[tuple[int, int]]:
    """Entry ranges."""
    with uproot.open(path) as file:
        entries = file["events"].num_entries
    return [(start, min(start + CHUNK, entries)) for start in range(0, entries, CHUNK)]


def read(path: Path) -> None:
    """The branches with uproot, nothing else."""
    for start, stop in chunks(path):
        with uproot.open(path) as file:
            file["events"].arrays(BRANCHES, entry_start=start, entry_stop=stop)


def process(processor: Any) -> Callable[[Path], int]:
    """Every chunk through a coffea processor; returns the events of the high-mass set."""

    def run(path: Path) -> int:
        selected = 0
        for start, stop in chunks(path):
            events = NanoEventsFactory.from_root(
                {str(path): "events"},
                schemaclass=AlpSchema,
                mode="virtual",
                entry_start=start,
                entry_stop=stop,
                metadata=METADATA,
                preload=BRANCHES,  # as alp_coffea.execution.chunks.work_item asks for it
            ).events()
            result = processor.process(events)
            if "counts" in result:
                selected += result["counts"]["high_mass"]
            else:
                selected += result["background"]["cutflow"].steps("high_mass")[-1].events
            del events
            gc.collect(1)  # the reader leaves cycles that hold the chunk's columns
        return selected

    return run


def polars(path: Path) -> int:
    """The polars version."""
    os.environ["POLARS_MAX_THREADS"] = "1"  # read when polars is imported
    from polars_strahlung import select

    selected = 0
    for start, stop in chunks(path):
        with uproot.open(path) as file:
            arrays = file["events"].arrays(BRANCHES, entry_start=start, entry_stop=stop)
        selected += select(arrays, SUPERKEKB)["high_mass"]
    return selected


class RDataFrame:
    """The ROOT version, in the interpreter that has ROOT."""

    def __init__(self, python: str, build: Path) -> None:
        self.python, self.build = python, build
        self.seconds = 0.0

    def __call__(self, path: Path) -> int:
        macro = Path(__file__).with_name("rdataframe.C")
        command = [self.python, "-W", "ignore", "-c", ROOT_SCRIPT, str(macro), str(self.build)]
        # the first pass warms up, the second counts
        done = subprocess.run(
            [*command, str(path), str(path)], check=True, capture_output=True, text=True
        )
        last = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")][-1]
        self.seconds = float(last[2])
        return int(last[1])


def measure(
    versions: dict[str, Callable[[Path], Any]], path: Path, rounds: int
) -> dict[str, list[float]]:
    """CPU seconds of every round of every version."""
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    selected: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, version in versions.items():
            start = time.process_time()
            count = version(path)
            used = time.process_time() - start
            if count is not None:
                selected[name] = count
            if number:  # the first round warms up
                seconds[name].append(version.seconds if isinstance(version, RDataFrame) else used)
    if len(set(selected.values())) != 1:
        raise SystemExit(f"the versions select different numbers of events: {selected}")
    return seconds


def table(seconds: dict[str, list[float]], events: int, title: str) -> dict[str, float]:
    """Print the least of the rounds per million events, and its ratio to reading and to ours."""
    best = {name: min(values) / events * 1e6 for name, values in seconds.items()}
    print(f"\n{title}\n{'version':<22}{'CPU s / 1M':>12}{'/ read':>9}{'/ ours':>9}")
    for name, value in best.items():
        print(f"{name:<22}{value:12.2f}{value / best['read']:9.2f}{value / best['ours']:9.2f}")
    return best


def main() -> None:
    """Run the comparison and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--root-python", help="interpreter of an environment with ROOT")
    parser.add_argument("--small-baskets", action="store_true", help="also baskets of 1600 bytes")
    parser.add_argument("--folder", type=Path, help="keep and reuse the input in this folder")
    parser.add_argument("--profile", action="store_true", help="profile of the awkward version")
    options = parser.parse_args()
    if not MALLOC.keys() <= os.environ.keys():  # read by glibc when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)

    versions: dict[str, Callable[[Path], Any]] = {
        "read": read,
        "ours": process(load_processor("strahlung", {}, beams=SUPERKEKB)),
        "awkward": process(AwkwardStrahlung(SUPERKEKB)),
        "oracle": process(load_processor("strahlung", {"kernels": False}, beams=SUPERKEKB)),
        "ours, variations": process(
            load_processor("strahlung", {"variations": True}, beams=SUPERKEKB)
        ),
    }
    if importlib.util.find_spec("polars"):
        versions["polars"] = polars
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.root_python:
            versions["rdataframe"] = RDataFrame(options.root_python, Path(temporary))
        result: dict[str, Any] = {}
        for basket in (None, SMALL_BASKET) if options.small_baskets else (None,):
            path = folder / f"sample_{options.events}_{basket or 'large'}.root"
            if not path.exists():
                write_sample(path, options.events, basket=basket)
            seconds = measure(versions, path, options.rounds)
            title = f"{options.events:,} events, baskets of {basket or 'about 1 million'} bytes"
            best = table(seconds, options.events, title)
            if basket is None:
                result |= best
            else:
                result["small_baskets"] = best
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(versions["awkward"], folder / f"sample_{options.events}_large.root")
            pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {memory:.0f} MB at {CHUNK:,} events per chunk")
    result["peak_memory_mb"] = memory
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
