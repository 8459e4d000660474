"""What e+ e- -> e+ e- gamma and e+ e- -> mu+ mu- gamma have in common.

Four-products in the notation of F. Berends, R. Kleiss et al. (CALKUL), Nucl. Phys. B206 (1982)
61: s = 2 p-.p+, s' = 2 q-.q+, t = -2 p+.q+, t' = -2 p-.q-, u = -2 p+.q-, u' = -2 p-.q+, with
incoming p, outgoing q and photon k.
"""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, inline="always")
def dot(a, b):  # type: ignore[no-untyped-def]
    """Minkowski product of two four-vectors (E, px, py, pz)."""
    return a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]


@njit(cache=True)
def invariants(root, minus, plus):  # type: ignore[no-untyped-def]
    """(s, s', t, t', u, u') in the partonic CM frame; beams along +-z with energy root/2."""
    s = root * root
    s_out = 2.0 * dot(minus, plus)
    t = -root * (plus[0] + plus[3])
    t_out = -root * (minus[0] - minus[3])
    u = -root * (minus[0] + minus[3])
    u_out = -root * (plus[0] - plus[3])
    return s, s_out, t, t_out, u, u_out


@njit(cache=True)
def radiation_factor(root, minus, plus, k, s, s_out, t, t_out, u, u_out):  # type: ignore[no-untyped-def]
    """W = sum over pairs of charges of (four-product) / (p.k q.k), signs as in the paper."""
    pk_minus = 0.5 * root * (k[0] - k[3])
    pk_plus = 0.5 * root * (k[0] + k[3])
    qk_minus = dot(minus, k)
    qk_plus = dot(plus, k)
    return (
        s / (pk_minus * pk_plus)
        + s_out / (qk_minus * qk_plus)
        - t / (pk_plus * qk_plus)
        - t_out / (pk_minus * qk_minus)
        + u / (pk_plus * qk_minus)
        + u_out / (pk_minus * qk_plus)
    )


@njit(cache=True)
def opening_above(a, b, cosine):  # type: ignore[no-untyped-def]
    """Whether the angle between two momenta is larger than the one of the given cosine."""
    scalar = a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
    squares = (a[1] ** 2 + a[2] ** 2 + a[3] ** 2) * (b[1] ** 2 + b[2] ** 2 + b[3] ** 2)
    return scalar < cosine * math.sqrt(squares)
