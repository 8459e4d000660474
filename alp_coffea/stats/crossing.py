"""Where the two mass definitions exclude equally well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alp_coffea.config import Definition, Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.scan import scan_points
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.workspace import POI, Point

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """Median expected limits [pb] of both definitions at common ``masses`` [GeV], and ``mass``,
    where the recoil one becomes the stronger for good (None if it never does)."""

    masses: Array
    diphoton: Array
    recoil: Array
    mass: float | None


def expected_crossing(
    background: Spectra,
    model: SignalModel,
    settings: Scan,
    *,
    luminosity: float,
    low: float = 5.0,
    high: float = 9.5,
    points: int = 46,
) -> Crossing:
    """Compare the definitions on the expected background (R0 sec. 7.1.3).

    ``background`` is scaled to the luminosity [1/pb]; masses in GeV. The source sets the
    transition below this crossing, to stay clear of a region where the diphoton background
    model leaves a spurious signal.
    """
    masses = np.linspace(low, high, points)
    limits = {
        definition: _expected(background, model, settings, masses, definition, luminosity)
        for definition in ("diphoton", "recoil")
    }
    ratio = np.log(limits["diphoton"] / limits["recoil"])
    return Crossing(masses, limits["diphoton"], limits["recoil"], _last_root(masses, ratio))


def _expected(
    background: Spectra,
    model: SignalModel,
    settings: Scan,
    masses: Array,
    definition: Definition,
    luminosity: float,
) -> Array:
    built = scan_points(
        background,
        background,
        model,
        settings,
        list(masses),
        luminosity=luminosity,
        definition=definition,
    )
    values = np.full(len(masses), np.nan)
    good = [i for i, point in enumerate(built) if not isinstance(point, ModelError)]
    usable = [point for point in built if isinstance(point, Point)]
    if usable:
        limits = engine.compile([point.workspace for point in usable], poi=POI).limits(
            settings.confidence_level, observed=False
        )
        units = np.array([point.unit for point in usable])
        values[good] = np.where(limits.ok, limits.expected[:, 2] * units, np.nan)
    return values


def _last_root(x: Array, y: Array) -> float | None:
    """Last upward zero crossing of y(x) by linear interpolation; NaN left out."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    up = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not len(up):
        return None
    i = up[-1]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))
