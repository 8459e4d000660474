"""Where tasks run: in this process or on local processes. Dask is in ``dask_engine``."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Final, Protocol

import loky
from loky.process_executor import BrokenProcessPool

from alp_coffea.execution.tasks import Shipped

#: Small linear algebra is faster on one thread, and each core has a process.
ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)


class WorkerLostError(Exception):
    """So many workers died during a task, of it or of another that ran at the same time."""

    def __init__(self, deaths: int, reason: str) -> None:
        super().__init__(reason)
        self.deaths = deaths


class Engine(Protocol):
    """Runs functions of one argument. Outcomes come as values or exceptions, in any order."""

    #: Whether the task that a worker died of can be told, mostly, when others were under way.
    knows_culprit: bool
    #: Where tasks run, for people.
    description: str

    @property
    def capacity(self) -> int:
        """How many tasks to have under way, so that no worker waits."""

    def prepare(self, function: Callable[[Any], Any]) -> Any:
        """Bring a function to the workers; the result is for :meth:`submit`."""

    def submit(self, function: Any, argument: Any) -> object:
        """Start a task and return its handle."""

    def outcomes(self) -> Iterator[tuple[object, Any]]:
        """Wait for at least one task; handles and what became of them."""

    def close(self) -> None:
        """Stop, whatever is still under way."""


class Iterative:
    """Tasks one after the other in this process."""

    knows_culprit = True
    description = "this process"
    capacity = 1

    def __init__(self) -> None:
        self._waiting: deque[tuple[object, Callable[[Any], Any], Any]] = deque()

    def prepare(self, function: Callable[[Any], Any]) -> Any:
        return function

    def submit(self, function: Any, argument: Any) -> object:
        handle = object()
        self._waiting.append((handle, function, argument))
        return handle

    def outcomes(self) -> Iterator[tuple[object, Any]]:
        handle, function, argument = self._waiting.popleft()
        try:
            outcome = function(argument)
        except Exception as error:  # any error is an outcome, as on a worker
            outcome = error
        yield handle, outcome

    def close(self) -> None:
        self._waiting.clear()


class LocalProcesses:
    """Tasks on loky's processes, started afresh when one of them dies."""

    knows_culprit = False

    def __init__(self, workers: int | None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.description = f"{self.workers} local processes"
        self._pool = self._start()
        self._futures: set[Future[Any]] = set()

    def _start(self) -> loky.ProcessPoolExecutor:
        return loky.ProcessPoolExecutor(
            max_workers=self.workers,
            initializer=_prepare_worker,
            initargs=(os.getpid(),),
            env=ONE_THREAD,
        )

    @property
    def capacity(self) -> int:
        return 2 * self.workers + 2

    def prepare(self, function: Callable[[Any], Any]) -> Any:
        return Shipped(function)

    def submit(self, function: Any, argument: Any) -> object:
        try:
            future = self._pool.submit(function, argument)
        except BrokenProcessPool as error:  # noticed here first
            future = Future()
            future.set_exception(error)
        self._futures.add(future)
        return future

    def outcomes(self) -> Iterator[tuple[object, Any]]:
        done, waiting = wait(self._futures, return_when=FIRST_COMPLETED)
        broken = any(isinstance(future.exception(), BrokenProcessPool) for future in done)
        if broken:
            # the death of one process ends the whole pool: wait for all futures to be told
            done, waiting = wait(self._futures)
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = self._start()
        self._futures = waiting
        lost = [f for f in done if isinstance(f.exception(), BrokenProcessPool)]
        for future in done:
            error = future.exception()
            if future in lost:
                reason = str(error).strip().splitlines()[0]
                yield future, WorkerLostError(1, reason)
            else:
                yield future, error or future.result()

    def close(self) -> None:
        self._pool.shutdown(wait=True, kill_workers=bool(self._futures))


def _prepare_worker(parent: int) -> None:
    # Ctrl-C reaches the whole process group; the submitting process stops its workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker soon after its parent was killed; loky's would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
