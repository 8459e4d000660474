"""Luminosity by run, runs that are good, and the luminosity that a run of the analysis covers.

Tables are CSV files with a header; lines that begin with ``#`` are comments::

    experiment,run,luminosity
    3,4123,1.27
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from alp_coffea.catalogue_config import Catalogue, Sample
from alp_coffea.config import Blinding
from alp_coffea.errors import ConfigurationError, UncountedFileError
from alp_coffea.events.blinding import luminosity_fraction
from alp_coffea.events.csv_files import RunNumber, csv_rows, run_number
from alp_coffea.events.datasets import (
    FileRecord,
    covered_fraction,
    covered_uncertainty,
    read_fraction,
)
from alp_coffea.events.weights import cross_section_notes, equivalent_luminosity
from alp_coffea.physics.production import Production

#: Runs and files that are named in messages and manifests.
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
    for line, row in csv_rows(Path(path), ("experiment", "run", "luminosity")):
        run = run_number(Path(path), line, row)
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
    return {
        run_number(Path(path), line, row)
        for line, row in csv_rows(Path(path), ("experiment", "run"))
    }


def good_run_keys(path: str | Path) -> tuple[int, ...]:
    """Sorted :func:`run_keys` of a good-run list."""
    return tuple(sorted(run_keys(*run) for run in read_good_runs(path)))


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
    uncertainty
        Of ``covered`` [1/pb], None where that is exact: it is estimated if it is not known what
        lost or left-out files had.
    runs
        Runs with entries, and without: number and luminosity. None without a table.
    notes
        Anything worth knowing, in words.
    """

    recorded: float | None
    covered: float | None
    fraction: float
    uncertainty: float | None = None
    runs: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()


def coverage(sample: Sample, records: Sequence[FileRecord], *, production: Production) -> Coverage:
    """The luminosity of a sample that was read; ``production`` is used for signals.

    With a table it is the sum over the good runs that have entries, each times the share of the
    run's entries that was read: a file that is absent takes its runs with it. Without, it is the
    sample's luminosity times the share of its entries that was read. The latter also serves as
    estimate where it is not known what lost or left-out files had, see :func:`uncounted`.

    Raises ConfigurationError if a good run with entries is not in the table, or a table is wrong.
    """
    fraction = covered_fraction(records, sample.name)
    unknown = uncounted(records, sample)
    notes = cross_section_notes(sample, production)
    if sample.luminosity_table is None:
        total = equivalent_luminosity(sample, production)
        covered, runs = None if total is None else total * fraction, None
    else:
        total, covered, runs, remarks = _by_run(sample, records)
        notes += remarks
        if unknown:
            covered = total * fraction
    uncertainty = None
    if unknown and covered is not None:
        uncertainty = covered * covered_uncertainty(records, sample.name)
        notes.append(
            f"the luminosity is an estimate ({covered:.6g} +- {uncertainty:.2g}/pb): it is not "
            f"known what {len(unknown)} files had, which are taken for the mean of the others"
        )
    return Coverage(total, covered, fraction, uncertainty, runs, tuple(notes))


def _by_run(
    sample: Sample, records: Sequence[FileRecord]
) -> tuple[float, float, dict[str, float], list[str]]:
    """Luminosity of all good runs and of what was read of them, the runs, and remarks."""
    assert sample.luminosity_table is not None
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
                read[run] = read.get(run, 0.0) + _read_of(record, run)
    unknown = set(entries) - set(table)
    if unknown:
        raise ConfigurationError(
            f"sample '{sample.name}': {len(unknown)} runs with events are not in "
            f"{sample.luminosity_table}, so their luminosity is unknown: {_names(unknown)}. "
            "Add them, or leave them out with 'good_runs'"
        )
    seen = {run for run, number in read.items() if number}
    absent = {run for run in good if run in table and run not in seen}
    lost = sum(table[run] for run in absent)
    notes = []
    if absent:
        notes.append(
            f"{len(absent)} runs of which no entry was read are not counted ({lost:.6g}/pb): "
            f"{_names(absent)}"
        )
    if extra := good - set(table):
        notes.append(f"{len(extra)} good runs are not in the luminosity table: {_names(extra)}")
    return (
        sum(table[run] for run in good if run in table),
        sum(table[run] * read[run] / entries[run] for run in seen),
        {
            "runs_with_entries": len(seen),
            "runs_without_entries": len(absent),
            "luminosity_without_entries": lost,
        },
        notes,
    )


def _read_of(record: FileRecord, run: RunNumber) -> float:
    """Entries of a run that were read of a file."""
    if record.unread_runs:
        return record.runs[run] - record.unread_runs.get(run, 0)
    return record.runs[run] * read_fraction(record)


def uncounted(records: Sequence[FileRecord], sample: Sample) -> list[FileRecord]:
    """Files of a sample of which it is not known what was lost with them.

    Where luminosity is known by run, the runs of all entries are needed. A file whose runs are
    known, but not their entries, counts as known if no other file has these runs.
    """
    rows = [record for record in records if record.sample == sample.name]
    if sample.luminosity_table is None:
        return [record for record in rows if not record.known]
    present = {run for record in rows for run, number in record.runs.items() if number}
    return [
        record
        for record in rows
        if not (record.known and sum(record.runs.values()) == record.expected)
        and not (record.runs and not present & set(record.runs))
    ]


def require_counts(
    records: Sequence[FileRecord], samples: Iterable[Sample], *, estimate: bool = False
) -> None:
    """Refuse lost files that would make the luminosity of what is left a guess.

    Files that a limit leaves out are no losses. With ``estimate`` the luminosity is estimated.

    Raises UncountedFileError naming them and what to give.
    """
    for sample in samples:
        lost = [r for r in uncounted(records, sample) if r.status != "left_out"]
        if lost and not estimate:
            by_run = sample.luminosity_table is not None
            named = "".join(f"\n  {r.source}: {r.reason or 'runs not read'}" for r in lost[:_NAMED])
            more = f"\n  and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            raise UncountedFileError(
                f"sample '{sample.name}': the luminosity that is left is unknown, because it is "
                f"not known how many events {'of which runs ' if by_run else ''}were in"
                f"{named}{more}\n"
                "Say it with 'file_entries: list.csv' in the sample (columns "
                f"file,{'experiment,run,' if by_run else ''}entries; a run writes such a list, "
                "file_entries.csv, and finds there what it counted before), or pass "
                "--estimate-missing to take these files to be as large as the others"
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
