"""HTML tables of results."""

from __future__ import annotations

from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea import tables
from alp_coffea.events.selection import Cutflow


class Cells(HTMLParser):
    """Text of the cells of a table, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), min_size=1, max_size=5))
def test_any_text_comes_back_as_text(rows: list[list[str]]) -> None:
    cells = Cells(tables.table(["<a>", "b"], rows))
    assert cells.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    normal = [[text.replace("\r\n", "\n").replace("\r", "\n") for text in row] for row in rows]
    shown = [[t.replace("\r\n", "\n").replace("\r", "\n") for t in row] for row in cells.rows[1:]]
    assert cells.rows[0] == ["<a>", "b"]
    assert shown == normal


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_four_digits(value: float) -> None:
    assert float(tables.number(value)) == pytest.approx(value, rel=6e-4, abs=1e-300)


def test_long_tables_say_what_is_left_out() -> None:
    html = tables.table(["n"], [[n] for n in range(100)], limit=10)
    assert len(Cells(html).rows) == 11
    assert "90 more of 100 rows not shown" in html
    assert "not shown" not in tables.table(["n"], [[n] for n in range(10)], limit=10)


def test_cutflow_efficiencies() -> None:
    cutflow = Cutflow()
    for cut, left in (("all", 200), ("energy", 100), ("angle", 25)):
        cutflow.book("low_mass", cut, left, 2.0 * left, 4.0 * left)
    rows = Cells(tables.cutflow_table(cutflow.steps("low_mass"))).rows
    assert rows[1] == ["all", "200", "400", "28.28", "100", "100"]
    assert rows[3] == ["angle", "25", "50", "10", "25", "12.5"]


def test_cutflow_of_nothing_has_no_efficiency() -> None:
    cutflow = Cutflow()
    cutflow.book("x", "all", 0, 0.0, 0.0)
    assert Cells(tables.cutflow_table(cutflow.steps("x"))).rows[1][-2:] == ["–", "–"]


def test_ledger_puts_losses_first_and_in_red() -> None:
    good = {
        "sample": "s",
        "path": "a.root",
        "size": 2_000_000,
        "expected": 10,
        "read": 10,
        "selected": None,
        "status": "done",
        "reason": "",
    }
    lost = good | {"path": "b.root", "read": 7, "reason": "truncated"}
    html = tables.ledger_table([good, lost])
    rows = Cells(html).rows
    assert [row[1] for row in rows[1:]] == ["b.root", "a.root"]
    assert html.count('class="loss"') == 1
    assert unescape(rows[2][5]) == "–"


def test_failed_scan_points_are_red() -> None:
    rows = [{"mass": 1.0, "status": "ok"}, {"mass": 2.0, "status": "blinded"}]
    assert 'class="loss"' not in tables.scan_table(rows)
    assert 'class="loss"' in tables.scan_table([*rows, {"mass": 3.0, "status": "no minimum"}])
