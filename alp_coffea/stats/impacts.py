"""How much every nuisance parameter matters: pulls, constraints, impacts, correlations.

All of it by refitting with one parameter held at its best value plus or minus its error, which
needs no derivatives and sees what is not parabolic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.studies import signal_template
from alp_coffea.stats.workspace import POI, Point

Array = NDArray[np.float64]
Workspace = Mapping[str, Any]

#: Lower bound of the parameter of interest when it may be negative.
_NEGATIVE: Final = -1000.0
#: How far parameters are moved to see what follows, in errors: nearly parabolic.
_MOVED: Final = 0.1


@dataclass(frozen=True)
class Impact:
    """One nuisance parameter of one mass.

    ``pull`` is its best value and ``constraint`` its error, both in units of its constraint.
    ``up`` and ``down`` are the changes of the fitted cross section [pb] when it is held one
    post-fit error above and below its best value.
    """

    name: str
    pull: float
    constraint: float
    up: float
    down: float

    @property
    def size(self) -> float:
        """The larger of both changes [pb]."""
        return max(abs(self.up), abs(self.down))


@dataclass(frozen=True)
class Ranking:
    """Nuisances of one mass [GeV], the largest impact first.

    ``sigma_hat`` and ``sigma_error`` [pb] are those of the fit whose cross section may be
    negative. A multiplicative uncertainty of the signal moves a fitted cross section in proportion
    to its size: on data without an excess impacts are small, and only those on a signal of the
    expected limit say what matters (see :func:`rankings`).
    """

    mass: float
    definition: str
    sigma_hat: float
    sigma_error: float
    impacts: tuple[Impact, ...]
    status: str


def rankings(points: Sequence[Point], data: Sequence[ArrayLike] | None = None) -> list[Ranking]:
    """Impacts of all nuisances at every point.

    Parameters
    ----------
    data
        Counts per point in place of the observed ones, such as :func:`with_signal`.
    """
    if not points:
        return []
    free = [_signed(point.workspace, None if data is None else data[i])
            for i, point in enumerate(points)]  # fmt: skip
    best = engine.compile(free, poi=POI).fit()
    held: list[Workspace] = []
    owner: list[tuple[int, int]] = []
    constrained = [nuisances(point.workspace) for point in points]
    for i, workspace in enumerate(free):
        for name in constrained[i]:
            j = best.names[i].index(name)
            for side in (1.0, -1.0):
                value = float(best.values[i][j] + side * best.errors[i][j])
                held.append(_hold(workspace, name, value))
                owner.append((i, j))
    shifted = np.full(0, np.nan)
    if held:
        again = engine.compile(held, poi=POI).fit()
        reference = best.poi[[i for i, _ in owner]]
        shifted = np.where(again.ok, again.poi - reference, np.nan)
    rows = []
    position = 0
    for i, point in enumerate(points):
        impacts = []
        for name in constrained[i]:
            j = best.names[i].index(name)
            up, down = shifted[position : position + 2] * point.unit
            position += 2
            pull, error = float(best.values[i][j]), float(best.errors[i][j])
            impacts.append(Impact(name, pull, error, float(up), float(down)))
        rows.append(
            Ranking(
                mass=point.window.mass,
                definition=point.window.definition,
                sigma_hat=float(best.poi[i] * point.unit),
                sigma_error=float(best.poi_error[i] * point.unit),
                impacts=tuple(sorted(impacts, key=lambda impact: -impact.size)),
                status=str(engine.status_words(int(best.status[i]))),
            )
        )
    return rows


def with_signal(points: Sequence[Point], *, level: float = 0.95) -> list[Array]:
    """Background-only fit of every point plus a signal of its median expected limit."""
    fits = engine.compile([point.workspace for point in points], poi=POI)
    median = fits.limits(level, observed=False).expected[:, 2]
    null = fits.fit(poi=np.zeros(len(points)))
    return [
        expected + strength * signal_template(point)
        for point, expected, strength in zip(points, null.expected, median, strict=True)
    ]


@dataclass(frozen=True)
class Correlations:
    """Correlation ``matrix`` (n, n) of the parameters ``names`` at one mass [GeV].

    Parameters at a bound have no error and are left out.
    """

    mass: float
    names: tuple[str, ...]
    matrix: Array


def correlations(point: Point, data: ArrayLike | None = None) -> Correlations:
    """Correlations of all parameters of the fit whose cross section may be negative.

    The regression of each parameter on each other one when that is moved by its error, which for
    a parabolic likelihood is their correlation.

    Raises ModelError if the fit did not converge.
    """
    workspace = _signed(point.workspace, data)
    best = engine.compile([workspace], poi=POI).fit()
    if not best.ok[0]:
        words = engine.status_words(int(best.status[0]))
        raise ModelError(f"mass {point.window.mass:g} GeV: correlations: {words}")
    names, values, errors = best.names[0], best.values[0], best.errors[0]
    used = [j for j in range(len(names)) if 0 < errors[j] < np.inf]
    moves = [(j, side * errors[j]) for j in used for side in (_MOVED, -_MOVED)]
    # the parameter of interest is held by the fit, all others by the model
    others = [_hold(workspace, names[j], float(values[j] + by)) for j, by in moves
              if names[j] != POI]  # fmt: skip
    fits = iter(engine.compile(others, poi=POI).fit().values)
    poi = names.index(POI)
    own = engine.compile([workspace, workspace], poi=POI)
    held = iter(own.fit(poi=values[poi] + _MOVED * errors[poi] * np.array([1.0, -1.0])).values)
    moved = np.array([next(held if j == poi else fits)[used] for j, _ in moves])
    slopes = (moved[0::2] - moved[1::2]) / (2 * _MOVED) / errors[used]
    # row: what was moved, column: what followed
    return Correlations(point.window.mass, tuple(names[j] for j in used), (slopes + slopes.T) / 2)


def nuisances(workspace: Workspace) -> list[str]:
    """Names of the constrained parameters of a workspace, in its order."""
    kinds = {"normsys", "histosys", "lumi"}
    return list(
        dict.fromkeys(
            modifier["name"]
            for channel in workspace["channels"]
            for sample in channel["samples"]
            for modifier in sample["modifiers"]
            if modifier["type"] in kinds
        )
    )


def without_nuisances(workspace: Workspace) -> dict[str, Any]:
    """A copy of a workspace in which every constrained parameter is gone."""
    kinds = {"normfactor"}
    channels = [
        {
            **channel,
            "samples": [
                {**s, "modifiers": [m for m in s["modifiers"] if m["type"] in kinds]}
                for s in channel["samples"]
            ],
        }
        for channel in workspace["channels"]
    ]
    return {**workspace, "channels": channels}


@dataclass(frozen=True)
class SystematicEffect:
    """Limits [pb] of one mass [GeV] with all nuisances and with none, pairs (with, without)."""

    mass: float
    definition: str
    expected: tuple[float, float]
    observed: tuple[float, float]


def effect_of_systematics(points: Sequence[Point], *, level: float) -> list[SystematicEffect]:
    """Limits of every point with and without its nuisances; NaN where a limit was not found."""
    if not points:
        return []
    both = []
    for workspaces in (
        [point.workspace for point in points],
        [without_nuisances(point.workspace) for point in points],
    ):
        found = engine.compile(workspaces, poi=POI).limits(level)
        both.append(np.where(found.ok, [found.expected[:, 2], found.observed], np.nan))
    return [
        SystematicEffect(
            point.window.mass,
            point.window.definition,
            expected=(float(both[0][0, i] * point.unit), float(both[1][0, i] * point.unit)),
            observed=(float(both[0][1, i] * point.unit), float(both[1][1, i] * point.unit)),
        )
        for i, point in enumerate(points)
    ]


def _signed(workspace: Workspace, data: ArrayLike | None) -> dict[str, Any]:
    """A copy whose parameter of interest may be negative, with other data if given."""
    (measurement,) = workspace["measurements"]
    parameters = [
        {**p, "bounds": [[_NEGATIVE, p["bounds"][0][1]]]} if p["name"] == POI else p
        for p in measurement["config"]["parameters"]
    ]
    copy = {
        **workspace,
        "measurements": [
            {**measurement, "config": {**measurement["config"], "parameters": parameters}}
        ],
    }
    if data is not None:
        (observation,) = workspace["observations"]
        copy["observations"] = [{**observation, "data": np.asarray(data, float)}]
    return copy


def _hold(workspace: Workspace, name: str, value: float) -> dict[str, Any]:
    """A copy in which one parameter is fixed."""
    (measurement,) = workspace["measurements"]
    held = {"name": name, "inits": [value], "fixed": True}
    others = [p for p in measurement["config"]["parameters"] if p["name"] != name]
    before = [p for p in measurement["config"]["parameters"] if p["name"] == name]
    bounds = {"bounds": before[0]["bounds"]} if before else {}
    config = {**measurement["config"], "parameters": [*others, {**held, **bounds}]}
    return {**workspace, "measurements": [{**measurement, "config": config}]}
