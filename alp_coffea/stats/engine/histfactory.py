"""HistFactory workspaces as plain arrays: one workspace in, one :class:`Model` out.

The meaning of every modifier, the order of the parameters and the constants of the constraint
terms are those of pyhf 0.7 with its default interpolation codes (``normsys`` code 4,
``histosys`` code 4p), so that values can be compared number by number. What is not supported is
refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ModelError, suggest

Array = NDArray[np.float64]

# pyhf's order of modifier types, which fixes the order of the parameters
_TYPES = ("histosys", "lumi", "normfactor", "normsys", "shapesys", "staterror")
_REASONS = {
    "shapefactor": "it has one unconstrained parameter per bin, which leaves nothing to fit",
}
GAUSSIAN, POISSON = 0, 1


@dataclass(frozen=True)
class Factor:
    """A scalar factor of a component: ``lo`` and ``hi`` are None for linear ones."""

    parameter: int
    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True)
class Shift:
    """A ``histosys`` of a component: differences to the nominal template."""

    parameter: int
    up: Array
    down: Array


@dataclass
class Component:
    """One sample in one channel."""

    channel: int
    sample: str
    nominal: Array
    factors: list[Factor] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)


@dataclass
class Parameter:
    """A scalar parameter; ``sigma`` is 0 without a constraint."""

    name: str
    init: float
    low: float
    high: float
    aux: float = 0.0
    sigma: float = 0.0
    fixed: bool = False


@dataclass
class BinFactors:
    """One ``staterror`` or ``shapesys`` in one channel: a constrained factor per bin.

    ``width`` is the Gaussian standard deviation, or tau of the Poisson constraint
    Poisson(aux | tau gamma).
    """

    name: str
    channel: int
    kind: int
    init: Array
    low: Array
    high: Array
    aux: Array
    width: Array
    fixed: NDArray[np.bool_]


@dataclass
class Model:
    """One workspace and measurement. ``layout`` gives pyhf's parameter order:

    entries (True, scalar index) or (False, bin-factor index).
    """

    label: str
    channels: tuple[str, ...]
    bins: tuple[int, ...]
    components: list[Component]
    parameters: list[Parameter]
    bin_factors: list[BinFactors]
    layout: list[tuple[bool, int]]
    poi: int
    observed: list[Array]

    @property
    def parameter_names(self) -> list[str]:
        """Names in pyhf's order; members of bin-wise sets as ``name[i]``."""
        names: list[str] = []
        counts: dict[str, int] = {}
        for scalar, index in self.layout:
            if scalar:
                names.append(self.parameters[index].name)
            else:
                name = self.bin_factors[index].name
                n, first = self.bin_factors[index].aux.size, counts.get(name, 0)
                names.extend(f"{name}[{first + i}]" for i in range(n))
                counts[name] = first + n
        return names


def load_workspaces(source: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """(label, specification) of every workspace in ``source``.

    ``source`` is a workspace (mapping), a path to a JSON file, a zip of JSON files or a folder
    of them, or a sequence of workspaces and paths. Files of a zip or folder come sorted by name.
    """
    if isinstance(source, Mapping):
        return [("workspace", source)]
    if isinstance(source, str | Path):
        return list(_from_path(Path(source)))
    if isinstance(source, Sequence):
        found: list[tuple[str, Mapping[str, Any]]] = []
        for i, item in enumerate(source):
            if isinstance(item, Mapping):
                found.append((f"workspace {i}", item))
            else:
                found.extend(load_workspaces(item))
        if not found:
            raise ModelError("workspaces: got an empty sequence, at least one is needed")
        return found
    raise ModelError(
        f"workspaces: got {type(source).__name__}; allowed are a workspace (dict or "
        "pyhf.Workspace), a path to a JSON file, a zip or a folder, or a list of these"
    )


def _from_path(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import zipfile

    if path.is_dir():
        members = sorted(path.glob("*.json"))
        if not members:
            raise ModelError(f"workspaces: folder {path} holds no .json file")
        for member in members:
            yield member.name, _parse_json(member.name, member.read_bytes())
    elif not path.exists():
        raise ModelError(f"workspaces: {path} does not exist")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".json"))
            if not names:
                raise ModelError(f"workspaces: archive {path} holds no .json file")
            for name in names:
                yield name, _parse_json(name, archive.read(name))
    else:
        yield path.name, _parse_json(path.name, path.read_bytes())


def _parse_json(label: str, content: bytes) -> Mapping[str, Any]:
    try:
        spec = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{label}: not valid JSON ({error})") from error
    if not isinstance(spec, dict):
        raise ModelError(f"{label}: a workspace is a JSON object, got {type(spec).__name__}")
    return spec


def _measurement(
    label: str, spec: Mapping[str, Any], wanted: str | int | None
) -> dict[str, dict[str, Any]]:
    """Parameter settings of the wanted measurement (the first one by default), by name."""
    try:
        measurements = list(spec["measurements"])
        if isinstance(wanted, str):
            names = [m["name"] for m in measurements]
            if wanted not in names:
                raise ModelError(
                    f"{label}: no measurement '{wanted}' among {names}{suggest(wanted, names)}"
                )
            chosen = measurements[names.index(wanted)]
        else:
            index = wanted or 0
            if not -len(measurements) <= index < len(measurements):
                raise ModelError(
                    f"{label}: measurement {index} of {len(measurements)} does not exist"
                )
            chosen = measurements[index]
        settings = {p["name"]: dict(p) for p in chosen["config"].get("parameters", [])}
        if len(settings) != len(chosen["config"].get("parameters", [])):
            raise ModelError(f"{label}: a parameter is configured twice in the measurement")
    except KeyError as error:
        raise ModelError(f"{label}: workspace has no {error} where HistFactory needs it") from error
    return settings


def _template(label: str, what: str, data: Any, bins: int) -> Array:
    array = np.asarray(data, dtype=np.float64)
    if array.shape != (bins,):
        raise ModelError(
            f"{label}: {what} has shape {array.shape} where the channel has {bins} bins"
        )
    if not np.isfinite(array).all():
        raise ModelError(f"{label}: {what} holds values that are not finite")
    return array


class _Builder:
    """Walks a specification in pyhf's order and collects components and parameters."""

    def __init__(self, label: str, spec: Mapping[str, Any], measurement: str | int | None) -> None:
        self.label = label
        self.settings = _measurement(label, spec, measurement)
        try:
            self.channels = sorted(spec["channels"], key=lambda c: str(c["name"]))
            self.observations = {o["name"]: o["data"] for o in spec["observations"]}
            self.names = tuple(c["name"] for c in self.channels)
            if len(set(self.names)) != len(self.names):
                raise ModelError(f"{label}: two channels have the same name")
            self.bins = tuple(len(c["samples"][0]["data"]) for c in self.channels)
            self._collect()
        except (KeyError, IndexError) as error:
            raise ModelError(
                f"{label}: workspace lacks {error!r} where HistFactory needs it"
            ) from error

    def _collect(self) -> None:
        self.entries: list[tuple[int, Mapping[str, Any], list[Mapping[str, Any]]]] = []
        self.types: dict[str, str] = {}
        self.shapesys: set[str] = set()
        by_type: dict[str, dict[str, None]] = {t: {} for t in _TYPES}
        for c, channel in enumerate(self.channels):
            seen = set()
            for sample in sorted(channel["samples"], key=lambda s: str(s["name"])):
                if sample["name"] in seen:
                    raise ModelError(
                        f"{self.label}: channel '{channel['name']}' has two samples "
                        f"'{sample['name']}'"
                    )
                seen.add(sample["name"])
                unique = {(m["name"], m["type"]): m for m in sample["modifiers"]}
                modifiers = [unique[key] for key in sorted(unique)]
                for modifier in modifiers:
                    self._check_type(modifier, sample["name"], channel["name"])
                    by_type[modifier["type"]][modifier["name"]] = None
                self.entries.append((c, sample, modifiers))
        # staterror sets are registered in sorted order, all others as they are met
        by_type["staterror"] = dict.fromkeys(sorted(by_type["staterror"]))
        self.order = list(dict.fromkeys(name for t in _TYPES for name in by_type[t]))

    def _check_type(self, modifier: Mapping[str, Any], sample: str, channel: str) -> None:
        kind, name = modifier["type"], modifier["name"]
        where = f"{self.label}: modifier '{name}' of sample '{sample}' in channel '{channel}'"
        if kind not in _TYPES:
            reason = _REASONS.get(kind, "it is not a HistFactory modifier")
            raise ModelError(
                f"{where} has type '{kind}', which cannot be compiled: {reason}; "
                f"supported are {', '.join(_TYPES)}{suggest(kind, _TYPES)}"
            )
        known = self.types.setdefault(name, kind)
        if kind != known and {kind, known} != {"normsys", "histosys"}:
            raise ModelError(
                f"{where} has type '{kind}', but the name is already used for a '{known}'; "
                "only normsys and histosys may share a parameter"
            )
        if kind == "shapesys":
            if name in self.shapesys:
                raise ModelError(f"{where}: a shapesys cannot be shared between samples")
            self.shapesys.add(name)

    def _setting(self, name: str, key: str, default: Any, size: int) -> Any:
        """A measurement's override of a property of a parameter set, checked for its length."""
        value = self.settings.get(name, {}).get(key, default)
        if value is None:
            raise ModelError(
                f"{self.label}: parameter '{name}' needs '{key}' in the measurement's parameters"
            )
        if len(value) != size:
            raise ModelError(
                f"{self.label}: parameter '{name}' has {len(value)} {key}, expected {size}"
            )
        return value

    def scalar(self, name: str) -> Parameter:
        """The scalar parameter of this name with pyhf's defaults and the user's settings."""
        kind = self.types[name]
        lumi, free = kind == "lumi", kind == "normfactor"
        init = self._setting(name, "inits", None if lumi else [1.0 if free else 0.0], 1)[0]
        default = None if lumi else [(0.0, 10.0) if free else (-5.0, 5.0)]
        low, high = self._setting(name, "bounds", default, 1)[0]
        aux, sigma = 0.0, 0.0
        if not free:
            aux = self._setting(name, "auxdata", None if lumi else [0.0], 1)[0]
            sigma = self._setting(name, "sigmas", None if lumi else [1.0], 1)[0]
            if not sigma > 0.0:
                raise ModelError(
                    f"{self.label}: constraint width of parameter '{name}' is {sigma}; it must "
                    "be > 0 (set 'fixed' to hold the parameter)"
                )
        if not low <= init <= high:
            raise ModelError(
                f"{self.label}: parameter '{name}' starts at {init}, outside [{low}, {high}]"
            )
        fixed = bool(self.settings.get(name, {}).get("fixed", False))
        return Parameter(name, float(init), float(low), float(high), float(aux), sigma, fixed)

    def bin_sets(self, name: str) -> list[BinFactors]:
        """The per-bin factors of this name, one object per channel that has them."""
        users = [
            (c, sample, m)
            for c, sample, modifiers in self.entries
            for m in modifiers
            if m["name"] == name
        ]
        kind = POISSON if self.types[name] == "shapesys" else GAUSSIAN
        channels = sorted({c for c, _, _ in users})
        members = {sample["name"]: set[int]() for _, sample, _ in users}
        for c, sample, _ in users:
            members[sample["name"]].add(c)
        if len(channels) > 1 and any(found != set(channels) for found in members.values()):
            raise ModelError(
                f"{self.label}: staterror '{name}' is shared by channels with different samples, "
                "which pyhf does not define; use one name per channel"
            )
        total = sum(self.bins[c] for c in channels)
        widths, fixed = [], []
        for c in channels:
            nominal, variance = np.zeros(self.bins[c]), np.zeros(self.bins[c])
            for _, sample, modifier in (u for u in users if u[0] == c):
                where = f"'{name}' of sample '{sample['name']}'"
                error = _template(self.label, where, modifier["data"], self.bins[c])
                nominal += _template(self.label, where, sample["data"], self.bins[c])
                variance += error * error
            usable = (nominal > 0.0) & (variance > 0.0)
            if kind == POISSON:
                usable &= np.asarray(modifier["data"], dtype=np.float64) > 0.0
            safe = np.where(usable, variance, 1.0) / np.where(usable, nominal, 1.0) ** 2
            # bins without an uncertainty are fixed; pyhf keeps their constraint with width 1
            widths.append(np.where(usable, 1.0 / safe if kind == POISSON else np.sqrt(safe), 1.0))
            fixed.append(~usable)
        width, hold = np.concatenate(widths), np.concatenate(fixed)
        if "fixed" in self.settings.get(name, {}):
            hold = np.full(total, bool(self.settings[name]["fixed"]))
        key = "factors" if kind == POISSON else "sigmas"
        aux = np.asarray(
            self._setting(name, "auxdata", width if kind == POISSON else np.ones(total), total),
            dtype=np.float64,
        )
        width = np.asarray(self._setting(name, key, width, total), dtype=np.float64)
        init = np.asarray(self._setting(name, "inits", np.ones(total), total), dtype=np.float64)
        bounds = np.asarray(
            self._setting(name, "bounds", [(1e-10, 10.0)] * total, total), dtype=np.float64
        )
        splits = np.cumsum([self.bins[c] for c in channels])[:-1]
        rows = (np.split(x, splits) for x in (init, bounds[:, 0], bounds[:, 1], aux, width, hold))
        return [BinFactors(name, c, kind, *row) for c, *row in zip(channels, *rows, strict=True)]

    def build(self, poi: str) -> Model:
        """Everything as one :class:`Model`."""
        parameters: list[Parameter] = []
        sets: list[BinFactors] = []
        layout: list[tuple[bool, int]] = []
        scalar_index: dict[str, int] = {}
        set_index: dict[tuple[str, int], int] = {}
        for name in self.order:
            if self.types[name] in ("staterror", "shapesys"):
                for member in self.bin_sets(name):
                    set_index[name, member.channel] = len(sets)
                    layout.append((False, len(sets)))
                    sets.append(member)
            else:
                scalar_index[name] = len(parameters)
                layout.append((True, len(parameters)))
                parameters.append(self.scalar(name))
        if poi not in scalar_index or self.types[poi] != "normfactor":
            allowed = [n for n in scalar_index if self.types[n] == "normfactor"]
            raise ModelError(
                f"{self.label}: parameter of interest '{poi}' is not a normfactor of this "
                f"workspace; those are {allowed}{suggest(poi, allowed)}"
            )
        chosen = parameters[scalar_index[poi]]
        if chosen.fixed:
            raise ModelError(
                f"{self.label}: parameter of interest '{poi}' is fixed in the measurement"
            )
        components = []
        for c, sample, modifiers in self.entries:
            nominal = _template(
                self.label, f"sample '{sample['name']}'", sample["data"], self.bins[c]
            )
            component = Component(c, sample["name"], nominal)
            for modifier in modifiers:
                self._attach(component, modifier, scalar_index, set_index)
            components.append(component)
        observed = []
        for c, name in enumerate(self.names):
            if name not in self.observations:
                raise ModelError(f"{self.label}: channel '{name}' has no observation")
            data = _template(
                self.label, f"observation '{name}'", self.observations[name], self.bins[c]
            )
            if (data < 0.0).any():
                raise ModelError(
                    f"{self.label}: observation '{name}' has negative bins; counts are >= 0"
                )
            observed.append(data)
        return Model(
            self.label,
            self.names,
            self.bins,
            components,
            parameters,
            sets,
            layout,
            scalar_index[poi],
            observed,
        )

    def _attach(
        self,
        component: Component,
        modifier: Mapping[str, Any],
        scalar_index: Mapping[str, int],
        set_index: Mapping[tuple[str, int], int],
    ) -> None:
        kind, name, data = modifier["type"], modifier["name"], modifier.get("data")
        where = f"{kind} '{name}' of sample '{component.sample}'"
        if kind in ("normfactor", "lumi"):
            component.factors.append(Factor(scalar_index[name]))
        elif kind == "normsys":
            lo, hi = float(data["lo"]), float(data["hi"])  # type: ignore[index]
            if not (lo > 0.0 and hi > 0.0 and math.isfinite(lo) and math.isfinite(hi)):
                raise ModelError(
                    f"{self.label}: {where} has lo = {lo}, hi = {hi}; interpolation code 4 "
                    "needs both > 0"
                )
            component.factors.append(Factor(scalar_index[name], lo, hi))
        elif kind == "histosys":
            size = self.bins[component.channel]
            up = _template(self.label, where, data["hi_data"], size)  # type: ignore[index]
            down = _template(self.label, where, data["lo_data"], size)  # type: ignore[index]
            component.shifts.append(
                Shift(scalar_index[name], up - component.nominal, component.nominal - down)
            )
        else:
            component.gammas.append(set_index[name, component.channel])


def read_model(
    label: str, spec: Mapping[str, Any], poi: str, measurement: str | int | None
) -> Model:
    """The :class:`Model` of one specification; raises ModelError for what cannot be compiled."""
    return _Builder(label, spec, measurement).build(poi)
