"""Files to events and to histograms without any configuration file, as a notebook wants it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import hist
from coffea.nanoevents import NanoEventsFactory
from coffea.processor import ProcessorABC

from alp_coffea.config import Catalogue, Sample
from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.errors import ConfigurationError, EmptyFileError, MissingTreeError
from alp_coffea.events.conversion.convert import convert, convert_cached
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.ledger import check_identities
from alp_coffea.events.opening import (
    TreeInfo,
    is_parquet,
    open_root,
    open_tree,
    parquet_info,
    readable,
    tree_info,
    tree_names,
)
from alp_coffea.events.schema import AlpSchema
from alp_coffea.events.selection import Cutflow
from alp_coffea.execution import Cluster, load_processor, mapping, process_files
from alp_coffea.execution.running import ExecutorName, open_engine
from alp_coffea.physics.beams import SUPERKEKB, Beams

Paths = str | Path | Sequence[str | Path]


def open_events(
    path: Paths,
    limit: int | None = None,
    *,
    tree: str | None = None,
    settings: ConversionSettings | None = None,
    cache: str | Path | None = None,
) -> ak.Array:
    """The events of a file, with the collections and behaviours that processors see.

    Columns are read when they are used.

    >>> from alp_coffea.simulation import write_sample
    >>> record = write_sample("signal_3.0000.root", "signal", 1000, mass=3.0, seed=1)
    >>> events = open_events("signal_3.0000.root", limit=500)
    >>> len(events)
    500
    >>> energies = events.Photon.E  # GeV, jagged
    >>> energies.ndim
    2

    Parameters
    ----------
    path
        ROOT (TTree or RNTuple) or parquet file or URL. A file in one of basf2's own layouts is
        converted first; several such files of the same events are joined.
    limit
        Events from the beginning; all by default.
    tree
        By default ``events``, or the only one in the canonical layout.
    settings, cache
        How to convert, and the folder to keep the result in: lazily readable and there the next
        time. Without a folder the whole result is read into memory.

    Raises
    ------
    InputError
        A subclass that names the file, the tree and what is wrong with them.
    ConfigurationError
        If ``limit`` is not positive, or the settings do not fit.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit = {limit} must be at least 1 event")
    paths = [str(p) for p in ([path] if isinstance(path, str | Path) else path)]
    if not paths:
        raise ConfigurationError("open_events: give at least one file")
    info = _canonical(paths[0], tree) if len(paths) == 1 and settings is None else None
    if info is not None:
        return _events(paths[0], info, limit, mode="virtual")
    if cache is not None:
        converted, _ = convert_cached(paths, cache, settings)
        return _events(str(converted), parquet_info(str(converted)), limit, mode="virtual")
    with tempfile.TemporaryDirectory(prefix="alp_coffea-") as folder:
        target = Path(folder) / f"{Path(paths[0]).stem}.parquet"
        convert(paths, target, settings)
        return _events(str(target), parquet_info(str(target)), limit, mode="eager")


def _canonical(path: str, wanted: str | None) -> TreeInfo | None:
    """The tree to read, None if the file is to be converted."""
    if is_parquet(path):
        return parquet_info(path)
    with open_root(path) as directory:
        names = tree_names(directory, path)
        if wanted is not None or "events" in names:
            chosen = wanted or "events"
            return tree_info(open_tree(directory, chosen, path), chosen, path)
        infos = [tree_info(open_tree(directory, name, path), name, path) for name in names]
    canonical = [info for info in infos if info.layout == "canonical"]
    if len(canonical) == 1:
        return canonical[0]
    if not canonical and any(info.layout in ("event_based", "candidates") for info in infos):
        return None
    raise MissingTreeError(
        f"{path}: no tree 'events'; choose one with 'tree'. The file has: "
        f"{', '.join(names) or 'no tree at all'}"
    )


def _events(path: str, info: TreeInfo, limit: int | None, *, mode: str) -> ak.Array:
    if info.entries == 0:
        raise EmptyFileError(f"{path}: tree '{info.name}' has no entries")
    metadata = {
        "dataset": Path(path).stem,
        "kind": "data",
        "mass": None,
        "event_weight": None,
        "filename": path,
    }
    stop = info.entries if limit is None else min(limit, info.entries)
    how = {"schemaclass": AlpSchema, "metadata": metadata, "mode": mode, "entry_stop": stop}
    with readable(path, f"tree '{info.name}'"):
        if info.container == "parquet":
            return NanoEventsFactory.from_parquet(path, **how).events()
        return NanoEventsFactory.from_root({path: info.name}, **how).events()


@dataclass(frozen=True)
class Processed:
    """What a processor made of files.

    Attributes
    ----------
    histograms
        By ``sample/name``, filled with event weights, not scaled.
    cutflow, counts
        By sample.
    ledger
        One row per file: entries expected, read and selected, status and reason.
    """

    histograms: Mapping[str, hist.Hist]
    cutflow: Mapping[str, Cutflow]
    counts: Mapping[str, Mapping[str, Any]]
    ledger: Sequence[Mapping[str, Any]]


def process(
    processor: str | Path | ProcessorABC,
    files: Paths | Mapping[str, Paths],
    *,
    options: Mapping[str, Any] | None = None,
    masses: Mapping[str, float] | None = None,
    simulated: Collection[str] = (),
    tree: str = "events",
    event_weight: str | None = None,
    conversion: ConversionSettings | None = None,
    beams: Beams = SUPERKEKB,
    executor: ExecutorName | Cluster = "iterative",
    workers: int | None = None,
    chunksize: int = 250_000,
    allow_missing: bool = False,
    folder: str | Path | None = None,
) -> Processed:
    """Run a processor over files.

    >>> from alp_coffea.simulation import write_sample
    >>> record = write_sample("ggg.root", "ggg", 1000, seed=1)
    >>> result = process("strahlung", {"ggg": "ggg.root"}, simulated=["ggg"])
    >>> result.histograms["ggg/mass"].axes.name
    ('energy_set', 'definition', 'origin', 'mass')

    Parameters
    ----------
    processor
        Name of a built-in processor, path of a file with one, or a processor.
    files
        Paths, globs or URLs by sample; without names the sample is ``data``. Files in basf2's own
        layouts are converted.
    options, beams
        Of a processor given by name or path.
    masses
        Mass [GeV] of samples that are signal.
    simulated
        Samples that are simulated background; the others are data.
    event_weight
        Branch with the weight of simulated events.
    folder
        For converted files and checkpoints: a second call computes only what changed. By default
        a temporary one.

    Raises
    ------
    AlpCoffeaError
        One of the named errors, as a run does.
    """
    masses = masses or {}
    named = files if isinstance(files, Mapping) else {"data": files}
    _check_names([*masses, *simulated], named)
    samples = []
    for name, paths in named.items():
        listed = [paths] if isinstance(paths, str | Path) else paths
        kind = "signal" if name in masses else "background" if name in simulated else "data"
        content = {
            "name": name,
            "kind": kind,
            "mass": masses.get(name),
            "files": tuple(str(p) if "://" in str(p) else str(Path(p).absolute()) for p in listed),
            "tree": tree,
            "conversion": conversion or ConversionSettings(),
            "event_weight": None if kind == "data" else event_weight,
            "luminosity": 1.0,  # nothing is scaled here
        }
        samples.append(Sample.model_validate(content))
    catalogue = Catalogue(samples=tuple(samples))
    if not isinstance(processor, ProcessorABC):
        processor = load_processor(str(processor), dict(options or {}), beams=beams, base=Path())
    elif options:
        raise ConfigurationError("process: 'options' are for a processor given by name or path")
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="alp_coffea-"))
        engine = stack.enter_context(open_engine(executor, workers))
        records = open_catalogue(
            catalogue,
            allow_missing=allow_missing,
            cache=Path(folder) / "cache",
            for_each=partial(mapping.for_each, engine),
        )
        check_identities(records, samples, allow_missing=allow_missing)
        output = process_files(
            processor,
            records,
            catalogue,
            executor=engine,
            chunksize=chunksize,
            allow_missing=allow_missing,
            checkpoints=Path(folder) / "checkpoints",
        )
    return Processed(
        histograms={
            f"{sample}/{name}": histogram
            for sample, part in output.items()
            for name, histogram in part.get("histograms", {}).items()
        },
        cutflow={sample: part["cutflow"] for sample, part in output.items() if "cutflow" in part},
        counts={sample: part.get("counts", {}) for sample, part in output.items()},
        ledger=[record.to_json() for record in records],
    )


def _check_names(mentioned: Collection[str], samples: Mapping[str, Any]) -> None:
    unknown = sorted(set(mentioned) - set(samples))
    if unknown:
        raise ConfigurationError(
            f"process: '{unknown[0]}' is no sample; there are: {', '.join(samples)}"
        )
