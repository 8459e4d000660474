"""Three photons, e+ e- -> gamma gamma gamma, leading order.

Spin-averaged squared matrix element, massless electrons (F. Berends, R. Kleiss et al., Nucl.
Phys. B186 (1981) 22): |M|^2 = 4 e^6 s sum_i a_i b_i (a_i^2 + b_i^2) / prod_j a_j b_j with
a_i = 2 p-.k_i, b_i = 2 p+.k_i; sigma = 1/3! 1/(2s) int |M|^2 dPhi3.

Sampling: the softest photon first, uniform in pseudorapidity, azimuth and log of its energy,
which cancels its soft and collinear poles. Then one of the other two, uniform in pseudorapidity;
both assignments are averaged so that either may be the collinear one.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB
from alp_coffea.simulation.constants import E2, PHOTON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    E_MIN,
    ETA_HIGH,
    ETA_LOW,
    LAB,
    MATRIX,
    S,
    passes,
    radiate,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import PROPOSAL, Process


@njit(cache=True)
def matrix_element(s, a0, a1, a2, b0, b1, b2):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-2] from s and a_i = 2 p-.k_i, b_i = 2 p+.k_i [GeV^2]."""
    c0, c1, c2 = a0 * b0, a1 * b1, a2 * b2
    total = c0 * (a0 * a0 + b0 * b0) + c1 * (a1 * a1 + b1 * b1) + c2 * (a2 * a2 + b2 * b2)
    return 4.0 * E2**3 * s * total / (c0 * c1 * c2)


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: three photons; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    if weight == 0.0:
        return 0.0
    s = x1 * x2 * parameters[S]
    root = math.sqrt(s)
    shift = 0.5 * math.log(x1 / x2)
    low, high = parameters[ETA_LOW], parameters[ETA_HIGH]

    # Direction of the softest photon, then the energy that the cut asks of this direction.
    eta_cm = low + (high - low) * draw(state)
    phi = 2.0 * math.pi * draw(state)
    cosh_cm = math.cosh(eta_cm)
    eta = eta_cm - shift
    cosh = math.cosh(eta)
    nx, ny, nz = math.cos(phi) / cosh, math.sin(phi) / cosh, math.tanh(eta)
    smallest = parameters[E_MIN]
    if parameters[LAB] == 1.0:
        m = MATRIX
        smallest /= (
            parameters[m]
            + (
                parameters[m + 1] * math.cos(phi)
                + parameters[m + 2] * math.sin(phi)
                + parameters[m + 3] * math.sinh(eta_cm)
            )
            / cosh_cm
        )
    smallest *= cosh / cosh_cm
    largest = root / 3.0
    if smallest >= largest:
        return 0.0
    span = math.log(largest / smallest)
    soft = smallest * math.exp(span * draw(state))
    p4[2, 0] = soft
    p4[2, 1] = soft * nx
    p4[2, 2] = soft * ny
    p4[2, 3] = soft * nz
    # d^3k/((2 pi)^3 2E) divided by the density of (eta, phi, log E): dOmega = deta dphi / cosh^2
    weight *= soft * soft * span * (high - low) * 2.0 * math.pi
    weight /= 2.0 * (2.0 * math.pi) ** 3 * cosh * cosh

    # A second photon: its energy follows from its direction and the pair's momentum.
    eta1 = low - shift + (high - low) * draw(state)
    phi1 = 2.0 * math.pi * draw(state)
    cosh1 = math.cosh(eta1)
    mx, my, mz = math.cos(phi1) / cosh1, math.sin(phi1) / cosh1, math.tanh(eta1)
    pair = s - 2.0 * root * soft
    energy1 = 0.5 * pair / (root - soft + soft * (mx * nx + my * ny + mz * nz))
    p4[0, 0] = energy1
    p4[0, 1] = energy1 * mx
    p4[0, 2] = energy1 * my
    p4[0, 3] = energy1 * mz
    energy2 = root - soft - energy1
    if energy1 < soft or energy2 < soft:
        return 0.0
    p4[1, 0] = energy2
    for i in range(1, 4):
        p4[1, i] = -p4[0, i] - p4[2, i]
    # dPhi2 = E1^2 dOmega1 / (8 pi^2 Q^2); density of either photon is cosh^2 / (2 pi range)
    transverse2 = p4[1, 1] ** 2 + p4[1, 2] ** 2
    if transverse2 == 0.0:
        return 0.0
    cosh2_squared = energy2 * energy2 / transverse2
    density = cosh1 * cosh1 / (energy1 * energy1)
    tanh2 = p4[1, 3] / energy2
    eta2_cm = 0.5 * math.log((1.0 + tanh2) / (1.0 - tanh2)) + shift
    if low <= eta2_cm <= high:
        density = 0.5 * (density + cosh2_squared / (energy2 * energy2))
    else:
        return 0.0
    weight *= 2.0 * math.pi * (high - low) / (8.0 * math.pi**2 * pair * density)

    a0, b0 = root * (p4[0, 0] - p4[0, 3]), root * (p4[0, 0] + p4[0, 3])
    a1, b1 = root * (p4[1, 0] - p4[1, 3]), root * (p4[1, 0] + p4[1, 3])
    a2, b2 = root * (p4[2, 0] - p4[2, 3]), root * (p4[2, 0] + p4[2, 3])
    to_collision_frame(p4, 3, x1, x2)
    if not passes(parameters, p4, 3, 3):
        return 0.0
    # three choices of the softest photon over 3! identical photons
    return 0.5 * weight * GEV2_TO_PB * matrix_element(s, a0, a1, a2, b0, b1, b2) / (2.0 * s)


PROCESS: Final = Process(
    name="ggg",
    propose=propose,
    pdg=(PHOTON, PHOTON, PHOTON),
    mother=(0, 0, 0),
    final=3,
    photons=3,
    singular=True,
    soft=True,
)
