"""ALPs with an electron pair, e+ e- -> e+ e- a, a -> gamma gamma: photon fusion and strahlung.

Both diagrams of the photon coupling L = -g/4 a F F~, massive electrons, from helicity amplitudes:
fusion of two photons radiated off the beams (t-channel), and strahlung whose recoil photon converts
internally (s-channel), with their interference (R1 section 2.3, figures 2.1 and 2.3). Each is
e^2 g eps(J1, J2, k1, k2)/(k1^2 k2^2), J the currents of the two lepton lines and k the momenta
that flow into the ALP; exchanging two fermions gives the relative sign. The decay is isotropic in
the ALP rest frame (spin 0).

The pseudoscalar mesons, e+ e- -> e+ e- P, are the peaking background: fusion with the coupling of
their width, Gamma = g^2 m^3/64 pi (R0 2.9), and a monopole form factor 1/(1 + Q^2/L^2) for each
photon (CLEO, Phys. Rev. D57 (1998) 33). Their strahlung diagram at s is part of
:mod:`alp_coffea.simulation.mesons`.

Sampling: the fusion channel draws the energy fraction the electron loses, uniform in its logarithm,
and the directions of both leptons as 1/(1 - |cos| + regulator), the regulator being where the
electron mass ends the pole; the positron's energy follows. The strahlung channel draws the mass of
the pair uniform in its logarithm. Densities are added (R. Kleiss and R. Pittau, Comput. Phys.
Commun. 83 (1994) 141). Photon virtualities are computed from transverse momenta and energy losses,
so that they keep their precision down to the kinematic limit of 1e-12 GeV^2.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from alp_coffea.physics.constants import ELECTRON_MASS, GEV2_TO_PB
from alp_coffea.simulation.constants import ALP, BEAM, E2, ELECTRON, PHOTON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.helicity import bar, current, light_cone, spinor, subtract
from alp_coffea.simulation.kinematics import (
    ETA_HIGH,
    ETA_LOW,
    OWN,
    S,
    boost_from_rest,
    decay_massless,
    passes,
    radiate,
    set_direction,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import ETA_LARGEST, PROPOSAL, Process

MASS: Final = OWN
COUPLING: Final = OWN + 1
#: squared mass [GeV^2] of the form factor; 0 for the pointlike ALP
POLE: Final = OWN + 2
_M: Final = ELECTRON_MASS
_M2: Final = ELECTRON_MASS**2
#: share of proposals of the strahlung channel
_PAIR: Final = 0.2


@njit(cache=True)
def _levi_civita(a, b, c, d):  # type: ignore[no-untyped-def]
    """eps(a, b, c, d) of four vectors in light-cone components, up to a constant phase."""
    return 0.25 * (
        (a[0] * b[1] - a[1] * b[0]) * (c[2] * d[3] - c[3] * d[2])
        - (a[0] * b[2] - a[2] * b[0]) * (c[1] * d[3] - c[3] * d[1])
        + (a[0] * b[3] - a[3] * b[0]) * (c[1] * d[2] - c[2] * d[1])
        + (a[1] * b[2] - a[2] * b[1]) * (c[0] * d[3] - c[3] * d[0])
        - (a[1] * b[3] - a[3] * b[1]) * (c[0] * d[2] - c[2] * d[0])
        + (a[2] * b[3] - a[3] * b[2]) * (c[0] * d[1] - c[1] * d[0])
    )


@njit(cache=True)
def _beam_distance(q, sign):  # type: ignore[no-untyped-def]
    """1 - ``sign`` * cos(theta), and the momentum, of a lepton; exact at small angles."""
    square = q[1] * q[1] + q[2] * q[2]
    momentum = math.sqrt(square + q[3] * q[3])
    along = sign * q[3]
    if along > 0.0:
        return square / (momentum * (momentum + along)), momentum
    return 1.0 - along / momentum, momentum


@njit(cache=True)
def virtuality(energy, q, sign):  # type: ignore[no-untyped-def]
    """(p - q)^2 < 0 [GeV^2] of the photon that a beam electron of ``energy`` radiates.

    ``sign`` is the direction of the beam along z. The energy loss and the angle are separate terms:
    t = -2 m^2 (E - E')^2/(E E' - m^2 + p p') - 2 p p' (1 - cos).
    """
    distance, momentum = _beam_distance(q, sign)
    beam = math.sqrt(energy * energy - _M2)
    loss = energy - q[0]
    smallest = _M2 * loss * loss / (energy * q[0] - _M2 + beam * momentum)
    return -2.0 * (smallest + beam * momentum * distance)


@njit(cache=True)
def squares(root, minus, plus):  # type: ignore[no-untyped-def]
    """Spin-averaged squares of the fusion and strahlung diagrams and their interference.

    For unit coupling, [1/GeV^-2 GeV^-2]: times g^2 they add up to |M|^2 [GeV^-2]. ``minus`` and
    ``plus`` are the final electron's and positron's (E, px, py, pz) in the partonic CM frame of
    energy ``root``, electron along +z.
    """
    energy = 0.5 * root
    beam = math.sqrt(energy * energy - _M2)
    p_minus = (energy, 0.0, 0.0, beam)
    p_plus = (energy, 0.0, 0.0, -beam)
    k_minus = light_cone((energy - minus[0], -minus[1], -minus[2], beam - minus[3]))
    k_plus = light_cone((energy - plus[0], -plus[1], -plus[2], -beam - plus[3]))
    total = light_cone((root, 0.0, 0.0, 0.0))
    pair = light_cone(
        (minus[0] + plus[0], minus[1] + plus[1], minus[2] + plus[2], minus[3] + plus[3])
    )
    outward = subtract(light_cone((0.0, 0.0, 0.0, 0.0)), pair)
    pair2 = (minus[0] + plus[0]) ** 2 - (
        (minus[1] + plus[1]) ** 2 + (minus[2] + plus[2]) ** 2 + (minus[3] + plus[3]) ** 2
    )
    fusion_poles = 1.0 / (virtuality(energy, minus, 1.0) * virtuality(energy, plus, -1.0))
    pair_poles = 1.0 / (root * root * pair2)

    fusion = 0.0
    strahlung = 0.0
    interference = 0.0
    # parity: the incoming electron of one helicity stands for both
    u1 = spinor(p_minus, _M, 1, False)
    for b in (1, -1):
        bar_v1 = bar(spinor(p_plus, _M, b, True))
        annihilation = current(bar_v1, u1)
        for c in (1, -1):
            bar_u2 = bar(spinor(minus, _M, c, False))
            electron = current(bar_u2, u1)
            for d in (1, -1):
                v2 = spinor(plus, _M, d, True)
                first = fusion_poles * _levi_civita(electron, current(bar_v1, v2), k_minus, k_plus)
                second = pair_poles * _levi_civita(
                    annihilation, current(bar_u2, v2), total, outward
                )
                fusion += first.real**2 + first.imag**2
                strahlung += second.real**2 + second.imag**2
                interference -= 2.0 * (first.real * second.real + first.imag * second.imag)
    # two helicities of the electron, averaged over four
    factor = 0.5 * E2 * E2
    return factor * fusion, factor * strahlung, factor * interference


@njit(cache=True)
def matrix_element(root, minus, plus, coupling):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-2] from the final leptons in the partonic CM frame."""
    fusion, strahlung, interference = squares(root, minus, plus)
    return coupling * coupling * (fusion + strahlung + interference)


@njit(cache=True)
def meson_matrix_element(root, minus, plus, coupling, pole):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-2] of e+ e- -> e+ e- P by fusion; ``pole`` [GeV^2]."""
    energy = 0.5 * root
    fusion, _, _ = squares(root, minus, plus)
    form = 1.0 - virtuality(energy, minus, 1.0) / pole
    form *= 1.0 - virtuality(energy, plus, -1.0) / pole
    return coupling * coupling * fusion / (form * form)


@njit(cache=True)
def _pole_range(parameters, x1, x2):  # type: ignore[no-untyped-def]
    """Range of 1 - cos for the electron and of 1 + cos for the positron, partonic frame."""
    shift = 0.5 * math.log(x1 / x2)
    low, high = parameters[ETA_LOW], parameters[ETA_HIGH]
    # 1 - tanh(eta) = 2/(1 + exp(2 eta)); an open end includes the beam itself
    near = 0.0 if high >= ETA_LARGEST else 2.0 / (1.0 + math.exp(2.0 * (high - shift)))
    back = 0.0 if low <= -ETA_LARGEST else 2.0 / (1.0 + math.exp(2.0 * (shift - low)))
    return near, 2.0 - back, back, 2.0 - near


@njit(cache=True)
def _regulator(root, loss):  # type: ignore[no-untyped-def]
    """1 - cos at which the electron mass ends the pole, for a beam that loses ``loss`` of itself.

    The smallest virtuality m^2 loss^2/(1 - loss) over twice the product of the energies.
    """
    kept = max(1.0 - loss, 1e-3)
    return max(2.0 * _M2 * (loss / (root * kept)) ** 2, 1e-30)


@njit(cache=True)
def _fusion_density(root, mass, minus, plus, range_):  # type: ignore[no-untyped-def]
    """Density of the fusion channel at a point, per three-body phase space."""
    s = root * root
    energy = 0.5 * root
    loss_low = mass * (mass + 2.0 * _M) / s
    loss_high = 1.0 - _M / energy
    loss = 1.0 - minus[0] / energy
    y1, p1 = _beam_distance(minus, 1.0)
    y2, p2 = _beam_distance(plus, -1.0)
    near1, far1, near2, far2 = range_
    if not (loss_low < loss < loss_high and near1 <= y1 <= far1 and near2 <= y2 <= far2):
        return 0.0
    if p2 == 0.0:
        return 0.0
    r1 = _regulator(root, loss)
    r2 = _regulator(root, min(mass * mass / (s * loss), 1.0))
    density = 1.0 / (
        loss
        * math.log(loss_high / loss_low)
        * (y1 + r1)
        * math.log((far1 + r1) / (near1 + r1))
        * (y2 + r2)
        * math.log((far2 + r2) / (near2 + r2))
        * 4.0
        * math.pi**2
    )
    along = (minus[1] * plus[1] + minus[2] * plus[2] + minus[3] * plus[3]) / p2
    slope = root - minus[0] + along * plus[0] / p2
    return density * 8.0 * (2.0 * math.pi) ** 5 * slope / (p1 * p2 * energy)


@njit(cache=True)
def _strahlung_density(root, mass, minus, plus):  # type: ignore[no-untyped-def]
    """Density of the strahlung channel at a point, per three-body phase space."""
    s = root * root
    pair2 = (minus[0] + plus[0]) ** 2 - (
        (minus[1] + plus[1]) ** 2 + (minus[2] + plus[2]) ** 2 + (minus[3] + plus[3]) ** 2
    )
    largest = (root - mass) ** 2
    if not 4.0 * _M2 < pair2 < largest:
        return 0.0
    momentum = math.sqrt(max((s - mass * mass - pair2) ** 2 - 4.0 * mass * mass * pair2, 0.0))
    velocity = math.sqrt(1.0 - 4.0 * _M2 / pair2)
    volume = momentum / (8.0 * math.pi * s) * velocity / (8.0 * math.pi) / (2.0 * math.pi)
    if volume == 0.0:
        return 0.0
    return 1.0 / (pair2 * math.log(largest / (4.0 * _M2)) * volume)


@njit(cache=True)
def _fusion_point(state, root, mass, minus, plus, range_):  # type: ignore[no-untyped-def]
    """Leptons of the fusion channel; whether the point exists."""
    s = root * root
    energy = 0.5 * root
    near1, far1, near2, far2 = range_
    loss_low = mass * (mass + 2.0 * _M) / s
    loss = loss_low * ((1.0 - _M / energy) / loss_low) ** draw(state)
    r1 = _regulator(root, loss)
    r2 = _regulator(root, min(mass * mass / (s * loss), 1.0))
    y1 = (near1 + r1) * ((far1 + r1) / (near1 + r1)) ** draw(state) - r1
    y2 = (near2 + r2) * ((far2 + r2) / (near2 + r2)) ** draw(state) - r2
    phi1 = 2.0 * math.pi * draw(state)
    phi2 = 2.0 * math.pi * draw(state)
    if not (0.0 <= y1 <= 2.0 and 0.0 <= y2 <= 2.0):
        return False
    sine1, sine2 = math.sqrt(y1 * (2.0 - y1)), math.sqrt(y2 * (2.0 - y2))

    e1 = energy * (1.0 - loss)
    p1 = math.sqrt(max(e1 * e1 - _M2, 0.0))
    # (root - e1) e2 + p1 cos12 p2 = rest: the recoil system decays to positron and ALP
    cos12 = sine1 * sine2 * math.cos(phi1 - phi2) - (1.0 - y1) * (1.0 - y2)
    a, b = root - e1, p1 * cos12
    rest = 0.5 * (s - 2.0 * root * e1 + 2.0 * _M2 - mass * mass)
    square = rest * rest - _M2 * (a * a - b * b)
    if p1 == 0.0 or rest <= _M * a or square <= 0.0:
        return False
    e2 = (a * rest - b * math.sqrt(square)) / (a * a - b * b)
    p2 = math.sqrt(max(e2 * e2 - _M2, 0.0))
    if p2 == 0.0 or e1 + e2 >= root:
        return False
    minus[0] = e1
    minus[1] = p1 * sine1 * math.cos(phi1)
    minus[2] = p1 * sine1 * math.sin(phi1)
    minus[3] = p1 * (1.0 - y1)
    plus[0] = e2
    plus[1] = p2 * sine2 * math.cos(phi2)
    plus[2] = p2 * sine2 * math.sin(phi2)
    plus[3] = -p2 * (1.0 - y2)
    return True


@njit(cache=True)
def _strahlung_point(state, root, mass, minus, plus):  # type: ignore[no-untyped-def]
    """Leptons of the strahlung channel: a virtual photon recoils against the ALP and decays."""
    s = root * root
    smallest = 4.0 * _M2
    pair2 = smallest * ((root - mass) ** 2 / smallest) ** draw(state)
    pair = np.empty(4)
    set_direction(pair, 2.0 * draw(state) - 1.0, 2.0 * math.pi * draw(state))
    square = (s - mass * mass - pair2) ** 2 - 4.0 * mass * mass * pair2
    momentum = 0.5 * math.sqrt(max(square, 0.0)) / root
    pair[0] = math.sqrt(pair2 + momentum * momentum)
    for i in range(1, 4):
        pair[i] *= momentum
    set_direction(minus, 2.0 * draw(state) - 1.0, 2.0 * math.pi * draw(state))
    momentum = math.sqrt(max(0.25 * pair2 - _M2, 0.0))
    minus[0] = 0.5 * math.sqrt(pair2)
    for i in range(1, 4):
        minus[i] *= momentum
    boost_from_rest(minus, pair)
    # not by another boost, which would lose digits of energy conservation for light pairs
    for i in range(4):
        plus[i] = pair[i] - minus[i]


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: ALP photons, electron, positron, ALP; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    s = x1 * x2 * parameters[S]
    mass = parameters[MASS]
    root = math.sqrt(s)
    if weight == 0.0 or root <= mass + 2.0 * _M:
        return 0.0
    range_ = _pole_range(parameters, x1, x2)
    if draw(state) < _PAIR:
        _strahlung_point(state, root, mass, p4[2], p4[3])
    elif not _fusion_point(state, root, mass, p4[2], p4[3], range_):
        return 0.0
    minus = (p4[2, 0], p4[2, 1], p4[2, 2], p4[2, 3])
    plus = (p4[3, 0], p4[3, 1], p4[3, 2], p4[3, 3])
    momentum2 = 0.0
    for i in range(1, 4):
        p4[4, i] = -minus[i] - plus[i]
        momentum2 += p4[4, i] ** 2
    p4[4, 0] = math.sqrt(mass * mass + momentum2)
    decay_massless(state, p4[4], p4[0], p4[1])
    to_collision_frame(p4, 5, x1, x2)
    if not passes(parameters, p4, 2, 4):
        return 0.0
    density = (1.0 - _PAIR) * _fusion_density(root, mass, minus, plus, range_)
    density += _PAIR * _strahlung_density(root, mass, minus, plus)
    if not density > 0.0:
        return 0.0
    if parameters[POLE] > 0.0:
        square = meson_matrix_element(root, minus, plus, parameters[COUPLING], parameters[POLE])
    else:
        square = matrix_element(root, minus, plus, parameters[COUPLING])
    flux = 2.0 * s * math.sqrt(1.0 - 4.0 * _M2 / s)
    return weight * GEV2_TO_PB * square / (flux * density)


PROCESS: Final = Process(
    name="eea",
    propose=propose,
    pdg=(PHOTON, PHOTON, ELECTRON, -ELECTRON, ALP),
    mother=(ALP, ALP, 0, 0, BEAM),
    final=4,
    photons=2,
    options=("mass", "coupling"),
    constants=(0.0,),
)


def _meson(
    name: str, code: int, mass: float, width: float, pole: float, branching: float
) -> Process:
    return Process(
        name=name,
        propose=propose,
        pdg=(PHOTON, PHOTON, ELECTRON, -ELECTRON, code),
        mother=(code, code, 0, 0, BEAM),
        final=4,
        photons=2,
        constants=(mass, math.sqrt(64.0 * math.pi * width / mass**3), pole**2),
        branching=branching,
    )


# Masses and widths into two photons [GeV]: PDG 2024; masses of the form factors [GeV]: CLEO, above;
# branching fractions into two photons: R0 section 4.3.2.
EEPI0: Final = _meson("eepi0", 111, 0.1349768, 7.80e-9, 0.776, 0.988)
EEETA: Final = _meson("eeeta", 221, 0.547862, 0.515e-6, 0.774, 0.394)
EEETAPRIME: Final = _meson("eeetaprime", 331, 0.95778, 4.28e-6, 0.859, 0.022)
