"""Many bounded maximum-likelihood fits at once.

All fits of a batch advance together: the kernels evaluate likelihoods and Newton steps of the
active ones, and the bookkeeping of step lengths and convergence is array code. A fit never
influences another one, so results do not depend on how fits are distributed.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np

from alp_coffea.stats.engine.arrays import (
    DESCENT,
    EXACT,
    FISHER,
    KKT,
    START,
    THETA,
    Array,
    Index,
    JobArrays,
    Jobs,
)
from alp_coffea.stats.engine.batch import Group
from alp_coffea.stats.engine.likelihood import evaluate
from alp_coffea.stats.engine.newton import newton_steps

# Status bits of one fit
NOT_CONVERGED: Final = 1
NO_DOMAIN: Final = 2
AT_EDGE: Final = 4
SINGULAR: Final = 8

TOLERANCE: Final = 1e-7  # KKT residual; the likelihood is then within 1e-14 of its minimum
ACCEPTED: Final = 1e-6  # KKT residual above which a fit counts as failed
_MAX_ITERATIONS: Final = 200
_MAX_HALVINGS: Final = 40
_SUFFICIENT: Final = 1e-4  # Armijo condition
_ROUNDING: Final = 1e-12
_RIDGE: Final = 1e-9
_MAX_EXPLORATIONS: Final = 4
_STARTING_PULLS: Final = (-1.5, -0.5, 0.5, 1.5)
_DEEPER: Final = 1e-9  # likelihood difference that makes another minimum the better one
_STATE: Final = ("block", "gamma", "nu", "hessian", "flags", "numbers")
_HERE: Final = -1.0  # instead of a fraction of the last step
_BARRIERS: Final = 10.0 ** -np.arange(1.0, 12.0)


class Problem:
    """A batch of fits with the models of one group.

    Args:
        group: compiled models.
        point: model of each fit, (jobs,).
        data: counts of each fit, (jobs, channels, bins).
        aux, gamma_aux: auxiliary data, (jobs, ...) or, by default, the group's.
    """

    def __init__(
        self,
        group: Group,
        point: Index,
        data: Array,
        aux: Array | None = None,
        gamma_aux: Array | None = None,
    ) -> None:
        n, p = point.size, group.parameters
        rows = np.arange(n)
        self.group = group
        self.buffers = group.buffers()
        self.status = np.zeros(n, dtype=np.int64)
        self.iterations = np.zeros(n, dtype=np.int64)
        self.kkt = np.full(n, np.inf)
        self.limited = np.zeros(n, dtype=np.int64)
        self.jobs = jobs = Jobs(
            JobArrays(
                rows=np.stack([point, rows, point if aux is None else rows], axis=1),
                data=data,
                aux=group.aux if aux is None else aux,
                gamma_aux=group.gamma_aux if gamma_aux is None else gamma_aux,
                gamma=group.gamma_aux[point],
                block=np.zeros((n, 8, p)),
                hessian=np.zeros((n, p, p)),
                flags=np.zeros((n, 2, p), np.int8),
                numbers=np.zeros((n, 8)),
                nu=np.zeros(data.shape),
            )
        )
        jobs.theta[:] = group.init[point]
        jobs.low[:], jobs.high[:] = group.low[point], group.high[point]
        jobs.vary[:] = jobs.low < jobs.high

    @property
    def everything(self) -> Index:
        """Indices of all fits."""
        return np.arange(self.jobs.point.size)

    def hold_poi(self, active: Index, value: Array | float) -> None:
        """Fix the parameter of interest and leave it out of the derivatives."""
        poi = self.group.poi
        self.jobs.theta[active, poi] = value
        self.jobs.vary[active, poi] = False

    def free_poi(self, active: Index, low: Array | float) -> None:
        """Let the parameter of interest vary between ``low`` and its upper bound."""
        poi, jobs = self.group.poi, self.jobs
        jobs.low[active, poi] = low
        jobs.high[active, poi] = self.group.high[jobs.point[active], poi]
        jobs.vary[active, poi] = True

    def evaluate(self, active: Index, weights: int = EXACT, fraction: float = _HERE) -> None:
        """Likelihoods and derivatives at the current parameters.

        With a ``fraction`` the parameters are put there on the way of the last Newton step.
        """
        group, jobs = self.group, self.jobs.arrays
        evaluate(group.arrays, group.gammas, jobs, active, weights, fraction, self.buffers)

    def steps(self, active: Index, poi: int = -1, ridge: float = 0.0) -> None:
        """Newton steps and KKT residuals at the last evaluation."""
        jobs, b = self.jobs.arrays, self.buffers
        newton_steps(
            jobs.block, jobs.hessian, jobs.flags, jobs.numbers, active, poi, ridge, b.matrix,
            b.order,
        )  # fmt: skip

    def profile_steps(self, active: Index) -> None:
        """Newton steps with the POI pinned, its profile's slope, curvature and tangent.

        Where parameters are degenerate a small ridge picks one of the equivalent solutions.
        """
        self.steps(active, self.group.poi)
        degenerate = active[np.isnan(self.jobs.info[active, DESCENT])]
        if degenerate.size:
            self.steps(degenerate, self.group.poi, _RIDGE)

    def start_from_data(self, active: Index) -> None:
        """Move to a weighted least-squares estimate, where that is inside the domain.

        Leaves all active fits evaluated.
        """
        self.evaluate(active, START)
        self.steps(active, ridge=_RIDGE)
        for fraction in (1.0, 0.9, 0.75, 0.5, 0.25, 0.0):
            self.evaluate(active, fraction=fraction)
            active = active[~np.isfinite(self.jobs.value[active])]
            if active.size == 0:
                break

    def minimise(self, active: Index, *, evaluated: bool = False) -> None:
        """Minimise the active fits from their current parameters.

        ``evaluated`` says that the last evaluation was there, with exact weights. Models that
        may have several minima are fitted from several starting points.

        Sets ``status``, ``iterations`` and ``kkt``; ``jobs`` then holds the value, gradient and
        Hessian at the minimum, and in ``state`` which parameters are held by a bound.
        """
        self._minimise(active, evaluated)
        if self.group.several_minima and active.size:
            for _ in range(_MAX_EXPLORATIONS):
                if not self._explore(active):
                    break

    def _explore(self, active: Index) -> bool:
        """Look for deeper minima from other starting points; whether one was found.

        These are the least-squares estimate and several values of each interpolated parameter.
        """
        jobs, group = self.jobs, self.group
        arrays = [getattr(jobs.arrays, name) for name in _STATE]
        kept = [array[active] for array in arrays]
        deepest = kept[0][:, THETA]
        own = [array[active].copy() for array in (self.status, self.kkt, self.iterations)]
        best = jobs.value[active].copy()
        found = False
        for start in [None, *product(group.explored, _STARTING_PULLS)]:
            jobs.theta[active] = deepest
            if start is None:
                rows = jobs.vary[active]
                init = np.clip(group.init[jobs.point[active]], jobs.low[active], jobs.high[active])
                jobs.theta[active] = np.where(rows, init, deepest)
                self.start_from_data(active)
            else:
                q, pull = start
                rows = active[jobs.vary[active, q]]
                sigma = group.arrays.precision[jobs.point[rows], q] ** -0.5
                value = jobs.aux[jobs.aux_row[rows], q] + pull * sigma
                jobs.theta[rows, q] = np.clip(value, jobs.low[rows, q], jobs.high[rows, q])
            self._minimise(active, False)
            better = (jobs.value[active] < best - _DEEPER) & (self.kkt[active] < ACCEPTED)
            better |= (self.kkt[active] < ACCEPTED) & ~(own[1] < ACCEPTED)
            found = found or bool(better.any())
            best[better] = jobs.value[active[better]]
            for values, array in zip(kept, arrays, strict=True):
                values[better] = array[active[better]]
            for values, array in zip(own, (self.status, self.kkt, self.iterations), strict=True):
                values[better] = array[active[better]]
        for values, array in zip(kept, arrays, strict=True):
            array[active] = values
        for values, array in zip(own, (self.status, self.kkt, self.iterations), strict=True):
            array[active] = values
        return found

    def _minimise(self, active: Index, evaluated: bool) -> None:
        """Minimise from one starting point."""
        jobs = self.jobs
        self.status[active] = 0
        self.iterations[active] = 0
        self.limited[active] = 0
        self.kkt[active] = np.inf
        jobs.floor[active] = 0.0
        if not evaluated:
            self.evaluate(active)
        inside = np.isfinite(jobs.value[active])
        self.status[active[~inside]] = NO_DOMAIN
        rows = active[inside]
        self._descend(rows)
        blocked = rows[(self.limited[rows] > 0) & (self.kkt[rows] >= TOLERANCE)]
        if blocked.size:
            self._follow_barrier(blocked)
        self.status[active[~(self.kkt[active] < ACCEPTED)]] |= NOT_CONVERGED
        self.status[rows[np.isnan(jobs.info[rows, DESCENT])]] |= SINGULAR

    def _descend(self, active: Index) -> None:
        """Newton iterations with a backtracking line search."""
        jobs = self.jobs
        self.steps(active)
        for _ in range(_MAX_ITERATIONS):
            residual = self.kkt[active] = jobs.info[active, KKT]
            active = active[~(residual < TOLERANCE) & (self.limited[active] < 3)]
            if active.size == 0:
                return
            self.iterations[active] += 1
            indefinite = np.isnan(jobs.info[active, DESCENT])
            if indefinite.any():
                self._expected_step(active[indefinite])
                active = active[~np.isnan(jobs.info[active, DESCENT])]
            rejected = self._search(active)
            if rejected.size:
                self._expected_step(rejected)
                rejected = rejected[~np.isnan(jobs.info[rejected, DESCENT])]
                stuck = self._search(rejected)
                self.steps(stuck)
                self.kkt[stuck] = jobs.info[stuck, KKT]
                active = np.setdiff1d(active, stuck, assume_unique=True)
            self.steps(active)

    def _expected_step(self, active: Index) -> None:
        """Fisher scoring step: from the expectation of the Hessian, which is never indefinite."""
        if active.size:
            self.evaluate(active, FISHER)
            self.steps(active, ridge=_RIDGE)

    def _search(self, active: Index) -> Index:
        """Move along the steps until the likelihood drops enough; returns those that did not."""
        jobs = self.jobs
        value, descent = jobs.value[active], jobs.info[active, DESCENT]
        highest = value + _ROUNDING * (1.0 + np.abs(value))
        fraction = 1.0
        for _ in range(_MAX_HALVINGS):
            self.evaluate(active, fraction=fraction)
            bad = ~(jobs.value[active] <= highest + _SUFFICIENT * fraction * descent)
            if not bad.any():
                return active[:0]
            active, highest, descent = active[bad], highest[bad], descent[bad]
            if fraction == 1.0:
                self.limited[active[jobs.empty[active] > 0.0]] += 1
            fraction *= 0.5 if fraction > 0.1 else 0.1
        self.evaluate(active, fraction=0.0)
        return active

    def _follow_barrier(self, active: Index) -> None:
        """Minimum of the closed domain, for fits whose way down leads out of it.

        The way out leads through bins without events, whose likelihood has no barrier of its
        own. A logarithmic one of shrinking strength gives the central path, whose end point
        satisfies the optimality conditions including the forces that empty bins exert.
        """
        jobs = self.jobs
        for floor in _BARRIERS:
            jobs.floor[active] = floor
            self.limited[active] = 0
            self.evaluate(active)
            finite = np.isfinite(jobs.value[active])
            if not finite.all():
                outside = active[~finite]
                jobs.theta[outside] = (
                    0.99 * jobs.theta[outside] + 0.01 * self.group.init[jobs.point[outside]]
                )
                self.evaluate(outside)
                finite = np.isfinite(jobs.value[active])
            self.kkt[active[~finite]] = np.inf
            active = active[finite]
            self._descend(active)
        residual = self.kkt[active].copy()
        jobs.floor[active] = 0.0
        self.evaluate(active)
        self.steps(active)
        # bin factors of empty bins know no barrier any more and may have left the domain
        self.kkt[active] = np.where(np.isfinite(jobs.value[active]), residual, np.inf)
        nu = jobs.nu[active]
        empty = (jobs.data[active] == 0.0) & (nu > 0.0)
        force = np.where(empty, _BARRIERS[-1] / np.where(empty, nu, 1.0), 0.0)
        self.status[active[force.max(axis=(1, 2)) > ACCEPTED]] |= AT_EDGE
