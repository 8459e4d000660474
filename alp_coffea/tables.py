"""Results as HTML tables, for notebooks and the report: text in, text out, everything escaped.

>>> html = table(["cut", "events"], [["all", 3]], lost=[0])
>>> print(html.splitlines()[2])
<tr class="loss" style="color:#b3261e;font-weight:600"><td>all</td><td class="n">3</td></tr>
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final, Protocol

#: A notebook shows so many rows of a long table and says how many there are.
NOTEBOOK_ROWS: Final = 60

#: Columns of a scan that are shown first, and how they are called.
SCAN_HEADERS: Final[Mapping[str, str]] = {
    "mass": "mass [GeV]",
    "definition": "definition",
    "energy_set": "energy set",
    "n_data": "data",
    "yield": "yield",
    "yield_error": "± error",
    "z_local": "local Z",
    "p_local": "local p",
    "sigma_obs": "σ obs [pb]",
    "sigma_exp": "σ exp [pb]",
    "g_obs": "g obs [1/GeV]",
    "g_exp": "g exp [1/GeV]",
    "gof_p": "fit p",
    "status": "status",
}

_LEDGER: Final = ("expected", "read", "selected", "status", "reason")
_NUMERIC: Final = ' class="n"'
_LOSS: Final = ' class="loss" style="color:#b3261e;font-weight:600"'


class CutStep(Protocol):
    """One row of a cutflow, see :class:`alp_coffea.events.selection.Step`."""

    @property
    def cut(self) -> str: ...
    @property
    def events(self) -> int: ...
    @property
    def weighted(self) -> float: ...
    @property
    def error(self) -> float: ...


def number(value: Any, digits: int = 4) -> str:
    """A cell's text: whole numbers in full, floats to ``digits``, missing values as a dash.

    >>> number(1234567), number(54321.0), number(0.000123456), number(None), number("<b>")
    ('1234567', '54321', '0.0001235', '–', '&lt;b&gt;')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        whole = 10**digits <= abs(value) < 1e9
        return f"{value:.0f}" if whole else f"{value:.{digits}g}"
    return escape(str(value))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str = "",
    lost: Collection[int] = (),
    limit: int | None = None,
    identifier: str = "",
) -> str:
    """A table with escaped headers and cells.

    Parameters
    ----------
    caption
        Title of the table.
    lost
        Positions of rows that are shown as losses, in red.
    limit
        Show at most so many rows and say how many were left out.
    identifier
        HTML id.
    """
    listed = list(rows)
    shown = listed if limit is None or len(listed) <= limit else listed[:limit]
    name = f' id="{escape(identifier)}"' if identifier else ""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    # a column is numeric when all its cells are, missing ones included
    numeric = [all(map(_is_numeric, column)) for column in zip(*shown, strict=True)]
    numeric = numeric or [False] * len(headers)
    head = "".join(
        f'<th scope="col"{_NUMERIC * right}>{escape(header)}</th>'
        for header, right in zip(headers, numeric, strict=True)
    )
    body = "\n".join(
        f"<tr{_LOSS if position in lost else ''}>{''.join(map(_cell, row))}</tr>"
        for position, row in enumerate(shown)
    )
    more = ""
    if len(shown) < len(listed):
        more = f"<p>{len(listed) - len(shown)} more of {len(listed)} rows not shown</p>"
    return (
        f'<table class="alp"{name}>{title}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>{more}"
    )


def _is_numeric(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    return f"<td{_NUMERIC * _is_numeric(value)}>{number(value)}</td>"


def cutflow_table(steps: Sequence[CutStep], *, caption: str = "") -> str:
    """Cuts of one flow with events, weighted sums and efficiencies."""
    rows = []
    for position, step in enumerate(steps):
        before, first = steps[max(position - 1, 0)], steps[0]
        shares = (_percent(step.weighted, base.weighted) for base in (before, first))
        rows.append([step.cut, step.events, step.weighted, step.error, *shares])
    headers = ["cut", "events", "weighted", "± error", "of last [%]", "of all [%]"]
    return table(headers, rows, caption=caption)


def _percent(numerator: float, denominator: float) -> float | None:
    return 100 * numerator / denominator if denominator else None


def scan_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] = tuple(SCAN_HEADERS),
    *,
    caption: str = "",
    limit: int | None = NOTEBOOK_ROWS,
    identifier: str = "",
) -> str:
    """Rows of a scan; those whose status is neither ``ok`` nor ``blinded`` in red."""
    failed = {n for n, row in enumerate(rows) if row["status"] not in ("ok", "blinded")}
    return table(
        [SCAN_HEADERS.get(column, column) for column in columns],
        [[row.get(column) for column in columns] for row in rows],
        caption=caption,
        lost=failed,
        limit=limit,
        identifier=identifier,
    )


def is_lost(row: Mapping[str, Any]) -> bool:
    """Whether a ledger line gave less than it promised."""
    if row["status"] == "blinded":
        return False
    return bool(row["status"] != "done" or row["read"] != row["expected"])


def ledger_table(
    rows: Sequence[Mapping[str, Any]], *, caption: str = "", limit: int | None = NOTEBOOK_ROWS
) -> str:
    """Input files with entries expected, read and selected; losses first and in red."""
    ordered = sorted(rows, key=lambda row: not is_lost(row))
    return table(
        ["sample", "file", "size [MB]", *_LEDGER],
        [
            [row["sample"], row["path"], row["size"] / 1e6, *(row[key] for key in _LEDGER)]
            for row in ordered
        ],
        caption=caption,
        lost={n for n, row in enumerate(ordered) if is_lost(row)},
        limit=limit,
    )


def catalogue_table(
    samples: Sequence[Any], *, caption: str = "", limit: int | None = NOTEBOOK_ROWS
) -> str:
    """Samples of a catalogue (:class:`alp_coffea.catalogue_config.Sample`)."""
    headers = ["sample", "kind", "mass [GeV]", "σ [pb]", "luminosity [1/pb]", "files", "synthetic"]
    rows = [
        [
            sample.name,
            sample.kind,
            sample.mass,
            sample.cross_section and sample.cross_section.value,
            sample.equivalent_luminosity,
            ", ".join(sample.files),
            "yes" if sample.synthetic else "no",
        ]
        for sample in samples
    ]
    return table(headers, rows, caption=caption, limit=limit)


def signal_table(
    fits: Sequence[Any], *, caption: str = "", limit: int | None = NOTEBOOK_ROWS
) -> str:
    """Fitted signal peaks (:class:`alp_coffea.stats.signal.PeakFit`); failed fits in red."""
    rows = [
        {
            "mass [GeV]": fit.mass,
            "definition": fit.definition,
            "energy set": fit.energy_set,
            "μ [GeV²]": fit.mu,
            "σ [GeV²]": fit.sigma,
            "width [GeV]": fit.width,
            "α": fit.alpha,
            "n": fit.n,
            "efficiency [%]": 100 * fit.efficiency,
            "χ²": fit.chi2,
            "ndf": fit.ndf,
            "p": fit.p_value,
            "converged": "yes" if fit.converged else "no",
        }
        for fit in fits
    ]
    return table(
        list(rows[0]) if rows else [],
        [list(row.values()) for row in rows],
        caption=caption,
        lost={n for n, fit in enumerate(fits) if not fit.converged},
        limit=limit,
    )
