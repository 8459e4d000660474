"""Sizes of the nuisances of every mass hypothesis, and where they come from.

The yield term and the luminosity are settings (R0 sec. 7.5.2). The effect of moved cuts on the
efficiency and of smeared photon energies on the width are measured on the signal samples, when
their processor evaluated variations, and interpolated in mass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.config import Nuisances, efficiency_uncertainty
from alp_coffea.errors import ModelError

Array = NDArray[np.float64]

#: Variations whose up case smears photon energies; half its effect on the width is the
#: uncertainty (R0 sec. 7.5.1).
RESOLUTION = "photon_resolution"


@dataclass(frozen=True)
class NuisanceSizes:
    """Relative uncertainties of one mass hypothesis.

    ``efficiency`` by source changes the signal's yield, ``width`` that of its peak;
    ``width_source`` names the nuisance of the latter, which can be one of the former. ``sqrt_s``
    moves the peak, see :func:`mass2_per_sqrt_s`.
    """

    efficiency: Mapping[str, float]
    width: float = 0.0
    width_source: str = "width"
    sqrt_s: float = 0.0

    @property
    def total_efficiency(self) -> float:
        """All yield terms in quadrature."""
        return float(np.sqrt(sum(size**2 for size in self.efficiency.values())))


def mass2_per_sqrt_s(definition: str, mass: float, sqrt_s: float) -> float:
    """Shift of the squared mass [GeV^2] per relative change of the assumed sqrt(s) [GeV].

    The pair does not know the beams. s - 2 sqrt(s) E* of the recoil changes by 2s - 2 sqrt(s) E*
    = s + m^2. The kinematic fit scales all momenta with the beams and m^2 with their square;
    measured on simulation that holds within 10 % (docs/kinematic-fit.md).
    """
    return {"diphoton": 0.0, "recoil": sqrt_s**2 + mass**2, "fit": 2 * mass**2}[definition]


@dataclass(frozen=True)
class Effect:
    """A relative size at simulated masses [GeV]: linear in between, constant beyond the ends."""

    mass: Array
    size: Array

    def __call__(self, mass: float) -> float:
        return float(np.interp(mass, self.mass, self.size))


@dataclass(frozen=True)
class Systematics:
    """Nuisance sizes from settings and, where given, from measured variations.

    ``efficiency`` is by (source, energy set), ``width`` by (definition, energy set).
    """

    settings: Nuisances
    efficiency: Mapping[tuple[str, str], Effect] = field(default_factory=dict)
    width: Mapping[tuple[str, str], Effect] = field(default_factory=dict)

    def at(self, mass: float, definition: str, energy_set: str) -> NuisanceSizes:
        """Sizes at a mass hypothesis [GeV]."""
        sources = {
            "efficiency": efficiency_uncertainty(self.settings, mass),
            "luminosity": self.settings.luminosity,
        }
        for (source, where), effect in self.efficiency.items():
            if where == energy_set:
                sources[source] = effect(mass)
        measured = self.width.get((definition, energy_set))
        if measured is None:
            return NuisanceSizes(sources, self.settings.width, sqrt_s=self.settings.sqrt_s)
        # smeared energies move width and yield together: one nuisance
        return NuisanceSizes(sources, measured(mass), RESOLUTION, self.settings.sqrt_s)


def measure(settings: Nuisances, variations: Iterable[tuple[float, hist.Hist]]) -> Systematics:
    """Measure the variations of signal samples.

    Parameters
    ----------
    variations
        Per sample its mass [GeV] and the masses of its true candidates, a histogram with axes
        variation, energy_set, definition and mass, whose overflow completes its sums.

    Raises ModelError when the samples have different variations.
    """
    samples = sorted(variations, key=lambda item: item[0])
    if not samples:
        return Systematics(settings)
    names = list(samples[0][1].axes["variation"])
    for mass, histogram in samples:
        if list(histogram.axes["variation"]) != names:
            raise ModelError(
                f"signal sample at {mass:g} GeV has the variations "
                f"{list(histogram.axes['variation'])}, the first one {names}"
            )
    masses = np.array([mass for mass, _ in samples])
    sources = dict.fromkeys(name.rsplit("_", 1)[0] for name in names if name != "nominal")
    efficiency: dict[tuple[str, str], Effect] = {}
    width: dict[tuple[str, str], Effect] = {}
    for energy_set in samples[0][1].axes["energy_set"]:
        yields = [_yields(histogram, energy_set) for _, histogram in samples]
        for source in sources:
            cases = [n for n in names if n.rsplit("_", 1)[0] == source]
            sizes = np.array([_yield_change(of_sample, cases) for of_sample in yields])
            efficiency[source, energy_set] = Effect(masses, sizes)
        if RESOLUTION in sources:
            for definition in samples[0][1].axes["definition"]:
                changes = np.array([_width_change(h, definition, energy_set) for _, h in samples])
                width[definition, energy_set] = Effect(masses, _smooth(masses, changes))
    return Systematics(settings, efficiency, width)


def _yields(histogram: hist.Hist, energy_set: str) -> dict[str, float]:
    """True candidates of a sample by variation."""
    chosen = histogram[{"energy_set": energy_set, "definition": 0}]
    # one row more than variations: the overflow of their axis
    sums = chosen.values(flow=True).sum(axis=1)
    return dict(zip(chosen.axes["variation"], sums.tolist(), strict=False))


def _yield_change(yields: Mapping[str, float], cases: list[str]) -> float:
    """Mean absolute relative change of the number of true candidates; 0 without candidates."""
    nominal = yields["nominal"]
    if nominal <= 0:
        return 0.0
    return float(np.mean([abs(yields[case] / nominal - 1) for case in cases]))


def _width_change(histogram: hist.Hist, definition: str, energy_set: str) -> float:
    """Half the relative change of the 68 % half-width; 0 with fewer than 100 candidates."""

    def half_width(case: str) -> float:
        chosen = histogram[{"variation": case, "energy_set": energy_set, "definition": definition}]
        contents = chosen.values()
        if contents.sum() < 100:
            return 0.0
        cumulative = np.concatenate(([0.0], np.cumsum(contents))) / contents.sum()
        low, high = np.interp([0.1587, 0.8413], cumulative, chosen.axes[0].edges)
        return float(high - low) / 2

    nominal = half_width("nominal")
    return abs(half_width(f"{RESOLUTION}_up") / nominal - 1) / 2 if nominal > 0 else 0.0


def _smooth(masses: Array, values: ArrayLike) -> Array:
    """A parabola in log mass through noisy values, not below zero; few values stay as they are."""
    values = np.asarray(values, float)
    if len(masses) < 6:
        return values
    fit = np.polynomial.Polynomial.fit(np.log(masses), values, 2)
    return np.asarray(np.maximum(fit(np.log(masses)), 0.0))
