"""The signal model over mass: shape parameters, efficiency, resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from alp_coffea.plots.arrays import Array
from alp_coffea.plots.style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    MASS,
    ORANGE,
    SELECTION,
    VERMILLION,
    annotate,
    log_mass_axis,
    new_figure,
    panels,
    plain_log_ticks,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from alp_coffea.stats.signal import PeakFit, SignalModel


def _name(definition: str, energy_set: str) -> str:
    return f"{MASS.get(definition, definition)}, {SELECTION.get(energy_set, energy_set)}"


def _groups(model: SignalModel) -> list[tuple[str, str]]:
    """Definitions and energy sets with enough fits for a curve."""
    keys = dict.fromkeys((fit.definition, fit.energy_set) for fit in model.fits)
    return [key for key in keys if len(model.of(*key)) >= 2]


def _between(fits: list[PeakFit]) -> Array:
    return np.geomspace(fits[0].mass, fits[-1].mass, 400)


def draw_interpolated(
    ax: Axes,
    mass: ArrayLike,
    value: ArrayLike,
    error: ArrayLike,
    curve_mass: ArrayLike,
    curve: ArrayLike,
    *,
    color: str,
    marker: str = "o",
    label: str = "",
) -> None:
    """Fitted points with errors (n,) and the curve through them (k,)."""
    ax.errorbar(mass, value, yerr=error, fmt=marker, color=color, ms=3.5, lw=0.9, label=label)
    ax.plot(curve_mass, curve, color=color, lw=1.1)


def interpolation(
    model: SignalModel, *, synthetic: bool = True, label: str | None = None
) -> Figure:
    """Fitted width, peak shift and tail of every simulated mass, with their curves.

    Returns a figure of four panels over mass.
    """
    with style():
        figure, axes = panels((1, 1, 1, 1), width=7.0, height=8.6)
        drawn: dict[Axes, list[float]] = {ax: [] for ax in axes}
        for (definition, energy_set), color, marker in zip(
            _groups(model), CYCLE, "osD^vP", strict=False
        ):
            fits = model.of(definition, energy_set)
            mass, curve_mass = np.array([f.mass for f in fits]), _between(fits)

            key = (definition, energy_set)
            shift = (model.mu(curve_mass, *key) - curve_mass**2) / model.sigma(curve_mass, *key)
            rows = (
                (
                    [f.width * 1e3 for f in fits],
                    [f.sigma_error / (2 * f.mass) * 1e3 for f in fits],
                    model.width(curve_mass, *key) * 1e3,
                ),
                (
                    [(f.mu - f.mass**2) / f.sigma for f in fits],
                    [f.mu_error / f.sigma for f in fits],
                    shift,
                ),
                (
                    [f.alpha for f in fits],
                    [f.alpha_error for f in fits],
                    model.alpha(curve_mass, *key),
                ),
                ([f.n for f in fits], [f.n_error for f in fits], model.n(curve_mass, *key)),
            )
            for ax, (value, error, line) in zip(axes, rows, strict=True):
                drawn[ax] += [*value, *line]
                draw_interpolated(
                    ax,
                    mass,
                    value,
                    error,
                    curve_mass,
                    line,
                    color=color,
                    marker=marker,
                    label=_name(definition, energy_set),
                )
        plain_log_ticks(axes[0])
        axes[0].set_ylabel(r"$\sigma_{\mathrm{CB}}(m^2)\,/\,2m$ [MeV]")
        axes[1].set_ylabel(r"$(\mu - m_a^2)\,/\,\sigma_{\mathrm{CB}}$")
        axes[1].axhline(0, color=GREY, lw=0.7)
        axes[2].set_ylabel(r"$\alpha$")
        axes[3].set_ylabel("$n$")
        for ax in axes[1:]:  # a badly determined tail's error bar must not hide the rest
            low, high = min(drawn[ax]), max(drawn[ax])
            room = 0.12 * (high - low) or 1.0
            ax.set_ylim(low - room, high + room)
        _mass_axis(axes[-1], model)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2, columnspacing=1.2)
        annotate(axes[0], synthetic=synthetic, label=label, sqrt_s=model.sqrt_s)
    return figure


def _mass_axis(ax: Axes, model: SignalModel) -> None:
    masses = [fit.mass for fit in model.fits]
    log_mass_axis(ax, min(masses) * 0.9, max(masses) * 1.1)
    ax.set_xlabel(r"$m_a$ [GeV]")


def efficiency(
    model: SignalModel,
    *,
    switch: float | None = None,
    synthetic: bool = True,
    label: str | None = None,
) -> Figure:
    """Signal efficiency over mass for every photon-energy set.

    Parameters
    ----------
    model
        The same for both mass definitions: drawn for the one that reaches the lowest mass.
    switch
        Mass [GeV] at which the analysis changes sets, marked when given.
    """
    with style():
        figure, ax = new_figure(7.0, 4.8)
        done: set[str] = set()
        for definition, energy_set in _groups(model):
            if energy_set in done:
                continue
            done.add(energy_set)
            fits = model.of(definition, energy_set)
            curve_mass = _between(fits)
            draw_interpolated(
                ax,
                [f.mass for f in fits],
                [100 * f.efficiency for f in fits],
                [100 * f.efficiency_error for f in fits],
                curve_mass,
                100 * model.efficiency(curve_mass, definition, energy_set),
                color=(BLUE, ORANGE, GREEN)[(len(done) - 1) % 3],
                marker="os^"[(len(done) - 1) % 3],
                label=SELECTION.get(energy_set, energy_set),
            )
        if switch is not None:
            ax.axvline(switch, color=GREY, ls=":", label=f"Selection changes at {switch:g} GeV")
        _mass_axis(ax, model)
        ax.set_ylim(0, 1.35 * max(100 * fit.efficiency for fit in model.fits))
        ax.set_ylabel("Signal efficiency [%]")
        ax.legend(loc="upper left", ncols=2, columnspacing=1.2)
        annotate(ax, synthetic=synthetic, label=label, sqrt_s=model.sqrt_s)
    return figure


def crossings(mass: ArrayLike, first: ArrayLike, second: ArrayLike) -> list[float]:
    """Masses at which two positive curves (n,) cross, linear in the logarithms."""
    x = np.log(np.asarray(mass, dtype=np.float64))
    gap = np.log(np.asarray(first, dtype=np.float64) / np.asarray(second, dtype=np.float64))
    at = np.flatnonzero(gap[:-1] * gap[1:] < 0)
    exact = [float(m) for m in np.exp(x[gap == 0])]
    between = x[at] - gap[at] * (x[at + 1] - x[at]) / (gap[at + 1] - gap[at])
    return sorted([float(m) for m in np.exp(between)] + exact)


def resolution(
    model: SignalModel,
    energy_set: str = "high_mass",
    *,
    transition: float | None = None,
    synthetic: bool = True,
    label: str | None = None,
) -> Figure:
    """Peak width in the squared mass for both mass definitions, and where they cross.

    Parameters
    ----------
    energy_set
        Photon-energy set; the crossing lies in the high-mass one.
    transition
        Mass [GeV] at which the scan changes definition, marked when given.
    """
    with style():
        figure, ax = new_figure(7.0, 4.8)
        curves = {}
        for definition, color, marker in (("diphoton", BLUE, "o"), ("recoil", ORANGE, "s")):
            fits = model.of(definition, energy_set)
            if len(fits) < 2:
                continue
            curves[definition] = fits
            curve_mass = _between(fits)
            draw_interpolated(
                ax,
                [f.mass for f in fits],
                [f.sigma for f in fits],
                [f.sigma_error for f in fits],
                curve_mass,
                model.sigma(curve_mass, definition, energy_set),
                color=color,
                marker=marker,
                label=MASS[definition],
            )
        if len(curves) == 2:
            low = max(fits[0].mass for fits in curves.values())
            high = min(fits[-1].mass for fits in curves.values())
            common = np.geomspace(low, high, 800)
            pair = [model.sigma(common, definition, energy_set) for definition in curves]
            for mass in crossings(common, *pair):
                at = float(model.sigma(mass, "diphoton", energy_set))
                ax.plot(
                    mass,
                    at,
                    "*",
                    color=VERMILLION,
                    ms=13,
                    mec="white",
                    zorder=6,
                    label=f"Crossing at {mass:.2f} GeV",
                )
        if transition is not None:
            ax.axvline(
                transition, color=GREY, ls="-.", label=f"Definitions change at {transition:g} GeV"
            )
        ax.set_yscale("log")
        _mass_axis(ax, model)
        ax.set_ylabel(r"$\sigma_{\mathrm{CB}}(m^2)$ [GeV$^2$]")
        ax.legend(loc="best", title=SELECTION.get(energy_set, energy_set))
        annotate(ax, synthetic=synthetic, label=label, sqrt_s=model.sqrt_s)
    return figure
