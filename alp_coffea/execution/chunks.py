"""Which entries of which files are still to be processed, and as which chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coffea.processor.executor import WorkItem

from alp_coffea.config import Catalogue
from alp_coffea.errors import UnreadableFileError
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.weights import weight_field
from alp_coffea.execution.checkpoints import Record, Store

Range = tuple[int, int]


@dataclass
class FilePlan:
    """One file: entries wanted, and the pieces that they come in, sorted.

    A piece is a record of the store or a chunk to do. The pieces do not overlap and cover the
    entries from 0 to ``stop``: nothing can be lost between them, and nothing counted twice.
    """

    record: FileRecord
    stop: int
    pieces: list[Record | WorkItem]
    #: Entries that could not be read, with the reason.
    lost: list[tuple[Range, str]] = field(default_factory=list)


def plan_files(
    records: Sequence[FileRecord],
    catalogue: Catalogue,
    store: Store,
    keys: dict[str, tuple[str, str]],
    *,
    branches: Mapping[str, Iterable[str]],
    chunksize: int,
    limit_chunks: int | None,
) -> list[FilePlan]:
    """Cut what the store does not hold into chunks.

    ``keys`` are the code and file digests by path, ``branches`` those to read at once by sample;
    ``limit_chunks`` is per sample.
    """
    together = {sample: frozenset(names) for sample, names in branches.items()}
    metadata = {
        sample.name: {
            "kind": sample.kind,
            "mass": sample.mass,
            "event_weight": weight_field(sample.event_weight),
        }
        for sample in catalogue.samples
    }
    chunks: dict[str, int] = {}
    plans: list[FilePlan] = []
    for record in records:
        stop = record.expected
        if limit_chunks is not None:
            left = limit_chunks - chunks.get(record.sample, 0)
            stop = min(stop, max(left, 0) * chunksize)
            chunks[record.sample] = chunks.get(record.sample, 0) + -(-stop // chunksize)
            if not stop:
                record.reason = "left out by the limit on chunks"
                continue
        code, file = keys[record.path]
        done, superseded, gaps = tile(store.records(code, file), stop)
        store.drop(superseded)
        usermeta: dict[str, Any] = {
            **metadata[record.sample],
            "signature": signature(record.path),
            "checkpoint": (code, file, record.expected),
        }
        pieces: list[tuple[int, Record | WorkItem]] = [(r.start, r) for r in done]
        pieces += [
            (
                a,
                work_item(
                    record, a, min(a + chunksize, gap_stop), usermeta, together[record.sample]
                ),
            )
            for gap_start, gap_stop in gaps
            for a in range(gap_start, gap_stop, chunksize)
        ]
        pieces.sort(key=lambda piece: piece[0])
        plans.append(FilePlan(record, stop, [piece for _, piece in pieces]))
    return plans


def tile(records: Iterable[Record], stop: int) -> tuple[list[Record], list[Record], list[Range]]:
    """Records to use, which do not overlap; records inside those; and gaps left up to ``stop``.

    ``records`` come sorted by first entry, the longest first.
    """
    used: list[Record] = []
    superseded: list[Record] = []
    gaps: list[Range] = []
    position = 0
    for record in records:
        if record.stop <= position:
            superseded.append(record)
        elif record.start >= position and record.stop <= stop:
            if record.start > position:
                gaps.append((position, record.start))
            used.append(record)
            position = record.stop
    if position < stop:
        gaps.append((position, stop))
    return used, superseded, gaps


def work_item(
    record: FileRecord,
    start: int,
    stop: int,
    usermeta: dict[str, Any],
    branches: frozenset[str],
) -> WorkItem:
    """coffea's description of a chunk.

    Its ``branches`` are read together when it is opened: one by one, as they are asked for, a
    TTree takes a tenth longer. A chunk of a parquet file ignores them.
    """
    # coffea wants the 16 bytes of a uuid; identities can be longer digests
    identity = hashlib.sha256(record.identity.encode()).digest()[:16]
    return WorkItem(
        record.sample, record.path, record.tree, start, stop, identity, usermeta=usermeta,
        preload=branches,
    )  # fmt: skip


def part(item: WorkItem, start: int, stop: int) -> WorkItem:
    """Some entries of a chunk that was tried often enough: they get one try each."""
    usermeta = {**(item.usermeta or {}), "retry": False}
    return WorkItem(
        item.dataset, item.filename, item.treename, start, stop, item.fileuuid,
        usermeta=usermeta, preload=item.preload,
    )  # fmt: skip


def signature(path: str) -> tuple[int, int] | None:
    """Size and time of the last change [ns] of a local file, to notice that it is replaced."""
    if "://" in path:
        return None
    try:
        status = Path(path).stat()
    except OSError as error:
        raise UnreadableFileError(f"{path} disappeared: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


def describe(item: WorkItem) -> str:
    """File, tree, entries and sample of a chunk, for messages."""
    return (
        f"{item.filename}, tree '{item.treename}', entries {item.entrystart} to "
        f"{item.entrystop} (sample '{item.dataset}')"
    )
