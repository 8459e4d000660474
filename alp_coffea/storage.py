"""Histograms and cutflows on disk: documented formats, no pickle."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import hist
import uhi.io.zip

from alp_coffea.errors import UnreadableFileError
from alp_coffea.events.selection import Cutflow
from alp_coffea.files import atomic, write_json

#: Columns of ``cutflow.csv``.
CUTFLOW_COLUMNS = (
    "sample",
    "flow",
    "step",
    "cut",
    "events",
    "weighted",
    "weighted_error",
    "efficiency_step",
    "efficiency_total",
)


def save_histograms(histograms: Mapping[str, hist.Hist], path: Path) -> None:
    """Write histograms by name (``sample/histogram``) as zipped UHI."""
    with (
        atomic(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as file,
    ):
        for name in sorted(histograms):
            uhi.io.zip.write(file, name, histograms[name])


def load_histograms(path: Path | str) -> dict[str, hist.Hist]:
    """Read ``histograms.zip``: histograms by name.

    Raises UnreadableFileError if the file is missing or no such archive.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = [n.removesuffix(".json") for n in file.namelist() if n.endswith(".json")]
            return {name: hist.Hist(uhi.io.zip.read(file, name)) for name in names}
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UnreadableFileError(
            f"{path}: not a readable histogram archive ({error}); run the 'process' stage again"
        ) from error


def save_cutflows(cutflows: Mapping[str, Cutflow], folder: Path) -> None:
    """Write ``cutflow.json`` (exact) and ``cutflow.csv`` (with efficiencies) by sample."""
    content = {sample: cutflow.to_json() for sample, cutflow in cutflows.items()}
    write_json(content, folder / "cutflow.json")
    with (
        atomic(folder / "cutflow.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(CUTFLOW_COLUMNS)
        for sample, cutflow in cutflows.items():
            for flow in cutflow.flows():
                steps = cutflow.steps(flow)
                for step, before in zip(steps, [steps[0], *steps[:-1]], strict=True):
                    writer.writerow(
                        [sample, flow, step.step, step.cut, step.events]
                        + [repr(step.weighted), repr(step.error)]
                        + [_ratio(step.weighted, base.weighted) for base in (before, steps[0])]
                    )


def _ratio(numerator: float, denominator: float) -> str:
    return f"{numerator / denominator:.6f}" if denominator else ""


def load_cutflows(path: Path) -> dict[str, Cutflow]:
    """Read ``cutflow.json``: cutflows by sample."""
    content = json.loads(path.read_text("utf-8"))
    return {sample: Cutflow.from_json(rows) for sample, rows in content.items()}
