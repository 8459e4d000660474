"""What a chunk's result depends on, as short digests: checkpoint keys.

A key has two parts. The *code* part covers the processor (its source, the modules it imports, its
options and other attributes), how the package decodes events, the package version and what the
sample tells the processor. The *file* part covers sample, tree, and the file's identity, size and
number of entries. A result is used again only if both agree.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import json
import re
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from coffea.processor import ProcessorABC

import alp_coffea
from alp_coffea.config import Sample
from alp_coffea.errors import ProcessorError
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.reading import Reading
from alp_coffea.execution import encoding

_PACKAGE: Final = "alp_coffea"
#: What the modules of processor files are called.
PROCESSOR_PREFIX: Final = "alp_coffea_processor_"
#: Modules of ours that shape every result without being imported by a processor.
_ALWAYS: Final = tuple(
    f"{_PACKAGE}.{name}" for name in ("events.schema", "events.reading", "execution.encoding")
)
#: An import statement, its names perhaps in brackets over several lines.
_IMPORT: Final = re.compile(rb"^[ ]*((?:from|import) [^\n(#]*(?:\([^)]*\))?)", re.MULTILINE)


def digest(content: Any) -> str:
    """16 hexadecimal digits of plain data."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(record: FileRecord) -> str:
    """File part of the key."""
    return digest([record.sample, record.tree, record.identity, record.size, record.expected])


def code_digests(
    processor: ProcessorABC, samples: Iterable[Sample], readings: Mapping[str, Reading]
) -> dict[str, str]:
    """Code part of the key, by sample name.

    Raises ProcessorError if an attribute of the processor cannot be written down.
    """
    common = [
        encoding.FORMAT,
        alp_coffea.__version__,
        type(processor).__qualname__,
        sources(sys.modules[type(processor).__module__]),
        _describe(processor.__dict__, "processor", ()),
    ]
    return {
        sample.name: digest(
            [
                common,
                sample.kind,
                sample.mass,
                sample.event_weight,
                readings[sample.name].describe(),
            ]
        )
        for sample in samples
    }


def sources(module: types.ModuleType) -> dict[str, str]:
    """Digest of the source of a module and of every module of ours or the user's it imports."""
    found = {name: _sha256(path) for name, path in _reachable(module.__name__, *_ALWAYS)}
    # the name of a processor's module depends on where its file is; its content does not
    return {"processor": found.pop(module.__name__, ""), **found}


def own_modules(module: types.ModuleType) -> list[types.ModuleType]:
    """The modules of the user's own that a processor imports, itself included.

    They are neither installed nor ours, so that a worker cannot import them.
    """
    names = [name for name, _ in _reachable(module.__name__) if name.split(".")[0] != _PACKAGE]
    return [sys.modules[name] for name in names if name in sys.modules]


def _reachable(*names: str) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        # the package itself only forwards names
        if name in seen or name == _PACKAGE:
            continue
        seen.add(name)
        path = _source(name)
        if path is not None:
            yield name, path
            waiting += _imports(path.read_bytes(), name)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def installed(path: str) -> bool:
    """Whether a source file belongs to Python or an installed library."""
    return path.startswith(_installed_folders())


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    return tuple(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))


def _source(name: str) -> Path | None:
    """Source file of a module of ours or the user's, None for installed and built-in ones."""
    module = sys.modules.get(name)
    if module is not None:
        path = getattr(module, "__file__", None)
    elif name.split(".")[0] == _PACKAGE:
        spec = importlib.util.find_spec(name)
        path = None if spec is None else spec.origin
    else:
        path = None
    if path is None or not path.endswith(".py"):
        return None
    # processors of an installed wheel lie among the libraries, but no worker can import them
    ours = name.split(".")[0] == _PACKAGE or name.startswith(PROCESSOR_PREFIX)
    return Path(path) if ours or not installed(path) else None


def _imports(text: bytes, module: str) -> list[str]:
    """Names that may be modules in the import statements of a source, wherever they stand."""
    names: list[str] = []
    for node in _statements(_tree(text, module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = module.rsplit(".", node.level)[0] if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if _may_be_module(name)]


def _tree(text: bytes, module: str) -> ast.Module:
    """What is needed to see the imports of a source: of ours, formatted as it is, just those."""
    if module.split(".")[0] == _PACKAGE:
        lines = [b" ".join(found.split()) for found in _IMPORT.findall(text)]
        try:
            return ast.parse(b"\n".join(lines))
        except SyntaxError:  # prose that begins like an import
            pass
    return ast.parse(text)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements of a module, however deep: expressions, most of the tree, hold no import."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, name, ()):
            yield child
            yield from _statements(child)


def _may_be_module(name: str) -> bool:
    if name in sys.modules:
        return True
    if name.split(".")[0] != _PACKAGE:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # "package.module.function": the parent is no package
        return False


def _describe(value: Any, where: str, parents: tuple[int, ...]) -> Any:
    """Plain data that are equal exactly if two attributes of a processor are."""
    if value is None or isinstance(value, bool | int | float | str):
        return [type(value).__name__, repr(value)]
    if id(value) in parents:
        return ["parent", parents.index(id(value))]
    below = (*parents, id(value))
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        content = np.ascontiguousarray(value).tobytes()
        return [str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]
    if isinstance(value, Mapping):
        rows = [
            [_describe(k, where, below), _describe(v, f"{where}[{k!r}]", below)]
            for k, v in value.items()
        ]
        return [type(value).__name__, rows]
    if isinstance(value, Set):
        return ["set", sorted((_describe(v, where, below) for v in value), key=repr)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_describe(v, where, below) for v in value]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # not __dict__: that may hold cached properties
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return [type(value).__qualname__, _describe(fields, where, below)]
    if callable(getattr(value, "py_func", None)):  # a numba function
        value = value.py_func
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        try:
            return [value.__qualname__, inspect.getsource(value)]
        except (OSError, TypeError):  # built in
            return [value.__qualname__, value.__module__]
    try:
        reduced = value.__reduce_ex__(2)
    except TypeError as error:
        raise ProcessorError(
            f"{where} is a {type(value).__qualname__}, of which cannot be said whether it "
            f"changed since a checkpoint was written ({error}); make it in process() or keep "
            "plain data in its place"
        ) from error
    return [type(value).__qualname__, _describe(list(_parts(reduced)), where, below)]


def _parts(reduced: str | tuple[Any, ...]) -> list[Any]:
    """What ``__reduce_ex__`` gave, with its iterators over items spelled out."""
    parts = [reduced] if isinstance(reduced, str) else list(reduced)
    return [list(part) if isinstance(part, Iterator) else part for part in parts]
