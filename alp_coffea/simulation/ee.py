"""Bhabha scattering e+ e- -> e+ e-, leading order QED, massless electrons.

Spin-averaged |M|^2 = 2 e^4 [(s^2 + u^2)/t^2 + (t^2 + u^2)/s^2 + 2 u^2/(s t)] with
t = (p- - q-)^2 (M. Peskin and D. Schroeder, problem 5.2).
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB
from alp_coffea.simulation.constants import E2, ELECTRON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    ETA_HIGH,
    ETA_LOW,
    S,
    passes,
    radiate,
    set_pair,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import PROPOSAL, Process


@njit(cache=True)
def matrix_element(cosine):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 for the electron at polar angle ``cosine``."""
    t = -0.5 * (1.0 - cosine)  # in units of s
    u = -0.5 * (1.0 + cosine)
    return 2.0 * E2**2 * ((1.0 + u * u) / (t * t) + t * t + u * u + 2.0 * u * u / t)


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: electron, positron; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    if weight == 0.0:
        return 0.0
    s = x1 * x2 * parameters[S]
    root = math.sqrt(s)
    shift = 0.5 * math.log(x1 / x2)
    # 1/(1 - cos) uniform: density 1/(1 - cos)^2 as the t-channel pole
    first = 1.0 / (1.0 - math.tanh(parameters[ETA_LOW] - shift))
    last = 1.0 / (1.0 - math.tanh(parameters[ETA_HIGH] - shift))
    distance = 1.0 / (first + (last - first) * draw(state))
    cosine = 1.0 - distance
    set_pair(p4, 0.5 * root, 0.5 * root, cosine, 2.0 * math.pi * draw(state))
    to_collision_frame(p4, 2, x1, x2)
    if not passes(parameters, p4, 0, 2):
        return 0.0
    phase_space = distance * distance * (last - first) / (16.0 * math.pi)
    return weight * GEV2_TO_PB * matrix_element(cosine) * phase_space / (2.0 * s)


PROCESS: Final = Process(
    name="ee",
    propose=propose,
    pdg=(ELECTRON, -ELECTRON),
    mother=(0, 0),
    final=2,
    photons=0,
    singular=True,
)
