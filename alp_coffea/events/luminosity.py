"""Luminosity by run, runs that are good, and the luminosity that a run of the analysis covers.

Tables are CSV files with a header; lines that begin with ``#`` are comments::

    experiment,run,luminosity
    3,4123,1.27
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from alp_coffea.catalogue_config import Catalogue, Sample
from alp_coffea.config import Blinding
from alp_coffea.errors import ConfigurationError, suggest
from alp_coffea.events.blinding import luminosity_fraction
from alp_coffea.events.datasets import FileRecord, covered_fraction, read_fraction
from alp_coffea.events.weights import equivalent_luminosity

#: (experiment, run)
RunNumber = tuple[int, int]

#: Runs that are named in messages and manifests.
_NAMED: Final = 10


@overload
def run_keys(experiment: int, run: int) -> int: ...
@overload
def run_keys(experiment: NDArray[np.int64], run: NDArray[np.int64]) -> NDArray[np.int64]: ...
def run_keys(experiment: Any, run: Any) -> Any:
    """One integer per (experiment, run); runs are below 2^32."""
    return experiment * 2**32 + run


def read_luminosity_table(path: str | Path) -> dict[RunNumber, float]:
    """Luminosity [1/pb] by (experiment, run).

    Raises ConfigurationError naming file and line.
    """
    table: dict[RunNumber, float] = {}
    for line, run, row in _rows(Path(path), ("experiment", "run", "luminosity")):
        try:
            luminosity = float(row["luminosity"])
        except ValueError:
            luminosity = math.nan
        if not 0 <= luminosity < math.inf:
            raise ConfigurationError(
                f"{path}: line {line}: luminosity '{row['luminosity']}' of run {_name(run)} is not "
                "a number of 1/pb >= 0"
            )
        if run in table:
            raise ConfigurationError(f"{path}: line {line}: run {_name(run)} is there twice")
        table[run] = luminosity
    return table


def read_good_runs(path: str | Path) -> set[RunNumber]:
    """The (experiment, run) pairs of a good-run list.

    Raises ConfigurationError naming file and line.
    """
    return {run for _, run, _ in _rows(Path(path), ("experiment", "run"))}


def good_run_keys(path: str | Path) -> tuple[int, ...]:
    """Sorted :func:`run_keys` of a good-run list."""
    return tuple(sorted(run_keys(*run) for run in read_good_runs(path)))


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, RunNumber, dict[str, str]]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        near = suggest(path.name, [p.name for p in path.parent.glob("*.csv")])
        raise ConfigurationError(f"{path}: no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as text: {error}") from error
    lines = [
        (n, t) for n, t in enumerate(text.splitlines(), 1) if t.strip() and t.lstrip()[0] != "#"
    ]
    reader = csv.DictReader((t for _, t in lines), skipinitialspace=True, strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        for column in columns:
            if column not in header:
                raise ConfigurationError(
                    f"{path}: no column '{column}'{suggest(column, header)} The first line must "
                    f"be '{','.join(columns)}'; it is '{','.join(header)}'"
                )
        reader.fieldnames = header
        for (line, _), row in zip(lines[1:], reader, strict=False):
            if None in row or None in row.values():
                raise ConfigurationError(f"{path}: line {line}: expected {len(header)} values")
            try:
                run = int(row["experiment"]), int(row["run"])
            except ValueError:
                run = (-1, -1)
            if not all(0 <= number < 2**31 for number in run):
                raise ConfigurationError(
                    f"{path}: line {line}: experiment '{row['experiment']}' and run '{row['run']}' "
                    "must be whole numbers >= 0"
                )
            yield line, run, row
    except csv.Error as error:
        raise ConfigurationError(f"{path}: not valid CSV: {error}") from error


def _name(run: RunNumber) -> str:
    return f"(experiment {run[0]}, run {run[1]})"


def _names(runs: Iterable[RunNumber]) -> str:
    ordered = sorted(runs)
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(_name(run) for run in ordered[:_NAMED]) + more


@dataclass(frozen=True)
class Coverage:
    """Luminosity of a sample [1/pb].

    Attributes
    ----------
    recorded
        Of all (good) runs.
    covered
        Of what was read.
    fraction
        Share of the entries that was read.
    runs
        Runs with entries, and without: number and luminosity. None without a table.
    note
        Anything worth knowing, in words.
    """

    recorded: float | None
    covered: float | None
    fraction: float
    runs: Mapping[str, float] | None = None
    note: str = ""


def coverage(sample: Sample, records: Sequence[FileRecord], *, sqrt_s: float) -> Coverage:
    """The luminosity of a sample that was read; ``sqrt_s`` [GeV] is used for signals.

    With a table it is the sum over the good runs that have entries, each times the share of the
    run's entries that was read: a file that is absent takes its runs with it, whether it was
    listed or not. A run that is spread over several files must not lose a file unnoticed: keep
    whole runs in one file, or check ``runs_without_entries``. Otherwise the sample's luminosity
    times the share of its entries that was read.

    Raises ConfigurationError if a good run with entries is not in the table, or a table is wrong.
    """
    fraction = covered_fraction(records, sample.name)
    uncounted = [r for r in records if r.sample == sample.name and not r.expected]
    if sample.luminosity_table is None:
        total = equivalent_luminosity(sample, sqrt_s)
        note = (
            f"{len(uncounted)} unusable files are taken to be as large as the others on average"
            if uncounted
            else ""
        )
        covered = None if total is None else total * fraction
        return Coverage(total, covered, fraction, note=note)
    table = read_luminosity_table(sample.luminosity_table)
    good = set(table) if sample.good_runs is None else read_good_runs(sample.good_runs)
    entries: dict[RunNumber, int] = {}
    read: dict[RunNumber, float] = {}
    for record in records:
        if record.sample != sample.name:
            continue
        for run, number in record.runs.items():
            if sample.good_runs is None or run in good:
                entries[run] = entries.get(run, 0) + number
                read[run] = read.get(run, 0.0) + number * read_fraction(record)
    unknown = set(entries) - set(table)
    if unknown:
        raise ConfigurationError(
            f"sample '{sample.name}': {len(unknown)} runs with events are not in "
            f"{sample.luminosity_table}, so their luminosity is unknown: {_names(unknown)}. "
            "Add them, or leave them out with 'good_runs'"
        )
    absent = {run for run in good if run in table and run not in entries}
    lost = sum(table[run] for run in absent)
    covered = sum(table[run] * read[run] / entries[run] for run in entries)
    notes = []
    if uncounted:
        notes.append(
            f"{len(uncounted)} unusable files: runs that are also in other files count in full"
        )
    if absent:
        notes.append(
            f"{len(absent)} runs without any entry are not counted ({lost:.6g}/pb): "
            f"{_names(absent)}"
        )
    if extra := good - set(table):
        notes.append(f"{len(extra)} good runs are not in the luminosity table: {_names(extra)}")
    return Coverage(
        recorded=sum(table[run] for run in good if run in table),
        covered=covered,
        fraction=fraction,
        runs={
            "runs_with_entries": len(entries),
            "runs_without_entries": len(absent),
            "luminosity_without_entries": lost,
        },
        note="; ".join(notes),
    )


@dataclass(frozen=True)
class Luminosities:
    """Luminosity [1/pb] that yields and limits refer to: of each campaign, and in total."""

    by_campaign: Mapping[str, float]

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        covered: Mapping[str, Coverage],
        blinding: Blinding,
        *,
        projected: float | None = None,
    ) -> Luminosities:
        """The luminosity of the data that were read, times the share that is not blinded.

        ``projected`` [1/pb] stands for the recorded luminosity of all data together, of which
        the same shares are lost and blinded; without data it is taken as it is.
        """
        recorded: dict[str, float] = {}
        seen: dict[str, float] = {}
        for sample in catalogue.of_kind("data"):
            of_sample = covered[sample.name]
            name = sample.campaign
            recorded[name] = recorded.get(name, 0.0) + (of_sample.recorded or 0.0)
            seen[name] = seen.get(name, 0.0) + (of_sample.covered or 0.0)
        total = sum(recorded.values())
        if not total:
            return cls({"": projected or 0.0})
        factor = luminosity_fraction(blinding) * (projected / total if projected else 1.0)
        return cls({name: value * factor for name, value in seen.items()})

    @property
    def total(self) -> float:
        """Of all campaigns."""
        return sum(self.by_campaign.values())

    def of_sample(self, sample: Sample) -> float:
        """What a sample is scaled to: the data of its campaign, or all data if it names none."""
        if sample.campaign:
            return self.by_campaign.get(sample.campaign, 0.0)
        return self.total
