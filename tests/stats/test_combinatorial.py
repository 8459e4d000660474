"""The other candidates of signal events: yield, shape, morphing, and their place in the model."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from scipy.stats import norm
from windows import EDGES, FLAT, MODEL, SQUARES

from alp_coffea.config import Scan
from alp_coffea.stats.background import Spectra, widest_region
from alp_coffea.stats.combinatorial import (
    Combinatorial,
    CombinatorialModel,
    combinatorial_shape,
)
from alp_coffea.stats.scan import NINE_CHOICES, scan_points
from alp_coffea.stats.signal import SignalModel, SignalSample
from alp_coffea.stats.studies import signal_template
from alp_coffea.stats.workspace import Point

P = np.linspace(0, 1, 401)


def gaussian(mass: float, centre: float, width: float, per_event: float = 0.2) -> Combinatorial:
    quantiles = norm.ppf(np.clip(P, 1e-5, 1 - 1e-5), centre, width)
    return Combinatorial(
        mass, "diphoton", "high_mass", per_event, 5000.0, tuple(quantiles.tolist())
    )


def sample(contents: np.ndarray, events: float) -> SignalSample:
    histogram = hist.Hist(
        hist.axis.StrCategory(["high_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton"], name="definition"),
        hist.axis.StrCategory(["true", "combinatorial", "other"], name="origin"),
        hist.axis.Regular(15000, -4, 11, name="mass"),
        storage="weight",
    )
    view = histogram.view()
    view.value[0, 0, 1] = view.variance[0, 0, 1] = contents
    return SignalSample(5.0, 2.0, events / 2.0, histogram)


def test_quantiles_and_yield_of_a_sample() -> None:
    centres = (SQUARES[1:] + SQUARES[:-1]) / 2
    contents = 8000 * norm.pdf(centres, 30, 4) * FLAT
    found = combinatorial_shape(sample(contents, 20_000), "diphoton", "high_mass")
    assert found is not None
    assert found.per_event == pytest.approx(0.4, rel=1e-3)
    assert found.entries == pytest.approx(8000, rel=1e-3)
    inner = slice(5, -5)
    assert np.array(found.quantiles)[inner] == pytest.approx(norm.ppf(P[inner], 30, 4), abs=0.03)
    assert combinatorial_shape(sample(contents / 100, 200), "diphoton", "high_mass") is None


def test_a_shape_half_way_lies_half_way() -> None:
    model = CombinatorialModel([gaussian(5, 20, 3), gaussian(6, 30, 5, 0.4)], [5, 6])
    edges = np.linspace(5, 50, 46)
    # quantiles of two Gaussians average to a Gaussian of averaged mean and width
    expected = 0.3 * np.diff(norm.cdf(edges, 25, 4))
    found = model.expected(edges, 5.5, (5.0, 50.0), peak=1.0)
    assert found is not None
    assert found.sum() == pytest.approx(0.3, rel=0.02)
    assert np.abs(found - expected).max() < 0.1 * expected.max()
    at = model.expected(edges, 5.0, (5.0, 50.0), peak=1.0)
    assert at is not None
    assert at.sum() == pytest.approx(0.2, rel=0.02)


def test_less_than_one_per_cent_is_left_out() -> None:
    model = CombinatorialModel([gaussian(5, 20, 3), gaussian(6, 30, 5)], [4, 5, 6])
    edges = np.linspace(5, 50, 46)
    assert model.expected(edges, 5.0, (5.0, 50.0), peak=19.0) is not None
    assert model.expected(edges, 5.0, (5.0, 50.0), peak=21.0) is None
    assert model.expected(edges, 4.0, (5.0, 50.0), peak=0.1) is None
    # half of a yield that begins between two masses
    half = model.expected(edges, 4.5, (5.0, 50.0), peak=1.0)
    assert half is not None
    assert half.sum() == pytest.approx(0.1, rel=0.02)
    assert CombinatorialModel([], [4, 5]).expected(edges, 4.5, (5.0, 50.0), peak=1.0) is None


def test_all_windows_of_a_mass_see_the_same_estimate() -> None:
    shapes = (gaussian(4.0, 12, 6), gaussian(6.0, 32, 9))
    model = SignalModel(MODEL.fits, MODEL.sqrt_s, combinatorial=shapes)
    flat = Spectra(
        EDGES,
        {(d, e): 300 * FLAT for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")},
    )
    settings = Scan()
    points = {}
    for choice in NINE_CHOICES:
        (point,) = scan_points(flat, flat, model, settings, [5.0], luminosity=445.0, choice=choice)
        assert isinstance(point, Point)
        points[choice.name] = point
    (plain,) = scan_points(flat, flat, MODEL, settings, [5.0], luminosity=445.0)
    assert isinstance(plain, Point)
    nominal = points["nominal"]
    low, high = widest_region(5.0, settings, model, EDGES, "diphoton")
    assert low <= points["window+5"].window.edges[0]
    assert points["window+5"].window.edges[-1] <= high
    efficiency = float(model.efficiency(5.0, "diphoton", "high_mass"))
    per_event = 445.0 * nominal.unit
    extra = (signal_template(nominal) - signal_template(plain)) / per_event
    window = nominal.window.edges
    expected = 0.2 * np.diff(norm.cdf([window[0], window[-1]], 22, 7.5))[0]
    assert extra.sum() == pytest.approx(expected, rel=0.05)
    assert extra.min() >= 0
    assert efficiency == pytest.approx(0.3)
    wide = (signal_template(points["window+5"]) / (445.0 * points["window+5"].unit)).sum()
    narrow = (signal_template(points["window-5"]) / (445.0 * points["window-5"].unit)).sum()
    assert narrow < signal_template(nominal).sum() / per_event < wide


def test_a_model_without_them_is_unchanged() -> None:
    edges = np.linspace(10, 40, 31)
    found = MODEL.combinatorial_template(
        edges, 5.0, "diphoton", "high_mass", region=(10, 40), peak=0.3
    )
    assert found is None
