"""Photon covariance matrix: what is known about the resolution of photons, as a documented file.

In each range of the polar angle

    sigma_E/E = stochastic/sqrt(E) (+) constant (+) noise/E   (R0 sec. 8.3, R1 ch. 6)
    sigma_theta, sigma_phi = constant (+) stochastic/sqrt(E)

with (+) the sum in quadrature, E in GeV and angles in rad, and the correlations of the three. Low
measured energies follow the tail of a Crystal Ball. The JSON form is that of the fields below.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy import optimize, special

from alp_coffea.errors import InputError, PhysicsError, UnreadableFileError
from alp_coffea.files import write_json

Array = NDArray[np.float64]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnergyResolution(_Model):
    """Terms of sigma_E/E, for E in GeV."""

    stochastic: float = Field(ge=0, description="times 1/sqrt(E)")
    constant: float = Field(ge=0)
    noise: float = Field(ge=0, description="times 1/E")

    def sigma(self, energy: ArrayLike) -> Array:
        """sigma_E [GeV] at energies [GeV]."""
        e = np.asarray(energy, dtype=np.float64)
        return np.sqrt(self.stochastic**2 * e + (self.constant * e) ** 2 + self.noise**2)


class AngularResolution(_Model):
    """Terms of an angle's standard deviation [rad], for E in GeV."""

    constant: float = Field(ge=0)
    stochastic: float = Field(ge=0, description="times 1/sqrt(E)")

    def sigma(self, energy: ArrayLike) -> Array:
        """Standard deviation [rad] at energies [GeV]."""
        e = np.asarray(energy, dtype=np.float64)
        return np.sqrt(self.constant**2 + self.stochastic**2 / e)


class Correlation(_Model):
    """Correlation coefficients of the measured energy and angles."""

    energy_theta: float = Field(default=0.0, gt=-1, lt=1)
    energy_phi: float = Field(default=0.0, gt=-1, lt=1)
    theta_phi: float = Field(default=0.0, gt=-1, lt=1)

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if np.linalg.eigvalsh(self.matrix()).min() <= 0:
            raise ValueError("the three correlations together are not positive definite")
        return self

    def matrix(self) -> Array:
        """(3, 3) matrix of (E, theta, phi)."""
        a, b, c = self.energy_theta, self.energy_phi, self.theta_phi
        return np.array([[1.0, a, b], [a, 1.0, c], [b, c, 1.0]])


class Region(_Model):
    """Resolution in the range ``theta_min`` <= theta < ``theta_max`` [rad]."""

    theta_min: float = Field(default=0.0, ge=0, le=math.pi)
    theta_max: float = Field(default=math.pi, ge=0, le=math.pi)
    energy: EnergyResolution
    theta: AngularResolution
    phi: AngularResolution
    correlation: Correlation = Correlation()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.theta_min < self.theta_max:
            raise ValueError(f"theta_min = {self.theta_min} must be below {self.theta_max}")
        return self


class Tail(_Model):
    """Crystal Ball tail: power ``n`` for energies more than ``alpha`` sigma too low."""

    alpha: float = Field(gt=0)
    n: float = Field(gt=1)


class PhotonCovariance(_Model):
    """Resolution of photons in energy and angles.

    ``source`` says where it comes from; regions must not overlap. Photons outside all of them have
    no covariance, and no event with one of them is fitted.
    """

    format: Literal["photon_covariance"] = "photon_covariance"
    version: Literal[1] = 1
    source: str = Field(min_length=1)
    regions: tuple[Region, ...] = Field(min_length=1)
    energy_tail: Tail | None = None

    @model_validator(mode="after")
    def _apart(self) -> Self:
        regions = sorted(self.regions, key=lambda region: region.theta_min)
        for left, right in itertools.pairwise(regions):
            if right.theta_min < left.theta_max:
                raise ValueError(
                    f"regions overlap between theta = {right.theta_min} and {left.theta_max}"
                )
        return self

    @property
    def tail(self) -> tuple[float, float] | None:
        """(alpha, n) as the fit takes it, or None."""
        return None if self.energy_tail is None else (self.energy_tail.alpha, self.energy_tail.n)

    def matrices(self, energy: ArrayLike, theta: ArrayLike) -> Array:
        """Covariances of (E, theta, phi) for photons of any shape: (..., 3, 3).

        GeV and rad; NaN outside all regions and for impossible energies.
        """
        energy = np.asarray(energy, dtype=np.float64)
        theta = np.asarray(theta, dtype=np.float64)
        energy, theta = np.broadcast_arrays(energy, theta)
        v = np.full((*energy.shape, 3, 3), np.nan)
        for region in self.regions:
            inside = (theta >= region.theta_min) & (theta < region.theta_max) & (energy > 0)
            e = energy[inside]
            sigma = np.stack([part.sigma(e) for part in (region.energy, region.theta, region.phi)])
            matrix = region.correlation.matrix()
            v[inside] = np.einsum("ai,bi,ab->iab", sigma, sigma, matrix)
        return v

    def scaled(
        self, *, energy: float = 1.0, theta: float = 1.0, phi: float = 1.0, source: str = ""
    ) -> PhotonCovariance:
        """The same with standard deviations times factors; ``source`` is added to the source.

        Raises PhysicsError for factors that are not positive.
        """
        if not all(0 < factor < math.inf for factor in (energy, theta, phi)):
            raise PhysicsError(
                f"PhotonCovariance: factors {energy}, {theta}, {phi} must be positive and finite"
            )
        factors = {"energy": energy, "theta": theta, "phi": phi}
        regions = tuple(
            region.model_copy(
                update={
                    name: (part := getattr(region, name)).model_copy(
                        update={term: factor * value for term, value in part}
                    )
                    for name, factor in factors.items()
                }
            )
            for region in self.regions
        )
        text = source or f"energy x {energy:g}, theta x {theta:g}, phi x {phi:g}"
        return self.model_copy(update={"regions": regions, "source": f"{self.source}; {text}"})

    def write(self, path: Path | str) -> None:
        """Write as JSON; the file appears when it is complete."""
        write_json(self.model_dump(mode="json"), Path(path))

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read the JSON form.

        Raises UnreadableFileError, naming file and field.
        """
        try:
            return cls.model_validate_json(Path(path).read_text("utf-8"))
        except OSError as error:
            raise UnreadableFileError(f"{path}: cannot be read: {error}") from error
        except UnicodeDecodeError as error:
            raise UnreadableFileError(f"{path}: is not text: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise UnreadableFileError(
                f"{path}: {where}: {first['msg']}; see docs/kinematic-fit.md for the format"
            ) from error

    @classmethod
    def from_truth(
        cls,
        energy: ArrayLike,
        theta: ArrayLike,
        phi: ArrayLike,
        true_energy: ArrayLike,
        true_theta: ArrayLike,
        true_phi: ArrayLike,
        *,
        source: str,
        theta_edges: ArrayLike = (0.0, math.pi),
    ) -> Self:
        """Maximum-likelihood estimate from matched photons of a simulation.

        All arrays (n,) in GeV and rad. Energies: a Crystal Ball around the true energy, its tail
        common to all regions; angles: Gaussians; residuals beyond half the energy or 0.1 rad are
        left out as wrong matches. ``theta_edges`` delimit the regions.

        Raises
        ------
        PhysicsError
            For arrays of different shapes.
        InputError
            If a region has fewer than 1000 photons.
        """
        columns = [
            np.asarray(column, dtype=np.float64)
            for column in (energy, theta, phi, true_energy, true_theta, true_phi)
        ]
        if columns[0].ndim != 1 or len({column.shape for column in columns}) != 1:
            raise PhysicsError(
                "PhotonCovariance.from_truth: all six arrays need one shape (n,), got "
                f"{', '.join(str(column.shape) for column in columns)}"
            )
        e, th, ph, e_true, th_true, ph_true = columns
        d_e, d_theta = e - e_true, th - th_true
        d_phi = np.remainder(ph - ph_true + math.pi, 2 * math.pi) - math.pi
        matched = (np.abs(d_e) < 0.5 * e_true) & (np.abs(d_theta) < 0.1) & (np.abs(d_phi) < 0.1)
        edges = np.asarray(theta_edges, dtype=np.float64)
        region_of = np.where(matched, np.digitize(th_true, edges) - 1, -1)
        numbers = [int(np.sum(region_of == k)) for k in range(len(edges) - 1)]
        if min(numbers) < 1000:
            raise InputError(
                "PhotonCovariance.from_truth: 1000 matched photons are needed in each range of "
                f"theta, found {numbers} between {edges.tolist()} rad; use more events or wider "
                "ranges"
            )
        inside = (region_of >= 0) & (region_of < len(numbers))
        alpha, n, *_ = _fit_energy(d_e[inside], e_true[inside])
        regions = []
        for k, (low, high) in enumerate(itertools.pairwise(edges)):
            of = region_of == k
            _, _, *terms = _fit_energy(d_e[of], e_true[of], tail=(alpha, n))
            in_energy = EnergyResolution(stochastic=terms[0], constant=terms[1], noise=terms[2])
            in_theta = _fit_angle(d_theta[of], e_true[of])
            in_phi = _fit_angle(d_phi[of], e_true[of])
            pulls = np.stack(
                [
                    d_e[of] / in_energy.sigma(e_true[of]),
                    d_theta[of] / in_theta.sigma(e_true[of]),
                    d_phi[of] / in_phi.sigma(e_true[of]),
                ]
            )
            # the core: a tail has its own correlations
            rho = np.corrcoef(pulls[:, (np.abs(pulls) < 3).all(axis=0)])
            correlation = Correlation(
                energy_theta=rho[0, 1], energy_phi=rho[0, 2], theta_phi=rho[1, 2]
            )
            regions.append(
                Region(
                    theta_min=low,
                    theta_max=high,
                    energy=in_energy,
                    theta=in_theta,
                    phi=in_phi,
                    correlation=correlation,
                )
            )
        return cls(source=source, regions=tuple(regions), energy_tail=Tail(alpha=alpha, n=n))


def _fit_energy(
    residual: Array, energy: Array, tail: tuple[float, float] | None = None
) -> tuple[float, float, float, float, float]:
    """alpha, n and the three terms of the resolution by maximum likelihood."""

    def cost(values: Array) -> float:
        terms = np.exp(2 * values[:3])
        alpha, n = tail or (math.exp(values[3]), 1 + math.exp(values[4]))
        sigma = np.sqrt(terms[0] * energy + terms[1] * energy**2 + terms[2])
        return float(-np.mean(crystal_ball_log_density(residual / sigma, alpha, n) - np.log(sigma)))

    start = [math.log(0.02), math.log(0.015), math.log(0.003), math.log(1.5), math.log(4.0)]
    values = _minimise(cost, start[: 3 if tail else 5], spread=4.0)
    alpha, n = tail or (math.exp(values[3]), 1 + math.exp(values[4]))
    a, b, c = np.exp(values[:3])
    return alpha, n, float(a), float(b), float(c)


def _fit_angle(residual: Array, energy: Array) -> AngularResolution:
    """Both terms of an angle's resolution by maximum likelihood, without what is beyond 4 sigma.

    Photons that converted behind the tracker make the tails.
    """

    def cost(values: Array) -> float:
        variance = np.exp(2 * values[0]) + np.exp(2 * values[1]) / energy
        return float(np.mean(residual**2 / variance + np.log(variance)))

    for _ in range(2):
        constant, stochastic = np.exp(_minimise(cost, [math.log(0.003)] * 2, spread=6.0))
        resolution = AngularResolution(constant=float(constant), stochastic=float(stochastic))
        core = np.abs(residual) < 4 * resolution.sigma(energy)
        residual, energy = residual[core], energy[core]
    return resolution


def _minimise(cost: Callable[[Array], float], start: list[float], spread: float) -> Array:
    """Minimum within ``spread`` of logarithmic start values."""
    bounds = [(value - spread, value + spread) for value in start]
    return np.asarray(optimize.minimize(cost, start, method="L-BFGS-B", bounds=bounds).x)


def crystal_ball_log_density(t: ArrayLike, alpha: float, n: float) -> Array:
    """Log density of the unit Crystal Ball with a low tail (J. Gaiser, SLAC-R-255, 1982)."""
    t = np.asarray(t, dtype=np.float64)
    core = math.sqrt(2 * math.pi) * special.ndtr(alpha)
    area = core + n / alpha / (n - 1) * math.exp(-(alpha**2) / 2)
    below = np.minimum(t, -alpha)
    tail = n * np.log(n / alpha / (n / alpha - alpha - below)) - alpha**2 / 2
    return np.where(t > -alpha, -(t**2) / 2, tail) - math.log(area)
