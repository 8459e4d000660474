"""How many events each file should have, by run: what is lost with a file that cannot be read.

The list is a CSV file, of the catalogue's (``file_entries``) or written by an earlier run::

    file,experiment,run,entries
    data/part_3.root,3,4123,18230

Paths are relative to the list; a name without folder means the file of that name. Experiment and
run are needed where luminosity is known by run; ``entries`` may be empty in a row with a run.
"""

from __future__ import annotations

import csv
import fnmatch
import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alp_coffea.catalogue_config import Sample
from alp_coffea.errors import ConfigurationError, InputError, MissingFileError
from alp_coffea.events.accounting import without_home
from alp_coffea.events.csv_files import RunNumber, csv_rows, run_number
from alp_coffea.events.datasets import Counted, FileRecord
from alp_coffea.events.ledger import runs_in
from alp_coffea.files import atomic
from alp_coffea.yaml_models import absolute, expand_variables

_COLUMNS: Final = ("sample", "file", "experiment", "run", "entries")


@dataclass
class _Listed:
    """What a list says about one file; ``entries`` is None if it does not say how many."""

    file: str
    entries: int | None = 0
    runs: dict[RunNumber, int] = field(default_factory=dict)
    record: FileRecord | None = None


def read_file_entries(path: str | Path, sample: str) -> dict[str, _Listed]:
    """Entries of the files of a sample by absolute path or bare name.

    A column ``sample``, where there is one, tells the files of several samples apart.

    Raises ConfigurationError naming file and line.
    """
    path = Path(path)
    listed: dict[str, _Listed] = {}
    for line, row in csv_rows(path, ("file", "entries")):
        if row.get("sample", sample) != sample:
            continue
        name = expand_variables(row["file"].strip(), path)
        if not name:
            raise ConfigurationError(f"{path}: line {line}: 'file' is empty")
        if "/" in name:
            expanded = name if "://" in name else str(Path(name).expanduser())
            name = absolute(expanded, path.parent.resolve())
        by_run = bool(row.get("run") or row.get("experiment"))
        text = row["entries"].strip()
        if not (text.isascii() and text.isdigit()) and not (by_run and not text):
            raise ConfigurationError(
                f"{path}: line {line}: entries '{row['entries']}' is not a whole number >= 0"
            )
        entry = listed.setdefault(name, _Listed(name))
        if by_run:
            run = run_number(path, line, {"experiment": "", "run": "", **row})
            if run in entry.runs:
                raise ConfigurationError(
                    f"{path}: line {line}: experiment {run[0]}, run {run[1]} of '{row['file']}' "
                    "is there twice"
                )
            entry.runs[run] = int(text or 0)
        elif entry.entries or entry.runs:
            raise ConfigurationError(f"{path}: line {line}: '{row['file']}' is there twice")
        if not text or entry.entries is None:
            entry.entries = None
        else:
            entry.entries += int(text)
    return listed


def complete_counts(
    records: Sequence[FileRecord],
    samples: Iterable[Sample],
    *,
    earlier: Path | None = None,
    allow_missing: bool = False,
) -> list[FileRecord]:
    """Fill in what lost and left-out files should have given, and add files that vanished.

    The catalogue's list counts before ``earlier``, the one that an earlier run wrote. Files of
    the catalogue's list that no longer match its patterns are added as ``unusable``.

    Raises
    ------
    MissingFileError
        For such a file, without ``allow_missing``.
    ConfigurationError
        If a list is wrong, or says something else than a file.
    """
    completed: list[FileRecord] = []
    for sample in samples:
        own = [record for record in records if record.sample == sample.name]
        if sample.luminosity_table is not None:
            for record in own:
                _count_runs(record)
        if sample.file_entries is not None:
            listed = read_file_entries(sample.file_entries, sample.name)
            _apply(own, listed, "list", sample.file_entries)
            own += _vanished(sample, listed, allow_missing)
        if earlier is not None and earlier.is_file():
            _apply(own, read_file_entries(earlier, sample.name), "earlier run", None)
        completed += own
    return completed


def _count_runs(record: FileRecord) -> None:
    """Runs of a file that cannot be used although its entries can be counted."""
    if record.status == "unusable" and record.expected and not record.runs:
        try:
            record.runs = runs_in(record)
        except InputError:
            record.runs = {}


def _apply(
    records: Sequence[FileRecord],
    listed: Mapping[str, _Listed],
    counted: Counted,
    authority: str | None,
) -> None:
    """Give records what a list says about them; files that match no record stay in the list.

    ``authority`` is the catalogue's list, which names all files of the sample and must agree with
    what was counted in the files.
    """
    for record, entry in _pairs(records, listed):
        entry.record = record
        if record.status == "pending":
            if authority is not None:
                _check_agreement(record, entry, authority)
            if sum(record.runs.values()) == record.expected or not entry.runs:
                continue
        _fill(record, [entry], counted)
    for record in records:
        # a pattern that matches no file stands for those that it matched when the list was made
        if record.status == "unusable" and glob.has_magic(record.path):
            rows = [e for e in listed.values() if e.record is None and _matches(e, record.path)]
            for entry in rows:
                entry.record = record
            if rows or authority is not None:
                _fill(record, rows, counted)


def _fill(record: FileRecord, rows: Sequence[_Listed], counted: Counted) -> None:
    if not record.known and all(entry.entries is not None for entry in rows):
        record.expected = sum(entry.entries or 0 for entry in rows)
        record.counted = counted
    runs: dict[RunNumber, int] = {}
    for entry in rows:
        for run, number in entry.runs.items():
            runs[run] = runs.get(run, 0) + number
    if not record.runs or sum(record.runs.values()) != record.expected:
        record.runs = runs


def _pairs(
    records: Sequence[FileRecord], listed: Mapping[str, _Listed]
) -> Iterator[tuple[FileRecord, _Listed]]:
    names: dict[str, FileRecord] = {}
    for record in records:
        name = Path(record.source).name
        if name in listed and name in names:
            raise ConfigurationError(
                f"the list of entries names '{name}', but {names[name].source} and "
                f"{record.source} have that name; give their paths in the list"
            )
        names[name] = record
        for key in (record.source, name):
            if key in listed:
                yield record, listed[key]
                break


def _matches(entry: _Listed, pattern: str) -> bool:
    bare = "/" not in entry.file
    return fnmatch.fnmatchcase(entry.file, Path(pattern).name if bare else pattern)


def _check_agreement(record: FileRecord, entry: _Listed, path: str) -> None:
    problem = ""
    if entry.entries is not None and entry.entries != record.expected:
        problem = f"{entry.entries} entries, but it has {record.expected}"
    elif sum(record.runs.values()) == record.expected and entry.runs:
        differing = [
            run
            for run in {*entry.runs, *record.runs}
            if run not in record.runs
            or run not in entry.runs
            or (entry.entries is not None and entry.runs[run] != record.runs[run])
        ]
        if differing:
            run = min(differing)
            problem = (
                f"{entry.runs.get(run, 'no')} entries of experiment {run[0]}, run {run[1]}, but "
                f"it has {record.runs.get(run, 'none')}"
            )
    if problem:
        raise ConfigurationError(
            f"{path} says that {record.source} has {problem}. Correct the list: what lost files "
            "had is taken from it"
        )


def _vanished(
    sample: Sample, listed: Mapping[str, _Listed], allow_missing: bool
) -> Iterator[FileRecord]:
    for entry in listed.values():
        if entry.record is None:
            reason = (
                f"sample '{sample.name}': '{entry.file}' is in {sample.file_entries}, but not "
                "among the files of the sample"
            )
            if not allow_missing:
                raise MissingFileError(
                    f"{reason}. Bring it back, or correct the list (--allow-missing goes on "
                    "without it)"
                )
            record = FileRecord(
                sample.name, entry.file, sample.tree, status="unusable", reason=reason
            )
            _fill(record, [entry], "list")
            yield record


# --- written by every run ------------------------------------------------------------------------


def write_file_entries(
    records: Sequence[FileRecord], samples: Iterable[Sample], path: Path
) -> None:
    """Write what is known of every file, by run for samples with a luminosity table."""
    by_run = {sample.name for sample in samples if sample.luminosity_table is not None}
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for record in records:
            name = without_home(record.source)
            if record.sample in by_run and record.runs:
                known = record.known and sum(record.runs.values()) == record.expected
                for (experiment, run), number in sorted(record.runs.items()):
                    entries: int | str = number if known else ""
                    writer.writerow((record.sample, name, experiment, run, entries))
            elif record.known:
                writer.writerow((record.sample, name, "", "", record.expected))
