"""Radiative muon pairs e+ e- -> mu+ mu- gamma, leading order.

|M|^2 = e^6 (t^2 + t'^2 + u^2 + u'^2) / (s s') W, the s-channel part of radiative Bhabha
scattering (CALKUL, Nucl. Phys. B206 (1982) 61), evaluated with massive muons. The muon mass enters
as a correction that is right for soft and for collinear photons: W gets the terms -m^2/(q.k)^2 of
the eikonal factor (dead cone), and s' is the squared mass of the pair. What is left out is of
order m^2/s', so matters near the pair threshold.

Sampling: the photon as in :mod:`alp_coffea.simulation.ggg`, or uniform in log s' for s' -> 0;
the muon, in the pair's rest frame, along 1/(1 - beta^2 cos^2) around the photon direction,
which is the sum of both collinear poles, or isotropic.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import GEV2_TO_PB, MUON_MASS
from alp_coffea.simulation.bremsstrahlung import dot, invariants, radiation_factor
from alp_coffea.simulation.constants import E2, MUON, PHOTON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    ETA_HIGH,
    ETA_LOW,
    S,
    around,
    boost_from_rest,
    passes,
    photon_energy_min,
    radiate,
    set_direction,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import PROPOSAL, Process

_M2: Final = MUON_MASS**2
#: shares of proposals: photon energy uniform in log s'; muon isotropic; photon uniform in angle
_HARD: Final = 0.3
_FLAT: Final = 0.3
_PHOTON_FLAT: Final = 0.3
_PHOTON_MEASURE: Final = 1.0 / (2.0 * (2.0 * math.pi) ** 3)


@njit(cache=True)
def _mass_term(q, other, k, mass2):  # type: ignore[no-untyped-def]
    """m^2/(q.k)^2 times 2z/(1 + z^2), z the muon's share of the energy before radiation.

    The rest of |M|^2 has (1 + z^2)/z per collinear photon, the mass term of the splitting
    function has not (quasi-collinear limit, S. Catani et al., Nucl. Phys. B627 (2002) 189).
    """
    pair = dot(q, other)
    z = pair / (pair + dot(other, k))
    return mass2 / dot(q, k) ** 2 * 2.0 * z / (1.0 + z * z)


@njit(cache=True)
def matrix_element(root, minus, plus, k, mass2):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-2] from final four-momenta in the partonic CM frame."""
    s, s_out, t, t_out, u, u_out = invariants(root, minus, plus)
    w = radiation_factor(root, minus, plus, k, s, s_out, t, t_out, u, u_out)
    w -= _mass_term(minus, plus, k, mass2) + _mass_term(plus, minus, k, mass2)
    # close to the pair threshold the corrected factor may become negative
    squares = t * t + t_out * t_out + u * u + u_out * u_out
    return max(0.0, E2**3 * squares / (s * (s_out + 2.0 * mass2)) * w)


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: photon, mu-, mu+; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    s = x1 * x2 * parameters[S]
    if weight == 0.0 or s <= 4.0 * _M2:
        return 0.0
    root = math.sqrt(s)
    shift = 0.5 * math.log(x1 / x2)
    eta_low, eta_high = parameters[ETA_LOW] - shift, parameters[ETA_HIGH] - shift
    k, minus, plus = p4[0], p4[1], p4[2]

    c_low, c_high = math.tanh(eta_low), math.tanh(eta_high)
    if draw(state) < _PHOTON_FLAT:
        c_photon = c_low + (c_high - c_low) * draw(state)
    else:
        c_photon = math.tanh(eta_low + (eta_high - eta_low) * draw(state))
    set_direction(k, c_photon, 2.0 * math.pi * draw(state))
    density = (1.0 - _PHOTON_FLAT) / ((1.0 - c_photon * c_photon) * (eta_high - eta_low))
    density += _PHOTON_FLAT / (c_high - c_low)
    smallest = photon_energy_min(parameters, k, x1, x2)
    largest = 0.5 * (s - 4.0 * _M2) / root
    if smallest >= largest:
        return 0.0
    log_energy = math.log(largest / smallest)
    log_pair = math.log((s - 2.0 * root * smallest) / (4.0 * _M2))
    if draw(state) < _HARD:
        energy = 0.5 * (s - 4.0 * _M2 * math.exp(log_pair * draw(state))) / root
    else:
        energy = smallest * math.exp(log_energy * draw(state))
    pair2 = s - 2.0 * root * energy
    energy_density = (1.0 - _HARD) / (energy * log_energy) + _HARD * 2.0 * root / (pair2 * log_pair)
    density *= energy_density / (2.0 * math.pi * _PHOTON_MEASURE * energy)

    beta = math.sqrt(max(0.0, 1.0 - 4.0 * _M2 / pair2))
    if beta == 0.0:
        return 0.0
    rapidity = math.atanh(beta)
    if draw(state) < _FLAT:
        cosine = 2.0 * draw(state) - 1.0
    else:
        cosine = math.tanh(rapidity * (2.0 * draw(state) - 1.0)) / beta
    # dPhi2 = beta / (8 pi) dcos/2 dphi/(2 pi)
    collinear = beta / (rapidity * (1.0 - (beta * cosine) ** 2))
    density *= (_FLAT + (1.0 - _FLAT) * collinear) * 8.0 * math.pi / beta

    around(minus, k, cosine, 2.0 * math.pi * draw(state))
    half = 0.5 * math.sqrt(pair2)
    minus[0] = half
    for i in range(1, 4):
        minus[i] *= beta * half
    plus[0] = root - energy
    for i in range(1, 4):
        k[i] *= energy
        plus[i] = -k[i]
    k[0] = energy
    boost_from_rest(minus, plus)
    for i in range(4):
        plus[i] -= minus[i]

    value = weight * GEV2_TO_PB * matrix_element(root, minus, plus, k, _M2) / (2.0 * s * density)
    to_collision_frame(p4, 3, x1, x2)
    return value if passes(parameters, p4, 1, 3) else 0.0


PROCESS: Final = Process(
    name="mumug",
    propose=propose,
    pdg=(PHOTON, MUON, -MUON),
    mother=(0, 0, 0),
    final=3,
    photons=1,
    singular=True,
    soft=True,
)
