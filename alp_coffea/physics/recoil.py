"""The momentum that recoils against a pair of tracks, and its error: pure functions.

p_recoil = p(beams) - p(1) - p(2) (R0 eq. 8.5), in the lab. Errors come from those of transverse
momentum and angles of each track, which are taken to be independent of each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.physics.beams import Beams

Array = NDArray[np.float64]


class Recoil(NamedTuple):
    """Recoil momenta [GeV] of n events: ``vector`` (n, 3), its length ``p`` and angles (n,)."""

    vector: Array
    p: Array
    theta: Array
    phi: Array


def recoil_momentum(p: ArrayLike, theta: ArrayLike, phi: ArrayLike, beams: Beams) -> Recoil:
    """Of tracks with momenta [GeV] and angles [rad], all (n, 2)."""
    p, theta, phi = (np.asarray(column, dtype=np.float64) for column in (p, theta, phi))
    x = beams.momentum[1] - (p * np.sin(theta) * np.cos(phi)).sum(axis=1)
    y = beams.momentum[2] - (p * np.sin(theta) * np.sin(phi)).sum(axis=1)
    z = beams.momentum[3] - (p * np.cos(theta)).sum(axis=1)
    transverse = np.hypot(x, y)
    return Recoil(
        np.stack([x, y, z], axis=1),
        np.hypot(transverse, z),
        np.arctan2(transverse, z),
        np.arctan2(y, x),
    )


def recoil_error(
    direction: ArrayLike,
    pt: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    pt_error: ArrayLike,
    theta_error: ArrayLike,
    phi_error: ArrayLike,
) -> Array:
    """Standard deviation [GeV] of the recoil momentum along ``direction``, shape (n,).

    Parameters
    ----------
    direction
        Unit vectors, (n, 3) or (3,).
    pt, theta, phi
        Transverse momenta [GeV] and angles [rad] of the tracks, (n, 2).
    pt_error, theta_error, phi_error
        Their standard deviations, (n, 2).
    """
    x, y, z = np.moveaxis(np.asarray(direction, dtype=np.float64)[..., np.newaxis], -2, 0)
    pt, theta, phi = (np.asarray(column, dtype=np.float64) for column in (pt, theta, phi))
    # p = pt (cos phi, sin phi, cot theta)
    by_pt = x * np.cos(phi) + y * np.sin(phi) + z / np.tan(theta)
    by_theta = -z * pt / np.sin(theta) ** 2
    by_phi = pt * (y * np.cos(phi) - x * np.sin(phi))
    variance = (
        (by_pt * np.asarray(pt_error)) ** 2
        + (by_theta * np.asarray(theta_error)) ** 2
        + (by_phi * np.asarray(phi_error)) ** 2
    )
    return np.asarray(np.sqrt(variance.sum(axis=1)))
