"""What runs on a worker: one chunk, or the merging of results that are already on disk.

Results stay on disk; what travels back to the submitting process is a small :class:`Record`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import awkward as ak
import cloudpickle
from coffea.processor import ProcessorABC, accumulate
from coffea.processor.executor import WorkItem

import alp_coffea
from alp_coffea.errors import (
    AlpCoffeaError,
    ConfigurationError,
    InputError,
    MissingFileError,
    ProcessorError,
    UnreadableFileError,
)
from alp_coffea.events.reading import Reading
from alp_coffea.execution import checkpoints
from alp_coffea.execution.checkpoints import Kind, Record
from alp_coffea.execution.chunks import describe, signature
from alp_coffea.execution.encoding import encode, unpacked
from alp_coffea.execution.fingerprints import installed

#: Waiting times before reading a chunk again [s]: storage has short failures.
PAUSES: Final = (0.2, 1.0)
#: Libraries in which an error means that the input cannot be read.
_READERS: Final = ("uproot", "pyarrow", "fsspec", "fsspec_xrootd", "XRootD")


class Shipped:
    """A function that travels to workers by value and is unpacked once in each of them.

    ``versions`` are those of installed packages that a worker must have, too. Calling it raises
    ConfigurationError if it has others, or lacks something that the function needs.
    """

    def __init__(
        self, function: Callable[[Any], Any], versions: Mapping[str, str | None] | None = None
    ) -> None:
        self.versions = {**(versions or {}), "alp_coffea": alp_coffea.__version__}
        self.code: bytes = cloudpickle.dumps(function)

    def __call__(self, argument: Any) -> Any:
        for name, version in self.versions.items():
            there = _installed_version(name)
            if there != version:
                raise ConfigurationError(
                    f"{_this_worker()} has {name} {there or '(none)'}, the submitting process "
                    f"{version}; install the same version in both environments"
                )
        try:
            function = _unpack(self.code)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"{_this_worker()} cannot load the processor: {type(error).__name__}: {error}. "
                "Libraries that it imports must be installed for the workers, too"
            ) from error
        return function(argument)


def _this_worker() -> str:
    return f"worker {os.getpid()} on {socket.gethostname()}"


@lru_cache(maxsize=64)
def _installed_version(name: str) -> str | None:
    if name == "alp_coffea":
        return alp_coffea.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=4)
def _unpack(code: bytes) -> Any:
    return cloudpickle.loads(code)


def call_packed(function: bytes, argument: bytes) -> Any:
    """Call a function with an argument, both as cloudpickle wrote them."""
    return _unpack(function)(cloudpickle.loads(argument))


class ChunkFunction:
    """What coffea's Runner calls with the events of a chunk: process, write down, report."""

    def __init__(
        self, processor: ProcessorABC, readings: Mapping[str, Reading], folder: Path, run: str
    ) -> None:
        self.processor = processor
        self.readings = readings
        self.folder = folder
        self.run = run

    def __call__(self, events: ak.Array) -> Record:
        metadata = events.metadata
        start, stop = metadata["entrystart"], metadata["entrystop"]
        if len(events) != stop - start:
            raise UnreadableFileError(f"only {len(events)} of {stop - start} entries are there")
        reading = self.readings[metadata["dataset"]]
        output = self.processor.process(reading(events, self.processor))
        if not isinstance(output, dict):
            raise ProcessorError(
                f"process() must return a dictionary keyed by sample, not {type(output).__name__}"
            )
        part = output.get(metadata["dataset"])
        selected = part.get("selected") if isinstance(part, dict) else None
        code, file, entries = metadata["checkpoint"]
        data = encode(output)
        check_unchanged(metadata["filename"], metadata["signature"])
        kind: Kind = "file" if stop - start == entries else "chunk"
        return checkpoints.writer(self.folder, self.run).append(
            kind, data, code=code, file=file, start=start, stop=stop, entries=stop - start,
            selected=None if selected is None else int(selected),
            path=metadata["filename"],
        )  # fmt: skip


def check_unchanged(path: str, before: tuple[int, int] | None) -> None:
    """Raise InputError if a file is not the one that the run was planned with."""
    if before is not None and signature(path) != tuple(before):
        raise InputError(
            f"{path} was replaced or changed while the run was reading it. Run again: what was "
            "read of the old file is recomputed"
        )


class Guarded:
    """A chunk's work with errors that say where, survive the way back, and short ones retried."""

    def __init__(self, function: Callable[[WorkItem], dict[str, Any]]) -> None:
        self.function = function

    def __call__(self, item: WorkItem) -> tuple[Record, int, int]:
        """Record of the chunk, bytes read from its file, and failed attempts."""
        pauses = PAUSES if (item.usermeta or {}).get("retry", True) else ()
        for attempt, pause in enumerate((*pauses, None)):
            try:
                result = self.function(item)
            except Exception as error:
                explained = explain(error, item)
                if pause is None or not isinstance(explained, UnreadableFileError):
                    raise explained from error
                time.sleep(pause)
                continue
            # coffea's events hold their columns in reference cycles: without this a worker grows
            # by some 40 MB per chunk until Python happens to look
            gc.collect(1)
            return result["out"], result["metrics"].get("bytesread", 0), attempt
        raise AssertionError  # the last attempt returns or raises


class Merge:
    """Merges results in the given order into one record, holding two of them at a time."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self.run = run

    def __call__(self, work: tuple[Kind, Sequence[Record]]) -> Record:
        kind, records = work
        first = records[0]
        counts = [record.selected for record in records if record.selected is not None]
        return checkpoints.writer(self.folder, self.run).append(
            kind, encode(merge(self.folder, records)), code=first.code, file=first.file,
            start=first.start, stop=records[-1].stop, entries=sum(r.entries for r in records),
            selected=sum(counts) if counts else None,
            path=first.path,
        )  # fmt: skip


def merge(folder: Path, records: Iterable[Record], start: Any = None) -> Any:
    """Sum of the results of records, added to ``start`` (changed in place) if given.

    Its histograms are not put together yet, see :func:`~alp_coffea.execution.encoding.unpacked`.
    """
    return accumulate((unpacked(checkpoints.read(folder, record)) for record in records), start)


def explain(error: BaseException, item: WorkItem) -> AlpCoffeaError:
    """What went wrong with a chunk, as one of our errors.

    The package's own error in the chain if there is one; MissingFileError, UnreadableFileError or
    InputError where the input is to blame; else ProcessorError with the user's line. Exceptions
    lose their cause when pickled, so what the user needs goes into the message.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, AlpCoffeaError):
            return type(link)(f"{link} [{describe(item)}]")
    root = chain[-1]
    frames = [frame for link in chain for frame in traceback.extract_tb(link.__traceback__)]
    # the deepest frame outside installed libraries is the line the user can act on
    own = [frame for frame in frames if not installed(frame.filename)]
    line = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    message = f"{describe(item)}: {type(root).__name__}{line}: {root}"
    reading = any(
        part in _READERS for f in frames if installed(f.filename) for part in Path(f.filename).parts
    )
    if not reading and not isinstance(root, OSError):
        return ProcessorError(message)
    try:
        check_unchanged(item.filename, (item.usermeta or {}).get("signature"))
    except UnreadableFileError as gone:
        return MissingFileError(f"{gone} [{describe(item)}]")
    except InputError as changed:
        return InputError(f"{changed} [{describe(item)}]")
    return UnreadableFileError(f"{message}. The file may be damaged; copy it again")
