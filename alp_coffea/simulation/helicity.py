"""Massive Dirac spinors and currents for numerical helicity amplitudes, as scalar kernels.

Chiral representation, gamma^mu = ((0, sigma^mu), (sigma_bar^mu, 0)), metric (+, -, -, -). Vectors
are kept in light-cone components (v+, v-, vt, vc) = (v0 + v3, v0 - v3, v1 + i v2, v1 - i v2), which
are the entries of sigma.v; for complex vectors vc is not the conjugate of vt. Spinors and conjugate
spinors (rows) are tuples of four numbers. What needs care in collisions with electrons at angles of
m_e/E is computed without differences of nearly equal numbers.
"""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True)
def light_cone(v):  # type: ignore[no-untyped-def]
    """Light-cone components of a real vector (v0, v1, v2, v3)."""
    return (
        complex(v[0] + v[3], 0.0),
        complex(v[0] - v[3], 0.0),
        complex(v[1], v[2]),
        complex(v[1], -v[2]),
    )


@njit(cache=True)
def add(a, b):  # type: ignore[no-untyped-def]
    """Sum of two vectors or spinors."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@njit(cache=True)
def subtract(a, b):  # type: ignore[no-untyped-def]
    """Difference of two vectors or spinors."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]


@njit(cache=True)
def product(a, b):  # type: ignore[no-untyped-def]
    """Minkowski product of two vectors in light-cone components, no conjugation."""
    return 0.5 * (a[0] * b[1] + a[1] * b[0] - a[2] * b[3] - a[3] * b[2])


@njit(cache=True)
def spinor(p, mass, helicity, anti):  # type: ignore[no-untyped-def]
    """u(p, helicity), or v(p, helicity) if ``anti``; sum of u ubar = pslash + m, v vbar - m.

    ``p`` is (E, px, py, pz) of a particle that moves; helicity is +1 or -1.
    """
    transverse = math.hypot(p[1], p[2])
    momentum = math.hypot(transverse, p[3])
    # half-angle functions that stay exact along both directions of the axis
    if p[3] > 0.0:
        cosine = math.sqrt(0.5 * (momentum + p[3]) / momentum)
        sine = 0.5 * transverse / (momentum * cosine)
    else:
        sine = math.sqrt(0.5 * (momentum - p[3]) / momentum)
        cosine = 0.5 * transverse / (momentum * sine)
    phase = complex(p[1], p[2]) / transverse if transverse > 0.0 else complex(1.0, 0.0)
    large = math.sqrt(p[0] + momentum)
    small = mass / large
    if (helicity > 0) != anti:
        first, second = complex(cosine, 0.0), sine * phase
    else:
        first, second = -sine * phase.conjugate(), complex(cosine, 0.0)
    if anti:
        upper, lower = (large, -small) if helicity > 0 else (small, -large)
    else:
        upper, lower = (small, large) if helicity > 0 else (large, small)
    return upper * first, upper * second, lower * first, lower * second


@njit(cache=True)
def bar(f):  # type: ignore[no-untyped-def]
    """Conjugate spinor f^dagger gamma^0."""
    return f[2].conjugate(), f[3].conjugate(), f[0].conjugate(), f[1].conjugate()


@njit(cache=True)
def current(b, f):  # type: ignore[no-untyped-def]
    """b gamma^mu f in light-cone components, for a conjugate spinor b and a spinor f."""
    return (
        2.0 * (b[0] * f[2] + b[3] * f[1]),
        2.0 * (b[1] * f[3] + b[2] * f[0]),
        2.0 * (b[0] * f[3] - b[2] * f[1]),
        2.0 * (b[1] * f[2] - b[3] * f[0]),
    )


@njit(cache=True)
def slash(v, f):  # type: ignore[no-untyped-def]
    """vslash f."""
    return (
        v[1] * f[2] - v[3] * f[3],
        v[0] * f[3] - v[2] * f[2],
        v[0] * f[0] + v[3] * f[1],
        v[2] * f[0] + v[1] * f[1],
    )


@njit(cache=True)
def slash_left(b, v):  # type: ignore[no-untyped-def]
    """b vslash."""
    return (
        b[2] * v[0] + b[3] * v[2],
        b[2] * v[3] + b[3] * v[1],
        b[0] * v[1] - b[1] * v[2],
        b[1] * v[0] - b[0] * v[3],
    )


@njit(cache=True)
def propagate(p, mass, inverse, f):  # type: ignore[no-untyped-def]
    """(pslash + m) f * ``inverse``, which is 1/(p^2 - m^2)."""
    g = slash(p, f)
    return (
        inverse * (g[0] + mass * f[0]),
        inverse * (g[1] + mass * f[1]),
        inverse * (g[2] + mass * f[2]),
        inverse * (g[3] + mass * f[3]),
    )


@njit(cache=True)
def propagate_left(b, p, mass, inverse):  # type: ignore[no-untyped-def]
    """b (pslash + m) * ``inverse``, which is 1/(p^2 - m^2)."""
    g = slash_left(b, p)
    return (
        inverse * (g[0] + mass * b[0]),
        inverse * (g[1] + mass * b[1]),
        inverse * (g[2] + mass * b[2]),
        inverse * (g[3] + mass * b[3]),
    )
