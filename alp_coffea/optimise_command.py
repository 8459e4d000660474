"""The subcommand ``alp-coffea optimise``: where cuts should be, from the histograms of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alp_coffea.errors import InputError
from alp_coffea.files import write_json

if TYPE_CHECKING:
    from alp_coffea.results import Run
    from alp_coffea.stats.punzi import CutGrid, Optimum

OK = 0


def add_optimise(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea optimise``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")
    parser.add_argument("--no-plots", action="store_true", help="write tables only")


def optimise_command(arguments: argparse.Namespace) -> int:
    """Scan and iterate all cuts; print the optimum and write ``optimise.json`` and plots."""
    from rich.console import Console

    from alp_coffea.results import load

    run = load(arguments.out)
    grid = cut_grid(run)
    content = optimise(grid)
    write_json(content, run.folder / "optimise.json")
    console = Console(highlight=False)
    console.print(_table(grid, content))
    if not arguments.no_plots:
        draw(grid, run)
    console.print(f"details in {run.folder / 'optimise.json'}")
    return OK


def cut_grid(run: Run) -> CutGrid:
    """The cut grids of a run's benchmark masses.

    Raises InputError if the run did not fill them.
    """
    from alp_coffea.stats.punzi import CutGrid

    background = run.scaled("cut_grid", "background")
    if background is None:
        raise InputError(
            f"{run.folder}: no background has a 'cut_grid'; run the analysis with the processor "
            "option 'optimisation: true' first"
        )
    signals = {
        row["mass"]: histogram
        for row in run.samples.values()
        if row["kind"] == "signal"
        and (histogram := run.histograms.get(f"{row['name']}/cut_grid")) is not None
        and len(histogram.axes["hypothesis"])
    }
    return CutGrid(signals, background)


def optimise(grid: CutGrid) -> dict[str, Any]:
    """Optimum of each mass and of all, and what the published cuts cost, as plain data."""
    from alp_coffea.stats.punzi import published

    return {
        "format": "alp_coffea optimise 1",
        "masses": {
            f"{mass:.4f}": {
                **_optimum(grid.optimise(mass)),
                "published": published(mass),
                "published_merit": grid.merit(published(mass), mass),
                "scans": [_scan(grid, cut, mass) for cut in grid.thresholds],
            }
            for mass in grid.masses
        },
        "common": _optimum(grid.optimise()),
    }


def _optimum(found: Optimum) -> dict[str, Any]:
    return {"thresholds": found.thresholds, "merit": found.merit, "steps": found.steps}


def _scan(grid: CutGrid, cut: str, mass: float) -> dict[str, Any]:
    from alp_coffea.stats.punzi import published

    row: dict[str, Any] = {"cut": cut, "thresholds": grid.thresholds[cut].tolist()}
    for name, others in (("loose", grid.loose), ("n_minus_1", published(mass))):
        scan = grid.scan(cut, mass, others)
        price = scan.price(published(mass)[cut])
        row[name] = {"merit": scan.merit.tolist(), "best": scan.best, "price": price}
    return row


def _table(grid: CutGrid, content: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="Punzi optimum: threshold (price of the published one, others in place)")
    table.add_column("mass [GeV]", justify="right")
    for cut in grid.thresholds:
        table.add_column(cut.replace("_", " "), justify="right")
    for mass, row in content["masses"].items():
        prices = {scan["cut"]: scan["n_minus_1"]["price"] for scan in row["scans"]}
        table.add_row(
            mass,
            *(f"{value:g} ({prices[cut]:.1%})" for cut, value in row["thresholds"].items()),
        )
    table.add_row("all", *(f"{value:g}" for value in content["common"]["thresholds"].values()))
    return table


def draw(grid: CutGrid, run: Run) -> None:
    """One figure per cut into the run's ``plots``."""
    from alp_coffea import plots
    from alp_coffea.plots.optimisation import cut_scan
    from alp_coffea.stats.punzi import published

    for axis in grid.axes:
        in_use = sorted({published(mass)[axis.name] for mass in grid.masses})
        figure = cut_scan(
            [grid.scan(axis.name, mass, grid.loose) for mass in grid.masses],
            [grid.scan(axis.name, mass, published(mass)) for mass in grid.masses],
            axis_label=axis.label,
            chosen=in_use,
            synthetic=run.manifest["synthetic"],
        )
        plots.save(figure, run.folder / "plots", f"optimise_{axis.name}")
