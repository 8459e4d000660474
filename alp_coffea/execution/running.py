"""Running a processor over files, chunk by chunk, with nothing lost and nothing twice.

coffea's ``Runner`` reads each chunk and calls the processor. The results go to disk where they
are made; this process hands out chunks, keeps the ledger and merges what is left at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args

from coffea.processor import ProcessorABC, Runner
from coffea.processor.executor import WorkItem

from alp_coffea.config import Blinding, Catalogue, Sample
from alp_coffea.errors import IncompleteRunError
from alp_coffea.events.blinding import check_sideband
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.reading import readings
from alp_coffea.events.schema import AlpSchema, canonical_branch, check_fields
from alp_coffea.events.weights import weight_branch
from alp_coffea.execution.checkpoints import Store
from alp_coffea.execution.chunks import FilePlan, plan_files
from alp_coffea.execution.clusters import Cluster
from alp_coffea.execution.encoding import restored
from alp_coffea.execution.engines import Engine, Iterative, LocalProcesses
from alp_coffea.execution.fingerprints import code_digests, file_digest
from alp_coffea.execution.progress import Status, Update
from alp_coffea.execution.tasks import ChunkFunction, merge
from alp_coffea.execution.work import Executor, Work

ExecutorName = Literal["iterative", "futures", "dask"]
EXECUTORS: Final[tuple[str, ...]] = get_args(ExecutorName)

Output = dict[str, Any]


def process_files(
    processor: ProcessorABC,
    records: Sequence[FileRecord],
    catalogue: Catalogue,
    *,
    executor: ExecutorName | Cluster | Engine = "iterative",
    workers: int | None = None,
    chunksize: int = 250_000,
    limit_chunks: int | None = None,
    checkpoints: Path | None = None,
    fresh: bool = False,
    allow_missing: bool = False,
    blinding: Blinding | None = None,
    progress: Update | None = None,
) -> Output:
    """Run a processor over all usable files and account for every entry.

    Parameters
    ----------
    processor
        Its output must be a dictionary keyed by sample, of dicts, sets, lists, numbers, arrays,
        histograms and cutflows. ``processor.uses`` (and ``uses_truth`` for simulated samples),
        where present, name the canonical fields that are checked before anything runs.
    records
        Opened files, see ``open_catalogue``; ``read``, ``selected`` and ``status`` are updated.
    executor
        ``iterative``: this process. ``futures``: local processes. ``dask``: a local dask cluster.
        For other dask workers a ``Cluster``; to use one several times, an engine from
        :func:`~alp_coffea.execution.dask_engine.connect`.
    limit_chunks
        Process only so many chunks of each sample (a test drive).
    checkpoints
        Folder for the results of finished chunks; workers must see it too. A run that finds
        there what an earlier one left computes only the rest. By default a temporary folder.
    fresh
        Forget what is in ``checkpoints``.
    allow_missing
        Return the result although entries could not be read; files they belong to get status
        ``partial`` and a reason.
    blinding
        What the processor may see of data samples; by default everything.

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
        If entries are missing from the result; it names them. What was finished is kept.
    """
    usable = [record for record in records if record.status not in ("unusable", "left_out")]
    if not usable:
        raise IncompleteRunError(
            "no usable input file: "
            + "; ".join(record.reason for record in records if record.reason)
        )
    _check_declared_fields(processor, usable, catalogue)
    if blinding is not None:
        check_sideband(blinding, processor)
    rules = readings(catalogue.samples, blinding)
    codes = code_digests(processor, catalogue.samples, rules)
    keys = {record.path: (codes[record.sample], file_digest(record)) for record in usable}
    with _store(checkpoints, fresh, keys) as store, open_engine(executor, workers) as engine:
        branches = {
            sample.name: map(canonical_branch, declared_fields(processor, sample))
            for sample in catalogue.samples
        }
        plans = plan_files(
            usable,
            catalogue,
            store,
            keys,
            branches=branches,
            chunksize=chunksize,
            limit_chunks=limit_chunks,
        )
        todo = [piece for plan in plans for piece in plan.pieces if isinstance(piece, WorkItem)]
        status = Status(
            sum(plan.stop for plan in plans),
            len(todo),
            stale=store.stale,
            where=engine.description,
            notes=store.damaged,
        )
        update = progress or (lambda _: None)
        update(status)
        work = Work(engine, store, plans, status, update)
        chunk = ChunkFunction(processor, rules, store.folder, store.run)
        for parquet in (False, True):
            items = [item for item in todo if _is_parquet(item.filename) == parquet]
            if items:
                _runner(work, parquet, chunksize).run(items, chunk)
        work.drive()
        _close_ledger(plans, allow_missing)
        merged = _merged(work, store, plans)
        store.finish()
        status.finished = True
        update(status)
    final = processor.postprocess(merged)
    return merged if final is None else final


def _runner(work: Work, parquet: bool, chunksize: int) -> Runner:
    return Runner(
        executor=Executor(status=False, compression=None, work=work),
        schema=AlpSchema,
        chunksize=chunksize,
        format="parquet" if parquet else "root",
        metadata_cache={},
        skipbadfiles=False,
        savemetrics=True,
        processor_compression=None,  # unpacked once per worker instead of once per chunk
    )


def _is_parquet(path: str) -> bool:
    return path.endswith((".parquet", ".pq"))


@contextmanager
def _store(folder: Path | None, fresh: bool, keys: dict[str, tuple[str, str]]) -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="alp_coffea-") as temporary:
        store = Store((folder or Path(temporary)).resolve(), fresh=fresh, keys=keys)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def open_engine(
    executor: ExecutorName | Cluster | Engine, workers: int | None = None
) -> Iterator[Engine]:
    """The engine that an executor stands for, see :func:`process_files`; closed at the end."""
    if executor == "dask":
        executor = Cluster(workers)
    if isinstance(executor, Cluster):
        from alp_coffea.execution.dask_engine import connect

        with connect(executor) as engine, _closed(engine):
            yield engine
    elif isinstance(executor, str):
        with _closed(Iterative() if executor == "iterative" else LocalProcesses(workers)) as local:
            yield local
    else:
        with _closed(executor):
            yield executor


@contextmanager
def _closed(engine: Engine) -> Iterator[Engine]:
    """Leave nothing running behind, also after an error or Ctrl-C."""
    try:
        yield engine
    finally:
        engine.close()


def _close_ledger(plans: Iterable[FilePlan], allow_missing: bool) -> None:
    """Every entry is read, or named as lost: write it down, and stop if that is not accepted."""
    problems: list[str] = []
    for plan in plans:
        record = plan.record
        lost = sum(stop - start for (start, stop), _ in plan.lost)
        if record.read + lost != plan.stop:
            raise IncompleteRunError(
                f"{record.path}: {record.read} entries read and {lost} lost do not make "
                f"{plan.stop}; please report this"
            )
        reasons = [
            f"entries {start} to {stop} not read: {reason}"
            for (start, stop), reason in sorted(plan.lost)
        ]
        record.status = "partial" if lost else "done"
        record.reason = "; ".join(reasons)
        # what a limit on chunks leaves out is not read either
        rest = [(plan.stop, record.expected)] if plan.stop < record.expected else []
        record.unread = [*sorted(entries for entries, _ in plan.lost), *rest]
        problems += [f"{record.path}: {reason}" for reason in reasons]
    if problems and not allow_missing:
        raise IncompleteRunError(
            f"{len(problems)} ranges of entries could not be processed:\n  "
            + "\n  ".join(problems)
            + "\nRepair the files and run again (only the missing entries are computed), or pass "
            "--allow-missing to go on without them"
        )


def _merged(work: Work, store: Store, plans: Iterable[FilePlan]) -> Output:
    """The few records that are left of each sample, merged, after checking their entries."""
    expected = sum(plan.record.read for plan in plans)
    included = sum(record.entries for records in work.results.values() for record in records)
    if included != expected:
        raise IncompleteRunError(
            f"{included} entries are in the merged result, {expected} were read; please report this"
        )
    merged: Output = {}
    for sample in sorted(work.results):
        merged = merge(store.folder, work.results[sample], merged)
    return {sample: restored(merged[sample]) for sample in sorted(merged)}


def declared_fields(processor: ProcessorABC, sample: Sample) -> list[str]:
    """Canonical fields that a processor, or the weight rule, reads of a sample."""
    needed = list(getattr(processor, "uses", ()))
    if sample.kind == "signal":
        needed += getattr(processor, "uses_truth", ())
    if (branch := weight_branch(sample.event_weight)) is not None:
        needed.append(branch)
    return needed


def _check_declared_fields(
    processor: ProcessorABC, records: Iterable[FileRecord], catalogue: Catalogue
) -> None:
    kinds = {sample.name: sample for sample in catalogue.samples}
    for record in records:
        check_fields(
            declared_fields(processor, kinds[record.sample]),
            record.branches,
            path=record.path,
            tree=record.tree,
            processor=type(processor).__name__,
            misfits=record.misfits,
        )
