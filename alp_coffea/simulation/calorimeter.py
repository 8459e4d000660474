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
FORWARD_GAP: Final = 11
BACKWARD_GAP: Final = 13
#: side of the crystal matrix that a cluster may use (R0 section 3.4.2.1)
MATRIX_SIDE: Final = 5
#: deposits further apart in theta [rad] than five crystals never share any
FAR: Final = 0.25
# Columns of a deposit before reconstruction; TRUTH and TRACK are -1 for none.
ENERGY, THETA, PHI, TIME, TRUTH, TRACK, REGION = range(7)
DEPOSIT_FIELDS: Final = 7


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
    """Cluster energy with a Crystal Ball response, peak at the true energy unless off scale."""
    pull = crystal_ball_quantile(draw(state), d.energy_tail_alpha, d.energy_tail_n)
    return d.energy_scale * (energy + energy_resolution(energy, d) * pull)


@njit(cache=True)
def angle_resolution(energy, d):  # type: ignore[no-untyped-def]
    """Resolution of theta and of phi [rad]."""
    return math.sqrt(d.angle_constant**2 + d.angle_stochastic**2 / energy)


@njit(cache=True)
def time_resolution(energy, occupancy, d):  # type: ignore[no-untyped-def]
    """Resolution of the cluster time [ns]; its noise grows with the background level."""
    return math.sqrt(d.time_resolution**2 + occupancy * (d.time_noise / energy) ** 2)


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


@njit(cache=True)
def deposited_energy(state, energy, theta, d):  # type: ignore[no-untyped-def]
    """Energy and clusterReg code of a shower; region 0 if nothing is left.

    Close to the edge of a region part of the shower leaks out, in the two gaps most of it.
    """
    where = region(theta, d)
    if where == 0:
        front = d.forward_max < theta < d.barrel_min
        if (front or d.barrel_max < theta < d.backward_min) and draw(state) < d.gap_efficiency:
            kept = d.gap_energy_min + (d.gap_energy_max - d.gap_energy_min) * draw(state)
            return energy * kept, FORWARD_GAP if front else BACKWARD_GAP
        return 0.0, 0
    if where == BARREL:
        edge = min(theta - d.barrel_min, d.barrel_max - theta)
    elif where == FORWARD:
        edge = min(theta - d.forward_min, d.forward_max - theta)
    else:
        edge = min(theta - d.backward_min, d.backward_max - theta)
    if edge < 6.0 * d.edge_width:
        energy *= 1.0 - d.edge_leakage * draw(state) * math.exp(-edge / d.edge_width)
    return energy, where


@njit(cache=True)
def merge(deposits, count, shared, d):  # type: ignore[no-untyped-def]
    """Merge deposits whose seed crystals touch; note what fraction of a cluster is shared.

    Two local maxima need a crystal between them (R0 section 3.4.2.1). A merged cluster keeps
    truth, time and track of the more energetic deposit, or the track of the only one that has
    one, and gets the energy-weighted direction. Returns the new number of deposits.
    """
    merged = True
    while merged:
        merged = False
        for a in range(count):
            for b in range(a + 1, count):
                if not touching(deposits[a], deposits[b], d):
                    continue
                if deposits[b, ENERGY] > deposits[a, ENERGY]:
                    for field in range(DEPOSIT_FIELDS):
                        swap = deposits[a, field]
                        deposits[a, field] = deposits[b, field]
                        deposits[b, field] = swap
                total = deposits[a, ENERGY] + deposits[b, ENERGY]
                fraction = deposits[b, ENERGY] / total
                turn = wrap(deposits[b, PHI] - deposits[a, PHI])
                deposits[a, THETA] += fraction * (deposits[b, THETA] - deposits[a, THETA])
                deposits[a, PHI] = wrap(deposits[a, PHI] + fraction * turn)
                deposits[a, ENERGY] = total
                if deposits[a, TRACK] < 0.0:
                    deposits[a, TRACK] = deposits[b, TRACK]
                count -= 1
                for field in range(DEPOSIT_FIELDS):
                    deposits[b, field] = deposits[count, field]
                merged = True
                break
            if merged:
                break
    for a in range(count):
        shared[a] = 0.0
    for a in range(count):
        for b in range(a + 1, count):
            if abs(deposits[a, THETA] - deposits[b, THETA]) > FAR:
                continue
            rings, columns = crystal_distance(
                deposits[a, THETA], deposits[a, PHI], deposits[b, THETA], deposits[b, PHI], d
            )
            if max(rings, columns) < MATRIX_SIDE:
                overlap = (MATRIX_SIDE - rings) * (MATRIX_SIDE - columns) / MATRIX_SIDE**2
                # the more energetic cluster keeps the larger share of the common crystals
                total = deposits[a, ENERGY] + deposits[b, ENERGY]
                shared[a] += 2.0 * overlap * deposits[b, ENERGY] / total
                shared[b] += 2.0 * overlap * deposits[a, ENERGY] / total
    return count


@njit(cache=True)
def touching(a, b, d):  # type: ignore[no-untyped-def]
    """Whether the seed crystals of two deposits are the same or neighbours."""
    if abs(a[THETA] - b[THETA]) > FAR:
        return False
    rings, columns = crystal_distance(a[THETA], a[PHI], b[THETA], b[PHI], d)
    return max(rings, columns) <= 1
