"""Constants of nature in natural units, each with its source."""

from __future__ import annotations

import math
from typing import Final

#: Fine-structure constant at zero momentum transfer; the published limit curve uses alpha(0)
#: (R0 2.6, 2.7).
ALPHA: Final = 1 / 137.036

#: (hbar c)^2: 1 GeV^-2 in pb, from 0.3893794 mb (PDG, Physical constants).
GEV2_TO_PB: Final = 0.3893794e9

#: hbar c in GeV cm (PDG, Physical constants): lengths from widths.
HBAR_C: Final = 1.973269804e-14

#: Muon mass [GeV] (PDG).
MUON_MASS: Final = 0.1056583755

#: Electron mass [GeV] (PDG).
ELECTRON_MASS: Final = 0.51099895e-3

TWO_PI: Final = 2 * math.pi
