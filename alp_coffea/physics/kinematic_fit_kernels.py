"""Compiled part of :mod:`alp_coffea.physics.kinematic_fit`: one event after the other.

Method of Lagrange multipliers with relinearised constraints (R. Fruehwirth et al., Data Analysis
Techniques for High-Energy Physics, 2nd ed., sec. 3.4): with measured parameters y0 of covariance
V, the constraints f(y) = sum p(y) + q - P = 0 and their Jacobian J at the present y,

    y -> y0 - V J^T W (r + q),  W = (J V J^T)^-1,  r = sum p(y) - P + J (y0 - y),

whose fixed point is the stationary point of the constrained chi^2. q is the radiated four-momentum,
chosen again in every step; chi^2 = (r + q)^T W (r + q) there. GeV, rad.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

# what becomes of an event
CONVERGED: Final = 0
NOT_CONVERGED: Final = 1
BAD_PARTICLE: Final = 2
BAD_COVARIANCE: Final = 3
IMPOSSIBLE: Final = 4

# radiation: none, a free photon along one of the beams, one with its spectrum as prior
NO_RADIATION: Final = 0
FREE_RADIATION: Final = 1
PRIOR_RADIATION: Final = 2

#: smallest pivot, relative to the diagonal, of a covariance and of the constraints that counts as
#: regular; a missing direction leaves 1e-16
_REGULAR: Final = 1e-12
_INDEPENDENT: Final = 1e-14
#: asymmetry of a covariance, in units of its standard deviations, that is an error
_ASYMMETRY: Final = 1e-6
#: iterations after which the side of a free radiated photon is kept
_KEEP_SIDE: Final = 8
#: first iteration that is extrapolated, and by how much at most
_ACCELERATE: Final = 6
_LONGEST_STEP: Final = 20.0
#: largest share of a beam's energy that is radiated
_LARGEST_SHARE: Final = 0.99


@njit(cache=True, error_model="numpy")
def _bad_covariance(v):  # type: ignore[no-untyped-def]
    """Whether a (3, 3) matrix is no covariance: not finite, symmetric and positive definite."""
    for a in range(3):
        if not 0.0 < v[a, a] < math.inf:
            return True
    sigma_0, sigma_1, sigma_2 = math.sqrt(v[0, 0]), math.sqrt(v[1, 1]), math.sqrt(v[2, 2])
    ab = v[0, 1] / sigma_0 / sigma_1
    ac = v[0, 2] / sigma_0 / sigma_2
    bc = v[1, 2] / sigma_1 / sigma_2
    # comparisons with NaN are false
    if not (
        abs(v[1, 0] / sigma_0 / sigma_1 - ab) <= _ASYMMETRY
        and abs(v[2, 0] / sigma_0 / sigma_2 - ac) <= _ASYMMETRY
        and abs(v[2, 1] / sigma_1 / sigma_2 - bc) <= _ASYMMETRY
    ):
        return True
    left = 1.0 - ab * ab
    if not left > _REGULAR:
        return True
    return not 1.0 - ac * ac - (bc - ab * ac) ** 2 / left > _REGULAR


@njit(cache=True, error_model="numpy")
def _bad_particle(energy, theta, phi, mass):  # type: ignore[no-untyped-def]
    """Whether a particle is missing or cannot be."""
    return not (mass < energy < math.inf and 0.0 < theta < math.pi and abs(phi) < math.inf)


@njit(cache=True, error_model="numpy")
def _invert(s, inverse, lower):  # type: ignore[no-untyped-def]
    """Inverse of a symmetric positive (4, 4) matrix; False if it is singular."""
    for i in range(4):
        for j in range(i + 1):
            value = s[i, j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i == j:
                if not value > _INDEPENDENT * s[i, i]:
                    return False
                lower[i, i] = math.sqrt(value)
            else:
                lower[i, j] = value / lower[j, j]
    # columns of the inverse of the lower triangle, in place
    for j in range(4):
        lower[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, 4):
            value = 0.0
            for k in range(j, i):
                value -= lower[i, k] * lower[k, j]
            lower[i, j] = value / lower[i, i]
    for i in range(4):
        for j in range(i + 1):
            value = 0.0
            for k in range(i, 4):
                value += lower[k, i] * lower[k, j]
            inverse[i, j] = value
            inverse[j, i] = value
    return True


@njit(cache=True, error_model="numpy")
def _linearise(y, measured, v, mass, total, p4, jacobian, vjt, s, r):  # type: ignore[no-untyped-def]
    """Momenta, Jacobian blocks J, V J^T, S = J V J^T and residual r at the parameters ``y``."""
    for a in range(4):
        r[a] = -total[a]
        for b in range(4):
            s[a, b] = 0.0
    for i in range(len(mass)):
        energy = y[i, 0]
        p = energy if mass[i] == 0.0 else math.sqrt(energy * energy - mass[i] * mass[i])
        sine, cosine = math.sin(y[i, 1]), math.cos(y[i, 1])
        toward_x, toward_y = math.cos(y[i, 2]), math.sin(y[i, 2])
        p4[i, 0] = energy
        p4[i, 1] = p * sine * toward_x
        p4[i, 2] = p * sine * toward_y
        p4[i, 3] = p * cosine
        slope = energy / p
        j = jacobian[i]
        j[0, 0], j[0, 1], j[0, 2] = 1.0, 0.0, 0.0
        j[1, 0], j[1, 1], j[1, 2] = slope * sine * toward_x, p * cosine * toward_x, -p4[i, 2]
        j[2, 0], j[2, 1], j[2, 2] = slope * sine * toward_y, p * cosine * toward_y, p4[i, 1]
        j[3, 0], j[3, 1], j[3, 2] = slope * cosine, -p * sine, 0.0
        d0 = measured[i, 0] - y[i, 0]
        d1 = measured[i, 1] - y[i, 1]
        d2 = measured[i, 2] - y[i, 2]
        for a in range(4):
            r[a] += p4[i, a] + j[a, 0] * d0 + j[a, 1] * d1 + j[a, 2] * d2
            for b in range(3):
                vjt[i, b, a] = v[i, b, 0] * j[a, 0] + v[i, b, 1] * j[a, 1] + v[i, b, 2] * j[a, 2]
        for a in range(4):
            for b in range(a + 1):
                s[a, b] += j[a, 0] * vjt[i, 0, b] + j[a, 1] * vjt[i, 1, b] + j[a, 2] * vjt[i, 2, b]


@njit(cache=True, error_model="numpy")
def interpolate(table, spacing, largest, beta, z):  # type: ignore[no-untyped-def]
    """(ln I, mean) of the radiated energy at ``z``, see ``kinematic_fit.radiation_moments``.

    Outside the table the leading terms of the asymptotic series.
    """
    if z >= largest:
        # I -> sqrt(2 pi) z^(beta - 1), mean -> z - (1 - beta)/z
        return 0.5 * math.log(2.0 * math.pi) + (beta - 1.0) * math.log(z), z - (1.0 - beta) / z
    if z <= -largest:
        # I -> Gamma(beta) |z|^-beta exp(-z^2/2), mean -> beta/|z|
        return math.lgamma(beta) - beta * math.log(-z) - 0.5 * z * z, -beta / z
    position = (z + largest) / spacing
    k = min(int(position), len(table) - 2)
    t = position - k
    # cubic Hermite; the derivatives are known
    h1 = t * t * (3.0 - 2.0 * t)
    h0 = 1.0 - h1
    d0 = t * (1.0 - t) * (1.0 - t) * spacing
    d1 = t * t * (t - 1.0) * spacing
    left, right = table[k], table[k + 1]
    log_integral = h0 * left[0] + h1 * right[0] + d0 * left[2] + d1 * right[2]
    mean = h0 * left[1] + h1 * right[1] + d0 * left[3] + d1 * right[3]
    return log_integral, mean


@njit(cache=True, error_model="numpy")
def _radiation(  # type: ignore[no-untyped-def]
    mode, w, r, beams, table, spacing, largest, beta, side, share, covariance
):
    """Shares of the beams' energies that are radiated, given the linearised constraints.

    ``chi^2`` along beam b is (r + x p_b)^T W (r + x p_b), a parabola in the share x with its
    minimum at ``best`` and curvature 1/width^2. ``share`` (2,) and ``covariance`` (2, 2) are
    filled: with the minimum at x >= 0 of the better beam, or with the mean and the covariance of
    both under the prior x^(beta - 1). Returns the beam that is preferred.
    """
    share[:] = 0.0
    covariance[:, :] = 0.0
    if mode == NO_RADIATION:
        return -1
    best_0, width_0, best_1, width_1 = 0.0, 0.0, 0.0, 0.0
    for b in range(2):
        linear = 0.0
        square = 0.0
        for i in range(4):
            along = 0.0
            for j in range(4):
                along += w[i, j] * beams[b, j]
            linear += r[i] * along
            square += beams[b, i] * along
        if b == 0:
            best_0, width_0 = -linear / square, 1.0 / math.sqrt(square)
        else:
            best_1, width_1 = -linear / square, 1.0 / math.sqrt(square)
    z0, z1 = best_0 / width_0, best_1 / width_1
    if mode == FREE_RADIATION:
        if side < 0:
            side = 0 if z0 >= z1 else 1
        best, width = (best_0, width_0) if side == 0 else (best_1, width_1)
        share[side] = min(max(best, 0.0), _LARGEST_SHARE)
        covariance[side, side] = width * width
        return side
    log_0, mean_0 = interpolate(table, spacing, largest, beta, z0)
    log_1, mean_1 = interpolate(table, spacing, largest, beta, z1)
    # integral over x >= 0 of x^(beta-1) exp(-(chi^2(x) - chi^2(0))/2) = width^beta exp(z^2/2) I(z)
    difference = log_1 - log_0 + 0.5 * (z1 * z1 - z0 * z0) + beta * math.log(width_1 / width_0)
    if difference > 0.0:
        fraction_1 = 1.0 / (1.0 + math.exp(-difference))
        fraction_0 = math.exp(-difference) * fraction_1
    else:
        fraction_0 = 1.0 / (1.0 + math.exp(difference))
        fraction_1 = math.exp(difference) * fraction_0
    share[0] = min(fraction_0 * width_0 * mean_0, _LARGEST_SHARE)
    share[1] = min(fraction_1 * width_1 * mean_1, _LARGEST_SHARE)
    # E[u^2] = z E[u] + beta by partial integration
    second_0 = fraction_0 * width_0 * width_0 * (z0 * mean_0 + beta)
    second_1 = fraction_1 * width_1 * width_1 * (z1 * mean_1 + beta)
    covariance[0, 0] = max(second_0 - share[0] * share[0], 0.0)
    covariance[1, 1] = max(second_1 - share[1] * share[1], 0.0)
    covariance[0, 1] = covariance[1, 0] = -share[0] * share[1]
    return -1


@njit(cache=True, error_model="numpy")
def _reweight(v, v0, y, measured, alpha, n):  # type: ignore[no-untyped-def]
    """Covariance that makes the quadratic form follow a Crystal Ball tail of the energy.

    With the pull t = (E_measured - E)/sigma below -alpha, -ln L = n ln(n/alpha - alpha - t) has
    the derivative of w t^2/2 for w = n/((n/alpha - alpha + |t|) |t|): sigma^2 -> sigma^2/w, and
    correlations stay (iteratively reweighted least squares). Returns the change of the pull's
    weight.
    """
    change = 0.0
    for i in range(len(v)):
        t = (y[i, 0] - measured[i, 0]) / math.sqrt(v0[i, 0, 0])
        scale = 1.0
        if t > alpha[i]:
            scale = math.sqrt((n[i] / alpha[i] - alpha[i] + t) * t / n[i])
        old = math.sqrt(v[i, 0, 0] / v0[i, 0, 0])
        change = max(change, abs(scale - old) / scale)
        v[i, 0, 0] = v0[i, 0, 0] * scale * scale
        for a in range(1, 3):
            v[i, 0, a] = v0[i, 0, a] * scale
            v[i, a, 0] = v[i, 0, a]
    return change


@njit(cache=True, error_model="numpy")
def _step_length(iteration, last, along, norm):  # type: ignore[no-untyped-def]
    """Factor of the next step, from its scalar product with the last one and that one's square.

    Steps that shrink like lambda^k, or change sign, are extrapolated to their limit (Aitken),
    every third time: with a tail the linear convergence can be slow.
    """
    if iteration < _ACCELERATE or iteration % 3 != 0 or norm == 0.0:
        return 1.0
    shrinking = 1.0 - (1.0 - along / norm) / last
    if shrinking >= 1.0:
        return _LONGEST_STEP
    return min(max(1.0 / (1.0 - shrinking), 1.0 / _LONGEST_STEP), _LONGEST_STEP)


@njit(cache=True, error_model="numpy")
def _mass_errors(groups, p4, jacobian, vjt, v, w, beams, covariance, mass2, error):  # type: ignore[no-untyped-def]
    """Squared mass of each group of particles and its standard deviation.

    From the covariance of the fitted parameters, V - V J^T W J V, and that of the radiation.
    """
    gradient = np.empty(3)
    a = np.empty(4)
    for g in range(len(groups)):
        e = px = py = pz = 0.0
        for i in range(len(p4)):
            if groups[g, i]:
                e += p4[i, 0]
                px += p4[i, 1]
                py += p4[i, 2]
                pz += p4[i, 3]
        mass2[g] = e * e - px * px - py * py - pz * pz
        direct = 0.0
        a[:] = 0.0
        for i in range(len(p4)):
            if not groups[g, i]:
                continue
            j = jacobian[i]
            for b in range(3):
                gradient[b] = 2.0 * (e * j[0, b] - px * j[1, b] - py * j[2, b] - pz * j[3, b])
            for b in range(3):
                for c in range(3):
                    direct += gradient[b] * v[i, b, c] * gradient[c]
                for c in range(4):
                    a[c] += vjt[i, b, c] * gradient[b]
        reduction = 0.0
        along_0 = along_1 = 0.0
        for b in range(4):
            wa = 0.0
            for c in range(4):
                wa += w[b, c] * a[c]
            reduction += a[b] * wa
            along_0 += wa * beams[0, b]
            along_1 += wa * beams[1, b]
        radiated = (
            along_0 * along_0 * covariance[0, 0]
            + 2.0 * along_0 * along_1 * covariance[0, 1]
            + along_1 * along_1 * covariance[1, 1]
        )
        error[g] = math.sqrt(max(direct - reduction, 0.0) + radiated)


@njit(cache=True, error_model="numpy")
def fit_events(  # type: ignore[no-untyped-def]
    measured, covariance, mass, alpha, n, groups, beams, mode, table, spacing, largest, beta,
    tolerance, max_iterations, fitted, chi2, shares, mass2, error, iterations, status,
):  # fmt: skip
    """Fit every event; the arrays from ``fitted`` on are filled, NaN where ``status`` is not 0.

    ``measured`` (n, N, 3), ``covariance`` (n, N, 3, 3), ``mass``, ``alpha``, ``n`` (N,),
    ``groups`` (G, N), ``beams`` (2, 4); ``fitted`` (n, N, 3), ``chi2`` (n,), ``shares`` (n, 2),
    ``mass2`` and ``error`` (n, G), ``iterations`` and ``status`` (n,).
    """
    particles = len(mass)
    y = np.empty((particles, 3))
    step = np.empty((particles, 3))
    last = np.empty((particles, 3))
    v = np.empty((particles, 3, 3))
    p4 = np.empty((particles, 4))
    jacobian = np.empty((particles, 4, 3))
    vjt = np.empty((particles, 3, 4))
    s = np.empty((4, 4))
    w = np.empty((4, 4))
    lower = np.zeros((4, 4))
    r = np.empty(4)
    multiplier = np.empty(4)
    share_covariance = np.zeros((2, 2))
    total = beams[0] + beams[1]
    robust = False
    for i in range(particles):
        robust = robust or alpha[i] < math.inf
    for event in range(len(measured)):
        fitted[event] = math.nan
        chi2[event] = math.nan
        shares[event] = math.nan
        mass2[event] = math.nan
        error[event] = math.nan
        iterations[event] = 0
        status[event] = CONVERGED
        y0 = measured[event]
        v0 = covariance[event]
        for i in range(particles):
            if _bad_particle(y0[i, 0], y0[i, 1], y0[i, 2], mass[i]):
                status[event] = BAD_PARTICLE
                break
            if status[event] == CONVERGED and _bad_covariance(v0[i]):
                status[event] = BAD_COVARIANCE
        if status[event] != CONVERGED:
            continue
        y[:] = y0
        v[:] = v0
        share = shares[event]
        side = -1
        status[event] = NOT_CONVERGED
        scale = 1.0
        last[:] = 0.0
        for iteration in range(1, max_iterations + 1):
            iterations[event] = iteration
            _linearise(y, y0, v, mass, total, p4, jacobian, vjt, s, r)
            if not _invert(s, w, lower):
                status[event] = IMPOSSIBLE
                break
            chosen = _radiation(
                mode, w, r, beams, table, spacing, largest, beta, side, share, share_covariance
            )
            if iteration == _KEEP_SIDE:
                side = chosen
            value = 0.0
            for a in range(4):
                r[a] += share[0] * beams[0, a] + share[1] * beams[1, a]
            for a in range(4):
                multiplier[a] = w[a, 0] * r[0] + w[a, 1] * r[1] + w[a, 2] * r[2] + w[a, 3] * r[3]
                value += r[a] * multiplier[a]
            chi2[event] = value
            moved = 0.0
            along = 0.0
            norm = 0.0
            for i in range(particles):
                for a in range(3):
                    move = y0[i, a] - y[i, a]
                    for b in range(4):
                        move -= vjt[i, a, b] * multiplier[b]
                    step[i, a] = move
                    pull = move / math.sqrt(v0[i, a, a])
                    moved = max(moved, abs(pull))
                    along += pull * last[i, a]
                    norm += last[i, a] * last[i, a]
                    last[i, a] = pull
            if not moved < math.inf:
                break
            scale = _step_length(iteration, scale, along, norm)
            for i in range(particles):
                # at most the part of the step that leaves a possible particle
                lowest = mass[i] + 0.1 * (y[i, 0] - mass[i])
                if y[i, 0] + scale * step[i, 0] < lowest:
                    scale = (lowest - y[i, 0]) / step[i, 0]
                if y[i, 1] + scale * step[i, 1] <= 0.0:
                    scale = -0.5 * y[i, 1] / step[i, 1]
                elif y[i, 1] + scale * step[i, 1] >= math.pi:
                    scale = 0.5 * (math.pi - y[i, 1]) / step[i, 1]
            for i in range(particles):
                for a in range(3):
                    y[i, a] += scale * step[i, a]
            if robust:
                moved = max(moved, _reweight(v, v0, y, y0, alpha, n))
            if moved < tolerance:
                status[event] = CONVERGED
                break
        if status[event] == CONVERGED:
            _linearise(y, y0, v, mass, total, p4, jacobian, vjt, s, r)
            _mass_errors(
                groups, p4, jacobian, vjt, v, w, beams, share_covariance,
                mass2[event], error[event],
            )  # fmt: skip
            # absurd covariances can overflow
            known = chi2[event] < math.inf and share[0] + share[1] < math.inf
            for g in range(len(groups)):
                known = known and abs(mass2[event, g]) < math.inf and error[event, g] < math.inf
            if not known:
                status[event] = NOT_CONVERGED
        if status[event] == CONVERGED:
            fitted[event] = y
        else:
            chi2[event] = math.nan
            share[:] = math.nan
            mass2[event] = math.nan
            error[event] = math.nan
