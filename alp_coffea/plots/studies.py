"""Pulls of injected signals, regimes of mass and coupling, and times of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alp_coffea.plots.arrays import signed
from alp_coffea.plots.limits import Overlay, draw_published
from alp_coffea.plots.style import (
    BLACK,
    BLUE,
    GREY,
    annotate,
    log_mass_axis,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alp_coffea.stats.studies import BiasStudy

#: A mean pull beyond this is called a bias (R0 sec. 7.4), besides twice its statistical error.
BIAS = 0.06
#: Up to so many cells have their value written in them.
_WRITTEN = 120


def pulls(study: BiasStudy, *, synthetic: bool = True, label: str | None = None) -> Figure:
    """Mean and width of the likelihood pulls for every mass and injected signal.

    Cells whose mean is further from zero than 0.06 and twice its statistical error have a frame.

    Parameters
    ----------
    study
        From :func:`alp_coffea.stats.studies.bias_study`.
    synthetic, label
        As for other figures.
    """
    from matplotlib.patches import Rectangle

    mean, width = study.likelihood_mean.T, study.likelihood_width.T
    biased = np.abs(mean) > BIAS + 2 * width / np.sqrt(study.toys)
    with style():
        figure, ax = new_figure(7.6, 5.6)
        figure.clear()
        axes = figure.subplots(2, 1, sharex=True)
        for ax, values, centre, reach, name in (
            (axes[0], mean, 0.0, 0.3, "Mean pull"),
            (axes[1], width, 1.0, 0.3, "Width of pulls"),
        ):
            # blue and brown stay apart for colour-blind readers
            mesh = ax.pcolormesh(
                np.arange(mean.shape[1] + 1),
                np.arange(mean.shape[0] + 1),
                values,
                cmap="PuOr_r",
                vmin=centre - reach,
                vmax=centre + reach,
            )
            figure.colorbar(mesh, ax=ax, label=name, extend="both", pad=0.02)
            ax.set_yticks(np.arange(len(study.injected)) + 0.5, [f"{x:g}" for x in study.injected])
            ax.set_ylabel("Injected / expected limit")
            # outside, where they do not cross the numbers
            ax.tick_params(which="both", top=False, right=False, direction="out")
            ax.minorticks_off()
            if values.size <= _WRITTEN:
                for row, column in np.argwhere(np.isfinite(values)):
                    text = signed(values[row, column], ".2f")
                    ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5)
        for row, column in np.argwhere(biased):
            axes[0].add_patch(
                Rectangle((column, row), 1, 1, fill=False, edgecolor=BLACK, linewidth=1.5)
            )
        axes[1].set_xticks(
            np.arange(len(study.masses)) + 0.5, [f"{m:.3g}" for m in study.masses], rotation=60
        )
        axes[1].set_xlabel(r"$m_a$ [GeV]")
        annotate(axes[0], synthetic=synthetic, label=label)
    return figure


#: Colour of each regime, light for what is searched for here.
_REGIMES = {
    "resolved": ("#DCEBF5", "three resolved photons"),
    "merged": ("#F5BB54", "photons merge"),
    "displaced": ("#9BC3A5", "displaced decay"),
    "invisible": ("#B9B9B9", "leaves the detector"),
}


def regimes(
    *,
    sqrt_s: float,
    mass: tuple[float, float] = (0.01, 10.0),
    coupling: tuple[float, float] = (1e-7, 1e-1),
    curves: Sequence[Overlay] = (),
    lengths: Sequence[float] = (1e-3, 1.0, 100.0),
    synthetic: bool = False,
    injected: Sequence[str] = (),
    label: str | None = None,
) -> Figure:
    """What e+e- -> gamma a, a -> gamma gamma looks like over mass and coupling.

    The borders are the conventions of :func:`alp_coffea.physics.theory.regime`.

    Parameters
    ----------
    sqrt_s
        Centre-of-mass energy [GeV].
    mass, coupling
        Range [GeV] and [1/GeV].
    curves
        Limits to draw: name, masses [GeV], couplings [1/GeV].
    lengths
        Mean decay lengths [cm] to draw as contours.
    synthetic, injected
        What to say about the limits, as for :func:`alp_coffea.plots.limits`.
    label
        Experiment label, none by default.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    from alp_coffea.physics import theory

    m = np.geomspace(*mass, 400)
    g = np.geomspace(*coupling, 300)
    grid_m, grid_g = np.meshgrid(m, g)
    found = theory.regime(grid_m, grid_g, sqrt_s=sqrt_s)
    codes = np.full(found.shape, np.nan)
    for number, name in enumerate(_REGIMES):
        codes[found == name] = number
    length = theory.decay_length(
        grid_m, grid_g, beta_gamma=theory.alp_beta_gamma(grid_m, sqrt_s=sqrt_s)
    )
    with style():
        figure, ax = new_figure(7.0, 5.4)
        colours = ListedColormap([colour for colour, _ in _REGIMES.values()])
        ax.pcolormesh(m, g, codes, cmap=colours, vmin=-0.5, vmax=3.5, rasterized=True)
        lines = ax.contour(
            grid_m, grid_g, length, levels=sorted(lengths), colors=GREY, linewidths=0.8
        )
        ax.clabel(lines, fmt=lambda value: rf"$L$ = {value:g} cm", fontsize=8)
        drawn: list[Any] = draw_published(ax, curves, mass)
        ax.set_yscale("log")
        log_mass_axis(ax, *mass)
        ax.set_ylim(*coupling)
        ax.set_xlabel(r"$m_a$ [GeV]")
        ax.set_ylabel(r"$g_{a\gamma\gamma}$ [GeV$^{-1}$]")
        areas = [Patch(color=colour, label=text) for colour, text in _REGIMES.values()]
        ax.legend(handles=[*areas, *drawn], loc="lower left", ncols=2, framealpha=0.95)
        annotate(ax, synthetic=synthetic, label=label, sqrt_s=sqrt_s, injected=injected)
    return figure


def speeds(
    seconds: Sequence[tuple[str, float]],
    *,
    ours: Sequence[str] = (),
    unit: str = "CPU s",
    title: str = "",
    log: bool = False,
) -> Figure:
    """Times side by side, as bars with their values and their ratio to the first of ours.

    Parameters
    ----------
    seconds
        Name and time of each version, in the order to show.
    ours
        Names that are this package's; the first is the reference.
    unit
        Of the times, such as ``"CPU s per million events"``.
    title
        What was measured.
    log
        Logarithmic times.
    """
    names = [name for name, _ in seconds]
    times = np.array([time for _, time in seconds], dtype=np.float64)
    reference = times[names.index(ours[0])] if ours else None
    with style():
        figure, ax = new_figure(6.6, 1.4 + 0.36 * len(names))
        at = np.arange(len(names))[::-1]
        colours = [BLUE if name in ours else GREY for name in names]
        bars = ax.barh(at, times, color=colours, height=0.65)
        texts = [
            _plain(time) + (f"  (× {_plain(time / reference)})" if reference else "")
            for time in times
        ]
        ax.bar_label(bars, texts, padding=4, fontsize=9)
        ax.set_yticks(at, names)
        ax.tick_params(axis="y", which="both", left=False, right=False)
        if log:
            ax.set_xscale("log")
            ax.set_xlim(0.4 * times.min(), 300 * times.max())
        else:
            ax.set_xlim(0, 1.35 * times.max())
        ax.set_xlabel(unit)
        ax.set_title(title, fontsize=10.5, loc="left")
    return figure


def _plain(value: float) -> str:
    """Three digits, and no power of ten for what people count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
