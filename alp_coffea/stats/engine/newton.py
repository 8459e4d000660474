"""Newton steps of bounded fits.

Clipping a step at the bounds stalls when several parameters sit there, as Bernstein coefficients
do; the quadratic model is therefore minimised inside the box exactly, with an active set.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from alp_coffea.stats.engine.arrays import (
    BASE,
    DESCENT,
    ENTRY,
    GRADIENT,
    HIGH,
    INNER,
    INNER_KKT,
    KKT,
    LOW,
    POI_CURVATURE,
    POI_SLOPE,
    RESTING,
    STATE,
    STEP,
    TANGENT,
    TARGET,
    THETA,
    VARY,
)

_TINY: Final = 1e-300
_SINGULAR: Final = 1e-14  # pivots smaller than this, relative to the diagonal, are rounding


@njit(**INNER)
def _factorise(h, order, free, out):  # type: ignore[no-untyped-def]
    """Cholesky factor of the rows in ``order``, inverse pivots on the diagonal."""
    for a in range(free):
        ra = order[a]
        for b in range(a):
            total = h[ra, order[b]]
            for t in range(b):
                total -= out[a, t] * out[b, t]
            out[a, b] = total * out[b, b]
        total = h[ra, ra]
        for t in range(a):
            total -= out[a, t] * out[a, t]
        if not total > _SINGULAR * h[ra, ra]:
            return False
        out[a, a] = 1.0 / math.sqrt(total)
    return True


@njit(**INNER)
def _solve(factor, x, free):  # type: ignore[no-untyped-def]
    for a in range(free):
        total = x[a]
        for t in range(a):
            total -= factor[a, t] * x[t]
        x[a] = total * factor[a, a]
    for a in range(free - 1, -1, -1):
        total = x[a]
        for t in range(a + 1, free):
            total -= factor[t, a] * x[t]
        x[a] = total * factor[a, a]


@njit(**INNER)
def _box(block, h, state, matrix, order):  # type: ignore[no-untyped-def]
    """Minimise g.d + d.h.d/2 with low <= theta + d <= high: primal active-set method.

    Returns the number of free parameters, or -1 if ``h`` is not positive definite on them.
    """
    theta, low, high = block[THETA], block[LOW], block[HIGH]
    g, step, n = block[GRADIENT], block[STEP], order.size
    target, factor, moved = matrix[0], matrix[2:], False
    for _ in range(4 * n + 20):
        free = np.int64(0)  # a literal would make numba compile what it is passed to twice
        for p in range(n):
            if state[p] == 0:
                order[free] = p
                free += 1
        if not _factorise(h, order, free, factor):
            return -1
        for a in range(free):
            p = order[a]
            target[a] = -g[p]
            if moved:  # to a bound: parameters that are not free
                for q in range(n):
                    if state[q] != 0:
                        target[a] -= h[p, q] * step[q]
        _solve(factor, target, free)
        fraction, blocking, side = 1.0, -1, 0
        for a in range(free):
            p = order[a]
            if theta[p] + target[a] < low[p]:
                reach, where = (low[p] - theta[p] - step[p]) / (target[a] - step[p]), -1
            elif theta[p] + target[a] > high[p]:
                reach, where = (high[p] - theta[p] - step[p]) / (target[a] - step[p]), 1
            else:
                continue
            if reach < fraction:
                fraction, blocking, side = reach, p, where
        for a in range(free):
            p = order[a]
            step[p] += fraction * (target[a] - step[p])
        if blocking >= 0:
            step[blocking] = (low[blocking] if side < 0 else high[blocking]) - theta[blocking]
            state[blocking], moved = side, True
            continue
        worst, release = 1e-10, -1
        for p in range(n):
            if (state[p] == -1 or state[p] == 1) and low[p] < high[p]:
                force = g[p]
                for q in range(n):
                    force += h[p, q] * step[q]
                curvature = h[p, p] if h[p, p] > _TINY else _TINY
                force *= state[p] / math.sqrt(curvature)
                if force > worst:
                    worst, release = force, p
        if release < 0:
            return free
        state[release] = 0
    return free


@njit(**ENTRY)
def newton_steps(block, hessians, flags, numbers, active, poi, ridge, matrix, order):  # type: ignore[no-untyped-def]
    """Newton step inside the box and KKT residual of the ``active`` jobs.

    The KKT residual is the largest projected gradient times the parameter's conditional error.
    A job whose Hessian is not positive definite gets a NaN in its numbers' DESCENT and its base
    as target.
    ``poi`` >= 0 asks for the profile along that parameter, which must be pinned: slope and
    curvature of the profile likelihood, and the tangent of the other parameters. ``ridge`` is
    added to the diagonal, relative to it.
    """
    n = order.size
    for place in range(active.size):
        job = active[place]
        own, h, info = block[job], hessians[job], numbers[job]
        vary, state = flags[job, VARY], flags[job, STATE]
        theta, low, high, g, step = own[THETA], own[LOW], own[HIGH], own[GRADIENT], own[STEP]
        base, target = own[BASE], own[TARGET]
        worst = 0.0
        for p in range(n):
            base[p] = target[p] = theta[p]
            step[p] = 0.0
            h[p, p] *= 1.0 + ridge
            if low[p] == high[p]:
                state[p] = -1
            elif not vary[p] or (g[p] == 0.0 and h[p, p] == 0.0):
                state[p] = 2  # nothing depends on it
            elif theta[p] <= low[p] and g[p] >= 0.0:
                state[p] = -1
            elif theta[p] >= high[p] and g[p] <= 0.0:
                state[p] = 1
            else:
                state[p] = 0
                curvature = h[p, p] if h[p, p] > _TINY else _TINY
                excess = g[p] * g[p] / curvature
                worst = excess if excess > worst else worst
                if g[p] == 0.0 and h[p, p] > 0.0:
                    state[p] = RESTING
                    for q in range(n):
                        if q != p and h[p, q] != 0.0:
                            state[p] = 0
        residual = math.sqrt(worst)
        info[KKT] = residual if residual > info[INNER_KKT] else info[INNER_KKT]
        free = _box(own, h, state, matrix, order)
        if free < 0:
            info[DESCENT] = math.nan
            continue
        descent = 0.0
        for p in range(n):
            descent += g[p] * step[p]
            if not vary[p]:
                continue
            if state[p] == -1:
                target[p] = low[p]
            elif state[p] == 1:
                target[p] = high[p]
            else:
                reached = theta[p] + step[p]
                reached = reached if reached > low[p] else low[p]
                target[p] = reached if reached < high[p] else high[p]
        info[DESCENT] = descent
        if poi >= 0:
            side, tangent = matrix[0], own[TANGENT]
            slope, curvature = g[poi], h[poi, poi]
            for p in range(n):
                slope += h[poi, p] * step[p]
                tangent[p] = 0.0
            for a in range(free):
                side[a] = -h[order[a], poi]
            _solve(matrix[2:], side, free)
            for a in range(free):
                tangent[order[a]] = side[a]
                curvature += h[poi, order[a]] * side[a]
            info[POI_SLOPE], info[POI_CURVATURE] = slope, curvature
