"""The HistFactory likelihood with its exact gradient and Hessian.

The expected counts of a bin are the sum over components (samples) of
(nominal + histosys shifts) x (normfactors, lumi, normsys) x (bin factors). The negative log
likelihood is evaluated relative to the saturated model, sum of nu - n + n log(n / nu) plus half
the constraints' chi2, so that differences keep their digits; the constant that makes it pyhf's
is added outside.

Derivatives with respect to parameters follow from those with respect to the *shapes* (templates
of components and their histosys slopes), of which there are few: their weighted products are
summed over bins once, whatever the number of normalisation uncertainties.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from alp_coffea.stats.engine.arrays import ENTRY, EXACT, INLINE, INNER, LEAST_SQUARES, SUMS
from alp_coffea.stats.engine.bin_factors import eliminate, eliminate_one

_SMALLEST_RATE: Final = 1e-10  # keeps Fisher weights finite in bins that expect nothing
_SQRT_HALF_BITS: Final = 0x3FE6A09E667F3BCD
_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10


@njit(**INNER)
def _log_sum(n, ratio, bits, scratch, nb):  # type: ignore[no-untyped-def]
    """Sum of n log(ratio) over bins, for positive normal numbers.

    The reduction and polynomial of fdlibm's e_log.c (error below 1 ulp), written without
    branches so that it runs on vector units, which calls of the C library do not.
    """
    source = ratio.view(np.int64)
    mantissa = scratch.view(np.int64)
    for i in range(nb):
        k = (source[i] - _SQRT_HALF_BITS) >> 52
        bits[i] = k
        mantissa[i] = source[i] - (k << 52)
    for i in range(nb):
        k = float(bits[i])
        f = scratch[i] - 1.0
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
        scratch[i] = k * _LN2_HIGH - ((half - (s * (half + odd + even) + k * _LN2_LOW)) - f)
    return dot(n, scratch, nb)


@njit(**SUMS)
def dot(a, b, nb):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(nb):
        total += a[i] * b[i]
    return total


@njit(**INNER)
def normsys(alpha, c):  # type: ignore[no-untyped-def]
    """Interpolation code 4: value, first and second derivative.

    A polynomial of order six inside |alpha| < 1, exponential outside, twice continuously
    differentiable (Cranmer et al., CERN-OPEN-2012-016, section 4.1).
    """
    if alpha >= 1.0:
        f = math.exp(alpha * c[6])
        return f, c[6] * f, c[6] * c[6] * f
    if alpha <= -1.0:
        f = math.exp(-alpha * c[7])
        return f, -c[7] * f, c[7] * c[7] * f
    f, d, d2 = 0.0, 0.0, 0.0
    for k in range(5, -1, -1):
        d2 = d2 * alpha + 2.0 * d
        d = d * alpha + f
        f = f * alpha + c[k]
    # so far the polynomial without its constant, divided by alpha
    return 1.0 + alpha * f, f + alpha * d, 2.0 * d + alpha * d2


@njit(**INNER)
def histosys(alpha):  # type: ignore[no-untyped-def]
    """Interpolation code 4p: weights of (up - nominal) and (nominal - down), their first
    derivatives, and the second derivative of the first, which is minus that of the second.
    """
    if alpha > 1.0:
        return alpha, 0.0, 1.0, 0.0, 0.0
    if alpha < -1.0:
        return 0.0, alpha, 0.0, 1.0, 0.0
    a2 = alpha * alpha
    even = a2 * (a2 * (3.0 * a2 - 10.0) + 15.0) / 16.0
    even1 = alpha * (a2 * (18.0 * a2 - 40.0) + 30.0) / 16.0
    even2 = (a2 * (90.0 * a2 - 120.0) + 30.0) / 16.0
    return 0.5 * alpha + even, 0.5 * alpha - even, 0.5 + even1, 0.5 - even1, even2


@njit(**INNER)
def _plain_shape(nominal, p, k, nb, product, rows, lines):  # type: ignore[no-untyped-def]
    """Template of a component without histosys, added to the rates."""
    for i in range(nb):
        value = nominal[p, k, i]
        rows[k, i] = value
        lines[0, i] += product * value


@njit(**INNER)
def _shift_shape(shift, p, h, nb, weights, rows, k, first, shifts):  # type: ignore[no-untyped-def]
    """Add one histosys to its component's template; its slope and bend."""
    wu, wd, du, dd, d2 = weights
    for i in range(nb):
        up, down = shift[p, 2 * h, i], shift[p, 2 * h + 1, i]
        rows[k, i] += wu * up + wd * down
        rows[first + h, i] = du * up + dd * down
        rows[first + shifts + h, i] = d2 * (up - down)


@njit(**INLINE)
def _shapes(model, p, c, theta, vary, b):  # type: ignore[no-untyped-def]
    """Templates, histosys slopes and bends of the channel's components; its rates in line 0.

    Shapes that some varied parameter scales are listed in ``b.live``; returns their number.
    """
    nb = model.bins[p, c]
    first, shifts = model.components.shape[0] - 1, model.shifts.size
    rows, lines = b.rows, b.lines
    for i in range(nb):
        lines[0, i] = 0.0
    live = 0
    for k in range(model.channels[c, 0], model.channels[c + 1, 0]):
        j0, j1 = model.components[k, 0], model.components[k + 1, 0]
        product, varied, curved = 1.0, False, False
        for j in range(j0, j1):
            q, slot = model.factors[j, 0], model.factors[j, 1]
            if slot < 0:
                b.factor[j, 0], b.factor[j, 1], b.factor[j, 2] = theta[q], 1.0, 0.0
            else:
                f, d, d2 = normsys(theta[q], model.norm[p, slot])
                b.factor[j, 0], b.factor[j, 1], b.factor[j, 2] = f, d, d2
                curved = True
            product *= b.factor[j, 0]
        for j in range(j0, j1):
            rest = b.factor[j, 1]
            for other in range(j0, j1):
                if other != j:
                    rest *= b.factor[other, 0]
            b.factor[j, 3] = rest
            varied = varied or (vary[model.factors[j, 0]] and (rest != 0.0 or product != 0.0))
        b.product[k], b.curved[k] = product, curved
        b.used[k] = product != 0.0 or varied
        if not b.used[k]:
            continue
        h0, h1 = model.components[k, 1], model.components[k + 1, 1]
        if h0 == h1:
            _plain_shape(model.nominal, p, k, nb, product, rows, lines)
        else:
            for i in range(nb):
                rows[k, i] = model.nominal[p, k, i]
            for h in range(h0, h1):
                _shift_shape(
                    model.shift, p, h, nb, histosys(theta[model.shifts[h]]), rows, k, first, shifts
                )
                if vary[model.shifts[h]]:
                    b.live[live], b.owner[first + h] = first + h, k
                    live += 1
            for i in range(nb):
                lines[0, i] += product * rows[k, i]
        if varied:
            b.live[live], b.owner[k] = k, k
            live += 1
    return live


@njit(**SUMS)
def _bins(data, nb, weights, floor, lines, bits):  # type: ignore[no-untyped-def]
    """Sum of the bins' likelihood; their slopes and curvatures in nu go to lines 1 and 2.

    A positive ``floor`` stands in for the data of empty bins: a logarithmic barrier that keeps
    their expectation positive. Returns (sum, bins outside the domain, empty ones among them).
    """
    nu, slope, curvature, ratio = lines[0], lines[1], lines[2], lines[3]
    count, scratch = lines[4], lines[5]
    if weights == LEAST_SQUARES:
        for i in range(nb):
            curvature[i] = 1.0 / max(data[i], 1.0)
            slope[i] = (nu[i] - data[i]) * curvature[i]
        return 0.0, 0, 0
    outside, empty, total = 0, 0, 0.0
    for i in range(nb):
        n = data[i] if data[i] > 0.0 else floor
        bad = nu[i] < 0.0 or (nu[i] == 0.0 and n > 0.0)
        outside += 1 if bad else 0
        empty += 1 if bad and data[i] == 0.0 else 0
        safe = nu[i] if nu[i] > 0.0 else 1.0
        quotient = n / safe
        count[i] = n
        ratio[i] = quotient if quotient > 0.0 else 1.0
        slope[i] = 1.0 - quotient
        curvature[i] = quotient / safe if weights == EXACT else 1.0 / max(nu[i], _SMALLEST_RATE)
        total += nu[i] - n
    if outside > 0:
        return math.inf, outside, empty
    return total + _log_sum(count, ratio, bits, scratch, nb), 0, 0


@njit(**SUMS)
def _gram(rows, lines, live, shapes, nb, sums, products):  # type: ignore[no-untyped-def]
    """Sums over bins of slope x shape and of shape x curvature x shape, of the live shapes."""
    for a in range(shapes):
        v = live[a]
        total = 0.0
        for i in range(nb):
            total += lines[1, i] * rows[v, i]
            lines[3, i] = lines[2, i] * rows[v, i]
        sums[v] = total
        for c in range(a + 1):
            v2 = live[c]
            total = 0.0
            for i in range(nb):
                total += lines[3, i] * rows[v2, i]
            products[a, c] = total


@njit(**SUMS)
def _subtract_coupling(coupling, m, live, shapes, nb, products):  # type: ignore[no-untyped-def]
    """Schur complement: what the response of the bin factors takes off the Hessian."""
    for t in range(m):
        for a in range(shapes):
            v = live[a]
            for c in range(a + 1):
                v2 = live[c]
                total = 0.0
                for i in range(nb):
                    total += coupling[t, v, i] * coupling[t, v2, i]
                products[a, c] -= total


@njit(**INLINE)
def _first_order(model, shapes, vary, b, gradient, hessian):  # type: ignore[no-untyped-def]
    """Gradient, and the part of the Hessian that comes from products of first derivatives."""
    first = model.components.shape[0] - 1
    which, scale, place = b.entry_index[0], b.entry_scale, b.entry_index[1]
    n = 0
    for a in range(shapes):
        v = b.live[a]
        if v >= first:
            which[n], scale[n], place[n] = model.shifts[v - first], b.product[b.owner[v]], a
            n += 1
        else:
            for j in range(model.components[v, 0], model.components[v + 1, 0]):
                if vary[model.factors[j, 0]]:
                    which[n], scale[n], place[n] = model.factors[j, 0], b.factor[j, 3], a
                    n += 1
    for e in range(n):
        a = place[e]
        gradient[which[e]] += scale[e] * b.sums[b.live[a]]
        for e2 in range(e):
            value = scale[e] * scale[e2] * b.gram[a, place[e2]]
            hessian[which[e], which[e2]] += value
            hessian[which[e2], which[e]] += value
        hessian[which[e], which[e]] += scale[e] * scale[e] * b.gram[a, a]


@njit(**INLINE)
def _second_order(model, nb, k, vary, b, hessian):  # type: ignore[no-untyped-def]
    """Add the sum of slope x d2(rate of component k)/d(parameters)2 to the Hessian."""
    first, shifts = model.components.shape[0] - 1, model.shifts.size
    j0, j1 = model.components[k, 0], model.components[k + 1, 0]
    for j in range(j0, j1):
        q = model.factors[j, 0]
        if not vary[q]:
            continue
        own = b.factor[j, 2] * b.sums[k]
        for other in range(j0, j1):
            if other != j:
                own *= b.factor[other, 0]
        hessian[q, q] += own
        for other in range(j0, j):
            q2 = model.factors[other, 0]
            if vary[q2]:
                cross = b.factor[j, 1] * b.factor[other, 1] * b.sums[k]
                for rest in range(j0, j1):
                    if rest != j and rest != other:
                        cross *= b.factor[rest, 0]
                hessian[q, q2] += cross
                hessian[q2, q] += cross
    for h in range(model.components[k, 1], model.components[k + 1, 1]):
        q = model.shifts[h]
        if not vary[q]:
            continue
        hessian[q, q] += b.product[k] * dot(b.lines[1], b.rows[first + shifts + h], nb)
        for j in range(j0, j1):
            q2 = model.factors[j, 0]
            if vary[q2]:
                # adds twice to the diagonal if a normsys and a histosys share their parameter
                hessian[q, q2] += b.factor[j, 3] * b.sums[first + h]
                hessian[q2, q] += b.factor[j, 3] * b.sums[first + h]


@njit(**ENTRY)
def evaluate(model, gammas, jobs, active, weights, b):  # type: ignore[no-untyped-def]
    """Likelihood, gradient and Hessian of the ``active`` jobs, into ``jobs``.

    The value is inf where some bin expects a negative number of events, or none where events were
    seen; derivatives are then undefined. ``gammas`` is None for models without bin factors.
    """
    for place in range(active.size):
        job = active[place]
        p, aux = jobs.point[job], jobs.aux[jobs.aux_row[job]]
        theta, vary = jobs.theta[job], jobs.vary[job]
        gradient, hessian = jobs.gradient[job], jobs.hessian[job]
        gradient[:] = 0.0
        hessian[:, :] = 0.0
        jobs.inner[job] = 0.0
        jobs.empty[job] = False
        total = 0.0
        for c in range(model.channels.shape[0] - 1):
            nb, m = model.bins[p, c], 0
            live = _shapes(model, p, c, theta, vary, b)
            if gammas is not None:
                m = model.channels[c + 1, 1] - model.channels[c, 1]
                if m == 1:
                    total += eliminate_one(model, gammas, jobs, job, c, live, weights, b)
                elif m > 1:
                    total += eliminate(model, gammas, jobs, job, c, live, weights, b)
            data = jobs.data[jobs.data_row[job], c]
            value, outside, empty = _bins(data, nb, weights, jobs.floor[job], b.lines, b.bits)
            for i in range(nb):
                jobs.nu[job, c, i] = b.lines[0, i]
            total += value
            if outside > 0:
                jobs.empty[job] = empty > 0
                break
            _gram(b.rows, b.lines, b.live, live, nb, b.sums, b.gram)
            if gammas is not None:
                _subtract_coupling(b.coupling, m, b.live, live, nb, b.gram)
            _first_order(model, live, vary, b, gradient, hessian)
            if weights == EXACT:
                for k in range(model.channels[c, 0], model.channels[c + 1, 0]):
                    factors = model.components[k + 1, 0] - model.components[k, 0]
                    shifts = model.components[k + 1, 1] - model.components[k, 1]
                    if b.used[k] and (factors > 1 or shifts > 0 or b.curved[k]):
                        _second_order(model, nb, k, vary, b, hessian)
        for q in range(theta.size):
            if model.precision[p, q] > 0.0:
                pull = theta[q] - aux[q]
                total += 0.5 * model.precision[p, q] * pull * pull
                if vary[q]:
                    gradient[q] += model.precision[p, q] * pull
                    hessian[q, q] += model.precision[p, q]
        jobs.value[job] = total
