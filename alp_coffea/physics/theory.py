"""Axion-like particles that couple to photons only: production, decay, couplings.

Masses in GeV, couplings g (of a to two photons) in 1/GeV, cross sections in pb, lengths in cm.
Equation numbers "R0" are those of the 2018 Belle II three-photon search, "R1" those of the
photon-fusion study.

Every function is vectorised and broadcasts. Elements of an array outside the domain (a mass
beyond sqrt(s), a negative coupling or cross section) give NaN; a *scalar* outside it raises
:class:`~alp_coffea.errors.PhysicsError`, since it is a mistake and not a bad element. NaN stays
NaN in both cases. Couplings are magnitudes: every observable here depends on g^2 only, so a
negative one is refused rather than silently squared.

The cross section is the Born one at nominal sqrt(s) over the full solid angle.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError
from alp_coffea.physics._shapes import elementwise
from alp_coffea.physics.constants import ALPHA, ELECTRON_MASS, GEV2_TO_PB, HBAR_C

__all__ = [
    "ALPHA",
    "DETECTOR_LENGTH",
    "DISPLACED_LENGTH",
    "GEV2_TO_PB",
    "HBAR_C",
    "MERGING_ANGLE",
    "REGIMES",
    "alp_beta_gamma",
    "coupling_from_cross_section",
    "coupling_from_theory",
    "cross_section",
    "decay_fraction",
    "decay_length",
    "differential_cross_section",
    "minimum_opening_angle",
    "radiative_fraction",
    "recoil_energy",
    "regime",
    "scale_coupling_limit",
    "width",
]

Array = NDArray[np.float64]

#: Below this opening angle [rad] the two decay photons count as one cluster: 1.55 crystals of
#: 36.6 mrad, the smallest opening angle at m = 0.15 GeV and sqrt(s) = 10.58 GeV, where R4
#: ("m < 150 MeV ... (3-5) degrees", JHEP 12 (2017) 094, sec. 5.2) puts the boundary.
MERGING_ANGLE: Final = 0.0567
#: Mean flight distance [cm] from which a decay counts as displaced: about the calorimeter's
#: shower size (Moliere radius of CsI(Tl), 3.6 cm). Ours; the sources give no number.
DISPLACED_LENGTH: Final = 3.6
#: Mean flight distance [cm] from which a decay counts as invisible: about the outer radius of
#: Belle II's muon system. Ours; the sources give no number.
DETECTOR_LENGTH: Final = 350.0
#: The values of :func:`regime`.
REGIMES: Final = ("resolved", "merged", "displaced", "invisible", "undefined")


@elementwise
def cross_section(mass: ArrayLike, coupling: ArrayLike, *, sqrt_s: ArrayLike) -> Array:
    """Cross section of e+e- -> gamma a [pb]: g^2 alpha/24 (1 - m^2/s)^3 (R0 2.7).

    >>> round(float(cross_section(0.0, 1e-3, sqrt_s=10.58)), 4)
    0.1184
    """
    coupling = _magnitude("coupling", coupling, "1/GeV")
    return _returned(GEV2_TO_PB * ALPHA / 24 * coupling**2 * _phase_space(mass, sqrt_s) ** 3)


@elementwise
def differential_cross_section(
    cos_theta: ArrayLike, mass: ArrayLike, coupling: ArrayLike, *, sqrt_s: ArrayLike
) -> Array:
    """d sigma/d cos(theta*) [pb] of the recoil photon in the CM frame (R0 2.6).

    g^2 alpha/128 (3 + cos 2 theta*) (1 - m^2/s)^3, with 3 + cos 2 theta = 2 (1 + cos^2 theta).
    """
    cos_theta = _domain("cos_theta", cos_theta, -1.0, 1.0, "")
    coupling = _magnitude("coupling", coupling, "1/GeV")
    angular = (1 + cos_theta**2) / 64
    return _returned(GEV2_TO_PB * ALPHA * coupling**2 * angular * _phase_space(mass, sqrt_s) ** 3)


@elementwise
def radiative_fraction(mass: ArrayLike, *, sqrt_s: ArrayLike) -> Array:
    """Least share of the cross section that soft initial-state radiation leaves.

    Radiation of the energy fraction x is distributed like beta x^(beta-1) with
    beta = 2 alpha/pi (ln(s/m_e^2) - 1) (E. Kuraev and V. Fadin, Sov. J. Nucl. Phys. 41 (1985) 466)
    and takes s to (1-x) s. With the threshold factor (1 - m^2/s)^3 = x0^3 of the Born cross section
    the integral over x < x0 is x0^beta / ((1 + beta) (1 + beta/2) (1 + beta/3)). The virtual
    corrections, 1 + 3 beta/4, and hard radiation only add to it.

    >>> round(float(radiative_fraction(9.0, sqrt_s=10.58)), 2)
    0.76
    """
    sqrt_s = _sqrt_s(sqrt_s)
    beta = 2 * ALPHA / math.pi * (2 * np.log(sqrt_s / ELECTRON_MASS) - 1)
    slope = (1 + beta) * (1 + beta / 2) * (1 + beta / 3)
    return _returned(_phase_space(mass, sqrt_s) ** beta / slope)


@elementwise
def recoil_energy(mass: ArrayLike, *, sqrt_s: ArrayLike) -> Array:
    """CM energy of the recoil photon [GeV]: (s - m^2)/(2 sqrt(s)) (R0 2.8).

    It is also the CM momentum of the ALP.
    """
    return _returned(_sqrt_s(sqrt_s) / 2 * _phase_space(mass, sqrt_s))


@elementwise
def width(mass: ArrayLike, coupling: ArrayLike) -> Array:
    """Decay width [GeV]: g^2 m^3/(64 pi) (R0 2.9)."""
    mass = _magnitude("mass", mass, "GeV")
    coupling = _magnitude("coupling", coupling, "1/GeV")
    return _returned(coupling**2 * mass**3 / (64 * math.pi))


@elementwise
def alp_beta_gamma(mass: ArrayLike, *, sqrt_s: ArrayLike) -> Array:
    """beta gamma = p*/m of the ALP in the CM frame; infinite at m = 0."""
    with np.errstate(divide="ignore"):
        return _returned(np.divide(recoil_energy(mass, sqrt_s=sqrt_s), _floats("mass", mass)))


@elementwise
def decay_length(mass: ArrayLike, coupling: ArrayLike, *, beta_gamma: ArrayLike) -> Array:
    """Mean flight distance beta gamma c tau [cm] in the frame that ``beta_gamma`` refers to.

    c tau = hbar c / Gamma (R0 2.9, 2.10). Infinite for a stable ALP (m = 0 or g = 0).
    """
    gamma = width(mass, coupling)
    beta_gamma = _magnitude("beta_gamma", beta_gamma, "", infinite=True)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return _returned(beta_gamma * np.divide(HBAR_C, gamma))


@elementwise
def decay_fraction(length: ArrayLike, mean_length: ArrayLike) -> Array:
    """Fraction of ALPs that decay within ``length``: 1 - exp(-length/mean_length) (R0 2.10).

    Both in the same unit; ``mean_length`` from :func:`decay_length`, where infinity means never.
    """
    length = _magnitude("length", length, "cm")
    mean_length = _magnitude("mean_length", mean_length, "cm", infinite=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _returned(-np.expm1(-np.divide(length, mean_length)))


@elementwise
def coupling_from_cross_section(sigma: ArrayLike, mass: ArrayLike, *, sqrt_s: ArrayLike) -> Array:
    """Coupling [1/GeV] of ALP-strahlung with cross section ``sigma`` [pb].

    sqrt(24 sigma/(alpha (1 - m^2/s)^3)), the inverse of R0 2.7. At m = sqrt(s) no coupling
    gives a cross section and the result is NaN.
    """
    sigma = _magnitude("sigma", sigma, "pb")
    phase_space = _phase_space(mass, sqrt_s)
    phase_space = np.where(phase_space > 0, phase_space, np.nan)
    return _returned(np.sqrt(24 * sigma / (GEV2_TO_PB * ALPHA * phase_space**3)))


@elementwise
def coupling_from_theory(
    sigma: ArrayLike, sigma_theory: ArrayLike, *, coupling_theory: ArrayLike
) -> Array:
    """Coupling [1/GeV] from a tabulated theory: g_theory sqrt(sigma/sigma_theory) (R1 9.2).

    ``sigma_theory`` is the cross section at ``coupling_theory``, in the unit of ``sigma``;
    where it is zero the result is NaN.
    """
    sigma = _magnitude("sigma", sigma, "pb")
    sigma_theory = _magnitude("sigma_theory", sigma_theory, "pb")
    coupling_theory = _magnitude("coupling_theory", coupling_theory, "1/GeV")
    return _returned(
        coupling_theory * np.sqrt(sigma / np.where(sigma_theory > 0, sigma_theory, np.nan))
    )


@elementwise
def scale_coupling_limit(
    coupling: ArrayLike, *, luminosity_from: ArrayLike, luminosity_to: ArrayLike
) -> Array:
    """Project a coupling limit to another luminosity: g (L_from/L_to)^(1/4) (R1 9.1).

    Valid when the limit is dominated by background: sigma limits then fall like 1/sqrt(L). A
    search without background does better, g falling like 1/sqrt(L).
    """
    start = _positive("luminosity_from", luminosity_from, "")
    end = _positive("luminosity_to", luminosity_to, "")
    return _returned(_magnitude("coupling", coupling, "1/GeV") * (start / end) ** 0.25)


@elementwise
def minimum_opening_angle(mass: ArrayLike, *, sqrt_s: ArrayLike) -> Array:
    """Smallest opening angle [rad] of a -> gamma gamma in the CM frame.

    The symmetric decay, sin(angle/2) = m/E*, with E* = (s + m^2)/(2 sqrt(s)).
    """
    root = _sqrt_s(sqrt_s)
    mass = _domain("mass", mass, 0.0, root, "GeV")
    return _returned(2 * np.arcsin(2 * root * mass / (root**2 + mass**2)))


@elementwise
def regime(
    mass: ArrayLike,
    coupling: ArrayLike,
    *,
    sqrt_s: ArrayLike,
    merging_angle: float = MERGING_ANGLE,
    displaced_length: float = DISPLACED_LENGTH,
    detector_length: float = DETECTOR_LENGTH,
) -> NDArray[np.str_]:
    """Experimental signature of e+e- -> gamma a, a -> gamma gamma in the (m, g) plane.

    With L the mean decay length in the CM frame, in this order: ``invisible`` for
    L >= ``detector_length`` [cm], ``displaced`` for L >= ``displaced_length`` [cm], ``merged``
    for a smallest opening angle below ``merging_angle`` [rad], else ``resolved``
    (R0 sec. 2.3, R4 fig. 5). ``undefined`` where mass or coupling is outside its domain.

    The borders are conventions that label a plot; no limit depends on them.
    """
    for name, value in (
        ("merging_angle", merging_angle),
        ("displaced_length", displaced_length),
        ("detector_length", detector_length),
    ):
        _positive(name, value, "")
    if displaced_length > detector_length:
        raise PhysicsError(
            f"regime: displaced_length = {displaced_length} cm must not exceed detector_length = "
            f"{detector_length} cm"
        )
    beta_gamma = alp_beta_gamma(mass, sqrt_s=sqrt_s)
    # at m = sqrt(s) the ALP is at rest: it decays where it is made
    length = decay_length(mass, coupling, beta_gamma=beta_gamma)
    angle = minimum_opening_angle(mass, sqrt_s=sqrt_s)
    conditions = [
        np.isnan(length) | np.isnan(angle),
        length >= detector_length,
        length >= displaced_length,
        angle < merging_angle,
    ]
    return np.select(
        conditions, ["undefined", "invisible", "displaced", "merged"], default="resolved"
    )


def _phase_space(mass: ArrayLike, sqrt_s: ArrayLike) -> Array:
    """1 - m^2/s, NaN outside 0 <= m <= sqrt(s); a factored form exact near the end point."""
    root = _sqrt_s(sqrt_s)
    ratio = _domain("mass", mass, 0.0, root, "GeV") / root
    return _returned((1 - ratio) * (1 + ratio))


def _sqrt_s(sqrt_s: ArrayLike) -> Array:
    return _positive("sqrt_s", sqrt_s, "GeV")


def _floats(name: str, value: ArrayLike) -> Array:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PhysicsError(f"{name} must be a number or an array of numbers: {error}") from error


def _domain(name: str, value: ArrayLike, low: float, high: ArrayLike, unit: str) -> Array:
    """Float array with NaN outside [low, high]; a scalar outside raises."""
    array = _floats(name, value)
    upper = np.asarray(high, dtype=np.float64)
    bad = (array < low) | (array > upper) | np.isinf(array)
    if array.ndim == 0 and upper.ndim == 0 and bad:
        raise PhysicsError(
            f"{name} = {array} {unit}".rstrip() + f" must lie in [{low}, {upper}] {unit}".rstrip()
        )
    return np.where(bad, np.nan, array)


def _magnitude(name: str, value: ArrayLike, unit: str, *, infinite: bool = False) -> Array:
    """Float array with NaN where negative (or infinite); such a scalar raises."""
    array = _floats(name, value)
    bad = array < 0 if infinite else (array < 0) | np.isinf(array)
    if array.ndim == 0 and bad:
        raise PhysicsError(
            f"{name} = {array} {unit}".rstrip()
            + " must not be negative"
            + ("" if infinite else " or infinite")
        )
    return np.where(bad, np.nan, array)


def _positive(name: str, value: ArrayLike, unit: str) -> Array:
    array = _floats(name, value)
    bad = ~(array > 0) & ~np.isnan(array) | np.isinf(array)
    if array.ndim == 0 and (bad or np.isnan(array)):
        raise PhysicsError(f"{name} = {array} {unit}".rstrip() + " must be positive and finite")
    return np.where(bad, np.nan, array)


def _returned(value: object) -> Array:
    """numpy's scalar-or-array result under the one type that callers see."""
    return value  # type: ignore[return-value]
