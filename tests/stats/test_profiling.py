"""Discrete profiling: equal to ordinary limits for one order, and an envelope of several."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from windows import EDGES, FLAT, MODEL, SQUARES

from alp_coffea.config import Nuisances, Scan
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.limits import point_limits
from alp_coffea.stats.profiling import Envelope, _root, profile_orders
from alp_coffea.stats.scan import BackgroundChoice, scan_points
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import Point

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]
SIZES = Systematics(Nuisances(width=0.02))
MASSES = [2.0, 5.0, 8.0]


def built(order: int, contents: np.ndarray) -> list[Point]:
    data = Spectra(EDGES, dict.fromkeys(KEYS, contents))
    shape = Spectra(EDGES, dict.fromkeys(KEYS, FLAT))
    points = scan_points(
        data,
        shape,
        MODEL,
        Scan(),
        MASSES,
        luminosity=445.0,
        choice=BackgroundChoice(order),
        systematics=SIZES,
    )
    return [point for point in points if isinstance(point, Point)]


@pytest.fixture(scope="module")
def spectrum() -> np.ndarray:
    return np.random.default_rng(12).poisson(200 * FLAT).astype(float)


def test_one_order_is_the_ordinary_fit(spectrum: np.ndarray) -> None:
    points = built(0, spectrum)
    ours = profile_orders([points], level=0.9)
    for profiled, plain in zip(
        ours, point_limits([p.workspace for p in points], level=0.9), strict=True
    ):
        assert profiled.best == 0
        assert profiled.limits.status == "ok"
        assert profiled.limits.observed == pytest.approx(plain.observed, rel=1e-5)
        assert profiled.limits.expected == pytest.approx(plain.expected, rel=1e-5)
        assert profiled.limits.z_local == pytest.approx(plain.z_local, abs=1e-6)
        assert profiled.limits.poi_hat == pytest.approx(plain.poi_hat, rel=1e-6)
        assert profiled.limits.gof_p == pytest.approx(plain.gof_p, rel=1e-6)


def test_the_order_of_columns_does_not_matter(spectrum: np.ndarray) -> None:
    columns = [built(order, spectrum) for order in (-1, 0, 1)]
    one = profile_orders(columns, level=0.95)
    other = profile_orders(columns[::-1], level=0.95)
    for a, b in zip(one, other, strict=True):
        assert a.best == 2 - b.best
        assert a.limits.observed == pytest.approx(b.limits.observed, rel=1e-5)
        assert a.limits.expected == pytest.approx(b.limits.expected, rel=1e-5)
        assert a.limits.z_local == pytest.approx(b.limits.z_local, abs=1e-6)


def test_the_envelope_is_the_smallest_penalised_likelihood(spectrum: np.ndarray) -> None:
    columns = [built(order, spectrum) for order in (-1, 0)]
    poi = np.array([0.3, 0.5, 0.7])
    # orders differ from mass to mass in the recoil definition
    separate = [
        Envelope([column], penalty=0.0)(poi)
        + 1.5 * np.array([point.window.order + 1 for point in column])
        for column in columns
    ]
    assert Envelope(columns, penalty=1.5)(poi) == pytest.approx(np.min(separate, axis=0))


def test_a_huge_penalty_leaves_the_lowest_order(spectrum: np.ndarray) -> None:
    low, high = built(-1, spectrum), built(1, spectrum)
    ours = profile_orders([high, low], level=0.95, penalty=1e4)
    plain = point_limits([point.workspace for point in low], level=0.95)
    for profiled, expected in zip(ours, plain, strict=True):
        assert profiled.best == 1
        assert profiled.limits.observed == pytest.approx(expected.observed, rel=1e-4)


def test_data_that_need_the_higher_order_choose_it() -> None:
    # Asimov data: a bend that order 3 cannot follow but order 4 can better
    centres = (SQUARES[1:] + SQUARES[:-1]) / 2
    t = np.clip((centres - 25.0) / 12.0, -1, 1)
    bent = 4000 * FLAT * (1 + 0.8 * t**4)
    low, high = built(-1, bent), built(0, bent)
    assert low[1].window.order == 3
    (_, at_five, _) = profile_orders([low, high], level=0.95)
    assert at_five.best == 1
    assert abs(at_five.limits.z_local) < 0.5


def test_coverage_of_the_profiled_significance() -> None:
    """Signed significances of background-only toys keep mean 0 and width 1."""
    generator = np.random.default_rng(5)
    z = []
    for _ in range(150):
        spectrum = generator.poisson(200 * FLAT).astype(float)
        columns = [built(order, spectrum) for order in (-1, 0, 1)]
        z += Envelope(columns).signed()[3].tolist()
    error = 1 / np.sqrt(len(z))
    assert abs(np.mean(z)) < 4 * error
    assert abs(np.std(z) - 1) < 0.05 + 4 * error / np.sqrt(2)


@pytest.mark.parametrize("size", [0.02, 1.0, 300.0])
def test_roots_at_any_scale(size: float) -> None:
    wanted = np.array([0.5, 1.0, 2.0]) * size
    found = _root(lambda x: norm.ppf(norm.cdf(x / size - wanted / size)), np.full(3, 1.0))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_no_points_no_limits() -> None:
    assert profile_orders([], level=0.95) == []
