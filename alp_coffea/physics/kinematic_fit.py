"""Kinematic fit of photons and leptons to the four-momentum of the beams.

Energies and angles of all particles are moved, within their covariance, until the momenta add up
to that of the beams (R0 sec. 8.1.1). With three photons the pair and the recoil mass then agree,
and one definition of the mass serves the whole range. Three treatments of initial-state radiation:

``none``
    Four constraints (4C). Right without radiation; with it the fit is biased.
``free``
    One photon of unknown energy along either beam, three constraints.
``prior``
    The photon's energy k has the spectrum of radiation, dN/dk ~ k^(beta - 1), as prior. In the
    variable eta of M. Beckmann, B. List and J. List, Nucl. Instrum. Meth. A624 (2010) 184,
    k = K_max erf(|eta|/sqrt 2)^(1/beta), that prior is a unit Gaussian. The posterior mean over
    both sides is subtracted from the beams and the rest fitted again, until both agree; the
    posterior's covariance goes into the errors. The integral is done in closed form, see
    :func:`radiation_moments`.

Everything is in the lab, in GeV and rad. The compiled loop over events is in
:mod:`alp_coffea.physics.kinematic_fit_kernels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import kinematic_fit_kernels as kernels
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.constants import ALPHA, ELECTRON_MASS
from alp_coffea.physics.kinematics import CANDIDATE_ROLES, signed_root
from alp_coffea.physics.photon_covariance import PhotonCovariance

Array = NDArray[np.float64]
Radiation = Literal["none", "free", "prior"]

#: What became of an event, by status code.
STATUS: Final = {
    kernels.CONVERGED: "converged",
    kernels.NOT_CONVERGED: "not_converged",
    kernels.BAD_PARTICLE: "bad_particle",
    kernels.BAD_COVARIANCE: "bad_covariance",
    kernels.IMPOSSIBLE: "impossible_constraints",
}
#: Largest move of a parameter, in its standard deviations, in the last step of a converged fit.
TOLERANCE: Final = 1e-7
MAX_ITERATIONS: Final = 200

#: Pairs of photons that belong to candidates 0, 1, 2 of a triple sorted by energy.
PAIRS: Final = tuple(roles[1:] for roles in CANDIDATE_ROLES)

#: Spacing and range of the table of radiation moments, in standard deviations of k.
_SPACING: Final = 1 / 16
_LARGEST: Final = 16.0


@dataclass(frozen=True)
class KinematicFit:
    """Fitted events; values of events that have no converged fit are NaN.

    Attributes
    ----------
    energy, theta, phi
        Fitted parameters [GeV, rad], shape (n, N).
    chi2
        Constrained minimum, shape (n,): of :attr:`constraints` degrees of freedom without
        radiation. With ``prior`` at the posterior mean of the radiation; with robust weights a
        reduced one.
    radiated
        Fractions of the electron's and the positron's energy that are radiated, shape (n, 2).
    mass2, sigma_mass2
        Squared mass [GeV^2] of each group of particles and its standard deviation, (n, G).
    iterations, status
        Steps taken and what became of each event (a key of :data:`STATUS`), shape (n,).
    constraints
        4, or 3 with a free radiated photon.
    """

    energy: Array
    theta: Array
    phi: Array
    chi2: Array
    radiated: Array
    mass2: Array
    sigma_mass2: Array
    iterations: NDArray[np.int64]
    status: NDArray[np.int64]
    constraints: int

    def __len__(self) -> int:
        return len(self.status)

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Events whose values can be used, shape (n,)."""
        return np.asarray(self.status == kernels.CONVERGED)

    @property
    def counts(self) -> dict[str, int]:
        """Number of events by what became of them, every name of :data:`STATUS`."""
        return {name: int(np.sum(self.status == code)) for code, name in STATUS.items()}

    @property
    def probability(self) -> Array:
        """Probability of a larger chi^2, shape (n,)."""
        return np.asarray(special.chdtrc(self.constraints, self.chi2))

    @property
    def mass(self) -> Array:
        """Signed roots of :attr:`mass2` [GeV], shape (n, G)."""
        return np.asarray(signed_root(self.mass2))

    @property
    def sigma_mass(self) -> Array:
        """Standard deviation of :attr:`mass` to first order, sigma(m^2)/(2m) [GeV], (n, G)."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.sigma_mass2 / (2 * np.abs(self.mass)))


def fit(
    energy: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    covariance: ArrayLike,
    beams: Beams,
    *,
    radiation: Radiation = "none",
    mass: ArrayLike = 0.0,
    tail: ArrayLike | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> KinematicFit:
    """Fit events of N photons or leptons each to the four-momentum of the beams.

    Parameters
    ----------
    energy, theta, phi
        Measured in the lab [GeV, rad], shape (n, N). NaN for a missing particle.
    covariance
        Of (E, theta, phi) of each particle, shape (n, N, 3, 3) or one that broadcasts to it.
    radiation
        See the module's description.
    mass
        Of the particles [GeV], scalar or (N,).
    tail
        (alpha, n) of the Crystal Ball tail of low measured energies, shape (2,) or (N, 2): pulls
        below -alpha get the weight that the tail gives them. ``alpha = inf`` for a particle
        without one. None: all Gaussian.
    groups
        Particles whose masses are wanted, by index; for three particles all pairs by default, in
        the order of ``kinematics.CANDIDATE_ROLES``, otherwise none.
    max_iterations
        After which an event counts as not converged.

    Raises
    ------
    PhysicsError
        For arrays of the wrong shape, unknown ``radiation`` or bad ``mass``, ``tail``,
        ``groups``. Bad events do not raise: they get a status and NaN.

    >>> import numpy as np
    >>> from alp_coffea.physics import SUPERKEKB
    >>> angle = np.array([[0.9, 1.3, 1.2]])
    >>> covariance = np.diag([0.05, 0.005, 0.005]) ** 2
    >>> result = fit([[4.4, 3.5, 3.1]], angle, [[0.1, 2.3, -2.0]], covariance, SUPERKEKB)
    >>> result.counts["converged"], result.mass.shape
    (1, (1, 3))
    """
    measured = _measured(energy, theta, phi)
    events, particles = measured.shape[:2]
    v = np.asarray(covariance, dtype=np.float64)
    try:
        v = np.ascontiguousarray(np.broadcast_to(v, (events, particles, 3, 3)))
    except ValueError:
        raise PhysicsError(
            f"fit: covariance of shape {v.shape} must broadcast to {(events, particles, 3, 3)}, "
            "one (E, theta, phi) matrix per particle"
        ) from None
    if radiation not in get_args(Radiation):
        raise PhysicsError(
            f"fit: radiation = {radiation!r} must be one of {', '.join(get_args(Radiation))}"
        )
    if max_iterations < 1:
        raise PhysicsError(f"fit: max_iterations = {max_iterations} must be at least 1")
    alpha, power = _tail(tail, particles)
    members = _members(groups, particles)
    beta = radiator_exponent(beams.s)

    result = KinematicFit(
        energy=(fitted := np.empty_like(measured))[:, :, 0],
        theta=fitted[:, :, 1],
        phi=fitted[:, :, 2],
        chi2=np.empty(events),
        radiated=np.empty((events, 2)),
        mass2=np.empty((events, len(members))),
        sigma_mass2=np.empty((events, len(members))),
        iterations=np.empty(events, np.int64),
        status=np.empty(events, np.int64),
        constraints=3 if radiation == "free" else 4,
    )
    kernels.fit_events(
        measured,
        v,
        _masses(mass, particles),
        alpha,
        power,
        members,
        np.stack([beams.electron, beams.positron]),
        get_args(Radiation).index(radiation),
        _moments_table(beta),
        _SPACING,
        _LARGEST,
        beta,
        TOLERANCE,
        max_iterations,
        fitted,
        result.chi2,
        result.radiated,
        result.mass2,
        result.sigma_mass2,
        result.iterations,
        result.status,
    )
    return result


def fit_photons(
    energy: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    calibration: PhotonCovariance,
    beams: Beams,
    *,
    radiation: Radiation = "prior",
    robust: bool = True,
    groups: Sequence[Sequence[int]] | None = None,
) -> KinematicFit:
    """Fit events of N photons whose resolution is known from a calibration.

    The resolution depends on the photons' true energy. A measured energy that is too low by chance
    would get too small an error and pull the mean down, so the covariance is evaluated at the
    measured energies first and at the fitted ones then. Parameters as in :func:`fit`; ``robust``
    uses the calibration's tail. Events without a fit keep the status of the pass that failed.
    """
    return fit_twice(
        energy,
        theta,
        phi,
        calibration.matrices,
        beams,
        radiation=radiation,
        tail=calibration.tail if robust else None,
        groups=groups,
    )


def fit_twice(
    energy: ArrayLike,
    theta: ArrayLike,
    phi: ArrayLike,
    covariance: Callable[[Array, Array], Array],
    beams: Beams,
    **options: Any,
) -> KinematicFit:
    """Fit with a covariance at the measured energies, and again with the one at the fitted ones.

    ``covariance`` makes matrices (n, N, 3, 3) of energies [GeV] and polar angles [rad], (n, N);
    ``options`` and the other parameters are those of :func:`fit`.
    """
    measured = _measured(energy, theta, phi)
    e, polar, azimuth = (measured[:, :, k] for k in range(3))
    at = e
    for _ in range(2):
        result = fit(e, polar, azimuth, covariance(at, polar), beams, **options)
        at = np.where(result.converged[:, None], result.energy, e)
    return result


def radiator_exponent(s: float) -> float:
    """beta = (2 alpha/pi) (ln(s/m_e^2) - 1) of the radiated energy's spectrum k^(beta-1).

    Of both beams together (Beckmann, List and List 2010, eq. 2); ``s`` in GeV^2.
    """
    return 2 * ALPHA / math.pi * (math.log(s / ELECTRON_MASS**2) - 1)


def radiation_moments(beta: float, z: ArrayLike) -> tuple[Array, Array]:
    """ln I and the mean of u, with I(z) = integral over u > 0 of u^(beta-1) exp(-(u-z)^2/2).

    The posterior of a radiated energy u in units of its error, measured as z, with the prior
    u^(beta-1). In parabolic cylinder functions (Gradshteyn and Ryzhik 3.462.1)
    I = Gamma(beta) exp(-z^2/4) D_(-beta)(-z), and the mean is that with beta + 1 over that with
    beta. E[u^2] = z E[u] + beta by partial integration. For |z| below 25.
    """
    argument = -np.asarray(z, dtype=np.float64)
    lower, upper = special.pbdv(-beta, argument)[0], special.pbdv(-beta - 1, argument)[0]
    log_integral = special.gammaln(beta) - argument**2 / 4 + np.log(lower)
    return np.asarray(log_integral), np.asarray(beta * upper / lower)


@lru_cache(maxsize=8)
def _moments_table(beta: float) -> Array:
    """Columns ln I, mean and their derivatives on the grid of the kernel."""
    z = np.arange(-_LARGEST, _LARGEST + _SPACING / 2, _SPACING)
    log_integral, mean = radiation_moments(beta, z)
    # d ln I/dz = E[u] - z and d E[u]/dz = Var[u]
    table = np.stack([log_integral, mean, mean - z, beta + z * mean - mean**2], axis=1)
    table.flags.writeable = False
    return table


def _measured(energy: ArrayLike, theta: ArrayLike, phi: ArrayLike) -> Array:
    columns = [np.asarray(column, dtype=np.float64) for column in (energy, theta, phi)]
    if columns[0].ndim != 2 or len({column.shape for column in columns}) != 1:
        raise PhysicsError(
            "fit: energy, theta and phi need one shape (n, N), events by particles, got "
            f"{', '.join(str(column.shape) for column in columns)}"
        )
    return np.stack(columns, axis=2)


def _masses(mass: ArrayLike, particles: int) -> Array:
    masses = np.asarray(mass, dtype=np.float64)
    if masses.shape not in ((), (particles,)) or not np.all((masses >= 0) & np.isfinite(masses)):
        raise PhysicsError(
            f"fit: mass = {mass!r} must be one non-negative number [GeV] or {particles} of them"
        )
    return np.ascontiguousarray(np.broadcast_to(masses, particles))


def _tail(tail: ArrayLike | None, particles: int) -> tuple[Array, Array]:
    values = np.asarray((math.inf, 2.0) if tail is None else tail, dtype=np.float64)
    if values.shape not in ((2,), (particles, 2)) or not (
        np.all(values[..., 0] > 0) and np.all(values[..., 1] > 1)
    ):
        raise PhysicsError(
            f"fit: tail = {tail!r} must be (alpha, n), or {particles} of them, alpha > 0 and n > 1"
        )
    values = np.broadcast_to(values, (particles, 2))
    return np.ascontiguousarray(values[:, 0]), np.ascontiguousarray(values[:, 1])


def _members(groups: Sequence[Sequence[int]] | None, particles: int) -> NDArray[np.bool_]:
    if groups is None:
        groups = PAIRS if particles == 3 else ()
    members = np.zeros((len(groups), particles), dtype=bool)
    for row, group in enumerate(groups):
        if not group or not all(0 <= i < particles for i in group):
            raise PhysicsError(
                f"fit: group {tuple(group)} must name particles by index, 0 to {particles - 1}"
            )
        members[row, list(group)] = True
    return members
