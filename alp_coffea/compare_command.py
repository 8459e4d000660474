"""The subcommand ``alp-coffea compare``: data against simulation, from the histograms of a run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alp_coffea.errors import InputError
from alp_coffea.files import write_json

if TYPE_CHECKING:
    from alp_coffea.results import Run

OK = 0


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea compare``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")


def compare_command(arguments: argparse.Namespace) -> int:
    """Print yields and the agreement of every variable; write ``comparison.json``."""
    from rich.console import Console
    from rich.table import Table

    from alp_coffea.results import load

    run = load(arguments.out)
    content = compare(run)
    write_json(content, run.folder / "comparison.json")
    console = Console(highlight=False)
    table = Table("energy set", "candidates", "data", "simulation", "data / simulation")
    for row in content["yields"]:
        table.add_row(
            row["energy_set"],
            row["region"],
            f"{row['data']:.0f} ± {row['data_error']:.0f}",
            f"{row['simulation']:.0f} ± {row['simulation_error']:.0f}",
            f"{row['ratio']:.3f} ± {row['ratio_error']:.3f}" if row["ratio_error"] else "–",
        )
    console.print(table)
    table = Table("variable", "energy set", "chi2 / ndf", "p", "KS", "p (KS)")
    for row in content["variables"]:
        numbers = (f"{row[key]:.3g}" if row[key] is not None else "–" for key in _PROBABILITIES)
        table.add_row(
            row["variable"], row["energy_set"], f"{row['chi2']:.1f} / {row['ndf']}", *numbers
        )
    console.print(table)
    return OK


_PROBABILITIES = ("p", "ks", "ks_p")


def compare(run: Run) -> dict[str, Any]:
    """Yields like R0 table 7.3, and chi^2 and KS of every variable, as plain data.

    Missing numbers are None. Raises InputError if the run has no data or no background.
    """
    from alp_coffea.stats.comparison import agreement, yields

    data, simulation = run.scaled("mass", "data"), run.scaled("mass", "background")
    if data is None or simulation is None:
        raise InputError(f"{run.folder}: a comparison needs data and background samples")
    variables = []
    names = {
        name.partition("/")[2]
        for name, histogram in run.histograms.items()
        if histogram.axes.name == ("energy_set", "x")
    }
    for name in sorted(names):
        observed, expected = run.scaled(name, "data"), run.scaled(name, "background")
        if observed is None or expected is None:
            continue
        for energy_set in observed.axes["energy_set"]:
            n, e = (h[{"energy_set": energy_set}] for h in (observed, expected))
            if not e.values().sum() > 0:
                continue
            found = agreement(n.values(), e.values(), e.variances())
            row = {"chi2": found.chi2, "ndf": found.ndf, "p": found.p}
            row |= {"ks": found.ks, "ks_p": found.ks_p}
            variables.append({"variable": name, "energy_set": energy_set} | _plain(row))
    keys = ("data", "data_error", "simulation", "simulation_error", "ratio", "ratio_error")
    return {
        "format": "alp_coffea comparison 1",
        "luminosity": run.luminosity,
        "yields": [
            {"energy_set": row.energy_set, "region": row.region}
            | _plain({key: getattr(row, key) for key in keys})
            for row in yields(data, simulation)
        ],
        "variables": variables,
    }


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}
