"""The ``alp-coffea`` command: a thin layer over the library.

Heavy imports happen inside the subcommands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import alp_coffea
from alp_coffea.check_command import add_check, check_command
from alp_coffea.compare_command import add_compare, compare_command
from alp_coffea.cutflow_command import add_cutflow, cutflow_command
from alp_coffea.dry_run import dry_run
from alp_coffea.errors import AlpCoffeaError, ConfigurationError, suggest
from alp_coffea.export_command import add_export, export_command
from alp_coffea.file_commands import add_convert, add_inspect, convert_command, inspect_command
from alp_coffea.optimise_command import add_optimise, optimise_command
from alp_coffea.resolution_command import add_resolution, resolution_command
from alp_coffea.scan_command import add_plot, add_scan, plot_command, scan_command
from alp_coffea.study_command import add_study, study_command
from alp_coffea.train_command import add_train, train_command

if TYPE_CHECKING:
    from alp_coffea.execution.clusters import Cluster
    from alp_coffea.results import Run

OK, INTERNAL_ERROR, USAGE, INPUT_INCOMPLETE, POINTS_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_STAGES = ("process", "model", "scan", "report")
#: Lost files that are named at the end of a run.
_NAMED = 10
#: Samples whose remarks are shown there.
_REMARKS = 3


class _Parser(argparse.ArgumentParser):
    """Errors in one line with the nearest option."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (design: 0, 2, 3, 4 or 130)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser, commands = _parser()
    options, unknown = parser.parse_known_args(arguments)
    options.given = shlex.join(["alp-coffea", *arguments])
    if options.command is None:
        parser.print_help()
        return USAGE
    if unknown:
        command = commands[options.command]
        known = [flag for action in command._actions for flag in action.option_strings]
        command.error(f"unknown argument {unknown[0]}{suggest(unknown[0].split('=')[0], known)}")
    # a batch system ends jobs with SIGTERM: stop as after Ctrl-C, so that workers end too
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # loky replaces workers that have grown, which loses nothing and is no news to the user
    warnings.filterwarnings("ignore", message="A worker was restarted", category=UserWarning)
    try:
        code: int = options.function(options)
        return code
    except AlpCoffeaError as error:
        if options.verbose:
            traceback.print_exc()
        print(f"alp-coffea: error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # a mistake of ours: the user still gets one line, not a page
        if options.verbose:
            raise
        print(
            f"alp-coffea: internal error: {type(error).__name__}: {error} "
            "(repeat with -v for a traceback to report)",
            file=sys.stderr,
        )
        return INTERNAL_ERROR
    except KeyboardInterrupt:
        print("alp-coffea: interrupted; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(prog="alp-coffea", description=alp_coffea.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=alp_coffea.__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    commands: dict[str, argparse.ArgumentParser] = {}

    def command(name: str, function: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(function=function)
        sub.add_argument("-v", "--verbose", action="store_true", help="show tracebacks of errors")
        commands[name] = sub
        return sub

    _add_run(command("run", _run, "From ntuples to limits: run the stages of an analysis file."))
    _add_simulate(command("simulate", _simulate, "Make the simulated samples of a catalogue."))
    add_check(command("check", check_command, "Try files and processor before a long run."))
    add_convert(command("convert", convert_command, "Make canonical files of basf2's layouts."))
    add_inspect(command("inspect", inspect_command, "Show what is in ROOT and parquet files."))
    add_optimise(command("optimise", optimise_command, "Where the cuts should be, from a run."))
    add_cutflow(command("cutflow", cutflow_command, "What every cut leaves, from a run."))
    add_compare(command("compare", compare_command, "Data against simulation, from a run."))
    add_export(command("export", export_command, "Results as HEPData, ROOT or CSV, from a run."))
    add_scan(command("scan", scan_command, "Limits once more, from the histograms of a run."))
    add_study(command("study", study_command, "Is the model right? Tables and figures of a run."))
    add_train(command("train", train_command, "A classifier from the skim of a run."))
    add_resolution(
        command("resolution", resolution_command, "Photon resolution from muon pairs, from a run.")
    )
    add_plot(command("plot", plot_command, "Figures and report once more, from a run."))
    return parser, commands


# --- run -----------------------------------------------------------------------------------------


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "analysis",
        nargs="?",
        metavar="ANALYSIS",
        help="analysis file (.yaml) or the name of a built-in analysis",
    )
    run.add_argument("-o", "--out", type=Path, metavar="OUT", help="output folder")
    run.add_argument(
        "--demo",
        action="store_true",
        help="simulate the demonstration samples first and analyse them (default OUT: out/demo)",
    )
    run.add_argument("--catalogue", type=Path, help="use this catalogue instead of the analysis's")
    run.add_argument(
        "--stages",
        type=_stages,
        default=_STAGES,
        metavar="A,B",
        help=f"stages to run, of {','.join(_STAGES)} (default: all)",
    )
    _add_execution(run)
    run.add_argument("--chunksize", type=_positive, default=250_000, help="events per chunk")
    run.add_argument("--limit-files", type=_positive, metavar="N", help="files per sample")
    run.add_argument("--limit-chunks", type=_positive, metavar="N", help="chunks per sample")
    run.add_argument(
        "--allow-missing",
        action="store_true",
        help="go on without files that cannot be used, with the luminosity that is left",
    )
    run.add_argument(
        "--estimate-missing",
        action="store_true",
        help="with --allow-missing: take lost files of which nobody knows how many events they "
        "had to be as large as the others; recorded, with the uncertainty",
    )
    run.add_argument(
        "--unblind",
        action="store_true",
        help="show all data whatever the analysis says under 'blinding'; recorded in the manifest",
    )
    run.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="mass=M,sigma=S",
        help="add a signal of S pb at M GeV to the data before the scan (repeatable); recorded",
    )
    run.add_argument("--seed", type=int, default=0, help="of --demo's simulation and of --inject")
    run.add_argument("--dry-run", action="store_true", help="show what would be done, and stop")


def _add_execution(run: argparse.ArgumentParser) -> None:
    run.add_argument("--executor", choices=("iterative", "futures", "dask"), default="futures")
    run.add_argument(
        "--workers",
        type=_positive,
        help="local processes (default: all cores), or most jobs on a batch system (default: 10)",
    )
    where = run.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="dask scheduler to use, tcp://...")
    where.add_argument(
        "--cluster",
        choices=("slurm", "htcondor", "lsf", "pbs"),
        help="start dask workers on a batch system, as ~/.config/dask/jobqueue.yaml says",
    )
    for name, text in {"ca": "authority", "cert": "certificate", "key": "key"}.items():
        run.add_argument(
            f"--tls-{name}", metavar="FILE", help=f"{text} for a scheduler at tls://..."
        )
    again = run.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="use what an earlier run into OUT finished and nothing has changed since (default)",
    )
    again.add_argument("--fresh", action="store_true", help="compute everything again")
    run.add_argument(
        "--progress",
        choices=("auto", "plain", "quiet"),
        default="auto",
        help="bars on a terminal and lines elsewhere (auto), lines, or nothing",
    )


def _cluster(arguments: argparse.Namespace) -> Cluster | None:
    """The dask workers asked for, None for those of this machine."""
    from alp_coffea.execution.clusters import Cluster

    names = {name: getattr(arguments, f"tls_{name}") for name in ("ca", "cert", "key")}
    tls = {name: file for name, file in names.items() if file is not None}
    if tls and (len(tls) < 3 or arguments.scheduler is None):
        raise ConfigurationError("give --scheduler tls://..., --tls-ca, --tls-cert and --tls-key")
    if arguments.scheduler is None and arguments.cluster is None:
        return None
    return Cluster(arguments.workers, arguments.scheduler, arguments.cluster, tls)


def _stages(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    for stage in chosen:
        if stage not in _STAGES:
            raise argparse.ArgumentTypeError(
                f"unknown stage '{stage}'{suggest(stage, _STAGES)}; choose from {','.join(_STAGES)}"
            )
    return chosen


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return value


def _run(arguments: argparse.Namespace) -> int:
    from alp_coffea.execution.progress import display
    from alp_coffea.pipeline import Options, run_analysis

    if arguments.analysis is None and not arguments.demo:
        raise ConfigurationError("give an ANALYSIS file, or --demo")
    if arguments.out is None and not arguments.demo:
        raise ConfigurationError("give an output folder with -o OUT")
    if arguments.inject:
        from alp_coffea.stats.injection import Injection

        for text in arguments.inject:  # a mistake is said now, not after the processing
            Injection.parse(text)
    analysis = arguments.analysis or "demo"
    out = arguments.out or Path("out/demo")
    options = Options(
        executor=arguments.executor,
        workers=arguments.workers,
        chunksize=arguments.chunksize,
        limit_files=arguments.limit_files,
        limit_chunks=arguments.limit_chunks,
        allow_missing=arguments.allow_missing,
        estimate_missing=arguments.estimate_missing,
        unblind=arguments.unblind,
        inject=tuple(arguments.inject),
        seed=arguments.seed,
        fresh=arguments.fresh,
        cluster=_cluster(arguments),
        command=arguments.given,
    )
    with display(arguments.progress) as progress:
        catalogue = arguments.catalogue
        if arguments.demo and arguments.dry_run:
            catalogue = out / "input" / "catalogue.yaml"
            if not catalogue.is_file():
                print(f"the samples would be simulated into {catalogue.parent}; nothing was done")
                return OK
        elif arguments.demo and "process" in arguments.stages:
            catalogue = _demo_input(out, arguments, progress)
        elif arguments.demo:
            catalogue = out / "input" / "catalogue.yaml"
        if arguments.dry_run:
            return dry_run(analysis, catalogue, out, options, arguments.stages)
        run = run_analysis(
            analysis,
            out,
            stages=arguments.stages,
            options=options,
            catalogue=catalogue,
            progress=progress,
        )
    return _summary(run, arguments.stages)


def _demo_input(
    out: Path, arguments: argparse.Namespace, progress: Callable[[str, int, int], None]
) -> Path:
    """The demonstration samples: simulated unless the folder holds those of this version."""
    import os

    from alp_coffea.builtin import builtin_folder
    from alp_coffea.simulation import simulate

    folder = out / "input"
    source = builtin_folder("datasets") / "demo.yaml"
    stamp = f"{alp_coffea.__version__} seed {arguments.seed}\n{source.read_text('utf-8')}"
    made = folder / "made_from.txt"
    if not (made.is_file() and made.read_text("utf-8") == stamp):
        made.unlink(missing_ok=True)
        simulate(
            source,
            folder,
            workers=arguments.workers or os.cpu_count() or 1,
            seed=arguments.seed,
            progress=lambda done, total: progress("simulate", done, total),
        )
        made.write_text(stamp, "utf-8")
    return folder / "catalogue.yaml"


def _summary(run: Run, stages: Sequence[str]) -> int:
    """Print what came out and return the exit code."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    code = OK
    lost = [row for row in run.ledger if row["status"] not in ("done", "blinded")]
    read = sum(row["read"] for row in run.ledger)
    files = sum(row["status"] in ("done", "partial") for row in run.ledger)
    console.print(f"{read:,} events read from {files} files")
    blinding = run.manifest["blinding"]
    if blinding["unblinded"]:
        console.print("[yellow]unblinded[/yellow] with --unblind; the manifest says so")
    elif blinding["policy"] != "none":
        console.print(f"data are blinded: {blinding['policy']}")
    for row in lost[:_NAMED]:
        console.print(f"[red]not read:[/red] {row['path']}: {row['reason']}")
    if len(lost) > _NAMED:
        console.print(f"[red]not read:[/red] {len(lost) - _NAMED} more files, see the manifest")
    truncated = [r for r in run.ledger if (r["conversion"] or {}).get("truncated_events")]
    if truncated:
        events = sum(row["conversion"]["truncated_events"] for row in truncated)
        console.print(
            f"[yellow]{events:,} events of {len(truncated)} files[/yellow] have truncated lists "
            "(maxCandidates) or candidates left out; the manifest says where"
        )
    remarks = [row for row in run.samples.values() if row["note"]]
    for row in remarks[:_REMARKS]:
        console.print(f"[yellow]{row['name']}:[/yellow] {row['note']}")
    if len(remarks) > _REMARKS:
        console.print(f"remarks on {len(remarks) - _REMARKS} more samples are in the manifest")
    if not run.manifest["input_complete"]:
        console.print(
            "[red]the input is incomplete[/red]; yields and limits use the luminosity that was read"
        )
        code = INPUT_INCOMPLETE
    if "scan" in stages:
        failed = [row for row in run.scan if row["status"] not in ("ok", "blinded")]
        console.print(f"{len(run.scan) - len(failed)} of {len(run.scan)} mass hypotheses ok")
        for line in run.scan.warnings:
            console.print(f"[yellow]warning:[/yellow] {line}")
        for row in failed[:10]:
            console.print(f"[red]failed:[/red] {row['mass']:.4f} GeV: {row['status']}")
        if failed and code == OK:
            code = POINTS_FAILED
    console.print(f"results in {run.folder}")
    if "report" in stages:
        console.print(f"open {run.folder / 'report.html'}")
    return code


# --- simulate ------------------------------------------------------------------------------------


def _add_simulate(simulate: argparse.ArgumentParser) -> None:
    simulate.add_argument("catalogue", metavar="CATALOGUE", help="catalogue with 'simulate' blocks")
    simulate.add_argument("-o", "--out", type=Path, required=True, help="folder for the files")
    simulate.add_argument("--workers", type=_positive, default=1, help="local processes")
    simulate.add_argument("--seed", type=int, default=0, help="added to every sample's seed")


def _simulate(arguments: argparse.Namespace) -> int:
    from alp_coffea.builtin import builtin_folder
    from alp_coffea.execution.progress import display
    from alp_coffea.simulation import simulate

    source = Path(arguments.catalogue)
    if source.suffix not in (".yaml", ".yml"):
        source = builtin_folder("datasets") / f"{source}.yaml"
    with display() as progress:
        path = simulate(
            source,
            arguments.out,
            workers=arguments.workers,
            seed=arguments.seed,
            progress=lambda done, total: progress("simulate", done, total),
        )
    print(path)
    return OK


if __name__ == "__main__":
    sys.exit(main())
