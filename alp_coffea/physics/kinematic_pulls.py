"""How well what a kinematic fit changes agrees with the resolution it was told.

Measured minus fitted parameters over their expected spread are unit Gaussians if the covariance of
the photons is right. Energies can be compared with tracks (R0 sec. 8.3); angles are tested with the
pulls of the three photons themselves. Everything is in the lab, in GeV and rad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from alp_coffea.errors import InputError
from alp_coffea.physics import kinematic_fit as kf
from alp_coffea.physics import kinematic_pull_kernels as kernels
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.photon_covariance import PhotonCovariance

Array = NDArray[np.float64]

#: Parameters of a photon, in the order of the last axis of pulls.
PARAMETERS: Final = ("energy", "theta", "phi")
#: Fewer fitted events give no width.
MINIMUM_EVENTS: Final = 200


def photon_pulls(
    energy: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    calibration: PhotonCovariance,
    beams: Beams,
    *,
    radiation: kf.Radiation = "prior",
    robust: bool = True,
) -> Array:
    """(measured - fitted)/expected spread of E, theta and phi, shape (n, N, 3).

    NaN in events without a fit. The fit is that of
    :func:`~alp_coffea.physics.kinematic_fit.fit_photons`, with its parameters.
    """
    result = kf.fit_photons(
        energy, theta, phi, calibration, beams, radiation=radiation, robust=robust
    )
    measured = np.stack([np.asarray(c, dtype=np.float64) for c in (energy, theta, phi)], axis=2)
    fitted = np.stack([result.energy, result.theta, result.phi], axis=2)
    particles = measured.shape[1]
    alpha, power = kf._tail(calibration.tail if robust else None, particles)
    beta = kf.radiator_exponent(beams.s)
    errors = np.empty_like(measured)
    # at the fitted energies, as in the last pass of the fit
    at = np.where(result.converged[:, None], result.energy, measured[:, :, 0])
    kernels.residual_errors(
        measured,
        calibration.matrices(at, measured[:, :, 1]),
        fitted,
        np.zeros(particles),
        alpha,
        power,
        np.stack([beams.electron, beams.positron]),
        get_args(kf.Radiation).index(radiation),
        kf._moments_table(beta),
        kf._SPACING,
        kf._LARGEST,
        beta,
        errors,
    )
    residual = measured - fitted
    residual[:, :, 2] = np.remainder(residual[:, :, 2] + math.pi, 2 * math.pi) - math.pi
    return np.asarray(residual / errors)


def half_width(values: ArrayLike) -> tuple[float, float]:
    """Half the central 68.27 % of finite values, and its error as that of a Gaussian's.

    Raises InputError for fewer than 200 values.
    """
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    if len(finite) < MINIMUM_EVENTS:
        raise InputError(f"half_width: {len(finite)} values; {MINIMUM_EVENTS} are needed")
    low, high = np.percentile(finite, [15.8655, 84.1345])
    width = float(high - low) / 2
    # variance of both quantiles p(1-p)/(n f^2), and their covariance p^2/(n f^2)
    share, density = 0.158655, 0.241971
    error = math.sqrt(2 * share * (1 - share) - 2 * share**2) / density / 2
    return width, width * error / math.sqrt(len(finite))


@dataclass(frozen=True)
class AngularScale:
    """Factor of the angular resolution that makes the phi pulls as wide as ``target``."""

    factor: float
    error: float
    target: float


def angular_scale(
    energy: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    calibration: PhotonCovariance,
    beams: Beams,
    *,
    target: float = 1.0,
    limits: tuple[float, float] = (0.3, 3.0),
) -> AngularScale:
    """What the calibration's angular resolutions must be multiplied by.

    The factor, common to theta and phi, for which the central 68 % of the phi pulls of all photons
    are as wide as ``target``: one, or the width that the same events of a simulation have with
    their own resolution, which takes out what radiation does to the pulls. Radiation goes along
    the beams, so that it moves phi least.

    Parameters
    ----------
    energy, theta, phi
        Measured in the lab [GeV, rad], shape (n, N).
    limits
        Smallest and largest factor.

    Raises
    ------
    InputError
        For fewer than 200 pulls, or where no factor inside the limits does it.
    """

    def excess(log_factor: float) -> float:
        factor = math.exp(log_factor)
        pulls = photon_pulls(
            energy, theta, phi, calibration.scaled(theta=factor, phi=factor), beams
        )
        return math.log(half_width(pulls[:, :, 2])[0] / target)

    low, high = (math.log(limit) for limit in limits)
    ends = excess(low), excess(high)
    if ends[0] * ends[1] > 0:
        raise InputError(
            f"angular_scale: phi pulls are {target * math.exp(ends[0]):.3g} wide with angles x "
            f"{limits[0]:g} and {target * math.exp(ends[1]):.3g} with x {limits[1]:g}, never "
            f"{target:.3g}; is the energy resolution of the calibration right?"
        )
    found = float(optimize.brentq(excess, low, high, xtol=1e-3))
    factor = math.exp(found)
    slope = (excess(found + 0.05) - excess(found - 0.05)) / 0.1
    pulls = photon_pulls(energy, theta, phi, calibration.scaled(theta=factor, phi=factor), beams)
    width, error = half_width(pulls[:, :, 2])
    return AngularScale(factor, factor * error / width / abs(slope), target)
