"""Figures of studies: impacts, correlations, systematics, orders, global significance, lifetime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from alp_coffea.plots.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    VERMILLION,
    annotate,
    log_mass_axis,
    new_figure,
    panels,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

    from alp_coffea.stats.impacts import Correlations, Ranking, SystematicEffect
    from alp_coffea.stats.lifetime import Plane
    from alp_coffea.stats.orders import OrderFit


def draw_impacts(
    ax: Axes, names: Sequence[str], up: ArrayLike, down: ArrayLike
) -> tuple[BarContainer, BarContainer]:
    """Horizontal bars of the changes (n,) that each nuisance makes, the first on top."""
    rows = np.arange(len(names))[::-1]
    bars = [
        ax.barh(rows, values, height=0.6, color=colour, alpha=0.75, label=label)
        for values, colour, label in (
            (np.asarray(up, float), BLUE, "One error up"),
            (np.asarray(down, float), ORANGE, "One error down"),
        )
    ]
    ax.axvline(0, color=BLACK, lw=0.7)
    ax.set_yticks(rows, [name.replace("_", " ") for name in names])
    ax.tick_params(axis="y", which="minor", left=False, right=False)
    return bars[0], bars[1]


def ranking(found: Ranking, *, synthetic: bool, most: int = 15, label: str | None = None) -> Figure:
    """Impacts of the nuisances at one mass, and their pulls with constraints."""
    impacts = found.impacts[:most]
    with style():
        figure, ax = new_figure(6.8, 1.8 + 0.42 * max(len(impacts), 3))
        draw_impacts(
            ax, [i.name for i in impacts], [i.up for i in impacts], [i.down for i in impacts]
        )
        # all axes of numbers below: changes of the cross section; above: pulls
        reach = 1.15 * max([i.size for i in impacts], default=1.0) or 1.0
        ax.set_xlim(-reach, reach)
        ax.set_xlabel(r"Change of $\hat\sigma$ [pb]")
        ax.tick_params(axis="x", which="both", top=False)
        top = ax.twiny()
        rows = np.arange(len(impacts))[::-1]
        top.errorbar(
            [i.pull for i in impacts],
            rows,
            xerr=[i.constraint for i in impacts],
            fmt="o",
            color=BLACK,
            ms=3.5,
            lw=1.0,
            label="Pull and constraint",
        )
        top.set_xlim(-2.2, 2.2)
        top.set_xlabel("Pull")
        top.tick_params(axis="x", which="both", bottom=False)
        top.set_ylim(-0.8, len(impacts) + 0.9)
        handles, names = ax.get_legend_handles_labels()
        more, others = top.get_legend_handles_labels()
        top.legend(
            handles + more,
            names + others,
            loc="upper center",
            ncols=3,
            title=rf"$m_a$ = {found.mass:.4g} GeV   $\hat\sigma$ = {found.sigma_hat:.3g} "
            rf"$\pm$ {found.sigma_error:.2g} pb",
            columnspacing=1.0,
        )
        annotate(ax, synthetic=synthetic, label=label, above=38)
    return figure


def correlation_matrix(found: Correlations, *, synthetic: bool, label: str | None = None) -> Figure:
    """Correlations of all parameters of one fit."""
    size = len(found.names)
    with style():
        figure, ax = new_figure(2.4 + 0.42 * size, 1.6 + 0.42 * size)
        image = ax.imshow(found.matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        texts = [name.replace("_", " ") for name in found.names]
        ax.set_xticks(range(size), texts, rotation=60, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(size), texts)
        ax.tick_params(which="both", length=0)
        ax.minorticks_off()
        for i, j in np.argwhere(np.abs(found.matrix) >= 0.01):
            value = found.matrix[i, j]
            text = f"{value:.2f}".replace("-", "\u2212").replace("0.", ".", 1)
            colour = "white" if abs(value) > 0.6 else BLACK
            ax.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(image, label="Correlation")
        annotate(ax, synthetic=synthetic, label=f"$m_a$ = {found.mass:.4g} GeV" + (label or ""))
    return figure


def systematics(
    effects: Sequence[SystematicEffect], *, synthetic: bool, label: str | None = None
) -> Figure:
    """Limits with over limits without systematic uncertainties, over mass."""
    mass = np.array([effect.mass for effect in effects])
    with style():
        figure, ax = new_figure(7.0, 4.2)
        for name, colour, width in (("expected", BLUE, 1.6), ("observed", GREY, 1.0)):
            ratio = np.array([getattr(e, name)[0] / getattr(e, name)[1] for e in effects])
            if np.isfinite(ratio).any():
                text = name.capitalize()
                ax.plot(mass, 100 * (ratio - 1), color=colour, lw=width, label=text)
        ax.axhline(0, color=BLACK, lw=0.7)
        log_mass_axis(ax, 0.93 * mass.min(), 1.07 * mass.max())
        ax.set_xlabel(r"$m_a$ [GeV]")
        ax.set_ylabel("Limit weakened by systematics [%]")
        ax.legend(loc="best")
        annotate(ax, synthetic=synthetic, label=label)
    return figure


def orders(
    fits: Sequence[OrderFit], chosen: Sequence[int], *, synthetic: bool, label: str | None = None
) -> Figure:
    """Reduced chi^2 of background-only fits over mass, and the order that an F-test stops at.

    ``chosen`` is the sufficient order of every mass in ``fits``, ascending.
    """
    masses = sorted({fit.mass for fit in fits})
    with style():
        figure, (ax, below) = panels((2, 1), width=7.0)
        for order, colour in zip(sorted({fit.order for fit in fits}), (*CYCLE, GREY), strict=False):
            own = sorted((f for f in fits if f.order == order), key=lambda f: f.mass)
            ax.plot(
                [f.mass for f in own],
                [f.reduced for f in own],
                color=colour,
                lw=1.0,
                label=f"Order {order}",
            )
        ax.axhline(1, color=BLACK, lw=0.7)
        ax.set_ylim(0.4, 2.4)
        ax.set_ylabel(r"$\chi^2$/ndf")
        ax.legend(loc="upper left", ncols=4, columnspacing=1.0)
        below.plot(masses, chosen, "o", ms=2.5, color=VERMILLION)
        below.set_ylabel("F-test", loc="center")
        log_mass_axis(below, 0.93 * masses[0], 1.07 * masses[-1])
        below.set_xlabel(r"$m_a$ [GeV]")
        annotate(ax, synthetic=synthetic, label=label)
    return figure


def global_significance(
    z: ArrayLike,
    toys: ArrayLike,
    toy_errors: ArrayLike,
    crossings: ArrayLike,
    crossing_errors: ArrayLike,
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Global p over local significance: toys with errors (2, n) and the up-crossing estimate.

    ``crossing_errors`` (2, n) are distances below and above, drawn as a band.
    """
    from scipy.stats import norm

    z, band = np.asarray(z, float), np.asarray(crossing_errors, float)
    estimate = np.asarray(crossings, float)
    with style():
        figure, ax = new_figure(6.6, 4.8)
        ax.fill_between(
            z, estimate - band[0], estimate + band[1], color=ORANGE, alpha=0.4, lw=0,
            label="From up-crossings",
        )  # fmt: skip
        ax.plot(z, estimate, color=ORANGE, lw=1.2)
        seen = np.asarray(toys, float) > 0
        ax.errorbar(
            z[seen],
            np.asarray(toys, float)[seen],
            yerr=np.asarray(toy_errors, float)[:, seen],
            fmt="o",
            color=BLACK,
            ms=3,
            lw=0.9,
            label="Toys of the whole scan",
        )
        ax.plot(z, norm.sf(z), "--", color=GREY, lw=1.0, label="Local")
        ax.set_yscale("log")
        ax.set_ylim(1e-5, 2)
        ax.set_xlabel("Largest local significance")
        ax.set_ylabel("$p$-value")
        ax.legend(loc="lower left")
        annotate(ax, synthetic=synthetic, label=label)
    return figure


#: Regimes in the plane, light to dark.
_REGIME_COLOURS = {
    "resolved": "#FFFFFF",
    "merged": "#DCE9F5",
    "displaced": "#B4CFE6",
    "invisible": "#8AB3D6",
}


def exclusion_plane(
    plane: Plane,
    mass: ArrayLike,
    limit: ArrayLike,
    prompt: ArrayLike,
    *,
    length: float,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Regimes of signature and exclusion in mass and coupling.

    ``limit`` (n,) is the coupling limit with the lifetime at ``mass`` (n,) and ``prompt`` that
    without; ``length`` [cm] the acceptance it was made with.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    names = list(_REGIME_COLOURS)
    codes = np.array([[names.index(r) if r in names else 0 for r in row] for row in plane.regime])
    with style():
        figure, ax = new_figure(7.0, 5.2)
        ax.pcolormesh(
            plane.mass,
            plane.coupling,
            codes,
            cmap=ListedColormap(list(_REGIME_COLOURS.values())),
            vmin=-0.5,
            vmax=len(names) - 0.5,
            shading="nearest",
            rasterized=True,
        )
        if plane.excluded.any():
            ax.contourf(
                plane.mass, plane.coupling, plane.excluded.astype(float), [0.5, 1.5],
                colors=[VERMILLION], alpha=0.35,
            )  # fmt: skip
        lines = ax.plot(mass, limit, color=VERMILLION, lw=1.4, label=f"Decays within {length:g} cm")
        lines += ax.plot(mass, prompt, ":", color=BLACK, lw=1.1, label="Prompt")
        ax.set_yscale("log")
        log_mass_axis(ax, float(plane.mass[0]), float(plane.mass[-1]))
        ax.set_ylim(plane.coupling[0], plane.coupling[-1])
        ax.set_xlabel(r"$m_a$ [GeV]")
        ax.set_ylabel(r"$g_{a\gamma\gamma}$ [GeV$^{-1}$]")
        patches = [
            Patch(facecolor=colour, edgecolor=GREY, lw=0.5, label=name.capitalize())
            for name, colour in _REGIME_COLOURS.items()
        ]
        ax.legend(handles=[*lines, *patches], loc="lower left", ncols=2, columnspacing=1.0)
        annotate(ax, synthetic=synthetic, label=label)
    return figure
