"""A pseudoscalar and a photon, e+ e- -> P gamma, P -> gamma gamma, P = pi0, eta, eta'.

Normalised to the published cross sections (PHOKHARA, R0 section 4.3.2) at sqrt(s) = 10.58 GeV:
they contain radiative return, e+ e- -> gamma omega, omega -> P gamma, which is computed, and the
rest is taken as e+ e- -> gamma* -> P gamma with 1 + cos^2 and the two-body threshold factor
(1 - m^2/s)^3. Cross sections are for the production; the branching fraction into two photons is
part of the event weight.

Radiative return to a narrow resonance (M. Benayoun et al., Mod. Phys. Lett. A14 (1999) 2605):
sigma = 12 pi^2 Gamma_ee / (M s) W with x = 1 - M^2/s and
W = (2 alpha/(pi x)) (1 - x + x^2/2) (ln(s/m_e^2) - 1); the photon angle with electron mass is
that of G. Bonneau and F. Martin, Nucl. Phys. B27 (1971) 381, also in Benayoun et al. The omega
decays isotropically and without width.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import ALPHA, ELECTRON_MASS, GEV2_TO_PB
from alp_coffea.simulation.constants import BEAM, PHOTON
from alp_coffea.simulation.draws import draw
from alp_coffea.simulation.kinematics import (
    OWN,
    S,
    boost_from_rest,
    decay_massless,
    passes,
    radiate,
    set_direction,
    to_collision_frame,
)
from alp_coffea.simulation.sampling import PROPOSAL, Process

#: omega(782): mass and electronic width [GeV] (PDG 2024)
OMEGA_MASS: Final = 0.78266
OMEGA_WIDTH_EE: Final = 0.60e-6
OMEGA: Final = 223

_MASS: Final = OWN
_CROSS_SECTION: Final = OWN + 1
_OMEGA_FRACTION: Final = OWN + 2


@njit(cache=True)
def return_cross_section(s):  # type: ignore[no-untyped-def]
    """Cross section [pb] of e+ e- -> gamma omega over all angles; s in GeV^2."""
    x = 1.0 - OMEGA_MASS**2 / s
    logarithm = math.log(s / ELECTRON_MASS**2) - 1.0
    w = 2.0 * ALPHA / (math.pi * x) * (1.0 - x + 0.5 * x * x) * logarithm
    return GEV2_TO_PB * 12.0 * math.pi**2 * OMEGA_WIDTH_EE / (OMEGA_MASS * s) * w


@njit(cache=True)
def photon_angle(x, cosine, gap):  # type: ignore[no-untyped-def]
    """Angular density of the radiated photon, with integral ln(s/m_e^2) - 1; gap = 4 m_e^2/s."""
    full = x * x - 2.0 * x + 2.0
    cosine2 = cosine * cosine
    sine2 = 1.0 - cosine2
    flip = (1.0 - 2.0 * x) * sine2 - x * x * cosine2 * cosine2
    numerator = sine2 - (0.5 * x * x * sine2 * sine2 + gap * flip) / full
    return numerator / (sine2 + gap * cosine2) ** 2


@njit(cache=True)
def _photon_and_rest(p4, row, root, mass, cosine, phi):  # type: ignore[no-untyped-def]
    """Photon in row 0 recoiling against ``mass`` in ``row``."""
    energy = 0.5 * (root * root - mass * mass) / root
    set_direction(p4[0], cosine, phi)
    for i in range(4):
        p4[0, i] *= energy
        p4[row, i] = -p4[0, i]
    p4[row, 0] = root - energy


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point: photon, two photons of the meson, photon of the omega, meson, omega."""
    x1, x2, weight = radiate(state, parameters)
    mass = parameters[_MASS]
    fraction = parameters[_OMEGA_FRACTION]
    through_omega = fraction * return_cross_section(parameters[S]) / parameters[_CROSS_SECTION]
    s = x1 * x2 * parameters[S]
    if weight == 0.0 or s <= max(mass, OMEGA_MASS if fraction > 0.0 else 0.0) ** 2:
        return 0.0
    root = math.sqrt(s)
    photons = 3
    if draw(state) < through_omega:
        photons = 4
        x = 1.0 - OMEGA_MASS**2 / s
        gap = 4.0 * ELECTRON_MASS**2 / s  # 1 - beta^2
        beta = math.sqrt(1.0 - gap)
        cosine = math.tanh(math.atanh(beta) * (2.0 * draw(state) - 1.0)) / beta
        weight *= photon_angle(x, cosine, gap) / (math.log(s / ELECTRON_MASS**2) - 1.0)
        # the sampled density is 1/(1 - beta^2 cos^2) over its integral
        weight *= (1.0 - beta * beta * cosine * cosine) * 2.0 * math.atanh(beta) / beta
        _photon_and_rest(p4, 5, root, OMEGA_MASS, cosine, 2.0 * math.pi * draw(state))
        energy = 0.5 * (OMEGA_MASS**2 - mass * mass) / OMEGA_MASS
        set_direction(p4[3], 2.0 * draw(state) - 1.0, 2.0 * math.pi * draw(state))
        for i in range(4):
            p4[3, i] *= energy
        boost_from_rest(p4[3], p4[5])
        for i in range(4):
            p4[4, i] = p4[5, i] - p4[3, i]
    else:
        cosine = 2.0 * draw(state) - 1.0
        weight *= 0.75 * (1.0 + cosine * cosine)
        weight *= ((1.0 - mass * mass / s) / (1.0 - mass * mass / parameters[S])) ** 3
        _photon_and_rest(p4, 4, root, mass, cosine, 2.0 * math.pi * draw(state))
        for i in range(4):
            p4[3, i] = 0.0
            p4[5, i] = 0.0
    decay_massless(state, p4[4], p4[1], p4[2])
    to_collision_frame(p4, 6, x1, x2)
    if not passes(parameters, p4, photons, photons):
        return 0.0
    return weight * parameters[_CROSS_SECTION]


def _process(
    name: str, code: int, mass: float, sigma: float, branching: float, fraction: float
) -> Process:
    return Process(
        name=name,
        propose=propose,
        pdg=(PHOTON, PHOTON, PHOTON, PHOTON, code, OMEGA),
        mother=(BEAM, code, code, OMEGA, BEAM, BEAM),
        final=4,
        photons=4,
        constants=(mass, sigma, fraction),
        branching=branching,
    )


# Cross sections [pb] and branching fractions into two photons: R0 section 4.3.2. Masses [GeV] and
# branching fractions omega -> P gamma: PDG 2024; omega -> eta' gamma is forbidden.
PI0G: Final = _process("pi0g", 111, 0.1349768, 2.43, 0.988, 0.0835)
ETAG: Final = _process("etag", 221, 0.547862, 0.96, 0.394, 4.5e-4)
ETAPRIMEG: Final = _process("etaprimeg", 331, 0.95778, 0.03, 0.022, 0.0)
