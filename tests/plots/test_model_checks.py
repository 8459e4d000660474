"""Figures of model checks show the numbers they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alp_coffea import plots
from alp_coffea.plots import model_checks
from alp_coffea.stats.impacts import Correlations, Impact, Ranking, SystematicEffect
from alp_coffea.stats.lifetime import coupling_limit, exclusion_plane, limit_curve
from alp_coffea.stats.orders import OrderFit


def test_bars_are_the_impacts() -> None:
    impacts = (Impact("efficiency", 0.1, 1.0, -0.03, 0.035), Impact("width", 0, 0.9, 0.01, -0.01))
    found = Ranking(3.0, "diphoton", 0.4, 0.2, impacts, "ok")
    figure = model_checks.ranking(found, synthetic=True)
    ax, pulls = figure.axes
    widths = [bar.get_width() for container in ax.containers for bar in container]
    assert widths == [-0.03, 0.01, 0.035, -0.01]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["efficiency", "width"]
    assert pulls.containers[0].lines[0].get_xdata() == pytest.approx([0.1, 0.0])


def test_a_ranking_without_nuisances_can_be_drawn(tmp_path: Path) -> None:
    empty = Ranking(3.0, "diphoton", 0.4, 0.2, (), "ok")
    paths = plots.save(model_checks.ranking(empty, synthetic=False), tmp_path, "none")
    assert all(path.stat().st_size > 1000 for path in paths)


def test_every_correlation_is_written() -> None:
    matrix = np.array([[1.0, -0.5, 0.0], [-0.5, 1.0, 0.2], [0.0, 0.2, 1.0]])
    figure = model_checks.correlation_matrix(
        Correlations(3.0, ("sigma", "a_0", "a_1"), matrix), synthetic=True
    )
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"1.00", "\u2212.50", ".20"} <= set(texts)
    assert figure.axes[0].images[0].get_array().shape == (3, 3)


def test_systematics_are_in_per_cent_and_gaps_stay() -> None:
    effects = [
        SystematicEffect(1.0, "diphoton", (1.1, 1.0), (np.nan, np.nan)),
        SystematicEffect(2.0, "diphoton", (2.1, 2.0), (np.nan, np.nan)),
    ]
    ax = model_checks.systematics(effects, synthetic=True).axes[0]
    assert ax.lines[0].get_ydata() == pytest.approx([10.0, 5.0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Expected"]


def test_orders_have_their_own_lines() -> None:
    fits = [
        OrderFit(m, "diphoton", 20, 30, order, 40.0 * order, 40, 0.5, 1.0, 0.5, 0.5, True)
        for m in (1.0, 2.0)
        for order in (1, 2)
    ]
    ax, below = model_checks.orders(fits, [1, 2], synthetic=True).axes
    assert ax.lines[0].get_ydata() == pytest.approx([1.0, 1.0])
    assert ax.lines[1].get_ydata() == pytest.approx([2.0, 2.0])
    assert list(below.lines[0].get_ydata()) == [1, 2]


def test_empty_tails_of_toys_are_not_drawn() -> None:
    z = np.array([2.0, 3.0, 4.0])
    errors = np.full((2, 3), 0.01)
    figure = model_checks.global_significance(
        z, [0.5, 0.05, 0.0], errors, [0.6, 0.06, 0.001], errors, synthetic=True
    )
    drawn = figure.axes[0].containers[0].lines[0].get_xdata()
    assert list(drawn) == [2.0, 3.0]


def test_the_plane_shows_what_is_excluded(tmp_path: Path) -> None:
    mass, sigma = np.array([0.2, 1.0, 5.0]), np.array([0.1, 0.2, 0.4])
    plane = exclusion_plane(
        limit_curve(mass, sigma),
        np.geomspace(0.05, 10, 40),
        np.geomspace(1e-6, 1e-1, 30),
        length=10.0,
        sqrt_s=10.58,
    )
    limit = coupling_limit(sigma, mass, length=10.0, sqrt_s=10.58)
    figure = model_checks.exclusion_plane(plane, mass, limit, limit, length=10.0, synthetic=True)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == [
        "Decays within 10 cm", "Prompt", "Resolved", "Merged", "Displaced", "Invisible"
    ]  # fmt: skip
    assert plots.save(figure, tmp_path, "plane")[0].exists()
