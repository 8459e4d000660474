"""Tables beside a catalogue: CSV with a header; lines that begin with ``#`` are comments."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from alp_coffea.errors import ConfigurationError, suggest

#: (experiment, run)
RunNumber = tuple[int, int]


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values by column name of every row; ``columns`` must be there.

    Raises ConfigurationError naming file and line.
    """
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
            yield line, row
    except csv.Error as error:
        raise ConfigurationError(f"{path}: not valid CSV: {error}") from error


def run_number(path: Path, line: int, row: dict[str, str]) -> RunNumber:
    """The columns ``experiment`` and ``run`` of a row.

    Raises ConfigurationError naming file and line.
    """
    try:
        run = int(row["experiment"]), int(row["run"])
    except ValueError:
        run = (-1, -1)
    if not all(0 <= number < 2**31 for number in run):
        raise ConfigurationError(
            f"{path}: line {line}: experiment '{row['experiment']}' and run '{row['run']}' "
            "must be whole numbers >= 0"
        )
    return run
