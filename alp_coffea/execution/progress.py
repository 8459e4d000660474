"""How far a run is, and saying so on a terminal, in a batch job's log, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

Mode = Literal["auto", "plain", "quiet"]
#: Seconds between two lines in a log.
_LOG_EVERY: Final = 30.0


@dataclass
class Status:
    """Numbers of a run while it goes on.

    ``events`` are those accounted for as read, of which ``resumed`` came from checkpoints;
    ``failures`` counts failed attempts, ``lost`` entries given up, ``stale`` checkpoints of
    other versions of code, options or files and damaged ones, which are computed again; ``notes``
    say which are damaged. When ``finished``, everything is merged. ``where`` says on what it runs.
    """

    total: int
    chunks_total: int
    events: int = 0
    resumed: int = 0
    chunks: int = 0
    bytes: int = 0
    failures: int = 0
    lost: int = 0
    stale: int = 0
    finished: bool = False
    where: str = ""
    notes: Sequence[str] = ()
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Time since the start [s]."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Events per second processed by this run, resumed ones left out."""
        return (self.events - self.resumed) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Estimated time to the end [s], None before anything was processed."""
        return (self.total - self.events - self.lost) / self.rate if self.rate else None

    def line(self) -> str:
        """Progress in one line."""
        left = "" if self.left is None else f", {_clock(self.left)} left"
        return f"{self.events:,} of {self.total:,} events, {self.details()}{left}"

    def details(self) -> str:
        """Rate, chunks, bytes and failures."""
        failures = f", {self.failures} failed attempts" if self.failures else ""
        return (
            f"{self.rate:,.0f} events/s, {self.chunks} of {self.chunks_total} chunks, "
            f"{self.bytes / 1e6:,.1f} MB{failures}"
        )

    def summary(self) -> str:
        """What a finished run did and lost, in one line."""
        parts = [f"{self.events:,} of {self.total:,} events in {_clock(self.seconds)}"]
        if self.resumed:
            parts.append(f"{self.resumed:,} of them from checkpoints")
        if self.stale:
            parts.append(f"{self.stale} stale checkpoints computed again")
        return "; ".join([*parts, self.details(), f"{self.lost:,} entries lost"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Shows the progress of the stages of a run. Made by :func:`display`."""

    def __init__(self, console: Console, bars: Progress, log: bool) -> None:
        self._console = console
        self._bars = bars
        self._log = log
        self._tasks: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def processing(self, status: Status) -> None:
        """Show how far the processing of files is, and what it came to at the end."""
        if "process" not in self._tasks and status.where:
            self._console.print(f"process: on {status.where}")
            for note in status.notes:
                self._console.print(f"process: {note}", markup=False)
        self._show("process", status.events + status.lost, status.total, status)
        if status.finished:
            self._console.print(f"process: {status.summary()}")

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a stage is done."""
        self._show(stage, done, total, None)

    def _show(self, stage: str, done: int, total: int, status: Status | None) -> None:
        now = time.monotonic()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, details="", left=None)
            self._started[stage] = self._said[stage] = now
        details, left = ("", None) if status is None else (status.details(), status.left)
        self._bars.update(
            self._tasks[stage], completed=done, total=total, details=details, left=left
        )
        due = now - self._said[stage] > _LOG_EVERY
        if self._log and (due or (done >= total and status is None)):
            self._said[stage] = now
            text = f"{done:,} of {total:,}" if status is None else status.line()
            self._console.print(f"{stage}: {text} ({now - self._started[stage]:.1f} s)")


@contextmanager
def display(mode: Mode = "auto") -> Iterator[Display]:
    """Bars on a terminal, lines elsewhere and in ``plain`` mode, nothing in ``quiet`` mode."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=mode == "quiet")
    bars = mode == "auto" and console.is_terminal
    with Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:3.0f}%"),
        _Left(),
        TextColumn("{task.fields[details]}"),
        console=console,
        disable=not bars,
    ) as progress:
        yield Display(console, progress, log=not bars)


class _Left(ProgressColumn):
    """Time left while going on, time taken at the end."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(_clock(task.finished_time or 0.0))
        # what came from checkpoints says nothing about the speed: ours leaves it out
        left = task.time_remaining if task.fields["left"] is None else task.fields["left"]
        return Text("-:--" if left is None else f"{_clock(left)} left")


#: Called with the state of a run after every step.
Update = Callable[[Status], None]
