"""Elimination of bin factors (``staterror``, ``shapesys``) from the likelihood.

For given scalar parameters the factors of one bin minimise a function of their own, in closed
form when there is one of them. What the minimiser sees is the profile over all bin factors, and
its Hessian is the Schur complement of an arrow-shaped matrix: the cost stays proportional to the
number of bins, and the factors' bounds are respected exactly (Barlow and Beeston, Comput. Phys.
Commun. 77 (1993) 219; Conway, arXiv:1103.0354).
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.stats.engine.arrays import (
    AUX_ROW,
    DATA_ROW,
    EXACT,
    FLOOR,
    INNER,
    INNER_KKT,
    POINT,
    SMALL,
    START,
)

_MAX_SWEEPS: Final = 200
_CONVERGED: Final = 1e-11
_SMALLEST_RATE: Final = 1e-10


@njit(**INNER)
def best_factor(n, rest, rate, kind, aux, width, low, high):  # type: ignore[no-untyped-def]
    """Minimum over one factor of nu - n log nu + constraint, with nu = rest + factor x rate.

    Gaussian (kind 0) and Poisson constraints both lead to a quadratic equation; its roots are
    written without cancellation.
    """
    if rate == 0.0:
        value = aux if kind == 0 else aux / width
    elif kind == 0:
        scale = rate / width
        spread = rate * scale
        b = spread - (rest + aux * rate)
        root = math.sqrt(b * b + 4.0 * n * spread)
        if n == 0.0:
            ratio = 0.0
        elif b > 0.0:
            ratio = (b + root) / (2.0 * spread)
        else:
            ratio = 2.0 * n / (root - b)
        value = aux - scale * (1.0 - ratio)
    else:
        a = (rate + width) * rate
        b = (rate + width) * rest - (aux + n) * rate
        c = -aux * rest
        root = math.sqrt(max(b * b - 4.0 * a * c, 0.0))
        q = -0.5 * (b + root) if b >= 0.0 else -0.5 * (b - root)
        first = q / a
        second = c / q if q != 0.0 else first
        # the function is convex where factor and nu are positive: one root qualifies
        value = max(first, second) if rate > 0.0 else min(max(first, 0.0), max(second, 0.0))
    return min(max(value, low), high)


@njit(**INNER)
def _bin_rates(model, value, c, m, i, b, rates):  # type: ignore[no-untyped-def]
    """nu of a bin; d(nu)/d(factor) into ``rates``, second derivatives into ``b.cross``."""
    nu = 0.0
    for t in range(m):
        rates[t] = 0.0
        for u in range(m):
            b.cross[t, u] = 0.0
    q0 = model.channels[c, 1]
    for s in range(model.channels[c, 0], model.channels[c + 1, 0]):
        mask, here = model.shapes[s, 1], b.coefficients[s] * b.rows[s, i]
        if here == 0.0:
            continue
        whole = here
        for t in range(m):
            if mask >> t & 1:
                whole *= value[q0 + t, i]
        nu += whole
        for t in range(m):
            if mask >> t & 1:
                without = here
                for u in range(m):
                    if u != t and mask >> u & 1:
                        without *= value[q0 + u, i]
                rates[t] += without
                for u in range(t):
                    if mask >> u & 1:
                        both = here
                        for r in range(m):
                            if r != t and r != u and mask >> r & 1:
                                both *= value[q0 + r, i]
                        b.cross[t, u] += both
    return nu


@njit(**INNER)
def _bin_system(gammas, p, value, aux, q0, m, i, n, nu, weights, b):  # type: ignore[no-untyped-def]
    """Gradient and lower Hessian of one bin in its factors; returns slope and curvature in nu.

    ``b.inner`` rows: 0 gradient, 1 rates (input), 2 step, 3 whether held, then the Hessian.
    """
    if weights == START:
        slope, curve = (nu - n) / max(nu, 1.0), 1.0 / max(nu, 1.0)
    else:
        slope = 1.0 - n / nu if n > 0.0 else 1.0
        if weights == EXACT:
            curve = n / (nu * nu) if n > 0.0 else 0.0
        else:
            curve = 1.0 / max(nu, _SMALLEST_RATE)
    for t in range(m):
        v, centre, width = value[q0 + t, i], aux[q0 + t, i], gammas.width[p, q0 + t, i]
        if gammas.kind[q0 + t] == 0:
            prior, prior2 = width * (v - centre), width
        else:
            prior, prior2 = width - centre / v, centre / (v * v)
        g = slope * b.inner[1, t] + prior
        b.inner[0, t] = g
        for u in range(t):
            h = curve * b.inner[1, t] * b.inner[1, u]
            if weights == EXACT:
                h += slope * b.cross[t, u]
            b.inner[4 + t, u] = h
        b.inner[4 + t, t] = curve * b.inner[1, t] * b.inner[1, t] + prior2
        low, high = gammas.low[p, q0 + t, i], gammas.high[p, q0 + t, i]
        held = low == high or (v <= low and g >= 0.0) or (v >= high and g <= 0.0)
        b.inner[3, t] = 1.0 if held else 0.0
    return slope, curve


@njit(**INNER)
def _residual(m, b):  # type: ignore[no-untyped-def]
    """Largest gradient of the free factors of a bin in units of their errors."""
    worst = 0.0
    for t in range(m):
        if b.inner[3, t] == 0.0:
            worst = max(worst, abs(b.inner[0, t]) / math.sqrt(max(b.inner[4 + t, t], 1e-300)))
    return worst


@njit(**INNER)
def _factorise(m, b):  # type: ignore[no-untyped-def]
    """Cholesky factor in place with inverse pivots; held factors get a zero pivot.

    Returns False if the Hessian of the free factors is not positive definite.
    """
    for t in range(m):
        for u in range(t + 1):
            total = b.inner[4 + t, u]
            for r in range(u):
                total -= b.inner[4 + t, r] * b.inner[4 + u, r]
            if b.inner[3, t] != 0.0 or b.inner[3, u] != 0.0:
                b.inner[4 + t, u] = 0.0
            elif u < t:
                b.inner[4 + t, u] = total * b.inner[4 + u, u]
            elif total > 0.0:
                b.inner[4 + t, t] = 1.0 / math.sqrt(total)
            else:
                return False
    return True


@njit(**INNER)
def _solve_bin(model, gammas, p, c, value, aux, m, i, n, b):  # type: ignore[no-untyped-def]
    """Minimise over two or more factors of one bin: exact sweeps, sped up by Newton steps."""
    q0 = model.channels[c, 1]
    for _ in range(_MAX_SWEEPS):
        for t in range(m):
            nu = _bin_rates(model, value, c, m, i, b, b.inner[1])
            q, rate = q0 + t, b.inner[1, t]
            value[q, i] = best_factor(
                n,
                nu - value[q, i] * rate,
                rate,
                gammas.kind[q],
                aux[q, i],
                gammas.width[p, q, i],
                gammas.low[p, q, i],
                gammas.high[p, q, i],
            )
        nu = _bin_rates(model, value, c, m, i, b, b.inner[1])
        if not nu > 0.0:
            return
        _bin_system(gammas, p, value, aux, q0, m, i, n, nu, EXACT, b)
        before = _residual(m, b)
        if before < _CONVERGED:
            return
        if not _factorise(m, b):
            continue
        for t in range(m):
            total = -b.inner[0, t]
            for u in range(t):
                total -= b.inner[4 + t, u] * b.inner[2, u]
            b.inner[2, t] = total * b.inner[4 + t, t]
        for t in range(m - 1, -1, -1):
            total = b.inner[2, t]
            for u in range(t + 1, m):
                total -= b.inner[4 + u, t] * b.inner[2, u]
            b.inner[2, t] = total * b.inner[4 + t, t]
        for t in range(m):
            old = value[q0 + t, i]
            moved = old + b.inner[2, t]
            value[q0 + t, i] = min(max(moved, gammas.low[p, q0 + t, i]), gammas.high[p, q0 + t, i])
            b.inner[2, t] = old
        nu = _bin_rates(model, value, c, m, i, b, b.inner[1])
        after = math.inf
        if nu > 0.0:
            _bin_system(gammas, p, value, aux, q0, m, i, n, nu, EXACT, b)
            after = _residual(m, b)
        if after < _CONVERGED:
            return
        if not after < before:
            for t in range(m):
                value[q0 + t, i] = b.inner[2, t]


@njit(**INNER)
def _start(gammas, p, value, aux, q0, m, i):  # type: ignore[no-untyped-def]
    """Put the factors of a bin where their constraints want them."""
    for q in range(q0, q0 + m):
        centre = aux[q, i] if gammas.kind[q] == 0 else aux[q, i] / gammas.width[p, q, i]
        value[q, i] = min(max(centre, gammas.low[p, q, i]), gammas.high[p, q, i])


@njit(**INNER)
def _constraint(gammas, p, value, aux, q0, m, i):  # type: ignore[no-untyped-def]
    """Constraint terms of a bin's factors, relative to their best value."""
    total = 0.0
    for q in range(q0, q0 + m):
        v, centre, width = value[q, i], aux[q, i], gammas.width[p, q, i]
        if gammas.kind[q] == 0:
            total += 0.5 * width * (v - centre) * (v - centre)
        else:
            total += width * v - centre
            if centre > 0.0:
                total += centre * math.log(centre / (width * v))
    return total


@njit(**SMALL)
def _one_factor(kind, n, i, q, weights, lines, value, aux, width, low, high):  # type: ignore[no-untyped-def]
    """Best factor of bin i; leaves nu and the weights of the coupling in ``lines``.

    Lines on entry: 1 rate without, 2 rate with the factor; on return 0 nu, 3 and 4 coupling per
    shape without and with it, 5 the factor. Returns (constraint, scaled gradient).
    """
    rest, rate = lines[1, i], lines[2, i]
    centre, spread = aux[q, i], width[q, i]
    lowest, highest = low[q, i], high[q, i]
    if weights == START:
        v = min(max(centre if kind == 0 else centre / spread, lowest), highest)
    else:
        v = best_factor(n, rest, rate, kind, centre, spread, lowest, highest)
    nu = rest + v * rate
    if kind == 0:
        pull = v - centre
        constraint, prior, prior2 = 0.5 * spread * pull * pull, spread * pull, spread
    else:
        constraint = spread * v - centre
        if centre > 0.0:
            constraint += centre * math.log(centre / (spread * v))
        prior, prior2 = spread - centre / v, centre / (v * v)
    if weights == START:
        curve = 1.0 / max(nu, 1.0)
        slope = (nu - n) * curve
    else:
        quotient = n / nu if n > 0.0 else 0.0
        slope = 1.0 - quotient
        if weights == EXACT:
            curve = quotient / nu if n > 0.0 else 0.0
        else:
            curve = 1.0 / max(nu, _SMALLEST_RATE)
    g = slope * rate + prior
    held = lowest == highest or (v <= lowest and g >= 0.0) or (v >= highest and g <= 0.0)
    root = math.sqrt(curve * rate * rate + prior2)
    inverse = 0.0 if held else 1.0 / root
    value[q, i] = v
    lines[0, i] = nu
    lines[3, i] = inverse * curve * rate
    lines[4, i] = v * lines[3, i] + (inverse * slope if weights == EXACT else 0.0)
    lines[5, i] = v
    return constraint, abs(g) * inverse


@njit(**INNER)
def _add_row(row, coefficient, nb, line):  # type: ignore[no-untyped-def]
    for i in range(nb):
        line[i] += coefficient * row[i]


@njit(**INNER)
def _multiply_row(row, weights, nb, out):  # type: ignore[no-untyped-def]
    for i in range(nb):
        out[i] = row[i] * weights[i]


@njit(**INNER)
def _eliminate_one(model, gammas, jobs, job, c, live, weights, b):  # type: ignore[no-untyped-def]
    """:func:`eliminate` for channels with one factor per bin: row by row instead of bin by bin."""
    p, nb = jobs.rows[job, POINT], model.bins[jobs.rows[job, POINT], c]
    q = model.channels[c, 1]
    rows, lines = b.rows, b.lines
    data, floor = jobs.data[jobs.rows[job, DATA_ROW], c], jobs.numbers[job, FLOOR]
    value, aux = jobs.gamma[job], jobs.gamma_aux[jobs.rows[job, AUX_ROW]]
    width, low, high = gammas.width[p], gammas.low[p], gammas.high[p]
    for i in range(nb):  # an assignment to a slice takes longer than all the rest
        lines[1, i] = lines[2, i] = 0.0
    for s in range(model.channels[c, 0], model.channels[c + 1, 0]):
        _add_row(rows[s], b.coefficients[s], nb, lines[1 + model.shapes[s, 1]])
    constraint, worst, kind = 0.0, 0.0, gammas.kind[q]
    for i in range(nb):
        n = data[i] if data[i] > 0.0 else floor
        term, g = _one_factor(kind, n, i, q, weights, lines, value, aux, width, low, high)
        constraint += term
        worst = max(worst, g)
    for a in range(live):
        s = b.live[0, a]
        _multiply_row(rows[s], lines[3 + model.shapes[s, 1]], nb, b.coupling[0, s])
        if model.shapes[s, 1]:
            _multiply_row(rows[s], lines[5], nb, rows[s])
    if weights != START:
        jobs.numbers[job, INNER_KKT] = max(jobs.numbers[job, INNER_KKT], worst)
    return constraint


@njit(**INNER)
def eliminate(model, gammas, jobs, job, c, live, weights, b):  # type: ignore[no-untyped-def]
    """Set the channel's bin factors to their best values for the current rates.

    Leaves nu in line 0 of ``b.lines``, the live shapes multiplied by the factors in ``b.rows``,
    and in ``b.coupling`` the derivatives of every live shape's rate with the factors' gradient
    over the Cholesky factor of each bin's Hessian.
    Returns the constraints' part of the likelihood, relative to its best value.
    """
    p, nb = jobs.rows[job, POINT], model.bins[jobs.rows[job, POINT], c]
    q0, m = model.channels[c, 1], model.channels[c + 1, 1] - model.channels[c, 1]
    for s in range(model.channels[c, 0], model.channels[c + 1, 0]):
        for i in range(nb):
            b.rows[s, i] = model.templates[p, s, i]
    if m == 1:
        return _eliminate_one(model, gammas, jobs, job, c, live, weights, b)
    data, floor = jobs.data[jobs.rows[job, DATA_ROW], c], jobs.numbers[job, FLOOR]
    value, aux = jobs.gamma[job], jobs.gamma_aux[jobs.rows[job, AUX_ROW]]
    constraint, worst = 0.0, 0.0
    for i in range(nb):
        n = data[i] if data[i] > 0.0 else floor
        if weights == START:
            _start(gammas, p, value, aux, q0, m, i)
        else:
            _solve_bin(model, gammas, p, c, value, aux, m, i, n, b)
        nu = _bin_rates(model, value, c, m, i, b, b.inner[1])
        slope, curve = _bin_system(gammas, p, value, aux, q0, m, i, n, nu, weights, b)
        if weights != START:
            worst = max(worst, _residual(m, b))
        if not _factorise(m, b):
            # only far from a minimum: take the expectation, which is positive definite
            _bin_system(gammas, p, value, aux, q0, m, i, n, nu, 1, b)
            _factorise(m, b)
        if weights != EXACT:
            slope = 0.0
        b.lines[0, i] = nu
        constraint += _constraint(gammas, p, value, aux, q0, m, i)
        for a in range(live):
            s = b.live[0, a]
            mask, shape = model.shapes[s, 1], b.rows[s, i]
            whole = shape
            for t in range(m):
                if mask >> t & 1:
                    whole *= value[q0 + t, i]
            for t in range(m):
                total = curve * b.inner[1, t] * whole
                if mask >> t & 1:
                    part = shape
                    for u in range(m):
                        if u != t and mask >> u & 1:
                            part *= value[q0 + u, i]
                    total += slope * part
                for u in range(t):
                    total -= b.inner[4 + t, u] * b.coupling[u, s, i]
                b.coupling[t, s, i] = total * b.inner[4 + t, t]
            b.rows[s, i] = whole
    jobs.numbers[job, INNER_KKT] = max(jobs.numbers[job, INNER_KKT], worst)
    return constraint
