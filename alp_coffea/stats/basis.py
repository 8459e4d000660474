"""What non-negative Bernstein coefficients cost against a polynomial of any shape, mass by mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alp_coffea.config import Scan
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.scan import scan_points
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.studies import spurious_signal
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import POI, Point

Array = NDArray[np.float64]

_COEFFICIENTS = ("non_negative", "free")


@dataclass(frozen=True)
class BasisComparison:
    """Both bases at one mass [GeV], same order and window.

    ``delta_nll`` is -ln L of the background-only fit with non-negative coefficients minus that
    with free ones (0 or more), ``at_zero`` counts coefficients at their bound. The others are
    pairs (non-negative, free): ``spurious_z`` the signal fitted to the background simulation over
    its error at the data's luminosity, ``expected`` and ``observed`` the limits [pb].
    """

    mass: float
    definition: str
    order: int
    delta_nll: float
    at_zero: int
    spurious_z: tuple[float, float]
    expected: tuple[float, float]
    observed: tuple[float, float]


def compare_bases(
    data: Spectra,
    background: Spectra,
    model: SignalModel,
    settings: Scan,
    masses: Sequence[float],
    *,
    luminosity: float,
    background_size: float,
    systematics: Systematics | None = None,
) -> list[BasisComparison]:
    """Fit every mass [GeV] with both bases, in the nominal window and order.

    Parameters
    ----------
    data, background
        Observed spectra, and the expected ones at the data's luminosity.
    luminosity
        Of the data [1/pb].
    background_size
        Luminosity of the background sample over that of the data.

    Masses that either basis cannot be fitted at are left out.
    """
    columns = [
        scan_points(
            data,
            background,
            model,
            settings.model_copy(update={"background_coefficients": coefficients}),
            masses,
            luminosity=luminosity,
            systematics=systematics,
        )
        for coefficients in _COEFFICIENTS
    ]
    pairs = [pair for pair in zip(*columns, strict=True) if all(isinstance(p, Point) for p in pair)]
    if not pairs:
        return []
    nll, zeros, spurious, limits, good = [], [], [], [], np.ones(len(pairs), bool)
    for column in zip(*pairs, strict=True):
        points = [point for point in column if isinstance(point, Point)]
        fits = engine.compile([point.workspace for point in points], poi=POI)
        null = fits.fit(poi=np.zeros(len(points)))
        found = fits.limits(settings.confidence_level)
        good &= null.ok & found.ok
        nll.append(null.twice_nll / 2)
        zeros.append([_at_zero(null, i) for i in range(len(points))])
        templates = [
            p.window.counts(background[p.window.definition, p.window.energy_set]) for p in points
        ]
        spurious.append(spurious_signal(points, templates, size=background_size).significance)
        units = np.array([point.unit for point in points])
        limits.append((found.expected[:, 2] * units, found.observed * units))
    rows = []
    for i, (point, _) in enumerate(pairs):
        if good[i] and isinstance(point, Point):
            rows.append(
                BasisComparison(
                    mass=point.window.mass,
                    definition=point.window.definition,
                    order=point.window.order,
                    delta_nll=float(nll[0][i] - nll[1][i]),
                    at_zero=zeros[0][i],
                    spurious_z=(float(spurious[0][i]), float(spurious[1][i])),
                    expected=(float(limits[0][0][i]), float(limits[1][0][i])),
                    observed=(float(limits[0][1][i]), float(limits[1][1][i])),
                )
            )
    return rows


def _at_zero(fit: engine.FitResult, i: int) -> int:
    return sum(
        name.startswith("background") and value <= 0
        for name, value in zip(fit.names[i], fit.values[i], strict=True)
    )
