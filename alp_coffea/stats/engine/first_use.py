"""Compilation of the kernels when nothing is cached yet, two at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from alp_coffea.stats.engine.batch import Group
from alp_coffea.stats.engine.fits import Problem
from alp_coffea.stats.engine.newton import newton_steps

_IN_ANOTHER_PROCESS = "from alp_coffea.stats.engine import first_use; first_use.compile_steps()"


def compile_steps() -> None:
    """Compile the Newton steps, or load them from the cache, by a call that does nothing."""
    none = np.zeros(0, np.int64)
    newton_steps(
        np.zeros((0, 8, 1)), np.zeros((0, 1, 1)), np.zeros((0, 2, 1), np.int8), np.zeros((0, 8)),
        none, -1, 0.0, np.zeros((3, 1)), none,
    )  # fmt: skip


def _cached() -> bool:
    """Whether the Newton steps were compiled before, here or by another process."""
    if newton_steps.signatures:
        return True
    folder = Path(newton_steps.stats.cache_path)
    return any(folder.glob(f"newton.{newton_steps.__name__}-*.nbi"))


def compile_kernels(groups: list[Group]) -> None:
    """Compile what the fits of ``groups`` need, unless that was done before.

    On a new installation another process compiles the Newton steps into numba's cache while
    this one compiles the likelihood. If that process fails, this one compiles both.
    """
    helper = None
    if not _cached() and sys.executable:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        try:
            helper = subprocess.Popen(
                [sys.executable, "-c", _IN_ANOTHER_PROCESS],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            helper = None
    nothing = np.zeros(0, np.int64)
    for group in groups:
        Problem(group, nothing, group.observed[:0]).evaluate(nothing)
    if helper is not None:
        helper.wait()
    compile_steps()
