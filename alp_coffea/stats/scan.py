"""The mass scan: from mass spectra and a signal model to limits at every hypothesis.

>>> from alp_coffea.stats.scan import ScanResult
>>> ScanResult.load("out/demo/scan.json")  # doctest: +SKIP
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import hist
import numpy as np
from numpy.typing import NDArray

from alp_coffea.config import Scan
from alp_coffea.errors import ModelError, UnreadableFileError
from alp_coffea.files import atomic, write_json
from alp_coffea.physics.theory import coupling_from_cross_section
from alp_coffea.stats.background import fit_window, mass_spectrum
from alp_coffea.stats.limits import PointLimits, point_limits
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.workspace import Point, build_point
from alp_coffea.tables import scan_table

Array = NDArray[np.float64]

BANDS: Final = ("exp_m2", "exp_m1", "exp", "exp_p1", "exp_p2")
#: Columns of ``scan.csv``, one row per mass hypothesis.
COLUMNS: Final = (
    "mass",
    "definition",
    "window_low",
    "window_high",
    "efficiency",
    "width",
    "background_order",
    "n_data",
    "yield",
    "yield_error",
    "sigma_hat",
    "sigma_hat_error",
    "z_local",
    "p_local",
    "sigma_obs",
    *(f"sigma_{band}" for band in BANDS),
    "g_obs",
    *(f"g_{band}" for band in BANDS),
    "gof_p",
    "energy_set",
    "luminosity",
    "level",
    "variation",
    "status",
    "note",
)
_TEXT: Final = frozenset({"definition", "energy_set", "variation", "status", "note"})

Row = dict[str, Any]


@dataclass(frozen=True)
class ScanResult:
    """Fit and limit of every mass hypothesis, in order of mass.

    Index by column name for an array (``result["sigma_obs"]``) or by position for a row.
    Masses and widths in GeV, cross sections in pb, couplings in 1/GeV, luminosity in 1/pb.
    """

    rows: tuple[Row, ...]
    sqrt_s: float
    synthetic: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> NDArray[Any]:
        if column not in COLUMNS:
            raise KeyError(f"scan has no column '{column}' (has {', '.join(COLUMNS)})")
        values = [row[column] for row in self.rows]
        if column in _TEXT:
            return np.array(values, dtype=str)
        return np.array([math.nan if value is None else value for value in values], dtype=float)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Points whose fits converged, shape (n,)."""
        return np.asarray(self["status"] == "ok")

    def __repr__(self) -> str:
        if not self.rows:
            return "ScanResult(empty)"
        failed = [row for row in self.rows if row["status"] != "ok"]
        lines = [
            f"ScanResult: {len(self)} masses from {self.rows[0]['mass']:.3f} to "
            f"{self.rows[-1]['mass']:.3f} GeV, {len(failed)} not ok"
            + (", simulation (synthetic)" if self.synthetic else "")
        ]
        z = self["z_local"]
        if np.isfinite(z).any():
            top = int(np.nanargmax(z))
            lines.append(
                f"  largest local significance {z[top]:.2f} at {self.rows[top]['mass']:.3f} GeV"
            )
        lines += [f"  {row['mass']:.3f} GeV: {row['status']}" for row in failed[:5]]
        if len(failed) > 5:
            lines.append(f"  ... and {len(failed) - 5} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        caption = repr(self).splitlines()[0].removeprefix("ScanResult: ")
        return scan_table(self.rows, caption=caption)

    def save(self, folder: Path) -> None:
        """Write ``scan.csv`` and ``scan.json`` (the same rows, with what they belong to)."""
        with (
            atomic(folder / "scan.csv") as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)
        write_json(
            {
                "format": "alp_coffea scan 1",
                "sqrt_s": self.sqrt_s,
                "synthetic": self.synthetic,
                "meta": dict(self.meta),
                "rows": list(self.rows),
            },
            folder / "scan.json",
        )

    @classmethod
    def load(cls, path: Path | str) -> ScanResult:
        """Read ``scan.json``. Raises UnreadableFileError if it is not one."""
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            rows = tuple(content["rows"])
            return cls(rows, content["sqrt_s"], content["synthetic"], content["meta"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreadableFileError(f"{path}: not a readable scan.json ({error})") from error


def hypotheses(model: SignalModel, settings: Scan) -> list[float]:
    """Masses [GeV] from ``low`` to ``high`` in steps of ``step`` peak widths (R0 sec. 7.1)."""
    masses: list[float] = []
    mass = settings.low
    while mass <= settings.high * (1 + 1e-9):
        excluded = [region for region in settings.excluded if region[0] <= mass <= region[1]]
        if not excluded:
            masses.append(mass)
        definition, energy_set = settings.definition(mass), settings.energy_set(mass)
        mass += settings.step * float(model.width(mass, definition, energy_set))
    return masses


def scan(
    data: hist.Hist,
    model: SignalModel,
    settings: Scan | None = None,
    *,
    luminosity: float,
    shape: hist.Hist | None = None,
    synthetic: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ScanResult, list[Point]]:
    """Fit every mass hypothesis of the scan.

    Parameters
    ----------
    data
        Observed mass histogram with axes energy_set, definition, origin and mass.
    model
        Interpolated signal.
    settings
        Range, windows, nuisances and confidence level; default R0's.
    luminosity
        Of the data [1/pb].
    shape
        Expected background of any normalisation, which tells where windows are populated;
        default the data.
    synthetic
        Whether the data are simulated, carried into labels.

    Returns
    -------
    The result and the statistical model of every point that has one.
    """
    settings = settings or Scan()
    shape = data if shape is None else shape
    fine_edges = data.axes["mass"].edges
    rows: dict[int, Row] = {}
    points: dict[int, Point] = {}
    masses = hypotheses(model, settings)
    for number, mass in enumerate(masses):
        definition, energy_set = settings.definition(mass), settings.energy_set(mass)
        expected = mass_spectrum(shape, definition, energy_set)
        try:
            window = fit_window(mass, settings, model, fine_edges, expected)
            counts = window.counts(mass_spectrum(data, definition, energy_set))
            points[number] = build_point(
                window, model, counts, luminosity=luminosity, nuisances=settings.nuisances
            )
        except ModelError as error:
            rows[number] = _failed_row(mass, settings, luminosity, str(error))
    level = settings.confidence_level
    fitted = point_limits([p.workspace for p in points.values()], level=level)
    for (number, point), limits in zip(points.items(), fitted, strict=True):
        rows[number] = _row(point, limits, model.sqrt_s, luminosity, level)
    if progress is not None:
        progress(len(rows), len(masses))
    ordered = tuple(rows[number] for number in sorted(rows))
    return ScanResult(ordered, model.sqrt_s, synthetic), list(points.values())


def _row(point: Point, limits: PointLimits, sqrt_s: float, luminosity: float, level: float) -> Row:
    window, unit = point.window, point.unit
    per_unit = point.efficiency * luminosity * unit

    def scaled(value: float, factor: float) -> float | None:
        return value * factor if math.isfinite(value) else None

    def coupling(sigma: float | None) -> float | None:
        if sigma is None:
            return None
        return float(coupling_from_cross_section(sigma, window.mass, sqrt_s=sqrt_s))

    expected = {
        f"sigma_{band}": scaled(value, unit)
        for band, value in zip(BANDS, limits.expected, strict=True)
    }
    sigma_obs = scaled(limits.observed, unit)
    return {
        "mass": window.mass,
        "definition": window.definition,
        "window_low": window.low,
        "window_high": window.high,
        "efficiency": point.efficiency,
        "width": point.width,
        "background_order": window.order,
        "n_data": point.n_data,
        "yield": scaled(limits.poi_hat, per_unit),
        "yield_error": scaled(limits.poi_error, per_unit),
        "sigma_hat": scaled(limits.poi_hat, unit),
        "sigma_hat_error": scaled(limits.poi_error, unit),
        "z_local": scaled(limits.z_local, 1.0),
        "p_local": scaled(limits.p_local, 1.0),
        "sigma_obs": sigma_obs,
        **expected,
        "g_obs": coupling(sigma_obs),
        **{f"g_{band}": coupling(expected[f"sigma_{band}"]) for band in BANDS},
        "gof_p": scaled(limits.gof_p, 1.0),
        "energy_set": window.energy_set,
        "luminosity": luminosity,
        "level": level,
        "variation": "nominal",
        "status": limits.status,
        "note": "; ".join(note for note in (window.note, limits.note) if note),
        # not in the table: what a window fit needs to be drawn again
        "unit": unit,
        "edges": window.edges.tolist(),
        "parameters": dict(limits.parameters),
        "fitted": [round(content, 6) for content in limits.fitted.tolist()],
    }


def _failed_row(mass: float, settings: Scan, luminosity: float, reason: str) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "mass": mass,
        "definition": settings.definition(mass),
        "energy_set": settings.energy_set(mass),
        "luminosity": luminosity,
        "level": settings.confidence_level,
        "variation": "nominal",
        "status": reason,
        "note": "",
    }
    return row


@dataclass(frozen=True)
class WindowFit:
    """Data and best-fit components in the window of one mass hypothesis.

    ``edges`` (nbins + 1,) are squared masses [GeV^2], the others (nbins,) events per bin of the
    signal + background fit with a cross section >= 0. ``z_local`` (signed) and ``sigma_hat`` [pb]
    are those of the fit that may go below.
    """

    mass: float
    definition: str
    edges: Array
    data: Array
    background: Array
    signal: Array
    z_local: float
    sigma_hat: float
    status: str
    synthetic: bool


def window_fit(row: Row, workspace: Mapping[str, Any], synthetic: bool) -> WindowFit:
    """Post-fit components of a row of a scan and its workspace.

    Raises ModelError when the row has no fit.
    """
    if row.get("fitted") is None:
        raise ModelError(f"mass {row['mass']:g} GeV has no fit: {row['status']}")
    (channel,) = workspace["channels"]
    # background samples are their templates times one factor each
    background = sum(
        row["parameters"][sample["name"]] * np.asarray(sample["data"])
        for sample in channel["samples"]
        if sample["name"] != "signal"
    )
    return WindowFit(
        mass=row["mass"],
        definition=row["definition"],
        edges=np.asarray(row["edges"]),
        data=np.asarray(workspace["observations"][0]["data"]),
        background=np.asarray(background),
        signal=np.asarray(row["fitted"]) - background,
        z_local=row["z_local"],
        sigma_hat=row["sigma_hat"],
        status=row["status"],
        synthetic=synthetic,
    )


def published_limits(path: Path | str) -> tuple[Array, Array]:
    """Mass [GeV] and coupling [1/GeV] of a published curve, shape (n,) each.

    Text in the AxionLimits form: comments with ``#``, then mass [eV] and coupling [1/GeV] per
    line. Rows with a coupling of 1 or more only close a contour and are left out.

    Raises UnreadableFileError naming the file and line.
    """
    path = Path(path)
    mass: list[float] = []
    coupling: list[float] = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        words: Sequence[str] = line.split("#")[0].split()
        if not words:
            continue
        try:
            m, g = (float(word) for word in words[:2])
        except ValueError:
            raise UnreadableFileError(
                f"{path}, line {number}: expected 'mass [eV] coupling [1/GeV]', got {line!r}"
            ) from None
        if g < 1:
            mass.append(m * 1e-9)
            coupling.append(g)
    return np.array(mass), np.array(coupling)
