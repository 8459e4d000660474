"""The spurious signal as a nuisance: how much weaker, how much less significant, and by whom."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import ConfigurationError
from alp_coffea.events.histograms import mass_histogram
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.impacts import effect_of_systematics, rankings, with_signal
from alp_coffea.stats.limits import point_limits
from alp_coffea.stats.scan import scan, scan_points
from alp_coffea.stats.scan_result import window_fit
from alp_coffea.stats.studies import signal_template, spurious_signal
from alp_coffea.stats.workspace import POI, SPURIOUS, Point

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]
MASSES = (2.0, 5.0, 8.0)
DATA = Spectra(EDGES, dict.fromkeys(KEYS, FLAT * 3000.0))


def settings(wanted: bool) -> Scan:
    return Scan(
        nuisances=Nuisances(luminosity=0, efficiency=(), width=0, spurious_signal=wanted),
        background_choices="nominal",
    )


def models(wanted: bool, expected: Spectra = DATA) -> list[Point]:
    built = scan_points(DATA, expected, MODEL, settings(wanted), MASSES, luminosity=445.0)
    assert all(isinstance(point, Point) for point in built)
    return [point for point in built if isinstance(point, Point)]


def bumpy(strength: float) -> Spectra:
    """Expected background that holds something like a signal of ``strength`` standard errors."""
    contents = {key: np.array(DATA[key]) for key in KEYS}
    plain = models(False)
    errors = engine.compile([p.workspace for p in plain], poi=POI).q0().poi_error
    for point, error in zip(plain, errors, strict=True):
        window = point.window
        fractions = MODEL.template(
            np.sign(EDGES) * EDGES**2, window.mass, window.definition, window.energy_set
        )
        per_unit = (
            signal_template(point).sum() / fractions[window.index[0] : window.index[-1]].sum()
        )
        contents[window.definition, window.energy_set] = (
            contents[window.definition, window.energy_set] + strength * error * per_unit * fractions
        )
    return Spectra(EDGES, contents)


@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_errors_add_in_quadrature(strength: float) -> None:
    """An additive Gaussian uncertainty of s standard errors makes error and expected limit
    sqrt(1 + s^2) times larger and a significance as much smaller, whatever the signal is."""
    expected = bumpy(strength)
    without, with_it = models(False), models(True, expected)
    templates = [p.window.counts(expected[p.window.definition, p.window.energy_set])
                 for p in without]  # fmt: skip
    found = spurious_signal(without, templates)
    units = np.array([point.unit for point in without])
    for signal in (0.0, 2.0):
        data = [
            np.asarray(p.workspace["observations"][0]["data"])
            + signal * float(e) * signal_template(p)
            for p, e in zip(
                without,
                engine.compile([p.workspace for p in without], poi=POI).q0().poi_error,
                strict=True,
            )
        ]
        plain, nuisance = (
            engine.compile([p.workspace for p in points], poi=POI) for points in (without, with_it)
        )
        before, after = plain.q0(data), nuisance.q0(data)
        size = np.abs(found.sigma) / units / before.poi_error
        assert np.allclose(size, strength, rtol=0.1)
        growth = np.sqrt(1 + size**2)
        np.testing.assert_allclose(after.poi, before.poi, atol=1e-3)
        np.testing.assert_allclose(after.poi_error / before.poi_error, growth, rtol=0.01)
        if signal:
            np.testing.assert_allclose(before.z / after.z, growth, rtol=0.02)
        else:
            limits = [fit.limits(0.95, data).expected[:, 2] for fit in (plain, nuisance)]
            np.testing.assert_allclose(limits[1] / limits[0], growth, rtol=0.02)


def test_pyhf_has_the_same_limits() -> None:
    points = models(True, bumpy(1.0))
    report = engine.compile([point.workspace for point in points], poi=POI).check(2)
    assert np.all(report.free < 1e-4), str(report)
    assert np.all(np.abs(report.observed) < 1e-4), str(report)
    assert np.all(np.abs(report.expected) < 1e-4), str(report)


def test_a_spurious_signal_is_found_without_its_own_nuisance() -> None:
    expected = bumpy(1.0)
    found = [
        spurious_signal(
            points,
            [p.window.counts(expected[p.window.definition, p.window.energy_set]) for p in points],
        )
        for points in (models(False), models(True, expected))
    ]
    np.testing.assert_array_equal(found[0].significance, found[1].significance)


def test_it_is_a_nuisance_like_the_others() -> None:
    points = models(True, bumpy(1.0))
    for ranking in rankings(points, with_signal(points)):
        (impact,) = ranking.impacts
        assert impact.name == SPURIOUS
        assert impact.up == pytest.approx(-impact.down, rel=0.05)
        assert abs(impact.up) == pytest.approx(ranking.sigma_error / np.sqrt(2), rel=0.1)
    for effect in effect_of_systematics(points, level=0.95):
        assert effect.expected[0] / effect.expected[1] == pytest.approx(np.sqrt(2), rel=0.05)
    # the fit that is drawn: background, spurious and signal make what was fitted
    (limits, *_) = point_limits([points[0].workspace], level=0.95)
    row = {
        "mass": 2.0, "definition": "diphoton", "status": "ok", "edges": points[0].window.edges,
        "fitted": limits.fitted, "parameters": dict(limits.parameters, **{SPURIOUS: 0.7}),
        "z_local": 0.0, "sigma_hat": 0.0,
    }  # fmt: skip
    moved = window_fit(row, points[0].workspace, synthetic=True).background
    row["parameters"] = dict(limits.parameters, **{SPURIOUS: 0.0})
    still = window_fit(row, points[0].workspace, synthetic=True).background
    (sample,) = (s for s in points[0].workspace["channels"][0]["samples"] if s["name"] == SPURIOUS)
    size = np.asarray(sample["modifiers"][0]["data"]["hi_data"])
    np.testing.assert_allclose(moved - still, 0.7 * size, atol=1e-9)


def test_a_scan_needs_simulated_background_for_it() -> None:
    histogram: hist.Hist = mass_histogram(["low_mass", "high_mass"], ["other"])
    with pytest.raises(ConfigurationError, match=r"spurious_signal .* background sample"):
        scan(histogram, MODEL, settings(True), luminosity=445.0)
