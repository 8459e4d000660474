"""Window fits and peak fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plot_inputs import mass_histogram, signal_model, window_arrays
from scipy.stats import kstest

from alp_coffea import plots
from alp_coffea.physics.kinematics import signed_square
from alp_coffea.plots.style import SYNTHETIC


@pytest.fixture
def panels():
    from alp_coffea.plots.style import panels

    with plots.style():
        return panels((3, 1))[1]


def test_window_shows_the_arrays(panels) -> None:
    edges, data, background, signal = window_arrays(3.0)
    artists = plots.draw_window(*panels, edges, data, background, signal)
    line, _, (bars,) = artists.data.lines
    assert np.allclose(line.get_xydata().T, [(edges[1:] + edges[:-1]) / 2, data])
    low, high = np.array([segment[:, 1] for segment in bars.get_segments()]).T
    assert np.all(low < data)
    assert np.all(high > data)
    for artist, values in (
        (artists.background, background),
        (artists.signal, signal),
        (artists.total, background + signal),
    ):
        assert np.allclose(artist.get_data().values, values)
        assert np.allclose(artist.get_data().edges, edges)
    fit = background + signal
    assert np.allclose(artists.pulls.get_data().values, (data - fit) / np.sqrt(fit))


def test_unequal_bins_are_densities_at_the_nominal_width(panels) -> None:
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    artists = plots.draw_window(*panels, edges, [10, 10, 20], [10, 10, 20], [0, 0, 0])
    assert np.allclose(artists.data.lines[0].get_ydata(), 10)
    assert np.allclose(artists.background.get_data().values, 10)
    assert np.allclose(artists.pulls.get_data().values, 0)


def test_negative_signal_is_drawn_below_zero() -> None:
    edges, data, background, signal = window_arrays(3.0)
    figure = plots.window(3.0, "diphoton", edges, data, background, -signal, synthetic=True)
    low, _ = figure.axes[0].get_ylim()
    assert low < -signal.max()


@pytest.mark.parametrize(
    ("mass", "definition"), [(0.2, "diphoton"), (3.0, "diphoton"), (8.0, "recoil")]
)
def test_window_axes(mass: float, definition: str) -> None:
    edges, *contents = window_arrays(mass)
    figure = plots.window(
        mass, definition, edges, *contents, synthetic=True, z_local=2.314, sigma_hat=0.1234
    )
    figure.draw_without_rendering()
    ax, pulls = figure.axes
    assert pulls.get_xlabel().endswith("[GeV$^2$]")
    assert definition in pulls.get_xlabel() or definition == "diphoton"
    assert f"({np.diff(edges)[0]:.3g} GeV$^2$)" in ax.get_ylabel()
    (top,) = ax.child_axes
    ticks = top.get_xticks()
    assert len(ticks) >= 3
    # a mass above stands at its square below
    pixels = top.transData.transform([(t, 0) for t in ticks])[:, 0]
    below = ax.transData.transform([(t, 0) for t in signed_square(ticks)])[:, 0]
    assert np.allclose(pixels, below)
    title = ax.get_legend().get_title().get_text()
    assert f"{mass:g} GeV" in title
    assert "0.123 pb" in title
    assert "2.31" in title


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_label_of_a_window(synthetic: bool) -> None:
    figure = plots.window(3.0, "diphoton", *window_arrays(3.0), synthetic=synthetic)
    assert any(SYNTHETIC in t.get_text() for t in figure.axes[0].texts) == synthetic


@pytest.fixture(scope="module")
def gaussian_peak():
    """A peak of 40 000 candidates with sigma 0.17 GeV^2 at 3 GeV, and its true parameters."""
    fit = replace(
        signal_model().of("diphoton", "low_mass")[0],
        mass=3.0,
        mu=9.0,
        sigma=0.17,
        alpha=5.0,
        mu_error=0.001,
        sigma_error=0.0006,
    )
    return mass_histogram(160_000, weight=0.5), fit


def test_peak_fit_describes_its_data(gaussian_peak) -> None:
    histogram, fit = gaussian_peak
    figure = plots.peak(histogram, fit)
    ax, pull_ax = figure.axes
    (curve,) = [p for p in ax.patches if p.get_label() == "Crystal Ball fit"]
    widths = np.diff(curve.get_data().edges)
    data = (ax.containers[0].lines[0].get_ydata() * widths).sum() / np.median(widths)
    fitted = (curve.get_data().values * widths).sum() / np.median(widths)
    assert fitted == pytest.approx(data, rel=1e-9)
    assert data == pytest.approx(0.5 * 40_000, rel=1e-3)
    pulls = pull_ax.patches[0].get_data().values
    assert kstest(pulls[pulls != 0], "norm").pvalue > 0.01


def test_peak_with_wrong_width_has_large_pulls(gaussian_peak) -> None:
    histogram, fit = gaussian_peak
    wrong = plots.peak(histogram, replace(fit, sigma=0.2)).axes[1].patches[0].get_data().values
    assert np.abs(wrong).max() > 5


def test_peak_prints_its_parameters(gaussian_peak) -> None:
    figure = plots.peak(*gaussian_peak)
    text = figure.axes[0].get_legend().get_title().get_text()
    assert r"9.0000 $\pm$ 0.0010 GeV$^2$" in text
    assert r"0.17000 $\pm$ 0.00060 GeV$^2$" in text
