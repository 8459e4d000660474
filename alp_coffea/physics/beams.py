"""Colliding beams: centre-of-mass energy, boost and the rotation lab <-> CM.

Lab axes are the detector's (z bisects the beams, which lie in the x-z plane). The CM frame is
the pure boost by the total lab momentum, rotated so that the electron runs along +z
(Belle II convention). Energies and momenta in GeV, angles in rad, c = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Beams:
    """Two massless beams crossing at a finite angle.

    Parameters
    ----------
    electron_energy, positron_energy
        Lab energies of the beams [GeV].
    crossing_angle
        Full crossing angle [rad]; each beam is half of it off the z axis.

    Raises
    ------
    PhysicsError
        If an energy is not positive or the angle is outside [0, pi).

    >>> round(SUPERKEKB.sqrt_s, 4)
    10.5796
    """

    electron_energy: float
    positron_energy: float
    crossing_angle: float = 0.0

    def __post_init__(self) -> None:
        for name in ("electron_energy", "positron_energy"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise PhysicsError(f"Beams: {name} = {value} GeV must be positive and finite")
        if not 0 <= self.crossing_angle < math.pi:
            raise PhysicsError(
                f"Beams: crossing_angle = {self.crossing_angle} rad must lie in [0, pi); "
                "give the full angle in rad, not mrad"
            )

    @classmethod
    def symmetric(cls, sqrt_s: float) -> Beams:
        """Head-on beams of equal energy: the lab is the CM frame. ``sqrt_s`` in GeV."""
        return cls(sqrt_s / 2, sqrt_s / 2, 0.0)

    @cached_property
    def electron(self) -> Array:
        """Lab four-momentum (E, px, py, pz) of the electron [GeV]."""
        half = self.crossing_angle / 2
        return _constant(
            self.electron_energy * np.array([1.0, math.sin(half), 0.0, math.cos(half)])
        )

    @cached_property
    def positron(self) -> Array:
        """Lab four-momentum (E, px, py, pz) of the positron [GeV]."""
        half = self.crossing_angle / 2
        return _constant(
            self.positron_energy * np.array([1.0, math.sin(half), 0.0, -math.cos(half)])
        )

    @cached_property
    def momentum(self) -> Array:
        """Total lab four-momentum (E, px, py, pz) [GeV]."""
        return _constant(self.electron + self.positron)

    @cached_property
    def s(self) -> float:
        """Squared centre-of-mass energy [GeV^2]; 4 E- E+ cos^2(half crossing angle)."""
        return (
            4
            * self.electron_energy
            * self.positron_energy
            * (math.cos(self.crossing_angle / 2) ** 2)
        )

    @cached_property
    def sqrt_s(self) -> float:
        """Centre-of-mass energy [GeV]."""
        return math.sqrt(self.s)

    @cached_property
    def boost(self) -> Array:
        """Velocity (x, y, z) of the CM frame in the lab, units of c."""
        return _constant(self.momentum[1:] / self.momentum[0])

    @cached_property
    def beta_gamma(self) -> float:
        """beta * gamma of the CM frame in the lab."""
        return float(np.linalg.norm(self.momentum[1:]) / self.sqrt_s)

    @cached_property
    def to_cm_matrix(self) -> Array:
        """4x4 matrix taking lab (E, px, py, pz) to the CM frame, electron along +z."""
        boosted = _boost_matrix(-self.boost)
        axis = (boosted @ self.electron)[1:]
        return _constant(_rotation_to_z(axis / np.linalg.norm(axis)) @ boosted)

    @cached_property
    def to_lab_matrix(self) -> Array:
        """Inverse of :attr:`to_cm_matrix` (metric times transpose times metric)."""
        metric = np.diag([1.0, -1.0, -1.0, -1.0])
        return _constant(metric @ self.to_cm_matrix.T @ metric)

    def to_cm(self, p4: ArrayLike) -> Array:
        """Four-momenta (..., 4) = (E, px, py, pz) [GeV], lab to CM.

        Raises PhysicsError if the last axis is not of length 4.
        """
        return np.asarray(_four_vectors(p4) @ self.to_cm_matrix.T)

    def to_lab(self, p4: ArrayLike) -> Array:
        """Four-momenta (..., 4) = (E, px, py, pz) [GeV], CM to lab.

        Raises PhysicsError if the last axis is not of length 4.
        """
        return np.asarray(_four_vectors(p4) @ self.to_lab_matrix.T)


def _constant(array: Array) -> Array:
    """Read-only, because cached: a caller's in-place change would move everybody's frame."""
    array.flags.writeable = False
    return array


def _four_vectors(p4: ArrayLike) -> Array:
    vectors = np.asarray(p4, dtype=np.float64)
    if vectors.ndim == 0 or vectors.shape[-1] != 4:
        raise PhysicsError(
            f"four-momenta need shape (..., 4) = (E, px, py, pz) in GeV, got {vectors.shape}"
        )
    return vectors


def _boost_matrix(velocity: Array) -> Array:
    """Active boost by ``velocity``."""
    beta2 = float(velocity @ velocity)
    if beta2 == 0.0:
        return np.eye(4)
    gamma = 1 / math.sqrt(1 - beta2)
    matrix = np.empty((4, 4))
    matrix[0, 0] = gamma
    matrix[0, 1:] = matrix[1:, 0] = gamma * velocity
    matrix[1:, 1:] = np.eye(3) + (gamma - 1) / beta2 * np.outer(velocity, velocity)
    return matrix


def _rotation_to_z(axis: Array) -> Array:
    """4x4 rotation taking the unit vector ``axis`` to +z by the smallest angle (Rodrigues)."""
    cross = np.array([axis[1], -axis[0], 0.0])  # axis x z
    cosine = float(axis[2])
    matrix = np.eye(4)
    skew = np.array(
        [[0.0, -cross[2], cross[1]], [cross[2], 0.0, -cross[0]], [-cross[1], cross[0], 0.0]]
    )
    matrix[1:, 1:] += skew + skew @ skew / (1 + cosine)
    return matrix


#: SuperKEKB design beams: 7.004 GeV e-, 4.002 GeV e+, 83 mrad (R0 ch. 3; sqrt(s) = 10.5796 GeV).
SUPERKEKB = Beams(electron_energy=7.004, positron_energy=4.002, crossing_angle=0.083)
