"""Parameter errors of finished fits, from the inverse Hessian of all parameters."""

from __future__ import annotations

from typing import Final

import numpy as np

from alp_coffea.stats.engine.arrays import (
    AUX_ROW,
    DESCENT,
    POI_CURVATURE,
    RESTING,
    Array,
    Index,
    Jobs,
)
from alp_coffea.stats.engine.fits import NO_DOMAIN, NOT_CONVERGED, SINGULAR, Problem

_STEP: Final = 1e-4  # of numerical derivatives, in units of the parameter's error


def covariance(problem: Problem, active: Index) -> Array:
    """Inverse Hessian (active, parameters, parameters) of the scalar parameters at a minimum.

    Bin factors are profiled. Rows of parameters that are fixed or held by a bound are zero;
    diagonals are inf where the Hessian of the free ones is singular or the fit failed.
    """
    jobs = problem.jobs
    free = np.isin(jobs.state[active], (0, RESTING)) & jobs.vary[active]
    singular = problem.status[active] & (SINGULAR | NO_DOMAIN | NOT_CONVERGED) > 0
    both = free[:, :, np.newaxis] & free[:, np.newaxis, :]
    usable = both & ~singular[:, np.newaxis, np.newaxis]
    unit = np.eye(free.shape[1])
    inverse: Array = np.where(
        both, np.linalg.inv(np.where(usable, jobs.hessian[active], unit)), 0.0
    )
    inverse[singular] = np.where(free[singular][:, np.newaxis, :] & (unit > 0.0), np.inf, 0.0)
    return inverse


def parameter_errors(problem: Problem, active: Index) -> Array:
    """Errors (active, parameters): zero if fixed or held by a bound, inf if undefined."""
    variance = np.diagonal(covariance(problem, active), axis1=1, axis2=2)
    errors: Array = np.sqrt(np.maximum(variance, 0.0))
    return errors


def poi_errors(problem: Problem, active: Index) -> Array:
    """Profile-likelihood curvature of the parameter of interest as an error, (active,).

    It may sit at a bound, unlike in :func:`parameter_errors`, but must vary. inf if undefined.
    """
    jobs, poi = problem.jobs, problem.group.poi
    low, high = jobs.low[active, poi].copy(), jobs.high[active, poi].copy()
    state = jobs.state[active].copy()
    jobs.low[active, poi] = jobs.high[active, poi] = jobs.theta[active, poi]
    problem.steps(active, poi)
    jobs.low[active, poi], jobs.high[active, poi] = low, high
    jobs.state[active] = state
    curvature = jobs.info[active, POI_CURVATURE]
    fine = ~np.isnan(jobs.info[active, DESCENT]) & (curvature > 0.0)
    error: Array = np.full(active.size, np.inf)
    error[fine] = 1.0 / np.sqrt(curvature[fine])
    return error


def bin_factor_errors(problem: Problem, active: Index) -> Array:
    """Errors (active, bin factors, bins) of staterror and shapesys factors at a minimum.

    The variance is that at fixed scalar parameters, from the factors' response to their auxiliary
    data, plus the covariance of the scalar parameters seen through the factors' response to them.
    Zero for factors that are fixed or at a bound.
    """
    group, original = problem.group, problem.jobs
    if group.gammas is None:
        return np.zeros((active.size, 0, 0))
    rows, points = original.aux_row, original.point[active]
    places = original.arrays.rows.copy()
    places[:, AUX_ROW] = np.arange(rows.size)
    jobs = Jobs(
        original.arrays._replace(
            rows=places, aux=original.aux[rows], gamma_aux=original.gamma_aux[rows]
        )
    )
    problem.jobs = jobs
    spread = covariance(problem, active)
    sigma = np.sqrt(np.maximum(np.diagonal(spread, axis1=1, axis2=2), 0.0))
    sigma = np.where(np.isfinite(sigma), sigma, 0.0)
    theta, value = jobs.theta[active].copy(), jobs.gamma[active].copy()
    response = np.zeros((active.size, group.parameters, *value.shape[1:]))
    for p in np.flatnonzero(np.any(sigma > 0.0, axis=0)):
        ends = []
        for sign in (1.0, -1.0):
            jobs.theta[active] = theta
            jobs.theta[active, p] += sign * _STEP * sigma[:, p]
            problem.evaluate(active)
            ends.append(jobs.gamma[active].copy())
        width = np.where(sigma[:, p] > 0.0, 2.0 * _STEP * sigma[:, p], np.inf)
        response[:, p] = (ends[0] - ends[1]) / width[:, np.newaxis, np.newaxis]
    jobs.theta[active] = theta
    finite = np.where(np.isfinite(spread), spread, 0.0)
    variance = np.einsum("jpgb,jpq,jqgb->jgb", response, finite, response)
    widths = group.gammas.width[points]
    for q, kind in enumerate(group.gammas.kind):
        step = _STEP * (widths[:, q] ** -0.5 if kind == 0 else np.sqrt(widths[:, q]))
        centre = jobs.gamma_aux[active, q].copy()
        ends = []
        for sign in (1.0, -1.0):
            jobs.gamma_aux[active, q] = centre + sign * step
            problem.evaluate(active)
            ends.append(jobs.gamma[active, q].copy())
        jobs.gamma_aux[active, q] = centre
        slope = (ends[0] - ends[1]) / (2.0 * step)
        variance[:, q] += slope / widths[:, q] if kind == 0 else slope * value[:, q]
    problem.jobs = original
    problem.evaluate(active)
    held = (value <= group.gammas.low[points]) | (value >= group.gammas.high[points])
    errors: Array = np.where(held, 0.0, np.sqrt(np.maximum(variance, 0.0)))
    return errors
