"""Radiative Bhabha scattering e+ e- -> e+ e- gamma, leading order, massless electrons.

|M|^2 = e^6 [ss'(s^2+s'^2) + tt'(t^2+t'^2) + uu'(u^2+u'^2)] / (ss'tt') W (CALKUL, Nucl. Phys.
B206 (1982) 61). Massless electrons are valid while all opening angles stay well above m_e/E:
final-state particles closer than ``OPENING`` to each other are cut away.

Sampling: every point is a photon momentum and the direction of one lepton, from which all else
follows. Channels cover the soft and initial-state poles with either t-channel pole, the
final-state collinear poles with the t-channel pole of the same lepton, and s' -> 0; the density
is their sum (R. Kleiss and R. Pittau, Comput. Phys. Commun. 83 (1994) 141).
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB
from alp_coffea.simulation.bremsstrahlung import dot, invariants, opening_above, radiation_factor
from alp_coffea.simulation.constants import E2, ELECTRON, PHOTON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    ETA_HIGH,
    ETA_LOW,
    S,
    around,
    decay_massless,
    passes,
    photon_energy_min,
    radiate,
    set_direction,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import PROPOSAL, Process

#: smallest angle [rad] between any two final-state particles, CM frame
OPENING: Final = 0.014
_COS_OPENING: Final = math.cos(OPENING)
#: regulates the sampling density of the collinear poles, about half the cut
_COLLINEAR: Final = 0.25 * OPENING**2
_COLLINEAR_NORM: Final = math.log((2.0 + _COLLINEAR) / _COLLINEAR)
#: share of proposals of the channels: soft (two), collinear (two), small s'
_SOFT: Final = 0.30
_PAIR: Final = 0.15
_FINAL: Final = 0.5 * (1.0 - 2.0 * _SOFT - _PAIR)
#: smallest s' that the opening cut leaves is far above this fraction of s
_SMALLEST_PAIR: Final = 1e-6
_PHOTON_MEASURE: Final = 1.0 / (2.0 * (2.0 * math.pi) ** 3)


@njit(cache=True)
def matrix_element(root, minus, plus, k):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-2] from final four-momenta in the partonic CM frame."""
    s, s_out, t, t_out, u, u_out = invariants(root, minus, plus)
    numerator = (
        s * s_out * (s * s + s_out * s_out)
        + t * t_out * (t * t + t_out * t_out)
        + u * u_out * (u * u + u_out * u_out)
    )
    w = radiation_factor(root, minus, plus, k, s, s_out, t, t_out, u, u_out)
    return E2**3 * numerator / (s * s_out * t * t_out) * w


@njit(cache=True)
def _pole_density(c, low, high):  # type: ignore[no-untyped-def]
    """Density in solid angle proportional to 1/(1-c)^2 for c in [low, high]."""
    if not low <= c <= high:
        return 0.0
    return 1.0 / ((1.0 - c) ** 2 * (1.0 / (1.0 - high) - 1.0 / (1.0 - low)) * 2.0 * math.pi)


@njit(cache=True)
def _pole_draw(state, low, high):  # type: ignore[no-untyped-def]
    """Cosine with that density."""
    first, last = 1.0 / (1.0 - low), 1.0 / (1.0 - high)
    return 1.0 - 1.0 / (first + (last - first) * draw(state))


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: photon, electron, positron; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    if weight == 0.0:
        return 0.0
    s = x1 * x2 * parameters[S]
    root = math.sqrt(s)
    shift = 0.5 * math.log(x1 / x2)
    eta_low, eta_high = parameters[ETA_LOW] - shift, parameters[ETA_HIGH] - shift
    c_low, c_high = math.tanh(eta_low), math.tanh(eta_high)
    k, minus, plus = p4[0], p4[1], p4[2]

    # 1. directions of the photon and, except in the pair channel, of one lepton
    channel = draw(state)
    of_electron = draw(state) < 0.5
    lepton = minus if of_electron else plus
    pair_channel = channel < _PAIR
    if not pair_channel:
        cosine = _pole_draw(state, c_low, c_high) if of_electron else 0.0
        if not of_electron:
            cosine = -_pole_draw(state, -c_high, -c_low)
        set_direction(lepton, cosine, 2.0 * math.pi * draw(state))
    if channel < _PAIR + 2.0 * _SOFT:
        eta = eta_low + (eta_high - eta_low) * draw(state)
        set_direction(k, math.tanh(eta), 2.0 * math.pi * draw(state))
    else:
        # 1 - cosine + regulator uniform in the logarithm
        distance = (2.0 + _COLLINEAR) * math.exp(-_COLLINEAR_NORM * draw(state)) - _COLLINEAR
        around(k, lepton, max(1.0 - distance, -1.0), 2.0 * math.pi * draw(state))
    if not c_low < k[3] < c_high:
        return 0.0

    # 2. photon energy: uniform in the logarithm of E, or of s' in the pair channel
    smallest = photon_energy_min(parameters, k, x1, x2)
    largest = 0.5 * root * (1.0 - _SMALLEST_PAIR)
    if smallest >= largest:
        return 0.0
    log_energy = math.log(largest / smallest)
    log_pair = math.log((1.0 - 2.0 * smallest / root) / _SMALLEST_PAIR)
    if pair_channel:
        energy = 0.5 * root * (1.0 - _SMALLEST_PAIR * math.exp(log_pair * draw(state)))
    else:
        energy = smallest * math.exp(log_energy * draw(state))
    s_out = s - 2.0 * root * energy
    for i in range(4):
        k[i] *= energy

    # 3. the leptons
    if pair_channel:
        lepton[0] = root - energy
        for i in range(1, 4):
            lepton[i] = -k[i]
        # plus serves as the parent when it is the lepton, and is overwritten by its daughter
        if of_electron:
            decay_massless(state, lepton, plus, minus)
        else:
            decay_massless(state, lepton, minus, plus)
    else:
        other = plus if of_electron else minus
        cosine = (k[1] * lepton[1] + k[2] * lepton[2] + k[3] * lepton[3]) / energy
        lepton_energy = 0.5 * s_out / (root - energy * (1.0 - cosine))
        for i in range(4):
            lepton[i] *= lepton_energy
        other[0] = root - energy - lepton_energy
        for i in range(1, 4):
            other[i] = -k[i] - lepton[i]

    # 4. density of all channels at this point, per three-body phase space
    c_photon = k[3] / energy
    photon = 1.0 / ((1.0 - c_photon * c_photon) * 2.0 * math.pi * (eta_high - eta_low))
    scale_photon = _PHOTON_MEASURE * energy
    in_log = 1.0 / (energy * log_energy)
    in_pair = 2.0 * root / (s_out * log_pair)
    density = _PAIR * photon * in_pair / scale_photon * 8.0 * math.pi
    for i in range(2):
        q = minus if i == 0 else plus
        c = q[3] / q[0]
        pole = _pole_density(c, c_low, c_high) if i == 0 else _pole_density(-c, -c_high, -c_low)
        scale = scale_photon * q[0] * q[0] / (8.0 * math.pi**2 * s_out)
        collinear = 1.0 / (
            (dot(q, k) / (q[0] * energy) + _COLLINEAR) * _COLLINEAR_NORM * 2.0 * math.pi
        )
        density += pole * in_log * (_SOFT * photon + _FINAL * collinear) / scale
    if not density > 0.0:
        return 0.0
    value = weight * GEV2_TO_PB * matrix_element(root, minus, plus, k) / (2.0 * s * density)
    to_collision_frame(p4, 3, x1, x2)
    if not (
        opening_above(k, minus, _COS_OPENING)
        and opening_above(k, plus, _COS_OPENING)
        and opening_above(minus, plus, _COS_OPENING)
        and passes(parameters, p4, 1, 3)
    ):
        return 0.0
    return value


PROCESS: Final = Process(
    name="eeg",
    propose=propose,
    pdg=(PHOTON, ELECTRON, -ELECTRON),
    mother=(0, 0, 0),
    final=3,
    photons=1,
    singular=True,
    soft=True,
)
