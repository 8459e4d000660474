"""The first call in a process, which compiles the kernels, two at a time, or loads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from alp_coffea.stats.engine import compilation
from alp_coffea.stats.engine.batch import Group
from alp_coffea.stats.engine.fits import Problem

# The kernels need neither the rest of this package nor scipy, and take less time to import without.
_IN_ANOTHER_PROCESS = """
import sys, types
sys.modules["scipy"] = None
package = types.ModuleType("alp_coffea.stats.engine")
package.__path__ = [sys.argv[1]]
sys.modules[package.__name__] = package
from alp_coffea.stats.engine import compilation
compilation.compile_half()
"""


def compile_kernels(groups: list[Group]) -> None:
    """Compile what the fits of ``groups`` need, unless that was done before.

    On a new installation another process compiles half of it into numba's cache. If that process
    fails, this one compiles everything.
    """
    helper = None
    if not compilation.steps_are_compiled() and sys.executable:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        try:
            helper = subprocess.Popen(
                [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(Path(__file__).parent)],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            helper = None
    nothing = np.zeros(0, np.int64)
    with compilation.numba_alone():
        for group in groups:
            Problem(group, nothing, group.observed[:0]).evaluate(nothing)
        if helper is not None:
            helper.wait()
        compilation.compile_steps()
