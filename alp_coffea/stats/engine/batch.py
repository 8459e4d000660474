"""Models of equal structure as one set of padded arrays."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from alp_coffea.errors import ModelError
from alp_coffea.stats.engine import histfactory
from alp_coffea.stats.engine.arrays import Array, Buffers, GammaModel, Index, ModelArrays
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


def _structure(model: histfactory.Model, order: Sequence[int]) -> tuple[Index, Index, Index, Index]:
    """The structure tables of :class:`ModelArrays`: channels, components, factors, shifts."""
    channels = np.zeros((len(model.channels) + 1, 2), dtype=np.int64)
    for component in model.components:
        channels[component.channel + 1 :, 0] += 1
    for q in order:
        channels[model.bin_factors[q].channel + 1 :, 1] += 1
    components = np.zeros((len(model.components) + 1, 3), dtype=np.int64)
    factors: list[tuple[int, int]] = []
    shifts: list[int] = []
    rows = 0
    for k, component in enumerate(model.components):
        for factor in component.factors:
            factors.append((factor.parameter, -1 if factor.lo is None else rows))
            rows += factor.lo is not None
        shifts.extend(shift.parameter for shift in component.shifts)
        first = channels[component.channel, 1]
        components[k, 2] = sum(1 << int(order.index(q) - first) for q in component.gammas)
        components[k + 1, :2] = len(factors), len(shifts)
    return (
        channels,
        components,
        np.asarray(factors, dtype=np.int64).reshape(-1, 2),
        np.asarray(shifts, dtype=np.int64),
    )


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
                    if (factor.hi - 1.0) * (factor.lo - 1.0) > 0.0:
                        folded.add(factor.parameter)
            for shift in component.shifts:
                interpolated.add(shift.parameter)
                size = np.sum(shift.up**2 + shift.down**2)
                if -np.sum(np.minimum(shift.up * shift.down, 0.0)) > _FOLDED * size:
                    folded.add(shift.parameter)
    chosen = interpolated if len(interpolated) <= _FEW else folded
    return np.array(sorted(chosen), dtype=np.int64)


def may_have_several_minima(models: Sequence[histfactory.Model]) -> bool:
    """Whether interpolated uncertainties act on anything but the signal.

    Linear models are convex. A normsys on the signal alone only rescales the parameter of
    interest and stays at its nominal value for any signal yield, and a histosys there deforms
    what is a small part of the data: both keep one minimum.
    """
    for model in models:
        for component in model.components:
            scaled = any(f.parameter == model.poi for f in component.factors)
            interpolated = component.shifts or any(f.lo is not None for f in component.factors)
            if interpolated and not scaled:
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
        components, shifts = self.arrays.nominal.shape[1], self.arrays.shifts.size
        factors = int(np.max(np.diff(self.arrays.channels[:, 1])))
        return Buffers(
            rows=np.zeros((components + 2 * shifts, bins)),
            coupling=np.zeros((factors, components + shifts, bins)),
            lines=np.zeros((6, bins)),
            bits=np.zeros(bins, np.int64),
            factor=np.zeros((self.arrays.factors.shape[0], 4)),
            product=np.zeros(components),
            sums=np.zeros(components + shifts),
            live=np.zeros(components + shifts, np.int64),
            owner=np.zeros(components + shifts, np.int64),
            used=np.zeros(components, np.int64),
            curved=np.zeros(components, np.int64),
            gram=np.zeros((components + shifts, components + shifts)),
            entry_index=np.zeros((2, self.arrays.factors.shape[0] + shifts), np.int64),
            entry_scale=np.zeros(self.arrays.factors.shape[0] + shifts),
            inner=np.zeros((4 + factors, factors)),
            cross=np.zeros((factors, factors)),
            matrix=np.zeros((parameters, parameters)),
            vectors=np.zeros((2, parameters)),
            order=np.zeros(parameters, np.int64),
        )


def build_group(members: Sequence[int], models: Sequence[histfactory.Model]) -> Group:
    """Stack models of equal structure into padded arrays."""
    first = models[0]
    order = _bin_factor_order(first)
    channels, components, factors, shifts = _structure(first, order)
    n, bins, width = len(models), max(max(m.bins) for m in models), len(first.parameters)
    nominal = np.zeros((n, len(first.components), bins))
    shift_arrays = np.zeros((n, 2 * shifts.size, bins))
    norm = np.zeros((n, int(np.sum(factors[:, 1] >= 0)), 8))
    observed = np.zeros((n, len(first.channels), bins))
    aux, precision, init, low, high = (np.zeros((n, width)) for _ in range(5))
    # one in padded bins, so that nothing divides by zero there
    g_aux, g_width, g_low, g_high = (np.ones((n, len(order), bins)) for _ in range(4))
    for i, model in enumerate(models):
        slot = h = 0
        for k, component in enumerate(model.components):
            nominal[i, k, : component.nominal.size] = component.nominal
            for factor in component.factors:
                if factor.lo is not None and factor.hi is not None:
                    norm[i, slot] = code4_coefficients(factor.lo, factor.hi)
                    slot += 1
            for shift in component.shifts:
                shift_arrays[i, h, : shift.up.size] = shift.up
                shift_arrays[i, h + 1, : shift.down.size] = shift.down
                h += 2
        for c, data in enumerate(model.observed):
            observed[i, c, : data.size] = data
        for p, parameter in enumerate(model.parameters):
            aux[i, p], init[i, p] = parameter.aux, parameter.init
            precision[i, p] = parameter.sigma**-2 if parameter.sigma > 0.0 else 0.0
            low[i, p] = parameter.init if parameter.fixed else parameter.low
            high[i, p] = parameter.init if parameter.fixed else parameter.high
        for g, q in enumerate(order):
            own = model.bin_factors[q]
            row = np.s_[i, g, : own.aux.size]
            g_aux[row] = own.aux
            g_width[row] = own.width if own.kind == POISSON else own.width**-2.0
            g_low[row] = np.where(own.fixed, own.init, own.low)
            g_high[row] = np.where(own.fixed, own.init, own.high)
    kind = np.array([first.bin_factors[q].kind for q in order], dtype=np.int64)
    return Group(
        members=np.asarray(members, dtype=np.int64),
        models=list(models),
        factor_order=order,
        arrays=ModelArrays(
            channels=channels,
            components=components,
            factors=factors,
            shifts=shifts,
            bins=np.array([m.bins for m in models], dtype=np.int64),
            nominal=nominal,
            shift=shift_arrays,
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
