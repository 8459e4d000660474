"""The mass scan: from mass spectra and a signal model to limits at every hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import hist
import numpy as np

from alp_coffea.config import Scan
from alp_coffea.errors import ConfigurationError, ModelError
from alp_coffea.physics.production import Production, Strahlung
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.limits import PointLimits, point_limits
from alp_coffea.stats.points import (
    NINE_CHOICES,
    NOMINAL,
    ORDER_CHOICES,
    BackgroundChoice,
    hypotheses,
    scan_choices,
    scan_points,
)
from alp_coffea.stats.profiling import profile_orders
from alp_coffea.stats.scan_result import (
    BANDS,
    COLUMNS,
    PROFILED,
    Row,
    ScanResult,
    WindowFit,
    window_fit,
)
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.studies import spurious_signal
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import Point

__all__ = [
    "BANDS",
    "COLUMNS",
    "NINE_CHOICES",
    "NOMINAL",
    "ORDER_CHOICES",
    "PROFILED",
    "BackgroundChoice",
    "ScanModels",
    "ScanResult",
    "WindowFit",
    "hypotheses",
    "scan",
    "scan_points",
    "window_fit",
]


class ScanModels(NamedTuple):
    """Statistical models of a scan.

    The ``nominal`` one of every mass that has one (with discrete profiling that of the best
    order), the ``limiting`` one of every mass whose observed limit another background choice
    gave, and with discrete profiling the ``profiled`` ones of all orders.
    """

    nominal: list[Point]
    limiting: list[Point]
    profiled: list[Point]


def scan(
    data: hist.Hist,
    model: SignalModel,
    settings: Scan | None = None,
    *,
    luminosity: float,
    background: hist.Hist | None = None,
    background_size: float | None = None,
    systematics: Systematics | None = None,
    production: Production | None = None,
    synthetic: bool = False,
    blinded: bool = False,
    finished: ScanResult | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep: Callable[[Sequence[Row], ScanModels], None] | None = None,
) -> tuple[ScanResult, ScanModels]:
    """Fit every mass hypothesis of the scan.

    Parameters
    ----------
    data
        Observed mass histogram with axes energy_set, definition, origin and mass.
    model
        Interpolated signal.
    settings
        Range, windows, nuisances and confidence level; default R0's. With
        ``background_choices: nine`` the limits are the weakest of nine background models, with
        ``discrete`` everything is profiled over three orders.
    luminosity
        Of the data [1/pb].
    background
        Expected background scaled to the luminosity, which tells where windows are populated and
        how much spurious signal the polynomials leave; default the data.
    background_size
        Luminosity of the background sample over that of the data; without it no spurious signal
        is computed.
    systematics
        Sizes of the nuisances; default those of the settings alone.
    production
        What turns cross sections into couplings; default e+e- -> gamma a.
    synthetic
        Whether the data are simulated, carried into labels.
    blinded
        ``data`` are the expected background: expected limits are kept, everything observed is
        left empty and the status is ``blinded``.
    finished
        An earlier result with the same input and settings, except for the range: its converged
        points are taken over and not fitted again.
    progress
        Called with (fits done, fits in all).
    keep
        Called with the rows and models of some masses as soon as they are finished.

    Returns
    -------
    The result, and the statistical models of the points that were fitted now.

    Raises ConfigurationError if spurious signals are nuisances and there is no background sample.
    """
    settings = settings or Scan()
    production = production or Strahlung(model.sqrt_s)
    systematics = systematics or Systematics(settings.nuisances)
    if systematics.settings.spurious_signal and background_size is None:
        raise ConfigurationError(
            "scan.nuisances.spurious_signal is fitted to simulated background; give a background "
            "sample of known luminosity, or leave the setting out"
        )
    observed = Spectra.of(data)
    expected = observed if background is None else Spectra.of(background)
    choices = {
        "nominal": (NOMINAL,), "nine": NINE_CHOICES, "discrete": ORDER_CHOICES
    }[settings.background_choices]  # fmt: skip
    wanted = hypotheses(model, settings)
    kept = converged(finished)
    masses = [mass for mass in wanted if mass not in kept]
    fresh: dict[float, Row] = {}
    models = ScanModels([], [], [])
    for first in range(0, len(masses), _BLOCK):
        block = masses[first : first + _BLOCK]
        built = scan_choices(
            observed,
            expected,
            model,
            settings,
            block,
            choices=choices,
            luminosity=luminosity,
            systematics=systematics,
        )
        fitted = _fits(choices, built, settings)
        rows = [
            _row(alternatives, mass, production, settings, luminosity, blinded)
            for mass, alternatives in zip(block, fitted, strict=True)
        ]
        if background_size is not None:
            nominal = [alternatives[0].point for alternatives in fitted]
            _add_spurious(rows, nominal, expected, background_size)
        made = _models(rows, fitted, built if choices is ORDER_CHOICES else [])
        if keep is not None:
            keep(rows, made)
        fresh |= {row["mass"]: row for row in rows}
        for kind, points in zip(models, made, strict=True):
            kind.extend(points)
        if progress is not None:
            progress((first + len(block)) * len(choices), len(masses) * len(choices))
    merged = tuple(fresh[mass] if mass in fresh else kept[mass] for mass in wanted)
    meta: dict[str, Any] = {"spurious_nuisance": systematics.settings.spurious_signal}
    if background_size is not None:
        meta["spurious_noise"] = background_size**-0.5
    return ScanResult(merged, model.sqrt_s, synthetic, meta), models


def _models(
    rows: Sequence[Row],
    fitted: Sequence[Sequence[_Fitted]],
    orders: Sequence[Sequence[Point | ModelError]],
) -> ScanModels:
    """Those of some masses; ``orders`` are what discrete profiling decided between."""
    nominal = [fits[0].point for fits in fitted if isinstance(fits[0].point, Point)]
    limiting = [
        fit.point
        for row, fits in zip(rows, fitted, strict=True)
        for fit in fits[1:]
        if fit.choice == row["variation"] and isinstance(fit.point, Point)
    ]
    profiled = [point for column in orders for point in column if isinstance(point, Point)]
    return ScanModels(nominal, limiting, profiled)


def converged(result: ScanResult | None) -> dict[float, Row]:
    """Rows of the converged points of a scan by mass [GeV]; none of no scan."""
    if result is None:
        return {}
    return {row["mass"]: row for row in result if row["status"] in ("ok", "blinded")}


def _fits(
    choices: Sequence[BackgroundChoice],
    built: Sequence[Sequence[Point | ModelError]],
    settings: Scan,
) -> list[list[_Fitted]]:
    """Fits and limits by mass and then choice of background; ``built`` is by choice, then mass."""
    level = settings.confidence_level
    if settings.background_choices == "discrete":
        return [[fit] for fit in _profiled(built, level)]
    good = [point.workspace for points in built for point in points if isinstance(point, Point)]
    limits = iter(point_limits(good, level=level))
    columns = [
        [
            _Fitted(choice.name, point, next(limits) if isinstance(point, Point) else None)
            for point in points
        ]
        for choice, points in zip(choices, built, strict=True)
    ]
    return [list(fits) for fits in zip(*columns, strict=True)]


def _profiled(built: Sequence[Sequence[Point | ModelError]], level: float) -> list[_Fitted]:
    """Fits and limits of all masses, profiled over the orders; ``built`` is by order, then mass."""
    masses = list(zip(*built, strict=True))
    whole = [orders for orders in masses if all(isinstance(point, Point) for point in orders)]
    columns = [[p for p in column if isinstance(p, Point)] for column in zip(*whole, strict=True)]
    found = iter(profile_orders(columns, level=level))
    fitted: list[_Fitted] = []
    for orders in masses:
        errors = [point for point in orders if isinstance(point, ModelError)]
        if errors:
            fitted.append(_Fitted(PROFILED, errors[0], None))
            continue
        result = next(found)
        fitted.append(_Fitted(PROFILED, orders[result.best], result.limits))
    return fitted


def _add_spurious(
    rows: Sequence[Row], points: Sequence[Point | ModelError], expected: Spectra, size: float
) -> None:
    templates = [
        point.window.counts(expected[point.window.definition, point.window.energy_set])
        if isinstance(point, Point)
        else None
        for point in points
    ]
    found = spurious_signal(points, templates, size=size)
    for row, sigma, significance in zip(rows, found.sigma, found.significance, strict=True):
        row |= {"spurious_sigma": _finite(sigma), "spurious_z": _finite(significance)}


#: Masses that are fitted together: enough to make the overhead of arrays vanish.
_BLOCK: Final = 50
#: Columns that a blinded scan leaves empty.
_OBSERVED: Final = (
    "n_data", "yield", "yield_error", "sigma_hat", "sigma_hat_error", "z_local", "p_local",
    "z_lowest", "gof_p", "sigma_obs", "g_obs", "parameters", "fitted",
)  # fmt: skip


@dataclass(frozen=True)
class _Fitted:
    """One mass with one choice of background: its model and limits, or why there are none."""

    choice: str
    point: Point | ModelError
    limits: PointLimits | None

    @property
    def status(self) -> str:
        return str(self.point) if self.limits is None else self.limits.status


def _row(
    alternatives: Sequence[_Fitted],
    mass: float,
    production: Production,
    settings: Scan,
    luminosity: float,
    blinded: bool,
) -> Row:
    """Fit columns of the nominal choice; limits and smallest significance over all choices."""
    nominal = alternatives[0]
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "mass": mass,
        "definition": settings.definition(mass),
        "energy_set": settings.energy_set(mass),
        "luminosity": luminosity,
        "level": settings.confidence_level,
        "variation": nominal.choice,
        "status": nominal.status,
        "note": "",
    }
    if not isinstance(nominal.point, Point) or nominal.limits is None:
        return row
    good = [fit for fit in alternatives if fit.status == "ok"]
    failed = [fit.choice for fit in alternatives if fit.status != "ok"]
    row |= _fit_columns(nominal.point, nominal.limits, luminosity)
    row |= _limit_columns(good or [nominal], mass, production, blinded)
    notes = [nominal.point.window.note, nominal.limits.note]
    if failed and good:
        notes.append(f"background choices without a limit: {', '.join(failed)}")
    row["note"] = "; ".join(note for note in notes if note)
    if blinded:
        row |= dict.fromkeys(_OBSERVED)
        row["status"] = "blinded" if nominal.status == "ok" else nominal.status
    return row


def _finite(value: float, factor: float = 1.0) -> float | None:
    return float(value * factor) if math.isfinite(value) else None


def _fit_columns(point: Point, limits: PointLimits, luminosity: float) -> Row:
    window, unit = point.window, point.unit
    per_unit = point.efficiency * luminosity * unit
    return {
        "window_low": window.low,
        "window_high": window.high,
        "efficiency": point.efficiency,
        "width": point.width,
        "background_order": window.order,
        "n_data": point.n_data,
        "yield": _finite(limits.poi_hat, per_unit),
        "yield_error": _finite(limits.poi_error, per_unit),
        "sigma_hat": _finite(limits.poi_hat, unit),
        "sigma_hat_error": _finite(limits.poi_error, unit),
        "z_local": _finite(limits.z_local),
        "p_local": _finite(limits.p_local),
        "gof_p": _finite(limits.gof_p),
        # not in the table: what a window fit needs to be drawn again
        "unit": unit,
        "edges": window.edges.tolist(),
        "parameters": dict(limits.parameters),
        "fitted": [round(content, 6) for content in limits.fitted.tolist()],
    }


def _limit_columns(
    alternatives: Sequence[_Fitted], mass: float, production: Production, blinded: bool
) -> Row:
    """The weakest observed limit, and the expected band with the weakest median."""

    def in_pb(fit: _Fitted) -> tuple[float, list[float]]:
        assert isinstance(fit.point, Point)
        assert fit.limits is not None
        unit = fit.point.unit
        return fit.limits.observed * unit, [value * unit for value in fit.limits.expected]

    limits = [in_pb(fit) for fit in alternatives]
    weakest = int(np.argmax([band[2] if blinded else observed for observed, band in limits]))
    band = max((expected for _, expected in limits), key=lambda values: values[2])
    sigma = dict(zip(("obs", *BANDS), [limits[weakest][0], *band], strict=True))
    significances = [fit.limits.z_local for fit in alternatives if fit.limits is not None]
    chosen = alternatives[weakest]
    assert isinstance(chosen.point, Point)
    row: Row = {
        "variation": chosen.choice,
        "z_lowest": min(significances),
        "limit_unit": chosen.point.unit,
    }
    for name, value in sigma.items():
        row[f"sigma_{name}"] = _finite(value)
        row[f"g_{name}"] = _finite(production.coupling(value, mass))
    return row
