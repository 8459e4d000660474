"""Exclusion in the plane of mass and coupling where the ALP's lifetime matters.

A search that reconstructs prompt decays sees the fraction F(m, g) = 1 - exp(-L / beta gamma c tau)
that decays within its acceptance length L (R0 eq. 2.10), so that a coupling is excluded where
sigma(m, g) F(m, g) exceeds the limit on the visible cross section.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import theory

Array = NDArray[np.float64]


def decay_acceptance(
    mass: ArrayLike, coupling: ArrayLike, *, length: float, sqrt_s: float
) -> Array:
    """Fraction F(m, g) of ALPs from e+e- -> gamma a that decay within ``length`` [cm].

    In the CM frame, where all of one mass have one momentum; mass [GeV], coupling [1/GeV].
    """
    boost = theory.alp_beta_gamma(mass, sqrt_s=sqrt_s)
    distance = theory.decay_length(mass, coupling, beta_gamma=boost)
    return np.asarray(theory.decay_fraction(length, distance))


def coupling_limit(sigma: ArrayLike, mass: ArrayLike, *, length: float, sqrt_s: float) -> Array:
    """Smallest excluded coupling [1/GeV] given limits ``sigma`` [pb] on the visible cross section.

    The solution of sigma(m, g) F(m, g) = sigma, (n,); it grows with g on both accounts, so there
    is one. For a short lifetime it is that of ``theory.coupling_from_cross_section``. NaN where
    sigma is. Raises PhysicsError for a length that is not positive.
    """
    if not length > 0:
        raise PhysicsError(f"coupling_limit: length = {length} cm must be positive")
    sigma, mass = np.broadcast_arrays(np.asarray(sigma, float), np.asarray(mass, float))
    prompt = theory.coupling_from_cross_section(np.atleast_1d(sigma), mass, sqrt_s=sqrt_s)
    limits = np.full(np.shape(prompt), np.nan)
    for i, (g, m) in enumerate(zip(prompt, np.atleast_1d(mass), strict=True)):
        if np.isfinite(g) and g > 0:
            limits[i] = _dressed(float(g), float(m), length, sqrt_s)
    return limits.reshape(np.shape(sigma))


def _dressed(prompt: float, mass: float, length: float, sqrt_s: float) -> float:
    """Coupling whose visible cross section is the total one of ``prompt``."""

    def excess(log_g: float) -> float:
        g = float(np.exp(log_g))
        seen = float(decay_acceptance(mass, g, length=length, sqrt_s=sqrt_s))
        # both in logarithms: far from the solution they differ by many orders of magnitude
        return float(2 * log_g + np.log(max(seen, 1e-300)) - 2 * np.log(prompt))

    low = np.log(prompt)
    high = low + 1.0
    while excess(high) < 0:
        high += 2.0
    return float(np.exp(brentq(excess, low - 1e-9, high, xtol=1e-12)))


@dataclass(frozen=True)
class Plane:
    """Mass [GeV] (n,) by coupling [1/GeV] (k,): ``visible`` cross sections [pb] (k, n),
    ``excluded`` (k, n), and the ``regime`` (k, n) of ``theory.regime``."""

    mass: Array
    coupling: Array
    visible: Array
    excluded: NDArray[np.bool_]
    regime: NDArray[np.str_]


def exclusion_plane(
    limit: Callable[[Array], Array],
    mass: ArrayLike,
    coupling: ArrayLike,
    *,
    length: float,
    sqrt_s: float,
) -> Plane:
    """Where (m, g) is excluded by a limit [pb] on the visible cross section as a function of mass.

    ``limit`` returns NaN where there is none, such as :func:`limit_curve`.
    """
    mass, coupling = np.asarray(mass, float), np.asarray(coupling, float)
    m, g = np.meshgrid(mass, coupling)
    total = theory.cross_section(m, g, sqrt_s=sqrt_s)
    visible = total * decay_acceptance(m, g, length=length, sqrt_s=sqrt_s)
    with np.errstate(invalid="ignore"):
        excluded = visible > limit(mass)[np.newaxis]
    regime = theory.regime(m, g, sqrt_s=sqrt_s)
    return Plane(mass, coupling, visible, np.asarray(excluded), regime)


def limit_curve(mass: ArrayLike, sigma: ArrayLike) -> Callable[[Array], Array]:
    """Limits [pb] at scanned masses [GeV] as a function of mass, logarithmic in between.

    NaN beyond the scan and next to points without a limit.
    """
    mass, log_sigma = np.asarray(mass, float), np.log(np.asarray(sigma, float))

    def limit(at: Array) -> Array:
        inside = (at >= mass[0]) & (at <= mass[-1])
        return np.asarray(np.where(inside, np.exp(np.interp(at, mass, log_sigma)), np.nan))

    return limit
