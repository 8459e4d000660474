"""The subcommands ``alp-coffea scan`` and ``plot``: once more from the histograms of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from alp_coffea.results import Run

OK, POINTS_FAILED = 0, 4

#: Options that replace a setting of the scan, and what they are called in an analysis file.
_NUMBERS: Final = {
    "low": "first mass [GeV]",
    "high": "last mass [GeV]",
    "step": "distance of masses [peak widths]",
    "transition": "mass at which the definitions change [GeV]",
    "confidence_level": "of the limits",
}
_CHOICES: Final = ("background_choices", "background_coefficients", "background_shape")


def add_scan(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea scan``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")
    for name, text in _NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=text)
    for name in _CHOICES:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="NAME", help="as in an analysis")
    parser.add_argument("--signal-shape", metavar="NAME", help="fit the signal again, this shape")
    parser.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="mass=M,sigma=S",
        help="add a signal of S pb at M GeV to the data before the scan (repeatable); recorded",
    )
    parser.add_argument("--seed", type=int, default=0, help="of --inject")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep converged points of the last scan if nothing but its range has changed",
    )
    parser.add_argument("--no-plots", action="store_true", help="leave figures and report alone")


def scan_command(arguments: argparse.Namespace) -> int:
    """Scan with the settings of the run and the given changes; say how it went."""
    from rich.console import Console

    from alp_coffea.execution.progress import display
    from alp_coffea.pipeline import Options
    from alp_coffea.pipeline.reopening import run_again

    given = {name: getattr(arguments, name) for name in (*_NUMBERS, *_CHOICES)}
    changes = {name: value for name, value in given.items() if value is not None}
    signal = {} if arguments.signal_shape is None else {"shape": arguments.signal_shape}
    options = Options(
        inject=tuple(arguments.inject),
        seed=arguments.seed,
        resume_scan=arguments.resume,
        command=arguments.given,
    )
    stages: list[Any] = ["model"] if signal else []
    stages += ["scan"] if arguments.no_plots else ["scan", "report"]
    with display() as progress:
        run = run_again(
            arguments.out, stages, scan=changes, signal=signal, options=options, progress=progress
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(repr(run.scan))
    return _code(run)


def _code(run: Run) -> int:
    return OK if all(row["status"] in ("ok", "blinded") for row in run.scan) else POINTS_FAILED


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea plot``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")
    parser.add_argument(
        "--published", action="append", default=[], type=Path, metavar="PATH",
        help="limits of others to draw: a file with mass [eV] and coupling [1/GeV] per line, or a "
        "folder of them (repeatable)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, help="local processes (default: all cores)")


def plot_command(arguments: argparse.Namespace) -> int:
    """Draw all figures and the report of a run again."""
    from rich.console import Console

    from alp_coffea.execution.progress import display
    from alp_coffea.pipeline import Options
    from alp_coffea.pipeline.reopening import run_again

    options = Options(workers=arguments.workers, command=arguments.given)
    published = [str(path.absolute()) for path in arguments.published]
    with display() as progress:
        run = run_again(
            arguments.out, ["report"], published=published, options=options, progress=progress
        )
    Console(highlight=False, soft_wrap=True).print(f"open {run.folder / 'report.html'}")
    return OK
