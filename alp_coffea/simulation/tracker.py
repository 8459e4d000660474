"""Tracking: bending in the field, measured helix parameters, identification scores."""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.simulation.calorimeter import wrap
from alp_coffea.simulation.constants import ELECTRON, MUON
from alp_coffea.simulation.draws import draw, normal_draw

#: bending radius [cm] = pT [GeV] / (this * field [T])
_CURVATURE: Final = 0.00299792458
#: columns of a track that :func:`measure` and :func:`extrapolate` fill besides the first ten
D0, Z0, EXT_THETA, EXT_PHI = 14, 15, 18, 19
PT_ERROR, THETA_ERROR, PHI_ERROR = 21, 22, 23


@njit(cache=True)
def calorimeter_radius(theta, d):  # type: ignore[no-untyped-def]
    """Transverse radius [cm] at which a straight line at ``theta`` meets the calorimeter."""
    if theta < 0.5 * math.pi:
        return min(d.barrel_radius, d.forward_z * math.tan(theta))
    return min(d.barrel_radius, d.backward_z * math.tan(math.pi - theta))


@njit(cache=True)
def bend(pt, charge, radius, start, field):  # type: ignore[no-untyped-def]
    """Azimuthal displacement [rad] at ``radius`` of a charge that starts radially at ``start``.

    The chord of a circle of radius R over the distance L turns by asin(L / 2R), clockwise for
    positive charge in a field along +z. Returns NaN if the particle curls up before.
    """
    length = radius - start
    half_turn = length * _CURVATURE * field / (2.0 * pt)
    if length < 0.0 or half_turn >= 1.0:
        return math.nan
    return -charge * math.asin(half_turn) * length / radius


@njit(cache=True)
def in_acceptance(theta, pt, d):  # type: ignore[no-untyped-def]
    """Whether the drift chamber sees a charged particle."""
    return d.track_theta_min <= theta <= d.track_theta_max and pt >= d.track_pt_min


@njit(cache=True)
def score(state, right, d):  # type: ignore[no-untyped-def]
    """Identification score of the right or of a wrong hypothesis."""
    if draw(state) < d.track_identification_tail:
        return draw(state)
    distance = min(1.0, -d.track_identification_scale * math.log(draw(state)))
    return 1.0 - distance if right else distance


@njit(cache=True)
def perigee(pt, theta, charge, radius, field):  # type: ignore[no-untyped-def]
    """Turn of phi [rad], d0 and z0 [cm] at the point closest to the axis.

    Of a charge that starts radially at ``radius``: its circle passes the axis at the distance
    sqrt(R^2 + rho^2) - rho. d0 has the sign of the angular momentum about z, as basf2's helix.
    """
    if radius == 0.0:
        return 0.0, 0.0, 0.0
    bending = pt / (_CURVATURE * field)
    turn = math.atan2(radius, bending)
    distance = radius * radius / (math.hypot(radius, bending) + bending)
    return charge * turn, charge * distance, (radius - bending * turn) / math.tan(theta)


@njit(cache=True)
def measure(state, track, p, theta, phi, charge, code, radius, d):  # type: ignore[no-untyped-def]
    """Fill ``track`` with measured charge, p, pt, theta, phi, dr, dz, hits, scores, d0, z0, errors.

    The particle starts at ``radius`` [cm] and moves away from the axis there.
    """
    sine = math.sin(theta)
    pt = p * sine
    relative = math.hypot(d.track_momentum_curvature * pt, d.track_momentum_scattering)
    # the curvature is what is measured with a Gaussian error
    measured_pt = pt / max(1.0 + relative * normal_draw(state), 0.1)
    polar = theta + d.track_angle * normal_draw(state)
    scattering = d.track_impact_scattering / (p * sine**1.5)
    track[0] = charge
    track[1] = measured_pt / math.sin(polar)
    track[2] = measured_pt
    track[3] = polar
    turn, d0, z0 = perigee(pt, theta, charge, radius, d.track_field)
    track[4] = phi + turn + d.track_angle * normal_draw(state)
    d0 += math.hypot(d.track_impact_transverse, scattering) * normal_draw(state)
    z0 += math.hypot(d.track_impact_longitudinal, scattering) * normal_draw(state)
    track[5] = abs(d0)
    track[6] = z0
    track[D0] = d0
    track[Z0] = z0
    # what a track fit knows: its own resolution, at the measured momentum
    relative = math.hypot(d.track_momentum_curvature * measured_pt, d.track_momentum_scattering)
    track[PT_ERROR] = d.track_error_scale * relative * measured_pt
    track[THETA_ERROR] = track[PHI_ERROR] = d.track_error_scale * d.track_angle
    # layers crossed before the track leaves through an end plate
    fraction = calorimeter_radius(theta, d) / d.barrel_radius
    fraction *= d.track_layers_efficiency + (1.0 - d.track_layers_efficiency) * draw(state)
    track[7] = max(1.0, math.floor(d.track_layers * fraction))
    track[8] = score(state, code == ELECTRON, d)
    track[9] = score(state, code == MUON, d)


@njit(cache=True)
def extrapolate(track, d):  # type: ignore[no-untyped-def]
    """Angles at the calorimeter from the measured track; NaN if it curls up before."""
    theta = track[3]
    track[EXT_THETA] = track[EXT_PHI] = math.nan
    if not 0.0 < theta < math.pi:
        return
    turn = bend(track[2], track[0], calorimeter_radius(theta, d), 0.0, d.track_field)
    if not math.isnan(turn):
        track[EXT_THETA] = theta
        track[EXT_PHI] = wrap(track[4] + turn)


@njit(cache=True)
def ionisation(state, energy, d):  # type: ignore[no-untyped-def]
    """Energy [GeV] a muon of energy ``energy`` leaves in the calorimeter."""
    deposit = d.track_mip_energy + d.track_mip_resolution * normal_draw(state)
    return min(max(deposit - d.track_mip_spread * math.log(draw(state)), 0.05), energy)
