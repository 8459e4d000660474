"""``alp-coffea run --dry-run``: the plan of a run as tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from alp_coffea.events.datasets import FileRecord
    from alp_coffea.pipeline import Options, Plan

OK, INPUT_INCOMPLETE = 0, 3


def dry_run(
    analysis: str, catalogue: Path | None, out: Path, options: Options, stages: Sequence[str]
) -> int:
    """Print what a run would do; exit code 3 if its input is incomplete."""
    from rich.console import Console

    from alp_coffea.pipeline import plan

    planned = plan(analysis, out, catalogue=catalogue, options=options)
    # in a log or a pipe, rows are not broken to the width of a terminal
    width = None if sys.stdout.isatty() else 250
    console = Console(highlight=False, soft_wrap=True, width=width)
    _files(planned, console, fresh=options.fresh)
    _samples(planned, console)
    for record in planned.records:
        if record.status == "unusable":
            console.print(f"cannot be used: {record.source}: {record.reason}", markup=False)
    for error in planned.lacking.values():
        console.print(str(error), markup=False)
    if planned.problem is not None:
        console.print(f"the run would stop: {planned.problem}", style="red", markup=False)
    events = sum(record.expected for record in planned.records if record.status == "pending")
    kept = 0 if options.fresh else sum(done.entries for done in planned.finished.values())
    console.print(
        f"{len(planned.records)} files, {events:,} entries to be read: {kept:,} are kept in "
        f"checkpoints, {events - kept:,} to be computed; yields and limits for "
        f"{planned.luminosity:.6g}/pb"
    )
    console.print(f"stages: {', '.join(stages)}, into {out}; nothing was processed")
    return OK if planned.ready else INPUT_INCOMPLETE


def _files(planned: Plan, console: Console, *, fresh: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("sample", "file", "entries", "size [MB]", "branches", "state")
    for record in planned.records:
        lacking = record.path in planned.lacking
        branches = "lacking" if lacking else "ok" if record.status == "pending" else ""
        table.add_row(
            record.sample,
            Text(record.source),
            f"{record.expected:,}" if record.known else "unknown",
            f"{record.size / 1e6:.1f}",
            branches,
            _state(record, planned, fresh=fresh),
        )
    console.print(table)


def _state(record: FileRecord, planned: Plan, *, fresh: bool) -> str:
    if record.status != "pending":
        return {"left_out": "left out by the limit"}.get(record.status, record.status)
    if record.reason:
        return "to be converted, then computed"
    finished = planned.finished[record.path]
    if fresh and (finished.entries or finished.stale):
        return "to be computed again (--fresh)"
    if finished.entries == record.expected:
        return "kept from checkpoints"
    if finished.entries:
        return f"{finished.entries:,} entries kept, the others to be computed"
    if finished.stale:
        return "checkpoints are stale: to be computed again"
    return "to be computed"


def _samples(planned: Plan, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("sample", "kind", "luminosity [1/pb]", "covered [1/pb]", "scale", "remarks")
    for row in planned.samples:
        numbers = [row[name] for name in ("luminosity", "covered_luminosity", "scale")]
        texts = ["unknown" if number is None else f"{number:.6g}" for number in numbers]
        if row["covered_uncertainty"] is not None:
            texts[1] += f" ± {row['covered_uncertainty']:.2g}"
        if row["kind"] == "data":
            texts[2] = ""
        table.add_row(row["name"], row["kind"], *texts, Text(row["note"]))
    console.print(table)
