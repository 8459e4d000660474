"""Finished points of a scan that is still running, so that an interrupted one goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alp_coffea.files import atomic
from alp_coffea.stats.scan_result import Row


class ScanParts:
    """Rows and pyhf workspaces of some masses per file, in a folder that goes when all is done.

    Parameters
    ----------
    folder
        Where the parts are, ``scan_parts`` in the output folder.
    inputs
        Hash of what the points depend on; parts made of anything else are removed.
    fresh
        Begin without the parts that are there.

    ``rows`` and ``workspaces`` (JSON texts by file name) are those of all parts.
    """

    def __init__(self, folder: Path, inputs: str, *, fresh: bool = False) -> None:
        self._folder, self._inputs = folder, inputs
        self.rows: list[Row] = []
        self.workspaces: dict[str, str] = {}
        if fresh:
            self.clear()
        self._number = 0
        for path in sorted(folder.glob("part_*.json")):
            part = _read(path)
            if part.get("inputs") != inputs:
                path.unlink()
                continue
            self.rows += part["rows"]
            self.workspaces |= part["workspaces"]
            self._number = int(path.stem.removeprefix("part_")) + 1

    def add(self, rows: Sequence[Row], workspaces: Mapping[str, dict[str, Any]]) -> None:
        """Keep points; what was added survives the end of this process."""
        texts = {name: json.dumps(content, default=_plain) for name, content in workspaces.items()}
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"part_{self._number:05d}.json"
        self._number += 1
        with atomic(path) as temporary:
            part = {"inputs": self._inputs, "rows": list(rows), "workspaces": texts}
            temporary.write_text(json.dumps(part), "utf-8")
        self.rows += rows
        self.workspaces |= texts

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    """A part, or nothing if it is damaged: its points are fitted again."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _plain(array: Any) -> Any:
    return array.tolist()
