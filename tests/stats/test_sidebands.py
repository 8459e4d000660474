"""A background fixed by its sidebands: shape, freedom, and blindness to the signal region."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest
from windows import EDGES, FLAT, MODEL, SQUARES

from alp_coffea.config import Nuisances, Scan, Window, Windows
from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.limits import point_limits
from alp_coffea.stats.scan import scan_points
from alp_coffea.stats.sidebands import fix_shapes, sideband_bins
from alp_coffea.stats.studies import signal_template
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import POI, Point

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]
#: Order 3 in +-30 widths, as in the photon-fusion study (R1 sec. 8.3).
ROWS = (Window(order=3, left=30, right=30),)
FUSION = Scan(windows=Windows(diphoton=ROWS, recoil=ROWS), background_coefficients="free")
NONE = Systematics(Nuisances(luminosity=0, efficiency=(), width=0))
CENTRES = (SQUARES[1:] + SQUARES[:-1]) / 2
CUBIC = FLAT * 300 * (1.5 - 0.02 * CENTRES + 1e-3 * (CENTRES - 9) ** 2 / 9)


def points(contents: np.ndarray, settings: Scan = FUSION) -> list[Point]:
    data = Spectra(EDGES, dict.fromkeys(KEYS, contents))
    shape = Spectra(EDGES, dict.fromkeys(KEYS, FLAT))
    built = scan_points(
        data, shape, MODEL, settings, [3.0, 4.5], luminosity=445.0, systematics=NONE
    )
    return [point for point in built if isinstance(point, Point)]


def shapes(fixed: list[Point | ModelError]) -> list[np.ndarray]:
    found = []
    for point in fixed:
        assert isinstance(point, Point)
        signal, background = point.workspace["channels"][0]["samples"]
        assert signal["name"] == "signal"
        found.append(np.asarray(background["data"]))
    return found


def test_the_sidebands_of_a_cubic_predict_what_is_under_the_peak() -> None:
    floating = points(CUBIC)
    for point, shape in zip(floating, shapes(fix_shapes(floating)), strict=True):
        assert shape == pytest.approx(point.window.counts(CUBIC), rel=1e-6)


def test_the_shape_does_not_see_the_signal_region() -> None:
    quiet, loud = points(CUBIC), points(CUBIC)
    for point in loud:
        inside = ~sideband_bins(point)
        # three widths of signal on either side of a bin that is about half a width
        assert 10 <= inside.sum() <= 13
        data = np.asarray(point.workspace["observations"][0]["data"]).copy()
        data[inside] *= 10
        point.workspace["observations"][0]["data"] = data
    for a, b in zip(shapes(fix_shapes(quiet)), shapes(fix_shapes(loud)), strict=True):
        assert np.array_equal(a, b)


def test_only_signal_and_one_yield_float_and_pyhf_agrees() -> None:
    spectrum = np.random.default_rng(2).poisson(CUBIC).astype(float)
    settings = FUSION.model_copy(update={"background_shape": "sideband"})
    fixed = points(spectrum, settings)
    result = point_limits([point.workspace for point in fixed], level=0.9)
    workspace = pyhf.Workspace(
        {
            **fixed[0].workspace,
            "channels": [
                {
                    "name": "window",
                    "samples": [
                        {**s, "data": s["data"].tolist()}
                        for s in fixed[0].workspace["channels"][0]["samples"]
                    ],
                }
            ],
            "observations": [
                {
                    "name": "window",
                    "data": fixed[0].workspace["observations"][0]["data"].tolist(),
                }
            ],
        }
    )
    model = workspace.model()
    assert sorted(model.config.par_names) == ["background", "sigma"]
    cls = pyhf.infer.hypotest(result[0].observed, workspace.data(model), model, test_stat="qtilde")
    assert float(cls) == pytest.approx(0.1, abs=1e-5)


def test_a_fixed_shape_makes_smaller_errors_than_a_floating_one() -> None:
    floating = points(CUBIC)
    fixed = [p for p in fix_shapes(floating) if isinstance(p, Point)]
    data = [
        np.asarray(p.workspace["observations"][0]["data"]) + signal_template(p) for p in floating
    ]
    one, other = (
        engine.compile([p.workspace for p in some], poi=POI).q0(data) for some in (floating, fixed)
    )
    assert other.poi == pytest.approx(one.poi, rel=0.05)
    assert np.all(other.poi_error < one.poi_error)


def test_what_has_no_model_stays_so() -> None:
    assert fix_shapes([ModelError("empty window")])[0].args == ("empty window",)
    assert fix_shapes([]) == []
