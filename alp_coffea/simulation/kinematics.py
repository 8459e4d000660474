"""What every process needs in its kernel: initial-state radiation, boosts and cuts.

A process is sampled in the *partonic* frame: the centre of mass after collinear radiation took
the fractions ``1 - x1`` of the electron's and ``1 - x2`` of the positron's energy. The electron
runs along +z. :func:`to_collision_frame` then boosts along the beam to the CM frame of the
collision, in which events are stored.

Kernels take the run parameters as one ``float64`` array, see the index constants below and
:func:`alp_coffea.simulation.process.parameters` which fills it.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.simulation.draws import draw

# Positions in the parameter array.
S: Final = 0  # squared CM energy [GeV^2]
ISR_BETA: Final = 1  # radiator exponent; 0 switches initial-state radiation off
S_MIN: Final = 2  # smallest partonic s [GeV^2]
E_MIN: Final = 3  # smallest photon energy [GeV] in the cut frame
COS_HIGH: Final = 4  # cosine of the smallest polar angle in the cut frame
COS_LOW: Final = 5  # cosine of the largest
LAB: Final = 6  # 1 if the cut frame is the lab, 0 for the CM
ETA_LOW: Final = 7  # pseudorapidity range in the CM that contains the angular cut
ETA_HIGH: Final = 8
MATRIX: Final = 9  # 4x4 CM -> lab, row by row
OWN: Final = 25  # first parameter of the process itself


@njit(cache=True)
def radiator_weight(x, beta):  # type: ignore[no-untyped-def]
    """Structure function D(x) divided by the sampled density (beta/2) (1-x)^(beta/2-1).

    D(x) = beta/2 (1 + 3 beta/8) (1-x)^(beta/2-1) - beta/4 (1+x), the leading-log solution for
    one leg (E. Kuraev and V. Fadin, Sov. J. Nucl. Phys. 41 (1985) 466).
    """
    return 1.0 + 0.375 * beta - 0.5 * (1.0 + x) * (1.0 - x) ** (1.0 - 0.5 * beta)


@njit(cache=True)
def radiate(state, parameters):  # type: ignore[no-untyped-def]
    """Sample the energy fractions of both legs; returns (x1, x2, weight)."""
    beta = parameters[ISR_BETA]
    if beta == 0.0:
        return 1.0, 1.0, 1.0
    # x1 x2 > s_min/s bounds each fraction
    largest = 1.0 - parameters[S_MIN] / parameters[S]
    range_ = largest ** (0.5 * beta)
    x1 = 1.0 - (range_ * draw(state)) ** (2.0 / beta)
    x2 = 1.0 - (range_ * draw(state)) ** (2.0 / beta)
    if x1 * x2 * parameters[S] < parameters[S_MIN]:
        return x1, x2, 0.0
    weight = range_ * range_ * radiator_weight(x1, beta) * radiator_weight(x2, beta)
    return x1, x2, weight


@njit(cache=True)
def to_collision_frame(p4, count, x1, x2):  # type: ignore[no-untyped-def]
    """Boost ``count`` four-momenta from the partonic to the collision CM frame, in place."""
    if x1 == 1.0 and x2 == 1.0:
        return
    root = math.sqrt(x1 * x2)
    cosh = 0.5 * (x1 + x2) / root
    sinh = 0.5 * (x1 - x2) / root
    for i in range(count):
        energy, pz = p4[i, 0], p4[i, 3]
        p4[i, 0] = cosh * energy + sinh * pz
        p4[i, 3] = sinh * energy + cosh * pz


@njit(cache=True, inline="always")
def _row(parameters, at, energy, px, py, pz):  # type: ignore[no-untyped-def]
    """One row of a 4x4 matrix in the parameters times a four-momentum."""
    return (
        parameters[at] * energy
        + parameters[at + 1] * px
        + parameters[at + 2] * py
        + parameters[at + 3] * pz
    )


@njit(cache=True)
def passes(parameters, p4, photons, final):  # type: ignore[no-untyped-def]
    """Whether ``final`` CM four-momenta pass the cuts; the first ``photons`` are photons."""
    for i in range(final):
        energy, px, py, pz = p4[i, 0], p4[i, 1], p4[i, 2], p4[i, 3]
        if parameters[LAB] == 1.0:
            energy_lab = _row(parameters, MATRIX, energy, px, py, pz)
            if i < photons and energy_lab < parameters[E_MIN]:
                return False
            x = _row(parameters, MATRIX + 4, energy, px, py, pz)
            y = _row(parameters, MATRIX + 8, energy, px, py, pz)
            z = _row(parameters, MATRIX + 12, energy, px, py, pz)
            px, py, pz = x, y, z
        elif i < photons and energy < parameters[E_MIN]:
            return False
        cosine = pz / math.sqrt(px * px + py * py + pz * pz)
        if not parameters[COS_LOW] <= cosine <= parameters[COS_HIGH]:
            return False
    return True


@njit(cache=True)
def photon_energy_min(parameters, direction, x1, x2):  # type: ignore[no-untyped-def]
    """Partonic energy [GeV] at which a photon in ``direction`` (1, n) meets the energy cut."""
    root = math.sqrt(x1 * x2)
    cosh = 0.5 * (x1 + x2) / root
    sinh = 0.5 * (x1 - x2) / root
    energy = cosh + sinh * direction[3]
    if parameters[LAB] == 1.0:
        pz = sinh + cosh * direction[3]
        energy = _row(parameters, MATRIX, energy, direction[1], direction[2], pz)
    return parameters[E_MIN] / energy


@njit(cache=True)
def set_direction(out, cosine, phi):  # type: ignore[no-untyped-def]
    """Lightlike unit vector (1, n) at polar angle ``cosine`` and azimuth ``phi``."""
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    out[0] = 1.0
    out[1] = sine * math.cos(phi)
    out[2] = sine * math.sin(phi)
    out[3] = cosine


@njit(cache=True)
def around(out, axis, cosine, phi):  # type: ignore[no-untyped-def]
    """Unit vector at polar angle ``cosine`` and azimuth ``phi`` around the unit vector ``axis``."""
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    transverse = math.hypot(axis[1], axis[2])
    if transverse == 0.0:
        set_direction(out, math.copysign(cosine, axis[3]), phi)
        return
    a, b = sine * math.cos(phi), sine * math.sin(phi)
    ux, uy = axis[1] / transverse, axis[2] / transverse
    out[0] = 1.0
    out[1] = cosine * axis[1] + a * axis[3] * ux - b * uy
    out[2] = cosine * axis[2] + a * axis[3] * uy + b * ux
    out[3] = cosine * axis[3] - a * transverse


@njit(cache=True)
def set_pair(p4, energy, momentum, cosine, phi):  # type: ignore[no-untyped-def]
    """Back-to-back particles of equal energy and momentum in rows 0 and 1."""
    sine = math.sqrt(1.0 - cosine * cosine)
    p4[0, 0] = p4[1, 0] = energy
    p4[0, 1] = momentum * sine * math.cos(phi)
    p4[0, 2] = momentum * sine * math.sin(phi)
    p4[0, 3] = momentum * cosine
    for i in range(1, 4):
        p4[1, i] = -p4[0, i]


@njit(cache=True)
def boost_from_rest(p4, parent):  # type: ignore[no-untyped-def]
    """Boost ``p4`` from the rest frame of ``parent`` to the frame parent is given in, in place."""
    square = parent[1] ** 2 + parent[2] ** 2 + parent[3] ** 2
    mass = math.sqrt(max(parent[0] ** 2 - square, 0.0))
    scalar = (parent[1] * p4[1] + parent[2] * p4[2] + parent[3] * p4[3]) / mass
    energy = p4[0] * parent[0] / mass + scalar
    factor = (p4[0] + energy) / (parent[0] + mass)
    p4[0] = energy
    for i in range(1, 4):
        p4[i] += factor * parent[i]


@njit(cache=True)
def decay_massless(state, parent, first, second):  # type: ignore[no-untyped-def]
    """Isotropic two-body decay of ``parent`` (E, px, py, pz) into two massless particles.

    ``second`` may be the array of ``parent``.
    """
    square = parent[1] ** 2 + parent[2] ** 2 + parent[3] ** 2
    half = 0.5 * math.sqrt(max(parent[0] ** 2 - square, 0.0))
    set_direction(first, 2.0 * draw(state) - 1.0, 2.0 * math.pi * draw(state))
    for i in range(4):
        first[i] *= half
    boost_from_rest(first, parent)
    for i in range(4):
        second[i] = parent[i] - first[i]
