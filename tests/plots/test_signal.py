"""The signal model over mass."""

from __future__ import annotations

import numpy as np
import pytest
from plot_inputs import signal_model

from alp_coffea import plots
from alp_coffea.plots.style import SYNTHETIC


def test_crossings_of_power_laws() -> None:
    mass = np.geomspace(0.2, 10, 37)
    assert plots.crossings(mass, mass**2, 9 * mass**0.5) == pytest.approx([9 ** (2 / 3)])
    assert plots.crossings(mass, mass, 100 * mass) == []
    assert plots.crossings([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [2.0, 2.0, 2.0]) == [2.0]


def test_resolution_marks_the_crossing() -> None:
    model = signal_model()
    ax = plots.resolution(model, transition=6.85).axes[0]
    (star,) = [line for line in ax.lines if line.get_marker() == "*"]
    mass, sigma = star.get_xydata()[0]
    assert sigma == pytest.approx(float(model.sigma(mass, "diphoton", "high_mass")))
    assert sigma == pytest.approx(float(model.sigma(mass, "recoil", "high_mass")), rel=1e-3)
    assert any(line.get_xdata()[0] == 6.85 for line in ax.lines if len(line.get_xdata()) == 2)
    assert ax.get_ylabel().endswith("[GeV$^2$]")


def test_interpolation_shows_fits_and_curves() -> None:
    model = signal_model()
    axes = plots.interpolation(model).axes
    fits = model.of("diphoton", "low_mass")
    wanted = (
        [1e3 * f.width for f in fits],
        [(f.mu - f.mass**2) / f.sigma for f in fits],
        [f.alpha for f in fits],
        [f.n for f in fits],
    )
    for ax, values in zip(axes, wanted, strict=True):
        points = ax.containers[0].lines[0]
        assert np.allclose(points.get_xydata().T, [[f.mass for f in fits], values])
    curve = next(line for line in axes[2].lines if len(line.get_xdata()) > 100)
    x = curve.get_xdata()
    assert x[0] == pytest.approx(fits[0].mass)
    assert x[-1] == pytest.approx(fits[-1].mass)  # never extrapolated
    inside = np.clip(x, fits[0].mass, fits[-1].mass)
    assert np.allclose(curve.get_ydata(), model.alpha(inside, "diphoton", "low_mass"))


def test_efficiency_is_shown_once_per_set_in_percent() -> None:
    model = signal_model()
    ax = plots.efficiency(model, switch=4.0).axes[0]
    assert len(ax.containers) == 2
    for container, energy_set in zip(ax.containers, ("low_mass", "high_mass"), strict=True):
        fits = model.of("diphoton", energy_set)
        assert np.allclose(container.lines[0].get_ydata(), [100 * f.efficiency for f in fits])
    ax.figure.draw_without_rendering()
    legend, axes = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert axes.x0 <= legend.x0
    assert legend.x1 <= axes.x1


@pytest.mark.parametrize("figure", [plots.interpolation, plots.efficiency, plots.resolution])
def test_signal_is_always_simulation(figure) -> None:
    drawn = figure(signal_model())
    drawn.draw_without_rendering()
    assert any(SYNTHETIC in t.get_text() for t in drawn.axes[0].texts)
