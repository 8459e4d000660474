"""Objects as a notebook shows them: tables with captions, headers of columns, and the content."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from alp_coffea.config import Catalogue, parse
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.results import Run

CATALOGUE = """
description: a <small> campaign
samples:
  - {name: data, kind: data, files: [a.root, b.root], luminosity: 12.5}
  - name: ggg
    kind: background
    files: [g.root]
    cross_section: {value: 64.1, source: log}
    generated_events: 6410
  - {name: s, kind: signal, mass: 3.0, files: [s.root], generated_events: 10, synthetic: true}
"""


class Tables(HTMLParser):
    """Rows of cells, captions, and whether header cells say what they head."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self.scopes: list[str | None] = []
        self._into: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th", "caption"):
            self._into = self.captions if tag == "caption" else self.rows[-1]
            self._into.append("")
            if tag == "th":
                self.scopes.append(dict(attrs).get("scope"))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def shown(item: object) -> Tables:
    tables = Tables(item._repr_html_())  # type: ignore[attr-defined]
    assert tables.captions
    assert set(tables.scopes) == {"col"}
    assert {len(row) for row in tables.rows} == {len(tables.rows[0])}
    return tables


def test_catalogue() -> None:
    tables = shown(parse(CATALOGUE, Catalogue, where="test"))
    assert tables.captions == ["a <small> campaign"]
    assert tables.rows[1:] == [
        ["data", "data", "–", "–", "12.5", "a.root, b.root", "no"],
        ["ggg", "background", "–", "64.1", "100", "g.root", "no"],
        ["s", "signal", "3", "–", "–", "s.root", "yes"],
    ]


def test_selection_shows_the_cuts_so_far() -> None:
    cutflow = Cutflow()
    selection = Selection(cutflow, "tight", weight=np.ones(4))
    selection.cut("photon_energy", np.array([True, True, True, False]))
    assert [row[:2] for row in shown(selection).rows[1:]] == [["all", "4"], ["photon energy", "3"]]
    Selection(cutflow, "loose", weight=np.ones(2))
    assert shown(selection).captions == ["tight"]
    assert shown(cutflow).captions == ["tight", "loose"]


@pytest.mark.parametrize("lost", [False, True])
def test_ledger_shows_losses_first(tmp_path: Path, lost: bool) -> None:
    row = {"sample": "data", "size": 2_000_000, "expected": 10, "selected": 1, "reason": ""}
    rows = [
        row | {"path": "a.root", "read": 10, "status": "done"},
        row | {"path": "b.root", "read": 10 - 7 * lost, "status": "partial" if lost else "done"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"ledger": rows}), "utf-8")
    ledger = Run(tmp_path).ledger
    assert list(ledger) == rows
    tables = shown(ledger)
    assert tables.captions == ["2 files, " + ("1 with losses" if lost else "all complete")]
    assert [cells[1] for cells in tables.rows[1:]] == (
        ["b.root", "a.root"] if lost else ["a.root", "b.root"]
    )
