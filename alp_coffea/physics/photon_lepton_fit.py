"""Kinematic fit of events with photons and leptons, from the errors that tracking gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.kinematic_fit import KinematicFit, Radiation, fit_twice
from alp_coffea.physics.photon_covariance import PhotonCovariance

Array = NDArray[np.float64]


def lepton_covariances(
    momentum: ArrayLike,
    theta: ArrayLike,
    pt_error: ArrayLike,
    theta_error: ArrayLike,
    phi_error: ArrayLike,
) -> Array:
    """Covariances of (E, theta, phi) of tracks [GeV, rad], (..., 3, 3).

    Transverse momentum and angles are taken to be independent of each other. The energy of an
    electron is its momentum pT/sin(theta), which makes it depend on theta:
    dE/dpT = 1/sin(theta), dE/dtheta = -p/tan(theta).
    """
    p, theta, pt_error, theta_error, phi_error = np.broadcast_arrays(
        *(np.asarray(c, np.float64) for c in (momentum, theta, pt_error, theta_error, phi_error))
    )
    slope = -p / np.tan(theta)
    v = np.zeros((*p.shape, 3, 3))
    v[..., 0, 0] = (pt_error / np.sin(theta)) ** 2 + (slope * theta_error) ** 2
    v[..., 0, 1] = v[..., 1, 0] = slope * theta_error**2
    v[..., 1, 1] = theta_error**2
    v[..., 2, 2] = phi_error**2
    return v


def fit_photons_and_leptons(
    energy: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    calibration: PhotonCovariance,
    leptons: ArrayLike,
    beams: Beams,
    *,
    mass: ArrayLike,
    radiation: Radiation = "prior",
    groups: Sequence[Sequence[int]] | None = None,
) -> KinematicFit:
    """Fit events of photons, which come first, and leptons.

    The photons' resolution is evaluated at their measured energies first and at the fitted ones
    then, as in :func:`~alp_coffea.physics.kinematic_fit.fit_photons`, and has the tail of the
    calibration.

    Parameters
    ----------
    energy, theta, phi
        Measured in the lab [GeV, rad], shape (n, N).
    calibration
        Resolution of the photons.
    leptons
        Covariances of the last L particles, shape (n, L, 3, 3).
    mass
        Of the particles [GeV], (N,).
    radiation, groups
        As in :func:`~alp_coffea.physics.kinematic_fit.fit`.

    Raises PhysicsError as ``fit``, and if the leptons are not the last of the particles.
    """
    e = np.asarray(energy, np.float64)
    leptons = np.asarray(leptons, np.float64)
    photons = e.shape[-1] - (leptons.shape[1] if leptons.ndim == 4 else 0)
    if e.ndim != 2 or leptons.ndim != 4 or len(leptons) != len(e) or photons < 0:
        raise PhysicsError(
            f"fit_photons_and_leptons: covariances of leptons {leptons.shape} must be (n, L, 3, 3) "
            f"for particles of shape (n, N), which is {e.shape}"
        )
    tail = [calibration.tail or (math.inf, 2.0)] * photons
    tail += [(math.inf, 2.0)] * leptons.shape[1]

    def covariance(at: Array, polar: Array) -> Array:
        of_photons = calibration.matrices(at[:, :photons], polar[:, :photons])
        return np.concatenate([of_photons, leptons], axis=1)

    return fit_twice(
        energy,
        theta,
        phi,
        covariance,
        beams,
        radiation=radiation,
        mass=mass,
        tail=tail,
        groups=groups,
    )
