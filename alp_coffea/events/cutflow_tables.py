"""A cutflow as a table: on a terminal, in a notebook, as CSV and as LaTeX.

Efficiencies come with the binomial error generalised to weighted events: with passing events a
subset of all, var = [(1 - 2 eff) sum_pass w^2 + eff^2 sum_all w^2] / (sum_all w)^2.
"""

from __future__ import annotations

import csv
import io
import math
from typing import NamedTuple

from rich.table import Table

from alp_coffea.events.selection import Cutflow, Step
from alp_coffea.tables import table


class Row(NamedTuple):
    """One line of the table; efficiencies with their errors, None when nothing came before."""

    cut: str
    events: int
    weighted: float
    error: float
    efficiency_step: float | None
    efficiency_step_error: float | None
    efficiency_total: float | None
    efficiency_total_error: float | None
    n_minus_1: int | None
    candidates: int | None


def cutflow_rows(cutflow: Cutflow, flow: str) -> list[Row]:
    """Lines of one flow in order of application; empty for an unknown flow."""
    steps, others = cutflow.steps(flow), cutflow.n_minus_1(flow)
    rows = []
    for step in steps:
        before = steps[max(step.step - 1, 0)]
        other = others.get(step.cut)
        rows.append(
            Row(
                step.cut,
                step.events,
                step.weighted,
                step.error,
                *efficiency(step, before),
                *efficiency(step, steps[0]),
                other.events if other is not None else None,
                step.candidates,
            )
        )
    return rows


def efficiency(passed: Step, total: Step) -> tuple[float | None, float | None]:
    """Weighted share of ``total`` that passed, and its error; (None, None) for no events."""
    if total.weighted == 0:
        return None, None
    share = passed.weighted / total.weighted
    variance = (1 - 2 * share) * passed.error**2 + share**2 * total.error**2
    return share, math.sqrt(max(variance, 0.0)) / abs(total.weighted)


def rich_table(cutflow: Cutflow, flow: str, *, title: str = "") -> Table:
    """For a terminal."""
    result = Table(title=title or flow)
    for number, header in enumerate(_HEADERS):
        result.add_column(header, justify="right" if number else "left")
    for row in cutflow_rows(cutflow, flow):
        result.add_row(*_cells(row))
    return result


def html_table(cutflow: Cutflow, flow: str) -> str:
    """For a notebook."""
    rows = [_cells(row) for row in cutflow_rows(cutflow, flow)]
    return table(_HEADERS, rows, caption=flow)


def csv_table(cutflow: Cutflow, flow: str) -> str:
    """Comma-separated values in full precision with the fields of :class:`Row` as header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(cutflow_rows(cutflow, flow))
    return text.getvalue()


def latex_table(cutflow: Cutflow, flow: str) -> str:
    """A ``tabular`` environment."""
    rows = [_HEADERS, *(_cells(row) for row in cutflow_rows(cutflow, flow))]
    head, *body = (" & ".join(map(_latex, row)) + r" \\" for row in rows)
    begin = rf"\begin{{tabular}}{{l{'r' * (len(_HEADERS) - 1)}}}"
    lines = [begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}", ""]
    return "\n".join(lines)


def _latex(cell: str) -> str:
    special = {"±": r"$\pm$", "–": "--", "N−1": "$N-1$", "%": r"\%", "_": r"\_"}
    for text, command in special.items():
        cell = cell.replace(text, command)
    return cell


_HEADERS = ("cut", "events", "weighted", "of last [%]", "of all [%]", "N−1", "candidates")


def _cells(row: Row) -> list[str]:
    return [
        row.cut.replace("_", " "),
        f"{row.events:,}",
        f"{row.weighted:.6g} ± {row.error:.3g}",
        _percent(row.efficiency_step, row.efficiency_step_error),
        _percent(row.efficiency_total, row.efficiency_total_error),
        "–" if row.n_minus_1 is None else f"{row.n_minus_1:,}",
        "–" if row.candidates is None else f"{row.candidates:,}",
    ]


def _percent(share: float | None, error: float | None) -> str:
    return "–" if share is None or error is None else f"{100 * share:.2f} ± {100 * error:.2f}"
