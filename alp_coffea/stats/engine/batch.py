"""Models of equal structure as one set of padded arrays."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from alp_coffea.errors import ModelError
from alp_coffea.stats.engine import histfactory
from alp_coffea.stats.engine.arrays import (
    DOWN,
    LINEAR,
    NORMSYS,
    UP,
    Array,
    Buffers,
    GammaModel,
    Index,
    ModelArrays,
)
from alp_coffea.stats.engine.histfactory import GAUSSIAN, POISSON

_MAX_FACTORS = 62  # bin factors of one channel are numbered by the bits of a signed integer

_FEW = 8  # interpolated parameters that are all explored
_FOLDED = 0.05  # share of a histosys's bins, by size, from which on it counts as folded

# Interpolation code 4 with alpha0 = 1: polynomial coefficients from value, slope and curvature at
# +1 and -1 (CERN-OPEN-2012-016, section 4.1)
_CODE4 = (
    np.array(
        [
            [15, -15, -7, -7, 1, -1],
            [24, 24, -9, 9, 1, 1],
            [-10, 10, 10, 10, -2, 2],
            [-24, -24, 14, -14, -2, -2],
            [3, -3, -3, -3, 1, -1],
            [8, 8, -5, 5, 1, 1],
        ]
    )
    / 16.0
)


def code4_coefficients(lo: float, hi: float) -> Array:
    """The eight numbers of a normsys: polynomial coefficients 1 to 6, ln hi, ln lo."""
    up, down = math.log(hi), math.log(lo)
    edges = np.array([hi - 1.0, lo - 1.0, up * hi, -down * lo, up * up * hi, down * down * lo])
    return np.concatenate([_CODE4 @ edges, [up, down]])


def structure_key(model: histfactory.Model) -> Hashable:
    """Models with equal keys can be stacked into one :class:`Group`."""
    return (
        tuple(
            (
                component.channel,
                tuple((f.parameter, f.lo is None) for f in component.factors),
                tuple(shift.parameter for shift in component.shifts),
                tuple(component.gammas),
            )
            for component in model.components
        ),
        len(model.channels),
        len(model.parameters),
        tuple((b.channel, b.kind) for b in model.bin_factors),
        tuple(model.layout),
        model.poi,
    )


def _bin_factor_order(model: histfactory.Model) -> list[int]:
    """Bin factors sorted by channel, as the kernels want them."""
    order = sorted(range(len(model.bin_factors)), key=lambda q: model.bin_factors[q].channel)
    for c, name in enumerate(model.channels):
        count = sum(b.channel == c for b in model.bin_factors)
        if count > _MAX_FACTORS:
            raise ModelError(
                f"{model.label}: channel '{name}' has {count} staterror and shapesys modifiers; "
                f"at most {_MAX_FACTORS} can be compiled"
            )
    return order


@dataclass
class _Structure:
    """The structure tables of :class:`ModelArrays`, common to all points of a group."""

    channels: Index
    shapes: list[tuple[int, int, int]]
    factors: list[int]
    functions: list[tuple[int, int, int]]
    normsys: int = 0

    def function(self, kind: int, parameter: int) -> int:
        """Number of a function; every normsys is one of its own, others are shared."""
        if kind == NORMSYS:
            self.functions.append((kind, parameter, self.normsys))
            self.normsys += 1
            return len(self.functions) - 1
        wanted = (kind, parameter, -1)
        if wanted not in self.functions:
            self.functions.append(wanted)
        return self.functions.index(wanted)

    def shape(self, factors: Sequence[int], bits: int, distance: int = 0) -> None:
        """Add a shape with these functions as factors, so far behind its nominal one."""
        self.shapes.append((len(self.factors), bits, distance))
        self.factors.extend(factors)


def _structure(model: histfactory.Model, order: Sequence[int]) -> _Structure:
    """Shapes of all components: the nominal one, and two for every histosys."""
    made = _Structure(np.zeros((len(model.channels) + 1, 2), dtype=np.int64), [], [], [])
    for q in order:
        made.channels[model.bin_factors[q].channel + 1 :, 1] += 1
    for component in model.components:
        first = made.channels[component.channel, 1]
        bits = sum(1 << int(order.index(q) - first) for q in component.gammas)
        common = [
            made.function(LINEAR if factor.lo is None else NORMSYS, factor.parameter)
            for factor in component.factors
        ]
        made.shape(common, bits)
        weights = [(kind, s.parameter) for s in component.shifts for kind in (UP, DOWN)]
        for distance, weight in enumerate(weights, 1):
            made.shape([*common, made.function(*weight)], bits, distance)
        made.channels[component.channel + 1 :, 0] = len(made.shapes)
    made.shapes.append((len(made.factors), 0, 0))
    return made


def _constraint_constant(model: histfactory.Model) -> float:
    """-ln of all constraint terms at their best value, as pyhf normalises them."""
    constant = 0.0
    for parameter in model.parameters:
        if parameter.sigma > 0.0:
            constant += math.log(parameter.sigma * math.sqrt(2.0 * math.pi))
    for factors in model.bin_factors:
        if factors.kind == GAUSSIAN:
            constant += float(np.sum(np.log(factors.width * math.sqrt(2.0 * math.pi))))
        else:
            aux = factors.aux
            log = np.log(np.where(aux > 0.0, aux, 1.0))
            constant += float(np.sum(gammaln(aux + 1.0) - aux * log + aux))
    return constant


def _folds(factor: histfactory.Factor) -> bool:
    """Whether both variations of a normsys pull in the same direction."""
    if factor.lo is None or factor.hi is None:
        return False
    return (factor.hi - 1.0) * (factor.lo - 1.0) > 0.0


def explored_parameters(models: Sequence[histfactory.Model]) -> Index:
    """Interpolated parameters from several values of which fits are started.

    All of them in models that have few; otherwise those whose two variations pull in the same
    direction somewhere, which makes a minimum on either side of the nominal value.
    """
    folded, interpolated = set(), set()
    for model in models:
        for component in model.components:
            for factor in component.factors:
                if factor.lo is not None and factor.hi is not None:
                    interpolated.add(factor.parameter)
                    if _folds(factor):
                        folded.add(factor.parameter)
            for shift in component.shifts:
                interpolated.add(shift.parameter)
                size = np.sum(shift.up**2 + shift.down**2)
                if -np.sum(np.minimum(shift.up * shift.down, 0.0)) > _FOLDED * size:
                    folded.add(shift.parameter)
    chosen = interpolated if len(interpolated) <= _FEW else folded
    return np.array(sorted(chosen), dtype=np.int64)


def may_have_several_minima(models: Sequence[histfactory.Model]) -> bool:
    """Whether interpolated uncertainties act on anything but the signal, or fold it.

    Linear models are convex. A normsys on the signal alone only rescales the parameter of
    interest and stays at its nominal value for any signal yield, unless both its variations go in
    the same direction, and a histosys there deforms what is a small part of the data: both keep
    one minimum.
    """
    for model in models:
        for component in model.components:
            scaled = any(f.parameter == model.poi for f in component.factors)
            interpolated = component.shifts or any(f.lo is not None for f in component.factors)
            if (interpolated and not scaled) or any(map(_folds, component.factors)):
                return True
    return False


@dataclass
class Group:
    """Points that share a structure, ready for the kernels."""

    members: Index  # their places in the user's list
    models: list[histfactory.Model]
    factor_order: list[int]  # bin factors in the order of the arrays
    arrays: ModelArrays
    gammas: GammaModel | None
    poi: int
    init: Array  # (points, parameters), as are low, high and aux
    low: Array
    high: Array
    aux: Array
    gamma_aux: Array  # (points, bin factors, bins)
    observed: Array  # (points, channels, bins)
    constant: Array  # (points,): what makes the constraints' likelihood pyhf's
    several_minima: bool
    explored: Index  # parameters from several values of which fits start, if so

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self.models)

    @property
    def parameters(self) -> int:
        """Number of scalar parameters."""
        return len(self.models[0].parameters)

    def buffers(self) -> Buffers:
        """Scratch space for one thread."""
        bins, parameters = self.observed.shape[2], self.parameters
        shapes = self.arrays.templates.shape[1]
        factors = int(np.max(np.diff(self.arrays.channels[:, 1])))
        lines = np.zeros((7, bins))
        return Buffers(
            rows=np.zeros((shapes if self.gammas else 0, bins)),
            coupling=np.zeros((factors, shapes, bins)),
            lines=lines,
            bits=lines.view(np.int64),
            values=np.zeros((self.arrays.functions.shape[0], 3)),
            coefficients=np.zeros(shapes),
            sums=np.zeros(shapes),
            live=np.zeros((2, shapes), np.int64),
            gram=np.zeros((shapes + 1, shapes + 1)),
            entries=np.zeros((self.arrays.factors.size, 2), np.uint64),
            slopes=np.zeros(self.arrays.factors.size),
            inner=np.zeros((4 + factors, factors)),
            cross=np.zeros((factors, factors)),
            matrix=np.zeros((2 + parameters, parameters)),
            order=np.zeros(parameters, np.int64),
        )


def build_group(members: Sequence[int], models: Sequence[histfactory.Model]) -> Group:
    """Stack models of equal structure into padded arrays."""
    first = models[0]
    order = _bin_factor_order(first)
    structure = _structure(first, order)
    n, bins, width = len(models), max(max(m.bins) for m in models), len(first.parameters)
    templates = np.zeros((n, len(structure.shapes) - 1, bins))
    norm = np.zeros((n, structure.normsys, 8))
    observed = np.zeros((n, len(first.channels), bins))
    aux, precision, init, low, high = (np.zeros((n, width)) for _ in range(5))
    # one in padded bins, so that nothing divides by zero there
    g_aux, g_width, g_low, g_high = (np.ones((n, len(order), bins)) for _ in range(4))
    for i, model in enumerate(models):
        slot = row = 0
        for component in model.components:
            for factor in component.factors:
                if factor.lo is not None and factor.hi is not None:
                    norm[i, slot] = code4_coefficients(factor.lo, factor.hi)
                    slot += 1
            shapes = [component.nominal]
            for shift in component.shifts:
                shapes += [shift.up, shift.down]
            for shape in shapes:
                templates[i, row, : shape.size] = shape
                row += 1
        for c, data in enumerate(model.observed):
            observed[i, c, : data.size] = data
        for p, parameter in enumerate(model.parameters):
            aux[i, p], init[i, p] = parameter.aux, parameter.init
            precision[i, p] = parameter.sigma**-2 if parameter.sigma > 0.0 else 0.0
            low[i, p] = parameter.init if parameter.fixed else parameter.low
            high[i, p] = parameter.init if parameter.fixed else parameter.high
        for g, q in enumerate(order):
            own = model.bin_factors[q]
            place = np.s_[i, g, : own.aux.size]
            g_aux[place] = own.aux
            g_width[place] = own.width if own.kind == POISSON else own.width**-2.0
            g_low[place] = np.where(own.fixed, own.init, own.low)
            g_high[place] = np.where(own.fixed, own.init, own.high)
    kind = np.array([first.bin_factors[q].kind for q in order], dtype=np.int64)
    return Group(
        members=np.asarray(members, dtype=np.int64),
        models=list(models),
        factor_order=order,
        arrays=ModelArrays(
            channels=structure.channels,
            shapes=np.array(structure.shapes, dtype=np.int64),
            factors=np.array(structure.factors, dtype=np.int64),
            functions=np.array(structure.functions, dtype=np.int64).reshape(-1, 3),
            bins=np.array([m.bins for m in models], dtype=np.int64),
            templates=templates,
            norm=norm,
            precision=precision,
        ),
        gammas=GammaModel(kind, g_width, g_low, g_high) if order else None,
        poi=first.poi,
        init=init,
        low=low,
        high=high,
        aux=aux,
        gamma_aux=g_aux,
        observed=observed,
        constant=np.array([_constraint_constant(m) for m in models]),
        several_minima=may_have_several_minima(models),
        explored=explored_parameters(models),
    )
