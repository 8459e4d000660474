"""Results of finished chunks on disk, so that a run can stop at any moment and go on.

Every process appends to data files of its own (``*.data``) and, once a result is wholly written,
a line to the index next to it (``*.index``). A result counts only from the moment its index line
is complete, with checksums of the line and of the data, so nobody ever reads half of one. Nothing
is changed in place, and a finished file's chunks are replaced by one merged record. A run checks
what it finds before it relies on it: damaged results are computed again.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from alp_coffea.errors import ConfigurationError, IncompleteRunError, UnreadableFileError
from alp_coffea.files import atomic

#: Chunks' data files are closed at this size, so that they can be removed one by one.
SEGMENT_BYTES: Final = 32_000_000

#: Waiting times before each attempt to read [s]: other machines may see new data late.
_PAUSES: Final = (0.0, 0.3, 1.0, 3.0)

#: Data files that are checked at the same time: network filesystems answer slowly.
_READERS: Final = 8

#: ``chunk``: part of a file. ``file``: all entries of a file. ``group``: several files, temporary.
Kind = Literal["chunk", "file", "group"]


class Record(NamedTuple):
    """Where the result of some entries of a file is, and what it accounts for.

    ``entries`` is their number; a group's ``start`` and ``stop`` mean nothing.
    """

    code: str
    file: str
    start: int
    stop: int
    entries: int
    selected: int | None
    segment: str
    offset: int
    length: int
    crc: int
    path: str


class Writer:
    """Appends results to files of this process.

    Raises ConfigurationError if the folder is not the one the run was started with, which is
    what a worker without the shared filesystem sees, and IncompleteRunError if it cannot write.
    """

    def __init__(self, folder: Path, run: str) -> None:
        if not (folder / run).is_file():
            raise ConfigurationError(
                f"worker {os.getpid()} on {socket.gethostname()} cannot see the run's folder "
                f"{folder}; workers need the output folder on a filesystem that they share with "
                "the submitting machine. Choose another output folder"
            )
        self._folder = folder
        self._lock = threading.Lock()
        self._segments: dict[Kind, _Segment] = {}

    def append(
        self, kind: Kind, data: bytes, *, code: str, file: str, start: int, stop: int, entries: int,
        selected: int | None, path: str,
    ) -> Record:  # fmt: skip
        """Keep one result; it is there for good when this returns."""
        with self._lock:
            try:
                segment = self._segments.get(kind)
                if segment is None:
                    segment = self._segments[kind] = _Segment(self._folder, kind)
                record = Record(
                    code, file, start, stop, entries, selected,
                    segment.name, segment.size, len(data), zlib.crc32(data), path,
                )  # fmt: skip
                segment.append(data, b"" if kind == "group" else _line(record))
            except OSError as error:
                # what was half written must not be continued
                self._segments.pop(kind, None)
                raise IncompleteRunError(
                    f"{self._folder} cannot be written: {error.strerror or error}. Make room and "
                    "run the same command again: what is finished is kept"
                ) from error
            if segment.size > SEGMENT_BYTES:
                del self._segments[kind]
        return record


class _Segment:
    """One data file with its index.

    Both are closed after each result: on network filesystems others see it only then.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.name = f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.size = 0
        self._data = folder / f"{self.name}.data"
        self._index = folder / f"{self.name}.index"

    def append(self, data: bytes, line: bytes) -> None:
        with self._data.open("ab", buffering=0) as stream:
            _write(stream.fileno(), data)
        self.size += len(data)
        with self._index.open("ab", buffering=0) as stream:
            _write(stream.fileno(), line)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@lru_cache(maxsize=8)
def writer(folder: Path, run: str) -> Writer:
    """The one writer of this process for a run."""
    return Writer(folder, run)


def read(folder: Path, record: Record) -> bytes:
    """The data of a record. Raises UnreadableFileError if they are damaged or gone."""
    path = folder / f"{record.segment}.data"
    problem = ""
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            with path.open("rb") as stream:
                data = os.pread(stream.fileno(), record.length, record.offset)
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
            continue
        if len(data) == record.length and zlib.crc32(data) == record.crc:
            return data
        problem = f"is damaged at byte {record.offset}"
    raise UnreadableFileError(
        f"checkpoint {path} {problem} (entries {record.start} to {record.stop} of {record.path}). "
        "Run the same command again: what is damaged is computed again"
    )


class Store:
    """The submitting process's view of a checkpoint folder; one run at a time.

    Parameters
    ----------
    folder
        Made if missing.
    fresh
        Forget everything that is there.
    keys
        Code and file digests of every file of this run, by path.
    """

    def __init__(self, folder: Path, *, fresh: bool, keys: Mapping[str, tuple[str, str]]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigurationError(
                f"{folder} is in use by another run; wait for it or choose another output folder"
            ) from error
        #: Name of the file by which workers recognise the folder.
        self.run = f"run-{uuid.uuid4().hex}"
        for old in folder.glob("run-*"):
            old.unlink(missing_ok=True)
        self._remove(self._segments("" if fresh else "group-"))
        (folder / self.run).touch()
        self._records: dict[tuple[str, str], list[Record]] = defaultdict(list)
        #: Results of other versions of this run's code, options or files, and damaged ones.
        self.stale = 0
        #: What is damaged, in words, by data file.
        self.damaged: list[str] = []
        #: Records of each data file that are still wanted, of all that it has.
        self._live: dict[str, int] = defaultdict(int)
        self._load(keys)

    def _load(self, keys: Mapping[str, tuple[str, str]]) -> None:
        current = set(keys.values())
        files = {file for _, file in current}
        indices = sorted(self.folder.glob("*.index"))
        with ThreadPoolExecutor(_READERS) as pool:
            for index, found in zip(
                indices, pool.map(partial(_check, current=current), indices), strict=True
            ):
                if found.problems:
                    self._repair(index, found)
                for record in found.records:
                    key = (record.code, record.file)
                    if key in current:
                        self._records[key].append(record)
                    elif record.file in files or record.path in keys:
                        self.stale += 1
                        continue
                    self._live[record.segment] += 1

    def _repair(self, index: Path, found: _Found) -> None:
        """Say what is damaged, and forget it."""
        self.stale += len(found.problems)
        many = f"{len(found.problems)} results, the first: " if len(found.problems) > 1 else ""
        self.damaged.append(
            f"checkpoint {index.with_suffix('.data')} is damaged ({many}{found.problems[0]}): "
            "what is missing is computed again"
        )
        if found.records:
            # if this cannot be written now, the next run says the same again
            with suppress(OSError), atomic(index) as temporary:
                temporary.write_bytes(b"".join(map(_line, found.records)))

    def records(self, code: str, file: str) -> list[Record]:
        """What is there of one file, by first entry, the longest first."""
        return sorted(self._records.get((code, file), ()), key=lambda r: (r.start, -r.stop))

    def add(self, record: Record) -> None:
        """Count a record that a worker has just written as wanted."""
        self._live[record.segment] += 1

    def drop(self, records: Iterable[Record]) -> None:
        """Forget records; data files without a wanted one are removed once they are closed."""
        for record in records:
            self._live[record.segment] -= 1
            segment = self.folder / f"{record.segment}.data"
            if not self._live[record.segment] and _size(segment) > SEGMENT_BYTES:
                self._remove([record.segment])

    def finish(self) -> None:
        """Remove every data file that holds nothing wanted; only while no worker is writing."""
        self._remove(name for name in self._segments() if self._live.get(name, 0) <= 0)

    def close(self) -> None:
        """Let the next run in."""
        (self.folder / self.run).unlink(missing_ok=True)
        self._lock.close()

    def _segments(self, prefix: str = "") -> set[str]:
        """Names of all data files, also of those that have vanished and left their index."""
        files = (self.folder.glob(f"{prefix}*{suffix}") for suffix in (".data", ".index"))
        return {path.stem for found in files for path in found}

    def _remove(self, segments: Iterable[str]) -> None:
        for segment in list(segments):
            # the index first: without it the data are nothing
            (self.folder / f"{segment}.index").unlink(missing_ok=True)
            (self.folder / f"{segment}.data").unlink(missing_ok=True)


def intact_records(folder: Path, current: Container[tuple[str, str]]) -> Iterator[Record]:
    """The results in a folder that can be relied on, changing nothing.

    The data of those with ``current`` code and file digests are read to be sure.
    """
    for index in sorted(folder.glob("*.index")):
        yield from _check(index, current).records


class _Found(NamedTuple):
    """Records of an index that can be relied on, and what is wrong with the others."""

    records: list[Record]
    problems: list[str]


def _check(index: Path, current: Container[tuple[str, str]]) -> _Found:
    """Read an index, and the data of those records that this run wants."""
    found = _Found([], [])
    try:
        lines = index.read_bytes().splitlines()
    except OSError as error:
        return _Found([], [f"its index cannot be read: {error.strerror}"])
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is None:
            found.problems.append(f"line {number} of its index makes no sense")
        elif (record.code, record.file) in current and not _intact(index, record):
            found.problems.append(f"entries {record.start} to {record.stop} of {record.path}")
        else:
            found.records.append(record)
    return found


def _intact(index: Path, record: Record) -> bool:
    try:
        with index.with_suffix(".data").open("rb") as stream:
            data = os.pread(stream.fileno(), record.length, record.offset)
    except OSError:
        return False
    return len(data) == record.length and zlib.crc32(data) == record.crc


def _line(record: Record) -> bytes:
    """A line of the index: the record and a checksum of it."""
    text = json.dumps(record).encode()
    return b"%s %08x\n" % (text, zlib.crc32(text))


def _parse(line: bytes) -> Record | None:
    text, _, checksum = line.rpartition(b" ")
    try:
        return Record(*json.loads(text)) if checksum == b"%08x" % zlib.crc32(text) else None
    except (ValueError, TypeError):  # half a line, from a process killed while writing it
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
