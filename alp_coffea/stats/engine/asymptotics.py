"""Upper limits on the signal strength from roots of the profile likelihood.

Test statistic and asymptotic formulae: Cowan, Cranmer, Gross and Vitells, Eur. Phys. J. C 71
(2011) 1554 (q-tilde, equations 16 and 65 to 68); CLs as in Read, J. Phys. G 28 (2002) 2693. With
the Asimov data of the background-only fit, the expected limit at N standard deviations solves
sqrt(q_A(mu)) = N + Phi^-1(1 - alpha Phi(N)); the observed one solves CLs(mu) = alpha.

A root and the nuisance parameters that profile the likelihood are found together: every
evaluation gives a Newton step of the nuisance parameters and, through the Schur complement, the
profile likelihood, its slope, and the tangent along which it runs. Where such joint steps do not
settle, full minimisations inside a bracket do.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from alp_coffea.stats.engine.arrays import (
    DESCENT,
    KKT,
    POI_CURVATURE,
    POI_SLOPE,
    Array,
    Flags,
    Index,
)
from alp_coffea.stats.engine.fits import ACCEPTED, NOT_CONVERGED, Problem

BANDS: Final = (-2, -1, 0, 1, 2)
_JOINT_STEPS: Final = 12
_MAX_STEPS: Final = 150
_ROOT_TOLERANCE: Final = 1e-5  # of the last joint step, whose error is its square
_BRACKET_TOLERANCE: Final = 1e-13
_RELIABLE: Final = 1e-2  # KKT residual below which a profile value may move the bracket
_LARGEST: Final = 1e150
_DEEPER: Final = 1e-7  # likelihood; joint steps end within their residual squared of the minimum


def expected_targets(level: float) -> Array:
    """sqrt(q_A) at the expected limits for -2 to +2 standard deviations."""
    bands = np.array(BANDS, dtype=np.float64)
    targets: Array = bands + ndtri(1.0 - (1.0 - level) * ndtr(bands))
    return targets


def _log_density_ratio(z: Array, log_cumulative: Array) -> Array:
    """phi(z) / Phi(z)."""
    ratio: Array = np.exp(-0.5 * z * z - 0.5 * np.log(2.0 * np.pi) - log_cumulative)
    return ratio


def log_cls(q_root: Array, slope: Array, a_root: Array, a_slope: Array) -> tuple[Array, Array]:
    """ln CLs and its derivative in the POI, from sqrt(q), sqrt(q_A) and their derivatives."""
    small = q_root <= a_root
    ratio = np.where(small, 1.0, q_root / a_root)
    u = np.where(small, q_root, 0.5 * a_root * (ratio**2 + 1.0))
    v = np.where(small, q_root - a_root, 0.5 * a_root * (ratio**2 - 1.0))
    u1 = np.where(small, slope, ratio * slope + 0.5 * a_slope * (1.0 - ratio**2))
    v1 = np.where(small, slope - a_slope, ratio * slope - 0.5 * a_slope * (1.0 + ratio**2))
    top, bottom = log_ndtr(-u), log_ndtr(-v)
    derivative = _log_density_ratio(-v, bottom) * v1 - _log_density_ratio(-u, top) * u1
    return top - bottom, derivative


class LimitFinder:
    """Roots for all jobs of a problem.

    Args:
        data: fits to the data; its parameters are overwritten.
        level: confidence level.
        theta, gamma, nu: parameters, bin factors and expectation of the background-only fits,
            which define the Asimov data and are starting points.
        converged: (jobs,) which of them can be used.

    ``expected`` and ``observed`` fill ``limits`` (jobs, 6): -2 to +2 and observed.
    """

    def __init__(
        self, data: Problem, level: float, theta: Array, gamma: Array, nu: Array, converged: Flags
    ) -> None:
        jobs, group = data.jobs, data.group
        everything = data.everything
        self.level = level
        self.data = data
        self.null = theta
        self.gamma = gamma
        self.converged = converged
        aux = np.where(group.arrays.precision[jobs.point] > 0.0, theta, 0.0)
        gamma_aux = gamma
        if group.gammas is not None:
            poisson = (group.gammas.kind == 1)[:, np.newaxis]
            gamma_aux = np.where(poisson, gamma * group.gammas.width[jobs.point], gamma)
        self.asimov = Problem(group, jobs.point, nu, aux, gamma_aux)
        self.asimov.jobs.theta[:] = theta
        self.asimov.jobs.gamma[:] = gamma
        n = everything.size
        self.limits = np.full((n, 6), np.inf)
        self.kkt = np.full((n, 6), np.inf)
        self.steps = np.zeros((n, 6), dtype=np.int64)
        self.found = np.zeros((n, 6), dtype=np.bool_)
        self._prepare(everything)

    def _prepare(self, active: Index) -> None:
        """Curvature of the Asimov profile at zero signal: the scale of the problem."""
        self._pin(self.asimov, active, 0.0)
        self.asimov.evaluate(active)
        self.asimov.profile_steps(active)
        info = self.asimov.jobs.info[active]
        self.best_asimov = self.asimov.jobs.value[active].copy()
        self.slope0 = np.maximum(info[:, POI_SLOPE], 0.0)
        self.curvature0 = np.maximum(info[:, POI_CURVATURE], 0.0)
        self.usable = (
            ~np.isnan(info[:, DESCENT])
            & self.converged
            & np.isfinite(self.best_asimov)
            & (self.slope0 + self.curvature0 > 0.0)
        )
        self.sigma = np.zeros(active.size)
        scale = self._scale(expected_targets(self.level)[2])
        self.sigma[self.usable] = scale[self.usable]

    def _scale(self, target: float) -> Array:
        """POI at which the quadratic Asimov profile reaches ``target``, per unit of it."""
        root = np.sqrt(self.slope0**2 + self.curvature0 * target**2)
        scale: Array = np.zeros_like(root)
        np.divide(target, self.slope0 + root, out=scale, where=self.usable)
        return scale

    @staticmethod
    def _pin(problem: Problem, active: Index, mu: Array | float) -> None:
        poi = problem.group.poi
        problem.jobs.theta[active, poi] = mu
        problem.jobs.low[active, poi] = mu
        problem.jobs.high[active, poi] = mu
        problem.jobs.vary[active, poi] = True

    def _move(self, problem: Problem, active: Index, mu: Array) -> None:
        """Go to another POI value along the tangent of the profile."""
        jobs, poi = problem.jobs, problem.group.poi
        change = mu - jobs.theta[active, poi]
        theta = (
            jobs.theta[active] + jobs.step[active] + change[:, np.newaxis] * jobs.tangent[active]
        )
        inside = np.minimum(np.maximum(theta, jobs.low[active]), jobs.high[active])
        jobs.theta[active] = np.where(jobs.vary[active], inside, jobs.theta[active])
        self._pin(problem, active, mu)

    def expected(self) -> None:
        """The five expected limits, each starting from its neighbour."""
        targets = expected_targets(self.level)
        active = np.flatnonzero(self.usable)
        rise = np.zeros(self.usable.size)
        for k, target in enumerate(targets):
            guess = self._scale(target) * target
            if k > 0:
                following = self.limits[:, k - 1] + np.divide(
                    target - targets[k - 1], rise, out=np.zeros_like(rise), where=rise > 0.0
                )
                guess = np.where(self.found[:, k - 1] & (rise > 0.0), following, guess)
            rise = self._solve(active, guess[active], k, target)
        median = self.found[:, 2]
        self.sigma[median] = self.limits[median, 2] / targets[2]

    def observed(self, best: Array, free: Array) -> None:
        """The observed limit; ``best`` and ``free`` are likelihood and parameters of the free fit
        with the POI bounded by zero.
        """
        poi, jobs = self.data.group.poi, self.data.jobs
        active = np.flatnonzero(self.usable & np.isfinite(best))
        self.best = best
        jobs.theta[active] = free[active]
        self._pin(self.data, active, free[active, poi])
        self.data.evaluate(active)
        self.data.profile_steps(active)
        sigma, mu_hat = self.sigma[active], free[active, poi]
        # a deficit's size follows from the slope at zero signal
        deficit = -np.maximum(jobs.info[active, POI_SLOPE], 0.0) * sigma
        pull = np.where(mu_hat > 0.0, mu_hat / sigma, np.maximum(deficit, -8.0))
        # limit of a Gaussian measurement: pull + Phi^-1(1 - alpha Phi(pull))
        guess = sigma * (pull - ndtri((1.0 - self.level) * ndtr(pull)))
        guess = np.maximum(guess, mu_hat * (1.0 + 1e-6))
        self._move(self.data, active, guess)
        self._move(self.asimov, active, guess)
        self._solve(active, guess, 5, np.sqrt(-2.0 * np.log(1.0 - self.level)))

    def _heights(
        self, active: Index, target: float, observed: bool
    ) -> tuple[Array, Array, Array, Flags]:
        """Function whose root is wanted, its slope, KKT residual and validity."""
        self.asimov.evaluate(active)
        self.asimov.profile_steps(active)
        info = self.asimov.jobs.info[active]
        valid = ~np.isnan(info[:, DESCENT]) & np.isfinite(self.asimov.jobs.value[active])
        value = self.asimov.jobs.value[active] + 0.5 * info[:, DESCENT]
        gain = np.where(valid, value - self.best_asimov[active], 0.0)
        root = np.sqrt(2.0 * np.maximum(gain, 0.0))
        valid &= root > 0.0
        safe = np.where(root > 0.0, root, 1.0)
        slope = np.where(valid, info[:, POI_SLOPE], 0.0) / safe
        residual = info[:, KKT]
        if not observed:
            return root - target, slope, residual, valid
        self.data.evaluate(active)
        self.data.profile_steps(active)
        info = self.data.jobs.info[active]
        fine = ~np.isnan(info[:, DESCENT]) & np.isfinite(self.data.jobs.value[active])
        valid &= fine
        value = self.data.jobs.value[active] + 0.5 * info[:, DESCENT]
        gain = np.where(valid, value - self.best[active], 0.0)
        # below the best fit q-tilde is zero
        above = (gain > 0.0) & (info[:, POI_SLOPE] > 0.0)
        q_root = np.sqrt(2.0 * np.where(above, gain, 0.0))
        q_slope = np.divide(
            info[:, POI_SLOPE], q_root, out=np.zeros_like(q_root), where=above & (q_root > 0.0)
        )
        log_p, log_p1 = log_cls(q_root, q_slope, np.where(valid, safe, 1.0), slope)
        scaled = np.sqrt(np.maximum(-2.0 * log_p, 1e-30))
        return scaled - target, -log_p1 / scaled, np.maximum(residual, info[:, KKT]), valid

    def _minimise(self, active: Index, mu: Array, observed: bool) -> Flags:
        """Full fits at given POI values from the current parameters; whether they converged.

        Where the current parameters are outside the domain the background-only ones take over:
        adding signal to them cannot leave it.
        """
        good = np.ones(active.size, dtype=np.bool_)
        for problem in (self.asimov, self.data) if observed else (self.asimov,):
            self._pin(problem, active, mu)
            problem.evaluate(active)
            outside = active[~np.isfinite(problem.jobs.value[active])]
            problem.jobs.theta[outside] = self.null[outside]
            problem.jobs.gamma[outside] = self.gamma[outside]
            problem.jobs.theta[outside, problem.group.poi] = problem.jobs.low[
                outside, problem.group.poi
            ]
            problem.minimise(active)
            good &= problem.status[active] & NOT_CONVERGED == 0
        return good

    def _deeper(self, active: Index, k: int) -> Index:
        """Roots at which a full fit finds a deeper minimum than the joint steps followed."""
        observed, changed = k == 5, np.zeros(active.size, dtype=np.bool_)
        problems = (self.asimov, self.data) if observed else (self.asimov,)
        before = []
        for problem in problems:
            self._move(problem, active, self.limits[active, k])
            problem.evaluate(active)
            before.append(problem.jobs.value[active].copy())
        self._minimise(active, self.limits[active, k], observed)
        for problem, value in zip(problems, before, strict=True):
            changed |= problem.jobs.value[active] < value - _DEEPER
            problem.evaluate(active)
            problem.profile_steps(active)
        return active[changed]

    def _solve(self, active: Index, guess: Array, k: int, target: float) -> Array:
        """Solve for column ``k`` from ``guess``; returns the slope of the function per job."""
        self._move(self.asimov, active, guess)
        rises = self._iterate(active, guess, k, target, _JOINT_STEPS)
        if self.data.group.several_minima:
            found = active[self.found[active, k]]
            again = self._deeper(found, k)
            if again.size:
                rises[again] = self._iterate(again, self.limits[again, k], k, target, 0)[again]
        return rises

    def _iterate(
        self, active: Index, guess: Array, k: int, target: float, joint_steps: int
    ) -> Array:
        """Joint steps, and after that many of them full fits inside a bracket."""
        observed = k == 5
        n = self.usable.size
        mu, rises = np.zeros(n), np.zeros(n)
        mu[active] = guess
        below, above = np.zeros(n), np.full(n, np.inf)
        full = np.zeros(n, dtype=np.bool_)
        for step in range(_MAX_STEPS):
            if step == joint_steps:
                full[active] = True
            good = np.ones(active.size, dtype=np.bool_)
            thorough = full[active]
            if thorough.any():
                rows = active[thorough]
                good[thorough] = self._minimise(rows, mu[rows], observed)
            height, rise, residual, valid = self._heights(active, target, observed)
            here = mu[active]
            self.kkt[active, k] = residual
            self.steps[active, k] = step + 1
            # --- bracket
            reliable = valid & ((residual < _RELIABLE) | thorough)
            low, high = below[active], above[active]
            low = np.where(reliable & (height < 0.0), np.maximum(low, here), low)
            high = np.where(reliable & (height >= 0.0), np.minimum(high, here), high)
            below[active], above[active] = low, high
            # --- done?
            change = np.divide(
                -height, rise, out=np.full_like(height, np.inf), where=valid & (rise > 0.0)
            )
            settled = (np.abs(change) < _ROOT_TOLERANCE * here) & (residual < ACCEPTED) & good
            narrow = thorough & (high - low < _BRACKET_TOLERANCE * high)
            change[narrow & ~settled] = 0.0
            self.found[active, k] = settled | (narrow & (residual < ACCEPTED) & good)
            done = settled | narrow
            rises[active] = rise
            self.limits[active[done], k] = (here + change)[done]
            # --- next
            following = np.minimum(np.maximum(here + change, 0.25 * here), 4.0 * here)
            inside = (low < following) & (following < high)
            with_both = np.where(
                low > 0.0, np.sqrt(low * np.where(np.isfinite(high), high, 0.0)), 0.5 * high
            )
            middle = np.where(np.isfinite(high), with_both, np.maximum(2.0 * low, 2.0 * here))
            following = np.where(inside, following, middle)
            lost = ~valid
            given_up = (lost & thorough) | ~(following < _LARGEST)
            retry = lost & ~thorough
            following[retry] = here[retry]
            full[active[retry]] = True
            keep = ~done & ~given_up
            moving = keep & ~retry
            self._move(self.asimov, active[moving], following[moving])
            if observed:
                self._move(self.data, active[moving], following[moving])
            mu[active] = following
            active = active[keep]
            if active.size == 0:
                break
        return rises
