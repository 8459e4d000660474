"""Fits of the peak of truth-matched candidates at one simulated mass.

The fit variable is the squared mass m^2 [GeV^2] (R0 ch. 7). The main power tail lies below the
peak for the diphoton mass (energy leaks out of the calorimeter) and above it for the recoil mass
(a recoil photon measured too low looks like a heavier ALP).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import hist
import numpy as np
from iminuit import Minuit
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2 as chi2_distribution

from alp_coffea.physics.kinematics import signed_square
from alp_coffea.stats.goodness import merged_bins, pearson
from alp_coffea.stats.shapes import crystal_ball, generalised_crystal_ball

Array = NDArray[np.float64]

#: Crystal Ball (R0 sec. 7.2.1); with a second power tail (R1 eq. 8.1); with two core widths, too.
Shape = Literal["crystal_ball", "double_sided", "generalised"]
SHAPES: Final[tuple[str, ...]] = get_args(Shape)
#: Side of the main power tail: the sign of the Crystal Ball's alpha.
TAIL_SIDE: Final[Mapping[str, int]] = {"diphoton": +1, "recoil": -1, "fit": +1}
#: A peak with fewer truth-matched candidates is not fitted.
MINIMUM_CANDIDATES: Final = 200
#: Powers of tails that are fitted; a larger one is a Gaussian for all there is to see.
POWERS: Final = (1.05, 60.0)
#: Parameters that float in each shape, the main tail's first.
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "crystal_ball": ("mu", "sigma", "alpha", "n"),
    "double_sided": ("mu", "sigma", "alpha", "n", "alpha_2", "n_2"),
    "generalised": ("mu", "sigma", "alpha", "n", "alpha_2", "n_2", "ratio"),
}


def peak_fractions(
    edges: ArrayLike,
    side: int,
    mu: ArrayLike,
    sigma: ArrayLike,
    alpha: ArrayLike,
    n: ArrayLike,
    alpha_2: ArrayLike = math.inf,
    n_2: ArrayLike = 2.0,
    ratio: ArrayLike = 1.0,
) -> Array:
    """Fraction of a peak in each m^2 bin; ``edges`` [GeV^2], shape (nbins + 1,).

    ``side`` is +1 for a main tail below the peak and -1 for one above. ``alpha`` > 0 and ``n``
    belong to that tail, ``alpha_2`` (infinite: none) and ``n_2`` to the other, and ``ratio`` is
    the core width on the other side over ``sigma``.
    """
    if np.all(np.isinf(alpha_2)) and np.all(np.equal(ratio, 1.0)):
        return crystal_ball(edges, mu, sigma, side * np.asarray(alpha), n)
    main = (sigma, alpha, n)
    other = (np.asarray(ratio) * np.asarray(sigma), alpha_2, n_2)
    low, high = (main, other) if side > 0 else (other, main)
    return generalised_crystal_ball(edges, mu, *low, *high)


@dataclass(frozen=True)
class PeakFit:
    """Fit to the truth-matched candidates at one simulated mass.

    ``mass`` [GeV]; ``mu`` and ``sigma`` with errors [GeV^2]; ``alpha`` is positive, the side of
    the tail follows from the definition; ``n`` without error was fixed; ``efficiency`` is
    selected true candidates per signal event at the Born cross section. The second tail
    (``alpha_2``, ``n_2``) and the ratio of core widths belong to the other side; a Crystal Ball
    has none (``alpha_2`` is None) and a ratio of one.
    """

    mass: float
    definition: str
    energy_set: str
    candidates: float
    mu: float
    mu_error: float
    sigma: float
    sigma_error: float
    alpha: float
    alpha_error: float
    n: float
    n_error: float
    chi2: float
    ndf: int
    efficiency: float
    efficiency_error: float
    converged: bool
    shape: Shape = "crystal_ball"
    alpha_2: float | None = None
    alpha_2_error: float = 0.0
    n_2: float = 2.0
    n_2_error: float = 0.0
    ratio: float = 1.0
    ratio_error: float = 0.0

    @property
    def width(self) -> float:
        """Resolution in mass, sigma(m^2) / 2m [GeV]."""
        return self.sigma / (2 * self.mass)

    @property
    def p_value(self) -> float:
        """Probability of a chi^2 at least as large."""
        return float(chi2_distribution.sf(self.chi2, self.ndf))

    def fractions(self, edges: ArrayLike) -> Array:
        """Fraction of the peak in each m^2 bin; ``edges`` [GeV^2], shape (nbins + 1,)."""
        return peak_fractions(
            edges,
            TAIL_SIDE[self.definition],
            self.mu,
            self.sigma,
            self.alpha,
            self.n,
            math.inf if self.alpha_2 is None else self.alpha_2,
            self.n_2,
            self.ratio,
        )


@dataclass(frozen=True)
class SignalSample:
    """What the model needs of one simulated mass.

    ``histogram`` has the axes energy_set, definition, origin and mass; ``luminosity`` [1/pb] is
    the sample's equivalent luminosity; efficiencies, and with them limits, refer to
    ``cross_section`` [pb] of the same signal.
    """

    mass: float
    cross_section: float
    luminosity: float
    histogram: hist.Hist

    @property
    def events(self) -> float:
        """Signal events at the cross section that the weights stand for."""
        return self.cross_section * self.luminosity


@dataclass
class Peak:
    """Binned m^2 distribution of the true candidates at one mass, ready to be fitted.

    ``edges`` [GeV^2] (nbins + 1,), ``counts`` (nbins,) effective numbers of entries, ``total`` and
    ``efficiency`` of all true candidates, inside the bins or not.
    """

    sample: SignalSample
    definition: str
    energy_set: str
    edges: Array
    counts: Array
    centre: float
    spread: float
    total: float
    efficiency: float
    efficiency_error: float

    @classmethod
    def of(cls, sample: SignalSample, definition: str, energy_set: str) -> Peak | None:
        """None with fewer than ``MINIMUM_CANDIDATES`` true candidates."""
        if "true" not in list(sample.histogram.axes["origin"]):
            return None
        spectrum = sample.histogram[
            {"energy_set": energy_set, "definition": definition, "origin": "true"}
        ]
        values, variances = spectrum.values(flow=True), spectrum.variances(flow=True)
        sum_w, sum_w2 = float(values.sum()), float(variances.sum())
        if sum_w <= 0 or sum_w**2 / sum_w2 < MINIMUM_CANDIDATES:
            return None
        per_event = 1 / sample.events
        fine_edges = signed_square(spectrum.axes[0].edges)
        fine = spectrum.values() * (sum_w / sum_w2)
        low, centre, high = _quantiles(fine_edges, fine, (0.1587, 0.5, 0.8413))
        spread = (high - low) / 2
        # far into the tail side, three widths into the Gaussian side
        tail, core = 12 * spread, 5 * spread
        below, above = (tail, core) if TAIL_SIDE[definition] > 0 else (core, tail)
        index = _snapped_groups(fine_edges, centre - below, centre + above, spread / 4)
        return cls(
            sample,
            definition,
            energy_set,
            edges=fine_edges[index],
            counts=np.diff(np.concatenate(([0.0], np.cumsum(fine)))[index]),
            centre=centre,
            spread=spread,
            total=sum_w,
            efficiency=sum_w * per_event,
            efficiency_error=math.sqrt(sum_w2) * per_event,
        )

    def fit(
        self, shape: Shape = "crystal_ball", *, powers: tuple[float, float] | None = None
    ) -> PeakFit:
        """Binned likelihood fit (multinomial in the fit range).

        ``powers`` fixes those of the main and of the other tail.
        """
        side = TAIL_SIDE[self.definition]
        total = self.counts.sum()
        filled = self.counts > 0
        names = _PARAMETERS[shape]

        def fractions(*values: float) -> Array:
            inside = peak_fractions(self.edges, side, *values)
            # a step of the minimiser far outside leaves nothing: a deviance without end, not NaN
            return np.asarray(inside / max(inside.sum(), 1e-300))

        def deviance(*values: float) -> float:
            expected = total * fractions(*values)
            ratio = np.log(self.counts[filled] / np.maximum(expected[filled], 1e-300))
            return float(2 * (self.counts[filled] * ratio).sum())

        power, power_2 = powers or (3.0, 5.0)
        start = {
            "mu": self.centre, "sigma": self.spread, "alpha": 1.2, "n": power,
            "alpha_2": 2.0, "n_2": power_2, "ratio": 1.0,
        }  # fmt: skip
        minuit = Minuit(deviance, *(start[name] for name in names), name=names)
        minuit.errordef = Minuit.LEAST_SQUARES  # a deviance is twice a log-likelihood
        limits = {
            "sigma": (0.1 * self.spread, 5 * self.spread),
            "alpha": (0.1, 6.0),
            "n": POWERS,
            "alpha_2": (0.1, 6.0),
            "n_2": POWERS,
            "ratio": (0.2, 5.0),
        }
        for name in names[1:]:
            minuit.limits[name] = limits[name]
        fixed = [name for name in ("n", "n_2") if name in names] if powers is not None else []
        for name in fixed:
            minuit.fixed[name] = True
        minuit.strategy = 1
        minuit.migrad(ncall=5000)
        if not minuit.valid:
            minuit.simplex().migrad(ncall=5000)
        fitted: dict[str, Any] = {}
        for name in names:
            fitted[name] = minuit.values[name]
            fitted[f"{name}_error"] = 0.0 if name in fixed else minuit.errors[name]
        expected = total * fractions(*minuit.values)
        chi2, bins = pearson(self.counts, expected, merged_bins(expected))
        return PeakFit(
            mass=self.sample.mass,
            definition=self.definition,
            energy_set=self.energy_set,
            candidates=self.total,
            chi2=chi2,
            ndf=max(bins - 1 - (len(names) - len(fixed)), 1),
            efficiency=self.efficiency,
            efficiency_error=self.efficiency_error,
            converged=bool(minuit.valid),
            shape=shape,
            **fitted,
        )


def _quantiles(edges: Array, counts: Array, probabilities: tuple[float, ...]) -> list[float]:
    cumulative = np.concatenate(([0.0], np.cumsum(counts)))
    wanted = np.array(probabilities) * cumulative[-1]
    return [float(x) for x in np.interp(wanted, cumulative, edges)]


def _snapped_groups(edges: Array, low: float, high: float, step: float) -> NDArray[np.intp]:
    """Indices of the fine edges nearest to a uniform grid from ``low`` to ``high``."""
    grid = np.arange(low, high + step / 2, step)
    index = np.clip(np.searchsorted(edges, grid), 0, len(edges) - 1)
    return np.unique(index)
