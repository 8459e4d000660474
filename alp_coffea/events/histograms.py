"""The histograms that processors share: masses in fine bins, and selection variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import hist
import numpy as np
from boost_histogram.accumulators import WeightedSum
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Variable:
    """How a quantity of events, photons or candidates is histogrammed; ``quantity`` is the
    attribute of :class:`alp_coffea.events.candidates.PhotonTriples` that it shows."""

    quantity: str
    bins: int
    low: float
    high: float
    label: str

    def axis(
        self, name: str = "x", cuts: Mapping[str, Sequence[float]] | None = None
    ) -> hist.axis.Regular:
        """The axis. It carries ``cuts``, thresholds by energy set, as ``__dict__["cuts"]``, which
        histograms keep through merging and files."""
        axis = hist.axis.Regular(self.bins, self.low, self.high, name=name, label=self.label)
        if cuts:
            axis.__dict__["cuts"] = {key: list(values) for key, values in cuts.items()}
        return axis


#: Bins of every mass histogram: 1 MeV in the signed root of the squared mass, sign(m^2) sqrt|m^2|
#: [GeV], wide enough for any recoil mass. Fit windows are exact unions of these bins.
MASS = Variable("mass", 15_000, -4.0, 11.0, r"sign($m^2$) $\sqrt{|m^2|}$ [GeV]")


def category(name: str, values: Sequence[str]) -> hist.axis.StrCategory:
    """An axis of names that does not grow, so that histograms of all chunks are alike."""
    return hist.axis.StrCategory(list(values), name=name)


def mass_histogram(
    energy_sets: Sequence[str],
    origins: Sequence[str],
    definitions: Sequence[str] = ("diphoton", "recoil"),
) -> hist.Hist:
    """Candidates by energy set, mass definition, origin and mass: what a scan starts from."""
    return hist.Hist(
        category("energy_set", energy_sets),
        category("definition", definitions),
        category("origin", origins),
        MASS.axis("mass"),
        storage="weight",
    )


def variable_histogram(
    variable: Variable,
    energy_sets: Sequence[str],
    against: Variable | None = None,
    *,
    cuts: Sequence[Mapping[str, Sequence[float]]] = ({}, {}),
) -> hist.Hist:
    """One variable for several energy sets, on the axis x; a second one on the axis y.

    ``cuts`` are the thresholds on each of them that figures draw, see :meth:`Variable.axis`.
    """
    axes = [variable.axis(cuts=cuts[0])]
    if against is not None:
        axes.append(against.axis("y", cuts[1]))
    return hist.Hist(category("energy_set", energy_sets), *axes, storage="weight")


def fill_x(
    histogram: hist.Hist, x: ArrayLike, weight: ArrayLike, y: ArrayLike | None = None, **where: str
) -> None:
    """Fill axis x (and y) with one value per event (n,), or several (n, k) sharing its weight."""
    x = np.asarray(x)
    if x.ndim == 2:
        weight = np.repeat(weight, x.shape[1])
    columns = {"x": x.ravel()} | ({} if y is None else {"y": np.asarray(y).ravel()})
    histogram.fill(**columns, weight=weight, **where)


def variation_histograms(
    names: Sequence[str],
    energy_sets: Sequence[str],
    mass: float | None,
    definitions: Sequence[str] = ("diphoton", "recoil"),
) -> dict[str, hist.Hist]:
    """What is kept of systematic variations.

    ``variations`` holds selected events. With the ``mass`` [GeV] of a signal sample,
    ``true_mass_variations`` holds the masses of its true candidates within 1 GeV of it, in 4 MeV
    bins; the rest is in the overflow, so that its sums are all of them.
    """
    shared = (category("variation", names), category("energy_set", energy_sets))
    histograms = {"variations": hist.Hist(*shared, storage="weight")}
    if mass is not None:
        histograms["true_mass_variations"] = hist.Hist(
            *shared,
            category("definition", definitions),
            hist.axis.Regular(500, mass - 1, mass + 1, name="mass", label="signed root [GeV]"),
            storage="weight",
        )
    return histograms


def set_sum(histogram: hist.Hist, weight: ArrayLike, **where: str) -> None:
    """Set the one bin at ``where`` to events of weights (n,), on axes of names only."""
    weight = np.asarray(weight)
    histogram[where] = WeightedSum(weight.sum(), np.square(weight).sum())
