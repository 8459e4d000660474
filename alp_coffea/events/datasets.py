"""From a catalogue to readable files: globs, conversion, entry counts and identities.

Every file is opened once, on its own, before anything runs: what it holds is counted
independently of what is processed later, so that a loss cannot hide.
"""

from __future__ import annotations

import glob
import hashlib
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

import fsspec

from alp_coffea.catalogue_config import Catalogue, Sample
from alp_coffea.errors import (
    ConfigurationError,
    EmptyFileError,
    InputError,
    MissingFileError,
    UnreadableFileError,
    WrongTypeError,
    suggest,
)
from alp_coffea.events.conversion.conversion_cache import (
    ForEach,
    canonical_files,
    friend_groups,
    is_foreign,
)
from alp_coffea.events.conversion.convert import (
    ConversionReport,
    count_events,
    foresee,
    read_report,
)
from alp_coffea.events.opening import (
    CANONICAL_PREFIXES,
    TreeInfo,
    file_identity,
    file_size,
    open_parquet,
    open_root,
    open_tree,
    parquet_columns,
    readable,
    tree_info,
)

#: ``blinded``: data that are counted but not processed. ``left_out``: not opened, by a limit.
Status = Literal["pending", "done", "partial", "blinded", "left_out", "unusable"]
#: How the number of entries is known: from the file itself, from the list of the catalogue, from
#: an earlier run, or not.
Counted = Literal["", "file", "list", "earlier run"]

_PARQUET: Final = (".parquet", ".pq")
_HINT: Final = "(--allow-missing goes on without it)"


@dataclass
class FileRecord:
    """One line of the ledger: what a file should give and what it gave.

    ``expected`` entries were counted when the file was first opened; ``read`` and ``selected``
    are filled while processing (``selected`` stays None for processors that do not report it).
    ``conversion`` tells what a file in another layout was made of, ``path`` being the converted
    one. ``misfits`` are branches of a collection that hold no list of numbers, by type. ``runs``
    are entries by (experiment, run), once the identities were read. ``unread`` are ranges of
    entries that were not processed, ``unread_runs`` the same by run.
    """

    sample: str
    path: str
    tree: str
    size: int = 0
    identity: str = ""
    expected: int = 0
    read: int = 0
    selected: int | None = None
    status: Status = "pending"
    reason: str = ""
    counted: Counted = ""
    conversion: dict[str, Any] | None = None
    branches: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    misfits: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    runs: dict[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)
    unread: list[tuple[int, int]] = field(default_factory=list, repr=False, compare=False)
    unread_runs: dict[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The ledger line as plain data, without branches and runs."""
        hidden = ("branches", "misfits", "runs", "unread", "unread_runs")
        names = [item.name for item in fields(self) if item.name not in hidden]
        return {name: getattr(self, name) for name in names}

    @property
    def is_parquet(self) -> bool:
        """Whether the file is parquet, judged by its ending."""
        return self.path.endswith(_PARQUET)

    @property
    def known(self) -> bool:
        """Whether the number of entries that the file should give is known."""
        return self.expected > 0 or self.counted != ""

    @property
    def source(self) -> str:
        """The file of the catalogue, also where it was converted."""
        return self.path if self.conversion is None else str(self.conversion["sources"][0]["path"])


def open_catalogue(
    catalogue: Catalogue,
    *,
    allow_missing: bool = False,
    limit_files: int | None = None,
    cache: Path | None = None,
    convert: bool = True,
    for_each: ForEach | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileRecord]:
    """Open every file of a catalogue once; count entries and take its identity.

    Files come sorted by sample (the catalogue's order) and path. With ``allow_missing`` a file
    that cannot be used gets status ``unusable`` and its reason; otherwise the first one raises.

    Parameters
    ----------
    limit_files
        Files to open per sample; the others are ``left_out``.
    cache
        Folder for what files in basf2's own layouts are converted to.
    convert
        False, or None for the cache, leaves such files as they are, with a reason that says so,
        unless the cache has them already. Their branches are those that they would get.
    for_each, progress
        Where files are converted, see ``canonical_files``, and a callback for (files converted,
        files to convert).

    Raises
    ------
    MissingFileError, UnreadableFileError, MissingTreeError, EmptyFileError
        Naming file and tree.
    ConfigurationError
        When one file, or a copy of it, is listed twice, or a simulated sample has more events
        than were generated.
    """
    records: list[FileRecord] = []
    for sample in catalogue.samples:
        found = _resolve(sample, allow_missing)
        for record in found[limit_files:] if limit_files else ():
            record.status, record.reason = "left_out", "left out by the limit on files"
        records += found
    _refuse_repeated_paths(records)
    with ThreadPoolExecutor(max_workers=8) as pool:  # opening is waiting, mostly
        failures = list(pool.map(_open_or_error, records))
    if cache is not None and convert:
        _convert(catalogue, records, failures, cache, for_each, progress)
    else:
        _foresee(catalogue, records, failures, cache)
    _check_friends(catalogue, records)
    for record, failure in zip(records, failures, strict=True):
        if failure is not None:
            if not allow_missing:
                raise failure
            record.status, record.reason = "unusable", str(failure)
    _refuse_copies(records)
    _check_generated(catalogue, records)
    return records


# --- which files -------------------------------------------------------------------------------


def _resolve(sample: Sample, allow_missing: bool) -> list[FileRecord]:
    records = []
    for pattern in sample.files:
        try:
            paths = _matches(pattern)
        except InputError as error:
            problem = f"sample '{sample.name}': {error}"
            if not allow_missing:
                raise type(error)(f"{problem} {_HINT}") from error
            paths = []
        else:
            folder = Path(pattern).parent
            near = (
                ""
                if "://" in pattern
                else suggest(Path(pattern).name, [p.name for p in folder.glob("*")])
            )
            problem = f"sample '{sample.name}': no file matches '{pattern}'{near}"
            if not paths and not allow_missing:
                raise MissingFileError(
                    f"{problem}. Check the path in the catalogue (globs are relative to it) {_HINT}"
                )
        if not paths:
            records.append(
                FileRecord(sample.name, pattern, sample.tree, status="unusable", reason=problem)
            )
        records += [FileRecord(sample.name, path, sample.tree) for path in paths]
    return records


def _matches(pattern: str) -> list[str]:
    if "://" not in pattern:
        # pathlib cannot glob an absolute pattern
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    if not glob.has_magic(pattern):
        return [pattern]
    with readable(pattern):
        system, path = fsspec.core.url_to_fs(pattern)
        return sorted(system.unstrip_protocol(name) for name in system.glob(path))


def _refuse_repeated_paths(records: Iterable[FileRecord]) -> None:
    seen: dict[str, FileRecord] = {}
    for record in records:
        key = record.path if "://" in record.path else str(Path(record.path).resolve())
        if key in seen:
            raise ConfigurationError(
                f"{record.path} is listed for sample '{seen[key].sample}' and again for "
                f"'{record.sample}'; its events would count twice. Remove one"
            )
        seen[key] = record


def _refuse_copies(records: Iterable[FileRecord]) -> None:
    """The same content under two names, in one sample or two."""
    seen: dict[tuple[str, str], FileRecord] = {}
    for record in records:
        if not record.identity or record.status != "pending":
            continue
        other = seen.setdefault((record.identity, record.tree), record)
        if other is not record:
            raise ConfigurationError(
                f"{record.source} (sample '{record.sample}') is a copy of {other.source} "
                f"(sample '{other.sample}', identity {record.identity}); its events would count "
                "twice. Remove one"
            )


def _check_friends(catalogue: Catalogue, records: Sequence[FileRecord]) -> None:
    """Friends hold lists that are joined in a conversion, which canonical files do not need."""
    with_friends = {sample.name for sample in catalogue.samples if sample.friends}
    for record in records:
        canonical = any(branch.startswith(CANONICAL_PREFIXES) for branch in record.branches)
        if record.sample in with_friends and canonical and record.path == record.source:
            if record.reason:  # to be converted
                continue
            raise ConfigurationError(
                f"sample '{record.sample}': {record.path} has the canonical layout, which holds "
                "all collections, so its 'friends' would not be read. Leave 'friends' out"
            )


def _check_generated(catalogue: Catalogue, records: Sequence[FileRecord]) -> None:
    for sample in catalogue.samples:
        entries = sum(record.expected for record in records if record.sample == sample.name)
        if sample.generated_events is not None and entries > sample.generated_events:
            raise ConfigurationError(
                f"sample '{sample.name}': its files have {entries} events, but 'generated_events' "
                f"is {sample.generated_events}. Correct it: the luminosity follows from it"
            )


# --- opening -----------------------------------------------------------------------------------


def _open_or_error(record: FileRecord) -> InputError | None:
    if record.status == "unusable":
        return MissingFileError(record.reason)
    if record.status == "left_out":
        return None
    try:
        if record.is_parquet:
            _open_parquet(record)
        else:
            _open_root(record)
        if record.expected == 0:
            raise EmptyFileError(
                f"{record.path}: tree '{record.tree}' has no entries; remove the file from the "
                "catalogue"
            )
    except InputError as error:
        return _named(error, record.sample)
    return None


def _open_root(record: FileRecord) -> None:
    with open_root(record.path) as file:
        record.size = file_size(record.path)
        end = int(file.file.fEND)  # where the header says that the file ends
        if 0 < record.size < end:
            raise UnreadableFileError(
                f"{record.path} is truncated: {record.size} of {end} bytes are there; copy it again"
            )
        tree = open_tree(file, record.tree, record.path)
        _take_columns(record, tree_info(tree, record.tree, record.path))
        record.identity = file_identity(file, record.path)


def _open_parquet(record: FileRecord) -> None:
    with open_parquet(record.path) as file:
        info = parquet_columns(file, Path(record.path).name)
        _take_columns(record, info)
        for name in (*info.names("string"), *info.names("other")):
            # coffea cannot make events of a file with such a column, wanted or not
            raise WrongTypeError(
                f"{record.path}: column '{name}' is '{info.columns[name].type}'; columns must be "
                "numbers or lists of numbers. Write the file without it"
            )
        metadata = file.metadata.metadata or {}
        digest = metadata.get(b"content_digest", b"").decode()
        # parquet has no identifier of its own; its footer describes every column chunk
        record.identity = (
            digest or hashlib.sha256(str(file.metadata.to_dict()).encode()).hexdigest()
        )
        record.size = file_size(record.path)


def _take_columns(record: FileRecord, info: TreeInfo) -> None:
    record.branches = frozenset(info.columns)
    record.misfits = {
        name: column.type
        for name, column in info.columns.items()
        if name.startswith(CANONICAL_PREFIXES) and column.kind != "jagged"
    }
    record.expected, record.counted = info.entries, "file"


# --- other layouts -----------------------------------------------------------------------------


def _convert(
    catalogue: Catalogue,
    records: list[FileRecord],
    failures: list[InputError | None],
    cache: Path,
    for_each: ForEach | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Replace files in basf2's own layouts by what they are converted to."""
    for sample in catalogue.samples:
        foreign = _not_canonical(records, sample)
        if not foreign:
            continue
        groups = friend_groups([records[number].path for number in foreign], sample.friends)
        converted = canonical_files(
            groups, cache, sample.conversion, for_each=for_each, progress=progress
        )
        for number, result in zip(foreign, converted, strict=True):
            record = records[number]
            if isinstance(result.error, InputError):
                failures[number] = _named(result.error, sample.name)
                _count_unconverted(record, sample)
            elif result.error is not None:  # settings that fit no file
                raise ConfigurationError(f"sample '{sample.name}': {result.error}")
            elif result.report is not None:
                failures[number] = _take_converted(record, result.path, result.report)


def _not_canonical(records: Sequence[FileRecord], sample: Sample) -> list[int]:
    """Which files of a sample may be in one of basf2's own layouts."""
    return [
        number
        for number, record in enumerate(records)
        if record.sample == sample.name
        and record.status == "pending"
        and not record.is_parquet
        and not any(branch.startswith(CANONICAL_PREFIXES) for branch in record.branches)
    ]


def _take_converted(record: FileRecord, path: str, report: ConversionReport) -> InputError | None:
    record.path = path
    failure = _open_or_error(record)
    record.conversion = report.to_json()
    del record.conversion["columns"], record.conversion["unused"]  # the converted file has them
    return failure


def _foresee(
    catalogue: Catalogue,
    records: list[FileRecord],
    failures: list[InputError | None],
    cache: Path | None,
) -> None:
    """Say of files in basf2's own layouts what they will be, and take those already converted."""
    for sample in catalogue.samples:
        foreign = [n for n in _not_canonical(records, sample) if _is_foreign(records[n].path)]
        groups = friend_groups([records[number].path for number in foreign], sample.friends)
        for number, group in zip(foreign, groups, strict=True):
            record, failures[number] = records[number], None
            try:
                target, branches = foresee(group, cache or Path(), sample.conversion)
            except InputError as error:
                failures[number] = _named(error, sample.name)
                _count_unconverted(record, sample)
                continue
            except ConfigurationError as error:
                raise ConfigurationError(f"sample '{sample.name}': {error}") from error
            if cache is not None and target.is_file():
                failures[number] = _take_converted(record, str(target), read_report(target))
                continue
            _count_unconverted(record, sample)
            record.reason = "in basf2's own layout: to be converted"
            record.branches, record.misfits = branches, {}


def _count_unconverted(record: FileRecord, sample: Sample) -> None:
    """What a file that cannot be converted should have given: identities are often intact."""
    record.expected, record.counted = 0, ""
    try:
        record.runs = count_events(record.path, sample.conversion)
    except (InputError, ConfigurationError):
        return
    record.expected, record.counted = sum(record.runs.values()), "file"


def _is_foreign(path: str) -> bool:
    try:
        return is_foreign(path)
    except InputError:  # named when it was opened
        return False


def _named(error: InputError, sample: str) -> InputError:
    return type(error)(f"sample '{sample}': {error} {_HINT}")


# --- coverage ----------------------------------------------------------------------------------


def read_fraction(record: FileRecord) -> float:
    """Share of a file's entries that was read; 1 for blinded data, which could be."""
    if record.status == "blinded":
        return 1.0
    return record.read / record.expected if record.expected else 0.0


def covered_fraction(records: Sequence[FileRecord], sample: str) -> float:
    """Share of a sample's entries that was read; unusable files count as wholly lost.

    Files whose entries are not known are taken to be as large as the sample's mean file, see
    :func:`covered_uncertainty`.
    """
    rows = [record for record in records if record.sample == sample]
    counted = [record.expected for record in rows if record.expected > 0]
    if not counted:
        return 0.0
    mean = sum(counted) / len(counted)
    expected = sum(record.expected if record.known else mean for record in rows)
    return sum(record.expected * read_fraction(record) for record in rows) / expected


def covered_uncertainty(records: Sequence[FileRecord], sample: str) -> float:
    """Relative uncertainty of :func:`covered_fraction`: 0 where every file was counted.

    From the spread of the sizes of the files that were counted, as large as their mean where
    there is only one of them.
    """
    rows = [record for record in records if record.sample == sample]
    unknown = sum(not record.known for record in rows)
    counted = [record.expected for record in rows if record.expected > 0]
    if not unknown or not counted:
        return 0.0
    mean = sum(counted) / len(counted)
    spread = statistics.stdev(counted) if len(counted) > 1 else mean
    # of the unknown sum, and of the mean that stands for it
    error = math.sqrt(unknown * spread**2 + (unknown * spread) ** 2 / len(counted))
    return error / (sum(counted) + unknown * mean)
