"""``VariablesToEventBasedTree``: one particle list per tree, joined into canonical events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ConfigurationError, WrongTypeError
from alp_coffea.events.conversion.canonical_writer import (
    IDENTITY_BRANCHES,
    PREFIXES,
    Jagged,
    Writer,
)
from alp_coffea.events.conversion.columns import ColumnMap, Templates, event_name, resolve
from alp_coffea.events.conversion.joining import Identity, Join, join
from alp_coffea.events.conversion.naming import COUNTERS, mangle
from alp_coffea.events.conversion.sources import IDENTITY_COLUMNS, Facts, OpenTree, floats

#: basf2's default limit on the length of the list in a tree (``maxCandidates``).
MAX_CANDIDATES: Final = 100

_COUNTER: Final = "__ncandidates__"
#: Entries whose identities are compared at a time.
_RANGE: Final = 500_000

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class _Plan:
    """What is read of one tree: canonical variables and event-level names to columns."""

    opened: OpenTree
    jagged: Mapping[str, str]
    scalars: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        """Every column to read, the length of the list included."""
        names = [*self.jagged.values(), *self.scalars.values()]
        if self.jagged and _COUNTER in self.opened.info.names("scalar"):
            names.append(_COUNTER)
        return list(dict.fromkeys(names))


@dataclass
class _Seen:
    """What was noticed while reading."""

    truncated: int = 0
    overlong: int = 0
    sampled: bool = False


@dataclass(frozen=True)
class JoinedTrees:
    """Trees whose events are matched; :meth:`read` gives any range of joined events."""

    plans: Sequence[_Plan]
    empty: Mapping[str, Sequence[str]]
    #: None where all trees have the same events in the same order.
    joined: Join | None
    seen: _Seen

    def __len__(self) -> int:
        if self.joined is None:
            return self.plans[0].opened.info.entries
        return len(self.joined.identity)

    def read(self, start: int, stop: int) -> tuple[Identity, dict[str, Array], dict[str, Jagged]]:
        """Identity, event-level columns and collections of events ``start`` to ``stop``."""
        event: dict[str, Array] = {}
        collections = {
            name: Jagged(np.zeros(stop - start, np.int64), dict.fromkeys(variables, np.empty(0)))
            for name, variables in self.empty.items()
        }
        every = [None] * len(self.plans) if self.joined is None else self.joined.entries
        for plan, entries in zip(self.plans, every, strict=True):
            wanted = None if entries is None else entries[start:stop]
            jagged, scalars = _read(plan, start, stop, wanted, self.seen)
            if plan.jagged:
                collections[plan.opened.collection] = jagged
            for name, values in scalars.items():
                # the same event variable is often written to every tree
                if name in event:
                    values = np.where(np.isnan(event[name]), values, event[name])
                event[name] = values
        if "__weight__" in event:
            self.seen.sampled |= bool((event["__weight__"] != 1).any())
        if self.joined is None:
            return self.plans[0].opened.identities(start, stop), event, collections
        return self.joined.identity[start:stop], event, collections


def open_joined(trees: Sequence[OpenTree], fields: ColumnMap, *, strict: bool) -> JoinedTrees:
    """Plan the columns and match the events of trees with decided collections.

    Raises JoinError, DuplicateEventError, MissingFieldError, WrongTypeError, ConfigurationError.
    """
    plans, empty = _plan(trees, fields)
    if _aligned(trees):
        return JoinedTrees(plans, empty, None, _Seen())
    identities = [opened.identities(0, opened.info.entries) for opened in trees]
    joined = join(identities, [opened.where for opened in trees], strict=strict)
    return JoinedTrees(plans, empty, joined, _Seen())


def _aligned(trees: Sequence[OpenTree]) -> bool:
    """Whether trees have the same events in the same order, as one basf2 job writes them.

    Looked at in ranges: the identities of a large file need not be in memory for this.
    """
    first, *others = trees
    entries = first.info.entries
    if any(other.info.entries != entries for other in others):
        return False
    for start in range(0, entries, _RANGE):
        stop = min(start + _RANGE, entries)
        identity = first.identities(start, stop)
        if not all(identity.equals(other.identities(start, stop)) for other in others):
            return False
    return True


def branches(trees: Sequence[OpenTree], fields: ColumnMap) -> frozenset[str]:
    """Branches that the joined events will have.

    Raises MissingFieldError, WrongTypeError, ConfigurationError.
    """
    plans, empty = _plan(trees, fields)
    names = {*IDENTITY_BRANCHES, *(name for plan in plans for name in plan.scalars)}
    names |= {PREFIXES[plan.opened.collection] + v for plan in plans for v in plan.jagged}
    names |= {PREFIXES[c] + v for c, variables in empty.items() for v in variables}
    return frozenset(names)


def _plan(
    trees: Sequence[OpenTree], fields: ColumnMap
) -> tuple[list[_Plan], Mapping[str, Sequence[str]]]:
    """What is read of each tree, and the variables of collections that are declared empty."""
    lists, events, empty = _split(trees, fields)
    every = [c for opened in trees for c in opened.info.names("scalar")]
    renamed = resolve(events, every, where=trees[0].where).event
    plans = []
    for opened in trees:
        here = [name for name in opened.info.names("scalar") if _is_event_variable(name)]
        scalars = {event_name(column): column for column in here}
        scalars |= {name: column for name, column in renamed.items() if column in here}
        jagged: dict[str, str] = {}
        if opened.collection != "Event":
            jagged = _renamed(opened, lists.get(opened.collection, {}))
            taken = {*COUNTERS, *jagged.values()}
            rest = {mangle(n): n for n in opened.info.names("jagged") if n not in taken}
            jagged = rest | jagged
        plans.append(_Plan(opened, jagged, scalars))
    return plans, empty


def convert_trees(
    trees: Sequence[OpenTree], fields: ColumnMap, writer: Writer, step: int, *, strict: bool
) -> Facts:
    """Join trees on identity and write their events in the order of the first tree.

    Raises what :func:`open_joined` raises.
    """
    source = open_joined(trees, fields, strict=strict)
    for start in range(0, len(source), step):
        writer.write(*source.read(start, min(start + step, len(source))))
    return _facts(source)


def _is_event_variable(name: str) -> bool:
    return name not in IDENTITY_COLUMNS and name != _COUNTER


def _split(
    trees: Sequence[OpenTree], fields: ColumnMap
) -> tuple[dict[str, dict[str, Templates]], dict[str, Templates], dict[str, list[str]]]:
    """A column map by collection, its event-level part, and collections declared empty."""
    lists: dict[str, dict[str, Templates]] = {}
    events: dict[str, Templates] = {}
    empty: dict[str, list[str]] = {}
    present = {opened.collection for opened in trees}
    for key, templates in fields.items():
        collection, dot, variable = key.partition(".")
        if not dot:
            events[key] = templates
        elif collection in present:
            lists.setdefault(collection, {})[key] = templates
        elif not templates and collection in PREFIXES and variable != "*":
            empty.setdefault(collection, []).append(variable)
        else:
            raise ConfigurationError(
                f"column map: '{key}' needs a tree of '{collection}', but there are only "
                + ", ".join(f"{t.where} ({t.collection})" for t in trees)
                + f"; name its tree in 'trees', or write '{key}: []' if there are none"
            )
    return lists, events, empty


def _renamed(opened: OpenTree, fields: ColumnMap) -> dict[str, str]:
    """Columns that a column map names for this tree's collection."""
    names = [name for name in opened.info.columns if name not in IDENTITY_COLUMNS]
    found = resolve(fields, names, where=opened.where).collections
    renamed = {}
    for variable, columns in found.get(opened.collection, {}).items():
        if len(columns) != 1:
            raise WrongTypeError(
                f"{opened.where}: {opened.collection}.{variable} matches {len(columns)} branches "
                f"({', '.join(columns)}); a tree of lists has one branch per variable"
            )
        stored = opened.info.columns[columns[0]]
        if stored.kind != "jagged":
            raise WrongTypeError(
                f"{opened.where}, branch '{columns[0]}' is '{stored.type}'; "
                f"{opened.collection}.{variable} needs an array of numbers per event"
            )
        renamed[variable] = columns[0]
    return renamed


def _read(
    plan: _Plan, start: int, stop: int, entries: Index | None, seen: _Seen
) -> tuple[Jagged, dict[str, Array]]:
    """Columns of one tree for joined events; ``entries`` where they are, -1 where absent."""
    if entries is None:
        low, high = start, stop
    else:
        present = entries[entries >= 0]
        low, high = (int(present.min()), int(present.max()) + 1) if present.size else (0, 0)
    arrays = plan.opened.read(plan.columns, low, high)
    counts, columns = _lists(plan, arrays, high - low)
    if plan.jagged and _COUNTER in arrays:
        promised = ak.to_numpy(arrays[_COUNTER])
        seen.truncated += int(np.count_nonzero(promised > counts))
        seen.overlong += int(np.count_nonzero(counts > MAX_CANDIDATES))
    scalars = {name: floats(arrays[column]) for name, column in plan.scalars.items()}
    if entries is None:
        return Jagged(counts, columns), scalars
    return _take(entries, low, counts, columns, scalars)


def _lists(
    plan: _Plan, arrays: Mapping[str, ak.Array], length: int
) -> tuple[Index, dict[str, Array]]:
    """List lengths and flat contents, after checking that all columns have the same lengths."""
    counts = np.zeros(length, np.int64)
    columns: dict[str, Array] = {}
    reference = ""
    for variable, column in plan.jagged.items():
        own = np.asarray(ak.num(arrays[column]), np.int64)
        if not reference:
            counts, reference = own, column
        elif not np.array_equal(own, counts):
            entry = int(np.argmax(own != counts))
            raise WrongTypeError(
                f"{plan.opened.where}: branches '{reference}' and '{column}' have lists of "
                f"different length ({counts[entry]} and {own[entry]} at one entry), so they are "
                "not one particle list; write one tree per list"
            )
        columns[variable] = floats(ak.flatten(arrays[column]))
    return counts, columns


def _take(
    entries: Index,
    low: int,
    counts: Index,
    columns: Mapping[str, Array],
    scalars: Mapping[str, Array],
) -> tuple[Jagged, dict[str, Array]]:
    """Pick entries in a given order; an absent one has no objects and NaN event variables."""
    here = entries >= 0
    local = np.where(here, entries - low, 0)
    if not here.any():
        nothing = np.zeros(len(entries), np.int64)
        return (
            Jagged(nothing, dict.fromkeys(columns, np.empty(0))),
            dict.fromkeys(scalars, np.full(len(entries), np.nan)),
        )
    taken = np.where(here, counts[local], 0)
    begin = np.concatenate([[0], np.cumsum(counts)])[local]
    # positions of all elements: the start of their list plus the position within it
    ends = np.cumsum(taken)
    index = np.arange(taken.sum()) + np.repeat(begin - (ends - taken), taken)
    return (
        Jagged(taken, {name: values[index] for name, values in columns.items()}),
        {name: np.where(here, values[local], np.nan) for name, values in scalars.items()},
    )


def _facts(source: JoinedTrees) -> Facts:
    columns: dict[str, tuple[str, ...]] = {}
    unused: list[str] = []
    notes: list[str] = []
    lacking = [0] * len(source.plans) if source.joined is None else source.joined.absent
    for plan, absent in zip(source.plans, lacking, strict=True):
        columns |= {name: (column,) for name, column in plan.scalars.items()}
        if plan.jagged:
            prefix = PREFIXES[plan.opened.collection]
            columns |= {prefix + name: (column,) for name, column in plan.jagged.items()}
        used = {*plan.columns, *IDENTITY_COLUMNS, _COUNTER}
        unused += [name for name in plan.opened.info.columns if name not in used]
        if absent:
            notes.append(f"{plan.opened.where} lacks {absent} events that another tree has")
    columns |= {PREFIXES[c] + v: () for c, variables in source.empty.items() for v in variables}
    seen = source.seen
    if seen.truncated:
        notes.append(
            f"{seen.truncated} lists are shorter than their {_COUNTER}: the file was written with "
            "a limit (maxCandidates, 100 by default) and the objects beyond it are lost; raise "
            "maxCandidates in the steering file"
        )
    if seen.overlong:
        notes.append(
            f"{seen.overlong} lists hold more than {MAX_CANDIDATES} objects; with basf2's default "
            "maxCandidates the entries beyond are undefined, so make sure that it was raised"
        )
    if seen.sampled:
        notes.append(
            "__weight__ is not 1: basf2 wrote a sample of the events; the catalogue must use it "
            "as event_weight"
        )
    return Facts(columns, tuple(sorted(unused)), seen.truncated, tuple(notes))
