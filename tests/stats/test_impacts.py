"""Impacts and correlations where a closed form or pyhf knows them."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Nuisances, Scan, YieldUncertainty
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.impacts import (
    correlations,
    effect_of_systematics,
    nuisances,
    rankings,
    with_signal,
    without_nuisances,
)
from alp_coffea.stats.scan import scan_points
from alp_coffea.stats.studies import signal_template
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import POI, Point

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]


def built(**sizes: float) -> list[Point]:
    settings = Nuisances(
        luminosity=sizes.get("luminosity", 0.01),
        efficiency=(YieldUncertainty(value=sizes.get("efficiency", 0.06)),),
        width=sizes.get("width", 0.03),
    )
    flat = Spectra(EDGES, dict.fromkeys(KEYS, 300 * FLAT))
    points = scan_points(
        flat,
        flat,
        MODEL,
        Scan(),
        [2.0, 5.0, 8.0],
        luminosity=445.0,
        systematics=Systematics(settings),
    )
    return [point for point in points if isinstance(point, Point)]


def test_a_yield_uncertainty_moves_the_cross_section_by_its_size() -> None:
    points = built(width=0.0)
    for ranking, point in zip(rankings(points, with_signal(points)), points, strict=True):
        assert ranking.status == "ok"
        assert [impact.name for impact in ranking.impacts] == ["efficiency", "luminosity"]
        for impact, size in zip(ranking.impacts, (0.06, 0.01), strict=True):
            # at +-1 of its constraint a normsys scales the signal by 1 +- size exactly
            assert impact.up == pytest.approx(ranking.sigma_hat * (1 / (1 + size) - 1), rel=1e-3)
            assert impact.down == pytest.approx(ranking.sigma_hat * (1 / (1 - size) - 1), rel=1e-3)
            assert impact.pull == pytest.approx(0, abs=1e-6)
            assert impact.constraint == pytest.approx(1, abs=1e-6)
        assert ranking.mass == point.window.mass


def test_without_a_signal_nothing_has_an_impact() -> None:
    for ranking in rankings(built()):
        assert ranking.sigma_hat == pytest.approx(0, abs=1e-6)
        assert all(impact.size < 1e-6 * ranking.sigma_error for impact in ranking.impacts)


def test_a_negative_fit_is_followed_below_zero() -> None:
    points = built(width=0.0)
    data = [
        np.asarray(p.workspace["observations"][0]["data"]) - 0.5 * signal_template(p)
        for p in points
    ]
    for ranking, point in zip(rankings(points, data), points, strict=True):
        assert ranking.sigma_hat == pytest.approx(-0.5 * point.unit, rel=1e-3)
        assert ranking.impacts[0].up > 0


def test_correlations_agree_with_the_inverse_hessian_of_pyhf() -> None:
    """Numerical second derivatives of pyhf's likelihood at the same minimum."""
    point = built()[1]
    data = np.asarray(point.workspace["observations"][0]["data"]) + 2 * signal_template(point)
    found = correlations(point, data)
    (channel,) = point.workspace["channels"]

    def plain(value: object) -> object:
        return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else (
            [plain(v) for v in value] if isinstance(value, list)
            else value.tolist() if isinstance(value, np.ndarray) else value
        )  # fmt: skip

    spec = plain({**point.workspace, "observations": [{"name": "window", "data": data}]})
    workspace = pyhf.Workspace(spec)
    model = workspace.model()
    observed = workspace.data(model)
    fit = engine.compile([spec], poi=POI).fit()
    order = [fit.names[0].index(name) for name in model.config.par_names]
    best, step = fit.values[0][order], 0.02 * fit.errors[0][order]

    def nll(parameters: np.ndarray) -> float:
        return -float(np.asarray(model.logpdf(parameters, observed)).item())

    n = len(best)
    hessian = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            total = 0.0
            for a in (1, -1):
                for b in (1, -1):
                    shifted = best.copy()
                    shifted[i] += a * step[i]
                    shifted[j] += b * step[j]
                    total += a * b * nll(shifted)
            hessian[i, j] = total / (4 * step[i] * step[j])
    covariance = np.linalg.inv(hessian)
    errors = np.sqrt(np.diag(covariance))
    reference = covariance / np.outer(errors, errors)
    where = [found.names.index(name) for name in model.config.par_names]
    assert found.matrix[np.ix_(where, where)] == pytest.approx(reference, abs=0.02)
    assert np.diag(found.matrix) == pytest.approx(np.ones(n), abs=1e-6)
    assert channel["name"] == "window"


def test_systematics_weaken_limits_and_more_so_when_they_are_larger() -> None:
    small = effect_of_systematics(built(), level=0.95)
    large = effect_of_systematics(built(efficiency=0.2), level=0.95)
    for a, b in zip(small, large, strict=True):
        assert 1 < a.expected[0] / a.expected[1] < b.expected[0] / b.expected[1] < 1.2
        assert a.expected[1] == pytest.approx(b.expected[1])
        assert a.observed[0] > a.observed[1]


def test_what_is_constrained() -> None:
    point = built()[0]
    assert nuisances(point.workspace) == ["efficiency", "luminosity", "width"]
    assert nuisances(without_nuisances(point.workspace)) == []
    assert rankings([]) == []
    assert effect_of_systematics([], level=0.95) == []
