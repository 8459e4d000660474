"""The first call in a process, which compiles the kernels, two at a time, or loads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

from alp_coffea.stats.engine import compilation
from alp_coffea.stats.engine.batch import Group
from alp_coffea.stats.engine.fits import Problem

_PATIENCE: Final = 60.0  # seconds that the other process may take longer

# The kernels need neither the rest of this package nor scipy, and take less time to import without.
_IN_ANOTHER_PROCESS: Final = "; ".join(
    (
        "import sys, types",
        "sys.modules['scipy'] = None",
        "package = types.ModuleType('alp_coffea.stats.engine')",
        "package.__path__ = [sys.argv[1]]",
        "sys.modules[package.__name__] = package",
        "from alp_coffea.stats.engine import compilation",
        "compilation.compile_half()",
    )
)


def _start_helper() -> subprocess.Popen[bytes] | None:
    """A process that compiles half of the kernels, if one is needed and possible."""
    if compilation.steps_are_compiled() or not sys.executable:
        return None
    path = os.pathsep.join(str(entry) for entry in sys.path if entry)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def compile_kernels(groups: list[Group]) -> None:
    """Compile what the fits of ``groups`` need, unless that was done before.

    On a new installation another process compiles half of it into numba's cache. If that process
    fails, this one compiles everything.
    """
    helper = _start_helper()
    nothing = np.zeros(0, np.int64)
    try:
        with compilation.numba_alone():
            for group in groups:
                Problem(group, nothing, group.observed[:0]).evaluate(nothing)
        if helper is not None:
            helper.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if helper is not None and helper.poll() is None:
            helper.kill()
            helper.wait()
    with compilation.numba_alone():
        compilation.compile_steps()
