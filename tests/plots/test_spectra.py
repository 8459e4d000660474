"""Selection variables, mass spectra and cutflows."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from plot_inputs import cutflows, mass_histogram, variable_histogram

from alp_coffea import plots
from alp_coffea.plots.style import SYNTHETIC

BACKGROUNDS = {
    "first": variable_histogram(3000, weight=0.1, seed=1),
    "second": variable_histogram(5000, weight=0.5, seed=2),
}
DATA = variable_histogram(2800, seed=3)


def spectrum(histogram) -> np.ndarray:
    return np.asarray(histogram[{"energy_set": "low_mass"}].values())


def test_stack_adds_up_and_ratio_is_data_over_it() -> None:
    figure = plots.variable(DATA, BACKGROUNDS, energy_set="low_mass", synthetic=True)
    ax, ratio = figure.axes
    patches = {p.get_label(): p.get_data() for p in ax.patches}
    first, second = (spectrum(BACKGROUNDS[name]) for name in ("first", "second"))
    assert np.allclose(patches["first"].values, first)
    assert np.allclose(patches["second"].baseline, first)
    assert np.allclose(patches["second"].values, first + second)
    points = ratio.containers[0].lines[0].get_xydata()
    shown = (first + second > 0) & (spectrum(DATA) > 0)
    assert np.allclose(points[:, 1], spectrum(DATA)[shown] / (first + second)[shown])
    assert np.allclose(ax.containers[0].lines[0].get_ydata(), spectrum(DATA))


def test_uncertainty_band_is_the_root_of_the_variances() -> None:
    ax = plots.variable(DATA, BACKGROUNDS, energy_set="low_mass", synthetic=True).axes[0]
    (band,) = [p for p in ax.patches if p.get_hatch()]
    values = sum(spectrum(h) for h in BACKGROUNDS.values())
    variances = sum(h[{"energy_set": "low_mass"}].variances() for h in BACKGROUNDS.values())
    assert np.allclose(band.get_data().values, values + np.sqrt(variances))
    assert np.allclose(band.get_data().baseline, values - np.sqrt(variances))


def test_signal_has_the_area_of_the_backgrounds() -> None:
    signals = {"signal": variable_histogram(1000, seed=4)}
    figure = plots.variable(
        DATA, BACKGROUNDS, energy_set="low_mass", signals=signals, synthetic=True
    )
    (line,) = [p for p in figure.axes[0].patches if p.get_label() == "signal"]
    total = sum(spectrum(h).sum() for h in BACKGROUNDS.values())
    assert line.get_data().values.sum() == pytest.approx(total)


def test_labels_name_width_and_unit() -> None:
    figure = plots.variable(DATA, BACKGROUNDS, energy_set="low_mass", synthetic=True, per="Events")
    assert figure.axes[0].get_ylabel() == "Events / (0.022 GeV)"
    assert figure.axes[1].get_xlabel().endswith("[GeV]")


def test_hidden_data_leave_no_trace() -> None:
    figure = plots.variable(None, BACKGROUNDS, energy_set="low_mass", synthetic=True, log=True)
    (ax,) = figure.axes
    assert not ax.containers
    assert ax.get_yscale() == "log"
    figure = plots.masses(None, mass_histogram(5000), definition="diphoton", synthetic=True)
    assert not figure.axes[0].containers


@pytest.mark.parametrize("definition", ["diphoton", "recoil"])
def test_mass_spectra_count_every_candidate_once(definition: str) -> None:
    data, background = mass_histogram(8000), mass_histogram(40_000, weight=0.2)
    figure = plots.masses(data, background, definition=definition, synthetic=True, bin_width=2.0)
    ax, *ratios = figure.axes
    assert len(ratios) == 2
    assert ax.get_ylabel() == "Candidates / (2 GeV$^2$)"
    for histogram, arrays in (
        (data, [(c.lines[0].get_ydata(), None) for c in ax.containers]),
        (background, [(p.get_data().values, p.get_data().edges) for p in ax.patches]),
    ):
        for (values, _), energy_set in zip(arrays, ("high_mass", "low_mass"), strict=True):
            edges = ax.patches[0].get_data().edges
            counted = (values * np.diff(edges) / np.median(np.diff(edges))).sum()
            selected = histogram[{"energy_set": energy_set, "definition": definition}]
            everything = selected.project("mass").values().sum()
            assert counted == pytest.approx(everything, rel=3e-3)  # emptiest ends are cut off


def test_cutflow_shows_the_share_left() -> None:
    flows = cutflows("ggg", "signal")
    ax = plots.cutflow(flows, "low_mass", synthetic=True).axes[0]
    for line, name in zip(ax.lines, flows, strict=True):
        steps = flows[name].steps("low_mass")
        assert np.allclose(line.get_ydata(), [100 * s.weighted / steps[0].weighted for s in steps])
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        s.cut.replace("_", " ") for s in flows["ggg"].steps("low_mass")
    ]


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_label(synthetic: bool) -> None:
    for figure in (
        plots.variable(DATA, BACKGROUNDS, energy_set="low_mass", synthetic=synthetic),
        plots.masses(
            mass_histogram(3000), mass_histogram(9000), definition="recoil", synthetic=synthetic
        ),
        plots.cutflow(cutflows("ggg"), "low_mass", synthetic=synthetic),
    ):
        assert any(SYNTHETIC in t.get_text() for t in figure.axes[0].texts) == synthetic


def test_empty_histograms_are_drawn() -> None:
    """Nothing passes a selection: a figure all the same."""
    empty = DATA.copy().reset()
    for log in (False, True):
        figure = plots.variable(
            empty,
            {"b": empty},
            signals={"s": empty},
            energy_set="low_mass",
            synthetic=True,
            log=log,
        )
        figure.draw_without_rendering()
    nothing = mass_histogram(1000).reset()
    plots.masses(nothing, nothing, definition="recoil", synthetic=True).draw_without_rendering()
    flows = cutflows("ggg")
    flows["ggg"] = flows["ggg"].identity()
    plots.cutflow(flows, "low_mass", synthetic=True).draw_without_rendering()


def test_histogram_without_energy_sets_and_a_note() -> None:
    loose = {"b": BACKGROUNDS["first"].project("x")}
    figure = plots.variable(
        DATA.project("x"), loose, energy_set=None, synthetic=True, note="loose selection"
    )
    assert figure.axes[0].get_legend().get_title().get_text() == "loose selection"
    assert np.allclose(
        figure.axes[0].containers[0].lines[0].get_ydata(), DATA.project("x").values()
    )
    noted = plots.variable(DATA, BACKGROUNDS, energy_set="low_mass", synthetic=True, note="N−1")
    assert noted.axes[0].get_legend().get_title().get_text() == "low-mass selection, N−1"


@pytest.mark.parametrize(("entries", "shown"), [(3, False), (300, True)])
def test_signal_of_a_handful_of_events_is_not_drawn(entries: int, shown: bool) -> None:
    signal = variable_histogram(0)
    signal.fill(energy_set="low_mass", x=[signal.axes["x"].centers[5]] * entries, weight=0.1)
    figure = plots.variable(
        None, BACKGROUNDS, signals={"few": signal}, energy_set="low_mass", synthetic=True
    )
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert ("few" in names) == shown


def test_range_shows_signal_outside_the_background() -> None:
    axis = BACKGROUNDS["first"].axes["x"]
    far = variable_histogram(0)
    far.fill(energy_set="low_mass", x=[axis.edges[3]] * 50)
    low, _ = (
        plots.variable(
            None, BACKGROUNDS, signals={"far": far}, energy_set="low_mass", synthetic=True
        )
        .axes[0]
        .get_xlim()
    )
    assert low <= axis.edges[3]


def test_plane_shows_the_contents() -> None:
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
        hist.axis.Regular(4, 0, 0.1, name="x", label=r"$\Delta\theta$ [rad]"),
        hist.axis.Regular(5, 0, 0.8, name="y", label=r"$\Delta\varphi$ [rad]"),
        storage="weight",
    )
    histogram.fill(energy_set="low_mass", x=[0.01, 0.01, 0.09], y=[0.5, 0.5, 0.1])
    figure = plots.plane(histogram, energy_set="low_mass", synthetic=True, note="N−1")
    figure.draw_without_rendering()
    ax, bar = figure.axes
    shown = ax.collections[0].get_array()
    assert np.array_equal(shown.filled(0).T, histogram[{"energy_set": "low_mass"}].values())
    assert shown.mask.sum() == 18
    assert ax.get_xlabel() == r"$\Delta\theta$ [rad]"
    assert bar.get_ylabel() == "Candidates / (0.025 rad × 0.16 rad)"
    assert ax.get_title() == "low-mass selection, N−1"
    plots.plane(histogram, energy_set="high_mass", synthetic=True).draw_without_rendering()
