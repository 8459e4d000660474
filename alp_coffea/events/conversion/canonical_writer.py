"""Writing canonical events to parquet, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from alp_coffea.errors import PhysicsError
from alp_coffea.events.conversion.joining import IDENTITY, Identity

Array = NDArray[np.float64]

#: Branch prefix of each collection (as in ``events.schema``).
PREFIXES: Final = {"Photon": "gamma_", "Track": "track_", "Truth": "mc_"}
#: Branches of the event identity, which every canonical file has.
IDENTITY_BRANCHES: Final = tuple(f"__{name}__" for name in IDENTITY)
CONVERSION_KEY: Final = b"alp_coffea_conversion"
#: What basf2 wrote for "missing" in some old releases.
_OLD_MISSING: Final = -999.0

_ITEM: Final = pa.field("item", pa.float64(), nullable=False)
# coffea reads nullable columns as option types, which cost time in every operation
# awkward has no sort kernel for the 32-bit offsets of pa.list_
_LIST: Final = pa.large_list(_ITEM)


@dataclass(frozen=True)
class Jagged:
    """Objects of a collection in a chunk: ``counts`` (n_events,) and flat columns by variable."""

    counts: NDArray[np.int64]
    columns: Mapping[str, Array]


class Writer:
    """A canonical parquet file; one row group per chunk.

    Values equal to ``missing_value`` become NaN and fields in ``degrees`` become rad on the way.
    """

    def __init__(
        self, path: Path, digest: str, missing_value: float | None, degrees: Sequence[str]
    ) -> None:
        self._path = path
        self._digest = digest
        self._missing = missing_value
        self._degrees = frozenset(degrees)
        self._writer: Any = None
        self._suspects: dict[str, int] = {}
        self._angles: dict[str, tuple[int, int]] = {}
        self.events = 0

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

    def write(
        self,
        identity: Identity,
        event: Mapping[str, Array],
        collections: Mapping[str, Jagged],
    ) -> None:
        """Append events. Every call must bring the same fields."""
        fields = [
            pa.field(name, pa.int64() if name == "__event__" else pa.int32(), nullable=False)
            for name in IDENTITY_BRANCHES
        ]
        arrays = [
            pa.array(column, type=item.type)
            for column, item in zip(identity.columns, fields, strict=True)
        ]
        for name, values in event.items():
            fields.append(pa.field(name, pa.float64(), nullable=False))
            arrays.append(pa.array(self._clean(name, values)))
        for collection, jagged in collections.items():
            offsets = np.zeros(len(jagged.counts) + 1, np.int64)
            np.cumsum(jagged.counts, out=offsets[1:])
            for variable, values in jagged.columns.items():
                fields.append(pa.field(PREFIXES[collection] + variable, _LIST, nullable=False))
                clean = self._clean(f"{collection}.{variable}", values)
                arrays.append(pa.LargeListArray.from_arrays(pa.array(offsets), clean, type=_LIST))
        schema = pa.schema(fields, metadata={"content_digest": self._digest})
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(
                self._path, schema, compression="zstd", use_dictionary=False
            )
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        self.events += len(identity)

    def finish(self, report: str) -> None:
        """Store the report beside the data."""
        self._writer.add_key_value_metadata({CONVERSION_KEY: report})

    def _clean(self, name: str, values: Array) -> Array:
        if self._missing is not None:
            values = np.where(values == self._missing, np.nan, values)
        elif missing := int(np.count_nonzero(values == _OLD_MISSING)):
            self._suspects[name] = self._suspects.get(name, 0) + missing
        if name in self._degrees:
            values = np.radians(values)
        if name.endswith((".phi", ".theta", ".clusterPhi", ".clusterTheta")):
            size = np.abs(values[np.isfinite(values) & (values != _OLD_MISSING)])
            beyond, total = self._angles.get(name, (0, 0))
            impossible = int(np.count_nonzero(size > 2 * math.pi))
            self._angles[name] = (beyond + impossible, total + size.size)
        return values

    def check_units(self, where: str) -> None:
        """Raise PhysicsError when an angle is mostly beyond 2 pi: then it is not in rad.

        A few impossible angles are bad elements, which the selection counts.
        """
        for name, (beyond, total) in self._angles.items():
            if total >= 10 and beyond > total / 2:
                raise PhysicsError(
                    f"{where}: {name} is beyond 2 pi for {beyond} of {total} values, so it is in "
                    f"degrees, not rad; name it in 'degrees' (degrees: [{name}])"
                )

    def notes(self) -> list[str]:
        """What was noticed about the values."""
        return [
            f"{name} is exactly -999 in {count} places, which old releases wrote for 'missing'; "
            "set missing_value: -999 to make it NaN"
            for name, count in sorted(self._suspects.items())
        ]
