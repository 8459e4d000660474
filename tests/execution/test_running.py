"""Processors run on every entry once, and their failures say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alp_coffea.config import load_catalogue
from alp_coffea.errors import ConfigurationError, MissingFieldError, ProcessorError
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB

COUNTER = '''
from coffea.processor import ProcessorABC
import numpy as np

class Counter(ProcessorABC):
    """Counts entries and remembers the first and last event number."""

    def __init__(self, fail_at=None):
        self.fail_at = fail_at

    def process(self, events):
        numbers = np.asarray(events.event)
        if self.fail_at is not None and (numbers == self.fail_at).any():
            raise ZeroDivisionError("a mistake of the user")  # line 14
        return {events.metadata["dataset"]: {"n": len(numbers), "sum": int(numbers.sum())}}

    def postprocess(self, accumulator):
        return accumulator
'''


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "counter.py"
    path.write_text(COUNTER, "utf-8")
    return path


def records(folder: Path, *samples: str) -> tuple[Any, Any]:
    catalogue = load_catalogue(folder / "input" / "catalogue.yaml")
    return catalogue, [r for r in open_catalogue(catalogue) if r.sample in samples]


@pytest.mark.parametrize("executor", ["iterative", "futures"])
@pytest.mark.parametrize("chunksize", [999, 100_000])
def test_every_entry_is_processed_once(
    small_input: Path, counter: Path, executor: Any, chunksize: int
) -> None:
    catalogue, files = records(small_input, "signal_3.0000", "signal_2.0000")
    processor = load_processor(str(counter), {}, beams=SUPERKEKB)
    seen: list[tuple[int, int]] = []
    output = process_files(
        processor,
        files,
        catalogue,
        executor=executor,
        workers=2,
        chunksize=chunksize,
        progress=lambda status: seen.append((status.events, status.total)),
    )
    assert list(output) == ["signal_2.0000", "signal_3.0000"]
    for part in output.values():
        assert part == {"n": 8000, "sum": 8000 * 8001 // 2}
    assert all((f.read, f.expected, f.status) == (8000, 8000, "done") for f in files)
    assert seen[-1] == (16000, 16000)


@pytest.mark.parametrize("executor", ["iterative", "futures"])
def test_a_failing_processor_is_named_with_chunk_and_line(
    small_input: Path, counter: Path, executor: Any
) -> None:
    catalogue, files = records(small_input, "signal_3.0000")
    processor = load_processor(str(counter), {"fail_at": 2500}, beams=SUPERKEKB)
    with pytest.raises(ProcessorError) as caught:
        process_files(processor, files, catalogue, executor=executor, workers=2, chunksize=1000)
    message = str(caught.value)
    assert "signal_3.0000.root, tree 'events', entries 2000 to 3000" in message
    assert "ZeroDivisionError at counter.py:14: a mistake of the user" in message


def test_a_missing_branch_is_named_before_anything_runs(small_input: Path, counter: Path) -> None:
    catalogue, files = records(small_input, "signal_3.0000")
    processor = load_processor(str(counter), {}, beams=SUPERKEKB)
    processor.uses = ("Photon.clusterEnergy",)
    with pytest.raises(MissingFieldError, match=r"Photon.clusterEnergy \(branch 'gamma_cluster"):
        process_files(processor, files, catalogue)
    assert files[0].read == 0


def test_limit_chunks_is_per_sample(small_input: Path, counter: Path) -> None:
    catalogue, files = records(small_input, "signal_3.0000", "signal_2.0000")
    processor = load_processor(str(counter), {}, beams=SUPERKEKB)
    output = process_files(processor, files, catalogue, chunksize=500, limit_chunks=3)
    assert [part["n"] for part in output.values()] == [1500, 1500]


def test_unknown_processor_and_option_get_suggestions(counter: Path) -> None:
    with pytest.raises(ProcessorError, match="no built-in processor 'stralung'; did you mean 'str"):
        load_processor("stralung", {}, beams=SUPERKEKB)
    with pytest.raises(ConfigurationError, match="unknown option 'fail_a'; did you mean 'fail_at'"):
        load_processor(str(counter), {"fail_a": 1}, beams=SUPERKEKB)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected exactly one ProcessorABC subclass, found none"),
        ("import no_such_module", "fails on import: ModuleNotFoundError"),
        ("def broken(:", "fails on import: SyntaxError"),
    ],
)
def test_unusable_processor_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, "utf-8")
    with pytest.raises(ProcessorError, match=f"mine.py.*{message}"):
        load_processor("mine.py", {}, beams=SUPERKEKB, base=tmp_path)
