"""Array layouts shared by the kernels of the engine."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Compilation options. In sums the order of additions is free, which lets them use vector units;
# nothing else is relaxed, so that inf and nan keep their meaning. Functions that only kernels call
# get no Python entry point, and those with one caller are inlined: passing dozens of arrays would
# cost more than what they do.
ENTRY: Final[dict[str, Any]] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
}
INNER: Final[dict[str, Any]] = {**ENTRY, "no_cpython_wrapper": True}
SUMS: Final[dict[str, Any]] = {**INNER, "fastmath": {"reassoc", "contract"}}
INLINE: Final[dict[str, Any]] = {**INNER, "inline": "always"}

# Weights of the quadratic model: the exact Hessian, its expectation, or a least-squares start
EXACT: Final = 0
FISHER: Final = 1
LEAST_SQUARES: Final = 2


class ModelArrays(NamedTuple):
    """All points of one group: a common structure and templates padded to the same size.

    A component is a sample in a channel; components are ordered by channel, factors and shifts by
    component. ``first_*`` columns have one more row than what they describe.
    """

    channels: Index  # (channels + 1, 2): first component, first bin factor
    components: Index  # (components + 1, 3): first factor, first shift, bits of bin factors
    factors: Index  # (factors, 2): parameter, row of ``norm`` or -1 for linear factors
    shifts: Index  # (shifts,): parameter
    bins: Index  # (points, channels)
    nominal: Array  # (points, components, bins)
    shift: Array  # (points, 2 x shifts, bins): up - nominal, nominal - down, ...
    norm: Array  # (points, normsys, 8): polynomial coefficients 1 to 6, ln up, ln down
    precision: Array  # (points, parameters): 1/sigma^2, 0 without a constraint


class GammaModel(NamedTuple):
    """Bin factors of all points of a group; arrays are (points, bin factors, bins)."""

    kind: Index  # (bin factors,): 0 Gaussian, 1 Poisson constraint
    width: Array  # precision of a Gaussian, tau of a Poisson constraint
    low: Array
    high: Array


class Jobs(NamedTuple):
    """Fits that run together: one data set each, with the model of one point."""

    point: Index  # (jobs,)
    data_row: Index  # (jobs,): row of ``data``
    aux_row: Index  # (jobs,): row of ``aux`` and ``gamma_aux``
    data: Array  # (data sets, channels, bins)
    aux: Array  # (auxiliary sets, parameters)
    gamma_aux: Array  # (auxiliary sets, bin factors, bins)
    theta: Array  # (jobs, parameters): current values
    gamma: Array  # (jobs, bin factors, bins): current values, or empty without bin factors
    low: Array  # (jobs, parameters)
    high: Array  # (jobs, parameters)
    vary: Flags  # (jobs, parameters): derivatives are wanted
    value: Array  # (jobs,): -ln L relative to the saturated model
    nu: Array  # (jobs, channels, bins): expected counts
    gradient: Array  # (jobs, parameters)
    hessian: Array  # (jobs, parameters, parameters)
    inner: Array  # (jobs,): largest scaled gradient of the bin factors
    empty: Flags  # (jobs,): outside the domain, through a bin without events
    floor: Array  # (jobs,): barrier, in events per empty bin
    step: Array  # (jobs, parameters): Newton step inside the box
    target: Array  # (jobs, parameters): where the step leads, exactly on the bounds it reaches
    tangent: Array  # (jobs, parameters): d(parameters)/d(POI) along the profile
    state: NDArray[np.int8]  # (jobs, parameters): -1, 1 held at a bound, 0 free, 2 without effect
    info: Array  # (jobs, 4): KKT residual, gradient x step, slope and curvature in the POI


class Buffers(NamedTuple):
    """Scratch space of one thread."""

    rows: Array  # (components + 2 x shifts, bins): templates, histosys slopes and bends
    coupling: Array  # (bin factors of a channel, components + shifts, bins)
    lines: Array  # (6, bins): nu, its slope and curvature, and scratch
    bits: Index  # (bins,)
    factor: Array  # (factors, 4): value, two derivatives, d(product)/d(parameter)
    product: Array  # (components,): of all factors
    sums: Array  # (components + shifts,): slope x shape
    live: Index  # (components + shifts,)
    owner: Index  # (components + shifts,): component of a shape
    used: Index  # (components,)
    curved: Index  # (components,): has normsys factors
    gram: Array  # (components + shifts, same): shape x curvature x shape, lower triangle
    entry_index: Index  # (2, factors + shifts): parameter, place of its shape in ``live``
    entry_scale: Array  # (factors + shifts,): d(rate)/d(parameter) in units of the shape
    inner: Array  # (4 + bin factors, bin factors): one bin, see bin_factors
    cross: Array  # (bin factors, bin factors)
    matrix: Array  # (parameters, parameters): Cholesky factor
    vectors: Array  # (2, parameters)
    order: Index  # (parameters,)
