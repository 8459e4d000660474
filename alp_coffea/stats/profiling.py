"""Discrete profiling: the order of the background polynomial as a nuisance parameter.

Dauncey, Kenzie, Wardle and Davies, JINST 10 (2015) P04015: -2 ln L of a cross section is the
smallest over the orders, each with a penalty for its number of coefficients. Limits, significance
and fitted cross section come from this envelope like from any other profile likelihood. Orders
that the data disfavour do not weaken the limit, as they do in the published choice of the worst
one, and orders that they cannot tell apart widen it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from alp_coffea.stats import engine
from alp_coffea.stats.limits import PointLimits
from alp_coffea.stats.workspace import POI, Point

Array = NDArray[np.float64]

#: Added to -2 ln L per coefficient: with one, the minimum of the likelihood ratio keeps its
#: p-value on average (JINST 10 (2015) P04015, sec. 4.1).
PENALTY: Final = 1.0
#: Largest error of a root, in standard deviations of the test statistic's root.
TOLERANCE: Final = 1e-6
_STEPS: Final = 60


@dataclass(frozen=True)
class ProfiledPoint:
    """Limits of one mass hypothesis over several orders; ``best`` is the order's place in the list
    whose fit is the smallest, which ``limits.parameters`` and ``limits.fitted`` belong to."""

    limits: PointLimits
    best: int


class Envelope:
    """Models of one mass per row and one order per column, profiled over the columns.

    Parameters
    ----------
    points
        By order, then by mass: all of one mass in the same bins and units.
    """

    def __init__(self, points: Sequence[Sequence[Point]], penalty: float = PENALTY) -> None:
        self.masses = len(points[0])
        self._engines = [
            engine.compile([point.workspace for point in column], poi=POI) for column in points
        ]
        self._penalty = [
            penalty * np.array([point.window.order + 1 for point in column]) for column in points
        ]

    def likelihoods(self, data: Any = None, poi: Array | None = None) -> tuple[Array, list[Any]]:
        """Penalised -2 ln L (orders, masses), infinite where a fit failed, and the fits.

        The parameter of interest is held at ``poi`` (masses,), or free and not negative.
        """
        fits = [fits.fit(data, poi) for fits in self._engines]
        values = [
            np.where(fit.ok, fit.twice_nll + penalty, np.inf)
            for fit, penalty in zip(fits, self._penalty, strict=True)
        ]
        return np.array(values), fits

    def __call__(self, poi: Array, data: Any = None) -> Array:
        """Smallest penalised -2 ln L at given values of the parameter of interest, (masses,)."""
        return np.asarray(self.likelihoods(data, poi)[0].min(axis=0))

    def signed(self) -> tuple[Array, Array, Array, Array, Array]:
        """Best order, parameter of interest free to be negative with its error, signed Z, and
        whether it can be trusted, each (masses,)."""
        rows = np.arange(self.masses)
        null = self(np.zeros(self.masses))
        found = [(fits.fit(poi=np.zeros(self.masses)), fits.q0()) for fits in self._engines]
        values = np.array(
            [
                np.where(at_zero.ok & q.ok, at_zero.twice_nll + penalty - np.abs(q.q0), np.inf)
                for (at_zero, q), penalty in zip(found, self._penalty, strict=True)
            ]
        )
        best = values.argmin(axis=0)
        poi, error = (
            np.array([getattr(q, name) for _, q in found])[best, rows]
            for name in ("poi", "poi_error")
        )
        drop = np.maximum(null - values[best, rows], 0.0)
        z = np.sign(poi) * np.sqrt(drop)
        return best, poi, error, z, np.isfinite(drop)


def profile_orders(
    points: Sequence[Sequence[Point]], *, level: float, penalty: float = PENALTY
) -> list[ProfiledPoint]:
    """CLs limits, significance and fit of every mass, profiled over the orders.

    Parameters
    ----------
    points
        By order, then by mass: all of one mass in the same bins and units.
    level
        Confidence level of the limits.
    """
    if not points or not points[0]:
        return []
    envelope = Envelope(points, penalty)
    rows = np.arange(envelope.masses)
    free, free_fits = envelope.likelihoods()
    null, null_fits = envelope.likelihoods(poi=np.zeros(envelope.masses))
    best, background = free.argmin(axis=0), null.argmin(axis=0)
    asimov = [null_fits[k].expected[i] for i, k in enumerate(background)]
    at_rest = envelope.likelihoods(asimov)[0].min(axis=0)

    def root_q_asimov(poi: Array) -> Array:
        return np.asarray(np.sqrt(np.maximum(envelope(poi, asimov) - at_rest, 0.0)))

    hat = np.array([free_fits[k].poi[i] for i, k in enumerate(best)])
    smallest = free[best, rows]

    def root_q(poi: Array) -> Array:
        q = np.maximum(envelope(poi) - smallest, 0.0)
        return np.asarray(np.where(poi > hat, np.sqrt(q), 0.0))

    alpha = 1 - level
    separate = engine.compile([point.workspace for point in points[0]], poi=POI).limits(level)
    bands = []
    for n, guess in zip((-2, -1, 0, 1, 2), separate.expected.T, strict=True):
        wanted = n + float(norm.isf(alpha * norm.cdf(n)))
        bands.append(_root(partial(_above, root_q_asimov, wanted), guess))

    def excess(poi: Array) -> Array:
        """Rising through zero where CLs falls to alpha, about linear in the signal."""
        return np.asarray(norm.isf(_cls(root_q(poi), root_q_asimov(poi))) - norm.isf(alpha))

    observed = _root(excess, separate.observed)
    order, poi, error, z, fine = envelope.signed()
    fits = free_fits
    result = []
    for i in rows:
        k = int(best[i])
        expected = tuple(float(band[i]) for band in bands)
        good = fine[i] and math.isfinite(observed[i]) and all(map(math.isfinite, expected))
        values = dict(zip(fits[k].names[i], fits[k].values[i].tolist(), strict=True))
        limits = PointLimits(
            observed=float(observed[i]),
            expected=expected,
            poi_hat=float(poi[i]),
            poi_error=float(error[i]),
            z_local=float(z[i]),
            p_local=float(norm.sf(z[i])),
            gof_p=float(fits[k].gof_p[i]),
            parameters=values,
            fitted=fits[k].expected[i],
            status="ok" if good else "no limit found in the envelope over orders",
            note="" if order[i] == k else "the signed fit prefers another order",
        )
        result.append(ProfiledPoint(limits, k))
    return result


def _above(function: Callable[[Array], Array], value: float, poi: Array) -> Array:
    return function(poi) - value


def _cls(root_q: Array, root_q_asimov: Array) -> Array:
    """Asymptotic CLs of q-tilde (Cowan et al., Eur. Phys. J. C71 (2011) 1554, eqs. 65 and 67)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        above = (root_q**2 - root_q_asimov**2) / (2 * root_q_asimov)
    inside = root_q <= root_q_asimov
    signal_and_background = norm.sf(np.where(inside, root_q, above + root_q_asimov))
    background = norm.sf(np.where(inside, root_q - root_q_asimov, above))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(signal_and_background / background, 1e-300, 1.0 - 1e-16))


def _root(function: Callable[[Array], Array], guess: Array) -> Array:
    """Root (n,) of a rising, nearly linear function of (n,) positive arguments.

    Secants from a guess, kept between the arguments known to lie on either side; NaN where none
    is found.
    """
    x = np.where(np.isfinite(guess) & (guess > 0), guess, 1.0)
    low, high = np.zeros_like(x), np.full_like(x, np.inf)
    f = function(x)
    last_x, last_f = x, f
    done = np.abs(f) < TOLERANCE
    for step in range(_STEPS):
        if done.all():
            break
        low, high = np.where(f < 0, x, low), np.where(f < 0, high, x)
        if step == 0:
            following = x * np.where(f < 0, 1.05, 0.95)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                following = x - f * (x - last_x) / (f - last_f)
        bisected = np.where(np.isfinite(high), (low + high) / 2, 1.5 * x)
        inside = np.isfinite(following) & (following > low) & (following < high)
        following = np.where(inside, following, bisected)
        last_x, last_f = x, f
        x = np.where(done, x, following)
        f = np.where(done, f, function(x))
        done |= (np.abs(f) < TOLERANCE) | (high - low < TOLERANCE * low)
    return np.where(done, x, np.nan)
