"""Which figures a run gets, and what they call its samples."""

from __future__ import annotations

from pathlib import Path

from alp_coffea.figures import sample_label
from alp_coffea.results import Run


def row(name: str, mass: float | None = None, **more: str) -> dict[str, object]:
    return {"name": name, "mass": mass, "kind": "background"} | more


def test_samples_have_readable_names() -> None:
    run = Run(Path("nowhere"))
    rows = [
        row("pseudo_data"),
        row("ggg", label=r"$e^+e^-\to\gamma\gamma\gamma$"),
        row("signal_3.0000", 3.0, label=""),
        row("early.signal_4.0000", 4.0),
        row("late.signal_4.0000", 4.0),
    ]
    run.__dict__["manifest"] = {"samples": rows}
    assert [sample_label(run, str(r["name"])) for r in rows] == [
        "pseudo data",
        r"$e^+e^-\to\gamma\gamma\gamma$",
        "$m_a$ = 3 GeV",
        "$m_a$ = 4 GeV (early.signal_4.0000)",
        "$m_a$ = 4 GeV (late.signal_4.0000)",
    ]
