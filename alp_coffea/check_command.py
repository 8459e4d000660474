"""``alp-coffea check``: everything that can go wrong early, before a job is submitted."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from alp_coffea.errors import IncompleteRunError


def add_check(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea check``."""
    parser.add_argument("analysis", metavar="ANALYSIS", help="analysis file, or a built-in name")
    parser.add_argument("--catalogue", type=Path, help="use this catalogue instead")
    parser.add_argument("--workers", type=int, metavar="N", help="to estimate for (default: cores)")
    parser.add_argument("--chunksize", type=int, default=250_000, metavar="N")


def check_command(arguments: argparse.Namespace) -> int:
    """Open every file, process one chunk of each kind of sample, and estimate the rest."""
    from rich.console import Console

    from alp_coffea.pipeline import Options, check

    console = Console(highlight=False, soft_wrap=True)
    options = Options(chunksize=arguments.chunksize, allow_missing=True)
    records, cost = check(arguments.analysis, catalogue=arguments.catalogue, options=options)
    unusable = [record for record in records if record.status == "unusable"]
    for record in unusable:
        console.print(f"[red]cannot be used:[/red] {record.path}: {record.reason}")
    events = sum(record.expected for record in records if record.status == "pending")
    size = sum(record.size for record in records)
    console.print(f"{len(records)} files, {events:,} entries, {size / 1e9:.3g} GB")
    if cost is None:
        raise IncompleteRunError("there is nothing to process")
    workers = arguments.workers or os.cpu_count() or 1
    seconds = cost.seconds(events, workers)
    console.print(
        f"one chunk of each kind of sample works: {cost.events:,} events, "
        f"{1 / cost.seconds_per_event:,.0f} events/s in one process, "
        f"{cost.startup:.1f} s to start"
    )
    console.print(
        f"estimated for {workers} workers: {seconds / 60:,.1f} min, "
        f"{cost.memory / 1e9:.2g} GB of memory each, "
        f"{cost.result * len(records) / 1e6:,.1f} MB of checkpoints"
    )
    return IncompleteRunError.exit_code if unusable else 0
