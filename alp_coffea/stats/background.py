"""Fit windows: where each mass hypothesis is fitted, and in which bins.

A window spans some peak widths around the peak in m^2 (R0 tables 7.1 and 7.2), is clipped to the
range that the selection populates, and is an exact union of the histogram's fine bins, grouped
to about half a peak width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import hist
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from alp_coffea.config import Definition, Scan
from alp_coffea.errors import ModelError
from alp_coffea.physics.kinematics import signed_root, signed_square
from alp_coffea.stats.signal import SignalModel

Array = NDArray[np.float64]

#: Share of the nearby maximum density below which a window's edge is not populated, and how many
#: bins (of half a peak width) count as nearby. No polynomial of the published orders describes
#: the turn-on from cluster merging or the endpoint from the photon-energy cut.
EDGE_SHARE = 0.5
EDGE_REACH = 20
#: What the background choices add to a window's ends, at most [peak widths] (R0 sec. 7.5.3).
WIDEST = 5.0
#: A window with fewer bins cannot hold the polynomial and a peak.
MINIMUM_BINS = 12


@dataclass(frozen=True)
class FitWindow:
    """Window of one mass hypothesis.

    ``index`` (nbins + 1,) are positions in the fine edges of the mass histogram; ``edges``
    (nbins + 1,) the same as squared masses [GeV^2]; ``note`` says what was clipped.
    """

    mass: float
    definition: Definition
    energy_set: str
    order: int
    index: NDArray[np.intp]
    edges: Array
    note: str = ""

    @property
    def low(self) -> float:
        """Lower edge as signed root [GeV]."""
        return float(signed_root(self.edges[0]))

    @property
    def high(self) -> float:
        """Upper edge as signed root [GeV]."""
        return float(signed_root(self.edges[-1]))

    def counts(self, spectrum: Array) -> Array:
        """Contents of the window's bins from the fine bins of a mass spectrum."""
        cumulative = np.concatenate(([0.0], np.cumsum(spectrum)))
        return np.diff(cumulative[self.index])


class Spectra:
    """Contents (nbins,) of a mass histogram by (definition, energy set), all origins together.

    ``edges`` (nbins + 1,) are signed roots [GeV].
    """

    def __init__(self, edges: Array, contents: Mapping[tuple[str, str], Array]) -> None:
        self.edges = edges
        self._contents = contents

    @classmethod
    def of(cls, histogram: hist.Hist) -> Spectra:
        """From a histogram with the axes energy_set, definition, origin and mass."""
        summed = histogram.project("energy_set", "definition", "mass")
        values = summed.values()
        contents = {
            (definition, energy_set): values[i, j]
            for i, energy_set in enumerate(summed.axes["energy_set"])
            for j, definition in enumerate(summed.axes["definition"])
        }
        return cls(summed.axes["mass"].edges, contents)

    @property
    def definitions(self) -> tuple[str, ...]:
        """Mass definitions, each once."""
        return tuple(dict.fromkeys(definition for definition, _ in self._contents))

    def __getitem__(self, key: tuple[str, str]) -> Array:
        if key not in self._contents:
            known = ", ".join(f"{d}/{e}" for d, e in self._contents)
            raise ModelError(
                f"no spectrum for {key[0]}/{key[1]} (definition/energy set); the mass histogram "
                f"has {known}. Correct 'definitions' and 'energy_sets' of the scan"
            )
        return self._contents[key]


def fit_window(
    mass: float,
    settings: Scan,
    model: SignalModel,
    fine_edges: Array,
    shape: Array,
    *,
    definition: Definition | None = None,
    extra_order: int = 0,
    widen: float = 0.0,
) -> FitWindow:
    """Window at a mass hypothesis [GeV].

    Parameters
    ----------
    fine_edges
        Edges of the mass histogram, signed roots [GeV].
    shape
        Expected background in the fine bins (any normalisation); tells where it is populated.
    definition
        Overrides the definition of the settings.
    extra_order, widen
        Added to the polynomial order, and to the window on both sides [peak widths].

    Raises
    ------
    ModelError
        If hardly any of the window is populated.
    """
    definition = definition or settings.definition(mass)
    energy_set = settings.energy_set(mass)
    row = settings.window(mass, definition)
    mu = float(model.mu(mass, definition, energy_set))
    sigma = float(model.sigma(mass, definition, energy_set))
    low, high = mu - (row.left + widen) * sigma, mu + (row.right + widen) * sigma

    squares = signed_square(fine_edges)
    index = _groups(squares, low, high, sigma / 2)
    counts = np.diff(np.concatenate(([0.0], np.cumsum(shape)))[index])
    first, last = _populated(counts / np.diff(squares[index]))
    clipped = []
    if first > 0:
        clipped.append(f"low edge clipped to {float(fine_edges[index[first]]):.3f} GeV")
    if last < len(counts):
        clipped.append(f"high edge clipped to {float(fine_edges[index[last]]):.3f} GeV")
    index = index[first : max(last, first) + 1]
    if len(index) - 1 < MINIMUM_BINS or not (squares[index[0]] < mu < squares[index[-1]]):
        raise ModelError(
            f"mass {mass:g} GeV ({definition}): only {max(len(index) - 1, 0)} of the window's bins "
            f"between {float(signed_root(low)):.3f} and {float(signed_root(high)):.3f} GeV are "
            "populated by the selection"
        )
    return FitWindow(
        mass,
        definition,
        energy_set,
        max(row.order + extra_order, 0),
        index,
        squares[index],
        "; ".join(clipped),
    )


def widest_region(
    mass: float, settings: Scan, model: SignalModel, fine_edges: Array, definition: Definition
) -> tuple[float, float]:
    """Range [GeV^2] that every background choice's window at a mass [GeV] lies in."""
    energy_set = settings.energy_set(mass)
    row = settings.window(mass, definition)
    mu = float(model.mu(mass, definition, energy_set))
    sigma = float(model.sigma(mass, definition, energy_set))
    low, high = mu - (row.left + WIDEST) * sigma, mu + (row.right + WIDEST) * sigma
    squares = signed_square(fine_edges)
    # edges are snapped outward, to the fine ones
    first = max(int(np.searchsorted(squares, low, side="right")) - 1, 0)
    last = min(int(np.searchsorted(squares, high)), len(squares) - 1)
    return float(squares[first]), float(squares[last])


def _groups(squares: Array, low: float, high: float, step: float) -> NDArray[np.intp]:
    """Fine edges nearest to a uniform grid in m^2, the outermost snapped outward."""
    low, high = max(low, squares[0]), min(high, squares[-1])
    bins = max(int(np.ceil((high - low) / step)), 1)
    grid = np.linspace(low, high, bins + 1)
    index = np.searchsorted(squares, grid)  # first fine edge at or above
    below = np.maximum(index - 1, 0)
    nearer = np.abs(squares[below] - grid) < np.abs(squares[index] - grid)
    index = np.where(nearer, below, index)
    index[0] = max(int(np.searchsorted(squares, low, side="right")) - 1, 0)
    index[-1] = min(int(np.searchsorted(squares, high)), len(squares) - 1)
    return np.unique(index)


def _populated(density: Array) -> tuple[int, int]:
    """First and one-past-last bin between a turn-on and an endpoint.

    A window's edge lies on one of them where the density is below ``EDGE_SHARE`` of its maximum
    over the ``EDGE_REACH`` bins further in; smooth spectra, however steep, vary less than that.
    """
    smooth = np.convolve(np.pad(density, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return _first_populated(smooth), len(smooth) - _first_populated(smooth[::-1])


def _first_populated(density: Array) -> int:
    ahead = sliding_window_view(np.pad(density, (0, EDGE_REACH)), EDGE_REACH + 1).max(axis=1)
    populated = (density > 0) & (density >= EDGE_SHARE * ahead)
    return int(np.argmax(populated)) if populated.any() else len(density)
