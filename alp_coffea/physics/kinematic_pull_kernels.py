"""Compiled part of :mod:`alp_coffea.physics.kinematic_pulls`: one event after the other."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alp_coffea.physics.kinematic_fit_kernels import _invert, _linearise, _radiation, _reweight


@njit(cache=True, error_model="numpy")
def residual_errors(  # type: ignore[no-untyped-def]
    measured, covariance, fitted, mass, alpha, n, beams, mode, table, spacing, largest, beta, errors
):
    """Standard deviations (n, N, 3) of measured minus fitted parameters; NaN without a fit.

    y0 - y = V J^T W (r + q). r plus the true q has the covariance S = 1/W; what the posterior mean
    q leaves undecided, of covariance Q, is independent of it, so r + q has S - Q and the residuals
    V J^T (W - W Q W) J V.
    """
    particles = len(mass)
    v = np.empty((particles, 3, 3))
    p4 = np.empty((particles, 4))
    jacobian = np.empty((particles, 4, 3))
    vjt = np.empty((particles, 3, 4))
    s = np.empty((4, 4))
    w = np.empty((4, 4))
    lower = np.zeros((4, 4))
    r = np.empty(4)
    share = np.empty(2)
    undecided = np.zeros((2, 2))
    total = beams[0] + beams[1]
    a = np.empty(4)
    for event in range(len(measured)):
        errors[event] = math.nan
        y, y0 = fitted[event], measured[event]
        if math.isnan(y[0, 0]):
            continue
        v[:] = covariance[event]
        _reweight(v, covariance[event], y, y0, alpha, n)
        _linearise(y, y0, v, mass, total, p4, jacobian, vjt, s, r)
        if not _invert(s, w, lower):
            continue
        _radiation(mode, w, r, beams, table, spacing, largest, beta, -1, share, undecided)
        for i in range(particles):
            for k in range(3):
                variance = along_0 = along_1 = 0.0
                for b in range(4):
                    a[b] = 0.0
                    for c in range(4):
                        a[b] += w[b, c] * vjt[i, k, c]
                    variance += a[b] * vjt[i, k, b]
                    along_0 += a[b] * beams[0, b]
                    along_1 += a[b] * beams[1, b]
                variance -= (
                    along_0 * along_0 * undecided[0, 0]
                    + 2.0 * along_0 * along_1 * undecided[0, 1]
                    + along_1 * along_1 * undecided[1, 1]
                )
                errors[event, i, k] = math.sqrt(variance) if variance > 0.0 else math.nan
