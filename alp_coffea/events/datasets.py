"""From a catalogue to readable files: globs, entry counts, identities, and weights.

Every file is opened once, on its own, before anything runs: what it holds is counted
independently of what is processed later, so that a loss cannot hide.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow
import pyarrow.parquet
import uproot

from alp_coffea.config import Catalogue, Sample
from alp_coffea.errors import (
    ConfigurationError,
    EmptyFileError,
    InputError,
    MissingFileError,
    MissingTreeError,
    UnreadableFileError,
    suggest,
)

Status = Literal["pending", "done", "partial", "unusable"]


@dataclass
class FileRecord:
    """One line of the ledger: what a file should give and what it gave.

    ``expected`` entries were counted when the file was first opened; ``read`` and ``selected``
    are filled while processing (``selected`` stays None for processors that do not report it).
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
    branches: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The ledger line as plain data (branch names left out)."""
        row = asdict(self)
        del row["branches"]
        return row

    @property
    def is_parquet(self) -> bool:
        """Whether the file is parquet, judged by its ending."""
        return self.path.endswith((".parquet", ".pq"))


def open_catalogue(
    catalogue: Catalogue, *, allow_missing: bool = False, limit_files: int | None = None
) -> list[FileRecord]:
    """Open every file of a catalogue once; count entries and take its identity.

    Files come sorted by sample (the catalogue's order) and path. With ``allow_missing`` a file
    that cannot be used gets status ``unusable`` and its reason; otherwise the first one raises.

    Raises
    ------
    MissingFileError, UnreadableFileError, MissingTreeError, EmptyFileError
        Naming file and tree.
    ConfigurationError
        When one file is listed twice.
    """
    records: list[FileRecord] = []
    for sample in catalogue.samples:
        records += _resolve(sample, allow_missing)[:limit_files]
    _refuse_duplicates(records)
    with ThreadPoolExecutor(max_workers=8) as pool:  # opening is waiting, mostly
        failures = list(pool.map(_open_or_error, records))
    for record, failure in zip(records, failures, strict=True):
        if failure is not None:
            if not allow_missing:
                raise failure
            record.status, record.reason = "unusable", str(failure)
    return records


def _resolve(sample: Sample, allow_missing: bool) -> list[FileRecord]:
    records = []
    for pattern in sample.files:
        # pathlib cannot glob an absolute pattern
        local = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        paths = [pattern] if "://" in pattern else local
        if not paths:
            near = suggest(
                Path(pattern).name,
                [p.name for p in Path(pattern).parent.glob("*")],
            )
            problem = f"sample '{sample.name}': no file matches '{pattern}'{near}"
            if not allow_missing:
                raise MissingFileError(
                    f"{problem}. Check the path in the catalogue (globs are relative to it), "
                    "or pass --allow-missing to go on without it"
                )
            records.append(
                FileRecord(sample.name, pattern, sample.tree, status="unusable", reason=problem)
            )
        records += [FileRecord(sample.name, path, sample.tree) for path in paths]
    return records


def _refuse_duplicates(records: Iterable[FileRecord]) -> None:
    seen: dict[str, FileRecord] = {}
    for record in records:
        key = record.path if "://" in record.path else str(Path(record.path).resolve())
        if key in seen:
            raise ConfigurationError(
                f"{record.path} is listed for sample '{seen[key].sample}' and again for "
                f"'{record.sample}'; its events would count twice. Remove one"
            )
        seen[key] = record


def _open_or_error(record: FileRecord) -> InputError | None:
    if record.status == "unusable":
        return MissingFileError(record.reason)
    try:
        if record.is_parquet:
            _open_parquet(record)
        else:
            _open_root(record)
    except InputError as error:
        return error
    if record.expected == 0:
        return EmptyFileError(
            f"{record.path}: tree '{record.tree}' has no entries (sample '{record.sample}'). "
            "Remove the file from the catalogue, or pass --allow-missing"
        )
    return None


@contextmanager
def _readable(record: FileRecord) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{record.path}: no such file") from error
    except PermissionError as error:
        raise UnreadableFileError(f"{record.path}: permission denied") from error
    # decoding a damaged file can raise nearly anything: it is named and passed on
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise UnreadableFileError(
            f"{record.path} (sample '{record.sample}') cannot be read as "
            f"{'parquet' if record.is_parquet else 'ROOT'}: {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}. "
            "It may be truncated or not such a file; copy it again, or pass --allow-missing"
        ) from error


def _open_root(record: FileRecord) -> None:
    with _readable(record), uproot.open(record.path) as file:
        record.size = _size(record.path)
        end = file.file.fEND  # where the header says that the file ends
        if "://" not in record.path and record.size < end:
            raise UnreadableFileError(
                f"{record.path} (sample '{record.sample}') is truncated: {record.size} of {end} "
                "bytes are there. Copy it again, or pass --allow-missing"
            )
        trees = file.keys(recursive=True, cycle=False, filter_classname=["TTree", "ROOT::RNTuple"])
        if record.tree not in trees:
            found = ", ".join(sorted(set(trees))) or "no tree at all"
            raise MissingTreeError(
                f"{record.path}: no tree '{record.tree}'{suggest(record.tree, trees)} "
                f"(sample '{record.sample}'). The file has: {found}. Set 'tree' of the sample"
            )
        tree = file[record.tree]
        record.branches = frozenset(tree.keys(recursive=False))
        record.expected = int(tree.num_entries)
        keys = file.keys(recursive=False, cycle=False)
        digest = str(file["content_digest"]) if "content_digest" in keys else ""
        record.identity = digest or str(file.file.uuid)


def _open_parquet(record: FileRecord) -> None:
    with _readable(record), pyarrow.parquet.ParquetFile(record.path) as file:
        record.branches = frozenset(file.schema_arrow.names)
        record.expected = file.metadata.num_rows
        metadata = file.metadata.metadata or {}
        digest = metadata.get(b"content_digest", b"").decode()
        # parquet has no identifier of its own; its footer describes every column chunk
        record.identity = (
            digest or hashlib.sha256(str(file.metadata.to_dict()).encode()).hexdigest()
        )
        record.size = _size(record.path)


def _size(path: str) -> int:
    return 0 if "://" in path else Path(path).stat().st_size


def covered_fraction(records: Sequence[FileRecord], sample: str) -> float:
    """Share of a sample's entries that was read; unusable files count as wholly lost.

    Files that could not even be counted are taken to be as large as the sample's mean file.
    """
    rows = [record for record in records if record.sample == sample]
    counted = [record.expected for record in rows if record.expected > 0]
    if not counted:
        return 0.0
    mean = sum(counted) / len(counted)
    expected = sum(record.expected or mean for record in rows)
    return sum(record.read for record in rows) / expected
