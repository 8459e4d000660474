"""Random draws inside kernels: each event owns a stream, so batches do not matter.

A stream is a ``uint64`` array ``(key, counter)``. The key is a hash of (seed, purpose, event
number) from :mod:`alp_coffea.rng`; every draw advances the counter. One quantity takes one
uniform draw: distributions are sampled by their inverse cumulative function.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alp_coffea.rng import combine, uniform


@njit(cache=True, inline="always")
def start(state, key, event):  # type: ignore[no-untyped-def]
    """Point the stream at event number ``event`` of the sample with key ``key``."""
    state[0] = combine(key, event)
    state[1] = np.uint64(0)


@njit(cache=True, inline="always")
def draw(state):  # type: ignore[no-untyped-def]
    """Next uniform double in (0, 1)."""
    value = uniform(state[0], state[1])
    state[1] += np.uint64(1)
    return value


@njit(cache=True)
def normal_quantile(p):  # type: ignore[no-untyped-def]
    """Inverse of the standard normal cumulative function, relative accuracy 1e-16.

    Wichura, algorithm AS 241 (PPND16), Appl. Statist. 37 (1988) 477.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        numerator = (
            (
                (
                    (
                        (
                            (2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r
                            + 6.7265770927008700853e4
                        )
                        * r
                        + 4.5921953931549871457e4
                    )
                    * r
                    + 1.3731693765509461125e4
                )
                * r
                + 1.9715909503065514427e3
            )
            * r
            + 1.3314166789178437745e2
        ) * r + 3.3871328727963666080e0
        denominator = (
            (
                (
                    (
                        (
                            (5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r
                            + 3.9307895800092710610e4
                        )
                        * r
                        + 2.1213794301586595867e4
                    )
                    * r
                    + 5.3941960214247511077e3
                )
                * r
                + 6.8718700749205790830e2
            )
            * r
            + 4.2313330701600911252e1
        ) * r + 1.0
        return q * numerator / denominator
    r = p if q < 0.0 else 1.0 - p
    r = math.sqrt(-math.log(r))
    if r <= 5.0:
        r -= 1.6
        numerator = (
            (
                (
                    (
                        (
                            (7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r
                            + 2.41780725177450611770e-1
                        )
                        * r
                        + 1.27045825245236838258e0
                    )
                    * r
                    + 3.64784832476320460504e0
                )
                * r
                + 5.76949722146069140550e0
            )
            * r
            + 4.63033784615654529590e0
        ) * r + 1.42343711074968357734e0
        denominator = (
            (
                (
                    (
                        (
                            (1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r
                            + 1.51986665636164571966e-2
                        )
                        * r
                        + 1.48103976427480074590e-1
                    )
                    * r
                    + 6.89767334985100004550e-1
                )
                * r
                + 1.67638483018380384940e0
            )
            * r
            + 2.05319162663775882187e0
        ) * r + 1.0
    else:
        r -= 5.0
        numerator = (
            (
                (
                    (
                        (
                            (2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r
                            + 1.24266094738807843860e-3
                        )
                        * r
                        + 2.65321895265761230930e-2
                    )
                    * r
                    + 2.96560571828504891230e-1
                )
                * r
                + 1.78482653991729133580e0
            )
            * r
            + 5.46378491116411436990e0
        ) * r + 6.65790464350110377720e0
        denominator = (
            (
                (
                    (
                        (
                            (2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r
                            + 1.84631831751005468180e-5
                        )
                        * r
                        + 7.86869131145613259100e-4
                    )
                    * r
                    + 1.48753612908506148525e-2
                )
                * r
                + 1.36929880922735805310e-1
            )
            * r
            + 5.99832206555887937690e-1
        ) * r + 1.0
    value = numerator / denominator
    return -value if q < 0.0 else value


@njit(cache=True)
def normal_draw(state):  # type: ignore[no-untyped-def]
    """Standard normal."""
    return normal_quantile(draw(state))


@njit(cache=True)
def crystal_ball_quantile(p, alpha, n):  # type: ignore[no-untyped-def]
    """Quantile of the unit Crystal Ball function: Gaussian core, power tail below ``-alpha``.

    Density ``exp(-t^2/2)`` above -alpha and ``A (B - t)^-n`` below, continuous with its
    derivative (J. Gaiser, SLAC-R-255, 1982); ``n > 1``.
    """
    tail = n / alpha / (n - 1.0) * math.exp(-0.5 * alpha * alpha)
    below = 0.5 * math.erfc(alpha / math.sqrt(2.0))
    core = math.sqrt(2.0 * math.pi) * (1.0 - below)
    fraction = tail / (tail + core)
    if p < fraction:
        # integral of the tail up to t is tail * ((B + alpha) / (B - t))^(n-1)
        return n / alpha - alpha - n / alpha * (fraction / p) ** (1.0 / (n - 1.0))
    return normal_quantile(below + (p - fraction) / (1.0 - fraction) * (1.0 - below))


@njit(cache=True)
def poisson_draw(state, mean):  # type: ignore[no-untyped-def]
    """Poisson number by inversion of one uniform draw; for means up to a few tens."""
    u = draw(state)
    count = 0
    probability = math.exp(-mean)
    total = probability
    while u > total and count < 1000:
        count += 1
        probability *= mean / count
        total += probability
    return count
