"""Cost of reading: schema against plain uproot, joining trees, regrouping candidate rows.

    python benchmarks/reading.py [--events N] [--repeat N] [NAME ...]

NAME is one of schema, ledger, regroup, join, convert, inspect (default: all). CPU time of the
process, best of several runs; each line has the measured value, the target and a remark.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from coffea.nanoevents import NanoEventsFactory

from alp_coffea.config import Catalogue, Sample
from alp_coffea.events.conversion.convert import convert
from alp_coffea.events.conversion.event_trees import open_joined
from alp_coffea.events.conversion.regroup import distinct_objects, event_starts
from alp_coffea.events.conversion.sources import OpenTree
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.ledger import check_identities
from alp_coffea.events.opening import file_identity, open_root, open_tree, tree_info
from alp_coffea.events.schema import AlpSchema

PHOTON = (
    "E", "theta", "phi", "clusterE", "clusterTheta", "clusterPhi", "clusterNHits",
    "clusterZernikeMVA", "clusterTiming", "clusterErrorTiming",
)  # fmt: skip
TRACK = ("p", "theta", "phi", "dr", "dz", "nCDCHits")


def show(name: str, measured: float, target: str, remark: str = "") -> None:
    print(f"{name:46s} {measured:12.5g}   target {target:8s} {remark}")


def cpu(function: Callable[[], Any], repeat: int) -> float:
    """Smallest CPU time of several calls, the first (imports, compilation, page cache) dropped."""
    times = []
    for _ in range(repeat + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times[1:])


def lists(rng: np.random.Generator, events: int, mean: float, names: tuple[str, ...]) -> ak.Array:
    counts = rng.poisson(mean, events)
    return ak.zip({name: ak.unflatten(rng.random(counts.sum()), counts) for name in names})


def identity(events: int) -> dict[str, Any]:
    return {
        "__experiment__": np.full(events, 1003, np.int32),
        "__run__": np.full(events, 1, np.int32),
        "__event__": np.arange(events).astype(np.uint32),
        "__production__": np.full(events, 1, np.int32),
    }


def write_tree(
    file: Any, tree: str, content: dict[str, Any], *, prefixed: bool, counter: str
) -> None:
    """A TTree in batches of 50 000 entries, the size of a basket in large productions."""
    types = {
        name: values.type.content if isinstance(values, ak.Array) else values.dtype
        for name, values in content.items()
    }
    target = file.mktree(
        tree,
        types,
        counter_name=lambda outer: counter.format(outer),
        field_name=lambda outer, inner: f"{outer}_{inner}" if prefixed and outer else inner,
    )
    length = len(content["__event__"])
    for start in range(0, length, 50_000):
        target.extend({name: values[start : start + 50_000] for name, values in content.items()})


def schema(folder: Path, events: int, repeat: int) -> None:
    path = folder / "canonical.root"
    rng = np.random.default_rng(1)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        content = {
            **identity(events),
            "gamma": lists(rng, events, 3.8, PHOTON),
            "track": lists(rng, events, 0.5, TRACK),
        }
        write_tree(file, "events", content, prefixed=True, counter="n_{}")
    branches = [f"gamma_{name}" for name in PHOTON] + [f"track_{name}" for name in TRACK]

    def plain() -> None:
        with uproot.open(path) as file:
            tree = file["events"]
            for name in branches:
                tree[name].array()

    def with_schema() -> None:
        factory = NanoEventsFactory.from_root(
            {str(path): "events"}, schemaclass=AlpSchema, metadata={"dataset": "d"}, mode="virtual"
        )
        array = factory.events()
        for name in PHOTON:
            ak.materialize(array.Photon[name])
        for name in TRACK:
            ak.materialize(array.Track[name])

    reference = cpu(plain, repeat)
    show(
        "schema / plain uproot, CPU",
        cpu(with_schema, repeat) / reference,
        "<= 1.10",
        f"{events} events, {len(branches)} branches, plain {reference:.2f} s",
    )


def regroup(_: Path, events: int, repeat: int) -> None:
    # three photons and three candidates per event
    rng = np.random.default_rng(2)
    rows = 3 * events
    photons = {name: rng.random((3, events)) for name in PHOTON}
    roles = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])  # (daughter, daughter, recoil)
    slots = {
        name: [values[roles[:, slot]].T.ravel().copy() for slot in range(3)]
        for name, values in photons.items()
    }
    number = np.repeat(np.arange(events), 3)
    counters = [np.ones(rows, np.int64), np.ones(rows, np.int64), number, np.ones(rows, np.int64)]

    def run() -> None:
        starts = event_starts(counters)
        key = ("clusterE", "clusterTheta", "clusterPhi")
        found = distinct_objects(starts, slots, key=key, same=("E", "theta", "phi"))
        if not (found.counts == 3).all() or found.differing is not None:
            raise RuntimeError("regrouping gives the wrong photons")

    show(
        "regrouping, rows per CPU-second",
        rows / cpu(run, repeat),
        ">= 2e6",
        f"{rows} rows, 3 x {len(PHOTON)} columns in memory",
    )


def write_lists(folder: Path, events: int) -> Path:
    path = folder / "lists.root"
    if not path.exists():
        rng = np.random.default_rng(3)
        with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
            for tree, mean, names in (("photons", 3.8, PHOTON), ("tracks", 0.5, TRACK)):
                content = {**identity(events), "list": lists(rng, events, mean, names)}
                write_tree(file, tree, content, prefixed=False, counter="__ncandidates__")
    return path


def join(folder: Path, events: int, repeat: int) -> None:
    path = write_lists(folder, events)
    columns = {"photons": PHOTON, "tracks": TRACK}

    def plain() -> None:
        with uproot.open(path) as file:
            for tree, names in columns.items():
                file[tree].arrays(filter_name=set(names).__contains__, how=dict)

    def joined() -> None:
        with ExitStack() as stack:
            directory = stack.enter_context(open_root(str(path)))
            digest = file_identity(directory, str(path))
            trees = []
            for name, collection in (("photons", "Photon"), ("tracks", "Track")):
                tree = open_tree(directory, name, str(path))
                info = tree_info(tree, name, str(path))
                trees.append(OpenTree(str(path), tree, info, digest, collection))
            source = open_joined(trees, {}, strict=True)
            for start in range(0, len(source), 100_000):
                source.read(start, min(start + 100_000, len(source)))

    reference = cpu(plain, repeat)
    show(
        "joining two list trees / reading them, CPU",
        cpu(joined, repeat) / reference,
        "<= 1.5",
        f"{events} events, reading {reference:.2f} s",
    )


def conversion(folder: Path, events: int, repeat: int) -> None:
    path = write_lists(folder, events)
    seconds = cpu(lambda: convert([path], folder / "out.parquet"), repeat)
    show("whole conversion of list trees, events/CPU-s", events / seconds, "none")


def inspection(folder: Path, events: int, repeat: int) -> None:
    from alp_coffea.inspection import inspect_file

    path = write_lists(folder, events)
    seconds = cpu(lambda: inspect_file(path), repeat)
    size = path.stat().st_size / 1e6
    show("inspecting a file, CPU-s", seconds, "<= 3", f"{size:.0f} MB")


def ledger(folder: Path, events: int, repeat: int) -> None:
    """Four files of one run whose event numbers interleave: every number is compared."""
    files = []
    for number in range(4):
        path = folder / f"ledger{number}.root"
        rng = np.random.default_rng(number)
        content = {**identity(events // 4), "gamma": lists(rng, events // 4, 3.8, PHOTON)}
        content["__event__"] = (content["__event__"] * 4 + number).astype(np.uint32)
        with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
            write_tree(file, "events", content, prefixed=True, counter="n_{}")
        files.append(path)
    sample = Sample.model_validate(
        {"name": "data", "kind": "data", "luminosity": 1, "files": tuple(map(str, files))}
    )
    records = open_catalogue(Catalogue(samples=(sample,)))

    def plain() -> None:
        for path in files:
            with uproot.open(path) as file:
                for name in PHOTON:
                    file["events"][f"gamma_{name}"].array()

    seconds = cpu(lambda: check_identities(records, [sample]), repeat)
    reading = cpu(plain, repeat)
    show(
        "finding duplicate events, events/CPU-s",
        events / seconds,
        "none",
        f"{seconds / reading:.1%} of reading {len(PHOTON)} photon branches",
    )


ALL = {
    "ledger": ledger,
    "schema": schema,
    "regroup": regroup,
    "join": join,
    "convert": conversion,
    "inspect": inspection,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*ALL, []], metavar="NAME")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or ALL:
            ALL[name](Path(folder), arguments.events, arguments.repeat)


if __name__ == "__main__":
    main()
