"""Histograms of a run as ROOT and CSV files, scaled to the luminosity of the data.

Data are never scaled, and simulation by the factors of ``manifest.json``. Axes of categories
(photon-energy set, mass definition, origin of the candidate) become folders in ROOT and columns
in CSV.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boost_histogram as bh
import numpy as np

from alp_coffea.files import atomic

if TYPE_CHECKING:
    from alp_coffea.results import Run


def write_root(run: Run, path: Path | str) -> Path:
    """Write every histogram as TH1D, TH2D or TH3D ``sample/name[/category...]``.

    Under- and overflow and the sums of squared weights are kept. Names are those of
    ``histograms.zip``. Where all axes are categories, the last one stays as a labelled axis.

    Raises OSError when the file cannot be written, InputError while the run has no histograms.
    """
    import uproot

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, uproot.recreate(temporary) as file:
        for name, histogram in _scaled(run):
            for categories, part in _by_category(histogram):
                file["/".join([name, *categories])] = part
    return path


def write_csv(run: Run, folder: Path | str) -> list[Path]:
    """Write every histogram as ``folder/sample/name.csv``; returns the paths.

    One row per bin that has entries: the categories, lower and upper edges of every other axis
    (``-inf`` and ``inf`` in under- and overflow), ``value`` and ``variance``. Bins left out are
    empty.

    Raises OSError when a file cannot be written, InputError while the run has no histograms.
    """
    paths = []
    for name, histogram in _scaled(run):
        path = Path(folder) / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        named, other = _axes(histogram)
        with (
            atomic(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            bounds = (column for axis in other for column in _columns(axis))
            writer.writerow([*(axis.name for axis in named), *bounds, "value", "variance"])
            for categories, part in _by_category(histogram):
                writer.writerows([*categories, *row] for row in _rows(part))
        paths.append(path)
    return paths


def _scaled(run: Run) -> Iterator[tuple[str, Any]]:
    """Histograms by name, simulation scaled to the luminosity of the data."""
    for name, histogram in sorted(run.histograms.items()):
        sample = run.samples[name.partition("/")[0]]
        yield name, histogram if sample["kind"] == "data" else histogram * sample["scale"]


def _is_category(axis: Any) -> bool:
    return isinstance(axis, bh.axis.StrCategory | bh.axis.IntCategory)


def _axes(histogram: Any) -> tuple[list[Any], list[Any]]:
    """Axes to take apart, and those that a part keeps: at least one."""
    named = [axis for axis in histogram.axes if _is_category(axis)]
    other = [axis for axis in histogram.axes if not _is_category(axis)]
    return (named, other) if other else (named[:-1], named[-1:])


def _by_category(histogram: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The part of a histogram that belongs to each combination of its categories."""
    named, _ = _axes(histogram)
    for chosen in itertools.product(*(list(axis) for axis in named)):
        index = {axis.name: bh.loc(value) for axis, value in zip(named, chosen, strict=True)}
        yield tuple(map(str, chosen)), histogram[index] if index else histogram


def _rows(part: Any) -> Iterator[list[Any]]:
    values = part.values(flow=True)
    variances = part.variances(flow=True)
    variances = values if variances is None else variances
    bins = [_bins(axis) for axis in part.axes]
    for index in np.argwhere((values != 0) | (variances != 0)):
        cell = tuple(index)
        ends = (end for axis, i in zip(bins, cell, strict=True) for end in axis[i])
        yield [*ends, _short(values[cell]), _short(variances[cell])]


def _columns(axis: Any) -> tuple[str, ...]:
    return (axis.name,) if _is_category(axis) else (f"{axis.name}_low", f"{axis.name}_high")


def _bins(axis: Any) -> list[tuple[Any, ...]]:
    """What stands for each bin of an axis, under- and overflow included."""
    if _is_category(axis):
        return [(category,) for category in axis] + [("overflow",)] * axis.traits.overflow
    edges = [_short(edge) for edge in axis.edges]
    edges = [-np.inf] * axis.traits.underflow + edges + [np.inf] * axis.traits.overflow
    return list(itertools.pairwise(edges))


def _short(value: float) -> float:
    """A number without the last digits, which are rounding errors of the axis."""
    return float(f"{value:.10g}")
