"""Figures of merit along cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alp_coffea.plots.style import annotate, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alp_coffea.stats.punzi import CutScan


def cut_scan(
    loose: Sequence[CutScan],
    final: Sequence[CutScan],
    *,
    axis_label: str,
    chosen: Sequence[float] = (),
    synthetic: bool,
) -> Figure:
    """Figure of merit along one cut at several masses, relative to its largest value.

    Parameters
    ----------
    loose, final
        Scans with the other cuts loose (dashed) and in place (full), one per mass.
    axis_label
        The cut variable with its unit.
    chosen
        Thresholds in use, drawn as lines.
    synthetic
        Whether the samples are simulated without an experiment's detector.
    """
    with style():
        figure, ax = new_figure()
        for scans, line in ((final, "-"), (loose, "--")):
            for number, scan in enumerate(scans):
                ax.plot(
                    scan.thresholds,
                    scan.merit / scan.merit.max(),
                    line,
                    color=f"C{number % 10}",
                    lw=1.4,
                    label=f"{scan.mass:g} GeV" if line == "-" else None,
                )
        for threshold in chosen:
            ax.axvline(threshold, color="0.4", lw=1.0, ls=":")
        ax.set_xlabel(axis_label)
        ax.set_ylabel("Punzi figure of merit / largest")
        ax.set_ylim(0, 1.25)
        ax.legend(ncols=4, title="other cuts final (full), loose (dashed)", loc="upper center")
        annotate(ax, synthetic=synthetic)
    return figure
