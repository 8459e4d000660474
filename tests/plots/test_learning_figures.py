"""Figures of a classifier show its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from alp_coffea.learning.evaluation import Importance, Overtraining, Sculpting, roc
from alp_coffea.learning.training import Epoch
from alp_coffea.plots import learning as figures
from alp_coffea.plots.style import SYNTHETIC

RNG = np.random.default_rng(3)
SCORE = RNG.uniform(size=200)
SIGNAL = RNG.uniform(size=200) < SCORE
WEIGHT = RNG.uniform(0.5, 2, 200)


def texts(figure) -> str:
    return " ".join(
        t.get_text() for ax in figure.axes for t in (*ax.texts, *(ax.get_legend() or ax).texts)
    )


def test_losses_of_every_epoch_and_the_kept_one() -> None:
    history = [Epoch(n, 1 / n, 1.1 / n, 1e-3, 2.0 * n) for n in range(1, 6)]
    figure = figures.losses(history, 4)
    training, validation, kept = figure.axes[0].lines
    np.testing.assert_array_equal(training.get_ydata(), [e.training for e in history])
    np.testing.assert_array_equal(validation.get_ydata(), [e.validation for e in history])
    assert kept.get_xdata()[0] == 4
    assert SYNTHETIC in texts(figure)
    assert SYNTHETIC not in texts(figures.losses(history, 4, synthetic=False))


def test_characteristic_and_working_point() -> None:
    curve = roc(SCORE, SIGNAL, WEIGHT)
    figure = figures.characteristic(curve, 0.6)
    line, point = figure.axes[0].lines
    shown = curve.background > 0
    np.testing.assert_array_equal(line.get_xdata(), curve.signal[shown])
    assert (point.get_xdata()[0], point.get_ydata()[0]) == curve.at(0.6)
    assert f"{curve.auc:.4f}" in texts(figure)


def test_scores_are_shares_of_the_weights() -> None:
    values = {"training": (SCORE, SIGNAL, WEIGHT), "test": (1 - SCORE, SIGNAL, WEIGHT)}
    compared = {kind: Overtraining(0.1, 0.25) for kind in ("signal", "background")}
    figure = figures.scores(values, compared, 0.9)
    steps = [patch.get_data().values for patch in figure.axes[0].patches]
    assert len(steps) == 2
    for heights in steps:
        assert heights.sum() == pytest.approx(1)
    assert "p = 0.25" in texts(figure)


def test_sculpting_and_efficiency() -> None:
    found = Sculpting(
        np.array([0.0, 1.0, 2.0, 3.0]),
        np.array([0.1, np.nan, 0.3]),
        np.array([0.01, np.nan, 0.02]),
        1.0,
    )
    figure = figures.sculpting(found, {1.0: 0.8, 3.0: 0.9})
    top, bottom = figure.axes
    np.testing.assert_array_equal(top.lines[0].get_ydata(), [0.8, 0.9])
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), [0.1, 0.3])


def test_importance_is_ordered_by_loss() -> None:
    rows = [
        Importance((), 0.99, 0.1),
        Importance(("b",), 0.985, 0.1),
        Importance(("a", "c"), 0.9, 0.3),
    ]
    ax = figures.importance(rows).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "a + 1"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([5.0, 90.0])
