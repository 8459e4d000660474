"""Opening ROOT and parquet files with named errors, and saying which layout a tree has.

Only headers are read here: what trees a file has, how many entries, which columns of which kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import uproot

from alp_coffea.errors import (
    AlpCoffeaError,
    MissingFileError,
    MissingTreeError,
    UnreadableFileError,
    suggest,
)

#: ``scalar``: one number per entry; ``jagged``: a variable-length array of numbers per entry.
Kind = Literal["scalar", "jagged", "string", "other"]
#: ``canonical``: event-based with a prefix per collection; ``event_based``: one particle list per
#: tree without prefix (VariablesToEventBasedTree); ``candidates``: one row per candidate
#: (VariablesToNtuple); ``event_rows``: one row of numbers per event; else ``unknown``.
Layout = Literal["canonical", "event_based", "candidates", "event_rows", "unknown"]

#: Jagged columns of the canonical layout start with one of these (``events.schema.PREFIXES``).
CANONICAL_PREFIXES: Final = ("gamma_", "track_", "mc_")

#: kXR_NotFound of the XRootD protocol, as its client says it.
_NOT_FOUND: Final = "[3011]"

_TREE_CLASSES: Final = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


@dataclass(frozen=True)
class Column:
    """A column of a tree: its kind and the type as stored (``double[]``, ``int32_t``)."""

    kind: Kind
    type: str


@dataclass(frozen=True)
class TreeInfo:
    """What the headers say about one tree (or one parquet file)."""

    name: str
    container: str
    entries: int
    columns: Mapping[str, Column]

    def names(self, kind: Kind) -> list[str]:
        """Column names of one kind, in the file's order."""
        return [name for name, column in self.columns.items() if column.kind == kind]

    @property
    def layout(self) -> Layout:
        """Layout of the tree, from its column names and kinds."""
        names = self.columns
        jagged = self.names("jagged")
        identified = "__event__" in names or "evtNum" in names
        if any(name.startswith(CANONICAL_PREFIXES) for name in jagged) and identified:
            return "canonical"
        if not identified:
            return "unknown"
        if jagged:
            return "event_based"
        if "__candidate__" in names or "__ncandidates__" in names:
            return "candidates"
        return "event_rows"


@contextmanager
def readable(path: str, what: str = "") -> Iterator[None]:
    """Turn what readers raise on missing or damaged files into named errors.

    ``what`` says what was being read (tree and columns). Keep only calls of readers inside.

    Raises MissingFileError or UnreadableFileError.
    """
    where = f"{path}: {what}" if what else path
    try:
        yield
    except AlpCoffeaError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file{_near(path)}") from error
    except IsADirectoryError as error:
        raise UnreadableFileError(f"{path} is a folder; give a ROOT or parquet file") from error
    except PermissionError as error:
        raise UnreadableFileError(f"{path}: permission denied; check chmod and owner") from error
    # decoding a damaged file can raise nearly anything: it is named and passed on
    except Exception as error:
        detail = str(error).strip().splitlines()
        if isinstance(error, OSError) and _NOT_FOUND in str(error):
            raise MissingFileError(f"{path}: no such file on the server") from error
        remote = "The server may not answer, or the" if "://" in path else "The"
        raise UnreadableFileError(
            f"{where} cannot be read: {type(error).__name__}: {detail[0] if detail else ''}. "
            f"{remote} file is truncated, damaged or not what its name says; copy or produce it "
            "again"
        ) from error


def _near(path: str) -> str:
    if "://" in path:
        return ""
    folder = Path(path).parent
    return suggest(Path(path).name, [p.name for p in folder.iterdir()] if folder.is_dir() else [])


def is_parquet(path: str) -> bool:
    """Whether a file is parquet: by its first bytes when local, by its ending otherwise."""
    if "://" in path:
        return path.endswith((".parquet", ".pq"))
    with readable(path), Path(path).open("rb") as file:
        return file.read(4) == b"PAR1"


@contextmanager
def open_root(path: str) -> Iterator[Any]:
    """An open ROOT file (uproot's ``ReadOnlyDirectory``).

    Raises MissingFileError or UnreadableFileError.
    """
    with readable(path):
        if "://" not in path:
            # uproot would take a text file named .root for a truncated one
            with Path(path).open("rb") as file:
                magic = file.read(4)
            if magic != b"root":
                raise UnreadableFileError(
                    f"{path} is not a ROOT file: it starts with {magic!r} instead of b'root'"
                )
        directory = uproot.open(path)
    with directory:
        yield directory


def tree_names(directory: Any, path: str) -> list[str]:
    """Paths of the TTrees and RNTuples of an open ROOT file."""
    with readable(path):
        keys = directory.keys(recursive=True, cycle=False, filter_classname=list(_TREE_CLASSES))
    return list(dict.fromkeys(keys))


def open_tree(directory: Any, name: str, path: str) -> Any:
    """A tree of an open ROOT file.

    Raises MissingTreeError naming the trees there are, and UnreadableFileError if its branches
    do not have the same number of entries.
    """
    names = tree_names(directory, path)
    if name not in names:
        raise MissingTreeError(
            f"{path}: no tree '{name}'{suggest(name, names)} "
            f"The file has: {', '.join(names) or 'no tree at all'}"
        )
    with readable(path, f"tree '{name}'"):
        tree = directory[name]
        if isinstance(tree, uproot.behaviors.TTree.TTree):
            _check_entries(tree, name, path)
        return tree


def _check_entries(tree: Any, name: str, path: str) -> None:
    """Metadata are not compressed, so that damage to them is no error in itself."""
    entries = tree.num_entries
    for branch in tree.branches:
        branch.name.encode()  # raises on what are no characters
        if not branch.branches and branch.num_entries != entries:
            raise UnreadableFileError(
                f"{path}: tree '{name}' has {entries} entries, its branch '{branch.name}' "
                f"{branch.num_entries}; the file is damaged, copy or produce it again"
            )


def tree_info(tree: Any, name: str, path: str) -> TreeInfo:
    """Entries and columns of an open tree, from its header; ``name`` is its path in the file."""
    with readable(path, f"tree '{name}'"):
        ttree = isinstance(tree, uproot.behaviors.TTree.TTree)
        columns: dict[str, Column] = {}
        for column in tree.keys(recursive=False):
            branch = tree[column]
            stored = str(branch.typename)
            columns[column] = Column(_branch_kind(branch) if ttree else _field_kind(stored), stored)
        container = "TTree" if ttree else "RNTuple"
        return TreeInfo(name, container, int(tree.num_entries), columns)


def _branch_kind(branch: Any) -> Kind:
    interpretation = branch.interpretation
    if isinstance(interpretation, uproot.interpretation.strings.AsStrings):
        return "string"
    jagged = isinstance(interpretation, uproot.interpretation.jagged.AsJagged)
    content = interpretation.content if jagged else interpretation
    if not isinstance(content, uproot.interpretation.numerical.AsDtype):
        return "other"
    plain = content.to_dtype.shape == () and content.to_dtype.names is None
    if not plain:
        return "other"
    return "jagged" if jagged else "scalar"


_NUMBERS: Final = ("bool", "double", "float", "int", "uint", "short", "long", "char")


def _field_kind(typename: str) -> Kind:
    """Kind of an RNTuple field from its C++ type name."""
    name = typename.removeprefix("std::")
    if name.startswith("string"):
        return "string"
    inner = name.removeprefix("vector<").removesuffix(">").removeprefix("std::")
    if not inner.startswith(_NUMBERS) or "<" in inner:
        return "other"
    return "jagged" if name.startswith("vector<") else "scalar"


def parquet_info(path: str) -> TreeInfo:
    """Entries and columns of a parquet file, from its footer.

    Raises MissingFileError or UnreadableFileError.
    """
    with open_parquet(path) as file:
        return parquet_columns(file, Path(path).name)


@contextmanager
def open_parquet(path: str) -> Iterator[Any]:
    """An open local or remote parquet file (pyarrow's ``ParquetFile``).

    Raises MissingFileError or UnreadableFileError.
    """
    import fsspec
    import pyarrow.parquet

    with ExitStack() as stack:
        with readable(path):
            # fsspec opens local paths as well
            stream = stack.enter_context(fsspec.open(path, "rb"))
            file = stack.enter_context(pyarrow.parquet.ParquetFile(stream))
        yield file


def file_size(path: str) -> int:
    """Size in bytes; 0 where a server does not tell. Raises as :func:`readable`."""
    import fsspec

    with readable(path):
        if "://" not in path:
            return Path(path).stat().st_size
        system, name = fsspec.core.url_to_fs(path)
        # the folder may have been listed before the file was there; without a path, some systems
        # also close files that other threads read
        system.invalidate_cache(name.rpartition("/")[0])
        return int(system.info(name).get("size") or 0)


def parquet_columns(file: Any, name: str) -> TreeInfo:
    """Entries and columns of an open parquet file."""
    columns = {
        field.name: Column(_arrow_kind(field.type), str(field.type)) for field in file.schema_arrow
    }
    return TreeInfo(name, "parquet", file.metadata.num_rows, columns)


def _arrow_kind(arrow_type: Any) -> Kind:
    import pyarrow.types as types

    def number(kind: Any) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))

    if types.is_string(arrow_type) or types.is_large_string(arrow_type):
        return "string"
    if types.is_list(arrow_type) or types.is_large_list(arrow_type):
        return "jagged" if number(arrow_type.value_type) else "other"
    return "scalar" if number(arrow_type) else "other"


def file_identity(directory: Any, path: str) -> str:
    """Digest of the content where the file carries one, else ROOT's uuid."""
    with readable(path):
        keys: Sequence[str] = directory.keys(recursive=False, cycle=False)
        if "content_digest" in keys:
            return str(directory["content_digest"])
        return str(directory.file.uuid)
