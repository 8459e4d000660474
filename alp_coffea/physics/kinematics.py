"""Masses, recoil, angles, isolation and timing of photon systems: one formula per function.

Elementwise functions take numpy arrays, awkward arrays or scalars, broadcast, compute in float64
and return the same kind. Energies and masses in GeV, angles in rad, times in ns; lab frame unless
a name ends in ``_cm``. Arguments whose shapes do not broadcast raise
:class:`~alp_coffea.errors.PhysicsError`.

Bad *elements* (NaN energy, impossible angle) do not raise: pass photons through
:func:`mask_invalid` first, which makes them NaN; NaN then reaches every derived quantity, fails
every cut written as "keep if inside", and is counted with :func:`valid_photon`.

Functions of the three-photon triple take arrays of shape (n, 3), photons sorted by descending
energy: index 0 is the most energetic photon, 1 the medium, 2 the least energetic.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError
from alp_coffea.physics._shapes import elementwise
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.constants import MUON_MASS, TWO_PI

#: A numpy array, an awkward array or a number; the result is of the same kind.
Column: TypeAlias = Any
Array = NDArray[np.float64]

#: (recoil, daughter, daughter) photon index of candidates 0, 1, 2 (R0 table 5.2): candidate 0
#: recoils against the most energetic photon (index 0), 1 against the medium, 2 against the least
#: energetic.
CANDIDATE_ROLES: Final = ((0, 1, 2), (1, 0, 2), (2, 0, 1))

_ONE = np.float64(1.0)


class CandidateMasses(NamedTuple):
    """Squared masses [GeV^2], shape (n, 3): column c is candidate c of ``CANDIDATE_ROLES``."""

    diphoton_mass2: Array
    recoil_mass2: Array


# --- validity -------------------------------------------------------------------------------


@elementwise
def valid_photon(energy: Column, theta: Column, phi: Column) -> Column:
    """Whether a photon is possible: finite, E > 0, 0 <= theta <= pi and |phi| <= 2 pi.

    Generous in phi because some ntuples count it from 0 and others from -pi.
    """
    energy, theta, phi = _double(energy), _double(theta), _double(phi)
    return (
        (energy > 0)
        & (energy < np.inf)
        & (theta >= 0)
        & (theta <= math.pi)
        & (np.abs(phi) <= TWO_PI)
    )


@elementwise
def mask_invalid(energy: Column, theta: Column, phi: Column) -> tuple[Column, Column, Column]:
    """(E, theta, phi) with NaN in all three wherever :func:`valid_photon` is false."""
    energy, theta, phi = _double(energy), _double(theta), _double(phi)
    valid = valid_photon(energy, theta, phi)
    return (
        np.where(valid, energy, np.nan),
        np.where(valid, theta, np.nan),
        np.where(valid, phi, np.nan),
    )


# --- angles ---------------------------------------------------------------------------------


@elementwise
def delta_theta(theta1: Column, theta2: Column) -> Column:
    """Absolute difference of polar angles [rad], in [0, pi]."""
    return np.abs(_double(theta1) - _double(theta2))


@elementwise
def delta_phi(phi1: Column, phi2: Column) -> Column:
    """Absolute difference of azimuths [rad], wrapped to [0, pi]."""
    difference = _double(phi1) - _double(phi2)
    return np.abs(difference - TWO_PI * np.rint(difference / TWO_PI))


@elementwise
def opening_angle(theta1: Column, phi1: Column, theta2: Column, phi2: Column) -> Column:
    """Angle between two directions [rad], in [0, pi], accurate at both ends."""
    sine2, cosine2 = _half_angle(theta1, phi1, theta2, phi2)
    return 2 * np.arctan2(np.sqrt(sine2), np.sqrt(cosine2))


def _half_angle(
    theta1: Column, phi1: Column, theta2: Column, phi2: Column
) -> tuple[Column, Column]:
    """sin^2 and cos^2 of half the opening angle, each a sum of positive terms.

    1 - cos(angle) cancels catastrophically for close photons; the haversine does not:
    sin^2(angle/2) = sin^2(dtheta/2) + sin(theta1) sin(theta2) sin^2(dphi/2).
    """
    theta1, theta2 = _double(theta1), _double(theta2)
    sines = np.sin(theta1) * np.sin(theta2)
    half_phi = 0.5 * (_double(phi1) - _double(phi2))
    sine2 = np.sin(0.5 * (theta1 - theta2)) ** 2 + sines * np.sin(half_phi) ** 2
    cosine2 = np.cos(0.5 * (theta1 + theta2)) ** 2 + sines * np.cos(half_phi) ** 2
    return sine2, cosine2


# --- centre-of-mass frame -------------------------------------------------------------------


@elementwise
def energy_cm(
    energy: Column, theta: Column, phi: Column, beams: Beams, *, momentum: Column | None = None
) -> Column:
    """CM energy [GeV] from lab energy and direction: (E P0 - p.P)/sqrt(s).

    P is the beams' total four-momentum. ``momentum`` [GeV] is the particle's, equal to its
    energy (a photon) by default.
    """
    total = beams.momentum / beams.sqrt_s
    energy, theta, phi = _double(energy), _double(theta), _double(phi)
    size = energy if momentum is None else _double(momentum)
    transverse = total[1] * np.cos(phi)
    if total[2]:
        transverse = transverse + total[2] * np.sin(phi)
    return energy * total[0] - size * (np.sin(theta) * transverse + total[3] * np.cos(theta))


@elementwise
def angles_cm(theta: Column, phi: Column, beams: Beams) -> tuple[Column, Column]:
    """(theta*, phi*) [rad] of a photon in the CM frame, electron along +z; phi* in (-pi, pi].

    Aberration does not depend on the photon's energy.
    """
    theta, phi = _double(theta), _double(phi)
    sine = np.sin(theta)
    x, y, z = sine * np.cos(phi), sine * np.sin(phi), np.cos(theta)
    matrix = beams.to_cm_matrix
    x_cm, y_cm, z_cm = (r[0] + r[1] * x + r[2] * y + r[3] * z for r in matrix[1:])
    return np.arctan2(np.hypot(x_cm, y_cm), z_cm), np.arctan2(y_cm, x_cm)


# --- masses ---------------------------------------------------------------------------------


@elementwise
def signed_root(mass2: Column) -> Column:
    """sign(m^2) sqrt|m^2| [GeV]: the axis of mass histograms, where negative recoils survive."""
    mass2 = _double(mass2)
    return np.copysign(np.sqrt(np.abs(mass2)), mass2)


@elementwise
def signed_square(mass: Column) -> Column:
    """sign(m) m^2 [GeV^2], the inverse of :func:`signed_root`."""
    mass = _double(mass)
    return np.abs(mass) * mass


@elementwise
def diphoton_mass2(
    energy1: Column, theta1: Column, phi1: Column, energy2: Column, theta2: Column, phi2: Column
) -> Column:
    """Squared mass of two photons [GeV^2]: 4 E1 E2 sin^2(angle/2).

    Algebraically 2 E1 E2 (1 - cos(angle)), without its cancellation at small angles.
    """
    theta1, theta2 = _double(theta1), _double(theta2)
    sine2 = np.sin(0.5 * (theta1 - theta2)) ** 2 + np.sin(theta1) * np.sin(theta2) * (
        np.sin(0.5 * (_double(phi1) - _double(phi2))) ** 2
    )
    return 4 * _double(energy1) * energy2 * sine2


@elementwise
def recoil_mass2(energy_cm: Column, sqrt_s: Column, mass2: Column = 0.0) -> Column:
    """Squared mass [GeV^2] recoiling against a system: s + m^2 - 2 sqrt(s) E*.

    ``energy_cm`` and ``mass2`` are the system's CM energy and squared mass: a photon (m = 0) in
    the three-photon search, the muon pair in Z' -> invisible. May be negative.
    """
    sqrt_s = _double(sqrt_s)
    return sqrt_s * (sqrt_s - 2 * _double(energy_cm)) + mass2


@elementwise
def pair_mass2(
    momentum1: Column,
    theta1: Column,
    phi1: Column,
    momentum2: Column,
    theta2: Column,
    phi2: Column,
    *,
    mass1: Column,
    mass2: Column,
) -> Column:
    """Squared mass [GeV^2] of two massive particles from momenta [GeV] and directions.

    m1^2 + m2^2 + 2 (E1 E2 - p1 p2) + 4 p1 p2 sin^2(angle/2), with
    E1 E2 - p1 p2 = (m1^2 E2^2 + m2^2 p1^2)/(E1 E2 + p1 p2) to avoid the cancellation.
    """
    momentum1, momentum2 = _double(momentum1), _double(momentum2)
    energy1 = np.sqrt(momentum1**2 + mass1**2)
    energy2 = np.sqrt(momentum2**2 + mass2**2)
    aligned = (mass1**2 * energy2**2 + mass2**2 * momentum1**2) / (
        energy1 * energy2 + momentum1 * momentum2
    )
    massless = diphoton_mass2(momentum1, theta1, phi1, momentum2, theta2, phi2)
    return mass1**2 + mass2**2 + 2 * aligned + massless


@elementwise
def dimuon_recoil_mass2(
    momentum1: Column,
    theta1: Column,
    phi1: Column,
    momentum2: Column,
    theta2: Column,
    phi2: Column,
    beams: Beams,
) -> Column:
    """Squared mass [GeV^2] recoiling against two muons: s + m^2(mumu) - 2 sqrt(s) E*(mumu).

    (Z' -> invisible, R3.)
    """
    momentum1, momentum2 = _double(momentum1), _double(momentum2)
    pair_energy = energy_cm(
        np.sqrt(momentum1**2 + MUON_MASS**2), theta1, phi1, beams, momentum=momentum1
    ) + energy_cm(np.sqrt(momentum2**2 + MUON_MASS**2), theta2, phi2, beams, momentum=momentum2)
    pair = pair_mass2(
        momentum1, theta1, phi1, momentum2, theta2, phi2, mass1=MUON_MASS, mass2=MUON_MASS
    )
    return recoil_mass2(pair_energy, beams.sqrt_s, pair)


@elementwise
def cos_helicity_angle(
    energy1: Column, theta1: Column, phi1: Column, energy2: Column, theta2: Column, phi2: Column
) -> Column:
    """Cosine of the helicity angle of photon 1 in the pair's rest frame.

    The angle between photon 1 in the pair's rest frame and the pair's direction in the frame of
    the arguments (pass CM quantities for the ALP's helicity angle). For two massless photons it
    is (E1 - E2)/|p1 + p2|; NaN for a pair at rest.
    """
    energy1, energy2 = _double(energy1), _double(energy2)
    _, cosine2 = _half_angle(theta1, phi1, theta2, phi2)
    difference = energy1 - energy2
    with np.errstate(invalid="ignore"):
        return difference / np.sqrt(difference**2 + 4 * energy1 * energy2 * cosine2)


# --- the three-photon triple, shape (n, 3) --------------------------------------------------


def order_by_energy(energy: ArrayLike) -> NDArray[np.intp]:
    """Indices (n, k) that sort each row by descending energy, NaN last, ties in input order.

    Apply with ``np.take_along_axis(x, order, axis=1)``. Raises PhysicsError unless 2-D.
    """
    energy = np.asarray(energy, dtype=np.float64)
    if energy.ndim != 2:
        raise PhysicsError(f"order_by_energy: energy needs shape (n, k), got {energy.shape}")
    return np.argsort(-energy, axis=1, kind="stable")


def pair_masses2(energy: ArrayLike, theta: ArrayLike, phi: ArrayLike) -> Array:
    """Squared diphoton masses [GeV^2], shape (n, 3): column c is the pair without photon c."""
    energy, theta, phi = _triples(energy=energy, theta=theta, phi=phi)
    masses2 = np.empty_like(energy)
    for column, (_, one, two) in enumerate(CANDIDATE_ROLES):
        masses2[:, column] = diphoton_mass2(
            energy[:, one], theta[:, one], phi[:, one], energy[:, two], theta[:, two], phi[:, two]
        )
    return masses2


def three_photon_mass2(energy: ArrayLike, theta: ArrayLike, phi: ArrayLike) -> Array:
    """Squared mass of the triple [GeV^2], shape (n,): the sum of its three pair masses."""
    return np.asarray(pair_masses2(energy, theta, phi).sum(axis=1))


def three_photon_mass(energy: ArrayLike, theta: ArrayLike, phi: ArrayLike) -> Array:
    """Mass of the triple m(gamma gamma gamma) [GeV], shape (n,), from (n, 3) arrays."""
    return np.sqrt(three_photon_mass2(energy, theta, phi))


def candidate_masses2(
    energy: ArrayLike, theta: ArrayLike, phi: ArrayLike, beams: Beams
) -> CandidateMasses:
    """Squared diphoton and recoil masses of all three candidates of each triple.

    Parameters
    ----------
    energy, theta, phi
        Lab photons, shape (n, 3), each row sorted by descending energy [GeV, rad, rad].
    beams
        Beams whose CM frame and sqrt(s) the recoil refers to.

    Returns
    -------
    CandidateMasses
        Two (n, 3) arrays; column c is candidate c of ``CANDIDATE_ROLES``.

    Raises
    ------
    PhysicsError
        If the shapes are not equal to (n, 3), or a row is not sorted: roles are defined by it.
    """
    energy, theta, phi = _triples(energy=energy, theta=theta, phi=phi)
    unsorted = (energy[:, 0] < energy[:, 1]) | (energy[:, 1] < energy[:, 2])
    if unsorted.any():
        row = int(np.argmax(unsorted))
        raise PhysicsError(
            f"candidate_masses2: photons must be sorted by descending energy, but row {row} has "
            f"E = {energy[row].tolist()} GeV; sort with order_by_energy"
        )
    recoil = recoil_mass2(energy_cm(energy, theta, phi, beams), beams.sqrt_s)
    # the recoil photon of candidate c is photon c, so the columns already are the candidates
    return CandidateMasses(pair_masses2(energy, theta, phi), recoil)


def most_isolated(theta: ArrayLike, phi: ArrayLike) -> NDArray[np.intp]:
    """Index (0, 1 or 2) of the most isolated photon of each triple, shape (n,) (R0 sec. 5.3.1).

    The one with the largest quadratic sum of delta theta and delta phi distances to the other
    two, so the one opposite the closest pair; the lower index wins ties. A triple with a NaN
    angle gets an index without meaning: such an event fails the angle cuts.
    """
    theta, phi = _triples(theta=theta, phi=phi)
    distance2 = np.empty_like(theta)
    for column, (_, one, two) in enumerate(CANDIDATE_ROLES):
        distance2[:, column] = (
            delta_theta(theta[:, one], theta[:, two]) ** 2
            + delta_phi(phi[:, one], phi[:, two]) ** 2
        )
    # the sum over pairs with photon c is the total minus the pair without it
    return np.asarray(np.argmin(distance2, axis=1))


# --- timing ---------------------------------------------------------------------------------


@elementwise
def mean_time(time: Column, dt99: Column) -> Column:
    """Weighted mean cluster time over the last axis [ns]: sum t dt99^-2 / sum dt99^-2 (R0 5.9).

    ``dt99`` is ``clusterErrorTiming``. A dt99 that is not positive, or no cluster at all, makes
    the mean NaN.
    """
    dt99 = _double(dt99)
    weight = np.where(dt99 > 0, dt99, np.nan) ** -2.0
    with np.errstate(invalid="ignore"):
        return np.sum(_double(time) * weight, axis=-1) / np.sum(weight, axis=-1)


@elementwise
def timing_chi(time: Column, dt99: Column) -> Column:
    """t_c = max_j |t_j - <t>|/dt99_j over the last axis (R0 5.8); NaN if any input is bad."""
    mean = mean_time(time, dt99)
    pull = np.abs(_double(time) - mean[..., np.newaxis]) / dt99
    # awkward's max skips NaN and would return -inf, which passes t_c < 10: put the NaN back
    return np.max(pull, axis=-1) + 0.0 * mean


def _triples(**columns: ArrayLike) -> list[Array]:
    """Float64 arrays after checking that all have the same shape (n, 3)."""
    arrays = {}
    for name, column in columns.items():
        try:
            arrays[name] = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise PhysicsError(f"{name} must be an array of numbers of shape (n, 3)") from error
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(s) != 2 or s[1] != 3 for s in shapes.values()):
        raise PhysicsError(
            "photon triples need arrays of one shape (n, 3), got "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )
    return list(arrays.values())


def _double(column: Column) -> Column:
    """As float64: numpy by conversion, awkward by promotion (ntuples may hold float32)."""
    if hasattr(column, "layout"):
        return column * _ONE
    return np.asarray(column, dtype=np.float64)
