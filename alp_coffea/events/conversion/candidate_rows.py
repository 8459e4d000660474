"""``VariablesToNtuple``: one row per candidate, regrouped into canonical events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import (
    DuplicateEventError,
    MissingFieldError,
    WrongTypeError,
)
from alp_coffea.events.conversion.canonical_writer import (
    IDENTITY_BRANCHES,
    PREFIXES,
    Jagged,
    Writer,
)
from alp_coffea.events.conversion.columns import (
    ColumnMap,
    Resolved,
    event_variables,
    recognise,
    resolve,
)
from alp_coffea.events.conversion.joining import Identity, first_duplicate
from alp_coffea.events.conversion.sources import IDENTITY_COLUMNS, Facts, OpenTree, floats

_CANDIDATE: Final = "__candidate__"
_COUNTER: Final = "__ncandidates__"
#: Variables that identify an object among the candidates of an event, best first. Cluster
#: quantities come before momenta because a fit of the candidate changes only the latter.
_KEYS: Final = {
    "Photon": (
        ("clusterMdstIndex",),
        ("mdstIndex",),
        ("clusterE", "clusterTheta", "clusterPhi"),
        ("E", "theta", "phi"),
    ),
    "Track": (("mdstIndex",), ("p", "theta", "phi")),
    "Truth": (("genParticleID",), ("E",)),
}
#: Variables that all copies of an object must share.
_SAME: Final = ("E", "p", "theta", "phi")

_UNKNOWN_TOTAL: Final = (
    "candidate rows exist only for events with a candidate: how many events were processed must "
    "come from the catalogue (generated_events or luminosity)"
)

Array = NDArray[np.float64]


@dataclass
class _Seen:
    incomplete: int = 0
    sampled: bool = False
    varying: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Events:
    """Events of one chunk of complete row groups."""

    identity: Identity
    event: dict[str, Array]
    collections: dict[str, Jagged]


def column_map(names: list[str], fields: ColumnMap, *, where: str) -> Resolved:
    """Columns of candidate rows: an explicit map on top of the recognised conventions.

    A collection that the map mentions is taken from the map alone.

    Raises
    ------
    MissingFieldError
        If no photon or track columns are recognised or a mapped column is missing.
    ConfigurationError
        If the map is malformed.
    """
    mapped = {key.partition(".")[0] for key in fields if "." in key}
    guessed = {
        key: templates
        for key, templates in recognise(names).items()
        if key.partition(".")[0] not in mapped
    }
    resolved = resolve({**guessed, **fields}, names, where=where)
    if not resolved.collections:
        raise MissingFieldError(
            f"{where}: no photons recognised among its columns; say how they are named with "
            "'fields', for example {Photon.*: ['ALP_gamma{i}_*', 'recoil_*']}. Columns: "
            f"{', '.join(sorted(names)[:12])}" + (", ..." if len(names) > 12 else "")
        )
    event = {**event_variables(names), **resolved.event}
    return Resolved(resolved.collections, event, resolved.notes)


def branches(opened: OpenTree, fields: ColumnMap) -> frozenset[str]:
    """Branches that the events of a tree of candidate rows will have.

    Raises what :func:`column_map` raises.
    """
    names = [name for name in opened.info.columns if name not in IDENTITY_COLUMNS]
    columns = column_map(names, fields, where=opened.where)
    lists = {PREFIXES[c] + v for c, members in columns.collections.items() for v in members}
    return frozenset({*lists, *columns.event, *IDENTITY_BRANCHES})


def convert_rows(opened: OpenTree, fields: ColumnMap, writer: Writer, step: int) -> Facts:
    """Regroup the candidate rows of a tree into events and write them.

    Raises
    ------
    MissingFieldError, ConfigurationError
        From the column map, see :func:`column_map`.
    WrongTypeError
        If a mapped column is not a number per row, or differs where it must not.
    DuplicateEventError
        If the rows of an event are not contiguous, or the event is there twice.
    """
    from alp_coffea.events.conversion.regroup import event_starts

    names = [name for name in opened.info.columns if name not in IDENTITY_COLUMNS]
    columns = column_map(names, fields, where=opened.where)
    for name in sorted(columns.columns):
        stored = opened.info.columns[name]
        if stored.kind != "scalar":
            raise WrongTypeError(
                f"{opened.where}, branch '{name}' is '{stored.type}'; candidate rows hold one "
                "number per branch"
            )
    seen = _Seen()
    keys: list[NDArray[np.uint64]] = []
    for events in _chunks(opened, columns, frozenset(fields), step, seen):
        keys.append(events.identity.keys())
        writer.write(events.identity, events.event, events.collections)
    if (again := first_duplicate(np.concatenate(keys))) is not None:
        rows = opened.identities(0, opened.info.entries)
        identity = rows[event_starts(rows.columns)]
        raise DuplicateEventError(
            f"{opened.where}: {identity.at(again)} appears in two separate groups of rows: either "
            "the event is there twice (a file merged with itself) or the rows were shuffled. "
            "Remove the duplicate, or sort the rows by experiment, run, event, production"
        )
    return _facts(opened, columns, seen)


def _chunks(
    opened: OpenTree, columns: Resolved, explicit: frozenset[str], step: int, seen: _Seen
) -> Iterator[_Events]:
    """Complete events, ``step`` rows at a time: the last event of a range waits for the next."""
    from alp_coffea.events.conversion.regroup import event_starts

    entries = opened.info.entries
    start, size = 0, step
    while start < entries:
        stop = min(start + size, entries)
        counters = [c for c in (_CANDIDATE, _COUNTER) if c in opened.info.names("scalar")]
        wanted = list(dict.fromkeys([*opened.identity_names(), *columns.columns, *counters]))
        arrays = opened.read(wanted, start, stop)
        identity = opened.identity_of(arrays)
        starts = event_starts(identity.columns)
        if stop < entries:
            last = int(starts[-1])
            if last == 0:
                size *= 2  # one event fills the whole range
                continue
            starts, arrays = starts[:-1], {name: a[:last] for name, a in arrays.items()}
            stop = start + last
        yield _regroup(opened, columns, explicit, identity[starts], starts, arrays, seen)
        start, size = stop, step


def _regroup(
    opened: OpenTree,
    columns: Resolved,
    explicit: frozenset[str],
    identity: Identity,
    starts: NDArray[np.int64],
    arrays: Mapping[str, ak.Array],
    seen: _Seen,
) -> _Events:
    # compiled, so not imported for a look at headers
    from alp_coffea.events.conversion.regroup import distinct_objects

    numbers = {name: floats(arrays[name]) for name in columns.columns}
    rows = len(arrays[opened.identity_names()[0]])
    per_event = np.diff(np.append(starts, rows))
    _check_rows(opened, identity, starts, per_event, arrays, seen)
    event = {}
    for name, column in columns.event.items():
        values = numbers[column]
        event[name] = values[starts]
        repeated = np.repeat(event[name], per_event)
        if not np.array_equal(values, repeated, equal_nan=True):
            if name in explicit:
                raise WrongTypeError(
                    f"{opened.where}, branch '{column}' differs between candidates of one event, "
                    f"so it cannot be the event-level field '{name}'"
                )
            seen.varying |= {column}
    seen.sampled |= bool((event.get("__weight__", np.ones(1)) != 1).any())
    collections = {}
    for collection, members in columns.collections.items():
        if all(not slots for slots in members.values()):
            nothing = np.zeros(len(starts), np.int64)
            collections[collection] = Jagged(nothing, dict.fromkeys(members, np.empty(0)))
            continue
        key = _key(opened, collection, members)
        same = [name for name in _SAME if name in members and name not in key]
        objects = distinct_objects(
            starts,
            {name: [numbers[c] for c in slots] for name, slots in members.items()},
            key=key,
            same=same,
        )
        if objects.differing is not None:
            raise WrongTypeError(
                f"{opened.where}: {collection}.{objects.differing} of one object "
                f"({', '.join(key)} equal) differs between the candidates of an event: it was "
                "changed by a fit of the candidate. Map a quantity from before the fit, for "
                "example {Photon.E: '...clusterE'}"
            )
        collections[collection] = Jagged(objects.counts, objects.columns)
    return _Events(identity, event, collections)


def _key(opened: OpenTree, collection: str, members: Mapping[str, object]) -> tuple[str, ...]:
    for key in _KEYS[collection]:
        if all(variable in members for variable in key):
            return key
    raise MissingFieldError(
        f"{opened.where}: the objects of {collection} cannot be told apart; the column map needs "
        + " or ".join(" + ".join(key) for key in _KEYS[collection])
    )


def _check_rows(
    opened: OpenTree,
    identity: Identity,
    starts: NDArray[np.int64],
    per_event: NDArray[np.int64],
    arrays: Mapping[str, ak.Array],
    seen: _Seen,
) -> None:
    """Candidate numbers must not repeat within an event; count events with rows missing."""
    if _CANDIDATE in arrays:
        number = ak.to_numpy(arrays[_CANDIDATE])
        rising = np.ones(len(number), bool)
        rising[1:] = number[1:] > number[:-1]
        rising[starts] = True
        if not rising.all():
            # out of order is fine, the same number twice is not
            event = np.repeat(np.arange(len(starts)), per_event)
            order = np.lexsort((number, event))
            again = (np.diff(number[order]) == 0) & (np.diff(event[order]) == 0)
            if again.any():
                where = int(event[order][:-1][again][0])
                raise DuplicateEventError(
                    f"{opened.where}: candidate {int(number[order][:-1][again][0])} of "
                    f"{identity.at(where)} is there twice; a file merged with itself?"
                )
    if _COUNTER in arrays:
        promised = ak.to_numpy(arrays[_COUNTER])[starts]
        seen.incomplete += int(np.count_nonzero(promised > per_event))


def _facts(opened: OpenTree, columns: Resolved, seen: _Seen) -> Facts:
    used: dict[str, tuple[str, ...]] = {name: (c,) for name, c in columns.event.items()}
    for collection, members in columns.collections.items():
        used |= {PREFIXES[collection] + name: slots for name, slots in members.items()}
    known = {*columns.columns, *IDENTITY_COLUMNS, _CANDIDATE, _COUNTER}
    unused = sorted(name for name in opened.info.columns if name not in known)
    notes = [
        *columns.notes,
        _UNKNOWN_TOTAL,
    ]
    missing = [name for name in ("Photon", "Track") if name not in columns.collections]
    for name in missing:
        example = "{Track.dr: [], Track.dz: [], Track.nCDCHits: []}"
        notes.append(
            f"the rows have no recognised columns of '{name}'; map them with 'fields'"
            + (f", or declare that there were none: {example}" if name == "Track" else "")
        )
    if seen.incomplete:
        notes.append(
            f"{seen.incomplete} events have fewer rows than {_COUNTER}: a candidate selection was "
            "applied when or after writing, and photons of the missing candidates are lost"
        )
    if seen.varying:
        notes.append(
            f"taken from the first candidate although it varies: {', '.join(sorted(seen.varying))}"
        )
    if seen.sampled:
        notes.append(
            "__weight__ is not 1: basf2 wrote a sample of the events; the catalogue must use it "
            "as event_weight"
        )
    return Facts(used, tuple(unused), seen.incomplete, tuple(notes))
