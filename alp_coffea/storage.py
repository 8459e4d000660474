"""Histograms and cutflows on disk: documented formats, no pickle."""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


class StoredHistograms(Mapping[str, hist.Hist]):
    """Histograms of a ``histograms.zip`` by name, each read when first asked for.

    Raises UnreadableFileError if the file, or a histogram in it, cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._read: dict[str, hist.Hist] = {}
        with self._readable():
            # in memory, compressed: an open file would be shared with forked processes
            self._archive = zipfile.ZipFile(io.BytesIO(self._path.read_bytes()))
        names = (n for n in self._archive.namelist() if n.endswith(".json"))
        self._names = dict.fromkeys(n.removesuffix(".json") for n in names)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
            raise UnreadableFileError(
                f"{self._path}: not a readable histogram archive ({error}); run the 'process' "
                "stage again"
            ) from error

    def __getitem__(self, name: str) -> hist.Hist:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            with self._readable():
                self._read[name] = hist.Hist(uhi.io.zip.read(self._archive, name))
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"StoredHistograms({len(self)} in {self._path.name}: {', '.join(self._names)})"


def load_histograms(path: Path | str) -> Mapping[str, hist.Hist]:
    """Read ``histograms.zip``: histograms by name, each one when it is asked for.

    Raises UnreadableFileError if the file is missing or no such archive.
    """
    return StoredHistograms(path)


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
