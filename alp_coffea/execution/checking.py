"""One chunk end to end, to know before submitting what the whole run will cost."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coffea.processor import ProcessorABC

from alp_coffea.config import Blinding, Catalogue
from alp_coffea.events.datasets import FileRecord
from alp_coffea.execution.running import process_files


@dataclass(frozen=True)
class Cost:
    """What processing costs, judged by one chunk of each sample's kind.

    ``startup`` is the time for compiling and importing, once per worker [s];
    ``seconds_per_event`` the time in one process after that; ``memory`` the peak of that process
    and ``result`` the size of a chunk's result on disk, both in bytes.
    """

    events: int
    startup: float
    seconds_per_event: float
    memory: int
    result: int

    def seconds(self, events: int, workers: int) -> float:
        """Estimated time for so many events on so many workers [s]."""
        return self.startup + events * self.seconds_per_event / workers


def measure_cost(
    processor: ProcessorABC,
    records: Sequence[FileRecord],
    catalogue: Catalogue,
    *,
    chunksize: int,
    blinding: Blinding | None = None,
) -> Cost:
    """Process the first chunk of the largest sample of each kind, twice, in this process.

    Raises whatever the processor would raise in the run.
    """
    chosen = [max(group, key=lambda r: r.expected) for group in _by_kind(records, catalogue)]
    seconds = []
    for _ in range(2):
        for record in chosen:
            record.read, record.selected = 0, None
        with tempfile.TemporaryDirectory(prefix="alp_coffea-") as temporary:
            start = time.perf_counter()
            process_files(
                processor,
                chosen,
                catalogue,
                chunksize=chunksize,
                limit_chunks=1,
                blinding=blinding,
                checkpoints=Path(temporary),
            )
            seconds.append(time.perf_counter() - start)
            size = sum(path.stat().st_size for path in Path(temporary).glob("*.data"))
    events = sum(record.read for record in chosen)
    cold, warm = seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(
        events=events,
        startup=max(cold - warm, 0.0),
        seconds_per_event=warm / events,
        memory=peak * (1 if sys.platform == "darwin" else 1024),  # kilobytes on Linux
        result=size // len(chosen),
    )


def _by_kind(records: Sequence[FileRecord], catalogue: Catalogue) -> list[list[FileRecord]]:
    kinds = {sample.name: sample.kind for sample in catalogue.samples}
    groups: dict[str, list[FileRecord]] = {}
    for record in records:
        if record.status == "pending":
            groups.setdefault(kinds[record.sample], []).append(record)
    return list(groups.values())
