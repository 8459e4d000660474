"""Data against expectation: chi^2 and Kolmogorov-Smirnov of histograms, and yields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstwobign

from alp_coffea.errors import ModelError
from alp_coffea.physics.kinematics import signed_square

Array = NDArray[np.float64]

#: Neighbouring bins are merged until each expects so many entries.
MINIMUM_EXPECTED: Final = 5.0
#: Candidates of one event: a yield of N candidates fluctuates like sqrt(3 N) (R0 table 7.3
#: counts candidates and prints sqrt(N)).
CANDIDATES_PER_EVENT: Final = 3


@dataclass(frozen=True)
class Agreement:
    """How well counts agree with an expectation, normalisation included in ``chi2`` only.

    ``ks`` is the largest distance of the cumulative distributions; binned, so its probability
    ``ks_p`` is conservative. Probabilities hold for independent entries: of variables with
    several entries per event they come out too small.
    """

    chi2: float
    ndf: int
    ks: float
    ks_p: float

    @property
    def p(self) -> float:
        """Probability of a chi^2 at least as large; NaN without bins."""
        return float(chi2_distribution.sf(self.chi2, self.ndf)) if self.ndf else math.nan


def agreement(counts: ArrayLike, expected: ArrayLike, variance: ArrayLike) -> Agreement:
    """Compare observed counts (n,) with an expectation and its statistical variance (n,).

    chi^2 = sum (n - e)^2 / (e + variance), neighbours merged until each bin expects five; the
    distance is tested with the effective number of entries n1 n2 / (n1 + n2) of both samples.

    Raises ModelError if the shapes differ or nothing is expected.
    """
    n, e, v = (np.asarray(a, dtype=np.float64) for a in (counts, expected, variance))
    if not n.shape == e.shape == v.shape or n.ndim != 1:
        raise ModelError(f"agreement: shapes {n.shape}, {e.shape}, {v.shape} must be one (n,)")
    if not e.sum() > 0:
        raise ModelError("agreement: nothing is expected")
    starts = _merged(e)
    merged = [np.add.reduceat(a, starts) for a in (n, e, v)]
    chi2 = float(((merged[0] - merged[1]) ** 2 / (merged[1] + merged[2])).sum())
    if n.sum() <= 0:
        return Agreement(chi2, len(starts), math.nan, math.nan)
    distance = float(np.abs(np.cumsum(n) / n.sum() - np.cumsum(e) / e.sum()).max())
    simulated = e.sum() ** 2 / v.sum() if v.sum() > 0 else math.inf
    effective = n.sum() / (1 + n.sum() / simulated)
    return Agreement(chi2, len(starts), distance, float(kstwobign.sf(distance * effective**0.5)))


def _merged(expected: Array) -> NDArray[np.intp]:
    """First bins of groups that expect at least ``MINIMUM_EXPECTED``, the rest in the last."""
    starts, total = [0], 0.0
    for position, value in enumerate(expected):
        if total >= MINIMUM_EXPECTED:
            starts.append(position)
            total = 0.0
        total += value
    if total < MINIMUM_EXPECTED and len(starts) > 1:
        starts.pop()
    return np.array(starts, dtype=np.intp)


@dataclass(frozen=True)
class Yield:
    """Candidates in data and simulation, one line of R0 table 7.3."""

    energy_set: str
    region: str
    data: float
    simulation: float
    simulation_error: float

    @property
    def data_error(self) -> float:
        """sqrt(3 N): candidates come in threes."""
        return math.sqrt(CANDIDATES_PER_EVENT * self.data)

    @property
    def ratio(self) -> float:
        """Data over simulation; NaN where nothing is expected."""
        return self.data / self.simulation if self.simulation else math.nan

    @property
    def ratio_error(self) -> float:
        """Of :attr:`ratio`, both errors in quadrature; NaN for no data."""
        if not self.data or not self.simulation:
            return math.nan
        return self.ratio * math.hypot(
            self.data_error / self.data, self.simulation_error / self.simulation
        )


def yields(data: hist.Hist, simulation: hist.Hist, above: Sequence[float] = (1.0,)) -> list[Yield]:
    """Candidates of the whole range and above squared diphoton masses [GeV^2], by energy set.

    Both are mass histograms, the simulation scaled to the data. A threshold acts at the nearest
    bin edge.
    """
    rows = []
    for energy_set in data.axes["energy_set"]:
        where = {"energy_set": energy_set, "definition": 0}
        observed, expected = (h[where].project("mass") for h in (data, simulation))
        squares = signed_square(observed.axes[0].edges)
        regions = {"all": 0} | {
            f"m2 > {cut:g}": int(np.argmin(np.abs(squares - cut))) + 1 for cut in above
        }
        for region, first in regions.items():
            n, e = (float(h.values(flow=True)[first:].sum()) for h in (observed, expected))
            variance = float(expected.variances(flow=True)[first:].sum())
            error = math.sqrt(CANDIDATES_PER_EVENT * variance)
            rows.append(Yield(energy_set, region, n, e, error))
    return rows
