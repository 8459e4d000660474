"""Analysis files as typed, validated models, and everything configurable under one name.

An *analysis* says what is done with the samples of a *catalogue* (``catalogue_config``). Both are
YAML. Energies in GeV, cross sections in pb, luminosities in 1/pb.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from alp_coffea.catalogue_config import (
    BeamSettings,
    Catalogue,
    CrossSection,
    GeneratorCuts,
    Kind,
    Sample,
    Simulate,
    dump_catalogue,
    load_catalogue,
    load_catalogues,
)
from alp_coffea.yaml_models import Model, absolute, as_tuple, expand_variables, load, parse

__all__ = [
    "Analysis",
    "BeamSettings",
    "Blinding",
    "Catalogue",
    "CrossSection",
    "Definition",
    "GeneratorCuts",
    "Kind",
    "Nuisances",
    "Sample",
    "Scan",
    "Signal",
    "Simulate",
    "TheoryTable",
    "Window",
    "Windows",
    "YieldUncertainty",
    "dump_catalogue",
    "efficiency_uncertainty",
    "load_analysis",
    "load_catalogue",
    "load_catalogues",
    "parse",
]

#: How a mass is computed: of the pair, of what recoils against it, of the kinematic fit.
Definition = Literal["diphoton", "recoil", "fit"]

Fraction = Annotated[float, Field(ge=0, lt=1)]
Name = TypeVar("Name")
#: One name, or one below and one above a mass.
BelowAbove = Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]

# --- analysis ----------------------------------------------------------------------------------


class Window(Model):
    """Fit window from ``above`` [GeV] on: ``-left``..``+right`` widths, polynomial ``order``."""

    above: Annotated[float, Field(ge=0)] = 0.0
    order: Annotated[int, Field(ge=0, le=9)]
    left: PositiveFloat
    right: PositiveFloat


class YieldUncertainty(Model):
    """Relative efficiency uncertainty from ``above`` [GeV] on."""

    above: Annotated[float, Field(ge=0)] = 0.0
    value: Fraction


class Nuisances(Model):
    """Uncertainties that enter the fit with Gaussian constraints: relative ones (R0 sec. 7.5), and
    with ``spurious_signal`` the signal that each background model finds in simulation."""

    luminosity: Fraction = 0.007
    efficiency: tuple[YieldUncertainty, ...] = (
        YieldUncertainty(above=0.0, value=0.053),
        YieldUncertainty(above=4.0, value=0.045),
    )
    width: Fraction = 0.0
    sqrt_s: Fraction = 0.0
    spurious_signal: bool = False


class Windows(Model):
    """Windows per mass definition; the defaults are R0 tables 7.1 and 7.2.

    For the fit they are those of R2, but below 0.5 GeV, where merging of clusters cuts the left of
    a window off, the longer right side and the lower order of R0 table 7.1: that is worth 6 % of
    the limits (docs/kinematic-fit.md).
    """

    diphoton: Annotated[tuple[Window, ...], Field(min_length=1)] = (
        Window(above=0.0, order=2, left=20, right=30),
        Window(above=0.5, order=4, left=20, right=30),
    )
    recoil: Annotated[tuple[Window, ...], Field(min_length=1)] = (
        Window(above=0.0, order=5, left=25, right=25),
    )
    fit: Annotated[tuple[Window, ...], Field(min_length=1)] = (
        Window(above=0.0, order=2, left=20, right=30),
        Window(above=0.5, order=3, left=20, right=20),
    )


class Scan(Model):
    """The mass scan: where, with which windows, and at which confidence level.

    ``definitions`` and ``energy_sets`` name the mass and the selection below and above
    ``transition`` and ``energy_set_switch`` [GeV], or the only one.
    """

    low: PositiveFloat = 0.2
    high: PositiveFloat = 9.7
    step: PositiveFloat = 0.5
    definitions: BelowAbove[Definition] = ("diphoton", "recoil")
    transition: PositiveFloat = 6.85
    energy_sets: BelowAbove[str] = ("low_mass", "high_mass")
    energy_set_switch: PositiveFloat = 4.0
    windows: Windows = Windows()
    nuisances: Nuisances = Nuisances()
    background_choices: Literal["nominal", "nine", "discrete"] = "nine"
    background_coefficients: Literal["non_negative", "free"] = "non_negative"
    background_shape: Literal["floating", "sideband"] = "floating"
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    excluded: tuple[tuple[float, float], ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Scan:
        if self.low >= self.high:
            raise ValueError(f"'low' = {self.low} GeV must be below 'high' = {self.high} GeV")
        for low, high in self.excluded:
            if low >= high:
                raise ValueError(f"'excluded' region [{low}, {high}] GeV is not ordered")
        return self

    def definition(self, mass: float) -> Definition:
        """Mass definition used at a mass hypothesis [GeV]."""
        return self.definitions[0 if mass < self.transition else -1]

    def energy_set(self, mass: float) -> str:
        """Photon-energy set used at a mass hypothesis [GeV]."""
        return self.energy_sets[0 if mass < self.energy_set_switch else -1]

    def window(self, mass: float, definition: Definition) -> Window:
        """Window settings at a mass hypothesis [GeV]."""
        rows: tuple[Window, ...] = getattr(self.windows, definition)
        return _row_at(rows, mass)


class Signal(Model):
    """The signal model: ``shape`` of the peaks and how their parameters depend on mass."""

    shape: Literal["crystal_ball", "double_sided", "generalised"] = "crystal_ball"
    interpolation: Literal["spline", "chebyshev"] = "spline"


class Blinding(Model):
    """What may be seen of data, see ``alp_coffea.events.blinding``.

    ``fraction`` and ``seed`` choose the share of events that is seen, or left out.
    """

    policy: Literal["none", "fraction", "exclude_fraction", "sideband", "full"] = "none"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0


class TheoryTable(Model):
    """File with a mass [GeV] and a cross section [pb] per line, at a ``coupling`` [1/GeV]."""

    table: str
    coupling: PositiveFloat = 1e-3


class Analysis(Model):
    """What is done with a catalogue, or with those of several campaigns.

    ``luminosity`` [1/pb] is used instead of what the data samples say. ``theory`` turns cross
    sections into couplings: e+e- -> gamma a, a table, or none.
    """

    title: str = ""
    catalogue: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    processor: str
    options: dict[str, Any] = Field(default_factory=dict)
    luminosity: PositiveFloat | None = None
    blinding: Blinding = Blinding()
    signal: Signal = Signal()
    scan: Scan = Scan()
    theory: Literal["strahlung", "none"] | TheoryTable = "strahlung"
    published_limits: tuple[str, ...] = ()


Row = TypeVar("Row", Window, YieldUncertainty)


def _row_at(rows: tuple[Row, ...], mass: float) -> Row:
    """Last row whose ``above`` is not beyond the mass; the first row when all are."""
    ordered = sorted(rows, key=lambda row: row.above)
    return [row for row in ordered if row.above <= mass or row is ordered[0]][-1]


def efficiency_uncertainty(nuisances: Nuisances, mass: float) -> float:
    """Relative efficiency uncertainty at a mass hypothesis [GeV]; 0 without rows."""
    return _row_at(nuisances.efficiency, mass).value if nuisances.efficiency else 0.0


def load_analysis(path: str | Path) -> Analysis:
    """Read an analysis file; paths in it become absolute, relative to its folder.

    Raises ConfigurationError naming the file and the key.
    """
    path = Path(path)
    analysis = load(path, Analysis)
    base = path.resolve().parent
    return analysis.model_copy(
        update={
            "theory": _absolute_table(analysis.theory, path),
            "catalogue": tuple(
                absolute(expand_variables(p, path), base) for p in analysis.catalogue
            ),
            "published_limits": tuple(
                absolute(expand_variables(p, path), base) for p in analysis.published_limits
            ),
        }
    )


def _absolute_table(theory: str | TheoryTable, path: Path) -> str | TheoryTable:
    if isinstance(theory, str):
        return theory
    table = absolute(expand_variables(theory.table, path), path.resolve().parent)
    return theory.model_copy(update={"table": table})
