"""An output folder as an object: everything a run left behind, loaded when asked for."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hist
import numpy as np

from alp_coffea.errors import InputError, suggest
from alp_coffea.events.selection import Cutflow
from alp_coffea.files import atomic
from alp_coffea.stats.scan_result import PROFILED, ScanResult, WindowFit, window_fit
from alp_coffea.stats.signal import SignalModel
from alp_coffea.storage import load_cutflows, load_histograms
from alp_coffea.tables import is_lost, ledger_table

#: More workspaces than this are kept in one zip file.
MANY_WORKSPACES = 50


class Ledger(list[dict[str, Any]]):
    """Lines of the ledger; a notebook shows them as a table, losses first and in red."""

    def _repr_html_(self) -> str:
        lost = sum(map(is_lost, self))
        caption = f"{len(self)} files, {f'{lost} with losses' if lost else 'all complete'}"
        return ledger_table(self, caption=caption)


@dataclass(frozen=True)
class Run:
    """Results of one analysis run.

    Attributes are read from their files on first use and raise InputError while the stage that
    writes them has not run.

    >>> run = Run(Path("out/demo"))
    >>> run.folder.name
    'demo'
    """

    folder: Path

    def _require(self, name: str, stage: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise InputError(
                f"{path} does not exist; run the '{stage}' stage first (--stages {stage})"
            )
        return path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What ran, on what, with which configuration and versions."""
        path = self._require("manifest.json", "process")
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content

    @property
    def ledger(self) -> Ledger:
        """One line per input file: entries expected, read and selected, status, reason."""
        return Ledger(self.manifest["ledger"])

    @property
    def samples(self) -> dict[str, dict[str, Any]]:
        """Normalisation and coverage by sample name."""
        return {row["name"]: row for row in self.manifest["samples"]}

    @property
    def luminosity(self) -> float:
        """Luminosity that simulation is scaled to and limits refer to [1/pb]."""
        return float(self.manifest["luminosity"])

    @cached_property
    def histograms(self) -> Mapping[str, hist.Hist]:
        """Histograms by ``sample/name``, filled with generator weights (not scaled)."""
        return load_histograms(self._require("histograms.zip", "process"))

    @cached_property
    def cutflow(self) -> dict[str, Cutflow]:
        """Cutflows by sample."""
        return load_cutflows(self._require("cutflow.json", "process"))

    @cached_property
    def signal_model(self) -> SignalModel:
        """Interpolated signal peaks and efficiencies."""
        return SignalModel.load(self._require("signal_model.json", "model"))

    @cached_property
    def scan(self) -> ScanResult:
        """Limits and significances of all mass hypotheses."""
        return ScanResult.load(self._require("scan.json", "scan"))

    def scaled(self, name: str, kind: str) -> hist.Hist | None:
        """Sum of histogram ``name`` over samples of a kind, scaled to the luminosity.

        Data are never scaled. None when there is no such sample.
        """
        total: hist.Hist | None = None
        for sample in self.samples.values():
            key = f"{sample['name']}/{name}"
            if sample["kind"] != kind or key not in self.histograms:
                continue
            part = self.histograms[key] * (1.0 if kind == "data" else sample["scale"])
            total = part if total is None else total + part
        return total

    @cached_property
    def workspaces(self) -> dict[str, dict[str, Any]]:
        """All pyhf workspaces by file name (``m_0.5000.json``)."""
        folder = self._require("workspaces", "scan")
        archive = folder / "workspaces.zip"
        if archive.exists():
            with zipfile.ZipFile(archive) as file:
                return {name: json.loads(file.read(name)) for name in sorted(file.namelist())}
        return {p.name: json.loads(p.read_text("utf-8")) for p in sorted(folder.glob("m_*.json"))}

    def workspace(self, mass: float, *, limit: bool = False) -> dict[str, Any]:
        """The pyhf workspace of the scanned mass [GeV] nearest to ``mass``.

        The nominal one, in units of the row's ``unit`` [pb]; with ``limit`` the one that gave
        the observed limit (see ``variation``), in units of the row's ``limit_unit``.
        """
        row = self._nearest(mass)
        if limit and row["variation"] == PROFILED:
            raise InputError(
                f"{self.folder}: the limit at {row['mass']:g} GeV is profiled over the orders of "
                "the background, so no single workspace gives it; those of all orders are in "
                f"'workspaces' as m_{row['mass']:.4f}_order_N.json"
            )
        other = limit and row["variation"] != "nominal"
        try:
            return self.workspaces[workspace_name(row["mass"], limit=other)]
        except KeyError:
            raise InputError(
                f"{self.folder}: no workspace at {row['mass']:g} GeV; the point's status is "
                f"'{row['status']}'"
            ) from None

    def window_fit(self, mass: float) -> WindowFit:
        """Post-fit components of the scanned mass [GeV] nearest to ``mass``."""
        return window_fit(self._nearest(mass), self.workspace(mass), self.scan.synthetic)

    def window_fits(self) -> list[WindowFit]:
        """Post-fit components of every scanned mass that was fitted."""
        return [
            window_fit(row, self.workspaces[workspace_name(row["mass"])], self.scan.synthetic)
            for row in self.scan
            if row.get("fitted") is not None
        ]

    def _nearest(self, mass: float) -> dict[str, Any]:
        if not len(self.scan):
            raise InputError(f"{self.folder}: the scan has no points")
        distance = np.abs(self.scan["mass"] - mass)
        return self.scan.rows[int(np.argmin(distance))]


def load(out: Path | str) -> Run:
    """Open an output folder. Raises InputError if it is none."""
    folder = Path(out)
    if not (folder / "manifest.json").is_file():
        near = suggest(folder.name, [p.name for p in folder.parent.glob("*") if p.is_dir()])
        raise InputError(f"{folder}: no manifest.json, so not an output folder{near}")
    return Run(folder)


def workspace_name(mass: float, *, limit: bool = False, order: int | None = None) -> str:
    """File name of the nominal workspace of a mass hypothesis [GeV], of the one whose background
    choice gave the observed limit, or of one order of a scan that is profiled over orders."""
    which = "_limit" if limit else "" if order is None else f"_order_{order}"
    return f"m_{mass:.4f}{which}.json"


def save_workspaces(texts: Mapping[str, str], folder: Path) -> None:
    """Write workspaces (JSON by file name) into ``folder``, zipped when they are many."""
    folder.mkdir(exist_ok=True)
    many = len(texts) > MANY_WORKSPACES
    for old in folder.glob("m_*.json"):
        if many or old.name not in texts:
            old.unlink()
    if many:
        with (
            atomic(folder / "workspaces.zip") as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as file,
        ):
            for name, text in texts.items():
                file.writestr(name, text)
        return
    (folder / "workspaces.zip").unlink(missing_ok=True)
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text + "\n", "utf-8")
