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
from typing import Any, Final

import boost_histogram
import hist
import numpy as np
from boost_histogram.serialization import from_uhi, to_uhi
from coffea.processor import column_accumulator, value_accumulator
from numpy.typing import NDArray

from alp_coffea.errors import ProcessorError
from alp_coffea.events.selection import Cutflow

#: Version of the format, part of every checkpoint key.
FORMAT: Final = 1
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
    buffers: list[NDArray[Any]] = []
    structure = _Encoder(buffers).node(value, "result")
    text = json.dumps(structure, separators=(",", ":")).encode()
    return zlib.compress(b"".join([_LENGTH.pack(len(text)), text, *map(_bytes, buffers)]), _LEVEL)


def _bytes(array: NDArray[Any]) -> bytes:
    return array.tobytes()


def decode(data: bytes) -> Any:
    """Inverse of :func:`encode`."""
    raw = zlib.decompress(data)
    (length,) = _LENGTH.unpack_from(raw)
    start = _LENGTH.size + length
    return _Decoder(raw, start).node(json.loads(raw[_LENGTH.size : start]))


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

    def histogram(self, value: boost_histogram.Histogram, where: str) -> dict[str, Any]:
        for name, kind in _HISTOGRAMS.items():
            if type(value) is kind:
                view = np.asarray(value.view(flow=True))
                fields = view.dtype.names or ()
                return {
                    "t": "histogram",
                    "c": name,
                    "h": self.node(to_uhi(value, keep_storage=False), where),
                    "w": value.__dict__.get("_variance_known", True),
                    "v": [self.array(view[f], where) for f in fields] or self.array(view, where),
                }
        raise ProcessorError(
            f"{where} is a {type(value).__qualname__}, which cannot be kept in a checkpoint; "
            "use hist.Hist"
        )


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

    def histogram(self, node: dict[str, Any]) -> boost_histogram.Histogram:
        histogram = _HISTOGRAMS[node["c"]](from_uhi(self.node(node["h"])))
        histogram._variance_known = node["w"]
        if isinstance(node["v"], list):
            view = histogram.view(flow=True)
            for field, values in zip(view.dtype.names, node["v"], strict=True):
                np.asarray(view)[field] = self.array(values)
        else:
            histogram[...] = self.array(node["v"])  # also right for the Unlimited storage
        return histogram
