"""Published numbers of the 2018 search, with the selection written out in the benchmark."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "simulation.py"
    spec = importlib.util.spec_from_file_location("benchmark_simulation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_yields(benchmark: ModuleType) -> None:
    found = {result.name.strip(): result.measured for result in benchmark.yields(0.5)}
    for name, value in found.items():
        if "all backgrounds" in name:
            published = 15225 if "0.65" in name else 11156
            assert value == pytest.approx(published, rel=0.15)
    assert found["their ratio"] == pytest.approx(0.733, abs=0.010)
    assert found["data/prediction E > 1.0 over E > 0.65"] == pytest.approx(1, abs=0.015)


def test_sensitivity_of_the_yield(benchmark: ModuleType) -> None:
    for result in benchmark.sensitivity(0.3):
        assert result.measured == pytest.approx(result.target, abs=0.02)


def test_knees(benchmark: ModuleType) -> None:
    low, high = (result.measured for result in benchmark.knee(0.5))
    assert low == pytest.approx(13, abs=1.5)
    assert high == pytest.approx(20, abs=2.5)


def test_loose_efficiency(benchmark: ModuleType) -> None:
    for result in benchmark.efficiency(0.5):
        assert result.measured == pytest.approx(result.target, rel=0.05)


def test_mass_where_the_widths_cross(benchmark: ModuleType) -> None:
    *_, result = benchmark.crossing(0.5)
    assert result.measured == pytest.approx(6.6, abs=0.4)
