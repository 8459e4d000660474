"""Multi-channel sampling of e+ e- -> e+ e- gamma gamma: points of phase space and their density.

Densities of all channels are added (R. Kleiss and R. Pittau, Comput. Phys. Commun. 83 (1994) 141).
Photon energies and invariant masses are uniform in the logarithm; "beside" a lepton means uniform
in pseudorapidity (soft and initial-state poles) or around that lepton (final-state pole).

- *lepton*: direction of one lepton from its t-channel pole, both photons beside it;
- *recoil*: the same with one photon; the other photon and the other lepton come from a system of
  sampled mass (final-state pole of the other lepton);
- *pair*: both photons uniform in pseudorapidity, sampled mass of the lepton pair;
- *soft pair*: a lepton pair of sampled mass and momentum, the photons share what remains
  (annihilation to two photons that radiates a pair);
- *conversion*: one photon recoils against a system of sampled mass that decays to a lepton and a
  system of the other lepton and photon (internal conversion with final-state radiation).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from alp_coffea.physics.constants import ELECTRON_MASS
from alp_coffea.simulation.bremsstrahlung import dot
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    E_MIN,
    ETA_HIGH,
    ETA_LOW,
    LAB,
    MATRIX,
    around,
    boost_from_rest,
    photon_energy_min,
    set_direction,
)

#: smallest angle [rad] between a photon and a lepton, CM frame; as of radiative Bhabha scattering
OPENING: Final = 0.014
#: regulates the sampling density of the collinear poles, about half the cut
_COLLINEAR: Final = 0.25 * OPENING**2
_COLLINEAR_NORM: Final = math.log((2.0 + _COLLINEAR) / _COLLINEAR)
#: share of proposals of the channels
_RECOIL: Final = 0.30
_PAIR: Final = 0.10
_SOFT_PAIR: Final = 0.10
_CONVERSION: Final = 0.10
_LEPTON: Final = 1.0 - _RECOIL - _PAIR - _SOFT_PAIR - _CONVERSION
#: share of photons around the lepton instead of uniform in pseudorapidity
_AROUND: Final = 0.55
_M: Final = ELECTRON_MASS
_M2: Final = ELECTRON_MASS**2
#: smallest M^2 - m^2 [GeV^2] of a photon with a lepton that is sampled; the opening angle leaves
#: less only for photons and electrons of a few MeV
_RECOIL_MIN: Final = 1e-6
#: smallest momentum [GeV] of a soft pair that is sampled on purpose
_SOFT_MIN: Final = 1e-3
_PHOTON_MEASURE: Final = 1.0 / (2.0 * (2.0 * math.pi) ** 3)
# Rows of the four-momenta.
_MINUS: Final = 2
_PLUS: Final = 3


@njit(cache=True)
def _window(parameters, x1, x2):  # type: ignore[no-untyped-def]
    """Pseudorapidity range of the directions inside the angular cut, partonic frame."""
    shift = 0.5 * math.log(x1 / x2)
    return parameters[ETA_LOW] - shift, parameters[ETA_HIGH] - shift


@njit(cache=True)
def _energy_floor(parameters, x1, x2):  # type: ignore[no-untyped-def]
    """Partonic energy [GeV] below which a photon fails the energy cut in any direction."""
    root = math.sqrt(x1 * x2)
    factor = 0.5 * (x1 + x2) / root + 0.5 * abs(x1 - x2) / root
    if parameters[LAB] == 1.0:
        square = 0.0
        for i in range(1, 4):
            square += parameters[MATRIX + i] ** 2
        factor *= parameters[MATRIX] + math.sqrt(square)
    return parameters[E_MIN] / factor


@njit(cache=True)
def _pole_density(lepton, sign, eta_low, eta_high):  # type: ignore[no-untyped-def]
    """Density in solid angle ~ 1/(1 - sign cos)^2 of the lepton that goes along ``sign`` z."""
    momentum = math.sqrt(lepton[1] ** 2 + lepton[2] ** 2 + lepton[3] ** 2)
    if momentum == 0.0:
        return 0.0
    cosine = sign * lepton[3] / momentum
    low, high = math.tanh(eta_low), math.tanh(eta_high)
    if sign < 0.0:
        low, high = -high, -low
    if not low <= cosine <= high:
        return 0.0
    norm = (1.0 / (1.0 - high) - 1.0 / (1.0 - low)) * 2.0 * math.pi
    return 1.0 / ((1.0 - cosine) ** 2 * norm)


@njit(cache=True)
def _pole_direction(state, out, sign, eta_low, eta_high):  # type: ignore[no-untyped-def]
    """Direction with that density."""
    low, high = math.tanh(eta_low), math.tanh(eta_high)
    if sign < 0.0:
        low, high = -high, -low
    first, last = 1.0 / (1.0 - low), 1.0 / (1.0 - high)
    cosine = 1.0 - 1.0 / (first + (last - first) * draw(state))
    set_direction(out, sign * cosine, 2.0 * math.pi * draw(state))


@njit(cache=True)
def _rapidity_density(k, eta_low, eta_high):  # type: ignore[no-untyped-def]
    """Density in solid angle of photons uniform in pseudorapidity; 0 outside the window."""
    cosine = k[3] / k[0]
    if not math.tanh(eta_low) <= cosine <= math.tanh(eta_high):
        return 0.0
    return 1.0 / ((1.0 - cosine * cosine) * 2.0 * math.pi * (eta_high - eta_low))


@njit(cache=True)
def _around_density(k, lepton):  # type: ignore[no-untyped-def]
    """Density in solid angle of photons around a lepton: ~ 1/(1 - cos + regulator)."""
    momentum = math.sqrt(lepton[1] ** 2 + lepton[2] ** 2 + lepton[3] ** 2)
    scalar = k[1] * lepton[1] + k[2] * lepton[2] + k[3] * lepton[3]
    if momentum == 0.0:
        return 0.0
    distance = max(1.0 - scalar / (momentum * k[0]), 0.0)
    return 1.0 / ((distance + _COLLINEAR) * _COLLINEAR_NORM * 2.0 * math.pi)


@njit(cache=True)
def _photon_direction(state, out, axis, eta_low, eta_high):  # type: ignore[no-untyped-def]
    """Direction of a photon beside a lepton of direction ``axis``."""
    if draw(state) < _AROUND:
        distance = (2.0 + _COLLINEAR) * math.exp(-_COLLINEAR_NORM * draw(state)) - _COLLINEAR
        around(out, axis, max(1.0 - distance, -1.0), 2.0 * math.pi * draw(state))
    else:
        eta = eta_low + (eta_high - eta_low) * draw(state)
        set_direction(out, math.tanh(eta), 2.0 * math.pi * draw(state))


@njit(cache=True)
def _scale(k, energy):  # type: ignore[no-untyped-def]
    """A direction (1, n) becomes the photon of that energy."""
    for i in range(4):
        k[i] *= energy


@njit(cache=True)
def _lepton_momentum(system, direction, recoil2):  # type: ignore[no-untyped-def]
    """Momentum of a lepton along ``direction`` (1, n) from the decay of ``system``.

    ``recoil2`` is the squared mass of what it recoils against. 0 where there is none or two.
    """
    square = dot(system, system)
    half = 0.5 * (square + _M2 - recoil2)
    if square <= 0.0 or half <= _M * system[0]:
        return 0.0
    along = system[1] * direction[1] + system[2] * direction[2] + system[3] * direction[3]
    a2 = system[0] ** 2 - along * along
    return (half * along + system[0] * math.sqrt(half * half - _M2 * a2)) / a2


@njit(cache=True)
def _lepton_volume(system, lepton, recoil2):  # type: ignore[no-untyped-def]
    """Two-body phase space per solid angle of a lepton; 0 where the channel does not reach."""
    square = dot(system, system)
    if square <= 0.0 or 0.5 * (square + _M2 - recoil2) <= _M * system[0]:
        return 0.0
    momentum2 = lepton[1] ** 2 + lepton[2] ** 2 + lepton[3] ** 2
    momentum = math.sqrt(momentum2)
    along = system[1] * lepton[1] + system[2] * lepton[2] + system[3] * lepton[3]
    slope = momentum * system[0] - along * lepton[0] / momentum
    return momentum2 / (16.0 * math.pi**2 * slope)


@njit(cache=True)
def _recoil_energies(system, excess, floor):  # type: ignore[no-untyped-def]
    """Photon energies from a system of M^2 = m^2 + ``excess``: smallest, largest, momentum/k*.

    The last is |P| M / k*, the derivative of twice the energy to its cosine, inverted.
    """
    momentum = math.sqrt(system[1] ** 2 + system[2] ** 2 + system[3] ** 2)
    mass2 = _M2 + excess
    largest = 0.5 * excess * (system[0] + momentum) / mass2
    smallest = max(0.5 * excess / (system[0] + momentum), floor)
    return smallest, largest, 0.5 * excess * momentum / mass2


@njit(cache=True)
def _split(state, system, photon, excess, floor):  # type: ignore[no-untyped-def]
    """Decay of ``system``, squared mass m^2 + ``excess``, to a photon and a lepton.

    The lepton replaces the system. Returns whether the point exists.
    """
    smallest, largest, slope = _recoil_energies(system, excess, floor)
    if smallest >= largest or system[0] <= 0.0 or slope == 0.0:
        return False
    energy = smallest * (largest / smallest) ** draw(state)
    # angle of the photon to the system: M^2 - m^2 = 2 E (E_system - |P| cos)
    momentum = math.sqrt(system[1] ** 2 + system[2] ** 2 + system[3] ** 2)
    cosine = (system[0] - 0.5 * excess / energy) / momentum
    if not -1.0 <= cosine <= 1.0:
        return False
    axis = (1.0, system[1] / momentum, system[2] / momentum, system[3] / momentum)
    around(photon, axis, cosine, 2.0 * math.pi * draw(state))
    _scale(photon, energy)
    for j in range(4):
        system[j] -= photon[j]
    return system[0] >= _M


@njit(cache=True)
def _split_density(lepton, photon, floor):  # type: ignore[no-untyped-def]
    """Density of a photon and a lepton from a system, per dM^2/(2 pi) and two-body phase space.

    The mass is uniform in the logarithm of M^2 - m^2, up to the norm of that.
    """
    system = np.empty(4)
    for j in range(4):
        system[j] = lepton[j] + photon[j]
    excess = 2.0 * dot(lepton, photon)
    if excess <= _RECOIL_MIN:
        return 0.0
    smallest, largest, slope = _recoil_energies(system, excess, floor)
    if slope == 0.0 or not smallest < photon[0]:
        return 0.0
    # dcos*/2 = dE/(2 slope)
    volume = excess / (_M2 + excess) / (8.0 * math.pi) / (2.0 * math.pi)
    return 2.0 * slope / (photon[0] * math.log(largest / smallest) * excess * volume)


@njit(cache=True)
def _decay(state, system, square, first, second):  # type: ignore[no-untyped-def]
    """Isotropic decay of ``system``, squared mass given, to a lepton pair."""
    set_direction(first, 2.0 * draw(state) - 1.0, 2.0 * math.pi * draw(state))
    first[0] = 0.5 * math.sqrt(square)
    momentum = math.sqrt(max(0.25 * square - _M2, 0.0))
    for j in range(1, 4):
        first[j] *= momentum
    boost_from_rest(first, system)
    for j in range(4):
        second[j] = system[j] - first[j]


@njit(cache=True)
def _lepton_channel(state, parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """Both photons, then the energy of a lepton; whether the point exists."""
    eta_low, eta_high = _window(parameters, x1, x2)
    of_electron = draw(state) < 0.5
    lepton, other = (p4[_MINUS], p4[_PLUS]) if of_electron else (p4[_PLUS], p4[_MINUS])
    _pole_direction(state, lepton, 1.0 if of_electron else -1.0, eta_low, eta_high)
    system = other
    system[0] = root
    system[1] = system[2] = system[3] = 0.0
    for i in range(2):
        _photon_direction(state, p4[i], lepton, eta_low, eta_high)
        smallest = photon_energy_min(parameters, p4[i], x1, x2)
        _scale(p4[i], smallest * (0.5 * root / smallest) ** draw(state))
        for j in range(4):
            system[j] -= p4[i, j]
    if system[0] <= 0.0:
        return False
    momentum = _lepton_momentum(system, lepton, _M2)
    if momentum <= 0.0:
        return False
    lepton[0] = math.sqrt(momentum * momentum + _M2)
    for j in range(1, 4):
        lepton[j] *= momentum
    for j in range(4):
        other[j] = system[j] - lepton[j]
    return other[0] >= _M


@njit(cache=True)
def _recoil_channel(state, parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """One photon, a lepton, then the other photon and lepton; whether the point exists."""
    eta_low, eta_high = _window(parameters, x1, x2)
    of_electron = draw(state) < 0.5
    lepton, other = (p4[_MINUS], p4[_PLUS]) if of_electron else (p4[_PLUS], p4[_MINUS])
    near, far = (p4[0], p4[1]) if draw(state) < 0.5 else (p4[1], p4[0])
    _pole_direction(state, lepton, 1.0 if of_electron else -1.0, eta_low, eta_high)
    _photon_direction(state, near, lepton, eta_low, eta_high)
    smallest = photon_energy_min(parameters, near, x1, x2)
    _scale(near, smallest * (0.5 * root / smallest) ** draw(state))
    system = other
    system[0] = root - near[0]
    for j in range(1, 4):
        system[j] = -near[j]
    excess = _RECOIL_MIN * (root * root / _RECOIL_MIN) ** draw(state)
    momentum = _lepton_momentum(system, lepton, _M2 + excess)
    if momentum <= 0.0:
        return False
    lepton[0] = math.sqrt(momentum * momentum + _M2)
    for j in range(1, 4):
        lepton[j] *= momentum
    for j in range(4):
        system[j] -= lepton[j]
    return _split(state, other, far, excess, _energy_floor(parameters, x1, x2))


@njit(cache=True)
def _pair_channel(state, parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """Mass of the lepton pair and directions of both photons; whether the point exists."""
    eta_low, eta_high = _window(parameters, x1, x2)
    first, second = (p4[0], p4[1]) if draw(state) < 0.5 else (p4[1], p4[0])
    for i in range(2):
        eta = eta_low + (eta_high - eta_low) * draw(state)
        set_direction(p4[i], math.tanh(eta), 2.0 * math.pi * draw(state))
    pair2 = 4.0 * _M2 * (root * root / (4.0 * _M2)) ** draw(state)
    cosine = first[1] * second[1] + first[2] * second[2] + first[3] * second[3]
    smallest = photon_energy_min(parameters, first, x1, x2)
    energy = smallest * (0.5 * root / smallest) ** draw(state)
    rest = root * root - pair2 - 2.0 * root * energy
    if rest <= 0.0:
        return False
    _scale(second, 0.5 * rest / (root - energy * (1.0 - cosine)))
    _scale(first, energy)
    minus, plus = p4[_MINUS], p4[_PLUS]
    system = np.empty(4)
    system[0] = root - first[0] - second[0]
    for j in range(1, 4):
        system[j] = -first[j] - second[j]
    momentum2 = system[1] ** 2 + system[2] ** 2 + system[3] ** 2
    if system[0] <= 0.0:
        return False
    system[0] = math.sqrt(pair2 + momentum2)
    _decay(state, system, pair2, minus, plus)
    return True


@njit(cache=True)
def _soft_pair_channel(state, parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """A lepton pair, then a photon and its partner; whether the point exists."""
    eta_low, eta_high = _window(parameters, x1, x2)
    pair2 = 4.0 * _M2 * (root * root / (4.0 * _M2)) ** draw(state)
    momentum = _SOFT_MIN * (0.5 * root / _SOFT_MIN) ** draw(state)
    pair = np.empty(4)
    eta = eta_low + (eta_high - eta_low) * draw(state)
    set_direction(pair, math.tanh(eta), 2.0 * math.pi * draw(state))
    _scale(pair, momentum)
    pair[0] = math.sqrt(pair2 + momentum * momentum)
    first, second = (p4[0], p4[1]) if draw(state) < 0.5 else (p4[1], p4[0])
    eta = eta_low + (eta_high - eta_low) * draw(state)
    set_direction(first, math.tanh(eta), 2.0 * math.pi * draw(state))
    rest = root - pair[0]
    square = rest * rest - momentum * momentum
    if rest <= 0.0 or square <= 0.0:
        return False
    along = first[1] * pair[1] + first[2] * pair[2] + first[3] * pair[3]
    _scale(first, 0.5 * square / (rest + along))
    second[0] = rest - first[0]
    for j in range(1, 4):
        second[j] = -pair[j] - first[j]
    _decay(state, pair, pair2, p4[_MINUS], p4[_PLUS])
    return True


@njit(cache=True)
def _conversion_channel(state, parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """A photon against leptons and a photon of sampled mass; whether the point exists."""
    eta_low, eta_high = _window(parameters, x1, x2)
    s = root * root
    lepton, other = (p4[_MINUS], p4[_PLUS]) if draw(state) < 0.5 else (p4[_PLUS], p4[_MINUS])
    near, far = (p4[0], p4[1]) if draw(state) < 0.5 else (p4[1], p4[0])
    eta = eta_low + (eta_high - eta_low) * draw(state)
    set_direction(near, math.tanh(eta), 2.0 * math.pi * draw(state))
    square = _RECOIL_MIN * (s / _RECOIL_MIN) ** draw(state)
    excess = _RECOIL_MIN * (s / _RECOIL_MIN) ** draw(state)
    mass = math.sqrt(square)
    if mass <= _M + math.sqrt(_M2 + excess):
        return False
    _scale(near, 0.5 * (s - square) / root)
    system = np.empty(4)
    system[0] = root - near[0]
    for j in range(1, 4):
        system[j] = -near[j]
    set_direction(lepton, 2.0 * draw(state) - 1.0, 2.0 * math.pi * draw(state))
    lepton[0] = 0.5 * (square - excess) / mass
    momentum = math.sqrt(max(lepton[0] ** 2 - _M2, 0.0))
    for j in range(1, 4):
        lepton[j] *= momentum
    boost_from_rest(lepton, system)
    for j in range(4):
        other[j] = system[j] - lepton[j]
    return _split(state, other, far, excess, _energy_floor(parameters, x1, x2))


@njit(cache=True)
def point(state, parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """Fill photons, electron and positron in the partonic frame; whether the point exists."""
    channel = draw(state)
    if channel < _RECOIL:
        return _recoil_channel(state, parameters, p4, x1, x2, root)
    if channel < _RECOIL + _PAIR:
        return _pair_channel(state, parameters, p4, x1, x2, root)
    if channel < _RECOIL + _PAIR + _SOFT_PAIR:
        return _soft_pair_channel(state, parameters, p4, x1, x2, root)
    if channel < _RECOIL + _PAIR + _SOFT_PAIR + _CONVERSION:
        return _conversion_channel(state, parameters, p4, x1, x2, root)
    return _lepton_channel(state, parameters, p4, x1, x2, root)


@njit(cache=True)
def _pair_density(p4, root, rapidity1, rapidity2, in_log, eta_low, eta_high):  # type: ignore[no-untyped-def]
    """Density of the pair and soft-pair channels."""
    minus, plus = p4[_MINUS], p4[_PLUS]
    pair2 = 2.0 * (_M2 + dot(minus, plus))
    if pair2 <= 4.0 * _M2:
        return 0.0
    volume = math.sqrt(1.0 - 4.0 * _M2 / pair2) / (8.0 * math.pi)
    mass = 1.0 / (pair2 * math.log(root * root / (4.0 * _M2)) * volume)
    cosine = p4[0, 1] * p4[1, 1] + p4[0, 2] * p4[1, 2] + p4[0, 3] * p4[1, 3]
    cosine /= p4[0, 0] * p4[1, 0]
    density = 0.0
    for i in range(2):
        energy, other_energy = p4[i, 0], p4[1 - i, 0]
        slope = 2.0 * (root - energy * (1.0 - cosine))
        shared = 0.5 * _PAIR * rapidity1 * rapidity2 * mass
        density += shared * in_log[i] * slope / (other_energy * _PHOTON_MEASURE)

    pair = np.empty(4)
    for j in range(4):
        pair[j] = minus[j] + plus[j]
    momentum = math.sqrt(pair[1] ** 2 + pair[2] ** 2 + pair[3] ** 2)
    if momentum <= _SOFT_MIN:
        return density
    rest = (root - pair[0]) ** 2 - momentum * momentum
    # d^3Q/(2 Q0 (2 pi)^3) dM^2/(2 pi), |Q| uniform in the logarithm
    measure = momentum**3 / pair[0] * _PHOTON_MEASURE / (2.0 * math.pi)
    direction = _rapidity_density((momentum, pair[1], pair[2], pair[3]), eta_low, eta_high)
    system = direction * mass / (math.log(0.5 * root / _SOFT_MIN) * measure)
    for i in range(2):
        rapidity = rapidity1 if i == 0 else rapidity2
        # dPhi2 = E^2 dOmega/(8 pi^2 M^2) of the two photons
        photons = rapidity * 8.0 * math.pi**2 * rest / p4[i, 0] ** 2
        density += 0.5 * _SOFT_PAIR * system * photons
    return density


@njit(cache=True)
def density(parameters, p4, x1, x2, root):  # type: ignore[no-untyped-def]
    """Density of all channels at a point, per four-body phase space."""
    eta_low, eta_high = _window(parameters, x1, x2)
    floor = _energy_floor(parameters, x1, x2)
    minus, plus = p4[_MINUS], p4[_PLUS]
    rapidity1 = _rapidity_density(p4[0], eta_low, eta_high)
    rapidity2 = _rapidity_density(p4[1], eta_low, eta_high)
    direction = np.empty(4)
    in_log = np.empty(2)
    for i in range(2):
        energy = p4[i, 0]
        for j in range(4):
            direction[j] = p4[i, j] / energy
        smallest = photon_energy_min(parameters, direction, x1, x2)
        if energy < smallest:
            return 0.0
        # per d^3k/(2 E (2 pi)^3) and solid angle: 1/(E log) over E dE
        in_log[i] = 1.0 / (energy * energy * math.log(0.5 * root / smallest) * _PHOTON_MEASURE)

    s = root * root
    system = np.empty(4)
    total = _pair_density(p4, root, rapidity1, rapidity2, in_log, eta_low, eta_high)
    for which in range(2):
        lepton, other = (minus, plus) if which == 0 else (plus, minus)
        pole = _pole_density(lepton, 1.0 - 2.0 * which, eta_low, eta_high)
        beside1 = (1.0 - _AROUND) * rapidity1 + _AROUND * _around_density(p4[0], lepton)
        beside2 = (1.0 - _AROUND) * rapidity2 + _AROUND * _around_density(p4[1], lepton)
        for j in range(4):
            system[j] = lepton[j] + other[j]
        volume = _lepton_volume(system, lepton, _M2)
        if volume > 0.0:
            share = 0.5 * _LEPTON
            total += share * pole * beside1 * in_log[0] * beside2 * in_log[1] / volume
        for far in range(2):
            inside = _split_density(other, p4[far], floor)
            if inside == 0.0:
                continue
            inside /= math.log(s / _RECOIL_MIN)
            mass2 = _M2 + 2.0 * dot(other, p4[far])
            for j in range(4):
                system[j] = lepton[j] + other[j] + p4[far, j]
            volume = _lepton_volume(system, lepton, mass2)
            if volume > 0.0:
                near = beside1 * in_log[0] if far == 1 else beside2 * in_log[1]
                total += 0.25 * _RECOIL * pole * near * inside / volume
            square = s - 2.0 * root * p4[1 - far, 0]
            if square > _RECOIL_MIN:
                momentum2 = (square - mass2 - _M2) ** 2 - 4.0 * mass2 * _M2
                volume = math.sqrt(max(momentum2, 0.0)) / (8.0 * math.pi * square)
                # dM^2/(2 pi) and the angle of the photon in its two-body phase space
                volume *= (1.0 - square / s) / (8.0 * math.pi) / (4.0 * math.pi) / (2.0 * math.pi)
                rapidity = rapidity1 if far == 1 else rapidity2
                mass = 1.0 / (square * math.log(s / _RECOIL_MIN))
                if volume > 0.0:
                    total += 0.25 * _CONVERSION * rapidity * mass * inside / volume
    return total
