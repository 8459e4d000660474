"""Workspaces are valid pyhf models that say what the physics says."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats.background import FitWindow, fit_window
from alp_coffea.stats.systematics import NuisanceSizes
from alp_coffea.stats.workspace import Point, build_point

LUMINOSITY = 445.0
USUAL = NuisanceSizes({"efficiency": 0.045, "luminosity": 0.007}, width=0.1)


def window(mass: float) -> FitWindow:
    return fit_window(mass, Scan(), MODEL, EDGES, FLAT)


def point(mass: float, per_bin: float = 30.0, nuisances: NuisanceSizes = USUAL) -> Point:
    w = window(mass)
    observed = np.full(len(w.edges) - 1, per_bin)
    return build_point(w, MODEL, observed, luminosity=LUMINOSITY, nuisances=nuisances)


def model_of(p: Point) -> tuple[pyhf.Model, dict[str, float]]:
    workspace = pyhf.Workspace(p.workspace)  # checks the schema
    model = workspace.model()
    values = dict(zip(model.config.par_order, model.config.suggested_init(), strict=True))
    return model, values


def expected(model: pyhf.Model, values: dict[str, float]) -> np.ndarray:
    pars = [values[name] for name in model.config.par_order]
    return np.asarray(model.expected_data(pars, include_auxdata=False))


@pytest.mark.parametrize("mass", [0.3, 1.0, 3.0, 5.0, 8.0])
def test_signal_yield_is_luminosity_times_efficiency_times_cross_section(mass: float) -> None:
    p = point(mass)
    model, values = model_of(p)
    background = expected(model, values | {"sigma": 0.0})
    signal = expected(model, values | {"sigma": 2.0}) - background
    w = p.window
    fraction = MODEL.template(w.edges, mass, w.definition, w.energy_set)
    assert signal.sum() == pytest.approx(
        LUMINOSITY * p.efficiency * 2 * p.unit * fraction.sum(), rel=1e-9
    )
    assert fraction.sum() > 0.9


def test_equal_coefficients_are_flat_in_mass_squared() -> None:
    p = point(3.0)
    model, values = model_of(p)
    background = expected(model, values | {"sigma": 0.0})
    density = background / np.diff(p.window.edges)
    assert np.allclose(density, density[0], rtol=1e-9)
    assert background.sum() == pytest.approx(p.n_data)


def test_nuisances_move_the_signal_only_and_by_their_size() -> None:
    p = point(5.0)
    model, values = model_of(p)
    nominal = expected(model, values | {"sigma": 1.0})
    background = expected(model, values | {"sigma": 0.0})
    for name, size in {"efficiency": 0.045, "luminosity": 0.007}.items():
        up = expected(model, values | {"sigma": 1.0, name: 1.0})
        assert np.allclose(up - background, (1 + size) * (nominal - background), rtol=1e-9)
    wide = expected(model, values | {"sigma": 1.0, "width": 1.0}) - background
    w = p.window
    shape = MODEL.template(w.edges, 5.0, w.definition, w.energy_set, width_scale=1.1)
    assert np.allclose(wide, LUMINOSITY * p.efficiency * p.unit * shape, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mass", [7.5, 9.3])
def test_sqrt_s_moves_the_peak_of_the_recoil(mass: float) -> None:
    """By 2 sqrt(s) d sqrt(s) - 2 E* d sqrt(s), E* = (s - m^2)/(2 sqrt(s)) (R0 eq. 2.8)."""
    delta = 0.002
    p = point(mass, nuisances=NuisanceSizes({}, sqrt_s=delta))
    model, values = model_of(p)
    background = expected(model, values | {"sigma": 0.0})
    centres = (p.window.edges[1:] + p.window.edges[:-1]) / 2

    def mean(nuisance: float) -> float:
        signal = expected(model, values | {"sigma": 1.0, "sqrt_s": nuisance}) - background
        return float(signal @ centres / signal.sum())

    root = MODEL.sqrt_s
    shift = delta * root * (2 * root - 2 * (root**2 - mass**2) / (2 * root))
    # the tail above the peak leaves the window a little
    assert mean(1.0) - mean(0.0) == pytest.approx(shift, rel=0.05)
    assert mean(0.0) - mean(-1.0) == pytest.approx(shift, rel=0.05)


def test_sqrt_s_does_not_move_the_pair() -> None:
    sized = NuisanceSizes({}, sqrt_s=0.002)
    assert "sqrt_s" not in model_of(point(3.0, nuisances=sized))[0].config.par_order


def test_no_nuisance_of_size_zero() -> None:
    none = NuisanceSizes({"efficiency": 0.0, "luminosity": 0.0})
    model, _ = model_of(point(3.0, nuisances=none))
    assert not {"efficiency", "luminosity", "width"} & set(model.config.par_order)


@settings(deadline=None, max_examples=30)
@given(mass=st.floats(0.3, 9.3), per_bin=st.floats(0.1, 1e5))
def test_unit_is_round_and_near_the_statistical_error(mass: float, per_bin: float) -> None:
    p = point(mass, per_bin)
    digits = f"{p.unit:e}".split("e")[0]
    assert float(digits) in (1, 2, 5)
    signal = np.array(p.workspace["channels"][0]["samples"][0]["data"])
    error = 1 / np.sqrt((signal**2 / np.maximum(per_bin, 1)).sum())
    assert 0.2 < error < 1.5  # in units of the parameter of interest


def test_an_empty_window_is_refused() -> None:
    w = window(3.0)
    with pytest.raises(ModelError, match="0 events in the window"):
        build_point(
            w,
            MODEL,
            np.zeros(len(w.edges) - 1),
            luminosity=LUMINOSITY,
            nuisances=USUAL,
        )
