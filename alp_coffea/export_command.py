"""The subcommand ``alp-coffea export``: results of a run in the formats of others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

OK = 0

#: Format -> where it goes below the output folder.
FORMATS: Final = {"hepdata": "hepdata", "root": "histograms.root", "csv": "csv"}


def add_export(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea export``."""
    parser.add_argument(
        "format",
        choices=tuple(FORMATS),
        help="a HEPData submission, or all histograms as one ROOT file or as CSV files",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")
    parser.add_argument(
        "-o",
        "--to",
        type=Path,
        metavar="PATH",
        help="where to write (default: OUT/hepdata, OUT/histograms.root or OUT/csv)",
    )


def export_command(arguments: argparse.Namespace) -> int:
    """Write the files and print where they are."""
    from rich.console import Console

    from alp_coffea.export import write_csv, write_hepdata, write_root
    from alp_coffea.results import load

    run = load(arguments.out)
    target = arguments.to or run.folder / FORMATS[arguments.format]
    console = Console(highlight=False, soft_wrap=True)
    if arguments.format == "hepdata":
        console.print(f"to upload at hepdata.net: {write_hepdata(run, target)}")
    elif arguments.format == "root":
        console.print(f"{len(run.histograms)} histograms in {write_root(run, target)}")
    else:
        console.print(f"{len(write_csv(run, target))} histograms in {target}")
    return OK
