"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(content: Any, path: Path) -> None:
    """Write JSON that any parser reads; NaN and infinities raise ValueError."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def write_table(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows of equal keys as CSV with a header; an empty file without rows."""
    table = list(rows)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        if table:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
