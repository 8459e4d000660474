"""Four-momenta of particles with mass, from lab energies and directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def four_momenta(
    energy: ArrayLike, theta: ArrayLike, phi: ArrayLike, mass: ArrayLike = 0.0
) -> Array:
    """(E, px, py, pz) [GeV] of particles of energy and mass [GeV] at angles [rad], (..., 4).

    The four broadcast; an energy below the mass gives a particle at rest.

    >>> four_momenta(5.0, np.pi / 2, 0.0, mass=3.0).round(9)
    array([5., 4., 0., 0.])
    """
    energy, theta, phi, mass = np.broadcast_arrays(
        *(np.asarray(column, dtype=np.float64) for column in (energy, theta, phi, mass))
    )
    momentum = np.sqrt(np.maximum((energy - mass) * (energy + mass), 0.0))
    across = momentum * np.sin(theta)
    return np.stack(
        [energy, across * np.cos(phi), across * np.sin(phi), momentum * np.cos(theta)], axis=-1
    )


def squared_mass(p4: ArrayLike) -> Array:
    """E^2 - p^2 [GeV^2] of four-momenta (..., 4)."""
    p4 = np.asarray(p4, dtype=np.float64)
    return np.asarray(p4[..., 0] ** 2 - np.square(p4[..., 1:]).sum(axis=-1))
