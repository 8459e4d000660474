"""What the engine returns: plain arrays with one row per point, and their health.

Likelihoods are pyhf's twice_nll, -2 ln L with all constants, so that values compare number by
number. Parameters come in pyhf's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from alp_coffea.stats.engine.arrays import Array, Flags, Index


class Status(IntFlag):
    """Why a point is not plain fine. FAILURES make numbers unusable, the rest are notes."""

    OK = 0
    NULL_NOT_CONVERGED = 1
    FREE_NOT_CONVERGED = 2
    SIGNED_NOT_CONVERGED = 4
    NO_DOMAIN = 8
    NO_EXPECTED_LIMIT = 16
    NO_OBSERVED_LIMIT = 32
    NO_SENSITIVITY = 64
    BAD_DATA = 128
    AT_EDGE = 256
    SINGULAR = 512
    POI_AT_UPPER_BOUND = 1024
    LIMIT_ABOVE_BOUND = 2048
    NO_DEGREES_OF_FREEDOM = 4096


FAILURES = Status(255)

_WORDS = {
    Status.NULL_NOT_CONVERGED: "background-only fit did not converge",
    Status.FREE_NOT_CONVERGED: "fit did not converge",
    Status.SIGNED_NOT_CONVERGED: "signed fit did not converge",
    Status.NO_DOMAIN: "events seen where the model expects none",
    Status.NO_EXPECTED_LIMIT: "no expected limit found",
    Status.NO_OBSERVED_LIMIT: "no observed limit found",
    Status.NO_SENSITIVITY: "signal does not change the likelihood",
    Status.BAD_DATA: "data negative or not finite",
    Status.AT_EDGE: "best fit at the edge where an empty bin expects nothing",
    Status.SINGULAR: "parameter errors undefined (singular Hessian)",
    Status.POI_AT_UPPER_BOUND: "parameter of interest at its upper bound",
    Status.LIMIT_ABOVE_BOUND: "limit above the upper bound of the parameter of interest",
    Status.NO_DEGREES_OF_FREEDOM: "no degrees of freedom for a goodness of fit",
}


def status_words(status: int | Index) -> str | list[str]:
    """Status bits in words: "ok", or the reasons separated by semicolons."""
    if isinstance(status, np.ndarray):
        return [str(status_words(int(value))) for value in status.ravel()]
    reasons = [words for bit, words in _WORDS.items() if int(status) & bit]
    return "; ".join(reasons) or "ok"


def is_ok(status: Index) -> Flags:
    """Whether everything asked for converged with a KKT residual below 1e-6."""
    ok: Flags = (np.asarray(status) & int(FAILURES)) == 0
    return ok


@dataclass(frozen=True)
class FitResult:
    """One fit per point; shapes (n,) unless said otherwise.

    ``values`` and ``errors`` are lists of arrays in pyhf's parameter order, named by ``names``.
    Errors are from the inverse Hessian, zero for parameters fixed or held by a bound and inf
    where it is singular (status SINGULAR); those of bin factors are only computed by
    ``Engine.fit`` and NaN in scans. ``edge`` is the smallest expected number of events
    of any bin. ``expected`` are the expected counts, channels in pyhf's order.
    """

    twice_nll: Array
    poi: Array
    poi_error: Array
    values: list[Array]
    errors: list[Array]
    names: list[list[str]]
    expected: list[Array]
    gof_p: Array
    edge: Array
    kkt: Array
    iterations: Index
    status: Index

    @property
    def ok(self) -> Flags:
        """(n,) whether the fit converged with a KKT residual below 1e-6."""
        return is_ok(self.status)


@dataclass(frozen=True)
class DiscoveryResult:
    """Signed discovery statistic per point, all (n,).

    ``q0`` is sign(poi) x 2 x (NLL at zero - NLL at the minimum), from the fit whose parameter of
    interest is bounded below only by the condition that no bin expects a negative number of
    events; ``z`` is sign(poi) sqrt(abs(q0)) and ``p`` its one-sided p-value. Where the best fit
    sits on that edge (status AT_EDGE) the values are those at the edge.
    """

    q0: Array
    z: Array
    p: Array
    poi: Array
    poi_error: Array
    kkt: Array
    edge: Array
    status: Index

    @property
    def ok(self) -> Flags:
        """(n,) whether both fits converged with a KKT residual below 1e-6."""
        return is_ok(self.status)


@dataclass(frozen=True)
class LimitResult:
    """CLs upper limits: ``observed`` (n,), ``expected`` (n, 5) for -2 to +2 sigma.

    Limits that were not asked for or not found are NaN, the latter with a status. ``kkt`` and
    ``steps`` are (n, 6), the observed one last.
    """

    observed: Array
    expected: Array
    level: float
    kkt: Array
    steps: Index
    status: Index

    @property
    def ok(self) -> Flags:
        """(n,) whether all fits and roots converged with a KKT residual below 1e-6."""
        return is_ok(self.status)


@dataclass(frozen=True)
class EngineScan:
    """Everything a mass scan needs, one row per point.

    ``free`` is the fit with the parameter of interest in [0, upper bound], ``null`` the
    background-only fit, ``discovery`` the signed one and ``limits`` the limits.
    """

    labels: list[str]
    free: FitResult
    null: FitResult
    discovery: DiscoveryResult
    limits: LimitResult
    status: Index

    @property
    def ok(self) -> Flags:
        """(n,) whether everything converged with a KKT residual below 1e-6."""
        return is_ok(self.status)

    @property
    def words(self) -> list[str]:
        """Status in words, per point."""
        return [str(status_words(int(s))) for s in self.status]


@dataclass(frozen=True)
class ToyResult:
    """Fits of toys, all arrays (toys, n).

    ``q0`` is signed as in :class:`DiscoveryResult`, relative to the hypothesis tested;
    ``null_deviance`` and ``deviance`` are -2 ln L of the two fits relative to the saturated model.
    """

    q0: Array
    z: Array
    poi: Array
    poi_error: Array
    null_deviance: Array
    deviance: Array
    kkt: Array
    status: Index

    @property
    def ok(self) -> Flags:
        """(toys, n) whether both fits converged with a KKT residual below 1e-6."""
        return is_ok(self.status)


@dataclass(frozen=True)
class CheckReport:
    """Differences to pyhf at some points, engine minus pyhf.

    ``free`` and ``null`` are differences of -2 ln L at the minima (negative: the engine found the
    better one), ``q0`` that of the clipped discovery statistic where the best fit is positive,
    ``observed`` and ``expected`` (k, 5) are CLs or its expected value as pyhf evaluates it at
    the engine's limits, minus alpha.
    """

    points: Index
    free: Array
    null: Array
    q0: Array
    observed: Array
    expected: Array

    def __str__(self) -> str:
        def largest(values: NDArray[np.float64]) -> str:
            finite = values[np.isfinite(values)]
            return f"{np.max(np.abs(finite)):.1e}" if finite.size else "-"

        return (
            f"{self.points.size} points against pyhf, largest differences: "
            f"-2 ln L free {np.max(self.free):+.1e}, null {np.max(self.null):+.1e}; "
            f"q0 {largest(self.q0)}; CLs - alpha at our limits: observed "
            f"{largest(self.observed)}, expected {largest(self.expected)}"
        )
