"""Analyses on a batch system, through the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alp_coffea.storage import load_histograms


def configure(
    folder: Path, environment: Mapping[str, str], system: str, **more: Any
) -> dict[str, str]:
    """Environment in which dask-jobqueue finds its options for a batch system."""
    settings = {
        "cores": 1,
        "processes": 1,
        "memory": "2GB",
        **({} if system == "htcondor" else {"walltime": "00:20:00"}),
        "log-directory": str(folder / "logs"),
        "local-directory": str(folder / "scratch"),
        **more,
    }
    (folder / "jobqueue.yaml").write_text(yaml.safe_dump({"jobqueue": {system: settings}}))
    return {**environment, "DASK_CONFIG": str(folder), "OMP_NUM_THREADS": "1"}


def run(environment: dict[str, str], *command: str) -> str:
    """What ``alp-coffea run`` says on the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "alp_coffea", "run", *command],
        env=environment,
        cwd=environment["DASK_CONFIG"],  # PBS leaves what jobs say where they were submitted
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_same(one: Path, two: Path) -> None:
    """Every histogram bit for bit, and the cutflows."""
    ours, theirs = (load_histograms(folder / "histograms.zip") for folder in (one, two))
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours)
    assert (one / "cutflow.json").read_bytes() == (two / "cutflow.json").read_bytes()
