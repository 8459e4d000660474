"""The other candidates of signal events, which are no peak (R0 sec. 7.2.2).

Every event has three candidates, of which one is the ALP. Where the other two fall into the
window they move with the cross section, too: part of the signal, in the shape of a kernel density
estimate. Between simulated masses the distribution is morphed: equal quantiles move linearly
with mass (A. L. Read, Nucl. Instrum. Meth. A425 (1999) 357), the yield likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import PhysicsError
from alp_coffea.physics.kinematics import signed_square
from alp_coffea.stats.peaks import MINIMUM_CANDIDATES, SignalSample
from alp_coffea.stats.shapes import kde

Array = NDArray[np.float64]

#: Smaller shares of the peak's yield in the window are left out (R0 sec. 7.2.2).
SMALLEST_SHARE: Final = 0.01
#: Smoothing of the kernel estimate (R0 sec. 7.2.2).
SMOOTHING: Final = 1.5
#: Steps of probability in which a distribution is kept.
QUANTILES: Final = 400
#: Candidates that a kernel estimate is made from, at most.
_MOST: Final = 5000
#: Edges at which a kernel estimate, much smoother than a bin, is kept for all bins of a window.
_NODES: Final = 64


@dataclass(frozen=True)
class Combinatorial:
    """Combinatorial candidates at one simulated mass [GeV].

    ``per_event`` is candidates per signal event at the reference cross section, ``entries`` their
    effective number and ``quantiles`` [GeV^2] their squared masses at equal steps of probability.
    """

    mass: float
    definition: str
    energy_set: str
    per_event: float
    entries: float
    quantiles: tuple[float, ...]


def combinatorial_shape(
    sample: SignalSample, definition: str, energy_set: str
) -> Combinatorial | None:
    """From the histogram of a signal sample; None when there are too few for a shape."""
    if "combinatorial" not in list(sample.histogram.axes["origin"]):
        return None
    spectrum = sample.histogram[
        {"energy_set": energy_set, "definition": definition, "origin": "combinatorial"}
    ]
    values, variances = spectrum.values(), spectrum.variances()
    total = float(values.sum())
    if total <= 0 or total**2 / float(variances.sum()) < MINIMUM_CANDIDATES:
        return None
    cumulative = np.concatenate(([0.0], np.cumsum(values))) / total
    steps = np.linspace(0.0, 1.0, QUANTILES + 1)
    rising = np.concatenate(([True], np.diff(cumulative) > 0))
    # the first of several edges at zero has no entry above it yet
    rising[0] = False
    rising[np.argmax(cumulative > 0) - 1] = True
    squares = signed_square(spectrum.axes[0].edges)
    at = np.interp(steps, cumulative[rising], squares[rising])
    return Combinatorial(
        sample.mass,
        definition,
        energy_set,
        per_event=total / sample.events,
        entries=total**2 / float(variances.sum()),
        quantiles=tuple(float(f"{value:.6g}") for value in at),
    )


class CombinatorialModel:
    """Combinatorial candidates of one definition and energy set between simulated masses.

    Parameters
    ----------
    shapes
        In any order. Masses without one have too few candidates to matter.
    masses
        All simulated masses [GeV]: at those without a shape the yield is zero.
    """

    def __init__(self, shapes: Sequence[Combinatorial], masses: Sequence[float]) -> None:
        self._by_mass = {shape.mass: shape for shape in shapes}
        self._masses = np.unique(np.asarray(masses, float))
        self._kept: dict[tuple[float, float, float], Array] = {}

    def expected(
        self, edges: ArrayLike, mass: float, region: tuple[float, float], peak: float
    ) -> Array | None:
        """Candidates per signal event in each bin, or None where they do not matter.

        Parameters
        ----------
        edges
            Of the window's bins [GeV^2], shape (nbins + 1,).
        mass
            Hypothesis [GeV].
        region
            Range [GeV^2] of the kernel estimate, mirrored at its ends; covers the edges.
        peak
            Candidates of the peak per signal event. Fewer than 1 % of it in the bins are left out.
        """
        edges = np.asarray(edges, float)
        blended = self._blended(mass)
        if blended is None:
            return None
        per_event, entries, quantiles = blended
        probability = np.linspace(0, 1, len(quantiles))
        inside = np.diff(np.interp([edges[0], edges[-1]], quantiles, probability))[0]
        if per_event * inside < SMALLEST_SHARE * peak:
            return None
        key = (mass, *region)
        if key not in self._kept:
            self._kept[key] = _cumulative(quantiles, entries, region)
        nodes = np.linspace(*region, _NODES + 1)
        share = np.diff(np.interp(edges, nodes, self._kept[key]))
        return np.asarray(per_event * share)

    def _blended(self, mass: float) -> tuple[float, float, Array] | None:
        """Yield per event, effective entries and quantiles between the neighbouring masses."""
        above = int(np.clip(np.searchsorted(self._masses, mass), 1, len(self._masses) - 1))
        low, high = self._masses[above - 1], self._masses[above]
        share = float(np.clip((mass - low) / (high - low), 0, 1))
        pairs = [
            (weight, self._by_mass[m])
            for weight, m in ((1 - share, float(low)), (share, float(high)))
            if m in self._by_mass and weight > 0
        ]
        if not pairs:
            return None
        total = sum(weight for weight, _ in pairs)
        quantiles = sum(weight * np.array(shape.quantiles) for weight, shape in pairs) / total
        per_event = sum(weight * shape.per_event for weight, shape in pairs)
        entries = sum(weight * shape.entries for weight, shape in pairs) / total
        return per_event, entries, np.asarray(quantiles)


def _cumulative(quantiles: Array, entries: float, region: tuple[float, float]) -> Array:
    """Cumulative kernel estimate at the nodes of a region, as a share of all candidates."""
    number = int(min(entries, _MOST))
    probability = (np.arange(number) + 0.5) / number
    squares = np.interp(probability, np.linspace(0, 1, len(quantiles)), quantiles)
    inside = (squares >= region[0]) & (squares <= region[1])
    if np.count_nonzero(inside) < 2:
        return np.zeros(_NODES + 1)
    nodes = np.linspace(*region, _NODES + 1)
    try:
        fractions = kde(nodes, squares, rho=SMOOTHING, mirror="both")
    except PhysicsError:  # all inside at one place: nothing to smooth
        return np.zeros(_NODES + 1)
    return np.asarray(np.concatenate(([0.0], np.cumsum(fractions))) * inside.mean())


def from_json(rows: Sequence[dict[str, Any]]) -> tuple[Combinatorial, ...]:
    """What ``dataclasses.asdict`` made, read back."""
    return tuple(Combinatorial(**{**row, "quantiles": tuple(row["quantiles"])}) for row in rows)
