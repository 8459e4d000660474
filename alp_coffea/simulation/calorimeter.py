"""Calorimeter geometry and response, as scalar kernels for one photon or one pair of clusters."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from alp_coffea.simulation.draws import crystal_ball_quantile, draw, normal_draw

# clusterReg codes of basf2
FORWARD: Final = 1
BARREL: Final = 2
BACKWARD: Final = 3
#: side of the crystal matrix that a cluster may use (R0 section 3.4.2.1)
MATRIX_SIDE: Final = 5


@njit(cache=True)
def region(theta, d):  # type: ignore[no-untyped-def]
    """clusterReg of a polar angle: 1, 2, 3 or 0 in the gaps and outside."""
    if d.barrel_min <= theta <= d.barrel_max:
        return BARREL
    if d.forward_min <= theta <= d.forward_max:
        return FORWARD
    if d.backward_min <= theta <= d.backward_max:
        return BACKWARD
    return 0


@njit(cache=True)
def crystal(theta, phi, where, d):  # type: ignore[no-untyped-def]
    """Ring, column and number of columns of the crystal that a direction points to.

    Endcap crystals have about the same size in both directions, so that the number of columns
    grows with the radius of the ring.
    """
    if where == BARREL:
        pitch = (d.barrel_max - d.barrel_min) / d.barrel_rings
        ring = int((theta - d.barrel_min) / pitch)
        columns = int(d.barrel_columns)
    elif where == FORWARD:
        pitch = (d.forward_max - d.forward_min) / d.forward_rings
        ring = int((theta - d.forward_min) / pitch)
        columns = int(2 * math.pi * math.sin(d.forward_min + (ring + 0.5) * pitch) / pitch)
    else:
        pitch = (d.backward_max - d.backward_min) / d.backward_rings
        ring = int((theta - d.backward_min) / pitch)
        columns = int(2 * math.pi * math.sin(d.backward_min + (ring + 0.5) * pitch) / pitch)
    column = int((phi + math.pi) / (2 * math.pi) * columns) % columns
    return ring, column, columns


@njit(cache=True)
def crystal_distance(theta1, phi1, theta2, phi2, d):  # type: ignore[no-untyped-def]
    """Distance of two seed crystals (rings, columns); (99, 99) in different regions.

    Rings of an endcap differ in the number of columns, so column distances are taken in units
    of the first one's columns.
    """
    where = region(theta1, d)
    if where == 0 or where != region(theta2, d):
        return 99, 99
    ring1, column1, columns1 = crystal(theta1, phi1, where, d)
    ring2, column2, columns2 = crystal(theta2, phi2, where, d)
    if columns1 != columns2:
        column2 = int((column2 + 0.5) / columns2 * columns1)
    apart = abs(column1 - column2)
    return abs(ring1 - ring2), min(apart, columns1 - apart)


@njit(cache=True)
def energy_resolution(energy, d):  # type: ignore[no-untyped-def]
    """sigma_E [GeV] at true energy ``energy`` [GeV]."""
    return math.sqrt(
        d.energy_stochastic**2 * energy + (d.energy_constant * energy) ** 2 + d.energy_noise**2
    )


@njit(cache=True)
def measured_energy(state, energy, d):  # type: ignore[no-untyped-def]
    """Cluster energy with a Crystal Ball response, peak at the true energy."""
    pull = crystal_ball_quantile(draw(state), d.energy_tail_alpha, d.energy_tail_n)
    return energy + energy_resolution(energy, d) * pull


@njit(cache=True)
def angle_resolution(energy, d):  # type: ignore[no-untyped-def]
    """Resolution of theta and of phi [rad]."""
    return math.sqrt(d.angle_constant**2 + d.angle_stochastic**2 / energy)


@njit(cache=True)
def time_resolution(energy, d):  # type: ignore[no-untyped-def]
    """Resolution of the cluster time [ns]."""
    return math.sqrt(d.time_resolution**2 + (d.time_noise / energy) ** 2)


@njit(cache=True)
def crystal_count(state, energy, d):  # type: ignore[no-untyped-def]
    """Number of crystals of an isolated cluster, 1 to 25."""
    mean = d.hits_offset + d.hits_slope * math.log(energy)
    hits = math.floor(mean + d.hits_spread * normal_draw(state) + 0.5)
    return min(max(hits, 1.0), float(MATRIX_SIDE**2))


@njit(cache=True)
def zernike(state, d):  # type: ignore[no-untyped-def]
    """Zernike MVA of an isolated photon."""
    if draw(state) < d.zernike_tail:
        return draw(state)
    return max(0.0, 1.0 + d.zernike_scale * math.log(draw(state)))


@njit(cache=True)
def wrap(phi):  # type: ignore[no-untyped-def]
    """Azimuth in (-pi, pi]."""
    if -math.pi < phi <= math.pi:
        return phi
    wrapped = phi - 2 * math.pi * math.ceil((phi - math.pi) / (2 * math.pi))
    return math.pi if wrapped <= -math.pi else np.float64(wrapped)
