"""The fits of one piece of a group: null, free, signed, and limits, in arrays per point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import gammaln, xlogy

from alp_coffea.stats.engine import uncertainties
from alp_coffea.stats.engine.arrays import Array, Index
from alp_coffea.stats.engine.asymptotics import LimitFinder
from alp_coffea.stats.engine.batch import Group
from alp_coffea.stats.engine.fits import AT_EDGE, NO_DOMAIN, NOT_CONVERGED, SINGULAR, Problem
from alp_coffea.stats.engine.results import Status

_WORSE: Final = 1e-9  # likelihood; fits end within a millionth of that of their minimum


@dataclass(frozen=True)
class Snapshot:
    """The state of a problem after a fit, (jobs, ...)."""

    value: Array
    theta: Array
    gamma: Array
    nu: Array
    kkt: Array
    iterations: Index
    status: Index
    errors: Array
    gamma_errors: Array
    poi_error: Array
    edge: Array


@dataclass(frozen=True)
class Limits:
    """Limits of a piece; columns -2 to +2 sigma and observed."""

    limits: Array
    kkt: Array
    steps: Index
    status: Index


def smallest_rate(group: Group, points: Index, nu: Array) -> Array:
    """Smallest expected number of events of any bin, (jobs,)."""
    inside = np.arange(nu.shape[2]) < group.arrays.bins[points][:, :, np.newaxis]
    edge: Array = np.where(inside, nu, np.inf).min(axis=(1, 2))
    return edge


def saturated(counts: Array) -> Array:
    """-ln L of the saturated model of the main data, (jobs,)."""
    terms = counts - xlogy(counts, counts) + gammaln(counts + 1.0)
    result: Array = terms.sum(axis=(1, 2))
    return result


def snapshot(
    problem: Problem,
    failed: Status,
    *,
    full: bool,
    gamma_errors: bool = False,
    edge: bool = True,
) -> Snapshot:
    """Copy a finished fit out of its problem.

    ``full`` includes what is per parameter, ``gamma_errors`` the errors of bin factors and
    ``edge`` the smallest rates, which are NaN otherwise.
    """
    jobs, rows = problem.jobs, problem.everything
    bits = problem.status
    status = np.where(bits & NOT_CONVERGED > 0, int(failed), 0)
    for bit, flag in (
        (NO_DOMAIN, Status.NO_DOMAIN),
        (AT_EDGE, Status.AT_EDGE),
        (SINGULAR, Status.SINGULAR),
    ):
        status |= np.where(bits & bit > 0, int(flag), 0)
    poi = problem.group.poi
    varied = jobs.vary[:, poi].all()
    spreads = np.full_like(jobs.gamma, np.nan)
    if gamma_errors:
        spreads = uncertainties.bin_factor_errors(problem, rows)
    if varied:
        at_bound = (jobs.state[:, poi] == 1) & (jobs.theta[:, poi] >= jobs.high[:, poi])
        status |= np.where(at_bound, int(Status.POI_AT_UPPER_BOUND), 0)
    return Snapshot(
        value=jobs.value.copy(),
        theta=jobs.theta.copy(),
        gamma=jobs.gamma.copy() if full else jobs.gamma[:0],
        nu=jobs.nu.copy() if full else jobs.nu[:0],
        kkt=problem.kkt.copy(),
        iterations=problem.iterations.copy(),
        status=status,
        errors=uncertainties.parameter_errors(problem, rows) if full else np.zeros((0, 0)),
        gamma_errors=spreads,
        poi_error=uncertainties.poi_errors(problem, rows) if varied else np.zeros(rows.size),
        edge=smallest_rate(problem.group, jobs.point, jobs.nu)
        if edge
        else np.full(rows.size, np.nan),
    )


def fit(group: Group, points: Index, counts: Array, poi: Array | None) -> Snapshot:
    """Fit each point with its own bounds, or with the parameter of interest held at ``poi``."""
    problem = Problem(group, points, counts)
    rows = problem.everything
    if poi is not None:
        problem.hold_poi(rows, poi)
    problem.start_from_data(rows)
    problem.minimise(rows, evaluated=True)
    return snapshot(problem, Status.FREE_NOT_CONVERGED, full=True, gamma_errors=True)


def null_fit(problem: Problem, poi: Array | float) -> None:
    """Fit with the parameter of interest held, from a least-squares start."""
    rows = problem.everything
    problem.hold_poi(rows, poi)
    problem.start_from_data(rows)
    problem.minimise(rows, evaluated=True)


def free_fit(problem: Problem, rows: Index, low: float) -> None:
    """Continue finished null fits with the parameter of interest free above ``low``."""
    jobs = problem.jobs
    null, value = jobs.theta[rows], jobs.value[rows]
    problem.free_poi(rows, low)
    problem.start_from_data(rows)
    problem.minimise(rows, evaluated=True)
    # a start that led to a worse minimum than the null fit's
    worse = ~(jobs.value[rows] <= value + _WORSE)
    jobs.theta[rows[worse]] = null[worse]
    problem.minimise(rows[worse])


def limits(
    problem: Problem, null: Snapshot, free: Snapshot | None, level: float, expected: bool
) -> Limits:
    """Expected and (with a free fit) observed limits from full snapshots of the fits."""
    group = problem.group
    converged = null.status & int(Status.NULL_NOT_CONVERGED) == 0
    finder = LimitFinder(problem, level, null.theta, null.gamma, null.nu, converged)
    if expected:
        finder.expected()
    if free is not None:
        best = np.where(free.status & int(Status.FREE_NOT_CONVERGED) > 0, np.inf, free.value)
        finder.observed(best, free.theta)
    status = null.status | (0 if free is None else free.status)
    nothing = ~finder.usable & (status & 255 == 0)
    status = status | np.where(nothing, int(Status.NO_SENSITIVITY), 0)
    wanted = np.array([expected] * 5 + [free is not None])
    missing = wanted & ~finder.found
    status |= np.where(missing[:, :5].any(axis=1), int(Status.NO_EXPECTED_LIMIT), 0)
    status |= np.where(missing[:, 5], int(Status.NO_OBSERVED_LIMIT), 0)
    high = group.high[problem.jobs.point, group.poi][:, np.newaxis]
    beyond = (wanted & finder.found & (finder.limits > high)).any(axis=1)
    status |= np.where(beyond, int(Status.LIMIT_ABOVE_BOUND), 0)
    found = wanted & finder.found
    return Limits(
        np.where(found, finder.limits, np.nan),
        np.where(found, finder.kkt, np.where(wanted, np.inf, 0.0)),
        finder.steps,
        status,
    )


@dataclass(frozen=True)
class PieceScan:
    """All fits of a piece."""

    null: Snapshot
    free: Snapshot
    signed: Snapshot
    limits: Limits


def scan(
    group: Group, points: Index, counts: Array, level: float, *, observed: bool, expected: bool
) -> PieceScan:
    """Null, free (q-tilde) and signed fits and limits."""
    problem = Problem(group, points, counts)
    rows = problem.everything
    null_fit(problem, 0.0)
    null = snapshot(problem, Status.NULL_NOT_CONVERGED, full=True)
    free_fit(problem, rows, 0.0)
    free = snapshot(problem, Status.FREE_NOT_CONVERGED, full=True)
    at_zero = np.flatnonzero(problem.jobs.theta[:, group.poi] <= 0.0)
    free_fit(problem, at_zero, -np.inf)
    signed = snapshot(problem, Status.SIGNED_NOT_CONVERGED, full=False)
    found = limits(problem, null, free if observed else None, level, expected)
    return PieceScan(null, free, signed, found)


def limits_only(
    group: Group, points: Index, counts: Array, level: float, *, observed: bool, expected: bool
) -> Limits:
    """Limits without the signed fit."""
    problem = Problem(group, points, counts)
    null_fit(problem, 0.0)
    null = snapshot(problem, Status.NULL_NOT_CONVERGED, full=True)
    free = None
    if observed:
        free_fit(problem, problem.everything, 0.0)
        free = snapshot(problem, Status.FREE_NOT_CONVERGED, full=False)
    return limits(problem, null, free, level, expected)


def null_and_signed(
    group: Group, points: Index, counts: Array, poi: Array | float, *, edge: bool = True
) -> tuple[Snapshot, Snapshot]:
    """Null and signed fits."""
    problem = Problem(group, points, counts)
    null_fit(problem, poi)
    null = snapshot(problem, Status.NULL_NOT_CONVERGED, full=False, edge=False)
    free_fit(problem, problem.everything, -np.inf)
    return null, snapshot(problem, Status.SIGNED_NOT_CONVERGED, full=False, edge=edge)


def signed_q(null: Snapshot, signed: Snapshot, poi: int, tested: Array | float = 0.0) -> Array:
    """2 x (NLL at the tested value - NLL at the minimum) with the sign of the difference.

    NaN where a fit has no likelihood (status NO_DOMAIN).
    """
    usable = np.isfinite(null.value) & np.isfinite(signed.value)
    gain = np.where(usable, null.value, 0.0) - np.where(usable, signed.value, 0.0)
    q: Array = np.sign(signed.theta[:, poi] - tested) * np.maximum(2.0 * gain, 0.0)
    return np.where(usable, q, np.nan)


def in_pyhf_order(
    group: Group, point: int, theta: Array, errors: Array, gamma: Array, gamma_errors: Array
) -> tuple[Array, Array]:
    """Values and errors of one point's parameters, bin factors included, in pyhf's order."""
    model = group.models[point]
    values, spreads = [], []
    for scalar, index in model.layout:
        if scalar:
            values.append(theta[index : index + 1])
            spreads.append(errors[index : index + 1])
        else:
            size = model.bin_factors[index].aux.size
            row = group.factor_order.index(index)
            values.append(gamma[row, :size])
            spreads.append(gamma_errors[row, :size])
    return np.concatenate(values), np.concatenate(spreads)
