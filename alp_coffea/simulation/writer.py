"""Writing tables to files, batch by batch, with a digest of their content.

The digest is a hash of the values branch by branch, so it depends neither on the batches nor on
the container; together with the generator information it is stored in the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from alp_coffea.simulation.columns import Table

#: name of the tree of a canonical file
TREE = "events"


class ContentDigest:
    """SHA-256 of the values of every branch, independent of the batches they come in."""

    def __init__(self) -> None:
        self._branches: dict[str, Any] = {}

    def update(self, table: Table) -> None:
        """Add the values of a batch."""
        for name, values in _branches(table):
            self._branches.setdefault(name, hashlib.sha256()).update(
                np.ascontiguousarray(values).data
            )

    def hexdigest(self) -> str:
        """Digest of everything so far."""
        combined = hashlib.sha256()
        for name in sorted(self._branches):
            combined.update(name.encode() + b"\0" + self._branches[name].digest())
        return combined.hexdigest()


def _branches(table: Table) -> list[tuple[str, NDArray[Any]]]:
    branches: list[tuple[str, NDArray[Any]]] = list(table.event.items())
    for prefix, fields in table.collections.items():
        branches.append((f"n_{prefix}", table.counts[prefix].astype(np.int32)))
        branches += [(f"{prefix}_{name}", values) for name, values in fields.items()]
    return branches


class RootTreeWriter:
    """A canonical TTree: one entry per event, jagged doubles, counters ``n_<prefix>``."""

    def __init__(self, path: Path) -> None:
        self._file = uproot.recreate(path, compression=uproot.ZSTD(1))
        self._tree: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, table: Table) -> None:
        """Append a batch; each batch becomes one basket per branch."""
        columns: dict[str, Any] = dict(table.event)
        for prefix, fields in table.collections.items():
            offsets = np.concatenate([[0], np.cumsum(table.counts[prefix])])
            index = ak.index.Index64(offsets)
            record = ak.contents.RecordArray(
                [ak.contents.NumpyArray(values) for values in fields.values()], list(fields)
            )
            columns[prefix] = ak.Array(ak.contents.ListOffsetArray(index, record))
        if self._tree is None:
            types = {name: values.dtype for name, values in table.event.items()}
            types |= {name: columns[name].type.content for name in table.collections}
            self._tree = self._file.mktree(
                TREE,
                types,
                counter_name=lambda counted: f"n_{counted}",
                field_name=lambda outer, inner: inner if outer == "" else f"{outer}_{inner}",
            )
        self._tree.extend(columns)

    def finish(self, metadata: Mapping[str, Any], digest: str) -> None:
        """Store the generator information and the content digest beside the tree."""
        self._file["simulation"] = json.dumps(metadata, sort_keys=True)
        self._file["content_digest"] = digest
