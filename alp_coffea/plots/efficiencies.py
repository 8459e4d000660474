"""Where signal is lost: efficiency after every cut, over mass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from alp_coffea.plots.style import CYCLE, SELECTION, annotate, log_mass_axis, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alp_coffea.events.selection import Cutflow


def efficiency_steps(
    cutflows: Mapping[float, Cutflow],
    flow: str,
    *,
    synthetic: bool = True,
    label: str | None = None,
) -> Figure:
    """Share of signal events left after each cut of one flow, over the simulated masses.

    Parameters
    ----------
    cutflows
        By simulated mass [GeV].
    flow
        Which sequence of cuts.
    synthetic, label
        As for other figures.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for mass, cutflow in sorted(cutflows.items()):
        steps = cutflow.steps(flow)
        for step in steps[1:] if steps and steps[0].weighted > 0 else ():
            share = 100 * step.weighted / steps[0].weighted
            lines.setdefault(step.cut, []).append((mass, share))
    with style():
        figure, ax = new_figure(7.8, 4.8)
        for number, (cut, points) in enumerate(lines.items()):
            mass_, share_ = np.array(points).T
            ax.plot(
                mass_,
                share_,
                color=CYCLE[number % 6],
                ls=("-", "--", ":")[number // 6 % 3],
                marker="o",
                ms=2.5,
                label=cut.replace("_", " "),
            )
        if cutflows:
            log_mass_axis(ax, 0.93 * min(cutflows), 1.07 * max(cutflows))
        ax.set_ylim(0, None)
        ax.set_xlabel(r"$m_a$ [GeV]")
        ax.set_ylabel("Events left [%]")
        if lines:
            title = f"after, {SELECTION.get(flow, flow)}"
            figure.legend(loc="outside right upper", title=title, fontsize=9)
        annotate(ax, synthetic=synthetic, label=label)
    return figure
