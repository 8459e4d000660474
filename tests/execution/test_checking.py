"""Trying one chunk before a long run."""

from __future__ import annotations

from pathlib import Path

import inputs
import pytest

from alp_coffea.errors import ProcessorError
from alp_coffea.execution import load_processor
from alp_coffea.execution.checking import Cost, measure_cost
from alp_coffea.execution.progress import Status
from alp_coffea.physics import SUPERKEKB


def test_one_chunk_is_measured_and_nothing_else_read(tmp_path: Path) -> None:
    (tmp_path / "filler.py").write_text(inputs.PROCESSOR, "utf-8")
    catalogue = inputs.small_catalogue(tmp_path)
    records = inputs.opened(catalogue)
    processor = load_processor(str(tmp_path / "filler.py"), {"pause": 0.1}, beams=SUPERKEKB)
    cost = measure_cost(processor, records, catalogue, chunksize=200)
    assert cost.events == 200
    assert sum(record.read for record in records) == 200
    assert 0.1 < cost.seconds_per_event * 200 < 2.0
    assert 50e6 < cost.memory < 5e9
    assert 100 < cost.result < 10_000


def test_the_estimate_is_proportional_to_events_and_workers() -> None:
    cost = Cost(events=1000, startup=3.0, seconds_per_event=1e-5, memory=10**9, result=1000)
    assert cost.seconds(10**9, 100) == pytest.approx(3 + 100)


def test_a_broken_processor_is_found(tmp_path: Path) -> None:
    (tmp_path / "filler.py").write_text(inputs.PROCESSOR, "utf-8")
    catalogue = inputs.small_catalogue(tmp_path)
    options = {"mishap": "raise", "at": 5}
    processor = load_processor(str(tmp_path / "filler.py"), options, beams=SUPERKEKB)
    with pytest.raises(ProcessorError, match="a mistake of the user"):
        measure_cost(processor, inputs.opened(catalogue), catalogue, chunksize=200)


def test_status_tells_rate_time_left_and_losses() -> None:
    status = Status(total=1000, chunks_total=10, events=600, resumed=100, chunks=5)
    status.started -= 10.0
    assert status.rate == pytest.approx(50, rel=0.05)
    assert status.left == pytest.approx(8, rel=0.05)
    status.failures, status.lost, status.stale = 2, 7, 3
    for text in ("600 of 1,000 events", "100 of them from checkpoints", "3 stale", "7 entries lost",
                 "2 failed attempts", "5 of 10 chunks"):  # fmt: skip
        assert text in status.summary()
    assert "0:08 left" in status.line()
