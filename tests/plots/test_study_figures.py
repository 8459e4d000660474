"""Figures of studies show their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from plot_inputs import cutflows

from alp_coffea import plots
from alp_coffea.physics import theory
from alp_coffea.plots.style import SYNTHETIC
from alp_coffea.stats.studies import BiasStudy

MASSES, INJECTED = np.array([0.3, 3.0, 9.4]), np.array([0.0, 2.0])
MEAN = np.array([[0.01, -0.02], [0.0, 0.03], [-0.25, 0.1]])
WIDTH = np.array([[1.0, 1.1], [0.95, 1.0], [1.02, np.nan]])


def study(toys: int = 400) -> BiasStudy:
    zeros = np.zeros(MEAN.shape)
    return BiasStudy(
        MASSES, INJECTED, np.ones(3), MEAN, WIDTH, zeros, zeros + 1, zeros, np.ones(3),
        zeros.astype(int), toys,
    )  # fmt: skip


def test_pulls_show_every_cell_and_frame_biased_ones() -> None:
    figure = plots.pulls(study())
    mean, width = figure.axes[:2]
    for ax, values in ((mean, MEAN), (width, WIDTH)):
        np.testing.assert_array_equal(ax.collections[0].get_array().reshape(2, 3), values.T)
    assert [t.get_text() for t in width.get_xticklabels()] == ["0.3", "3", "9.4"]
    assert [t.get_text() for t in mean.get_yticklabels()] == ["0", "2"]
    # 0.06 + 2 / sqrt(400) = 0.16; the cell of unknown width is not judged
    assert [patch.get_xy() for patch in mean.patches] == [(2, 0)]
    assert "\u22120.25" in {t.get_text() for t in mean.texts}
    assert not plots.pulls(study(toys=4)).axes[0].patches
    assert any(SYNTHETIC in t.get_text() for t in mean.texts)


def test_regimes_are_those_of_the_theory() -> None:
    curve = ("A search", np.array([0.5, 5.0]), np.array([1e-3, 2e-3]))
    figure = plots.regimes(sqrt_s=10.58, curves=[curve], synthetic=True)
    ax = figure.axes[0]
    assert any(SYNTHETIC in t.get_text() for t in ax.texts)
    mesh = ax.collections[0]
    codes, corners = mesh.get_array(), mesh.get_coordinates()
    # cells are centred on their points
    m = np.sqrt(corners[0, :-1, 0] * corners[0, 1:, 0])
    g = np.sqrt(corners[:-1, 0, 1] * corners[1:, 0, 1])
    names = np.array(["resolved", "merged", "displaced", "invisible"])
    for i, j in ((10, 10), (290, 20), (150, 200), (60, 350), (299, 399), (100, 100)):
        expected = theory.regime(m[j], g[i], sqrt_s=10.58)
        drawn = codes.reshape(300, 400)[i, j]
        assert (names[int(drawn)] if np.isfinite(drawn) else "undefined") == expected
    (line,) = ax.lines
    assert line.get_label() == "A search"
    np.testing.assert_array_equal(line.get_ydata(), curve[2])


def test_efficiency_after_each_cut() -> None:
    flows = cutflows("a", "b")
    ax = plots.efficiency_steps({5.0: flows["b"], 0.5: flows["a"]}, "low_mass").axes[0]
    cuts = [step.cut for step in flows["a"].steps("low_mass")][1:]
    assert [line.get_label() for line in ax.lines] == [cut.replace("_", " ") for cut in cuts]
    for number, line in enumerate(ax.lines, 1):
        expected = []
        for name in ("a", "b"):
            steps = flows[name].steps("low_mass")
            expected.append(100 * steps[number].weighted / steps[0].weighted)
        np.testing.assert_allclose(line.get_xydata(), [[0.5, expected[0]], [5.0, expected[1]]])
    plots.efficiency_steps({}, "low_mass").draw_without_rendering()


@pytest.mark.parametrize("log", [False, True])
def test_speeds_are_relative_to_ours(log: bool) -> None:
    seconds = [("read", 1.0), ("ours", 2.0), ("other", 9.0)]
    ax = plots.speeds(seconds, ours=["ours"], unit="CPU s", log=log).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [1.0, 2.0, 9.0]
    assert [t.get_text() for t in ax.texts] == ["1  (× 0.5)", "2  (× 1)", "9  (× 4.5)"]
    assert len({to_hex(bar.get_facecolor()) for bar in ax.patches}) == 2
    assert ax.get_xlabel() == "CPU s"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["read", "ours", "other"]
