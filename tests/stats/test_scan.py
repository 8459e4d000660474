"""Policies of the background in a whole scan: nominal, nine, discrete, fixed by sidebands."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Scan
from alp_coffea.stats.scan import PROFILED, scan

RANGE: dict[str, float] = {"low": 4.5, "high": 5.0}


def spectrum(seed: int | None = None, per_gev2: float = 300.0) -> hist.Hist:
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
        hist.axis.StrCategory(["other"], name="origin"),
        hist.axis.Regular(15000, -4, 11, name="mass"),
        storage="weight",
    )
    assert np.allclose(histogram.axes["mass"].edges, EDGES)
    contents = per_gev2 * FLAT
    if seed is not None:
        contents = np.random.default_rng(seed).poisson(contents).astype(float)
    view = histogram.view()
    view.value = contents
    view.variance = contents
    return histogram


def scanned(**settings: object):
    return scan(
        spectrum(seed=7),
        MODEL,
        Scan.model_validate({**RANGE, **settings}),
        luminosity=445.0,
        background=spectrum(),
    )


def test_discrete_profiling_keeps_the_models_of_all_orders() -> None:
    result, models = scanned(background_choices="discrete")
    assert result.ok.all()
    assert set(result["variation"]) == {PROFILED}
    assert len(models.profiled) == 3 * len(result)
    assert len(models.nominal) == len(result)
    assert models.limiting == []
    orders = {(p.window.mass, p.window.order) for p in models.profiled}
    for row, point in zip(result, models.nominal, strict=True):
        assert point.window.order == row["background_order"] in (3, 4, 5)
        assert {(row["mass"], order) for order in (3, 4, 5)} <= orders


def test_profiling_does_not_exceed_the_worst_order_by_much_nor_undercut_the_best() -> None:
    nominal, _ = scanned(background_choices="nominal")
    nine, _ = scanned(background_choices="nine")
    discrete, _ = scanned(background_choices="discrete")
    assert np.all(nine["sigma_exp"] >= nominal["sigma_exp"] * (1 - 1e-9))
    ratio = discrete["sigma_exp"] / nominal["sigma_exp"]
    assert np.all(ratio > 0.85)
    assert np.all(ratio < 1.4)


def test_sideband_shapes_in_a_scan() -> None:
    result, models = scanned(background_choices="nominal", background_shape="sideband")
    floating, _ = scanned(background_choices="nominal")
    assert result.ok.all()
    for point in models.nominal:
        names = [s["name"] for s in point.workspace["channels"][0]["samples"]]
        assert names == ["signal", "background"]
    # a flat background needs no more than a few per cent, and a held shape has smaller errors
    assert np.all(result["sigma_exp"] < floating["sigma_exp"])
    assert np.all(result["sigma_exp"] > 0.6 * floating["sigma_exp"])


@pytest.mark.parametrize("choices", ["nominal", "nine", "discrete"])
def test_a_blinded_scan_shows_nothing_observed(choices: str) -> None:
    settings = Scan.model_validate({**RANGE, "background_choices": choices})
    result, _ = scan(
        spectrum(), MODEL, settings, luminosity=445.0, background=spectrum(), blinded=True
    )
    assert set(result["status"]) == {"blinded"}
    for column in ("sigma_obs", "g_obs", "z_local", "p_local", "gof_p", "n_data", "sigma_hat"):
        assert np.isnan(result[column]).all()
    assert np.isfinite(result["sigma_exp"]).all()
