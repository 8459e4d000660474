"""Figures of a classifier: losses, characteristic, scores, sculpting, importance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alp_coffea.plots.style import BLACK, BLUE, GREY, ORANGE, annotate, new_figure, panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alp_coffea.learning.evaluation import Importance, Overtraining, Roc, Sculpting
    from alp_coffea.learning.training import Epoch

Array = NDArray[np.float64]


def losses(history: Sequence[Epoch], best: int, *, synthetic: bool = True) -> Figure:
    """Loss of training and validation events after every epoch, and the best one."""
    with style():
        figure, ax = new_figure()
        number = [epoch.number for epoch in history]
        ax.plot(number, [epoch.training for epoch in history], color=BLUE, label="Training")
        ax.plot(number, [epoch.validation for epoch in history], color=ORANGE, label="Validation")
        ax.axvline(best, color=GREY, linestyle=":", label="Kept")
        ax.set_xlabel("Epoch")
        ax.set_ylabel("Binary cross entropy")
        ax.legend()
        annotate(ax, synthetic=synthetic)
    return figure


def characteristic(curve: Roc, working_point: float, *, synthetic: bool = True) -> Figure:
    """Background kept against signal kept, and the working point."""
    with style():
        figure, ax = new_figure()
        shown = curve.background > 0
        ax.plot(
            curve.signal[shown],
            curve.background[shown],
            color=BLUE,
            label=f"Test events, area {curve.auc:.4f}",
        )
        signal, background = curve.at(working_point)
        ax.plot(
            [signal], [background], "o", color=ORANGE,
            label=f"Score > {working_point:g}: {signal:.3f}, {background:.2g}",
        )  # fmt: skip
        ax.set_xlabel("Share of signal kept")
        ax.set_ylabel("Share of background kept")
        ax.set_yscale("log")
        ax.set_xlim(0, 1)
        ax.set_ylim(1e-5, 1)
        ax.legend(loc="upper left")
        annotate(ax, synthetic=synthetic)
    return figure


def scores(
    values: dict[str, tuple[Array, NDArray[np.bool_], Array]],
    compared: dict[str, Overtraining],
    working_point: float,
    *,
    synthetic: bool = True,
) -> Figure:
    """Scores of training (line) and test events (points) of signal and background.

    ``values`` has scores, whether signal, and weights by role.
    """
    edges = np.linspace(0, 1, 41)
    centre = (edges[1:] + edges[:-1]) / 2
    with style():
        figure, ax = new_figure()
        for name, wanted, colour in (("signal", True, BLUE), ("background", False, ORANGE)):
            for role, (score, signal, weight) in values.items():
                rows = signal == wanted
                height, _ = np.histogram(score[rows], edges, weights=weight[rows])
                squares, _ = np.histogram(score[rows], edges, weights=weight[rows] ** 2)
                total = weight[rows].sum()
                if role == "training":
                    label = f"{name.capitalize()}, training (p = {compared[name].probability:.2g})"
                    ax.stairs(height / total, edges, color=colour, label=label)
                else:
                    ax.errorbar(
                        centre, height / total, np.sqrt(squares) / total,
                        fmt=".", color=colour, label=f"{name.capitalize()}, {role}",
                    )  # fmt: skip
        ax.axvline(working_point, color=GREY, linestyle=":")
        ax.set_yscale("log")
        ax.set_xlim(0, 1)
        ax.set_xlabel("Score")
        ax.set_ylabel("Share of events")
        ax.legend(loc="upper center", fontsize=9)
        annotate(ax, synthetic=synthetic)
    return figure


def sculpting(
    found: Sculpting, efficiency: dict[float, float], *, synthetic: bool = True
) -> Figure:
    """Shares of signal and background that the working point keeps, against mass."""
    with style():
        figure, (top, ax) = panels((1.0, 1.0))
        top.plot([*efficiency], [*efficiency.values()], "o-", color=BLUE, markersize=4)
        top.set_ylabel("Signal kept")
        top.set_ylim(0, 1.05)
        centre = (found.edges[1:] + found.edges[:-1]) / 2
        used = found.passed > 0
        ax.errorbar(
            centre[used],
            found.passed[used],
            found.error[used],
            np.diff(found.edges)[used] / 2,
            fmt=".",
            color=ORANGE,
        )
        ax.set_yscale("log")
        ax.set_xlabel(r"Fitted $m_{\gamma\gamma}$ or ALP mass [GeV]")
        ax.set_ylabel("Background kept")
        annotate(top, synthetic=synthetic)
    return figure


def importance(rows: Sequence[Importance], *, synthetic: bool = True) -> Figure:
    """What trainings without a group of features lose in area, largest loss first."""
    full, *others = rows
    ordered = sorted(others, key=lambda row: row.auc, reverse=True)
    with style():
        figure, ax = new_figure(6.6, 1.6 + 0.32 * len(ordered))
        loss = [1e3 * (full.auc - row.auc) for row in ordered]
        ax.barh(range(len(ordered)), loss, color=BLUE)
        ax.axvline(0, color=BLACK, linewidth=0.8)
        names = [
            row.without[0]
            if len(row.without) == 1
            else f"{row.without[0]} + {len(row.without) - 1}"
            for row in ordered
        ]
        ax.set_yticks(range(len(ordered)), names, fontsize=9)
        ax.minorticks_off()
        ax.set_xlabel(rf"Area lost without [$10^{{-3}}$], of {full.auc:.4f}")
        annotate(ax, synthetic=synthetic)
    return figure
