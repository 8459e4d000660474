"""The engine in threads, in other processes, and at its first call."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from engine_models import window
from numba.core import entrypoints

from alp_coffea.stats import engine
from alp_coffea.stats.engine import compilation

MASSES = (0.5, 1.5, 4.0, 9.0)


def _limit_in_child(workspace: dict) -> float:
    return float(engine.compile(workspace, poi="sigma").limits(threads=2).observed[0])


def test_usable_in_forked_processes_and_in_threads():
    workspace = window(3.0)
    here = _limit_in_child(workspace)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_limit_in_child, (workspace,)).get(timeout=60) == here
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(_limit_in_child, [workspace] * 4)) == [here] * 4


@pytest.mark.slow
@pytest.mark.parametrize("library", ["loky", "dask"])
def test_usable_in_workers_of_loky_and_dask(library):
    workspace = window(3.0)

    def limit(spec: dict) -> float:  # local, so that workers need not import this module
        from alp_coffea.stats import engine

        return float(engine.compile(spec, poi="sigma").limits(threads=2).observed[0])

    if library == "loky":
        loky = pytest.importorskip("loky")
        with loky.ProcessPoolExecutor(1) as pool:
            found = pool.submit(limit, workspace).result(timeout=300)
    else:
        dask = pytest.importorskip("dask")
        (found,) = dask.compute(dask.delayed(limit)(workspace), scheduler="processes")
    assert found == _limit_in_child(workspace)


_FIRST_CALL = """
import json, sys
from alp_coffea.stats import engine
from alp_coffea.stats.engine import compilation, first_use
if len(sys.argv) > 1:
    first_use.sys.executable = sys.argv[1]
limit = engine.compile(json.loads(sys.stdin.read()), poi="sigma").limits().observed[0]
hits = sum(compilation.newton_steps.stats.cache_hits.values())
compilation.compile_half()
print(json.dumps([float(limit), hits, len(compilation.chain_rule.signatures)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("helper", ["python", "broken"])
def test_first_call_on_a_new_installation(tmp_path, helper):
    """Another process compiles some of the kernels; without it the limits are the same."""
    workspace = window(3.0)
    arguments = [] if helper == "python" else [str(tmp_path / "no_such_python")]
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL, *arguments],
        input=json.dumps(workspace),
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    limit, hits, signatures = json.loads(done.stdout)
    assert limit == engine.compile(workspace, poi="sigma").limits().observed[0]
    assert hits == (1 if helper == "python" else 0)
    assert signatures == 1  # what the other process compiles is what the likelihood asks for


_EXTENSIONS = """
import json, sys
from alp_coffea.stats import engine
engine.compile(json.loads(sys.stdin.read()), poi="sigma").limits()
before = "awkward._connect.numba.layout" in sys.modules
import awkward, numba
@numba.njit
def total(array):
    found = 0.0
    for event in array:
        for value in event:
            found += value
    return found
print(json.dumps([before, total(awkward.Array([[1.0, 2.0], [], [4.0]]))]))
"""


def test_extensions_of_numba_are_imported_only_when_needed():
    """The engine does not wait for what other packages tell numba, and does not lose it either."""
    done = subprocess.run(
        [sys.executable, "-c", _EXTENSIONS],
        input=json.dumps(window(3.0)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [False, 7.0]


def test_other_threads_find_numba_as_it_was(monkeypatch):
    seen = []
    monkeypatch.setattr(entrypoints, "init_all", lambda: seen.append(threading.get_ident()))
    other = threading.Thread(target=lambda: entrypoints.init_all())
    with compilation.numba_alone(), compilation.numba_alone():
        assert not gc.isenabled()
        entrypoints.init_all()  # left out
        other.start()
        other.join()
    entrypoints.init_all()
    assert seen == [other.ident, threading.get_ident()]
    assert gc.isenabled()
    with pytest.raises(KeyError), compilation.numba_alone():
        raise KeyError
    assert gc.isenabled()
    entrypoints.init_all()
    assert len(seen) == 3
