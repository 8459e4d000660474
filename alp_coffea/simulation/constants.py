"""Codes and derived constants of the embedded Monte Carlo."""

from __future__ import annotations

import math
from typing import Final

from alp_coffea.physics.constants import ALPHA

#: squared electric charge e^2 = 4 pi alpha
E2: Final = 4 * math.pi * ALPHA
#: PDG codes; the ALP and the pseudo-beam as basf2 steering files add them
PHOTON: Final = 22
ELECTRON: Final = 11
MUON: Final = 13
ALP: Final = 9000006
BEAM: Final = 55
