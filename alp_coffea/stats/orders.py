"""Order and window of the background polynomial: what the data ask for.

Background-only fits of several orders and windows at every mass. R0 sec. 7.3 takes the
combination whose reduced chi^2 is closest to one and smooth in mass; an F-test or a likelihood
ratio says at each mass whether one order more is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import f as f_distribution

from alp_coffea.config import Definition, Nuisances, Scan, Windows
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.goodness import merged_bins, pearson
from alp_coffea.stats.scan import BackgroundChoice, scan_points
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import POI, Point

Array = NDArray[np.float64]

_NO_NUISANCES = Systematics(Nuisances(luminosity=0, efficiency=(), width=0))


@dataclass(frozen=True)
class OrderFit:
    """Background-only fit of one mass [GeV], window and order.

    ``left`` and ``right`` are the window in peak widths before clipping. ``chi2`` is Pearson's
    over bins merged to five expected events, the same bins for all orders; ``p`` its
    probability. ``f_p`` and ``likelihood_p`` are the probabilities of a larger improvement over
    the order before if that one were enough (NaN for the lowest order): F(1, ndf), and
    chi^2(1) of the likelihood ratio, which is the better one for few events. Both are
    conservative where a coefficient sits at a bound. ``ok`` is False when the fit failed.
    """

    mass: float
    definition: Definition
    left: float
    right: float
    order: int
    chi2: float
    ndf: int
    p: float
    deviance: float
    f_p: float
    likelihood_p: float
    ok: bool

    @property
    def reduced(self) -> float:
        """chi^2 per degree of freedom."""
        return self.chi2 / self.ndf


def order_fits(
    data: Spectra,
    shape: Spectra,
    model: SignalModel,
    settings: Scan,
    masses: Sequence[float],
    *,
    luminosity: float,
    orders: Sequence[int] = (1, 2, 3, 4, 5, 6, 7),
    widen: Sequence[float] = (0.0,),
    definition: Definition | None = None,
) -> list[OrderFit]:
    """Fit the background of every mass [GeV] with every order, in every window.

    Parameters
    ----------
    data, shape
        Spectra that are fitted, and the expected ones that tell where windows are populated.
    luminosity
        Of the data [1/pb].
    orders
        Consecutive, ascending.
    widen
        Added to the settings' windows on both sides [peak widths].
    definition
        Used at all masses instead of the one that the settings give.

    Masses without a usable window are left out.
    """
    fits: list[OrderFit] = []
    for extra in widen:
        points, results = [], []
        for order in orders:
            built = scan_points(
                data,
                shape,
                model,
                _with_order(settings, order),
                masses,
                luminosity=luminosity,
                choice=BackgroundChoice(widen=extra),
                definition=definition,
                systematics=_NO_NUISANCES,
            )
            points = [point for point in built if isinstance(point, Point)]
            if points:
                fit = engine.compile([p.workspace for p in points], poi=POI)
                results.append(fit.fit(poi=np.zeros(len(points))))
        for i, point in enumerate(points):
            row = settings.window(point.window.mass, point.window.definition)
            fits += _of_one_window(point, row.left + extra, row.right + extra, orders, results, i)
    return sorted(fits, key=lambda fit: (fit.mass, fit.left, fit.order))


def _with_order(settings: Scan, order: int) -> Scan:
    windows = {
        name: tuple(row.model_copy(update={"order": order}) for row in rows)
        for name, rows in settings.windows
    }
    return settings.model_copy(update={"windows": Windows(**windows)})


def _of_one_window(
    point: Point,
    left: float,
    right: float,
    orders: Sequence[int],
    results: Sequence[engine.FitResult],
    i: int,
) -> list[OrderFit]:
    observed = np.asarray(point.workspace["observations"][0]["data"], float)
    starts = merged_bins(results[-1].expected[i])
    fits: list[OrderFit] = []
    for order, result in zip(orders, results, strict=True):
        chi2, bins = pearson(observed, result.expected[i], starts)
        ndf = bins - order - 1
        before = fits[-1] if fits else None
        f_p = likelihood_p = np.nan
        if before is not None and ndf > 0:
            gain = max(before.chi2 - chi2, 0.0)
            f_p = float(f_distribution.sf(gain / (chi2 / ndf), 1, ndf)) if chi2 > 0 else np.nan
            drop = max(before.deviance - float(result.twice_nll[i]), 0.0)
            likelihood_p = float(chi2_distribution.sf(drop, 1))
        fits.append(
            OrderFit(
                mass=point.window.mass,
                definition=point.window.definition,
                left=left,
                right=right,
                order=order,
                chi2=chi2,
                ndf=max(ndf, 1),
                p=float(chi2_distribution.sf(chi2, ndf)) if ndf > 0 else np.nan,
                deviance=float(result.twice_nll[i]),
                f_p=f_p,
                likelihood_p=likelihood_p,
                ok=bool(result.ok[i]) and ndf > 0,
            )
        )
    return fits


def sufficient_order(fits: Sequence[OrderFit], level: float = 0.05, *, test: str = "f_p") -> int:
    """Smallest order of one mass and window after which no order more is needed.

    Orders are raised from the lowest one until the next does not improve the fit at ``level``
    (``test``: ``f_p`` or ``likelihood_p``).
    """
    ordered = sorted(fits, key=lambda fit: fit.order)
    for fit, following in pairwise(ordered):
        if not getattr(following, test) < level:
            return fit.order
    return ordered[-1].order


@dataclass(frozen=True)
class Combination:
    """How well one order and window describes a range of masses.

    ``distance`` is the root mean square of (reduced chi^2 - 1) over masses, ``mean`` its mean
    plus one and ``roughness`` the root mean square of its steps from mass to mass; ``masses``
    counts those with a fit.
    """

    definition: Definition
    order: int
    left: float
    right: float
    distance: float
    mean: float
    roughness: float
    masses: int
    fits: tuple[OrderFit, ...] = field(repr=False)


def combinations(fits: Sequence[OrderFit]) -> list[Combination]:
    """All combinations of order and window, the one that R0 sec. 7.3 would choose first.

    By ``distance`` from a reduced chi^2 of one over all masses of ``fits``, to which a trend that
    is not smooth adds; combinations without a fit at some mass come last. Call it once per
    region that shall have one combination.
    """
    groups: dict[tuple[Definition, int, float, float], list[OrderFit]] = {}
    for fit in fits:
        if fit.ok:
            groups.setdefault((fit.definition, fit.order, fit.left, fit.right), []).append(fit)
    found = []
    for key, members in groups.items():
        reduced = np.array([fit.reduced for fit in sorted(members, key=lambda fit: fit.mass)])
        steps = np.diff(reduced)
        found.append(
            Combination(
                *key,
                distance=float(np.sqrt(np.mean((reduced - 1) ** 2))),
                mean=float(reduced.mean()),
                roughness=float(np.sqrt(np.mean(steps**2))) if len(steps) else 0.0,
                masses=len(reduced),
                fits=tuple(members),
            )
        )
    return sorted(found, key=lambda c: (-c.masses, c.distance))
