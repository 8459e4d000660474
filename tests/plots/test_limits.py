"""Limit and significance plots show the columns of the scan, no more and no less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plot_inputs import LUMINOSITY, scan_result
from scipy.stats import norm

from alp_coffea import plots
from alp_coffea.plots.style import SYNTHETIC
from alp_coffea.stats.significance import up_crossings

FAILED = (10, 11, 13, 30)


def texts(figure) -> list[str]:
    return [t.get_text() for ax in figure.axes for t in ax.texts]


def legend(figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].get_legend().get_texts()]


def drawn_bands(scan, quantity: str):
    with plots.style():
        _, ax = plots.new_figure()
    expected = np.array([scan[f"{quantity}_exp{s}"] for s in ("_m2", "_m1", "", "_p1", "_p2")])
    return plots.draw_bands(ax, scan["mass"], scan[f"{quantity}_obs"], expected, good=scan.ok), ax


@pytest.mark.parametrize("quantity", ["sigma", "g"])
def test_band_edges_equal_the_columns(quantity: str) -> None:
    scan = scan_result(40)
    artists, _ = drawn_bands(scan, quantity)
    for collection, low, high in (
        (artists.two_sigma[0], "m2", "p2"),
        (artists.one_sigma[0], "m1", "p1"),
    ):
        corners = {tuple(v) for v in collection.get_paths()[0].vertices}
        edges = {
            (m, y)
            for side in (low, high)
            for m, y in zip(scan["mass"], scan[f"{quantity}_exp_{side}"], strict=True)
        }
        assert edges == corners
    (median,), (observed,) = artists.expected, artists.observed
    assert np.array_equal(median.get_xydata().T, [scan["mass"], scan[f"{quantity}_exp"]])
    assert np.array_equal(observed.get_xydata().T, [scan["mass"], scan[f"{quantity}_obs"]])


def test_gaps_where_points_failed() -> None:
    scan = scan_result(40, failed=FAILED)
    artists, ax = drawn_bands(scan, "sigma")
    lengths = [10, 1, 16, 9]
    assert [len(line.get_xdata()) for line in artists.observed] == lengths
    assert [len(line.get_xdata()) for line in artists.expected] == lengths
    assert len(artists.one_sigma) == len(artists.two_sigma) == 4
    drawn = np.concatenate([line.get_xdata() for line in artists.observed])
    assert not np.isin(scan["mass"][list(FAILED)], drawn).any()
    # a point between two failures has no line and no area, but must be seen
    assert artists.observed[1].get_marker() == "o"
    assert artists.expected[1].get_marker() == "_"
    lone = scan["mass"][12]
    bars = [p.vertices for c in ax.collections for p in c.get_paths() if len(p.vertices) == 2]
    wanted = [
        [[lone, scan[f"sigma_exp_{a}"][12]], [lone, scan[f"sigma_exp_{b}"][12]]]
        for a, b in (("m2", "p2"), ("m1", "p1"))
    ]
    assert np.allclose(bars, wanted)


def test_each_legend_entry_appears_once() -> None:
    names = legend(plots.limits(scan_result(40, failed=FAILED), "sigma"))
    assert len(names) == len(set(names))
    assert {"Observed", "Expected", "No result (4)"} < set(names)


def test_failed_points_are_marked_and_counted() -> None:
    scan = scan_result(40, failed=FAILED)
    ax = plots.limits(scan, "sigma").axes[0]
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert np.array_equal(crosses.get_xdata(), scan["mass"][list(FAILED)])
    assert "No result (4)" not in legend(plots.limits(scan_result(40), "sigma"))


@pytest.mark.parametrize("figure", [plots.limits, plots.significance])
def test_transitions_are_marked_half_way(figure) -> None:
    scan = scan_result(40)
    ax = figure(scan).axes[0]
    mass = scan["mass"]
    wanted = set()
    for column in ("definition", "energy_set"):
        (i,) = np.flatnonzero(scan[column][1:] != scan[column][:-1])
        wanted.add((mass[i] + mass[i + 1]) / 2)
    vertical = {line.get_xdata()[0] for line in ax.lines if np.ptp(line.get_xdata()) == 0}
    assert wanted <= vertical


@pytest.mark.parametrize("figure", [plots.limits, plots.significance])
@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_is_said_if_and_only_if_it_is(figure, synthetic: bool) -> None:
    written = " ".join(texts(figure(scan_result(12, synthetic=synthetic))))
    assert (SYNTHETIC in written) == synthetic
    assert "Belle" not in written
    assert f"{LUMINOSITY:g} pb" in written


def test_experiment_label_only_when_given() -> None:
    scan = scan_result(12)
    assert any("My detector" in t for t in texts(plots.limits(scan, label="My detector")))
    assert not any("My detector" in t for t in texts(plots.limits(scan)))


@pytest.mark.parametrize(("quantity", "unit"), [("sigma", "[pb]"), ("g", "[GeV$^{-1}$]")])
def test_axes_have_units_and_the_level(quantity, unit: str) -> None:
    ax = plots.limits(scan_result(12), quantity).axes[0]
    assert ax.get_xlabel().endswith("[GeV]")
    assert ax.get_ylabel().endswith(unit)
    assert ax.get_ylabel().startswith("95% CL")
    assert ax.get_yscale() == "log"


def test_blinded_scan_shows_only_what_is_expected() -> None:
    scan = scan_result(12)
    hidden = dict.fromkeys(("sigma_obs", "g_obs", "z_local", "p_local"))
    rows = tuple(row | hidden | {"status": "blinded"} for row in scan)
    blinded = replace(scan, rows=rows)
    names = legend(plots.limits(blinded, "sigma"))
    assert "Expected" in names
    assert "Observed" not in names
    assert not any(name.startswith("No result") for name in names)
    plots.significance(blinded).draw_without_rendering()


def test_scan_without_any_result_is_drawn() -> None:
    scan = scan_result(5, failed=tuple(range(5)))
    for figure in (plots.limits(scan, "g"), plots.significance(scan)):
        figure.draw_without_rendering()
        assert "No result (5)" in legend(figure)


def test_published_curves_are_on_the_coupling_plot_only() -> None:
    scan = scan_result(12)
    mass, coupling = np.array([0.01, 0.3, 3.0]), np.array([1e-3, 2e-3, 3e-3])
    far = ("elsewhere", np.array([100.0, 200.0]), np.array([1e-3, 1e-3]))
    figure = plots.limits(scan, "g", published=[("other", mass, coupling), far])
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "other"]
    assert np.array_equal(line.get_xydata(), np.array([mass, coupling]).T[1:])
    assert "elsewhere" not in legend(figure)
    low, high = plots.limits(scan, "g").axes[0].get_ylim()
    assert figure.axes[0].get_ylim() == (low, high)
    assert "other" not in legend(plots.limits(scan, "sigma", published=[("other", mass, coupling)]))


def test_up_crossings_are_those_of_the_global_p_value() -> None:
    scan = scan_result(60, failed=(7, 8))
    ax = plots.significance(scan).axes[0]
    (marks,) = [line for line in ax.lines if line.get_marker() == "^"]
    assert len(marks.get_xdata()) == up_crossings(scan["z_local"], 0.5) > 3
    assert set(marks.get_ydata()) == {0.5}


def test_significance_is_the_column_and_p_values_are_its_tail() -> None:
    scan = scan_result(40, failed=FAILED)
    figure = plots.significance(scan)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    lines = [line for line in ax.lines if line.get_color() == "#0072B2"]
    drawn = np.concatenate([line.get_xydata() for line in lines])
    assert np.array_equal(drawn, np.array([scan["mass"], scan["z_local"]]).T[scan.ok])
    top = int(np.nanargmax(scan["z_local"]))
    assert f"Largest: {scan['z_local'][top]:.2f} at {scan['mass'][top]:.3f} GeV" in legend(figure)
    (right,) = ax.child_axes
    shown = dict(
        zip(right.get_yticks(), [t.get_text() for t in right.get_yticklabels()], strict=True)
    )
    assert shown[0.0] == "0.50"
    assert shown[1.0] == f"{norm.sf(1):.2f}"
    assert shown[-1.0] == f"{norm.sf(-1):.2f}"
    assert shown[3.0] == r"$1.3\times10^{-3}$"


def test_empty_scan_is_drawn() -> None:
    scan = replace(scan_result(2), rows=())
    for figure in (plots.limits(scan, "g"), plots.limits(scan, "sigma"), plots.significance(scan)):
        figure.draw_without_rendering()
