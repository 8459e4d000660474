"""From the largest local significance of a scan to a global one.

Three estimates of the look-elsewhere effect, from crude to exact: the number of hypotheses
(R0 eq. 7.4), up-crossings (Gross and Vitells, Eur. Phys. J. C70 (2010) 525; R0 eqs. 7.5, 7.6) and
toys of the whole scan. Significances are in standard deviations, p-values one-sided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, chi2, norm

from alp_coffea.errors import PhysicsError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GlobalP:
    """A global p-value with its central 68.27 % interval."""

    p: float
    low: float
    high: float

    @property
    def z(self) -> float:
        """Global significance."""
        return float(norm.isf(self.p))


def bonferroni(z: float, hypotheses: int) -> GlobalP:
    """Upper bound on the global p-value: local p times the number of hypotheses (R0 eq. 7.4).

    Neighbouring hypotheses are correlated, so this is conservative, by a factor of about two for
    steps of half a peak width.
    """
    p = min(float(norm.sf(z)) * hypotheses, 1.0)
    return GlobalP(p, p, p)


def up_crossings(z: ArrayLike, level: float) -> int:
    """Number of times a scan of significances (n,) crosses ``level`` from below.

    A scan that starts above the level has not crossed it there. NaN (failed points) are left out.
    """
    values = np.asarray(z, dtype=np.float64)
    if values.ndim != 1:
        raise PhysicsError(f"up_crossings: need significances of shape (n,), got {values.shape}")
    above = values[np.isfinite(values)] > level
    return int(np.count_nonzero(above[1:] & ~above[:-1]))


def from_up_crossings(z: float, crossings: float, level: float, *, scans: int = 1) -> GlobalP:
    """Global p-value of a local significance (R0 eq. 7.6).

    Parameters
    ----------
    z
        Largest local significance of the scan.
    crossings
        Up-crossings of ``level``, summed over ``scans`` background-only scans (or the data).
    level
        Test significance, low enough for many crossings: 0.5 to 2.

    Returns
    -------
    p_local + <n> exp((level^2 - z^2)/2), at most one, with the Poisson interval of the crossings.
    Good for large z; for z near ``level`` it is an upper bound.

    Raises PhysicsError for negative crossings or no scans.
    """
    if crossings < 0 or scans < 1:
        raise PhysicsError(f"from_up_crossings: crossings = {crossings}, scans = {scans}")
    damping = math.exp((level**2 - z**2) / 2) / scans
    tail = (1 - 0.6826894921) / 2
    low = chi2.ppf(tail, 2 * crossings) / 2 if crossings > 0 else 0.0
    high = chi2.isf(tail, 2 * (crossings + 1)) / 2
    local = float(norm.sf(z))
    p, p_low, p_high = (min(local + n * damping, 1.0) for n in (crossings, low, high))
    return GlobalP(float(p), float(p_low), float(p_high))


def from_toys(z: float, maxima: ArrayLike) -> GlobalP:
    """Global p-value from the largest significance of each background-only toy scan, (n,).

    The fraction of toys at least as extreme, with its Clopper-Pearson interval.
    Raises PhysicsError without toys or with NaN among them: a failed toy must not vanish.
    """
    values = np.asarray(maxima, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise PhysicsError(
            f"from_toys: need finite maxima of shape (n,), got {values.shape} with "
            f"{np.count_nonzero(~np.isfinite(values))} that are not finite"
        )
    n, k = len(values), int(np.count_nonzero(values >= z))
    tail = (1 - 0.6826894921) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.isf(tail, k + 1, n - k)) if k < n else 1.0
    return GlobalP(k / n, low, high)
