"""Figures of measured times: what throughput.py and engine.py wrote with --json.

python benchmarks/figures.py throughput.json engine.json -o docs/images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from alp_coffea import plots

#: What the selection benchmark calls its versions, and what the figure does.
VERSIONS = {
    "read": "reading only",
    "ours": "alp_coffea",
    "ours, variations": "alp_coffea, with variations",
    "oracle": "alp_coffea, without kernels",
    "awkward": "awkward and vector",
    "rdataframe": "RDataFrame",
}
OURS = ("alp_coffea", "alp_coffea, with variations", "alp_coffea, without kernels")


def throughput(content: dict[str, Any]) -> Any:
    """CPU time of the three-photon selection."""
    times = [(label, content[name]) for name, label in VERSIONS.items() if name in content]
    return plots.speeds(
        times, ours=OURS, unit="CPU s per million events", title="Three-photon selection"
    )


def engine(content: dict[str, Any]) -> Any:
    """CPU time of one mass hypothesis with observed and expected limits."""
    peers = {
        name: row
        for name, row in content["peers"].items()
        if isinstance(row, dict) and row.get("speed-up")
    }
    ours = next(row["seconds per point"] / row["speed-up"] for row in peers.values())
    times = [("alp_coffea", 1e3 * ours)]
    times += [(name, 1e3 * row["seconds per point"]) for name, row in peers.items()]
    return plots.speeds(
        times, ours=["alp_coffea"], unit="CPU ms per mass", title="Limits at one mass", log=True
    )


def main() -> None:
    """Draw the figure of each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="written by throughput.py or engine.py")
    parser.add_argument("-o", "--out", type=Path, default=Path(), help="folder for the figures")
    options = parser.parse_args()
    for path in options.files:
        content = json.loads(path.read_text("utf-8"))
        name, draw = ("engine", engine) if "peers" in content else ("throughput", throughput)
        print(*plots.save(draw(content), options.out, name))


if __name__ == "__main__":
    main()
