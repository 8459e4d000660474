"""Does the model do what it says? Bias, coverage and spurious signal of the scan's fits.

All three start from the points of a scan (``scan_points``) and use the compiled engine. Toys are
Poisson counts in the bins of one window; the scan-wide toys of ``alp_coffea.stats.toys`` keep
correlations between windows. Cross sections in pb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import kstest, norm

from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.workspace import POI, SPURIOUS, Point

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BiasStudy:
    """Pulls of the fitted cross section per (mass, injection), arrays (masses, injections).

    ``injected`` is in units of ``expected``, the median expected limit [pb] of each mass.
    ``likelihood_*`` are of sign(fit - injected) sqrt(2 dNLL), ``classical_*`` of (fit - injected)
    over the error from the Hessian. ``background_per_sigma`` (masses,) is the expected background
    in one peak width, below which ten makes both non-Gaussian. ``fitted`` is the mean fitted cross
    section [pb]. ``failed`` counts toys whose fit did not converge or ended at the edge of the
    domain; they are left out.
    """

    masses: Array
    injected: Array
    expected: Array
    likelihood_mean: Array
    likelihood_width: Array
    classical_mean: Array
    classical_width: Array
    fitted: Array
    background_per_sigma: Array
    failed: NDArray[np.int64]
    toys: int

    @property
    def linearity(self) -> tuple[Array, Array]:
        """Slope of fitted against injected cross section, and the fit without a signal in units of
        the expected limit, from a straight line per mass: one and zero without bias, (masses,)."""
        in_limits = self.fitted / self.expected[:, np.newaxis]
        line = np.polynomial.polynomial.polyfit(self.injected, in_limits.T, 1)
        return line[1], line[0]


def bias_study(
    points: Sequence[Point],
    parents: Sequence[ArrayLike],
    *,
    injected: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    toys: int = 250,
    seed: int = 0,
    level: float = 0.95,
) -> BiasStudy:
    """Inject signals into toys of a background parent and fit them (R0 sec. 7.4).

    Parameters
    ----------
    points
        Models, best without nuisances: toys do not vary the auxiliary measurements.
    parents
        Expected background in the bins of each window, at the data's luminosity.
    injected
        Signal strengths in units of each mass's median expected limit.
    """
    masses = np.array([point.window.mass for point in points])
    fits = engine.compile([point.workspace for point in points], poi=POI)
    limits = fits.limits(level, list(parents), observed=False).expected[:, 2]
    bins = max(len(np.asarray(parent)) for parent in parents)
    shape = (len(points), len(injected))
    values = {name: np.full(shape, np.nan) for name in ("lm", "lw", "cm", "cw", "mean")}
    failed = np.zeros(shape, np.int64)
    for column, strength in enumerate(injected):
        data = np.zeros((toys, len(points), bins))
        for row, (point, parent) in enumerate(zip(points, parents, strict=True)):
            mean = np.asarray(parent) + strength * limits[row] * signal_template(point)
            generator = np.random.default_rng([seed, column, row])
            data[:, row, : len(mean)] = generator.poisson(mean, (toys, len(mean)))
        result = fits.fit_toys(data, poi=strength * limits)
        # at the edge of the domain the minimum is not a minimum: neither pull has a meaning
        good = result.ok & (result.status & int(engine.Status.AT_EDGE) == 0)
        failed[:, column] = toys - good.sum(axis=0)
        classical = (result.poi - strength * limits) / result.poi_error
        for name, pull in (("l", result.z), ("c", classical)):
            kept = np.where(good, pull, np.nan)
            values[name + "m"][:, column] = np.nanmean(kept, axis=0)
            values[name + "w"][:, column] = np.nanstd(kept, axis=0, ddof=1)
        values["mean"][:, column] = np.nanmean(np.where(good, result.poi, np.nan), axis=0)
    units = np.array([point.unit for point in points])
    return BiasStudy(
        masses=masses,
        injected=np.asarray(injected, float),
        expected=limits * units,
        likelihood_mean=values["lm"],
        likelihood_width=values["lw"],
        classical_mean=values["cm"],
        classical_width=values["cw"],
        fitted=values["mean"] * units[:, np.newaxis],
        background_per_sigma=np.array(
            [_per_sigma(point, parent) for point, parent in zip(points, parents, strict=True)]
        ),
        failed=failed,
        toys=toys,
    )


@dataclass(frozen=True)
class NullToys:
    """Local significances of toys without a signal, per mass [GeV], arrays (masses,).

    ``ks_p`` is the Kolmogorov-Smirnov probability that the p-values Phi(-z) are uniform, ``mean``
    and ``width`` are those of z. ``failed`` counts toys without a fit.
    """

    masses: Array
    ks_p: Array
    mean: Array
    width: Array
    failed: NDArray[np.int64]
    toys: int


def null_toys(
    points: Sequence[Point], parents: Sequence[ArrayLike], *, toys: int = 1000, seed: int = 0
) -> NullToys:
    """Are local p-values uniform when there is only background?

    Parameters as in :func:`bias_study`. Parents that the polynomial can describe show what the
    fit does; from others the mean significance is the spurious signal.
    """
    fits = engine.compile([point.workspace for point in points], poi=POI)
    bins = max(len(np.asarray(parent)) for parent in parents)
    data = np.zeros((toys, len(points), bins))
    for row, parent in enumerate(parents):
        mean = np.asarray(parent, float)
        generator = np.random.default_rng([seed, row])
        data[:, row, : len(mean)] = generator.poisson(mean, (toys, len(mean)))
    result = fits.fit_toys(data)
    z = [result.z[result.ok[:, i], i] for i in range(len(points))]
    return NullToys(
        masses=np.array([point.window.mass for point in points]),
        ks_p=np.array([kstest(norm.sf(values), "uniform").pvalue for values in z]),
        mean=np.array([values.mean() for values in z]),
        width=np.array([values.std(ddof=1) for values in z]),
        failed=toys - result.ok.sum(axis=0),
        toys=toys,
    )


def signal_template(point: Point) -> Array:
    """Expected signal in the bins of a point at a parameter of interest of one, shape (nbins,)."""
    (channel,) = point.workspace["channels"]
    (signal,) = (sample for sample in channel["samples"] if sample["name"] == "signal")
    return np.asarray(signal["data"], float)


def _per_sigma(point: Point, parent: ArrayLike) -> float:
    """Background in one peak width at the peak; bins are about half a width."""
    edges, mu = point.window.edges, point.window.mass**2
    sigma = 2 * point.window.mass * point.width
    cumulative = np.concatenate(([0.0], np.cumsum(parent)))
    low, high = np.interp([mu - sigma / 2, mu + sigma / 2], edges, cumulative)
    return float(high - low)


@dataclass(frozen=True)
class Coverage:
    """Share of toys whose observed limit is not below the true signal, (masses, strengths).

    ``cls`` and ``cls_expectation`` are for the CLs limit and its asymptotic expectation
    (it over-covers by design), ``cl_sb`` for the plain CL_{s+b} limit; ``error`` is the binomial
    error of ``cls``. Strengths are in units of the median expected limit.
    """

    masses: Array
    strengths: Array
    cls: Array
    cls_expectation: Array
    cl_sb: Array
    error: Array
    failed: NDArray[np.int64]
    toys: int


def coverage(
    points: Sequence[Point],
    parents: Sequence[ArrayLike],
    *,
    strengths: Sequence[float] = (0.5, 1.0, 1.4, 2.0),
    toys: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Coverage:
    """Coverage of the limits at signals around the median expected limit.

    Parameters as in :func:`bias_study`.
    """
    shape = (len(points), len(strengths))
    cls, cl_sb, expectation = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    failed = np.zeros(shape, np.int64)
    for row, (point, parent) in enumerate(zip(points, parents, strict=True)):
        copies = engine.compile([point.workspace] * toys, poi=POI)
        one = engine.compile([point.workspace], poi=POI)
        median = float(one.limits(level, [np.asarray(parent)], observed=False).expected[0, 2])
        for column, strength in enumerate(strengths):
            true = strength * median
            mean = np.asarray(parent) + true * signal_template(point)
            generator = np.random.default_rng([seed, row, column])
            data = generator.poisson(mean, (toys, len(mean))).astype(float)
            limits = copies.limits(level, list(data), expected=False)
            signed = one.fit_toys(data[:, np.newaxis, :], poi=true)
            good = limits.ok & signed.ok[:, 0]
            failed[row, column] = toys - int(good.sum())
            cls[row, column] = np.mean(limits.observed[good] >= true)
            # excluded at CL_{s+b} when the fit lies below by more than the one-sided quantile;
            # z = sign(fit - true) sqrt(q)
            cl_sb[row, column] = np.mean(signed.z[good, 0] > -norm.isf(1 - level))
            expectation[row, column] = cls_coverage(_separation(one, mean), level)
    return Coverage(
        masses=np.array([point.window.mass for point in points]),
        strengths=np.asarray(strengths, float),
        cls=cls,
        cls_expectation=expectation,
        cl_sb=cl_sb,
        error=np.sqrt(np.maximum(cls * (1 - cls), 1 / toys) / toys),
        failed=failed,
        toys=toys,
    )


def _separation(fits: engine.Engine, mean: Array) -> float:
    """Signal in units of its error: sqrt(q) between the truth and no signal, from its mean."""
    return abs(float(fits.fit_toys(mean[np.newaxis, np.newaxis, :], poi=0.0).z[0, 0]))


def cls_coverage(t: float, level: float) -> float:
    """Asymptotic coverage of a CLs limit for a signal of ``t`` errors.

    1 - alpha Phi(x) where Phi(x - t) = alpha Phi(x): the limit excludes the truth when the
    estimate falls below it by more than t - x errors.
    """
    alpha = 1 - level
    if t <= 0:
        return 1.0

    def excess(x: float) -> float:
        # in logarithms: for small t the solution lies far below zero, where Phi underflows
        return float(norm.logcdf(x - t) - np.log(alpha) - norm.logcdf(x))

    x = brentq(excess, -1e3 / t, t + 40.0)
    return float(1 - alpha * norm.cdf(x))


@dataclass(frozen=True)
class SpuriousSignal:
    """Signal fitted where there is none, per point, arrays (n,).

    ``sigma`` [pb] is fitted to a background-only template scaled to the data's luminosity and
    ``significance`` is that over the error at the data's luminosity; ``noise`` is the error that
    the finite size of the template leaves on ``significance``.
    """

    masses: Array
    sigma: Array
    significance: Array
    noise: float
    status: list[str]


def spurious_signal(
    points: Sequence[Point | ModelError], templates: Sequence[Any], *, size: float = np.inf
) -> SpuriousSignal:
    """Fit a background-only template that has no statistical fluctuations worth speaking of.

    Without the nuisance of the spurious signal, if there is one. Raises ModelError unless size is
    positive.

    Parameters
    ----------
    points
        Models; points without one get NaN and their reason.
    templates
        Expected background in the bins of each point's window at the data's luminosity.
    size
        Luminosity of the template's sample over that of the data: 100 leaves a noise of 0.1, a
        smooth parent (default) none.
    """
    if not size > 0:
        raise ModelError(f"spurious_signal: size = {size} must be positive")
    good = [i for i, point in enumerate(points) if isinstance(point, Point)]
    models = [point for point in points if isinstance(point, Point)]
    shape = len(points)
    sigma, significance = np.full(shape, np.nan), np.full(shape, np.nan)
    status = [str(point) if isinstance(point, ModelError) else "" for point in points]
    if models:
        fits = engine.compile([_without_spurious(point.workspace) for point in models], poi=POI)
        found = fits.q0([np.asarray(templates[i]) for i in good])
        units = np.array([point.unit for point in models])
        sigma[good] = found.poi * units
        significance[good] = found.poi / found.poi_error
        for i, words in zip(good, engine.status_words(found.status), strict=True):
            status[i] = words
    masses = np.array(
        [point.window.mass if isinstance(point, Point) else np.nan for point in points]
    )
    return SpuriousSignal(masses, sigma, significance, float(1 / np.sqrt(size)), status)


def _without_spurious(workspace: dict[str, Any]) -> dict[str, Any]:
    (channel,) = workspace["channels"]
    samples = [sample for sample in channel["samples"] if sample["name"] != SPURIOUS]
    return {**workspace, "channels": [{**channel, "samples": samples}]}
