"""Cross sections and events of every process.

Events are four-momenta in the collision CM frame (electron along +z), GeV; the detector
simulation boosts them to the lab.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import PhysicsError, suggest
from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.rng import purpose_key, uniforms
from alp_coffea.simulation.constants import PHOTON
from alp_coffea.simulation.sampling import (
    Cuts,
    Frame,
    Process,
    beam_angles,
    fill_unweighted,
    fill_weighted,
    integrate,
    parameters,
)

#: process name -> module and attribute; imported, and compiled or read from numba's cache, on
#: first use
_PROCESSES: Final = {
    "signal": ("strahlung", "PROCESS"),
    "ggg": ("ggg", "PROCESS"),
    "gg": ("gg", "PROCESS"),
    "eeg": ("eeg", "PROCESS"),
    "eea": ("eea", "PROCESS"),
    "eegg": ("eegg", "PROCESS"),
    "eepi0": ("eea", "EEPI0"),
    "eeeta": ("eea", "EEETA"),
    "eeetaprime": ("eea", "EEETAPRIME"),
    "ee": ("ee", "PROCESS"),
    "pi0g": ("mesons", "PI0G"),
    "etag": ("mesons", "ETAG"),
    "etaprimeg": ("mesons", "ETAPRIMEG"),
    "mumug": ("mumug", "PROCESS"),
    "mumu": ("mumu", "PROCESS"),
}
#: names that :func:`cross_section` and :func:`generate` know
PROCESSES: Final = tuple(_PROCESSES)

#: Generator cuts of samples for a three-photon analysis: every photon in the calorimeter
#: (12.0-155.0 degrees in the lab) with some margin for the angular resolution, with an energy
#: more than five resolutions below the loose 0.1 GeV; at most half of s lost to radiation, far
#: below the loose 0.8 sqrt(s).
_ACCEPTANCE: Final = {"energy_min": 0.06, "theta_min": 0.2, "theta_max": 2.72}
_PARTONIC_FRACTION: Final = 0.7

_PILOT_POINTS: Final = 2**18
#: below this fraction of accepted points an event takes longer than 10 ms
_SMALLEST_EFFICIENCY: Final = 1e-5
#: head room of the unweighting maximum over the largest of the pilot points
_HEAD_ROOM: Final = 1.1


@dataclass(frozen=True)
class GeneratedEvents:
    """Generated events of one process.

    Attributes
    ----------
    p4
        Four-momenta (E, px, py, pz) [GeV], shape (n, k, 4), collision CM frame; zeros for a
        particle that an event does not have.
    pdg, mother
        PDG code of each of the k particles and of its mother (0: none).
    final
        The first ``final`` particles are stable; the rest are resonances.
    weight
        Event weight, shape (n,): 1 for unweighted events (the rare event above the unweighting
        maximum carries its excess), pb per point for weighted ones. For the meson processes times
        the branching fraction into two photons.
    first
        Number of the first event in the seed's sequence.
    """

    process: str
    p4: NDArray[np.float64]
    pdg: tuple[int, ...]
    mother: tuple[int, ...]
    final: int
    weight: NDArray[np.float64]
    first: int = 0


def find_process(name: str) -> Process:
    """The process of a name.

    Raises PhysicsError for an unknown name.
    """
    if name not in _PROCESSES:
        raise PhysicsError(
            f"unknown process '{name}'{suggest(name, PROCESSES)}; known: {', '.join(PROCESSES)}"
        )
    module, attribute = _PROCESSES[name]
    process = getattr(importlib.import_module(f"alp_coffea.simulation.{module}"), attribute)
    assert isinstance(process, Process)
    return process


def generation_cuts(
    process: str,
    *,
    beams: Beams = SUPERKEKB,
    energy_min: float | None = None,
    theta_min: float | None = None,
    theta_max: float | None = None,
    frame: Frame | None = None,
    sqrt_s_min: float | None = None,
) -> Cuts:
    """Cuts of an event sample: what is given, otherwise the process's default acceptance.

    Signal has no cuts (its efficiency refers to all of phase space). Backgrounds default to lab
    cuts that lose nothing a three-photon selection could keep.
    """
    singular = find_process(process).singular
    acceptance = _ACCEPTANCE if singular else {}
    chosen = frame if frame is not None else ("lab" if singular else "cm")
    if sqrt_s_min is None:
        sqrt_s_min = _PARTONIC_FRACTION * beams.sqrt_s if singular else 0.0
    return Cuts(
        energy_min=_default(energy_min, acceptance.get("energy_min", 0.0)),
        theta_min=_default(theta_min, acceptance.get("theta_min", 0.0)),
        theta_max=_default(theta_max, acceptance.get("theta_max", math.pi)),
        frame=chosen,
        sqrt_s_min=sqrt_s_min,
    )


def _default(value: float | None, default: float) -> float:
    return default if value is None else value


def cross_section(
    process: str,
    *,
    beams: Beams = SUPERKEKB,
    mass: float | None = None,
    coupling: float = 1e-3,
    energy_min: float = 0.0,
    theta_min: float = 0.0,
    theta_max: float = math.pi,
    frame: Frame = "cm",
    sqrt_s_min: float = 0.0,
    isr: bool = False,
    points: int = 2**21,
) -> tuple[float, float]:
    """Cross section and its statistical error, in pb, by Monte Carlo integration.

    Parameters
    ----------
    process
        One of :data:`PROCESSES`.
    mass, coupling
        ALP mass [GeV] and photon coupling [1/GeV]; only for ``signal`` and ``eea``.
    energy_min
        Smallest energy [GeV] of every photon, in ``frame``.
    theta_min, theta_max
        Polar angle range [rad] of every final particle, in ``frame``: ``"cm"`` (from the
        electron direction) or ``"lab"`` (detector axis).
    sqrt_s_min
        Smallest mass of the final state [GeV] after initial-state radiation.
    isr
        Add collinear leading-log initial-state radiation; otherwise Born.
    points
        Number of points of phase space.

    Raises PhysicsError for an unknown process, cuts without phase space, cuts that leave an
    infinite cross section, a mass outside [0, sqrt(s)) or a negative coupling.
    """
    cuts = Cuts(energy_min, theta_min, theta_max, frame, sqrt_s_min)
    return cross_section_with_cuts(
        process, cuts=cuts, beams=beams, isr=isr, mass=mass, coupling=coupling, points=points
    )


def cross_section_with_cuts(
    process: str,
    *,
    cuts: Cuts,
    beams: Beams,
    isr: bool,
    mass: float | None,
    coupling: float,
    points: int = 2**20,
) -> tuple[float, float]:
    """:func:`cross_section` with complete cuts, as samples are normalised."""
    if points < 1:
        raise PhysicsError(f"cross_section: points = {points} must be at least 1")
    return _integral(process, beams, cuts, isr, mass, coupling, points)[:2]


def generate(
    process: str,
    n: int,
    *,
    seed: int,
    beams: Beams = SUPERKEKB,
    isr: bool = True,
    mass: float | None = None,
    coupling: float = 1e-3,
    first: int = 0,
    energy_min: float | None = None,
    theta_min: float | None = None,
    theta_max: float | None = None,
    frame: Frame | None = None,
    sqrt_s_min: float | None = None,
    weighted: bool = False,
) -> GeneratedEvents:
    """Generate events ``first`` ... ``first + n`` of a seed's sequence.

    Event ``i`` of a seed is the same whatever ``first`` and ``n`` are. Cuts as in
    :func:`cross_section`; those left out default to the process's :func:`generation_cuts`.
    With ``weighted`` every point of phase space is returned with its weight in pb, whose mean is
    the cross section; otherwise events are unweighted by accept or reject.

    Raises PhysicsError as :func:`cross_section`, and for negative ``n`` or ``first``.
    """
    if n < 0 or first < 0:
        raise PhysicsError(f"generate: n = {n} and first = {first} must not be negative")
    cuts = generation_cuts(
        process,
        beams=beams,
        energy_min=energy_min,
        theta_min=theta_min,
        theta_max=theta_max,
        frame=frame,
        sqrt_s_min=sqrt_s_min,
    )
    return generate_with_cuts(
        process,
        n,
        seed=seed,
        beams=beams,
        isr=isr,
        mass=mass,
        coupling=coupling,
        first=first,
        cuts=cuts,
        weighted=weighted,
    )


def generate_with_cuts(
    process: str,
    n: int,
    *,
    seed: int,
    beams: Beams,
    isr: bool,
    mass: float | None,
    coupling: float,
    first: int,
    cuts: Cuts,
    weighted: bool = False,
) -> GeneratedEvents:
    """:func:`generate` with complete cuts."""
    found, values = _prepare(process, beams, cuts, isr, mass, coupling)
    mean, _, maximum = _integral(process, beams, cuts, isr, mass, coupling, _PILOT_POINTS)
    if not weighted and mean < _SMALLEST_EFFICIENCY * maximum:
        raise PhysicsError(
            f"process '{process}': the cuts leave so little phase space that only "
            f"{mean / maximum:.1g} of the points are accepted; loosen the cuts or ask for weighted "
            "events"
        )
    purpose = f"generate {process}" if mass is None else f"generate {process} {float(mass)!r}"
    key = purpose_key(seed, purpose)
    p4 = np.zeros((n, len(found.pdg), 4))
    weight = np.zeros(n)
    if weighted:
        fill_weighted(found.propose, key, first, values, p4, weight)
    else:
        fill_unweighted(found.propose, key, first, values, _HEAD_ROOM * maximum, p4, weight)
    weight *= found.branching
    return GeneratedEvents(process, p4, found.pdg, found.mother, found.final, weight, first)


def generate_mixture(
    process: str,
    n: int,
    *,
    inside: float,
    seed: int,
    beams: Beams,
    isr: bool,
    mass: float | None,
    coupling: float,
    first: int,
    cuts: Cuts,
) -> GeneratedEvents:
    """Events of all of phase space, with more of them inside cuts.

    Each is made inside ``cuts`` with probability ``inside``, otherwise anywhere. With A the share
    of the cross section inside, an event's weight is the density it stands for over that of the
    mixture (A. Owen and Y. Zhou, J. Am. Stat. Assoc. 95 (2000) 135): 1/(1 - inside + inside/A)
    inside and 1/(1 - inside) outside, whichever way it was made. The mean is one.

    Raises PhysicsError as :func:`cross_section`, and if ``inside`` is not between 0 and 1.
    """
    if not 0 < inside < 1:
        raise PhysicsError(f"process '{process}': inside = {inside} must lie between 0 and 1")
    physics: dict[str, Any] = {"beams": beams, "isr": isr, "mass": mass, "coupling": coupling}
    everywhere = generation_cuts(process, beams=beams)
    part, whole = (
        generate_with_cuts(process, n, seed=seed, first=first, cuts=which, **physics)
        for which in (cuts, everywhere)
    )
    accepted, total = (
        cross_section_with_cuts(process, cuts=which, **physics)[0] for which in (cuts, everywhere)
    )
    key = purpose_key(seed, f"mixture {process} {mass!r}")
    chosen = uniforms(key, np.arange(first, first + n)) < inside
    p4 = np.where(chosen[:, None, None], part.p4, whole.p4)
    weight = np.where(chosen, part.weight, whole.weight)
    there = within(cuts, p4[:, : part.final], part.pdg[: part.final], beams)
    weight = weight / (1 - inside + inside * there * total / accepted)
    return replace(part, p4=p4, weight=weight)


def within(
    cuts: Cuts, p4: NDArray[np.float64], pdg: tuple[int, ...], beams: Beams
) -> NDArray[np.bool_]:
    """Which events (n,) of stable particles p4 (n, k, 4) [GeV, CM frame] pass generator cuts.

    Polar angles of all particles, energies of the photons; not the mass after radiation.
    """
    p4 = p4 if cuts.frame == "cm" else beams.to_lab(p4)
    theta = np.arctan2(np.hypot(p4[..., 1], p4[..., 2]), p4[..., 3])
    angles = (theta >= cuts.theta_min) & (theta <= cuts.theta_max)
    bright = (p4[..., 0] >= cuts.energy_min) | (np.array(pdg) != PHOTON)
    return np.asarray((angles & bright).all(axis=1))


def _prepare(
    name: str, beams: Beams, cuts: Cuts, isr: bool, mass: float | None, coupling: float
) -> tuple[Process, NDArray[np.float64]]:
    process = find_process(name)
    options = _physics_options(process, beams, mass, coupling)
    _check_cuts(process, beams, cuts)
    return process, parameters(process, beams, cuts, isr, options)


def _physics_options(
    process: Process, beams: Beams, mass: float | None, coupling: float
) -> dict[str, float]:
    if "mass" not in process.options:
        if mass is not None:
            raise PhysicsError(f"process '{process.name}' takes no mass, got {mass}; leave it out")
        return {}
    if mass is None:
        raise PhysicsError(f"process '{process.name}' needs mass=... in GeV")
    if not 0 < mass < beams.sqrt_s:
        raise PhysicsError(
            f"process '{process.name}': mass = {mass} GeV must lie in (0, {beams.sqrt_s:.4g}), "
            "below the centre-of-mass energy"
        )
    if not (math.isfinite(coupling) and coupling > 0):
        raise PhysicsError(f"coupling = {coupling} 1/GeV must be positive and finite")
    return {"mass": float(mass), "coupling": float(coupling)}


def _check_cuts(process: Process, beams: Beams, cuts: Cuts) -> None:
    where = f"process '{process.name}'"
    if cuts.frame not in ("cm", "lab"):
        raise PhysicsError(f"{where}: frame = '{cuts.frame}' must be 'cm' or 'lab'")
    if not 0 <= cuts.theta_min < cuts.theta_max <= math.pi:
        raise PhysicsError(
            f"{where}: theta_min = {cuts.theta_min} and theta_max = {cuts.theta_max} rad must "
            "satisfy 0 <= theta_min < theta_max <= pi; give radians, not degrees"
        )
    largest = beams.sqrt_s / 2 if cuts.frame == "cm" else float(max(beams.momentum[0], 0.0))
    if not 0 <= cuts.energy_min < largest:
        raise PhysicsError(
            f"{where}: energy_min = {cuts.energy_min} GeV must lie in [0, {largest:.4g}) to leave "
            "any phase space"
        )
    if not 0 <= cuts.sqrt_s_min < beams.sqrt_s:
        raise PhysicsError(
            f"{where}: sqrt_s_min = {cuts.sqrt_s_min} GeV must lie in [0, {beams.sqrt_s:.4g})"
        )
    electron, positron = beam_angles(beams, cuts.frame)
    collinear = cuts.theta_min <= electron or cuts.theta_max >= positron
    if (process.singular and collinear) or (process.soft and cuts.energy_min == 0):
        needed = "energy_min > 0, " if process.soft else ""
        raise PhysicsError(
            f"{where}: the leading-order cross section is infinite for energy_min = "
            f"{cuts.energy_min} GeV, theta in [{cuts.theta_min}, {cuts.theta_max}] rad, frame "
            f"{cuts.frame}; give {needed}theta_min > {electron:.4g} and theta_max < {positron:.4g},"
            " so that the beams are outside"
        )


@lru_cache(maxsize=256)
def _integral(
    name: str,
    beams: Beams,
    cuts: Cuts,
    isr: bool,
    mass: float | None,
    coupling: float,
    points: int,
) -> tuple[float, float, float]:
    """Cross section, error and largest weight in pb from a fixed sequence of points."""
    process, values = _prepare(name, beams, cuts, isr, mass, coupling)
    key = purpose_key(0, f"integrate {name}")
    total, squares, largest = integrate(process.propose, key, 0, points, len(process.pdg), values)
    if largest == 0.0:
        raise PhysicsError(
            f"process '{name}': the cuts leave no phase space (energy_min = {cuts.energy_min} "
            f"GeV, theta in [{cuts.theta_min}, {cuts.theta_max}] rad, frame {cuts.frame}, "
            f"sqrt_s_min = {cuts.sqrt_s_min} GeV at sqrt(s) = {beams.sqrt_s:.4g} GeV)"
        )
    mean = total / points
    variance = max(squares / points - mean * mean, 0.0)
    return mean, math.sqrt(variance / points), largest
