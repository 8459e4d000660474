"""Small input files and processors for the tests of this room, made in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uproot
import yaml

from alp_coffea.config import Catalogue, load_catalogue
from alp_coffea.events.datasets import FileRecord, open_catalogue

#: Fills what a real processor fills: integers, a set, and a histogram with a growing axis.
PROCESSOR = '''
import os
import signal
import time
from pathlib import Path

import hist
import numpy as np
from coffea.processor import ProcessorABC

SCALE = 1


class Filler(ProcessorABC):
    """Fills event numbers; ``mishap`` is what happens in the chunk of event ``at``."""

    def __init__(self, mishap=None, at=-1, flag=None, pause=0.0):
        self.mishap, self.at, self.flag, self.pause = mishap, at, flag, pause

    def process(self, events):
        numbers = np.asarray(events.event)
        time.sleep(self.pause)
        if (numbers == self.at).any():
            self.meet()
        kind = ["even" if n % 2 == 0 else "odd" for n in (numbers[0] // 1000,)]
        filled = hist.Hist(
            hist.axis.StrCategory([], name="kind", growth=True),
            hist.axis.Regular(50, 0, 50_000, name="number"),
            storage="weight",
        )
        filled.fill(kind=kind[0], number=numbers, weight=0.1 * SCALE)
        return {
            events.metadata["dataset"]: {
                "histograms": {"numbers": filled},
                "sum": int(numbers.sum()) * SCALE,
                "seen": {int(numbers[0] // 10_000)},
                "selected": int((numbers % 3 == 0).sum()),
            }
        }

    def meet(self):
        if self.mishap == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mishap == "kill once" and not Path(self.flag).exists():
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mishap == "raise":
            raise ZeroDivisionError("a mistake of the user")

    def postprocess(self, accumulator):
        return accumulator
'''


def write_events(path: Path, first: int, entries: int, baskets: int = 1) -> Path:
    """A ROOT file with event numbers from ``first`` on, in so many baskets."""
    numbers = np.arange(first, first + entries, dtype=np.int64)
    with uproot.recreate(path) as file:
        file.mktree("events", {"__event__": np.dtype("i8"), "weight": np.dtype("f8")})
        for part in np.array_split(numbers, baskets):
            # numbers without a pattern, so that damage anywhere makes a basket unreadable
            noise = np.random.default_rng(first).normal(size=len(part))
            file["events"].extend({"__event__": part, "weight": noise})
    return path


def write_catalogue(folder: Path, samples: dict[str, Sequence[str]]) -> Catalogue:
    """A catalogue of background samples with the given files."""
    rows = [
        {"name": name, "kind": "background", "files": list(files), "luminosity": 1.0}
        for name, files in samples.items()
    ]
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"samples": rows}), "utf-8")
    return load_catalogue(path)


def small_catalogue(folder: Path, files: int = 4, entries: int = 1000) -> Catalogue:
    """Two samples; event numbers 0, 1, 2... run on through all files."""
    names = [f"f{i}.root" for i in range(files)]
    for i, name in enumerate(names):
        write_events(folder / name, i * entries, entries)
    half = files // 2
    return write_catalogue(folder, {"one": names[:half], "two": names[half:]})


def opened(catalogue: Catalogue) -> list[FileRecord]:
    """Freshly opened records of a catalogue."""
    return open_catalogue(catalogue)


def same(a: Any, b: Any) -> bool:
    """Whether two outputs are equal, histograms to 1e-12."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "view"):
        order = sorted(a.axes[0]) == sorted(b.axes[0])
        return order and all(
            np.allclose(a[k, :].values(True), b[k, :].values(True), rtol=1e-12, atol=0)
            for k in a.axes[0]
        )
    return bool(a == b)
