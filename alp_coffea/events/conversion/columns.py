"""Column maps: which columns of a foreign ntuple make up which canonical field.

A map goes from canonical fields to templates of column names::

    fields:
      Photon.*: ["ALP_gamma{i}_*", "recoil_*"]     # every variable of three photons
      Photon.E: ["ALP_gamma{i}_clusterE", "recoil_clusterE"]   # overrides the line above
      weight: generatorWeight                      # event level

``{i}`` stands for a number and ``*`` for a variable; the columns that match, templates in order
and numbers ascending, are the objects ("slots") of the collection in one row. Templates are
compared with the branch name and with the variable behind it, so ``daughter({i}, *)`` finds
``daughter__bo0__cm__spE__bc``. An empty list declares a collection that is always empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from alp_coffea.errors import ConfigurationError, MissingFieldError, suggest
from alp_coffea.events.conversion.naming import COUNTERS, mangle, normalise, unmangle

Templates = str | Sequence[str]
ColumnMap = Mapping[str, Templates]

#: Collections of the canonical layout and what makes an object usable in each.
COLLECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Photon": ("E", "theta", "phi"),
    "Track": ("p", "theta", "phi"),
    "Truth": ("E",),
}

_ALP_PHOTONS: Final = tuple(
    f"{alp}_{photon}{{i}}_*"
    for alp in ("ALP", "alp", "a", "A")
    for photon in ("gamma", "gamma_", "g", "photon")
)
_RECOIL_PHOTONS: Final = tuple(
    f"{name}_*"
    for name in (
        "recoil", "recoil_gamma", "gamma_recoil", "recoilGamma", "gammaRecoil", "gammarecoil",
        "rec_gamma", "gamma_rec", "gammaRec", "gamma",
    )
)  # fmt: skip

#: Photons of three-photon candidates as analysts commonly name them; the candidate is built as
#: ``X -> [ALP -> gamma gamma] gamma`` (in either order) or of three photons at one level.
PHOTON_CONVENTIONS: Final[tuple[tuple[str, ...], ...]] = (
    ("daughter(0, daughter({i}, *))", "daughter(1, *)"),
    ("daughter(1, daughter({i}, *))", "daughter(0, *)"),
    *((alp, recoil) for alp in _ALP_PHOTONS for recoil in _RECOIL_PHOTONS),
    *((f"{name}{{i}}_*",) for name in ("gamma", "gamma_", "g", "photon", "photon_", "ph")),
    ("daughter({i}, *)",),
    *((alp,) for alp in _ALP_PHOTONS),
)
#: Charged tracks of a candidate.
TRACK_CONVENTIONS: Final[tuple[tuple[str, ...], ...]] = (
    *((f"{name}{{i}}_*",) for name in ("track", "trk", "mu", "mu_", "e", "e_", "lepton", "l")),
    *((f"{plus}_*", f"{minus}_*") for plus, minus in (
        ("ep", "em"), ("mup", "mum"), ("eplus", "eminus"), ("muplus", "muminus"),
        ("e_p", "e_m"), ("mu_p", "mu_m"),
    )),
)  # fmt: skip

#: Variables that basf2 computes per event: copied from candidate rows without being asked.
_EVENT_VARIABLE: Final = re.compile(
    r"(Ecms|beamE|beamP[xyz]|nTracks|isMC|eventT0|nECLOutOfTimeCrystals|nRejectedECLShowers"
    r"|HighLevelTrigger|__weight__|generatorEventWeight"
    r"|(L1|SoftwareTriggerResult|nCleanedTracks\(|nCleanedECLClusters\().*)"
)


#: Event variables that have a canonical name of their own.
_EVENT_NAMES: Final = {"generatorEventWeight": "weight"}


@dataclass(frozen=True)
class Resolved:
    """Columns found for each canonical field.

    ``collections`` maps a collection to its fields and their columns, one per slot; ``event``
    maps event-level fields to their column.
    """

    collections: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    event: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> frozenset[str]:
        """Every column that is used."""
        slots = {c for fields in self.collections.values() for s in fields.values() for c in s}
        return frozenset(slots | set(self.event.values()))


def resolve(fields: ColumnMap, names: Iterable[str], *, where: str) -> Resolved:
    """Look up a column map in the columns of a tree.

    Raises
    ------
    ConfigurationError
        If a key is no canonical field, or a template is malformed.
    MissingFieldError
        If a field that is spelled out has no column, or the fields of one collection have
        different numbers of slots.
    """
    names = [name for name in names if name not in COUNTERS or name == "__weight__"]
    collections: dict[str, dict[str, tuple[str, ...]]] = {}
    event: dict[str, str] = {}
    notes: list[str] = []
    # wildcards first, so that what is spelled out overrides them
    for key in sorted(fields, key=lambda key: not key.endswith("*")):
        templates = _as_tuple(fields[key])
        collection, dot, variable = key.partition(".")
        if not dot:
            event[key] = _one_column(key, templates, names, where)
            continue
        if collection not in COLLECTIONS or not variable:
            known = [f"{name}.<variable>" for name in COLLECTIONS]
            raise ConfigurationError(
                f"{where}: column map: '{key}' is no canonical field"
                f"{suggest(collection, COLLECTIONS)} (allowed: {', '.join(known)}, or an "
                "event-level name without a dot)"
            )
        for template in templates:
            if ("*" in template) != (variable == "*"):
                raise ConfigurationError(
                    f"{where}: column map: '{key}: {template}' needs a '*' on both sides or none"
                )
        target = collections.setdefault(collection, {})
        if variable == "*":
            found, incomplete = _wildcard(templates, names, COLLECTIONS[collection])
            if templates and not found:
                raise MissingFieldError(_no_column(key, templates[0], names, where))
            target.update(found)
            if incomplete:
                notes.append(
                    f"{key}: not in every slot and left out: {', '.join(sorted(incomplete)[:8])}"
                )
        else:
            target[variable] = _slots(key, templates, names, where)
    for collection, members in collections.items():
        _check_slots(collection, members, where)
    return Resolved(collections, event, tuple(notes))


def recognise(names: Iterable[str]) -> ColumnMap:
    """Column map of candidate rows by the common naming conventions; empty if none fits.

    The photon convention with most slots, then most variables, wins; each slot needs energy and
    both angles.
    """
    names = [name for name in names if name not in COUNTERS]
    fields: dict[str, Templates] = {}
    photons = _best_convention(PHOTON_CONVENTIONS, COLLECTIONS["Photon"], names)
    if photons:
        fields["Photon.*"] = photons
    tracks = _best_convention(TRACK_CONVENTIONS, COLLECTIONS["Track"], names)
    if tracks:
        fields["Track.*"] = tracks
    return fields


def event_variables(names: Iterable[str]) -> dict[str, str]:
    """Columns of variables that basf2 computes per event, as canonical name to column."""
    return {event_name(n): n for n in names if _EVENT_VARIABLE.fullmatch(unmangle(n))}


def event_name(column: str) -> str:
    """Canonical name of an event-level column: its own, but ``weight`` for the generator's."""
    return _EVENT_NAMES.get(column, column)


def _best_convention(
    conventions: Sequence[tuple[str, ...]], needed: Sequence[str], names: Sequence[str]
) -> tuple[str, ...]:
    best: tuple[str, ...] = ()
    score = (0, 0)
    for templates in conventions:
        found, _ = _wildcard(templates, names, needed)
        if not all(variable in found for variable in needed):
            continue
        # a later convention must be better, not equal: the list goes from special to general
        if (candidate := (len(found[needed[0]]), len(found))) > score:
            best, score = templates, candidate
    return best


def _as_tuple(templates: Templates) -> tuple[str, ...]:
    return (templates,) if isinstance(templates, str) else tuple(templates)


def _compile(template: str) -> re.Pattern[str]:
    pattern = re.escape(normalise(template))
    pattern = pattern.replace(re.escape("{i}"), r"(?P<i>\d+)", 1)
    return re.compile(pattern.replace(re.escape("*"), "(?P<v>.+)", 1))


@functools.lru_cache(maxsize=100_000)
def _variable(column: str) -> str:
    """Normal form of the variable behind a column; cached, hundreds of templates ask for it."""
    return normalise(unmangle(column))


def _matches(template: str, names: Sequence[str]) -> list[tuple[str, int, str]]:
    """(variable, number, column) of every column that fits a template, numbers ascending."""
    pattern = _compile(template)
    literal = re.split(r"\{i\}|\*", normalise(template))[0]
    found = []
    for name in names:
        variable = _variable(name)
        if not (name.startswith(literal) or variable.startswith(literal)):
            continue
        match = pattern.fullmatch(name) or pattern.fullmatch(variable)
        if match:
            groups = match.groupdict()
            found.append((mangle(groups.get("v") or ""), int(groups.get("i") or 0), name))
    return sorted(found)


def _wildcard(
    templates: Sequence[str], names: Sequence[str], needed: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """Variables present in every slot, and those that are missing from some.

    Where slots have all ``needed`` variables, only those are objects: a stray column such as
    ``gamma7_count`` must not make one. Empty when a template finds no object.
    """
    slots: dict[tuple[int, int], dict[str, str]] = {}
    for order, template in enumerate(templates):
        for variable, number, name in _matches(template, names):
            slots.setdefault((order, number), {})[variable] = name
    complete = {key: slot for key, slot in slots.items() if slot.keys() >= set(needed)}
    objects = complete or slots
    if {order for order, _ in objects} != set(range(len(templates))) or not objects:
        return {}, set()
    columns = [objects[key] for key in sorted(objects)]
    common = set.intersection(*(set(slot) for slot in columns))
    every = set.union(*(set(slot) for slot in slots.values()))
    return {v: tuple(slot[v] for slot in columns) for v in sorted(common)}, every - common


def _slots(key: str, templates: Sequence[str], names: Sequence[str], where: str) -> tuple[str, ...]:
    columns: list[str] = []
    for template in templates:
        matched = _matches(template, names)
        if not matched:
            raise MissingFieldError(_no_column(key, template, names, where))
        columns += [name for _, _, name in matched]
    return tuple(columns)


def _one_column(key: str, templates: Sequence[str], names: Sequence[str], where: str) -> str:
    if len(templates) != 1 or "*" in templates[0] or "{i}" in templates[0]:
        raise ConfigurationError(
            f"{where}: column map: event-level '{key}' needs exactly one column without "
            f"placeholders, got {list(templates)}"
        )
    matched = _matches(templates[0], names)
    if not matched:
        raise MissingFieldError(_no_column(key, templates[0], names, where))
    return matched[0][2]


def _no_column(key: str, template: str, names: Sequence[str], where: str) -> str:
    guess = suggest(template.replace("{i}", "0"), [*names, *map(unmangle, names)])
    return (
        f"{where}: no column matches '{template}' (expected branch '{mangle(template)}') for "
        f"'{key}'{guess} Columns: {', '.join(sorted(names)[:12])}"
        + (", ..." if len(names) > 12 else "")
    )


def _check_slots(collection: str, members: Mapping[str, tuple[str, ...]], where: str) -> None:
    counts = {variable: len(columns) for variable, columns in members.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{variable}: {count}" for variable, count in sorted(counts.items()))
        raise MissingFieldError(
            f"{where}: fields of {collection} have different numbers of objects per row "
            f"({listing}); their templates must match the same ones"
        )
