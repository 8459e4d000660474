"""Choosing cuts with Punzi's figure of merit, from histograms alone.

The figure of merit is efficiency / (a/2 + sqrt(B)) for a discovery at a standard deviations
(Punzi, physics/0308063; R0 5.1, a = 5). The input are *cut grids*: histograms with one axis per
cut, holding signal or background near a mass hypothesis. An axis called ``min_...`` is cut from
below, one called ``max_...`` from above, at its bin edges; the outermost edge is no cut at all.
Every combination of thresholds is then a sum over a corner of the grid, so cuts can be scanned
with the others loose or in place, and iterated to a fixed point, without reading events again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import ModelError

Array = NDArray[np.float64]
Thresholds = dict[str, float]

#: Target significance in standard deviations (R0 5.1).
SIGNIFICANCE: Final = 5.0
#: Final selection of R0 sec. 5.5 in the parameters of the scan; the photon energy below 4 GeV.
PUBLISHED: Final[Mapping[str, float]] = {
    "min_photon_energy": 1.0,
    "max_right_fraction": 0.03,
    "min_acceptance": 2,
    "min_zernike_mva": 0.6,
    "min_separated": 1,
    "max_timing_chi": 10.0,
}
#: Photon energy from 4 GeV on [GeV], chosen not to sculpt the mass spectrum (R0 sec. 5.2.3).
PUBLISHED_ENERGY_ABOVE: Final = (4.0, 0.65)


def figure_of_merit(
    efficiency: ArrayLike, background: ArrayLike, significance: float = SIGNIFICANCE
) -> Array:
    """efficiency / (significance/2 + sqrt(background)), elementwise (R0 5.1).

    ``background`` is the expected number of candidates in the window; negative sums of weights
    count as none.
    """
    root = np.sqrt(np.maximum(np.asarray(background, dtype=np.float64), 0.0))
    return np.asarray(np.asarray(efficiency, dtype=np.float64) / (significance / 2 + root))


def published(mass: float) -> Thresholds:
    """Cuts of R0 at a mass hypothesis [GeV]."""
    above, energy = PUBLISHED_ENERGY_ABOVE
    return dict(PUBLISHED) | ({"min_photon_energy": energy} if mass >= above else {})


@dataclass(frozen=True)
class CutScan:
    """Figure of merit along one cut at one mass [GeV], the other cuts fixed.

    ``thresholds`` (k,) and ``merit`` (k,); efficiency is up to a factor common to the mass.
    """

    cut: str
    mass: float
    others: Thresholds
    thresholds: Array
    merit: Array

    @property
    def best(self) -> float:
        """Threshold with the largest figure of merit, the loosest of equals."""
        return float(self.thresholds[int(np.argmax(self.merit))])

    def price(self, threshold: float) -> float:
        """Relative loss in figure of merit at a threshold of the scan, against the best."""
        position = int(np.argmin(np.abs(self.thresholds - threshold)))
        return float(1 - self.merit[position] / self.merit.max())


@dataclass(frozen=True)
class Optimum:
    """Where iterating over the cuts ends.

    ``merit`` is relative to the best of all combinations on the grid; ``steps`` counts rounds
    over all cuts until none moved.
    """

    thresholds: Thresholds
    merit: float
    steps: int


class CutGrid:
    """Signal and background at several masses, by the thresholds that keep them.

    Parameters
    ----------
    signals
        Cut grid of each simulated mass [GeV], with the category of that mass on the axis
        ``hypothesis``.
    background
        Cut grid scaled to the expected number of candidates, with the categories of all masses.

    Raises
    ------
    ModelError
        If there is no signal, a mass is missing in the background or the axes differ.
    """

    def __init__(self, signals: Mapping[float, hist.Hist], background: hist.Hist) -> None:
        if not signals:
            raise ModelError(
                "no signal sample has one of the benchmark masses "
                f"{', '.join(background.axes['hypothesis'])} GeV; simulate one of them"
            )
        self.masses = tuple(sorted(signals))
        self.axes = [axis for axis in background.axes if axis.name != "hypothesis"]
        for mass, signal in signals.items():
            cuts = [axis for axis in signal.axes if axis.name != "hypothesis"]
            if cuts != self.axes:
                raise ModelError(f"cut grid at {mass:g} GeV: its cuts are not the background's")
        self._merit = {
            mass: figure_of_merit(
                _kept(signals[mass], mass, self.axes), _kept(background, mass, self.axes)
            )
            for mass in self.masses
        }
        for mass, merit in self._merit.items():
            if not merit.max() > 0:
                raise ModelError(f"cut grid at {mass:g} GeV: no signal candidate in the window")
        #: Thresholds of each cut, loosest first.
        self.thresholds = {axis.name: _thresholds(axis) for axis in self.axes}

    @property
    def loose(self) -> Thresholds:
        """No cut at all."""
        return {name: float(values[0]) for name, values in self.thresholds.items()}

    def merit(self, thresholds: Thresholds, mass: float | None = None) -> float:
        """Figure of merit relative to the best at that mass; the mean over masses if none."""
        return float(self._relative(mass)[self._index(thresholds)])

    def scan(self, cut: str, mass: float, others: Thresholds) -> CutScan:
        """Figure of merit along one cut, the others at the given thresholds."""
        along = self._along(self._merit[mass], cut, self._index(self.loose | others))
        return CutScan(cut, mass, others, self.thresholds[cut], along)

    def optimise(self, mass: float | None = None, start: Thresholds | None = None) -> Optimum:
        """Move one cut after the other to its best threshold until none moves.

        For one mass [GeV], or for all at once: then the mean over masses of the figure of merit
        relative to the best at each mass.
        """
        merit = self._relative(mass)
        index = list(self._index(start or self.loose))
        steps, moved = 0, True
        # each move raises the merit, so this ends
        while moved:
            moved, steps = False, steps + 1
            for number, name in enumerate(self.thresholds):
                best = int(np.argmax(self._along(merit, name, tuple(index))))
                if merit[(*index[:number], best, *index[number + 1 :])] > merit[tuple(index)]:
                    index[number], moved = best, True
        found = {
            name: float(values[i])
            for (name, values), i in zip(self.thresholds.items(), index, strict=True)
        }
        return Optimum(found, float(merit[tuple(index)] / merit.max()), steps)

    def _relative(self, mass: float | None) -> Array:
        masses = self.masses if mass is None else (mass,)
        return np.asarray(sum(self._merit[m] / self._merit[m].max() for m in masses) / len(masses))

    def _along(self, merit: Array, cut: str, index: tuple[int, ...]) -> Array:
        along: list[int | slice] = list(index)
        along[list(self.thresholds).index(cut)] = slice(None)
        return np.asarray(merit[tuple(along)])

    def _index(self, thresholds: Thresholds) -> tuple[int, ...]:
        index = []
        for name, values in self.thresholds.items():
            wanted = thresholds[name]
            position = int(np.argmin(np.abs(values - wanted)))
            if abs(values[position] - wanted) > 1e-6:
                raise ModelError(
                    f"cut '{name}' is not scanned at {wanted:g}; thresholds are "
                    + ", ".join(f"{value:g}" for value in values)
                )
            index.append(position)
        return tuple(index)


def _thresholds(axis: hist.axis.AxesMixin) -> Array:
    """Edges at which an axis can be cut, loosest first."""
    if axis.name.startswith("min_"):
        return np.asarray(axis.edges[:-1], dtype=np.float64)
    if axis.name.startswith("max_"):
        return np.asarray(axis.edges[:0:-1], dtype=np.float64)
    raise ModelError(f"axis '{axis.name}' of a cut grid is neither min_... nor max_...")


def _kept(grid: hist.Hist, mass: float, axes: list[hist.axis.AxesMixin]) -> Array:
    """Sum over the corner that each combination of thresholds keeps, loosest first."""
    name = f"{mass:.4f}"
    if name not in list(grid.axes["hypothesis"]):
        raise ModelError(
            f"cut grid has no hypothesis {name} GeV (has {', '.join(grid.axes['hypothesis'])})"
        )
    kept = np.asarray(grid[{"hypothesis": name}].values(flow=True), dtype=np.float64)
    for number, axis in enumerate(axes):
        kept = np.moveaxis(kept, number, 0)
        inner = kept[1:-1].copy()
        inner[0] += kept[0]
        inner[-1] += kept[-1]
        if axis.name.startswith("min_"):
            inner = np.cumsum(inner[::-1], axis=0)[::-1]
        else:
            inner = np.cumsum(inner, axis=0)[::-1]
        kept = np.moveaxis(inner, 0, number)
    return kept
