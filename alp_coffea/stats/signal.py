"""Signal peaks: fits at the simulated masses, interpolation between them.

The fit variable is the squared mass m^2 [GeV^2] (R0 ch. 7); the peak is a Crystal Ball function
whose power tail lies below the peak for the diphoton mass (energy leaks out of the calorimeter)
and above it for the recoil mass (a recoil photon measured too low looks like a heavier ALP).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import hist
import numpy as np
from iminuit import Minuit
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator, make_smoothing_spline
from scipy.stats import chi2 as chi2_distribution

from alp_coffea.errors import ModelError
from alp_coffea.physics.kinematics import signed_square
from alp_coffea.stats.shapes import crystal_ball
from alp_coffea.tables import signal_table

Array = NDArray[np.float64]

#: Side of the power tail: the sign of the Crystal Ball's alpha.
TAIL_SIDE: Final[Mapping[str, int]] = {"diphoton": +1, "recoil": -1, "fit": +1}
#: A peak with fewer truth-matched candidates is not fitted.
MINIMUM_CANDIDATES: Final = 200


@dataclass(frozen=True)
class PeakFit:
    """Crystal Ball fit to the truth-matched candidates at one simulated mass.

    ``mass`` [GeV]; ``mu`` and ``sigma`` with errors [GeV^2]; ``alpha`` is positive, the side of
    the tail follows from the definition; ``n`` without error was fixed; ``efficiency`` is
    selected true candidates per signal event at the Born cross section.
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

    @property
    def width(self) -> float:
        """Resolution in mass, sigma(m^2) / 2m [GeV]."""
        return self.sigma / (2 * self.mass)

    @property
    def p_value(self) -> float:
        """Probability of a chi^2 at least as large."""
        return float(chi2_distribution.sf(self.chi2, self.ndf))


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


def fit_signal(
    samples: Iterable[SignalSample],
    *,
    sqrt_s: float,
    definitions: Mapping[str, float],
    progress: Callable[[int, int], None] | None = None,
) -> SignalModel:
    """Fit every (mass, definition, energy set) and return the interpolating model.

    Parameters
    ----------
    samples
        Simulated masses, in any order.
    sqrt_s
        Centre-of-mass energy [GeV].
    definitions
        Definitions to fit and the smallest mass [GeV] at which each makes sense.
    progress
        Called with (fits done, fits in all).

    Raises
    ------
    ModelError
        If fewer than two masses could be fitted for a definition.
    """
    peaks = [
        peak
        for sample in sorted(samples, key=lambda s: s.mass)
        for definition, low in definitions.items()
        if sample.mass >= low
        for energy_set in sample.histogram.axes["energy_set"]
        if (peak := _Peak.of(sample, definition, energy_set, sqrt_s)) is not None
    ]
    fits: list[PeakFit] = []
    for definition in definitions:
        for energy_set in {p.energy_set: None for p in peaks}:
            group = [p for p in peaks if (p.definition, p.energy_set) == (definition, energy_set)]
            powers = _smooth_powers([peak.fit() for peak in group])
            for peak in group:
                fits.append(peak.fit(n=powers(peak.sample.mass)))
                if progress is not None:
                    progress(len(fits), len(peaks))
    return SignalModel(tuple(fits), sqrt_s)


def _smooth_powers(fits: list[PeakFit]) -> Callable[[float], float]:
    """The tail's power as a smooth function of mass.

    alpha and n are nearly degenerate: with n smooth in mass, alpha is too.
    """
    good = [fit for fit in fits if fit.converged]
    if len(good) < 2:
        return lambda _: good[0].n if good else 3.0
    curve = _Curve(
        "log n",
        [fit.mass for fit in good],
        [math.log(fit.n) for fit in good],
        [max(fit.n_error / fit.n, 1e-3) for fit in good],
    )
    low, high = good[0].mass, good[-1].mass
    return lambda mass: max(math.exp(float(curve(min(max(mass, low), high)))), 1.05)


@dataclass
class _Peak:
    """Binned m^2 distribution of the true candidates at one mass."""

    sample: SignalSample
    definition: str
    energy_set: str
    sqrt_s: float
    edges: Array  # GeV^2
    counts: Array  # effective numbers of entries
    centre: float
    spread: float
    total: float
    efficiency: float
    efficiency_error: float

    @classmethod
    def of(
        cls, sample: SignalSample, definition: str, energy_set: str, sqrt_s: float
    ) -> _Peak | None:
        if "true" not in list(sample.histogram.axes["origin"]):
            return None
        spectrum = sample.histogram[
            {"energy_set": energy_set, "definition": definition, "origin": "true"}
        ]
        values, variances = spectrum.values(flow=True), spectrum.variances(flow=True)
        sum_w, sum_w2 = float(values.sum()), float(variances.sum())
        if sum_w <= 0 or sum_w**2 / sum_w2 < MINIMUM_CANDIDATES:
            return None
        per_event = 1 / (sample.cross_section * sample.luminosity)
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
            sqrt_s,
            edges=fine_edges[index],
            counts=np.diff(np.concatenate(([0.0], np.cumsum(fine)))[index]),
            centre=centre,
            spread=spread,
            total=sum_w,
            efficiency=sum_w * per_event,
            efficiency_error=math.sqrt(sum_w2) * per_event,
        )

    def fit(self, n: float | None = None) -> PeakFit:
        """Binned likelihood fit (multinomial in the fit range); ``n`` fixes the tail's power."""
        side = TAIL_SIDE[self.definition]
        total = self.counts.sum()
        filled = self.counts > 0

        def shape(mu: float, sigma: float, alpha: float, power: float) -> Array:
            fractions = crystal_ball(self.edges, mu, sigma, side * alpha, power)
            return np.asarray(fractions / fractions.sum())

        def deviance(mu: float, sigma: float, alpha: float, power: float) -> float:
            expected = total * shape(mu, sigma, alpha, power)
            ratio = np.log(self.counts[filled] / np.maximum(expected[filled], 1e-300))
            return float(2 * (self.counts[filled] * ratio).sum())

        minuit = Minuit(
            deviance, mu=self.centre, sigma=self.spread, alpha=1.2, power=3.0 if n is None else n
        )
        minuit.errordef = Minuit.LEAST_SQUARES  # a deviance is twice a log-likelihood
        minuit.limits["sigma"] = (0.1 * self.spread, 5 * self.spread)
        minuit.limits["alpha"] = (0.1, 6.0)
        minuit.limits["power"] = (1.05, 60.0)
        minuit.fixed["power"] = n is not None
        minuit.strategy = 1
        minuit.migrad(ncall=5000)
        if not minuit.valid:
            minuit.simplex().migrad(ncall=5000)
        value, error = minuit.values, minuit.errors
        chi2, bins = _chi2(self.counts, total * shape(*minuit.values))
        return PeakFit(
            mass=self.sample.mass,
            definition=self.definition,
            energy_set=self.energy_set,
            candidates=self.total,
            mu=value["mu"],
            mu_error=error["mu"],
            sigma=value["sigma"],
            sigma_error=error["sigma"],
            alpha=value["alpha"],
            alpha_error=error["alpha"],
            n=value["power"],
            n_error=error["power"] if n is None else 0.0,
            chi2=chi2,
            ndf=max(bins - 1 - (3 if n is not None else 4), 1),
            efficiency=self.efficiency,
            efficiency_error=self.efficiency_error,
            converged=bool(minuit.valid),
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


def _chi2(observed: Array, expected: Array) -> tuple[float, int]:
    """Pearson chi^2 and number of bins, neighbours merged until each expects five entries."""
    cumulative = np.concatenate(([0.0], np.cumsum(expected)))
    cuts = np.searchsorted(cumulative, np.arange(5.0, cumulative[-1] - 5.0, 5.0))
    cuts = np.unique(np.concatenate(([0], cuts)))
    o, e = np.add.reduceat(observed, cuts), np.add.reduceat(expected, cuts)
    return float((((o - e) ** 2) / e).sum()), len(o)


class _Curve:
    """A quantity as a smooth function of mass, between its first and last point."""

    def __init__(self, name: str, mass: ArrayLike, value: ArrayLike, error: ArrayLike) -> None:
        self.name = name
        self.mass, order = np.unique(np.asarray(mass, float), return_index=True)
        y, e = np.asarray(value, float)[order], np.asarray(error, float)[order]
        if len(self.mass) < 2:
            raise ModelError(
                f"signal model: {name} is known at {len(self.mass)} masses; at least two simulated "
                "masses are needed to interpolate"
            )
        self._x = np.log(self.mass)
        if len(self.mass) >= 6 and np.all(e > 0):
            # smoothness by generalised cross-validation (Woltring 1986), weighted by the errors
            self._interpolate: Any = make_smoothing_spline(self._x, y, w=1 / e**2)
        else:
            self._interpolate = PchipInterpolator(self._x, y)

    def __call__(self, mass: ArrayLike) -> Array:
        mass = np.asarray(mass, float)
        low, high = self.mass[0], self.mass[-1]
        outside = (mass < low * (1 - 1e-9)) | (mass > high * (1 + 1e-9))
        if np.any(outside):
            bad = float(np.atleast_1d(mass)[np.atleast_1d(outside)][0])
            raise ModelError(
                f"signal model: {self.name} asked at {bad:g} GeV, but it is simulated from "
                f"{low:g} to {high:g} GeV and is never extrapolated; shrink the scan range or "
                "simulate more masses"
            )
        return np.asarray(self._interpolate(np.clip(np.log(mass), self._x[0], self._x[-1])))


@dataclass(frozen=True)
class SignalModel:
    """Peak shapes and efficiencies, interpolated in mass and never extrapolated.

    Methods take masses [GeV], scalars or arrays, and raise ModelError outside the simulated range.
    """

    fits: tuple[PeakFit, ...]
    sqrt_s: float

    def of(self, definition: str, energy_set: str) -> list[PeakFit]:
        """Converged fits of one definition and energy set, sorted by mass."""
        return [
            fit
            for fit in self.fits
            if (fit.definition, fit.energy_set) == (definition, energy_set) and fit.converged
        ]

    @cached_property
    def _built(self) -> dict[tuple[str, str], dict[str, _Curve]]:
        return {}

    def _group_curves(self, definition: str, energy_set: str) -> dict[str, _Curve]:
        fits = self.of(definition, energy_set)
        mass = [fit.mass for fit in fits]

        def curve(name: str, value: list[float], error: list[float]) -> _Curve:
            return _Curve(f"{name} ({definition}, {energy_set})", mass, value, error)

        return {
            "sigma": curve(
                "log sigma",
                [math.log(f.sigma) for f in fits],
                [f.sigma_error / f.sigma for f in fits],
            ),
            "shift": curve(
                "peak shift",
                [(f.mu - f.mass**2) / f.sigma for f in fits],
                [f.mu_error / f.sigma for f in fits],
            ),
            "alpha": curve("alpha", [f.alpha for f in fits], [f.alpha_error for f in fits]),
            # smooth already: see fit_signal
            "n": curve("n", [f.n for f in fits], [0.0] * len(fits)),
            "efficiency": curve(
                "efficiency", [f.efficiency for f in fits], [f.efficiency_error for f in fits]
            ),
        }

    def _curve(self, definition: str, energy_set: str, name: str) -> _Curve:
        """One curve; a group's are built when first asked for, so that a definition with a
        single mass does not stand in the way of the others."""
        key = (definition, energy_set)
        groups = {(fit.definition, fit.energy_set): None for fit in self.fits}
        if key not in groups:
            known = ", ".join(f"{d}/{e}" for d, e in groups) or "nothing"
            raise ModelError(f"signal model: no fits for {definition}/{energy_set} (has {known})")
        if key not in self._built:
            self._built[key] = self._group_curves(*key)
        return self._built[key][name]

    def sigma(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Crystal Ball sigma in m^2 [GeV^2]."""
        return np.asarray(np.exp(self._curve(definition, energy_set, "sigma")(mass)))

    def width(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Resolution in mass, sigma(m^2) / 2m [GeV]."""
        return np.asarray(self.sigma(mass, definition, energy_set) / (2 * np.asarray(mass, float)))

    def mu(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Peak position in m^2 [GeV^2]."""
        shift = self._curve(definition, energy_set, "shift")(mass)
        sigma = self.sigma(mass, definition, energy_set)
        return np.asarray(np.asarray(mass, float) ** 2 + shift * sigma)

    def alpha(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Distance of the tail from the peak, in widths."""
        return np.asarray(self._curve(definition, energy_set, "alpha")(mass))

    def n(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Power of the tail."""
        return np.asarray(self._curve(definition, energy_set, "n")(mass))

    def efficiency(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Selected true candidates per signal event at the Born cross section."""
        return np.asarray(self._curve(definition, energy_set, "efficiency")(mass))

    def template(
        self,
        edges: ArrayLike,
        mass: float,
        definition: str,
        energy_set: str,
        *,
        width_scale: float = 1.0,
    ) -> Array:
        """Fraction of the true candidates in each m^2 bin; ``edges`` [GeV^2], shape (nbins + 1,).

        ``width_scale`` stretches sigma, for resolution uncertainties.
        """
        return np.asarray(
            crystal_ball(
                edges,
                self.mu(mass, definition, energy_set),
                width_scale * self.sigma(mass, definition, energy_set),
                TAIL_SIDE[definition] * self.alpha(mass, definition, energy_set),
                self.n(mass, definition, energy_set),
            )
        )

    def _repr_html_(self) -> str:
        return signal_table(self.fits)

    def save(self, path: Path) -> None:
        """Write ``signal_model.json``."""
        rows = [{**asdict(fit), "width": fit.width, "p_value": fit.p_value} for fit in self.fits]
        content = {"format": "alp_coffea signal model 1", "sqrt_s": self.sqrt_s, "fits": rows}
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> SignalModel:
        """Read ``signal_model.json``."""
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        derived = ("width", "p_value")
        fits = tuple(
            PeakFit(**{key: value for key, value in row.items() if key not in derived})
            for row in content["fits"]
        )
        return cls(fits, content["sqrt_s"])
