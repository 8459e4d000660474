"""Which events the files hold: runs, and whether any event is there twice.

The identity columns of every file are read once, before anything is processed. Duplicates are
found exactly within a file, and among the files of a sample up to ``EXACT`` events; in larger
samples, files whose event numbers overlap in a run are taken for copies.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import uproot
from numpy.typing import NDArray

from alp_coffea.catalogue_config import Sample
from alp_coffea.errors import (
    AlpCoffeaError,
    DuplicateEventError,
    MissingFieldError,
    UnreadableFileError,
    WrongTypeError,
)
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.identity import event_numbers
from alp_coffea.events.opening import open_parquet, readable

#: Events of a sample up to which duplicates are found exactly: their numbers take 0.8 GB.
EXACT: Final = 100_000_000
#: Entries read at a time.
STEP: Final = 1_000_000

#: (experiment, run, production)
RunKey = tuple[int, int, int]
Integers = NDArray[np.int64]

_COLUMNS: Final = ("__experiment__", "__run__", "__event__", "__production__")


@dataclass(frozen=True)
class IdentityCheck:
    """What reading the identities of all files told and cost.

    ``unchecked`` are entries whose identity is absent or cannot be read, with the reasons.
    """

    events: int
    exact: bool
    unchecked: int
    notes: tuple[str, ...]
    wall_seconds: float
    cpu_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "events": self.events,
            "exact": self.exact,
            "unchecked": self.unchecked,
            "notes": list(self.notes),
            "wall_seconds": round(self.wall_seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
        }


@dataclass
class _File:
    """Event numbers of a file by run: how many, from where to where, and all of them, sorted."""

    record: FileRecord
    counts: dict[RunKey, int] = field(default_factory=dict)
    ranges: dict[RunKey, tuple[int, int]] = field(default_factory=dict)
    numbers: dict[RunKey, NDArray[np.uint32]] = field(default_factory=dict)
    note: str = ""


def check_identities(
    records: Sequence[FileRecord],
    samples: Iterable[Sample],
    *,
    allow_missing: bool = False,
    workers: int = 4,
    exact_up_to: int = EXACT,
    progress: Callable[[int, int], None] | None = None,
) -> IdentityCheck:
    """Read the identity of every event: fills ``record.runs`` and refuses duplicates.

    Parameters
    ----------
    records
        Opened files; unusable ones are left out.
    allow_missing
        Go on where identities cannot be read; such entries stay unchecked.
    workers
        Threads.

    Raises
    ------
    DuplicateEventError
        Naming event and files, unless the sample has ``allow_duplicate_events``.
    UnreadableFileError
        Naming file, tree and branch.
    """
    wall, cpu = time.monotonic(), time.process_time()
    usable = [record for record in records if record.status == "pending"]
    allowed = {sample.name: sample.allow_duplicate_events for sample in samples}
    sizes: dict[str, int] = defaultdict(int)
    for record in usable:
        sizes[record.sample] += record.expected
    checked = unchecked = done = 0
    notes: list[str] = []
    by_sample: dict[str, list[_File]] = defaultdict(list)

    def examine(record: FileRecord) -> _File:
        refuse = not allowed[record.sample]
        exact = sizes[record.sample] <= exact_up_to
        return _examine(record, refuse, refuse and exact, allow_missing)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        for file in pool.map(examine, usable):
            record = file.record
            for (experiment, run, _), number in file.counts.items():
                key = (experiment, run)
                record.runs[key] = record.runs.get(key, 0) + number
            if not allowed[record.sample]:
                by_sample[record.sample].append(file)
            entries = sum(file.counts.values())
            checked += entries
            unchecked += record.expected - entries
            if file.note:
                notes.append(f"{record.path}: {file.note}")
            done += 1
            if progress is not None:
                progress(done, len(usable))
    for files in by_sample.values():
        _compare(files, exact=sizes[files[0].record.sample] <= exact_up_to)
    return IdentityCheck(
        events=checked,
        exact=all(size <= exact_up_to for size in sizes.values()),
        unchecked=unchecked,
        notes=tuple(notes),
        wall_seconds=time.monotonic() - wall,
        cpu_seconds=time.process_time() - cpu,
    )


def _examine(record: FileRecord, refuse: bool, keep: bool, allow_missing: bool) -> _File:
    """Read the identities of one file; refuse duplicates within it."""
    file = _File(record)
    missing = [name for name in _COLUMNS[:3] if name not in record.branches]
    if missing:
        file.note = f"no branch {', '.join(missing)}: duplicate events cannot be noticed"
        return file
    columns: list[str] = [name for name in _COLUMNS if name in record.branches]
    parts: list[list[Integers]] = []
    reader = _read_parquet if record.is_parquet else _read_root
    for part in reader(record, columns):
        if isinstance(part, AlpCoffeaError):
            if not allow_missing:
                raise part
            file.note = f"identity not read: {part}"
        else:
            parts.append(part)
    if not parts:
        return file
    experiment, run, event, *production = (np.concatenate(p) for p in zip(*parts, strict=True))
    event = event_numbers(event)
    if event.size and not 0 <= event.max() < 2**32:
        raise WrongTypeError(
            f"{record.path}: tree '{record.tree}', branch '__event__' holds {event.max()}; event "
            "numbers have 32 bits. Was another branch given this name?"
        )
    runs, groups = _grouped(experiment, run, production[0] if production else np.zeros_like(run))
    keys = (groups << 32) | event
    if not np.all(keys[1:] > keys[:-1]):
        keys.sort()
        if refuse:
            _refuse_repeated(record, runs, keys)
    edges = np.searchsorted(keys, np.arange(len(runs) + 1, dtype=np.int64) << 32)
    for name, start, stop in zip(runs, edges[:-1], edges[1:], strict=True):
        file.counts[name] = int(stop - start)
        file.ranges[name] = int(keys[start]) & 0xFFFFFFFF, int(keys[stop - 1]) & 0xFFFFFFFF
        if keep:
            file.numbers[name] = keys[start:stop].astype(np.uint32)  # the lower half
    return file


def _grouped(
    experiment: Integers, run: Integers, production: Integers
) -> tuple[list[RunKey], Integers]:
    """The runs that occur, and the index of each entry's (n,)."""
    # a run's events mostly stand together: only its first one is looked at
    same = np.ones(len(run), dtype=np.bool_)
    same[:1] = False
    for column in (experiment, run, production):
        same[1:] &= column[1:] == column[:-1]
    first = np.flatnonzero(~same)
    rows = np.stack([column[first] for column in (experiment, run, production)], axis=1)
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    lengths = np.diff(first, append=len(run))
    groups = np.repeat(inverse.reshape(-1).astype(np.int64), lengths)
    return [(int(e), int(r), int(p)) for e, r, p in unique], groups


def _refuse_repeated(record: FileRecord, runs: Sequence[RunKey], keys: Integers) -> None:
    repeated = keys[1:][keys[1:] == keys[:-1]]
    if repeated.size:
        name = _name(runs[int(repeated[0] >> 32)], int(repeated[0]) & 0xFFFFFFFF)
        raise DuplicateEventError(
            f"{record.path}: tree '{record.tree}' has {name} more than once, and "
            f"{repeated.size - 1} other repetitions (sample '{record.sample}'). Was the file "
            f"merged with itself? Produce it again, or {_REMEDY}"
        )


def _compare(files: Sequence[_File], *, exact: bool) -> None:
    """Refuse events that are in several files of a sample."""
    holders: dict[RunKey, list[_File]] = defaultdict(list)
    for file in files:
        for run in file.counts:
            holders[run].append(file)
    for run, sharing in holders.items():
        # by the first event of the run: neighbours that do not overlap share nothing
        sharing.sort(key=lambda file: file.ranges[run])
        last = sharing[0]
        overlap = False
        for file in sharing[1:]:
            if file.ranges[run][0] <= last.ranges[run][1]:
                overlap = True
                if not exact:
                    _refuse_overlap(run, last, file)
            if file.ranges[run][1] > last.ranges[run][1]:
                last = file
        if overlap:
            _refuse_shared(run, sharing)


def _refuse_shared(run: RunKey, files: Sequence[_File]) -> None:
    numbers = np.concatenate([file.numbers[run] for file in files])
    numbers.sort()
    shared = numbers[1:][numbers[1:] == numbers[:-1]]
    if shared.size:
        there = [file.record for file in files if np.isin(shared[0], file.numbers[run])]
        raise DuplicateEventError(
            f"sample '{there[0].sample}': {_name(run, int(shared[0]))} is in "
            f"{' and in '.join(record.path for record in there)}, as are {shared.size - 1} other "
            f"events of this run; they would count twice. Remove one of the files, or {_REMEDY}"
        )


def _refuse_overlap(run: RunKey, one: _File, other: _File) -> None:
    (a, b), (c, d) = one.ranges[run], other.ranges[run]
    raise DuplicateEventError(
        f"{one.record.path} has events {a} to {b} and {other.record.path} events {c} to {d} of "
        f"experiment {run[0]}, run {run[1]}, production {run[2]} (sample "
        f"'{one.record.sample}', too large to compare every event); they may hold the same "
        f"events. Remove one of the files, or {_REMEDY}"
    )


_REMEDY: Final = "set 'allow_duplicate_events: true' for the sample if they are different events"


def _name(run: RunKey, event: int) -> str:
    return f"event {event} of experiment {run[0]}, run {run[1]}, production {run[2]}"


def runs_in(
    record: FileRecord, ranges: Sequence[tuple[int, int]] | None = None
) -> dict[tuple[int, int], int]:
    """Entries by (experiment, run) of a file, or of some ranges of its entries.

    Raises UnreadableFileError or WrongTypeError, and MissingFieldError without these branches.
    """
    columns: list[str] = list(_COLUMNS[:2])
    missing = [name for name in columns if name not in record.branches]
    if missing:
        raise MissingFieldError(
            f"{record.path}: tree '{record.tree}' has no branch {', '.join(missing)}; luminosity "
            "by run needs them"
        )
    parts: list[list[Integers]] = []
    for part in (_read_parquet if record.is_parquet else _read_root)(record, columns):
        if isinstance(part, AlpCoffeaError):
            raise part
        parts.append(part)
    rows = np.stack([np.concatenate(column) for column in zip(*parts, strict=True)], axis=1)
    if ranges is not None:
        rows = np.concatenate([rows[:0], *(rows[start:stop] for start, stop in ranges)])
    runs, counts = np.unique(rows, axis=0, return_counts=True)
    return {(int(e), int(r)): int(n) for (e, r), n in zip(runs, counts, strict=True)}


def _read_root(record: FileRecord, columns: list[str]) -> Iterator[list[Integers] | AlpCoffeaError]:
    where = f"tree '{record.tree}', branches {', '.join(columns)}"
    with readable(record.path), uproot.open(record.path) as file:
        tree = file[record.tree]
        for start in range(0, record.expected, STEP):
            stop = min(start + STEP, record.expected)
            try:
                with readable(record.path, f"{where}, entries {start}-{stop}"):
                    arrays = tree.arrays(
                        filter_name=columns, entry_start=start, entry_stop=stop, library="np"
                    )
                yield _integers(record, [arrays[name] for name in columns], columns, stop - start)
            except UnreadableFileError as error:
                yield error


def _read_parquet(
    record: FileRecord, columns: list[str]
) -> Iterator[list[Integers] | AlpCoffeaError]:
    where = f"columns {', '.join(columns)}"
    with open_parquet(record.path) as file:
        for group in range(file.num_row_groups):
            try:
                with readable(record.path, f"{where}, row group {group}"):
                    table = file.read_row_group(group, columns=columns)
                    arrays = [table[name].to_numpy() for name in columns]
                yield _integers(record, arrays, columns, table.num_rows)
            except UnreadableFileError as error:
                yield error


def _integers(
    record: FileRecord, arrays: Sequence[NDArray[Any]], names: Sequence[str], entries: int
) -> list[Integers]:
    for name, array in zip(names, arrays, strict=True):
        where = f"{record.path}: tree '{record.tree}', branch '{name}'"
        if len(array) != entries:
            # uproot returns what it finds: a damaged header can make that too few
            raise UnreadableFileError(
                f"{where} gives {len(array)} of {entries} entries; the file is damaged, copy or "
                "produce it again"
            )
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise WrongTypeError(
                f"{where} is '{array.dtype}'; event identity needs one integer per entry"
            )
    return [array.astype(np.int64) for array in arrays]
