"""Fitted quantities as smooth functions of mass, with an uncertainty, never extrapolated."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator, make_smoothing_spline

from alp_coffea.errors import ModelError

Array = NDArray[np.float64]
Method = Literal["spline", "chebyshev"]

#: Fewer points are joined, not smoothed.
FEWEST: Final = 6
#: Largest order that the cross-validation of a Chebyshev series tries (R1 fig. 8.4 uses 8).
HIGHEST_ORDER: Final = 10
_REPLICAS: Final = 100
#: Coordinates that the cross-validation of a Chebyshev series tries, from log mass: log m resolves
#: light masses, m the steep end of phase space.
COORDINATES: Final[tuple[Callable[[Array], Array], ...]] = (
    lambda x: x,
    lambda x: np.exp(x / 2),
    np.exp,
)


class Curve:
    """A quantity as a function of mass [GeV] between its first and last point.

    Parameters
    ----------
    name
        For messages.
    mass, value, error
        Points (n,) and their errors; one point per mass is kept.
    method
        ``spline``: a cubic smoothing spline in log mass whose smoothness is chosen by generalised
        cross-validation (Woltring 1986), weighted by the errors. ``chebyshev``: a weighted
        Chebyshev series in log m, sqrt(m) or m, which and of what order is chosen by leave-one-out
        cross-validation.
        Fewer than six points, or points without errors, are joined monotonically instead.

    Raises ModelError for fewer than two masses, and when called beyond them.
    """

    def __init__(
        self,
        name: str,
        mass: ArrayLike,
        value: ArrayLike,
        error: ArrayLike,
        method: Method = "spline",
    ) -> None:
        self.name = name
        self.mass, order = np.unique(np.asarray(mass, float), return_index=True)
        self._value = np.asarray(value, float)[order]
        self._error = np.asarray(error, float)[order]
        if len(self.mass) < 2:
            raise ModelError(
                f"signal model: {name} is known at {len(self.mass)} masses; at least two simulated "
                "masses are needed to interpolate"
            )
        self._x = np.log(self.mass)
        self.smoothed = len(self.mass) >= FEWEST and bool(np.all(self._error > 0))
        self._method = method
        self._interpolate = self._through(self._value)
        self._known: dict[float, Array] = {}

    def _through(self, values: Array) -> Callable[[Array], Array]:
        if not self.smoothed:
            joined: Callable[[Array], Array] = PchipInterpolator(self._x, values)
            return joined
        weight = 1 / self._error
        if self._method == "chebyshev":
            found = [(*_best_order(to(self._x), values, weight), to) for to in COORDINATES]
            series, _, coordinate = min(found, key=lambda candidate: candidate[1])
            return lambda x: np.asarray(series(coordinate(x)))
        smooth: Callable[[Array], Array] = make_smoothing_spline(self._x, values, w=weight**2)
        return smooth

    def __call__(self, mass: ArrayLike) -> Array:
        one: object = mass
        if not isinstance(one, float):
            return np.asarray(self._interpolate(self._checked(mass)))
        # a scan asks a dozen times for each of its masses
        if one not in self._known:
            self._known[one] = np.asarray(self._interpolate(self._checked(one)))
            self._known[one].flags.writeable = False
        return self._known[one]

    def uncertainty(self, mass: ArrayLike) -> Array:
        """Standard deviation of the curve when its points fluctuate within their errors.

        From 100 replicas of the points, smoothed again each time: includes the choice of
        smoothness, not that the true curve may have a shape that no smooth one has.
        """
        x = self._checked(mass)
        return np.asarray(np.std([curve(x) for curve in self._replicas], axis=0, ddof=1))

    @cached_property
    def _replicas(self) -> list[Callable[[Array], Array]]:
        noise = np.random.default_rng(0).normal(size=(_REPLICAS, len(self.mass)))
        # the curve and not the points fluctuates: those carry their noise already
        centre = np.asarray(self._interpolate(self._x)) if self.smoothed else self._value
        return [self._through(centre + self._error * row) for row in noise]

    def _checked(self, mass: ArrayLike) -> Array:
        mass = np.asarray(mass, float)
        low, high = self.mass[0], self.mass[-1]
        outside = (mass < low * (1 - 1e-9)) | (mass > high * (1 + 1e-9))
        if np.any(outside):
            bad = float(np.atleast_1d(mass)[np.atleast_1d(outside)][0])
            raise ModelError(
                f"signal model: {self.name} asked at {bad:g} GeV, but it is simulated from "
                f"{low:g} to {high:g} GeV and is never extrapolated; shrink the scan range or "
                "simulate more masses"
            )
        return np.asarray(np.clip(np.log(mass), self._x[0], self._x[-1]))


def cross_validated_series(x: Array, y: Array, weight: Array) -> np.polynomial.Chebyshev:
    """Weighted Chebyshev series of the order with the smallest leave-one-out error.

    ``weight`` is one over the error. The prediction of each point by the others is the residual
    over one minus its leverage, for any linear fit.
    """
    return _best_order(x, y, weight)[0]


def _best_order(x: Array, y: Array, weight: Array) -> tuple[np.polynomial.Chebyshev, float]:
    """The series, and its leave-one-out error."""
    domain = [float(x[0]), float(x[-1])]
    scaled = 2 * (x - domain[0]) / (domain[1] - domain[0]) - 1
    best, lowest = np.zeros(1), np.inf
    for order in range(min(HIGHEST_ORDER, len(x) - 3) + 1):
        design = np.polynomial.chebyshev.chebvander(scaled, order) * weight[:, np.newaxis]
        q, r = np.linalg.qr(design)
        leverage = np.sum(q * q, axis=1)
        residual = weight * y - q @ (q.T @ (weight * y))
        error = float(np.sum((residual / np.maximum(1 - leverage, 1e-9)) ** 2))
        if error < lowest:
            best, lowest = np.linalg.solve(r, q.T @ (weight * y)), error
    return np.polynomial.Chebyshev(best, domain=domain), lowest
