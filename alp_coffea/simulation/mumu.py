"""Muon pairs e+ e- -> mu+ mu-, leading order, with the muon mass.

Spin-averaged |M|^2 = e^4 [1 + cos^2 + (4 m^2/s) (1 - cos^2)] (M. Peskin and D. Schroeder,
eq. 5.10 in terms of the angle).
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB, MUON_MASS
from alp_coffea.simulation.constants import E2, MUON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import S, passes, radiate, set_pair, to_collision_frame
from alp_coffea.simulation.sampling import PROPOSAL, Process


@njit(cache=True)
def matrix_element(s, cosine):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 at s [GeV^2] for the muon at polar angle ``cosine``."""
    square = cosine * cosine
    return E2**2 * (1.0 + square + 4.0 * MUON_MASS**2 / s * (1.0 - square))


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: mu-, mu+; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    s = x1 * x2 * parameters[S]
    if weight == 0.0 or s <= 4.0 * MUON_MASS**2:
        return 0.0
    root = math.sqrt(s)
    cosine = 2.0 * draw(state) - 1.0
    momentum = math.sqrt(0.25 * s - MUON_MASS**2)
    set_pair(p4, 0.5 * root, momentum, cosine, 2.0 * math.pi * draw(state))
    to_collision_frame(p4, 2, x1, x2)
    if not passes(parameters, p4, 0, 2):
        return 0.0
    phase_space = 2.0 * momentum / root / (8.0 * math.pi)
    return weight * GEV2_TO_PB * matrix_element(s, cosine) * phase_space / (2.0 * s)


PROCESS: Final = Process(
    name="mumu", propose=propose, pdg=(MUON, -MUON), mother=(0, 0), final=2, photons=0
)
