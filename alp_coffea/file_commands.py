"""The subcommands on files: ``alp-coffea inspect`` and ``alp-coffea convert``.

Each has a function that adds its arguments to a parser and one that runs it and returns the exit
code. Nothing heavy is imported before they run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alp_coffea.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from alp_coffea.conversion_settings import ConversionSettings
    from alp_coffea.events.conversion.convert import ConversionReport

OK, INPUT_INCOMPLETE = 0, 3


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea inspect``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="ROOT or parquet file")
    parser.add_argument("--json", action="store_true", help="write JSON instead of tables")
    parser.add_argument(
        "--all", action="store_true", help="list every column, also those without a use"
    )


def inspect_command(arguments: argparse.Namespace) -> int:
    """Describe the files on standard output; exit code 3 if one cannot be read."""
    from rich.console import Console

    from alp_coffea.inspection import inspect_files, render

    reports = inspect_files(arguments.files)
    console = Console(highlight=False)
    if arguments.json:
        text = json.dumps([report.to_json() for report in reports], indent=2)
        console.out(text, highlight=False)
    else:
        for report in reports:
            render(report, console, full=arguments.all)
    return INPUT_INCOMPLETE if any(report.problem for report in reports) else OK


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea convert``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="ROOT file as basf2 writes it")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="a .parquet file: all FILEs hold the same events and are joined into it; "
        "else a folder: each FILE is converted on its own",
    )
    parser.add_argument(
        "--settings", type=Path, metavar="YAML", help="trees, fields, join, missing_value, degrees"
    )
    parser.add_argument(
        "--join",
        choices=("strict", "identity"),
        help="joined trees must have the same events in the same order (strict, the default), or "
        "are matched by identity",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="local processes")


def convert_command(arguments: argparse.Namespace) -> int:
    """Convert the files; exit code 3 if one of several could not be converted."""
    import dataclasses

    from rich.console import Console

    from alp_coffea.conversion_settings import ConversionSettings, load_settings
    from alp_coffea.events.conversion.convert import convert

    settings = load_settings(arguments.settings) if arguments.settings else ConversionSettings()
    if arguments.join is not None:
        settings = dataclasses.replace(settings, join=arguments.join)
    if arguments.workers < 1:
        raise ConfigurationError(f"--workers {arguments.workers} must be at least 1")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    out: Path = arguments.out
    if out.suffix in (".parquet", ".pq"):
        out.parent.mkdir(parents=True, exist_ok=True)
        _describe(convert(arguments.files, out, settings), out, console)
        return OK
    if out.is_file():
        raise ConfigurationError(
            f"-o {out} is a file; give a folder, or a name that ends in .parquet to join all FILEs"
        )
    return _convert_each(arguments.files, out, settings, arguments.workers, console)


def _convert_each(
    files: Sequence[str],
    folder: Path,
    settings: ConversionSettings,
    workers: int,
    console: Console,
) -> int:
    """Every file on its own; one that fails does not stop the others."""
    from concurrent.futures import Future

    from loky import ProcessPoolExecutor

    from alp_coffea.events.conversion.convert import convert

    targets: dict[Path, str] = {}
    for path in files:
        target = folder / f"{Path(path).stem}.parquet"
        if target in targets:
            raise ConfigurationError(
                f"{targets[target]} and {path} would both become {target}; convert them into "
                "different folders, or into one .parquet file if they hold the same events"
            )
        targets[target] = path
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    # loky: its workers do not inherit threads, which a fork would deadlock on
    with ProcessPoolExecutor(max_workers=min(workers, len(files))) as pool:
        futures: dict[Path, Future[ConversionReport]] = {
            target: pool.submit(convert, [path], target, settings)
            for target, path in targets.items()
        }
        for target, future in futures.items():
            try:
                _describe(future.result(), target, console)
            except InputError as error:
                failed += 1
                console.print(f"not converted: {error}", style="red", markup=False)
    if failed:
        console.print(f"{failed} of {len(files)} files were not converted", style="red")
    return INPUT_INCOMPLETE if failed else OK


def _describe(report: ConversionReport, target: Path, console: Console) -> None:
    sources = ", ".join(f"{s.path}:{s.tree} ({s.entries:,} entries)" for s in report.sources)
    console.print(f"{sources} -> {target}: {report.events:,} events", markup=False)
    for note in report.notes:
        console.print(f"  {note}", markup=False)
