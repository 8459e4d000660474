"""The HistFactory likelihood with its exact gradient and Hessian.

The expected counts of a bin are a sum of templates, each times a product of *functions* of one
parameter: a normfactor or lumi itself, the interpolation of a normsys, or one of the two weights
with which a histosys adds its variations. Bin factors multiply them. The negative log likelihood
is evaluated relative to the saturated model, sum of nu - n + n log(n / nu) plus half the
constraints' chi2, so that differences keep their digits; the constant that makes it pyhf's is
added outside.

Derivatives with respect to parameters follow from those with respect to the coefficients of the
templates, whose weighted products are summed over bins once.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.stats.engine.arrays import (
    AUX_ROW,
    BASE,
    DATA_ROW,
    DOWN,
    EMPTY,
    ENTRY,
    EXACT,
    FLOOR,
    GRADIENT,
    INNER,
    INNER_KKT,
    LINEAR,
    NORMSYS,
    POINT,
    SMALL,
    START,
    SUMS,
    TARGET,
    THETA,
    VALUE,
    VARY,
)
from alp_coffea.stats.engine.bin_factors import eliminate

_LARGEST_WEIGHT: Final = 1e10  # of Fisher scoring, in bins that expect nothing
_SQRT_HALF_BITS: Final = 0x3FE6A09E667F3BCD
_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10


@njit(**INNER)
def _logarithms(lines, bits, nb):  # type: ignore[no-untyped-def]
    """Logarithms of line 3, positive normal numbers, into line 5.

    The reduction and polynomial of fdlibm's e_log.c (error below 1 ulp), written without
    branches so that it runs on vector units, which calls of the C library do not.
    """
    source, mantissa, exponent, logarithm = bits[3], bits[5], bits[6], lines[5]
    for i in range(nb):
        k = (source[i] - _SQRT_HALF_BITS) >> 52
        exponent[i] = k
        mantissa[i] = source[i] - (k << 52)
    for i in range(nb):
        k = float(exponent[i])
        f = logarithm[i] - 1.0
        s = f / (2.0 + f)
        z = s * s
        v = z * z
        odd = v * (
            3.999999999940941908e-01 + v * (2.222219843214978396e-01 + v * 1.531383769920937332e-01)
        )
        even = z * (
            6.666666666666735130e-01
            + v
            * (
                2.857142874366239149e-01
                + v * (1.818357216161805012e-01 + v * 1.479819860511658591e-01)
            )
        )
        half = 0.5 * f * f
        logarithm[i] = k * _LN2_HIGH - ((half - (s * (half + odd + even) + k * _LN2_LOW)) - f)


@njit(**INNER)
def normsys(alpha, c):  # type: ignore[no-untyped-def]
    """Interpolation code 4: value, first and second derivative.

    A polynomial of order six inside |alpha| < 1, exponential outside, twice continuously
    differentiable (Cranmer et al., CERN-OPEN-2012-016, section 4.1).
    """
    if abs(alpha) >= 1.0:
        slope = c[6] if alpha > 0.0 else -c[7]
        f = math.exp(alpha * slope)
        return f, slope * f, slope * slope * f
    f, d, d2 = 0.0, 0.0, 0.0
    for k in range(5, -1, -1):
        d2 = d2 * alpha + 2.0 * d
        d = d * alpha + f
        f = f * alpha + c[k]
    # so far the polynomial without its constant, divided by alpha
    return 1.0 + alpha * f, f + alpha * d, 2.0 * d + alpha * d2


@njit(**INNER)
def histosys(alpha, sign):  # type: ignore[no-untyped-def]
    """Interpolation code 4p: weight of (up - nominal) for ``sign`` 1, of (nominal - down) for -1,
    and its first and second derivatives.
    """
    if abs(alpha) > 1.0:
        return (alpha, 1.0, 0.0) if alpha * sign > 0.0 else (0.0, 0.0, 0.0)
    a2 = alpha * alpha
    even = a2 * (a2 * (3.0 * a2 - 10.0) + 15.0)
    even1 = alpha * (a2 * (18.0 * a2 - 40.0) + 30.0)
    even2 = a2 * (90.0 * a2 - 120.0) + 30.0
    scale = sign / 16.0
    return 0.5 * alpha + scale * even, 0.5 + scale * even1, scale * even2


@njit(**SMALL)
def _values(functions, norm, theta, values):  # type: ignore[no-untyped-def]
    """Value and two derivatives of every function of one parameter."""
    for f in range(functions.shape[0]):
        kind, x = functions[f, 0], theta[functions[f, 1]]
        if kind == LINEAR:
            values[f, 0], values[f, 1], values[f, 2] = x, 1.0, 0.0
        elif kind == NORMSYS:
            values[f, 0], values[f, 1], values[f, 2] = normsys(x, norm[functions[f, 2]])
        else:
            sign = -1.0 if kind == DOWN else 1.0
            values[f, 0], values[f, 1], values[f, 2] = histosys(x, sign)


@njit(**SMALL)
def _product(factors, values, first, last, skip, skip2):  # type: ignore[no-untyped-def]
    """Product of the functions of one shape, leaving out one or two of them."""
    product = 1.0
    for e in range(first, last):
        if e != skip and e != skip2:
            product *= values[factors[e], 0]
    return product


@njit(**SMALL)
def _coefficients(begin, end, tables, vary, values, coefficients, live):  # type: ignore[no-untyped-def]
    """Coefficients of a channel's shapes.

    Shapes whose coefficient can change are listed in row 0 of ``live``, their places in the
    list (otherwise -1) in row 1. Returns their number.
    """
    shapes, factors, functions = tables
    count = 0
    for s in range(begin, end):
        coefficient, varied, dead = 1.0, False, False
        for e in range(shapes[s, 0], shapes[s + 1, 0]):
            value = values[factors[e], 0]
            coefficient *= value
            if vary[functions[factors[e], 1]]:
                varied = True
            elif value == 0.0:
                dead = True
        coefficients[s] = coefficient
        live[1, s] = -1
        if varied and not dead:
            live[0, count], live[1, s] = s, count
            count += 1
    return count


@njit(**SMALL)
def _rates(rows, coefficients, first, last, nb, nu):  # type: ignore[no-untyped-def]
    """Expected counts: the sum of coefficients times shapes."""
    for i in range(nb):
        nu[i] = 0.0
    for s in range(first, last):
        coefficient = coefficients[s]
        if coefficient != 0.0:
            for i in range(nb):
                nu[i] += coefficient * rows[s, i]


@njit(**SUMS)
def _bins(data, nb, weights, floor, lines, bits):  # type: ignore[no-untyped-def]
    """Sum of the bins' likelihood; their slopes and curvatures in nu go to lines 1 and 2.

    A positive ``floor`` stands in for the data of empty bins: a logarithmic barrier that keeps
    their expectation positive. Returns (sum, bins outside the domain, empty ones among them).
    """
    nu, slope, curvature, ratio, count = lines[0], lines[1], lines[2], lines[3], lines[4]
    if weights == START:
        for i in range(nb):
            curvature[i] = 1.0 / (nu[i] if nu[i] > 1.0 else 1.0)
            slope[i] = (nu[i] - data[i]) * curvature[i]
        return 0.0, 0, 0
    outside, empty, total = 0, 0, 0.0
    for i in range(nb):
        n = data[i] if data[i] > 0.0 else floor
        bad = nu[i] < 0.0 or (nu[i] == 0.0 and n > 0.0)
        outside += 1 if bad else 0
        empty += 1 if bad and data[i] == 0.0 else 0
        inverse = 1.0 / (nu[i] if nu[i] > 0.0 else 1.0)
        quotient = n * inverse
        count[i] = n
        ratio[i] = quotient if quotient > 0.0 else 1.0
        slope[i] = 1.0 - quotient
        curvature[i] = (
            quotient * inverse
            if weights == EXACT
            else inverse
            if inverse < _LARGEST_WEIGHT
            else _LARGEST_WEIGHT
        )
        total += nu[i] - n
    if outside > 0:
        return math.inf, outside, empty
    _logarithms(lines, bits, nb)
    for i in range(nb):
        total += count[i] * lines[5, i]
    return total, 0, 0


@njit(**SUMS)
def _gram(rows, lines, live, shapes, nb, sums, products):  # type: ignore[no-untyped-def]
    """Sums over bins of slope x shape and of shape x curvature x shape, of the live shapes.

    Two by two, as reading takes longer than multiplying; with an odd number of shapes the last one
    is its own partner, for which ``products`` has a row and a column to spare.
    """
    for a in range(0, shapes, 2):
        s, r = live[a], live[a + 1 if a + 1 < shapes else a]
        sum_s, sum_r, ss, sr, rr = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(nb):
            sum_s += lines[1, i] * rows[s, i]
            sum_r += lines[1, i] * rows[r, i]
            weighted_s = lines[2, i] * rows[s, i]
            weighted_r = lines[2, i] * rows[r, i]
            ss += weighted_s * rows[s, i]
            sr += weighted_s * rows[r, i]
            rr += weighted_r * rows[r, i]
            lines[3, i] = weighted_s
            lines[5, i] = weighted_r
        sums[s], sums[r] = sum_s, sum_r
        products[a, a], products[a + 1, a + 1] = ss, rr
        products[a, a + 1] = products[a + 1, a] = sr
        for c in range(0, a, 2):
            t, u = live[c], live[c + 1]
            st, su, rt, ru = 0.0, 0.0, 0.0, 0.0
            for i in range(nb):
                st += lines[3, i] * rows[t, i]
                su += lines[3, i] * rows[u, i]
                rt += lines[5, i] * rows[t, i]
                ru += lines[5, i] * rows[u, i]
            products[a, c] = products[c, a] = st
            products[a, c + 1] = products[c + 1, a] = su
            products[a + 1, c] = products[c, a + 1] = rt
            products[a + 1, c + 1] = products[c + 1, a + 1] = ru


@njit(**SUMS)
def _subtract_coupling(coupling, m, live, shapes, nb, products):  # type: ignore[no-untyped-def]
    """Schur complement: what the response of the bin factors takes off the Hessian.

    Two by two, as in :func:`_gram`.
    """
    for k in range(m):
        for a in range(0, shapes, 2):
            s, r = live[a], live[a + 1 if a + 1 < shapes else a]
            for c in range(0, a + 1, 2):
                t, u = live[c], live[c + 1 if c + 1 < shapes else c]
                st, su, rt, ru = 0.0, 0.0, 0.0, 0.0
                for i in range(nb):
                    st += coupling[k, s, i] * coupling[k, t, i]
                    su += coupling[k, s, i] * coupling[k, u, i]
                    rt += coupling[k, r, i] * coupling[k, t, i]
                    ru += coupling[k, r, i] * coupling[k, u, i]
                products[a, c] -= st
                products[a, c + 1] -= su
                products[a + 1, c] -= rt
                products[a + 1, c + 1] -= ru
                products[c, a], products[c + 1, a] = products[a, c], products[a, c + 1]
                products[c, a + 1], products[c + 1, a + 1] = (
                    products[a + 1, c],
                    products[a + 1, c + 1],
                )


@njit(**SMALL)
def chain_rule(tables, exact, vary, b, gradient, hessian, count):  # type: ignore[no-untyped-def]
    """Gradient and Hessian in the parameters from those in the coefficients of live shapes."""
    shapes, factors, functions = tables
    values, live, sums, gram, entries, slopes = b
    # nominal shapes stand for all that is added to them, as far as common factors go
    for a in range(count):
        s = live[0, a]
        base = live[1, s - shapes[s, 2]]
        if base < a and base >= 0:
            weight = values[factors[shapes[s + 1, 0] - 1], 0]
            sums[s - shapes[s, 2]] += weight * sums[s]
            for t in range(count):
                gram[base, t] += weight * gram[a, t]
            for t in range(count):
                gram[t, base] += weight * gram[t, a]
    n = 0
    for a in range(count):
        s = live[0, a]
        first, last = shapes[s, 0], shapes[s + 1, 0]
        for e in range(first if shapes[s, 2] == 0 else last - 1, last):
            f = factors[e]
            q = functions[f, 1]
            if not vary[q]:
                continue
            rest = _product(factors, values, first, last, e, e)
            slope = values[f, 1] * rest
            entries[n, 0], entries[n, 1], slopes[n] = q, a, slope
            n += 1
            gradient[q] += slope * sums[s]
            if not exact:
                continue
            hessian[q, q] += values[f, 2] * rest * sums[s]
            for other in range(first, e):
                f2 = factors[other]
                q2 = functions[f2, 1]
                if vary[q2]:
                    rest = _product(factors, values, first, last, e, other)
                    cross = values[f, 1] * values[f2, 1] * rest * sums[s]
                    # adds twice to the diagonal if both are functions of one parameter
                    hessian[q, q2] += cross
                    hessian[q2, q] += cross
    for e in range(n):
        q, a = entries[e, 0], entries[e, 1]
        for other in range(e):
            q2 = entries[other, 0]
            cross = slopes[e] * slopes[other] * gram[a, entries[other, 1]]
            hessian[q, q2] += cross
            hessian[q2, q] += cross
        hessian[q, q] += slopes[e] * slopes[e] * gram[a, a]


@njit(**ENTRY)
def evaluate(model, gammas, jobs, active, weights, fraction, b):  # type: ignore[no-untyped-def]
    """Likelihood, gradient and Hessian of the ``active`` jobs, into ``jobs``.

    The value is inf where some bin expects a negative number of events, or none where events were
    seen; derivatives are then undefined. A ``fraction`` of 0 or more is where on the way of their
    last Newton steps, from base to target, the jobs are put before. ``gammas`` is None for models
    without bin factors.
    """
    tables = (model.shapes, model.factors, model.functions)
    chain = (b.values, b.live, b.sums, b.gram, b.entries, b.slopes)
    for place in range(active.size):
        job = active[place]
        p, aux = jobs.rows[job, POINT], jobs.aux[jobs.rows[job, AUX_ROW]]
        theta, gradient = jobs.block[job, THETA], jobs.block[job, GRADIENT]
        base, target = jobs.block[job, BASE], jobs.block[job, TARGET]
        vary, hessian = jobs.flags[job, VARY], jobs.hessian[job]
        for q in range(theta.size):
            if fraction == 1.0:
                theta[q] = target[q]
            elif fraction == 0.0:
                theta[q] = base[q]
            elif fraction > 0.0:
                theta[q] = base[q] + fraction * (target[q] - base[q])
            gradient[q] = 0.0
            for q2 in range(theta.size):
                hessian[q, q2] = 0.0
        numbers = jobs.numbers[job]
        numbers[INNER_KKT] = numbers[EMPTY] = total = 0.0
        _values(model.functions, model.norm[p], theta, b.values)
        for c in range(model.channels.shape[0] - 1):
            nb = model.bins[p, c]
            begin, end = model.channels[c, 0], model.channels[c + 1, 0]
            live = _coefficients(begin, end, tables, vary, b.values, b.coefficients, b.live)
            rows = model.templates[p]
            if gammas is None:
                _rates(rows, b.coefficients, begin, end, nb, b.lines[0])
            else:
                total += eliminate(model, gammas, jobs, job, c, live, weights, b)
                rows = b.rows
            data = jobs.data[jobs.rows[job, DATA_ROW], c]
            value, outside, empty = _bins(data, nb, weights, numbers[FLOOR], b.lines, b.bits)
            for i in range(nb):
                jobs.nu[job, c, i] = b.lines[0, i]
            total += value
            if outside > 0:
                numbers[EMPTY] = 1.0 if empty > 0 else 0.0
                break
            _gram(rows, b.lines, b.live[0], live, nb, b.sums, b.gram)
            if gammas is not None:
                m = model.channels[c + 1, 1] - model.channels[c, 1]
                _subtract_coupling(b.coupling, m, b.live[0], live, nb, b.gram)
            chain_rule(tables, weights == EXACT, vary, chain, gradient, hessian, live)
        for q in range(theta.size):
            precision = model.precision[p, q]
            if precision > 0.0:
                pull = theta[q] - aux[q]
                total += 0.5 * precision * pull * pull
                if vary[q]:
                    gradient[q] += precision * pull
                    hessian[q, q] += precision
        numbers[VALUE] = total
