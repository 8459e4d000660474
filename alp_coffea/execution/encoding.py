"""Results of chunks as bytes: JSON for the structure, raw buffers for the arrays.

Everything comes back exactly as it went in, with one exception: containers come back as plain
``dict``, ``set`` and ``list`` (a lambda in a ``defaultdict`` cannot be written down).

>>> decode(encode({"n": 3, "names": {"a", "b"}}))["n"]
3
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Set
from typing import Any, Final, Self

import boost_histogram
import hist
import numpy as np
from boost_histogram.serialization import from_uhi, to_uhi
from coffea.processor import column_accumulator, value_accumulator
from numpy.typing import NDArray

from alp_coffea.errors import ProcessorError
from alp_coffea.events.selection import Cutflow

#: Version of the format, part of every checkpoint key.
FORMAT: Final = 2
_LENGTH: Final = struct.Struct("<I")
#: A histogram's payload is mostly zeros; the fastest level already packs what is left well.
_LEVEL: Final = 1
#: Arrays of fewer bytes are never worth listing their non-zero elements.
_SMALL: Final = 1024
_HISTOGRAMS: Final[dict[str, Any]] = {
    "hist": hist.Hist,
    "named": hist.NamedHist,
    "boost": boost_histogram.Histogram,
}


def encode(value: Any) -> bytes:
    """Bytes of a processor's result.

    Raises ProcessorError, with the place inside the result, for a type that is not one of dict,
    set, list, tuple, number, string, numpy array, histogram, cutflow or coffea accumulator.
    """
    return zlib.compress(_pack(value, "result"), _LEVEL)


def _pack(value: Any, where: str) -> bytes:
    buffers: list[NDArray[Any]] = []
    structure = _Encoder(buffers).node(value, where)
    text = json.dumps(structure, separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(buffer.tobytes() for buffer in buffers)])


def decode(data: bytes) -> Any:
    """Inverse of :func:`encode`."""
    return restored(unpacked(data))


def unpacked(data: bytes) -> Any:
    """What was encoded, with a :class:`StoredHistogram` in place of each histogram.

    These add several times faster than histograms are made, and can be encoded again.
    """
    return _unpack(zlib.decompress(data))


def restored(value: Any) -> Any:
    """A result with every :class:`StoredHistogram` made a histogram."""
    if isinstance(value, StoredHistogram):
        return value.histogram()
    if isinstance(value, dict):
        return {key: restored(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(restored, value))
    return value


def _unpack(raw: bytes) -> Any:
    (length,) = _LENGTH.unpack_from(raw)
    start = _LENGTH.size + length
    return _Decoder(raw, start).node(json.loads(raw[_LENGTH.size : start]))


class StoredHistogram:
    """A histogram taken apart: what it looks like as bytes, and its bins with flow as arrays.

    ``known`` says whether the bins are their own variances, for storages without variances.
    """

    __slots__ = ("bins", "description", "known")

    def __init__(self, description: bytes, known: bool, bins: list[NDArray[Any]]) -> None:
        self.description = description
        self.known = known
        self.bins = bins

    @classmethod
    def of(cls, value: boost_histogram.Histogram, where: str = "histogram") -> StoredHistogram:
        """Take a histogram apart. Raises ProcessorError for a class that is not hist's."""
        for name, kind in _HISTOGRAMS.items():
            if type(value) is kind:
                view = np.asarray(value.view(flow=True))
                return cls(
                    _pack((name, to_uhi(value, keep_storage=False)), where),
                    value.__dict__.get("_variance_known", True),
                    [view[field] for field in view.dtype.names or ()] or [view],
                )
        raise ProcessorError(
            f"{where} is a {type(value).__qualname__}, which cannot be kept in a checkpoint; "
            "use hist.Hist"
        )

    def __add__(self, other: StoredHistogram) -> StoredHistogram:
        total = StoredHistogram(self.description, self.known, [array.copy() for array in self.bins])
        total += other
        return total

    def __iadd__(self, other: StoredHistogram) -> Self:
        # one array of counts, or sums of weights and of their squares; means do not simply add
        if self.description == other.description and len(self.bins) <= 2:
            for mine, its in zip(self.bins, other.bins, strict=True):
                mine += its
        else:
            total = StoredHistogram.of(self.histogram() + other.histogram())
            self.description, self.bins = total.description, total.bins
        self.known = self.known and other.known
        return self

    def histogram(self) -> boost_histogram.Histogram:
        """Put it together again."""
        name, uhi = _unpack(self.description)
        histogram = _HISTOGRAMS[name](from_uhi(uhi))
        histogram._variance_known = self.known
        if len(self.bins) > 1:
            view = np.asarray(histogram.view(flow=True))
            for field, values in zip(view.dtype.names or (), self.bins, strict=True):
                view[field] = values
        else:
            histogram[...] = self.bins[0]  # also right for the Unlimited storage
        return histogram


class _Encoder:
    """Turns a result into JSON whose objects have a tag ``t``; arrays go to ``buffers``."""

    def __init__(self, buffers: list[NDArray[Any]]) -> None:
        self.buffers = buffers

    def node(self, value: Any, where: str) -> Any:
        # exact types first: numpy's floats are Python floats too, but must stay numpy's
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic):
            return {"t": "scalar", "v": self.array(np.asarray(value), where)}
        if isinstance(value, np.ndarray):
            return self.array(value, where)
        if isinstance(value, boost_histogram.Histogram):
            return self.histogram(StoredHistogram.of(value, where), where)
        if isinstance(value, StoredHistogram):
            return self.histogram(value, where)
        if isinstance(value, Cutflow):
            return {"t": "cutflow", "v": value.to_json()}
        if isinstance(value, column_accumulator):
            return {"t": "column", "v": self.array(value.value, where)}
        if isinstance(value, value_accumulator):
            return self.node(value.value, where)
        if isinstance(value, Mapping):
            keys = [self.node(key, f"key of {where}") for key in value]
            return {
                "t": "dict",
                "k": keys,
                "v": [self.node(v, f"{where}[{k!r}]") for k, v in value.items()],
            }
        if isinstance(value, Set):
            # sorted, so that equal results are equal bytes whatever the hash seed
            return {"t": "set", "v": [self.node(v, where) for v in sorted(value, key=repr)]}
        if isinstance(value, list | tuple):
            tag = "tuple" if isinstance(value, tuple) else "list"
            return {"t": tag, "v": [self.node(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if isinstance(value, complex):
            return {"t": "complex", "v": [value.real, value.imag]}
        raise ProcessorError(
            f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be "
            "kept in a checkpoint; use dicts, sets, lists, numbers, strings, numpy arrays, "
            "histograms and cutflows"
        )

    def array(self, value: NDArray[Any], where: str) -> dict[str, Any]:
        if value.dtype.kind not in "biufcSUmM":
            raise ProcessorError(
                f"{where} is an array of {value.dtype}, which cannot be kept in a checkpoint; "
                "use plain numbers or strings"
            )
        node: dict[str, Any] = {"t": "array", "d": value.dtype.str, "s": value.shape}
        flat = np.ascontiguousarray(value).reshape(-1)
        if flat.dtype.itemsize == 8 and flat.nbytes >= _SMALL:
            # by bit pattern: -0.0 and NaN are kept
            filled = np.flatnonzero(flat.view(np.uint64))
            if 2 * len(filled) < len(flat) < 2**32:
                self.buffers += [filled.astype("<u4"), flat[filled]]
                return {**node, "n": len(filled)}
        self.buffers.append(flat)
        return node

    def histogram(self, value: StoredHistogram, where: str) -> dict[str, Any]:
        self.buffers.append(np.frombuffer(value.description, np.uint8))
        return {
            "t": "histogram",
            "d": len(value.description),
            "w": value.known,
            "v": [self.array(array, where) for array in value.bins],
        }


class _Decoder:
    """Rebuilds a result, reading buffers in the order in which they were written."""

    def __init__(self, raw: bytes, start: int) -> None:
        self.raw = raw
        self.position = start

    def node(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        tag = node["t"]
        if tag == "dict":
            keys = [self.node(key) for key in node["k"]]
            return dict(zip(keys, map(self.node, node["v"]), strict=True))
        if tag == "array":
            return self.array(node)
        if tag == "scalar":
            return self.array(node["v"])[()]
        if tag == "histogram":
            return self.histogram(node)
        if tag == "cutflow":
            return Cutflow.from_json(node["v"])
        if tag == "column":
            return column_accumulator(self.array(node["v"]))
        if tag == "complex":
            return complex(*node["v"])
        return {"set": set, "list": list, "tuple": tuple}[tag](map(self.node, node["v"]))

    def array(self, node: dict[str, Any]) -> NDArray[Any]:
        dtype = np.dtype(node["d"])
        size = int(np.prod(node["s"], dtype=np.int64))
        if "n" not in node:
            return self.take(dtype, size).reshape(node["s"]).copy()
        flat = np.zeros(size, dtype)
        filled = self.take(np.dtype("<u4"), node["n"])
        flat[filled] = self.take(dtype, node["n"])
        return flat.reshape(node["s"])

    def take(self, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
        values = np.frombuffer(self.raw, dtype, size, self.position)
        self.position += values.nbytes
        return values

    def histogram(self, node: dict[str, Any]) -> StoredHistogram:
        description = self.take(np.dtype(np.uint8), node["d"]).tobytes()
        return StoredHistogram(description, node["w"], [self.array(part) for part in node["v"]])
