"""Canonical files: TTree, RNTuple or parquet, batch by batch, with a digest of their content.

The digest is a hash of the values branch by branch, so it depends neither on the batches nor on
the container; together with the generator information it is stored in the file: as strings
``content_digest`` and ``simulation`` beside the tree, or in the metadata of the parquet schema.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import uproot
from numpy.typing import NDArray

from alp_coffea.simulation.columns import Table

#: name of the tree of a canonical file
TREE = "events"


class Writer(Protocol):
    """What :func:`alp_coffea.simulation.write_sample` asks of a file format."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, table: Table) -> None:
        """Append a batch; every batch must have the same columns."""

    def finish(self, metadata: Mapping[str, Any], digest: str) -> None:
        """Store the generator information and the content digest."""


class ContentDigest:
    """SHA-256 of the values of every branch, independent of the batches they come in."""

    def __init__(self) -> None:
        self._branches: dict[str, Any] = {}

    def update(self, table: Table) -> None:
        """Add the values of a batch."""
        branches: list[tuple[str, NDArray[Any]]] = list(table.event.items())
        for prefix, fields in table.collections.items():
            branches.append((f"n_{prefix}", table.counts[prefix].astype(np.int32)))
            branches += [(f"{prefix}_{name}", values) for name, values in fields.items()]
        for name, values in branches:
            self._branches.setdefault(name, hashlib.sha256()).update(
                np.ascontiguousarray(values).data
            )

    def hexdigest(self) -> str:
        """Digest of everything so far."""
        combined = hashlib.sha256()
        for name in sorted(self._branches):
            combined.update(name.encode() + b"\0" + self._branches[name].digest())
        return combined.hexdigest()


def offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Starts and ends of lists of the given lengths, shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def records(fields: Mapping[str, NDArray[Any]], counts: NDArray[np.int64]) -> ak.Array:
    """Lists of records from flat fields."""
    record = ak.contents.RecordArray(
        [ak.contents.NumpyArray(values) for values in fields.values()], list(fields)
    )
    index = ak.index.Index64(offsets(counts))
    return ak.Array(ak.contents.ListOffsetArray(index, record))


class RootWriter(ABC):
    """A ROOT file open for writing; subclasses decide which trees it gets.

    Each batch becomes one basket or cluster. Compression is ZSTD-1, which writes doubles ten
    times faster than ZLIB-1 at the same size.
    """

    def __init__(self, path: Path) -> None:
        self.file = uproot.recreate(path, compression=uproot.ZSTD(1))
        self.trees: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()

    @abstractmethod
    def write(self, table: Table) -> None:
        """Append a batch."""

    def finish(self, metadata: Mapping[str, Any], digest: str) -> None:
        """Store the generator information and the content digest beside the trees."""
        self.file["simulation"] = json.dumps(metadata, sort_keys=True)
        self.file["content_digest"] = digest


class TreeWriter(RootWriter):
    """Canonical TTree: one entry per event, jagged doubles, counters ``n_<prefix>``."""

    def write(self, table: Table) -> None:
        """Append a batch."""
        columns: dict[str, Any] = dict(table.event)
        for prefix, fields in table.collections.items():
            columns[prefix] = records(fields, table.counts[prefix])
        if TREE not in self.trees:
            types = {name: values.dtype for name, values in table.event.items()}
            types |= {name: columns[name].type.content for name in table.collections}
            self.trees[TREE] = self.file.mktree(
                TREE,
                types,
                counter_name=lambda counted: f"n_{counted}",
                field_name=lambda outer, inner: inner if outer == "" else f"{outer}_{inner}",
            )
        self.trees[TREE].extend(columns)


class RNTupleWriter(RootWriter):
    """Canonical RNTuple: the same fields, every list with its own length."""

    def write(self, table: Table) -> None:
        """Append a batch."""
        columns: dict[str, Any] = dict(table.event)
        for prefix, fields in table.collections.items():
            index = ak.index.Index64(offsets(table.counts[prefix]))
            for name, values in fields.items():
                content = ak.contents.NumpyArray(np.ascontiguousarray(values))
                columns[f"{prefix}_{name}"] = ak.Array(ak.contents.ListOffsetArray(index, content))
        batch = ak.zip(columns, depth_limit=1)
        if TREE not in self.trees:
            self.trees[TREE] = self.file.mkrntuple(TREE, batch.layout.form)
        self.trees[TREE].extend(batch)


class ParquetWriter:
    """Canonical parquet: one row group per batch, no nulls, metadata in the schema."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: Table) -> None:
        """Append a batch."""
        columns = {name: pa.array(values) for name, values in table.event.items()}
        item = pa.field("item", pa.float64(), nullable=False)
        for prefix, fields in table.collections.items():
            starts = pa.array(offsets(table.counts[prefix]))
            for name, values in fields.items():
                # awkward has no sort kernel for the 32-bit offsets of an ordinary list
                columns[f"{prefix}_{name}"] = pa.LargeListArray.from_arrays(
                    starts, pa.array(np.ascontiguousarray(values)), type=pa.large_list(item)
                )
        schema = pa.schema(
            pa.field(name, values.type, nullable=False) for name, values in columns.items()
        )
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(
                self._path, schema, compression="zstd", compression_level=1, use_dictionary=False
            )
        self._writer.write_table(pa.Table.from_arrays(list(columns.values()), schema=schema))

    def finish(self, metadata: Mapping[str, Any], digest: str) -> None:
        """Store the generator information and the content digest in the file's metadata."""
        self._writer.add_key_value_metadata(
            {"simulation": json.dumps(metadata, sort_keys=True), "content_digest": digest}
        )
