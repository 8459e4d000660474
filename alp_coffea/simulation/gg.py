"""Two photons, e+ e- -> gamma gamma, leading order.

Spin-averaged |M|^2 = 2 e^4 (u/t + t/u), massless electrons; sigma = 1/2! 1/(2s) int |M|^2 dPhi2
(M. Peskin and D. Schroeder, An Introduction to Quantum Field Theory, eq. 5.107). A third cluster
comes from the detector: a converted photon, a split shower or beam background.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB
from alp_coffea.simulation.constants import E2, PHOTON
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
    """Spin-averaged |M|^2 at polar angle ``cosine``; t and u are -s/2 (1 -+ cos)."""
    return 4.0 * E2**2 * (1.0 + cosine * cosine) / (1.0 - cosine * cosine)


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: two photons; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    if weight == 0.0:
        return 0.0
    s = x1 * x2 * parameters[S]
    root = math.sqrt(s)
    shift = 0.5 * math.log(x1 / x2)
    range_ = parameters[ETA_HIGH] - parameters[ETA_LOW]
    cosine = math.tanh(parameters[ETA_LOW] - shift + range_ * draw(state))
    set_pair(p4, 0.5 * root, 0.5 * root, cosine, 2.0 * math.pi * draw(state))
    to_collision_frame(p4, 2, x1, x2)
    if not passes(parameters, p4, 2, 2):
        return 0.0
    # dPhi2 = dcos dphi / (32 pi^2), dcos = (1 - cos^2) deta
    phase_space = (1.0 - cosine * cosine) * range_ / (16.0 * math.pi)
    return 0.5 * weight * GEV2_TO_PB * matrix_element(cosine) * phase_space / (2.0 * s)


PROCESS: Final = Process(
    name="gg",
    propose=propose,
    pdg=(PHOTON, PHOTON),
    mother=(0, 0),
    final=2,
    photons=2,
    singular=True,
)
