"""Running a processor over files, chunk by chunk, with nothing lost.

coffea's ``Runner`` reads each chunk and calls the processor; the two executors here are coffea's
with our progress reporting, ordered merging and error reporting in place of its own.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import loky
from coffea.processor import (
    FuturesExecutor,
    IterativeExecutor,
    ProcessorABC,
    Runner,
    accumulate,
)
from coffea.processor.executor import WorkItem

from alp_coffea.config import Catalogue
from alp_coffea.errors import AlpCoffeaError, IncompleteRunError, ProcessorError
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.schema import AlpSchema, check_fields

ExecutorName = Literal["iterative", "futures"]
EXECUTORS: Final[tuple[str, ...]] = ("iterative", "futures")

Output = dict[str, Any]
#: Called with (events done, events in all) after each chunk.
Progress = Callable[[int, int], None]


def process_files(
    processor: ProcessorABC,
    records: Sequence[FileRecord],
    catalogue: Catalogue,
    *,
    executor: ExecutorName = "iterative",
    workers: int | None = None,
    chunksize: int = 250_000,
    limit_chunks: int | None = None,
    progress: Progress | None = None,
) -> Output:
    """Run a processor over all usable files and account for every entry.

    Parameters
    ----------
    processor
        Its output must be a dictionary keyed by sample. ``processor.uses`` (and ``uses_truth``
        for simulated samples), where present, name the canonical fields that are checked before
        anything runs.
    records
        Opened files, see ``open_catalogue``; ``read``, ``selected`` and ``status`` are updated.
    limit_chunks
        Process only so many chunks of each sample (a test drive).

    Returns
    -------
    The merged output, sorted by sample; the same to rounding for any chunk size, and bit for bit
    for any executor and number of workers.

    Raises
    ------
    MissingFieldError
        If a file lacks a field that the processor declares.
    ProcessorError
        If the processor fails, naming file, entries and line.
    IncompleteRunError
        If entries are missing from the result without a reason.
    """
    usable = [record for record in records if record.status != "unusable"]
    if not usable:
        raise IncompleteRunError(
            "no usable input file: "
            + "; ".join(record.reason for record in records if record.reason)
        )
    _check_declared_fields(processor, usable, catalogue)
    items = _work_items(usable, catalogue, chunksize, limit_chunks)
    booked = _Booking(usable, total=sum(len(item) for item in items), progress=progress)
    merged: Output = {}
    for parquet in (False, True):
        batch = [item for item in items if item.filename.endswith((".parquet", ".pq")) == parquet]
        if not batch:
            continue
        run = Runner(
            executor=_executor(executor, workers, booked),
            schema=AlpSchema,
            chunksize=chunksize,
            format="parquet" if parquet else "root",
            metadata_cache={},
            skipbadfiles=False,
        )
        merged = accumulate([run.run(batch, processor)["out"]], merged)
    missing = set(items) - booked.processed
    if missing:
        raise IncompleteRunError(
            f"{len(missing)} of {len(items)} chunks were not processed, the first: "
            + _describe(min(missing, key=lambda item: (item.filename, item.entrystart)))
        )
    for record in usable:
        record.status = "done"
    return {sample: merged[sample] for sample in sorted(merged)}


def _check_declared_fields(
    processor: ProcessorABC, records: Iterable[FileRecord], catalogue: Catalogue
) -> None:
    kinds = {sample.name: sample for sample in catalogue.samples}
    for record in records:
        sample = kinds[record.sample]
        needed = list(getattr(processor, "uses", ()))
        if sample.kind == "signal":
            needed += getattr(processor, "uses_truth", ())
        if sample.event_weight is not None:
            needed.append(sample.event_weight)
        check_fields(
            needed,
            record.branches,
            path=record.path,
            tree=record.tree,
            processor=type(processor).__name__,
        )


def _work_items(
    records: Sequence[FileRecord],
    catalogue: Catalogue,
    chunksize: int,
    limit_chunks: int | None,
) -> list[WorkItem]:
    metadata = {
        sample.name: {
            "kind": sample.kind,
            "mass": sample.mass,
            "event_weight": sample.event_weight,
        }
        for sample in catalogue.samples
    }
    items: list[WorkItem] = []
    per_sample: dict[str, int] = {}
    for record in records:
        for start in range(0, record.expected, chunksize):
            number = per_sample.get(record.sample, 0)
            if limit_chunks is not None and number >= limit_chunks:
                break
            per_sample[record.sample] = number + 1
            stop = min(start + chunksize, record.expected)
            items.append(
                WorkItem(
                    record.sample,
                    record.path,
                    record.tree,
                    start,
                    stop,
                    # coffea wants the 16 bytes of a uuid; identities can be longer digests
                    hashlib.sha256(record.identity.encode()).digest()[:16],
                    usermeta=metadata[record.sample],
                )
            )
    return items


@dataclass
class _Booking:
    """Accounts for chunks as their results come in, in the submitting process."""

    records: Sequence[FileRecord]
    total: int
    progress: Progress | None
    processed: set[WorkItem] = field(default_factory=set)
    events: int = 0

    def __post_init__(self) -> None:
        self._by_path = {record.path: record for record in self.records}

    def __call__(self, item: WorkItem, result: Output) -> None:
        (done,) = result["processed"]
        if done != item or item in self.processed:
            raise IncompleteRunError(f"the result of {_describe(item)} came twice or is another's")
        self.processed.add(item)
        record = self._by_path[item.filename]
        record.read += len(item)
        selected = result["out"].get(item.dataset, {}).get("selected")
        if selected is not None:
            record.selected = (record.selected or 0) + int(selected)
        self.events += len(item)
        if self.progress is not None:
            self.progress(self.events, self.total)


class _Guarded:
    """A chunk function whose errors name the chunk and survive the way back from a worker."""

    def __init__(self, function: Callable[[WorkItem], Output]) -> None:
        self.function = function

    def __call__(self, item: WorkItem) -> Output:
        try:
            return self.function(item)
        except Exception as error:
            raise _explain(error, item) from error


def _explain(error: BaseException, item: WorkItem) -> AlpCoffeaError:
    """The package's own error in the chain if there is one, else a ProcessorError.

    Exceptions lose their cause when pickled, so what the user needs goes into the message.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, AlpCoffeaError):
            return type(link)(f"{link} [{_describe(item)}]")
    root = chain[-1]
    frames = [frame for link in chain for frame in traceback.extract_tb(link.__traceback__)]
    # the deepest frame outside installed libraries is the line the user can act on
    installed = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    own = [frame for frame in frames if not frame.filename.startswith(installed)]
    line = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return ProcessorError(f"{_describe(item)}: {type(root).__name__}{line}: {root}")


def _describe(item: WorkItem) -> str:
    return (
        f"{item.filename}, tree '{item.treename}', entries {item.entrystart} to "
        f"{item.entrystop} (sample '{item.dataset}')"
    )


@dataclass
class _Iterative(IterativeExecutor):
    """Chunks one after the other in this process."""

    book: _Booking | None = None

    def __call__(self, items: Any, function: Any, accumulator: Any) -> tuple[Any, int]:
        guarded = _Guarded(function)
        results = ((item, guarded(item)) for item in items)
        return _merge(results, self.book, accumulator), 0


@dataclass
class _Futures(FuturesExecutor):
    """Chunks on local processes; results merged in order of submission, so sums are stable."""

    book: _Booking | None = None

    def __call__(self, items: Any, function: Any, accumulator: Any) -> tuple[Any, int]:
        guarded = _Guarded(function)
        pool = loky.ProcessPoolExecutor(max_workers=self.workers)
        try:
            futures: list[tuple[WorkItem, Future[Output]]] = [
                (item, pool.submit(guarded, item)) for item in items
            ]
            results = ((item, future.result()) for item, future in _release(futures))
            merged = _merge(results, self.book, accumulator)
        except BaseException:
            # also on Ctrl-C: leave no worker behind
            pool.shutdown(wait=True, kill_workers=True)
            raise
        pool.shutdown(wait=True)
        return merged, 0


def _release(
    futures: list[tuple[WorkItem, Future[Output]]],
) -> Iterator[tuple[WorkItem, Future[Output]]]:
    """Hand out futures in order without keeping finished results alive."""
    futures.reverse()
    while futures:
        yield futures.pop()


def _merge(results: Iterable[tuple[WorkItem, Output]], book: _Booking | None, start: Any) -> Any:
    def booked() -> Iterator[Output]:
        for item, result in results:
            if book is not None:
                book(item, result)
            yield result

    return accumulate(booked(), start)


def _executor(name: ExecutorName, workers: int | None, book: _Booking) -> Any:
    if name == "iterative":
        return _Iterative(status=False, retries=0, book=book)
    workers = workers or os.cpu_count() or 1
    return _Futures(status=False, retries=0, workers=workers, compression=None, book=book)
