"""How often ALPs of a mass and coupling are produced: what turns cross sections into couplings.

Masses in GeV, cross sections in pb, couplings in 1/GeV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from alp_coffea.errors import InputError
from alp_coffea.physics import theory

Array = NDArray[np.float64]


class Production(Protocol):
    """Cross section of the signal by mass [GeV] and coupling [1/GeV], and the inverse."""

    def cross_section(self, mass: float, coupling: float) -> float:
        """In pb; NaN where it is unknown."""

    def least(self, mass: float, coupling: float) -> float:
        """In pb, with all the radiation that a simulation may have."""

    def coupling(self, cross_section: float, mass: float) -> float:
        """In 1/GeV, of a cross section [pb]; NaN where it is unknown."""


@dataclass(frozen=True)
class Strahlung:
    """e+e- -> gamma a at a centre-of-mass energy ``sqrt_s`` [GeV] (R0 eq. 2.7)."""

    sqrt_s: float

    def cross_section(self, mass: float, coupling: float) -> float:
        """The Born cross section [pb]."""
        return float(theory.cross_section(mass, coupling, sqrt_s=self.sqrt_s))

    def least(self, mass: float, coupling: float) -> float:
        """What initial-state radiation leaves of it [pb]."""
        fraction = theory.radiative_fraction(mass, sqrt_s=self.sqrt_s)
        return self.cross_section(mass, coupling) * float(fraction)

    def coupling(self, cross_section: float, mass: float) -> float:
        """Its inverse [1/GeV]."""
        return float(theory.coupling_from_cross_section(cross_section, mass, sqrt_s=self.sqrt_s))


@dataclass(frozen=True)
class Tabulated:
    """Cross sections (n,) [pb] at masses (n,) [GeV], ascending, and one coupling [1/GeV].

    Between masses they are interpolated monotonically in the logarithm, never beyond them; with
    the coupling g they go like g^2.
    """

    masses: Array
    cross_sections: Array
    at: float

    @classmethod
    def read(cls, path: Path | str, *, coupling: float) -> Tabulated:
        """From a text file with a mass and a cross section per line; ``#`` starts a comment.

        Raises InputError naming the file if it is not such a table.
        """
        try:
            lines = Path(path).read_text("utf-8").splitlines()
            rows = [line.partition("#")[0].replace(",", " ").split() for line in lines]
            table = np.array([[float(x) for x in row[:2]] for row in rows if row], float)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: no table of cross sections: {error}") from error
        if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2:
            raise InputError(
                f"{path}: need at least two lines with a mass [GeV] and a cross section [pb]"
            )
        masses, values = table.T
        if not (np.isfinite(table).all() and (np.diff(masses) > 0).all() and (values > 0).all()):
            raise InputError(f"{path}: masses must ascend and cross sections be positive")
        return cls(masses, values, coupling)

    def cross_section(self, mass: float, coupling: float) -> float:
        """Interpolated [pb]; NaN outside the table."""
        curve = PchipInterpolator(self.masses, np.log(self.cross_sections), extrapolate=False)
        return float(np.exp(curve(mass))) * (coupling / self.at) ** 2

    def least(self, mass: float, coupling: float) -> float:
        """The same: the table has the radiation that its author wants [pb]."""
        return self.cross_section(mass, coupling)

    def coupling(self, cross_section: float, mass: float) -> float:
        """Coupling [1/GeV] of a cross section [pb] (R1 eq. 9.2); NaN outside the table."""
        return self.at * math.sqrt(cross_section / self.cross_section(mass, self.at))


@dataclass(frozen=True)
class Unspecified:
    """Nothing is known of couplings: limits are on the cross section only."""

    def cross_section(self, mass: float, coupling: float) -> float:  # noqa: ARG002
        """Unknown."""
        return math.nan

    least = cross_section

    def coupling(self, cross_section: float, mass: float) -> float:  # noqa: ARG002
        """Unknown."""
        return math.nan
