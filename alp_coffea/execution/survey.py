"""What a run would find in its checkpoints, and what files would lack, without running it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coffea.processor import ProcessorABC

from alp_coffea.config import Blinding, Catalogue
from alp_coffea.errors import InputError
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.reading import readings
from alp_coffea.events.schema import check_fields
from alp_coffea.execution.checkpoints import Record, intact_records
from alp_coffea.execution.chunks import tile
from alp_coffea.execution.fingerprints import code_digests, file_digest
from alp_coffea.execution.running import declared_fields


@dataclass(frozen=True)
class Finished:
    """Checkpoints of a file: entries that need not be computed again, and results that count no
    longer because code, options or the file have changed."""

    entries: int = 0
    stale: int = 0


def survey_checkpoints(
    processor: ProcessorABC,
    records: Sequence[FileRecord],
    catalogue: Catalogue,
    folder: Path,
    *,
    blinding: Blinding | None = None,
) -> dict[str, Finished]:
    """What there is in a folder of checkpoints, by path; nothing is changed there."""
    codes = code_digests(processor, catalogue.samples, readings(catalogue.samples, blinding))
    keys = {record.path: (codes[record.sample], file_digest(record)) for record in records}
    paths = {file: path for path, (_, file) in keys.items()}
    wanted: dict[str, list[Record]] = defaultdict(list)
    stale: dict[str, int] = defaultdict(int)
    for found in intact_records(folder, set(keys.values())):
        path = paths.get(found.file, found.path)
        if keys.get(path) == (found.code, found.file):
            wanted[path].append(found)
        else:
            stale[path] += 1
    finished = {}
    for record in records:
        rows = sorted(wanted[record.path], key=lambda r: (r.start, -r.stop))
        used, _, _ = tile(rows, record.expected)
        finished[record.path] = Finished(sum(r.entries for r in used), stale[record.path])
    return finished


def missing_fields(
    processor: ProcessorABC, records: Sequence[FileRecord], catalogue: Catalogue
) -> dict[str, InputError]:
    """What files lack that the processor declares, by path."""
    samples = {sample.name: sample for sample in catalogue.samples}
    problems: dict[str, InputError] = {}
    for record in records:
        try:
            check_fields(
                declared_fields(processor, samples[record.sample]),
                record.branches,
                path=record.path,
                tree=record.tree,
                processor=type(processor).__name__,
                misfits=record.misfits,
            )
        except InputError as error:
            problems[record.path] = error
    return problems
