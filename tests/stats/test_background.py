"""Fit windows: exact unions of bins, snapped outward, clipped where nothing is populated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import EDGES, FLAT, MODEL, SQUARES

from alp_coffea.config import Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats.background import fit_window


@given(st.floats(1.5, 9.0))
def test_windows_are_unions_of_fine_bins_of_half_a_width(mass: float) -> None:
    settings = Scan()
    window = fit_window(mass, settings, MODEL, EDGES, FLAT)
    row = settings.window(mass, window.definition)
    mu = float(MODEL.mu(mass, window.definition, window.energy_set))
    sigma = float(MODEL.sigma(mass, window.definition, window.energy_set))
    assert np.array_equal(window.edges, SQUARES[window.index])
    # snapped outward, by less than one fine bin
    low, high = mu - row.left * sigma, mu + row.right * sigma
    assert SQUARES[window.index[0]] <= low < SQUARES[window.index[0] + 1]
    assert SQUARES[window.index[-1] - 1] < high <= SQUARES[window.index[-1]]
    fine = np.diff(SQUARES)[window.index[0] : window.index[-1]].max()
    assert np.all(np.abs(np.diff(window.edges) - sigma / 2) <= 2 * fine)
    assert window.note == ""
    # no entry is lost or counted twice
    content = np.arange(15000.0)
    inside = content[window.index[0] : window.index[-1]]
    assert window.counts(content).sum() == inside.sum()


def test_turn_on_is_clipped_and_said() -> None:
    turn_on = FLAT * np.clip(SQUARES[1:] / 0.04, 0, 1)  # rises linearly up to 0.04 GeV^2
    window = fit_window(0.3, Scan(), MODEL, EDGES, turn_on)
    assert window.edges[0] == pytest.approx(0.02, abs=0.006)
    assert "low edge clipped" in window.note
    assert "high edge" not in window.note


def test_endpoint_is_clipped_and_said() -> None:
    endpoint = FLAT * np.clip((100 - SQUARES[1:]) / 5, 0, 1)
    window = fit_window(9.6, Scan(), MODEL, EDGES, endpoint)
    assert window.edges[-1] == pytest.approx(97.5, abs=1.5)
    assert "high edge clipped" in window.note


@pytest.mark.parametrize("power", [-3, 3])
def test_steep_smooth_spectra_are_not_clipped(power: int) -> None:
    steep = FLAT * np.maximum(SQUARES[1:], 0.01) ** power
    assert fit_window(4.5, Scan(), MODEL, EDGES, steep).note == ""


def test_an_unpopulated_window_is_refused() -> None:
    with pytest.raises(ModelError, match=r"mass 3 GeV \(diphoton\): only 0 of the window's bins"):
        fit_window(3.0, Scan(), MODEL, EDGES, np.zeros(15000))
