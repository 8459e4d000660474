"""The normality monitor: are pulls of the fitted mass unit Gaussians at all masses (R0 sec. 8.1.2)?

A pull is (m^2_fit - m^2)/sigma(m^2) of the true candidate of a simulated signal. If the photon
covariance is right, its median is zero and half its central 68 % is one whatever the mass; factors
on the resolutions of energies and angles can be scanned for what comes nearest to that. GeV, rad.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from alp_coffea.errors import PhysicsError
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.kinematic_fit import fit_photons
from alp_coffea.physics.kinematic_pulls import half_width
from alp_coffea.physics.photon_covariance import PhotonCovariance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SignalTriples:
    """Measured photons of true signal events of one mass [GeV].

    ``energy``, ``theta``, ``phi`` (n, 3) sorted by energy, ``candidate`` (n,) the photon that
    recoils: the one that is no daughter.
    """

    mass: float
    energy: Array
    theta: Array
    phi: Array
    candidate: NDArray[np.integer]

    def __post_init__(self) -> None:
        n = len(self.candidate)
        if not self.energy.shape == self.theta.shape == self.phi.shape == (n, 3):
            raise PhysicsError(
                f"SignalTriples at {self.mass:g} GeV: photons {self.energy.shape}, "
                f"{self.theta.shape}, {self.phi.shape} must be ({n}, 3), as many as candidates"
            )

    def first(self, number: int) -> SignalTriples:
        """The first ``number`` of its events."""
        return SignalTriples(
            self.mass,
            self.energy[:number],
            self.theta[:number],
            self.phi[:number],
            self.candidate[:number],
        )


@dataclass(frozen=True)
class MassPulls:
    """Pulls at one mass [GeV]: ``median`` and ``width`` with errors, events ``failed`` of all."""

    mass: float
    events: int
    failed: int
    median: float
    median_error: float
    width: float
    width_error: float


def mass_pulls(sample: SignalTriples, calibration: PhotonCovariance, beams: Beams) -> Array:
    """(m^2_fit - m^2)/sigma(m^2) of the true candidates, (n,); NaN without a fit."""
    result = fit_photons(sample.energy, sample.theta, sample.phi, calibration, beams)
    row = np.arange(len(sample.candidate)), sample.candidate
    return np.asarray((result.mass2[row] - sample.mass**2) / result.sigma_mass2[row])


def normality(
    samples: Sequence[SignalTriples], calibration: PhotonCovariance, beams: Beams
) -> list[MassPulls]:
    """Median and width of the pulls at every mass.

    Raises InputError for a mass with fewer than 200 fitted events.
    """
    rows = []
    for sample in samples:
        pulls = mass_pulls(sample, calibration, beams)
        ok = pulls[np.isfinite(pulls)]
        width, error = half_width(ok)
        rows.append(
            MassPulls(
                sample.mass,
                len(pulls),
                len(pulls) - len(ok),
                float(np.median(ok)),
                width * math.sqrt(math.pi / 2 / len(ok)),  # of a Gaussian
                width,
                error,
            )
        )
    return rows


def departure(rows: Sequence[MassPulls]) -> float:
    """Root of the mean of median^2 + (width - 1)^2 over the masses: zero if all are normal."""
    return math.sqrt(float(np.mean([row.median**2 + (row.width - 1) ** 2 for row in rows])))


@dataclass(frozen=True)
class ScaleScan:
    """Departure from normality over factors of energy and angular resolutions.

    ``departure`` (energies, angles) on the grid of ``energy`` and ``angle``; the best factors
    ``best_energy`` and ``best_angle`` are refined beyond it.
    """

    energy: Array
    angle: Array
    departure: Array
    best_energy: float
    best_angle: float
    best_departure: float

    def apply(self, calibration: PhotonCovariance) -> PhotonCovariance:
        """The calibration with the best factors."""
        return calibration.scaled(
            energy=self.best_energy, theta=self.best_angle, phi=self.best_angle
        )


def scan_scales(
    samples: Sequence[SignalTriples],
    calibration: PhotonCovariance,
    beams: Beams,
    *,
    energy: Sequence[float] = (0.8, 0.9, 1.0, 1.1, 1.2),
    angle: Sequence[float] = (0.8, 0.9, 1.0, 1.1, 1.2),
) -> ScaleScan:
    """The factors on the calibration that bring the pulls nearest to normal at all masses.

    All pairs of the grid, and from the best one a simplex search within the grid's range.
    """

    def at(factors: Array) -> float:
        scaled = calibration.scaled(energy=factors[0], theta=factors[1], phi=factors[1])
        return departure(normality(samples, scaled, beams))

    pairs = list(itertools.product(energy, angle))
    found = np.array([at(np.array(pair)) for pair in pairs])
    start = pairs[int(np.argmin(found))]
    limits = [(min(energy), max(energy)), (min(angle), max(angle))]
    best = optimize.minimize(
        at,
        start,
        method="Nelder-Mead",
        bounds=limits,
        options={"xatol": 5e-3, "fatol": 1e-4, "maxfev": 40},
    )
    return ScaleScan(
        np.asarray(energy, float),
        np.asarray(angle, float),
        found.reshape(len(energy), len(angle)),
        float(best.x[0]),
        float(best.x[1]),
        float(best.fun),
    )
