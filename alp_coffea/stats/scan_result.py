"""What a mass scan found: one row per hypothesis, with its health, in documented files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ModelError, UnreadableFileError
from alp_coffea.files import atomic, write_json
from alp_coffea.stats.significance import GlobalP, from_up_crossings, up_crossings
from alp_coffea.stats.workspace import SPURIOUS as SPURIOUS_SIGNAL
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
    "z_lowest",
    "sigma_obs",
    *(f"sigma_{band}" for band in BANDS),
    "g_obs",
    *(f"g_{band}" for band in BANDS),
    "gof_p",
    "spurious_sigma",
    "spurious_z",
    "energy_set",
    "luminosity",
    "level",
    "variation",
    "status",
    "note",
)
#: The ``variation`` of limits that are profiled over the order of the background.
PROFILED: Final = "profiled"
#: Fitted signals without a signal above this many standard errors are worth a warning.
SPURIOUS: Final = 0.5
#: Masses this close to a change of definitions, relative, are near it.
NEARBY: Final = 0.1
_TEXT: Final = frozenset({"definition", "energy_set", "variation", "status", "note"})

#: Key of the parquet file's metadata.
_ABOUT: Final = b"alp_coffea"

Row = dict[str, Any]


@dataclass(frozen=True)
class Excess:
    """A ``mass`` [GeV], its local significance ``z`` and the global p-value of that."""

    mass: float
    z: float
    global_p: GlobalP


@dataclass(frozen=True)
class PointComparison:
    """One scan over another at a ``mass`` [GeV]: ratios of limits, NaN where either has none, and
    the difference of signed local significances."""

    mass: float
    sigma_exp: float
    sigma_obs: float
    g_exp: float
    g_obs: float
    z_change: float


def _ratio(value: float | None, reference: float) -> float:
    return math.nan if value is None else value / reference


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

    def between(self, low: float, high: float) -> ScanResult:
        """The hypotheses from ``low`` to ``high`` [GeV], both included."""
        rows = tuple(row for row in self.rows if low <= row["mass"] <= high)
        return replace(self, rows=rows)

    def compared(self, other: ScanResult) -> list[PointComparison]:
        """This scan against another one, at the masses of this one that the other covers.

        Values of the other are interpolated logarithmically between its converged neighbours, so
        that scans with different steps can be compared.
        """
        columns = ("sigma_exp", "sigma_obs", "g_exp", "g_obs")
        usable = other.ok | (other["status"] == "blinded")
        theirs = other["mass"][usable]
        rows: list[PointComparison] = []
        if not len(theirs):
            return rows
        values = {name: np.log(other[name][usable]) for name in columns}
        z = other["z_local"][usable]
        for row in self.rows:
            mass = row["mass"]
            if row["status"] not in ("ok", "blinded") or not theirs[0] <= mass <= theirs[-1]:
                continue
            ratios = {
                name: _ratio(row[name], float(np.exp(np.interp(mass, theirs, values[name]))))
                for name in columns
            }
            ours = math.nan if row["z_local"] is None else row["z_local"]
            change = ours - float(np.interp(mass, theirs, z))
            rows.append(PointComparison(mass, **ratios, z_change=change))
        return rows

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Points whose fits converged, shape (n,)."""
        return np.asarray(self["status"] == "ok")

    def largest_excess(self, level: float = 0.5) -> Excess | None:
        """The point of largest local significance; None when nothing was observed.

        The look-elsewhere effect is estimated from the up-crossings of ``level`` in the scan
        itself (R0 sec. 7.1.2), which costs no toys and has the error that a handful of crossings
        have.
        """
        z = self["z_local"]
        if not np.isfinite(z).any():
            return None
        top = int(np.nanargmax(z))
        global_p = from_up_crossings(float(z[top]), up_crossings(z, level), level)
        return Excess(float(self["mass"][top]), float(z[top]), global_p)

    @property
    def transitions(self) -> list[float]:
        """Masses [GeV] of the first hypotheses with another mass definition than the one before."""
        return [
            after["mass"]
            for before, after in pairwise(self.rows)
            if before["definition"] != after["definition"]
        ]

    @property
    def warnings(self) -> list[str]:
        """What makes a result doubtful without making it fail.

        The source puts the change of definitions where neither background model leaves much of a
        spurious signal (R0 sec. 7.1.3); one above 0.5 standard errors nearby says that it is in
        the wrong place.
        """
        lines = []
        remedy = "move 'transition', or set 'nuisances: {spurious_signal: true}'"
        if self.meta.get("spurious_nuisance"):
            remedy = "it is a nuisance of the fit; moving 'transition' may exclude more"
        mass, spurious = self["mass"], self["spurious_z"]
        for transition in self.transitions:
            near = np.abs(mass / transition - 1) <= NEARBY
            above = near & (np.abs(spurious) > SPURIOUS)
            if above.any():
                worst = int(np.argmax(np.where(above, np.abs(spurious), 0.0)))
                lines.append(
                    f"the definition changes at {transition:.3f} GeV, where the background model "
                    f"takes up to {spurious[worst]:+.2f} standard errors for a signal (at "
                    f"{mass[worst]:.3f} GeV, {self.rows[worst]['definition']}; above {SPURIOUS:g} "
                    f"at {np.count_nonzero(above)} of {np.count_nonzero(near)} masses nearby): "
                    f"{remedy}"
                )
        return lines

    def __repr__(self) -> str:
        return "\n".join(self._health())

    def _health(self) -> list[str]:
        """What the scan is, how well it went and what stands out, one statement per line."""
        if not self.rows:
            return ["ScanResult(empty)"]
        failed = [row for row in self.rows if row["status"] not in ("ok", "blinded")]
        blinded = any(row["status"] == "blinded" for row in self.rows)
        lines = [
            f"ScanResult: {len(self)} masses from {self.rows[0]['mass']:.3f} to "
            f"{self.rows[-1]['mass']:.3f} GeV, {len(failed)} not ok"
            + (", blinded" if blinded else "")
            + (", simulation (synthetic)" if self.synthetic else "")
        ]
        excess = self.largest_excess()
        if excess is not None:
            lines.append(
                f"  largest local significance {excess.z:.2f} at {excess.mass:.3f} GeV, global "
                f"p {excess.global_p.p:.2g} (from up-crossings of the scan itself)"
            )
        fits = self["gof_p"][np.isfinite(self["gof_p"])]
        if len(fits):
            lines.append(
                f"  goodness of fit: {np.mean(fits < 0.01):.1%} of p below 0.01, "
                f"smallest {fits.min():.2g}"
            )
        spurious = np.abs(self["spurious_z"])
        if np.isfinite(spurious).any():
            worst = int(np.nanargmax(spurious))
            noise = self.meta.get("spurious_noise")
            lines.append(
                f"  spurious signal above {SPURIOUS:g} standard errors at "
                f"{np.count_nonzero(spurious > SPURIOUS)} masses, largest {spurious[worst]:.2f} at "
                f"{self['mass'][worst]:.3f} GeV"
                + (f" (noise of the simulation {noise:.2f})" if noise else "")
            )
        crossing = self.meta.get("expected_crossing")
        beside = f", expected limits cross at {crossing:.2f} GeV" if crossing else ""
        lines += [f"  definitions change at {mass:.3f} GeV{beside}" for mass in self.transitions]
        lines += [f"  warning: {line}" for line in self.warnings]
        lines += [f"  {row['mass']:.3f} GeV: {row['status']}" for row in failed[:5]]
        if len(failed) > 5:
            lines.append(f"  ... and {len(failed) - 5} more")
        return lines

    def _repr_html_(self) -> str:
        first, *rest = self._health()
        items = "".join(f"<li>{escape(line.strip())}</li>" for line in rest)
        health = f"<ul>{items}</ul>\n" if items else ""
        return health + scan_table(self.rows, caption=first.removeprefix("ScanResult: "))

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

    def save_parquet(self, path: Path) -> None:
        """Write the documented columns as parquet, with what they belong to in its metadata."""
        import pyarrow
        import pyarrow.parquet

        kinds = {name: pyarrow.string() if name in _TEXT else pyarrow.float64() for name in COLUMNS}
        kinds["background_order"] = pyarrow.int64()
        about = {
            "format": "alp_coffea scan 1",
            "sqrt_s": self.sqrt_s,
            "synthetic": self.synthetic,
            "meta": dict(self.meta),
        }
        schema = pyarrow.schema(list(kinds.items()), metadata={_ABOUT: json.dumps(about)})
        rows = [{name: row[name] for name in COLUMNS} for row in self.rows]
        with atomic(path) as temporary:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), temporary)

    @classmethod
    def load_parquet(cls, path: Path | str) -> ScanResult:
        """Read what :meth:`save_parquet` wrote; parameters and bins of the fits are not in it.

        Raises UnreadableFileError if it is something else.
        """
        import pyarrow
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
            about = json.loads((table.schema.metadata or {})[_ABOUT])
            return cls(tuple(table.to_pylist()), about["sqrt_s"], about["synthetic"], about["meta"])
        except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
            raise UnreadableFileError(
                f"{path}: not a readable scan in parquet ({error})"
            ) from error

    @classmethod
    def load(cls, path: Path | str) -> ScanResult:
        """Read ``scan.json``. Raises UnreadableFileError if it is not one."""
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            rows = tuple(content["rows"])
            return cls(rows, content["sqrt_s"], content["synthetic"], content["meta"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreadableFileError(f"{path}: not a readable scan.json ({error})") from error


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
    # background samples are their templates times one factor each, the spurious signal is its
    # variation times the nuisance, which is interpolated linearly as both sides are opposite
    background = sum(
        row["parameters"][sample["name"]]
        * np.asarray(
            sample["modifiers"][0]["data"]["hi_data"]
            if sample["name"] == SPURIOUS_SIGNAL
            else sample["data"]
        )
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
