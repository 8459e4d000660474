"""dask's scheduler and workers in processes of their own, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scheduler(folder: Path, *options: str) -> Iterator[str]:
    """Address of a scheduler."""
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    command = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1"]
    command += ["--port", "0", "--scheduler-file", str(file), *options]
    with _process([sys.executable, *command]):
        while not file.exists():
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"]


@contextmanager
def worker(
    address: str,
    folder: Path,
    *options: str,
    memory: str = "2GB",
    python: Path | str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A nanny with one worker process."""
    command = ["-m", "distributed.cli.dask_worker", address, "--nworkers", "1", "--nthreads", "1"]
    command += ["--no-dashboard", "--memory-limit", memory, "--local-directory", str(folder)]
    with _process([str(python), *command, *options], folder, environment) as process:
        yield process


@contextmanager
def _process(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
