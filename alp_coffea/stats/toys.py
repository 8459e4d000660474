"""Toys of the whole scan: what background alone does at all masses at once.

Events, not bins, are drawn: the three candidates of an event enter windows, definitions and
energy sets together, as they do in data. The parent is a sample of simulated background events
much larger than the data (never the data themselves), so its shape need not be a polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.significance import up_crossings
from alp_coffea.stats.workspace import POI, Point

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Toys whose fits run together; more would only need more memory.
_BATCH = 64


class ToySource:
    """Background events with the masses of their three candidates.

    Parameters
    ----------
    edges
        Edges (nbins + 1,) of the mass histogram, signed roots [GeV].
    masses
        By (definition, energy set): signed roots (n, 3) [GeV] of the candidates, NaN for events
        outside the energy set. Row i is the same event in all of them.
    weights
        Relative frequencies (n,) of the events, equal by default.

    Raises ModelError when the arrays do not have one shape (n, 3), or for negative weights.
    """

    def __init__(
        self,
        edges: Array,
        masses: Mapping[tuple[str, str], ArrayLike],
        weights: ArrayLike | None = None,
    ) -> None:
        self.edges = np.asarray(edges, float)
        shapes = {key: np.shape(values) for key, values in masses.items()}
        if len(set(shapes.values())) != 1 or any(len(s) != 2 or s[1] != 3 for s in shapes.values()):
            raise ModelError(f"toys: masses need one shape (n, 3) for all keys, got {shapes}")
        # one more bin per key takes what lies outside and events that are not in the set
        self._keys = tuple(masses)
        self._stride = len(self.edges)
        self._bins = np.stack(
            [
                self._fine_bins(np.asarray(values, float)) + i * self._stride
                for i, values in enumerate(masses.values())
            ],
            axis=1,
        )
        (self.size,) = {shape[0] for shape in shapes.values()}
        self._cumulative: Array | None = None
        self._weights = np.ones(self.size) if weights is None else np.asarray(weights, float)
        if self._weights.shape != (self.size,) or not np.all(self._weights >= 0):
            raise ModelError(
                f"toys: {self._weights.shape} weights for {self.size} events; one per event and "
                "none negative is needed"
            )
        if np.ptp(self._weights) > 0:
            self._cumulative = np.cumsum(self._weights / self._weights.sum())

    def independent(self) -> ToySource:
        """The same candidates, each one an event of its own: three times as many events.

        Shows what the correlation of an event's candidates does to a scan.
        """
        alone = copy(self)
        outside = np.arange(len(self._keys)) * self._stride + self._stride - 1
        alone._bins = np.repeat(np.tile(outside, (3 * self.size, 1))[:, :, np.newaxis], 3, axis=2)
        for i in range(3):
            alone._bins[i * self.size : (i + 1) * self.size, :, 0] = self._bins[:, :, i]
        alone.size = 3 * self.size
        alone._weights = np.tile(self._weights, 3)
        if self._cumulative is not None:
            alone._cumulative = np.cumsum(alone._weights / alone._weights.sum())
        return alone

    def _fine_bins(self, masses: Array) -> NDArray[np.int32]:
        nbins = len(self.edges) - 1
        index = np.searchsorted(self.edges, masses, side="right") - 1
        outside = ~((masses >= self.edges[0]) & (masses < self.edges[-1]))
        return np.where(outside, nbins, index).astype(np.int32)

    def draw(self, generator: np.random.Generator, mean: float) -> Spectra:
        """Spectra of one toy: a Poisson number of events around ``mean``, with replacement."""
        number = generator.poisson(mean)
        if self._cumulative is None:
            events = generator.integers(self.size, size=number)
        else:
            events = np.searchsorted(self._cumulative, generator.random(number), side="right")
            events = np.minimum(events, self.size - 1)
        return self._spectra(self._bins.take(events, axis=0).ravel())

    def spectra(self, scale: float = 1.0) -> Spectra:
        """All events with their weights, times a scale factor: the parent of the toys."""
        return self._spectra(
            self._bins.ravel(), np.repeat(scale * self._weights, 3 * len(self._keys))
        )

    def _spectra(self, bins: NDArray[np.int32], weights: Array | None = None) -> Spectra:
        counts = np.bincount(bins, weights, minlength=len(self._keys) * self._stride)
        rows = counts.astype(float).reshape(len(self._keys), self._stride)[:, :-1]
        return Spectra(self.edges, dict(zip(self._keys, rows, strict=True)))


@dataclass(frozen=True)
class ToyScans:
    """Signed local significances of background-only toy scans.

    ``z`` is (toys, n), NaN where a fit failed; ``failed`` counts those.
    """

    masses: Array
    z: Array
    failed: int

    @property
    def maxima(self) -> Array:
        """Largest local significance of each toy, (toys,)."""
        return np.asarray(np.nanmax(self.z, axis=1))

    def crossings(self, level: float) -> int:
        """Up-crossings of a level, summed over toys."""
        return sum(up_crossings(row, level) for row in self.z)


def toy_scans(
    points: Sequence[Point],
    source: ToySource,
    *,
    mean: float,
    toys: int,
    seed: int,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ToyScans:
    """Scan background-only toys with the models of a scan.

    Parameters
    ----------
    points
        Models of the scan, in order of mass.
    mean
        Expected number of background events in the data (events, not candidates).
    toys, seed
        Toy ``i`` of a seed is the same whatever their number.
    progress
        Called with (toys done, toys in all).
    """
    fits = engine.compile([_shapes_only(point.workspace) for point in points], poi=POI)
    windows = _Windows(points)
    z = np.empty((toys, len(points)))
    for first in range(0, toys, _BATCH):
        last = min(first + _BATCH, toys)
        data = np.zeros((last - first, *windows.shape))
        for toy in range(first, last):
            windows.fill(data[toy - first], source.draw(np.random.default_rng([seed, toy]), mean))
        result = fits.fit_toys(data, threads=threads)
        z[first:last] = np.where(result.ok, result.z, np.nan)
        if progress is not None:
            progress(last, toys)
    masses = np.array([point.window.mass for point in points])
    return ToyScans(masses, z, int(np.count_nonzero(np.isnan(z))))


def _shapes_only(workspace: dict[str, Any]) -> dict[str, Any]:
    """A workspace without what only scales the signal.

    Its significance is the same: a factor on the signal's yield is absorbed by the free cross
    section and changes nothing without a signal, so that its nuisance stays where its constraint
    wants it. Half as many parameters are fitted.
    """
    (channel,) = workspace["channels"]
    samples = [
        {**sample, "modifiers": [m for m in sample["modifiers"] if m["type"] != "normsys"]}
        for sample in channel["samples"]
    ]
    return {**workspace, "channels": [{**channel, "samples": samples}]}


class _Windows:
    """Counts of all windows (points, bins) from a toy's spectra, through one table of edges."""

    def __init__(self, points: Sequence[Point]) -> None:
        sizes = np.array([len(point.window.index) for point in points])
        self.shape = (len(points), int(sizes.max()) - 1)
        self._parts: list[tuple[tuple[str, str], Index, Index, Index]] = []
        keys = {(p.window.definition, p.window.energy_set): None for p in points}
        for key in keys:
            rows = [
                i for i, p in enumerate(points) if (p.window.definition, p.window.energy_set) == key
            ]
            edges = np.concatenate([points[i].window.index for i in rows])
            # differences of neighbours, except from one window's last edge to the next one's first
            ends = np.cumsum(sizes[rows])
            inside = np.delete(np.arange(len(edges) - 1), ends[:-1] - 1)
            place = np.concatenate([i * self.shape[1] + np.arange(sizes[i] - 1) for i in rows])
            self._parts.append((key, edges, inside, place))

    def fill(self, rows: Array, spectra: Spectra) -> None:
        """Write counts into ``rows`` (points, bins)."""
        flat = rows.reshape(-1)
        for key, edges, inside, place in self._parts:
            cumulative = np.concatenate(([0.0], np.cumsum(spectra[key])))
            flat[place] = np.diff(cumulative[edges])[inside]
