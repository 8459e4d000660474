"""Double radiative Bhabha scattering e+ e- -> e+ e- gamma gamma, leading order, massive electrons.

|M|^2 from the helicity amplitudes of :mod:`alp_coffea.simulation.eegg_amplitude`, cross section
with 1/2! for the photons. Lepton pairs may have any mass down to 2 m_e (internal conversions);
photons closer than ``OPENING`` to a lepton are cut away: the calorimeter cannot tell them apart.

Points come from :mod:`alp_coffea.simulation.eegg_sampling`.
"""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.physics.constants import ELECTRON_MASS, GEV2_TO_PB
from alp_coffea.simulation.bremsstrahlung import opening_above
from alp_coffea.simulation.constants import ELECTRON, PHOTON
from alp_coffea.simulation.eegg_amplitude import matrix_element
from alp_coffea.simulation.eegg_sampling import OPENING, density, point
from alp_coffea.simulation.kinematics import S, passes, radiate, to_collision_frame
from alp_coffea.simulation.sampling import PROPOSAL, Process

_COS_OPENING: Final = math.cos(OPENING)
_M: Final = ELECTRON_MASS


@njit(PROPOSAL, cache=True)
def propose(state, parameters, p4):  # type: ignore[no-untyped-def]
    """One point of phase space: photons, electron, positron; weight in pb."""
    x1, x2, weight = radiate(state, parameters)
    if weight == 0.0:
        return 0.0
    s = x1 * x2 * parameters[S]
    root = math.sqrt(s)
    if not point(state, parameters, p4, x1, x2, root):
        return 0.0
    partonic = p4[:4].copy()
    to_collision_frame(p4, 4, x1, x2)
    if not passes(parameters, p4, 2, 4):
        return 0.0
    for i in range(2):
        for j in range(2, 4):
            if not opening_above(p4[i], p4[j], _COS_OPENING):
                return 0.0
    sampled = density(parameters, partonic, x1, x2, root)
    if not sampled > 0.0:
        return 0.0
    k1 = (partonic[0, 0], partonic[0, 1], partonic[0, 2], partonic[0, 3])
    k2 = (partonic[1, 0], partonic[1, 1], partonic[1, 2], partonic[1, 3])
    minus = (partonic[2, 0], partonic[2, 1], partonic[2, 2], partonic[2, 3])
    plus = (partonic[3, 0], partonic[3, 1], partonic[3, 2], partonic[3, 3])
    square = matrix_element(root, minus, plus, k1, k2, _M)
    # 1/2! for the photons
    flux = 2.0 * s * math.sqrt(1.0 - 4.0 * _M * _M / s)
    return 0.5 * weight * GEV2_TO_PB * square / (flux * sampled)


PROCESS: Final = Process(
    name="eegg",
    propose=propose,
    pdg=(PHOTON, PHOTON, ELECTRON, -ELECTRON),
    mother=(0, 0, 0, 0),
    final=4,
    photons=2,
    singular=True,
    soft=True,
)
