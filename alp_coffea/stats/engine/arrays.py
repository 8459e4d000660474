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
# get no Python entry point. There is no max and no min in kernels that every scan compiles, as each
# of them is one more function to compile.
ENTRY: Final[dict[str, Any]] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
}
INNER: Final[dict[str, Any]] = {**ENTRY, "no_cpython_wrapper": True}
SMALL: Final[dict[str, Any]] = {**INNER, "forceinline": True}
SUMS: Final[dict[str, Any]] = {**INNER, "fastmath": {"reassoc", "contract"}}

# Weights of the quadratic model: the exact Hessian, its expectation, or those of a least-squares
# start
EXACT: Final = 0
FISHER: Final = 1
START: Final = 2

# Kinds of functions of one parameter: the parameter itself, the interpolation of a normsys, and
# the weights of a histosys's (up - nominal) and (nominal - down)
LINEAR: Final = 0
NORMSYS: Final = 1
UP: Final = 2
DOWN: Final = 3


class ModelArrays(NamedTuple):
    """All points of one group: a common structure and templates padded to the same size.

    A shape is a template that is multiplied by functions of one parameter each, its factors: a
    sample in a channel has one, and two more for every histosys. Shapes are ordered by channel
    and factors by shape; tables of where they begin have one more row than what they describe.
    """

    channels: Index  # (channels + 1, 2): first shape, first bin factor
    shapes: Index  # (shapes + 1, 3): first factor, bits of bin factors, distance to the nominal one
    factors: Index  # (factors,): function
    functions: Index  # (functions, 3): kind, parameter, row of ``norm`` of a NORMSYS
    bins: Index  # (points, channels)
    templates: Array  # (points, shapes, bins): nominal, up - nominal, or nominal - down
    norm: Array  # (points, normsys, 8): polynomial coefficients 1 to 6, ln up, ln down
    precision: Array  # (points, parameters): 1/sigma^2, 0 without a constraint


class GammaModel(NamedTuple):
    """Bin factors of all points of a group; arrays are (points, bin factors, bins)."""

    kind: Index  # (bin factors,): 0 Gaussian, 1 Poisson constraint
    width: Array  # precision of a Gaussian, tau of a Poisson constraint
    low: Array
    high: Array


# Places in the arrays of :class:`JobArrays`
POINT, DATA_ROW, AUX_ROW = 0, 1, 2
THETA, LOW, HIGH, GRADIENT, STEP, BASE, TARGET, TANGENT = 0, 1, 2, 3, 4, 5, 6, 7
VARY, STATE = 0, 1
RESTING: Final = 3  # the STATE of a parameter at its minimum, whatever the others do
KKT, DESCENT, POI_SLOPE, POI_CURVATURE, VALUE, INNER_KKT, FLOOR, EMPTY = 0, 1, 2, 3, 4, 5, 6, 7


class JobArrays(NamedTuple):
    """What the kernels see of fits that run together; see :class:`Jobs` for the contents.

    Every array that a kernel is given costs time when it is compiled, hence so few of them.
    """

    rows: Index  # (jobs, 3)
    data: Array
    aux: Array
    gamma_aux: Array
    gamma: Array
    block: Array  # (jobs, 8, parameters)
    hessian: Array
    flags: NDArray[np.int8]  # (jobs, 2, parameters)
    numbers: Array  # (jobs, 8)
    nu: Array


class Jobs:
    """Fits that run together: one data set each, with the model of one point.

    Attributes are views of the arrays that the kernels see.
    """

    def __init__(self, arrays: JobArrays) -> None:
        rows, block, flags, numbers = arrays.rows, arrays.block, arrays.flags, arrays.numbers
        self.arrays = arrays
        self.point = rows[:, POINT]  # (jobs,)
        self.data_row = rows[:, DATA_ROW]  # (jobs,): row of ``data``
        self.aux_row = rows[:, AUX_ROW]  # (jobs,): row of ``aux`` and ``gamma_aux``
        self.data = arrays.data  # (data sets, channels, bins)
        self.aux = arrays.aux  # (auxiliary sets, parameters)
        self.gamma_aux = arrays.gamma_aux  # (auxiliary sets, bin factors, bins)
        self.gamma = arrays.gamma  # (jobs, bin factors, bins): current values
        self.nu = arrays.nu  # (jobs, channels, bins): expected counts
        self.hessian = arrays.hessian  # (jobs, parameters, parameters)
        # (jobs, parameters)
        self.theta = block[:, THETA]  # current values
        self.low = block[:, LOW]
        self.high = block[:, HIGH]
        self.gradient = block[:, GRADIENT]
        # Newton step inside the box; kernels take it from BASE to TARGET, exactly on its bounds
        self.step = block[:, STEP]
        self.tangent = block[:, TANGENT]  # d(parameters)/d(POI) along the profile
        self.vary: Flags = flags[:, VARY].view(np.bool_)  # derivatives are wanted
        self.state = flags[:, STATE]  # -1, 1 held at a bound, 0 or RESTING free, 2 without effect
        # (jobs,)
        self.info = numbers[:, : POI_CURVATURE + 1]  # columns KKT to POI_CURVATURE
        self.value = numbers[:, VALUE]  # -ln L relative to the saturated model
        self.floor = numbers[:, FLOOR]  # barrier, in events per empty bin
        self.empty = numbers[:, EMPTY]  # 1 outside the domain through a bin without events


class Buffers(NamedTuple):
    """Scratch space of one thread."""

    rows: Array  # (shapes, bins): templates times bin factors
    coupling: Array  # (bin factors of a channel, shapes, bins)
    lines: Array  # (7, bins): nu, its slope and curvature, and scratch
    bits: Index  # the same memory as integers
    values: Array  # (functions, 3): value and two derivatives
    coefficients: Array  # (shapes,): product of all factors
    sums: Array  # (shapes,): slope x shape
    live: Index  # (2, shapes): those with derivatives; place of every shape among them or -1
    gram: Array  # (shapes + 1, shapes + 1): shape x curvature x shape, of live ones
    # (factors, 2): parameter, place of its shape among the live ones; as unsigned integers, which
    # are quicker to index with
    entries: NDArray[np.uint64]
    slopes: Array  # (factors,): d(coefficient)/d(parameter) of these
    inner: Array  # (4 + bin factors, bin factors): one bin, see bin_factors
    cross: Array  # (bin factors, bin factors)
    matrix: Array  # (2 + parameters, parameters): two vectors and a Cholesky factor
    order: Index  # (parameters,)
