"""Inverse cumulative functions against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from scipy import special, stats

from alp_coffea.simulation import draws


def test_normal_quantile() -> None:
    p = np.concatenate([np.linspace(1e-4, 1 - 1e-4, 2001), [1e-300, 1e-20, 1e-8, 1 - 1e-12]])
    found = np.array([draws.normal_quantile(x) for x in p])
    np.testing.assert_allclose(found, special.ndtri(p), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("alpha", "power"), [(1.2, 6.0), (0.6, 3.0), (2.0, 1.5)])
def test_crystal_ball_quantile(alpha: float, power: float) -> None:
    p = np.linspace(1e-4, 1 - 1e-4, 501)
    found = np.array([draws.crystal_ball_quantile(x, alpha, power) for x in p])
    np.testing.assert_allclose(found, stats.crystalball.ppf(p, alpha, power), rtol=1e-8, atol=1e-9)


@njit
def _numbers(mean, n):
    state = np.zeros(2, np.uint64)
    out = np.empty(n)
    for i in range(n):
        draws.start(state, np.uint64(99), i)
        out[i] = draws.poisson_draw(state, mean)
    return out


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 20.0])
def test_poisson(mean: float) -> None:
    n = 100_000
    numbers = _numbers(mean, n)
    assert numbers.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / n))
    assert numbers.var() == pytest.approx(mean, rel=0.03)
    for k in range(3):
        expected = stats.poisson.pmf(k, mean)
        assert (numbers == k).mean() == pytest.approx(expected, abs=5 * np.sqrt(0.25 / n))
