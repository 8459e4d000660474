"""The subcommand ``alp-coffea cutflow``: what every cut leaves of every sample of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alp_coffea.errors import InputError, suggest

if TYPE_CHECKING:
    from alp_coffea.events.selection import Cutflow

OK = 0
FORMATS = ("table", "csv", "html", "latex")


def add_cutflow(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea cutflow``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")
    parser.add_argument("--sample", action="append", help="only this sample (repeatable)")
    parser.add_argument("--flow", action="append", help="only this sequence of cuts (repeatable)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")


def cutflow_command(arguments: argparse.Namespace) -> int:
    """Print one table per sample and flow, sums of event weights not scaled to the luminosity."""
    from rich.console import Console

    from alp_coffea.events import cutflow_tables as tables
    from alp_coffea.results import load

    cutflows = load(arguments.out).cutflow
    console = Console(highlight=False)
    texts: dict[str, Callable[[Cutflow, str], str]] = {
        "csv": tables.csv_table,
        "html": tables.html_table,
        "latex": tables.latex_table,
    }
    for sample in _chosen("sample", arguments.sample, list(cutflows)):
        cutflow = cutflows[sample]
        for flow in _chosen("flow", arguments.flow, cutflow.flows()):
            if arguments.format == "table":
                console.print(tables.rich_table(cutflow, flow, title=f"{sample}, {flow}"))
            else:
                # as it is: a console would wrap it and read its brackets as markup
                text = texts[arguments.format](cutflow, flow)
                console.out(f"{_remark(arguments.format, sample, flow)}\n{text}")
    return OK


def _chosen(what: str, wanted: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    for name in wanted or ():
        if name not in known:
            raise InputError(
                f"the run has no {what} '{name}'{suggest(name, known)} (has {', '.join(known)})"
            )
    return wanted or known


def _remark(style: str, sample: str, flow: str) -> str:
    begin, end = {"csv": ("# ", ""), "html": ("<!-- ", " -->"), "latex": ("% ", "")}[style]
    return f"{begin}{sample}, {flow}{end}"
