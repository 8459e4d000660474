"""ALP-strahlung e+ e- -> gamma a, a -> gamma gamma, photon coupling only.

Spin-averaged squared matrix element, massless electrons (from L = -g/4 a F F~):
|M|^2 = e^2 g^2 (t^2 + u^2) / (4 s), t = -2 p-.k, u = -2 p+.k with the recoil photon k. It
integrates to R0 eq. 2.6 and 2.7: dsigma/dcos = g^2 alpha/128 (3 + cos 2 theta) (1 - m^2/s)^3.
The decay is isotropic in the ALP rest frame (spin 0).
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB
from alp_coffea.simulation.constants import ALP, BEAM, E2, PHOTON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    OWN,
    S,
    decay_massless,
    passes,
    radiate,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import PROPOSAL, Process

MASS: Final = OWN
COUPLING: Final = OWN + 1


@njit(cache=True)
def matrix_element(s, t, u, coupling):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 of e+ e- -> gamma a (dimensionless); s, t, u in GeV^2."""
    return E2 * coupling**2 * (t * t + u * u) / (4.0 * s)


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: recoil photon, two decay photons, ALP; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    s = x1 * x2 * parameters[S]
    mass2 = parameters[MASS] ** 2
    if weight == 0.0 or s <= mass2:
        return 0.0
    root = math.sqrt(s)
    cosine = 2.0 * draw(state) - 1.0
    phi = 2.0 * math.pi * draw(state)
    sine = math.sqrt(1.0 - cosine * cosine)
    energy = 0.5 * (s - mass2) / root
    p4[0, 0] = energy
    p4[0, 1] = energy * sine * math.cos(phi)
    p4[0, 2] = energy * sine * math.sin(phi)
    p4[0, 3] = energy * cosine
    p4[3, 0] = root - energy
    for i in range(1, 4):
        p4[3, i] = -p4[0, i]
    decay_massless(state, p4[3], p4[1], p4[2])
    to_collision_frame(p4, 4, x1, x2)
    if not passes(parameters, p4, 3, 3):
        return 0.0
    t = -root * (energy - energy * cosine)
    u = -root * (energy + energy * cosine)
    # sigma = 1/(2s) |M|^2 dPhi2, dPhi2 = (1 - m^2/s) / (8 pi) dcos/2 dphi/(2 pi)
    phase_space = (1.0 - mass2 / s) / (8.0 * math.pi)
    square = matrix_element(s, t, u, parameters[COUPLING])
    return weight * GEV2_TO_PB * square * phase_space / (2.0 * s)


PROCESS: Final = Process(
    name="signal",
    propose=propose,
    pdg=(PHOTON, PHOTON, PHOTON, ALP),
    mother=(BEAM, ALP, ALP, BEAM),
    final=3,
    photons=3,
    options=("mass", "coupling"),
)
