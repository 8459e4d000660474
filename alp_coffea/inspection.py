"""What is in a file, and what this package can do with it.

Only headers are read, so a file of any size takes the same time. Works on any ROOT or parquet
file; one that has nothing to do with photons is described as such.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alp_coffea.builtin import builtin_folder
from alp_coffea.errors import InputError, MissingFieldError, suggest
from alp_coffea.events.conversion.candidate_rows import column_map
from alp_coffea.events.conversion.canonical_writer import PREFIXES
from alp_coffea.events.conversion.columns import event_name
from alp_coffea.events.conversion.naming import unmangle
from alp_coffea.events.conversion.sources import IDENTITY_COLUMNS, collection_of
from alp_coffea.events.opening import (
    TreeInfo,
    file_size,
    is_parquet,
    open_root,
    open_tree,
    parquet_info,
    readable,
    tree_info,
    tree_names,
)

if TYPE_CHECKING:
    from rich.console import Console

_IDENTITY: Final = ("experiment", "run", "event", "production")
#: Columns that say how an entry is told apart, not what is in it.
_BOOKKEEPING: Final = IDENTITY_COLUMNS | {"__candidate__", "__ncandidates__"}


@dataclass(frozen=True)
class Needs:
    """Canonical fields that a processor reads: always, and of simulated signal."""

    always: tuple[str, ...]
    truth: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A field that a processor needs and a file lacks, and the nearest column it has."""

    field: str
    nearest: str | None
    only_signal: bool


@dataclass(frozen=True)
class TreeReport:
    """One tree: layout and, where recognised, the collection it holds."""

    name: str
    container: str
    entries: int
    columns: int
    layout: str
    collection: str | None


@dataclass(frozen=True)
class InputReport:
    """Trees that together are one input of an analysis.

    ``fields`` maps canonical fields to the columns they come from; ``unused`` are the columns
    without a canonical field; ``missing`` what each processor lacks; ``advice`` what to do next.
    """

    trees: tuple[str, ...]
    layout: str
    fields: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...]
    missing: Mapping[str, tuple[Missing, ...]]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class FileReport:
    """What a file holds; ``problem`` instead of everything else when it cannot be read."""

    path: str
    container: str = ""
    size: int = 0
    trees: tuple[TreeReport, ...] = ()
    others: Mapping[str, str] | None = None
    inputs: tuple[InputReport, ...] = ()
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def builtin_needs() -> dict[str, Needs]:
    """What the built-in processors declare in ``uses`` and ``uses_truth``.

    Read from their source text, not by importing them: looking at a file stays quick.
    """
    needs = {}
    for path in sorted(builtin_folder("processors").glob("*.py")):
        declared = _declared(path.read_text("utf-8"))
        if "uses" in declared:
            needs[path.stem] = Needs(declared["uses"], declared.get("uses_truth", ()))
    return needs


def _declared(source: str) -> dict[str, tuple[str, ...]]:
    """Literal ``uses`` and ``uses_truth`` of the classes in a module."""
    found: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        for statement in node.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                if name in ("uses", "uses_truth"):
                    found[name] = tuple(ast.literal_eval(statement.value))
    return found


def inspect_file(path: str | Path, needs: Mapping[str, Needs] | None = None) -> FileReport:
    """Describe a ROOT or parquet file.

    Parameters
    ----------
    needs
        Fields each processor reads; default: those of the built-in processors.

    Raises
    ------
    InputError
        If the file is missing or cannot be read; see :func:`inspect_files` to collect that.
    """
    path = str(path)
    needs = builtin_needs() if needs is None else needs
    size = file_size(path)
    if is_parquet(path):
        infos, others, container = [parquet_info(path)], {}, "parquet"
    else:
        container = "ROOT"
        with open_root(path) as directory:
            names = tree_names(directory, path)
            infos = [tree_info(open_tree(directory, name, path), name, path) for name in names]
            with readable(path):
                classes = directory.classnames(recursive=True, cycle=False)
            others = {name: kind for name, kind in classes.items() if name not in names}
    trees = tuple(_tree_report(info) for info in infos)
    inputs = tuple(_inputs(path, infos, needs))
    return FileReport(path, container, size, trees, others, inputs)


def inspect_files(
    paths: Iterable[str | Path], needs: Mapping[str, Needs] | None = None
) -> list[FileReport]:
    """Describe several files; one that cannot be read has its ``problem`` instead."""
    needs = builtin_needs() if needs is None else needs
    reports = []
    for path in paths:
        try:
            reports.append(inspect_file(path, needs))
        except InputError as error:
            reports.append(FileReport(str(path), problem=str(error)))
    return reports


def _tree_report(info: TreeInfo) -> TreeReport:
    collection = collection_of(info) if info.layout == "event_based" else None
    return TreeReport(
        info.name, info.container, info.entries, len(info.columns), info.layout, collection
    )


def _inputs(
    path: str, infos: Sequence[TreeInfo], needs: Mapping[str, Needs]
) -> Iterable[InputReport]:
    for info in infos:
        if info.layout == "canonical":
            yield _report([info], _canonical_fields(info), needs, [_canonical_advice(path, info)])
    lists = [info for info in infos if info.layout in ("event_based", "event_rows")]
    if any(info.layout == "event_based" for info in lists):
        fields, advice = _list_fields(lists)
        yield _report(lists, fields, needs, [*advice, _convert_advice(path)])
    for info in infos:
        if info.layout == "candidates":
            fields, advice = _row_fields(path, info)
            yield _report([info], fields, needs, [*advice, _convert_advice(path)])


def _canonical_fields(info: TreeInfo) -> dict[str, tuple[str, ...]]:
    fields = _identity_fields(info)
    for name in info.names("jagged"):
        for collection, prefix in PREFIXES.items():
            if name.startswith(prefix):
                fields[f"{collection}.{name.removeprefix(prefix)}"] = (name,)
    return fields | {name: (name,) for name in _event_level(info)}


def _list_fields(
    infos: Sequence[TreeInfo],
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    fields = _identity_fields(infos[0])
    advice = []
    for info in infos:
        collection = collection_of(info)
        if collection is None:
            advice.append(
                f"tree '{info.name}': say what it holds in the conversion settings, for example "
                f"trees: {{{info.name}: Photon}}"
            )
        elif collection != "Event":
            fields |= {f"{collection}.{name}": (name,) for name in info.names("jagged")}
        fields |= {event_name(name): (name,) for name in _event_level(info)}
    held = [collection_of(info) for info in infos]
    advice += [
        f"several trees look like lists of {collection}; choose with 'trees'"
        for collection in PREFIXES
        if held.count(collection) > 1
    ]
    return fields, advice


def _row_fields(path: str, info: TreeInfo) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    names = [name for name in info.names("scalar") if name not in IDENTITY_COLUMNS]
    fields = _identity_fields(info)
    try:
        resolved = column_map(names, {}, where=f"{path}: tree '{info.name}'")
    except MissingFieldError as error:
        return fields, [str(error)]
    for collection, members in resolved.collections.items():
        fields |= {f"{collection}.{name}": slots for name, slots in members.items()}
    fields |= {name: (column,) for name, column in resolved.event.items()}
    advice = [
        (
            "candidate rows do not tell how many events were processed: the catalogue must "
            "(generated_events or luminosity)"
        )
    ]
    if "Track" not in resolved.collections:
        advice.append(
            "no track columns recognised: map them in the conversion settings, or declare that "
            "there are none, for example fields: {Track.dr: [], Track.dz: [], Track.nCDCHits: []}"
        )
    return fields, advice


def _identity_fields(info: TreeInfo) -> dict[str, tuple[str, ...]]:
    old = ("expNum", "runNum", "evtNum", "productionIdentifier")
    fields: dict[str, tuple[str, ...]] = {}
    for name, alternative in zip(_IDENTITY, old, strict=True):
        for column in (f"__{name}__", alternative):
            if column in info.columns:
                fields[name] = (column,)
                break
    return fields


def _event_level(info: TreeInfo) -> list[str]:
    counters = _BOOKKEEPING | {f"n_{prefix.rstrip('_')}" for prefix in PREFIXES.values()}
    return [name for name in info.names("scalar") if name not in counters]


def _report(
    infos: Sequence[TreeInfo],
    fields: Mapping[str, tuple[str, ...]],
    needs: Mapping[str, Needs],
    advice: Sequence[str],
) -> InputReport:
    used = {column for columns in fields.values() for column in columns} | _BOOKKEEPING
    columns = [name for info in infos for name in info.columns]
    unused = tuple(name for name in columns if name not in used)
    missing = {
        name: tuple(
            Missing(field, _nearest(field, unused), only_signal)
            for wanted, only_signal in ((need.always, False), (need.truth, True))
            for field in wanted
            if field not in fields
        )
        for name, need in needs.items()
    }
    empty = [f"tree '{info.name}' has no entries" for info in infos if info.entries == 0]
    trees = tuple(info.name for info in infos)
    return InputReport(trees, infos[0].layout, dict(fields), unused, missing, (*empty, *advice))


def _nearest(field: str, unused: Sequence[str]) -> str | None:
    """The column without a canonical field whose name, unmangled, is closest to a variable's."""
    columns = {unmangle(column): column for column in unused}
    hint = suggest(field.rpartition(".")[2], columns)
    return columns[hint.split("'")[1]] if hint else None


def _canonical_advice(path: str, info: TreeInfo) -> str:
    tree = "" if info.container == "parquet" else f" and tree: {info.name}"
    return f"ready to be used: put files: [{path}]{tree} into a catalogue"


def _convert_advice(path: str) -> str:
    stem = Path(path).stem
    return f"convert it with: alp-coffea convert {path} -o {stem}.parquet"


# --- drawing ------------------------------------------------------------------------------------


def render(report: FileReport, console: Console, *, full: bool = False) -> None:
    """Draw a report as tables; ``full`` also lists the columns that have no canonical field."""
    from rich.table import Table
    from rich.text import Text

    if report.problem:
        console.print(Text(report.problem, style="red"))
        return
    console.print(Text(f"{report.path} ({report.container}, {report.size / 1e6:.1f} MB)", "bold"))
    if not report.trees:
        kinds = sorted(set((report.others or {}).values()))
        console.print(
            f"no tree in this file; it holds {', '.join(kinds) or 'nothing'}", markup=False
        )
        return
    table = Table("tree", "type", "entries", "columns", "layout", "holds")
    for tree in report.trees:
        table.add_row(
            Text(tree.name),
            tree.container,
            f"{tree.entries:,}",
            str(tree.columns),
            LAYOUTS[tree.layout],
            tree.collection or "",
        )
    console.print(table)
    if not report.inputs:
        console.print("no events here: no tree has an event identity (__experiment__, ...)")
    for one in report.inputs:
        _render_input(one, console, full)


#: Layouts in words.
LAYOUTS: Final = {
    "canonical": "canonical",
    "event_based": "one list per tree (VariablesToEventBasedTree)",
    "candidates": "one row per candidate (VariablesToNtuple)",
    "event_rows": "one row of numbers per event",
    "unknown": "no event identity",
}


def _render_input(one: InputReport, console: Console, full: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("canonical field", "column", title=Text(" + ".join(one.trees)))
    for field, columns in one.fields.items():
        table.add_row(Text(field), Text(", ".join(columns)))
    console.print(table)
    if one.unused:
        shown = one.unused if full else one.unused[:8]
        more = "" if full or len(one.unused) <= 8 else f" and {len(one.unused) - 8} more"
        console.print(f"without canonical field: {', '.join(shown)}{more}", markup=False)
    for processor, missing in one.missing.items():
        always = [item for item in missing if not item.only_signal]
        truth = [item for item in missing if item.only_signal]
        if not always:
            console.print(f"processor '{processor}': has all it needs", style="green")
        else:
            console.print(f"processor '{processor}' lacks {_listing(always)}", style="yellow")
        if truth:
            console.print(
                f"processor '{processor}' also needs for simulated signal: {_listing(truth)}",
                markup=False,
            )
    for line in one.advice:
        console.print(line, markup=False)


def _listing(missing: Sequence[Missing]) -> str:
    return ", ".join(
        item.field + (f" (nearest: {item.nearest})" if item.nearest else "") for item in missing
    )
