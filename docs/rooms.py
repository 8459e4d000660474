"""The picture of the rooms, from the import contract: ``python docs/rooms.py``.

Writes ``images/rooms.svg`` from the layers in pyproject.toml, so that the picture says what
``make lint`` holds.
"""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
WIDTH, ROW, GAP, TOP = 760, 40, 12, 36

#: What each room is for, in a few words.
PURPOSE = {
    "run": "python -m alp_coffea.run",
    "__main__": "the command line",
    "check_command": "before a run",
    "compare_command": "to simulation",
    "cutflow_command": "tables",
    "export_command": "HEPData, ROOT",
    "optimise_command": "cuts",
    "scan_command": "limits again",
    "resolution_command": "photons",
    "study_command": "is it right?",
    "train_command": "classifiers",
    "run_resolution": "photons of finished runs",
    "run_studies": "studies of a finished run",
    "dry_run": "what a run would do",
    "file_commands": "inspect, convert",
    "inspection": "what is in a file",
    "pipeline": "the stages",
    "export": "HEPData, ROOT, CSV",
    "figures": "which figures a run gets",
    "report": "report.html",
    "plots": "results → figures",
    "results": "an output folder",
    "execution": "every entry, once",
    "stats": "models, fits, limits",
    "simulation": "embedded Monte Carlo",
    "learning": "classifiers",
    "storage": "histograms on disk",
    "events": "files → selected events",
    "physics": "formulas on arrays",
    "config": "analysis files",
    "catalogue_config": "catalogues",
    "rng": "random numbers",
    "builtin": "what ships",
    "yaml_models": "YAML",
    "conversion_settings": "foreign layouts",
    "errors": "named exceptions",
    "files": "atomic writing",
    "tables": "HTML tables",
}


def layers() -> list[list[str]]:
    """Rooms from the top layer to the bottom one."""
    content = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))
    contract = content["tool"]["importlinter"]["contracts"][0]
    return [
        [room.strip(" ()").removeprefix("alp_coffea.") for room in layer.split("|")]
        for layer in contract["layers"]
    ]


def picture(rows: list[list[str]]) -> str:
    """SVG with one row of boxes per layer."""
    height = TOP + len(rows) * (ROW + GAP) + 8
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="DejaVu Sans, Verdana, sans-serif" role="img" aria-labelledby="title">'
        ),
        '<title id="title">Rooms of alp_coffea; each may import from those below it</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        (
            '<text x="34" y="22" font-size="13" fill="#333333">'
            "Each room may import from those below it, never from above or beside it.</text>"
        ),
        (
            f'<path d="M16,{TOP}V{height - 14}m-5,-8l5,8l5,-8" fill="none" stroke="#777777" '
            'stroke-width="1.5"/>'
        ),
    ]
    for number, rooms in enumerate(rows):
        y = TOP + number * (ROW + GAP)
        width = (WIDTH - 44 - GAP * (len(rooms) - 1)) / len(rooms)
        for position, room in enumerate(rooms):
            x = 34 + position * (width + GAP)
            middle = x + width / 2
            parts += [
                (
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}" rx="6" '
                    'fill="#e8f1f8" stroke="#0072b2"/>'
                ),
                (
                    f'<text x="{middle:.1f}" y="{y + 17}" font-size="13" text-anchor="middle" '
                    f'font-weight="bold" fill="#111111">{escape(_short(room))}</text>'
                ),
                (
                    f'<text x="{middle:.1f}" y="{y + 32}" font-size="11" text-anchor="middle" '
                    f'fill="#333333">{escape(PURPOSE.get(room, ""))}</text>'
                ),
            ]
    return "\n".join([*parts, "</svg>", ""])


def _short(room: str) -> str:
    return room.removesuffix("_command")


if __name__ == "__main__":
    (FOLDER / "images" / "rooms.svg").write_text(picture(layers()), "utf-8")
