"""Compilation of the kernels, or their loading from numba's cache."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
from numba.core import entrypoints
from numba.core.compiler_lock import global_compiler_lock

from alp_coffea.stats.engine.likelihood import chain_rule
from alp_coffea.stats.engine.newton import newton_steps


@contextmanager
def numba_alone() -> Iterator[None]:
    """Compile and load without what other packages announce to numba, and without collections.

    Importing the extensions of awkward and vector takes far longer than loading our kernels, which
    know neither. They are imported when another function is compiled, or by another thread.
    The many objects of a compilation are all in use, so looking for unused ones is in vain.
    """
    us = threading.get_ident()
    with global_compiler_lock:
        import_extensions, collecting = entrypoints.init_all, gc.isenabled()

        def leave_out_here() -> None:
            if threading.get_ident() != us:
                import_extensions()

        try:
            entrypoints.init_all = leave_out_here
            gc.disable()
            yield
        finally:
            entrypoints.init_all = import_extensions
            if collecting:
                gc.enable()


def compile_steps() -> None:
    """Compile the Newton steps by a call that does nothing."""
    none = np.zeros(0, np.int64)
    newton_steps(
        np.zeros((0, 8, 1)), np.zeros((0, 1, 1)), np.zeros((0, 2, 1), np.int8), np.zeros((0, 8)),
        none, -1, 0.0, np.zeros((3, 1)), none,
    )  # fmt: skip


def steps_are_compiled() -> bool:
    """Whether the Newton steps were compiled before, here or by another process."""
    if newton_steps.signatures:
        return True
    folder = Path(newton_steps.stats.cache_path)
    return any(folder.glob(f"newton.{newton_steps.__name__}-*.nbi"))


def compile_half() -> None:
    """Compile into the cache what takes half the time: Newton steps and a part of the likelihood.

    A process that compiles the likelihood comes late to that part.
    """
    line, table = np.zeros(0), np.zeros((0, 0))
    integers, places = np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
    tables = (places, integers, places)
    chain = (table, places, line, table, places.astype(np.uint64), line)
    arguments = (tables, True, np.zeros(0, np.int8), chain, line, table, 0)
    with numba_alone():
        chain_rule.compile(tuple(numba.typeof(argument) for argument in arguments))
        compile_steps()
