"""What a run says while it goes on: bars on a terminal, lines in a log, or nothing."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alp_coffea.execution import progress
from alp_coffea.execution.progress import Status, display


def status(**changes: object) -> Status:
    """A run that is half through."""
    half = Status(total=1000, chunks_total=10, events=600, resumed=100, chunks=5, where="a farm")
    half.bytes, half.failures, half.stale = 3_000_000, 1, 2
    half.notes = ["checkpoint x is damaged"]
    half.started -= 10.0
    for name, value in changes.items():
        setattr(half, name, value)
    return half


SUMMARY = (
    r"process: 600 of 1,000 events in 0:10; 100 of them from checkpoints; "
    r"2 stale checkpoints computed again; \d\d events/s, 5 of 10 chunks, 3.0 MB, "
    r"1 failed attempts; 7 entries lost"
)


@pytest.mark.parametrize("mode", ["plain", "auto"])
def test_a_log_gets_a_line_now_and_then_and_a_summary(
    mode: progress.Mode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY", 0.0)
    with display(mode) as show:
        show.processing(status())
        show.processing(status())
        show.processing(status(lost=7, finished=True))
        show("scan", 5, 5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["process: on a farm", "process: checkpoint x is damaged"]
    going_on = (
        r"process: 600 of 1,000 events, \d\d events/s, 5 of 10 chunks, 3.0 MB, "
        r"1 failed attempts, 0:08 left \(\d+.\d s\)"
    )
    assert re.fullmatch(going_on, lines[2])
    assert sum(bool(re.fullmatch(SUMMARY, line)) for line in lines) == 1
    assert lines[-1].startswith("scan: 5 of 5 (")


def test_a_log_is_not_filled_with_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with display("plain") as show:
        for events in range(1000):
            show.processing(status(events=events))
    assert len(capsys.readouterr().err.splitlines()) == 2  # where it runs, and what is damaged


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with display("quiet") as show:
        show.processing(status())
        show.processing(status(finished=True))
        show("scan", 5, 5)
    assert capsys.readouterr() == ("", "")


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_progress import status
from alp_coffea.execution.progress import display

with display({mode!r}) as show:
    show.processing(status())
    time.sleep(0.3)
    show.processing(status(events=1000, lost=0, finished=True))
"""


def terminal(script: str) -> str:
    """What a script shows on a terminal of 120 columns."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stderr=slave, stdout=slave, env=environment
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 4096):
                shown += part
        except OSError:  # how Linux says that nobody has the other end any more
            pass
        os.close(master)
    assert process.returncode == 0, shown
    return shown.decode()


def test_a_terminal_gets_bars_with_all_that_there_is_to_know() -> None:
    shown = terminal(SCRIPT.format(tests=str(Path(__file__).parent), mode="auto"))
    for text in ("process", "━", "60%", "events/s", "5 of 10 chunks", "3.0 MB", "left", "100%"):
        assert text in shown, text
    assert "1 failed attempts" in shown
    assert "process: 1,000 of 1,000 events in" in shown


def test_plain_has_no_bars_on_a_terminal_either() -> None:
    shown = terminal(SCRIPT.format(tests=str(Path(__file__).parent), mode="plain"))
    assert "━" not in shown
    assert "process: 1,000 of 1,000 events in" in shown
