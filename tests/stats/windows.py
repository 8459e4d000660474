"""A made-up signal model over the whole mass range, for tests of windows and workspaces."""

from __future__ import annotations

import numpy as np

from alp_coffea.physics.kinematics import signed_square
from alp_coffea.stats.signal import PeakFit, SignalModel

EDGES = np.linspace(-4, 11, 15001)
SQUARES = signed_square(EDGES)


def peak(mass: float, definition: str, energy_set: str) -> PeakFit:
    sigma = 0.03 * mass**1.6 + 0.004
    return PeakFit(
        mass, definition, energy_set, 1e4, mass**2, 1e-4, sigma, 1e-5, 1.3, 0.01, 4.0, 0.0, 20, 20,
        0.3, 1e-3, True,
    )  # fmt: skip


MODEL = SignalModel(
    tuple(
        peak(mass, definition, energy_set)
        for mass in (0.15, 0.3, 0.6, 1.0, 2.0, 4.0, 6.0, 8.0, 9.8)
        for definition in ("diphoton", "recoil")
        for energy_set in ("low_mass", "high_mass")
    ),
    10.58,
)
FLAT = np.diff(SQUARES)
