"""Bias, coverage and spurious signal where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.crossing import expected_crossing
from alp_coffea.stats.scan import NINE_CHOICES, NOMINAL, scan_points
from alp_coffea.stats.studies import (
    bias_study,
    cls_coverage,
    coverage,
    null_toys,
    signal_template,
    spurious_signal,
)
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import POI, Point

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]
NONE = Systematics(Nuisances(luminosity=0, efficiency=(), width=0))


def spectra(per_gev2: float) -> Spectra:
    return Spectra(EDGES, dict.fromkeys(KEYS, FLAT * per_gev2))


def built(masses: list[float], per_gev2: float = 300.0) -> list[Point]:
    flat = spectra(per_gev2)
    points = scan_points(flat, flat, MODEL, Scan(), masses, luminosity=445.0, systematics=NONE)
    assert all(isinstance(point, Point) for point in points)
    return [point for point in points if isinstance(point, Point)]


def parents(points: list[Point]) -> list[np.ndarray]:
    return [np.asarray(p.workspace["observations"][0]["data"]) for p in points]


def test_pulls_have_mean_0_and_width_1_for_the_true_model() -> None:
    points = built([2.0, 5.0, 8.0])
    study = bias_study(points, parents(points), injected=(0.0, 1.0, 3.0), toys=1500, seed=4)
    assert study.failed.sum() == 0
    assert np.all(study.background_per_sigma > 10)
    error = 1 / np.sqrt(study.toys)
    assert np.all(np.abs(study.likelihood_mean) < 0.03 + 4 * error)
    assert np.all(np.abs(study.likelihood_width - 1) < 0.03 + 4 * error / np.sqrt(2))
    assert np.all(np.abs(study.classical_width - 1) < 0.05 + 4 * error / np.sqrt(2))


def test_fits_are_linear_in_the_injected_signal() -> None:
    points = built([2.0, 8.0])
    study = bias_study(points, parents(points), injected=(0.0, 1.0, 2.0, 4.0), toys=800, seed=4)
    slope, offset = study.linearity
    # a limit is about two standard errors of a fit
    error = 0.5 / np.sqrt(study.toys)
    assert np.all(np.abs(slope - 1) < 4 * error)
    assert np.all(np.abs(offset) < 4 * error)


def test_p_values_are_uniform_without_a_signal_and_not_with_one() -> None:
    points = built([2.0, 5.0, 8.0])
    fine = null_toys(points, parents(points), toys=1000, seed=9)
    assert np.all(fine.ks_p > 1e-3)
    assert np.all(np.abs(fine.mean) < 4 / np.sqrt(fine.toys))
    assert np.all(np.abs(fine.width - 1) < 4 / np.sqrt(2 * fine.toys))
    shifted = [
        parent + 0.3 * signal_template(point)
        for parent, point in zip(parents(points), points, strict=True)
    ]
    assert np.all(null_toys(points, shifted, toys=1000, seed=9).ks_p < 1e-6)


def test_background_per_sigma_is_density_times_width() -> None:
    points = built([3.0])
    study = bias_study(points, parents(points), injected=(0.0,), toys=5)
    sigma = float(MODEL.sigma(3.0, "diphoton", "low_mass"))
    assert study.background_per_sigma[0] == pytest.approx(300 * sigma, rel=0.02)


def test_a_wrong_parent_is_found_out() -> None:
    points = built([5.0])
    parent = parents(points)[0] + 0.8 * signal_template(points[0])
    study = bias_study(points, [parent], injected=(0.0,), toys=300, seed=5)
    assert study.likelihood_mean[0, 0] > 0.5


def test_coverage_is_what_cls_promises() -> None:
    points = built([4.5])
    study = coverage(points, parents(points), strengths=(0.5, 1.0, 2.0), toys=1500, seed=6)
    assert study.failed.sum() == 0
    assert np.all(np.abs(study.cls - study.cls_expectation) < 0.005 + 4 * study.error)
    assert np.all(np.abs(study.cl_sb - 0.95) < 4 * np.sqrt(0.95 * 0.05 / study.toys))


def test_asymptotic_coverage_by_hand() -> None:
    # at the median expected limit CLs = alpha has x = 0: Phi(-t) = alpha/2, coverage 1 - alpha/2
    assert cls_coverage(norm.isf(0.025), 0.95) == pytest.approx(0.975)
    assert cls_coverage(0.0, 0.95) == 1
    assert cls_coverage(1.0, 0.95) == pytest.approx(0.999, abs=5e-4)
    assert cls_coverage(1e-3, 0.95) == pytest.approx(1)
    assert cls_coverage(40.0, 0.95) == pytest.approx(0.95)
    values = [cls_coverage(t, 0.9) for t in np.linspace(0.01, 10, 50)]
    assert np.all(np.diff(values) <= 1e-12)


def test_no_spurious_signal_in_what_the_model_describes() -> None:
    points = built([2.0, 5.0, 8.0])
    found = spurious_signal(points, parents(points), size=100)
    assert np.all(np.abs(found.significance) < 1e-3)
    assert found.noise == pytest.approx(0.1)
    assert found.status == ["ok"] * 3


def test_a_spurious_signal_has_the_size_that_was_put_in() -> None:
    points = built([5.0])
    template = parents(points)[0] + 0.5 * signal_template(points[0])
    found = spurious_signal(points, [template], size=100)
    assert found.sigma[0] == pytest.approx(0.5 * points[0].unit, rel=0.02)
    assert found.significance[0] > 0.3


def test_points_without_a_model_keep_their_reason() -> None:
    points: list[Point | ModelError] = [ModelError("empty window"), *built([5.0])]
    found = spurious_signal(points, [None, parents(built([5.0]))[0]], size=100)
    assert found.status == ["empty window", "ok"]
    assert np.isnan(found.sigma[0])
    with pytest.raises(ModelError, match="size = 0 must be positive"):
        spurious_signal(points, [None, None], size=0)


def test_free_coefficients_follow_what_non_negative_ones_cannot() -> None:
    """A positive polynomial with a negative Bernstein coefficient: the price of the bound."""
    flat = spectra(300.0)
    bias = {}
    for coefficients in ("non_negative", "free"):
        settings = Scan(background_coefficients=coefficients)
        points = scan_points(flat, flat, MODEL, settings, [7.6], luminosity=445.0, systematics=NONE)
        good = [point for point in points if isinstance(point, Point)]
        samples = good[0].workspace["channels"][0]["samples"][1:]
        truth = [1.0, 1.0, 1.4, -0.9, 2.4, 0.6]
        parent = sum(c * sample["data"] for c, sample in zip(truth, samples, strict=True))
        assert np.all(parent > 0)
        fit = engine.compile([good[0].workspace], poi=POI).fit([parent], poi=np.zeros(1))
        values = dict(zip(fit.names[0], fit.values[0], strict=True))
        if coefficients == "free":
            assert [values[f"background_{k}"] for k in range(6)] == pytest.approx(truth, abs=1e-4)
        else:
            assert min(values[f"background_{k}"] for k in range(6)) >= 0
        study = bias_study(good, [parent], injected=(1.0,), toys=2000, seed=8)
        bias[coefficients] = float(study.likelihood_mean[0, 0])
    assert abs(bias["free"]) < 4 / np.sqrt(2000)
    assert abs(bias["non_negative"]) > 0.2


def test_nine_choices_are_all_combinations_once() -> None:
    assert NINE_CHOICES[0] == NOMINAL
    assert len({(c.order, c.widen) for c in NINE_CHOICES}) == 9
    assert {c.order for c in NINE_CHOICES} == {-1, 0, 1}
    assert {c.widen for c in NINE_CHOICES} == {-5.0, 0.0, 5.0}
    assert [c.name for c in NINE_CHOICES[:3]] == ["nominal", "window-5", "window+5"]


def test_choices_change_order_and_window() -> None:
    flat = spectra(300.0)
    for choice in NINE_CHOICES:
        (point,) = scan_points(flat, flat, MODEL, Scan(), [5.0], luminosity=445.0, choice=choice)
        assert isinstance(point, Point)
        assert point.window.order == 4 + choice.order
        sigma = float(MODEL.sigma(5.0, "diphoton", "high_mass"))
        width = point.window.edges[-1] - point.window.edges[0]
        assert width == pytest.approx((50 + 2 * choice.widen) * sigma, rel=0.01)


def test_crossing_is_where_equal_models_tie() -> None:
    # both definitions have the same width and efficiency in this model, orders and windows aside
    result = expected_crossing(
        spectra(300.0), MODEL, Scan(), luminosity=445.0, low=5.0, high=8.5, points=8
    )
    assert np.all(np.isfinite(result.diphoton))
    assert np.all(np.abs(np.log(result.diphoton / result.recoil)) < 0.2)
