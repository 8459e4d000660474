"""The sampling layer shared by all processes: run parameters, integration, unweighting.

A process provides one kernel, ``propose(state, parameters, p4) -> weight``, that fills the
four-momenta of one point of phase space in the CM frame and returns its contribution to the
cross section in pb (0 outside the cuts). Kernels have an explicit signature, so that this layer
is compiled once and cached for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from alp_coffea.physics.beams import Beams
from alp_coffea.physics.constants import ALPHA, ELECTRON_MASS
from alp_coffea.simulation import kinematics
from alp_coffea.simulation.draws import draw, start

Frame = Literal["cm", "lab"]

_STREAM = types.uint64[::1]
_VECTOR = types.float64[::1]
#: signature of a process kernel
PROPOSAL: Final = types.float64(_STREAM, _VECTOR, types.float64[:, ::1])
_KERNEL = types.FunctionType(PROPOSAL)
_COUNT = types.int64
_SUMS = types.UniTuple(types.float64, 3)


@dataclass(frozen=True)
class Process:
    """One process: its kernel and what the kernel's rows of four-momenta are.

    ``pdg`` and ``mother`` are PDG codes per row (mother 0: none); the first ``final`` rows are
    final-state particles, of which the first ``photons`` are photons, the rest resonances.
    ``options`` names the physics parameters it takes. ``singular`` says that the cross section
    is infinite without a cut on angles, ``soft`` also without one on photon energies.
    ``constants`` follow the options in the kernel's parameters. ``branching`` is the fraction of
    the cross section that the generated decay stands for, a factor of the event weight.
    A row of zeros is a particle that the event does not have.
    """

    name: str
    propose: Any
    pdg: tuple[int, ...]
    mother: tuple[int, ...]
    final: int
    photons: int
    options: tuple[str, ...] = ()
    singular: bool = False
    soft: bool = False
    constants: tuple[float, ...] = ()
    branching: float = 1.0


@dataclass(frozen=True)
class Cuts:
    """Generator cuts: ``energy_min`` [GeV] on every photon, angles [rad] on every final particle.

    ``frame`` is where they apply; ``sqrt_s_min`` [GeV] bounds the mass of the final state, that
    is the energy left after initial-state radiation.
    """

    energy_min: float = 0.0
    theta_min: float = 0.0
    theta_max: float = math.pi
    frame: Frame = "cm"
    sqrt_s_min: float = 0.0


def radiator_exponent(s: float) -> float:
    """beta = (2 alpha/pi) (ln(s/m_e^2) - 1) of collinear initial-state radiation; s in GeV^2."""
    return 2 * ALPHA / math.pi * (math.log(s / ELECTRON_MASS**2) - 1)


def parameters(
    process: Process, beams: Beams, cuts: Cuts, isr: bool, options: Mapping[str, float]
) -> NDArray[np.float64]:
    """The parameter array of a run, layout of :mod:`alp_coffea.simulation.kinematics`."""
    values = np.zeros(kinematics.OWN + len(process.options) + len(process.constants))
    values[kinematics.S] = beams.s
    values[kinematics.ISR_BETA] = radiator_exponent(beams.s) if isr else 0.0
    values[kinematics.S_MIN] = cuts.sqrt_s_min**2
    values[kinematics.E_MIN] = cuts.energy_min
    values[kinematics.COS_HIGH] = math.cos(cuts.theta_min)
    values[kinematics.COS_LOW] = math.cos(cuts.theta_max)
    values[kinematics.LAB] = float(cuts.frame == "lab")
    values[kinematics.ETA_LOW], values[kinematics.ETA_HIGH] = _pseudorapidity_range(beams, cuts)
    values[kinematics.MATRIX : kinematics.OWN] = beams.to_lab_matrix.ravel()
    values[kinematics.OWN :] = [*(options[name] for name in process.options), *process.constants]
    return values


def beam_angles(beams: Beams, frame: Frame) -> tuple[float, float]:
    """Polar angles [rad] of the electron and the positron beam in a frame."""
    if frame == "cm":
        return 0.0, math.pi
    electron, positron = beams.electron, beams.positron
    return (
        math.atan2(math.hypot(electron[1], electron[2]), electron[3]),
        math.atan2(math.hypot(positron[1], positron[2]), positron[3]),
    )


#: range for processes without collinear poles, which do not sample in pseudorapidity
ETA_LARGEST: Final = 7.0


def _pseudorapidity_range(beams: Beams, cuts: Cuts) -> tuple[float, float]:
    """CM pseudorapidity range that contains the directions inside the angular cut.

    A lab cone maps to a circle on the CM sphere, whose extreme CM angles bound the accepted
    directions as long as both beams are outside.
    """
    phi = np.linspace(0, 2 * math.pi, 721)
    limit = math.tanh(ETA_LARGEST)
    etas = []
    for theta in (cuts.theta_max, cuts.theta_min):
        x, y = math.sin(theta) * np.cos(phi), math.sin(theta) * np.sin(phi)
        cone = np.stack([np.ones_like(phi), x, y, np.full_like(phi, math.cos(theta))], axis=-1)
        p4 = cone if cuts.frame == "cm" else beams.to_cm(cone)
        etas.append(np.arctanh(np.clip(p4[:, 3] / p4[:, 0], -limit, limit)))
    # the circle is sampled, so leave room for what lies between two of its points
    return float(etas[0].min()) - 1e-3, float(etas[1].max()) + 1e-3


@njit(
    _SUMS(_KERNEL, types.uint64, _COUNT, _COUNT, _COUNT, _VECTOR),
    cache=True,
)
def integrate(propose, key, first, count, rows, parameters):  # type: ignore[no-untyped-def]
    """Sum, sum of squares and maximum of the weights of points ``first`` ... of a key."""
    state = np.zeros(2, np.uint64)
    p4 = np.zeros((rows, 4))
    total = 0.0
    squares = 0.0
    largest = 0.0
    for i in range(count):
        start(state, key, first + i)
        weight = propose(state, parameters, p4)
        total += weight
        squares += weight * weight
        largest = max(largest, weight)
    return total, squares, largest


@njit(
    types.void(_KERNEL, types.uint64, _COUNT, _VECTOR, types.float64[:, :, ::1], _VECTOR),
    cache=True,
)
def fill_weighted(propose, key, first, parameters, p4, weight):  # type: ignore[no-untyped-def]
    """One point of phase space per event with its weight in pb (also 0)."""
    state = np.zeros(2, np.uint64)
    for i in range(weight.size):
        start(state, key, first + i)
        weight[i] = propose(state, parameters, p4[i])


@njit(
    types.void(
        _KERNEL,
        types.uint64,
        types.int64,
        _VECTOR,
        types.float64,
        types.float64[:, :, ::1],
        _VECTOR,
    ),
    cache=True,
)
def fill_unweighted(propose, key, first, parameters, maximum, p4, weight):  # type: ignore[no-untyped-def]
    """Accept or reject against ``maximum`` inside the event's own stream.

    The rare point above the maximum keeps the excess as its weight: the sample stays unbiased.
    """
    state = np.zeros(2, np.uint64)
    for i in range(weight.size):
        start(state, key, first + i)
        while True:
            value = propose(state, parameters, p4[i])
            if value > maximum * draw(state):
                weight[i] = max(1.0, value / maximum)
                break
