"""Figures of the photon calibration: tracking errors, unfolding, resolution, pulls (R0 ch. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    annotate,
    log_mass_axis,
    new_figure,
    panels,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

    from alp_coffea.physics.normality import MassPulls
    from alp_coffea.stats.energy_calibration import Calibration, EnergyCorrections
    from alp_coffea.stats.photon_resolution import ResolutionFit
    from alp_coffea.stats.recoil_scale import ScaleFactor

Array = NDArray[np.float64]

_COLOURS: Final = {"x": BLUE, "y": ORANGE, "z": GREEN}
_SHOWN: Final = (0, 5, 9)


def _columns(number: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    figure, ax = new_figure(width, height)
    ax.remove()
    return figure, list(np.atleast_1d(figure.subplots(1, number)))


def recoil_pulls(
    pulls: hist.Hist,
    factors: Mapping[str, ScaleFactor],
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Components of the recoil of pure muon pairs over their errors, before and after scaling."""
    with style():
        figure, axes = _columns(3, 11.0, 3.8)
        for ax, name in zip(axes, "xyz", strict=True):
            values = pulls[{"component": name}].values()
            edges, total = pulls.axes["pull"].edges, values.sum()
            group = 10
            coarse = values.reshape(-1, group).sum(axis=1)
            for scale, colour, text in (
                (1.0, GREY, "Raw"),
                (factors[name].value, BLUE, f"Errors x {factors[name].value:.3f}"),
            ):
                ax.stairs(
                    coarse / np.diff(edges[::group]) * scale / total,
                    edges[::group] / scale,
                    color=colour,
                    label=text,
                    lw=1.2,
                )
            t = np.linspace(-5, 5, 400)
            ax.plot(t, np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi), color=VERMILLION, lw=1, ls="--",
                    label="Unit Gaussian")  # fmt: skip
            ax.set_xlim(-5, 5)
            ax.set_ylim(0, 0.6)
            ax.set_xlabel(rf"$p_{name}$ of the recoil / error")
            ax.legend(loc="upper right", fontsize=8.5)
        axes[0].set_ylabel("Density")
        annotate(axes[0], synthetic=synthetic, label=label)
    return figure


def scale_plateau(
    points: Mapping[str, Sequence[tuple[float, ScaleFactor]]],
    plateau: Mapping[str, ScaleFactor],
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Scale factors of simulated pairs below a true recoil momentum (R0 fig. 8.9)."""
    with style():
        figure, ax = new_figure(6.6, 4.4)
        for name, found in points.items():
            ax.errorbar(
                [limit for limit, _ in found],
                [factor.value for _, factor in found],
                yerr=[factor.error for _, factor in found],
                fmt="o",
                ms=3.5,
                lw=1,
                color=_COLOURS[name],
                label=rf"$S_{name}$ = {plateau[name].value:.3f} without radiation",
            )
            ax.axhline(plateau[name].value, color=_COLOURS[name], lw=0.8, ls="--")
        ax.set_xscale("log")
        ax.set_xlabel("True recoil momentum below [GeV]")
        ax.set_ylabel("Scale factor of errors")
        ax.legend(loc="upper left")
        annotate(ax, synthetic=synthetic, label=label)
    return figure


def smearing(
    simulation: Calibration,
    histograms: Mapping[str, hist.Hist],
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Tracking, radiation and both, as measured and as they truly are (R0 figs. 8.7, 8.10)."""
    with style():
        figure, axes = _columns(len(_SHOWN), 11.0, 4.0)
        axis = histograms["recoil"].axes[1]
        momenta = histograms["recoil"].axes[0].edges
        for ax, k in zip(axes, _SHOWN, strict=True):
            for name, colour in (("tracking", PURPLE), ("recoil", VERMILLION)):
                values = histograms[name].values()[k]
                ax.stairs(values / max(values.sum(), 1e-300), axis.edges, color=colour, lw=1,
                          label=f"True {'total' if name == 'recoil' else name}")  # fmt: skip
            for content, colour, text in (
                (simulation.radiation[k], SKY, "Radiation"),
                (simulation.tracking[k], BLACK, "Measured tracking"),
                (simulation.smearing[k], GREEN, "Measured total"),
            ):
                ax.plot(simulation.centres, content, color=colour, lw=1.2, label=text)
            ax.set_yscale("log")
            ax.set_xlim(-0.25, 0.25)
            ax.set_ylim(1e-4, 1.5)
            ax.set_xlabel(r"$p_{\rm recoil} - E_{\rm true}$ [GeV]")
            ax.set_title(
                rf"{momenta[k]:g} < $p_{{\rm recoil}}$ < {momenta[k + 1]:g} GeV",
                fontsize=9, loc="right",
            )  # fmt: skip
        axes[0].set_ylabel("Share per 5 MeV")
        axes[1].legend(loc="upper right", fontsize=8)
        annotate(axes[0], synthetic=synthetic, label=label, above=18)
    return figure


def draw_widths(
    ax: Axes, fits: Sequence[ResolutionFit], colour: str, text: str, shift: float = 0.0
) -> ErrorbarContainer:
    """Relative widths [%] of fits over their energies, moved by ``shift`` [GeV] to be seen."""
    good = [fit for fit in fits if fit.converged]
    return ax.errorbar(
        [fit.energy + shift for fit in good],
        [100 * fit.sigma / fit.energy for fit in good],
        yerr=[100 * fit.sigma_error / fit.energy for fit in good],
        fmt="o",
        ms=4,
        lw=1.1,
        color=colour,
        label=text,
    )


def resolution(
    simulation: Calibration,
    data: Calibration | None,
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Relative energy resolution, raw, unfolded and true (R0 figs. 8.11, 8.12)."""
    with style():
        figure, ax = new_figure(6.8, 5.0)
        draw_widths(ax, simulation.true, VERMILLION, "Simulation, true")
        draw_widths(ax, simulation.plain, GREEN, "Simulation, raw", -0.06)
        draw_widths(ax, simulation.unfolded, BLUE, "Simulation, unfolded", 0.06)
        energy = np.linspace(1.0, 6.3, 200)
        curves = [(simulation, BLUE)]
        if data is not None:
            draw_widths(ax, data.plain, GREY, "Data, raw", -0.06)
            draw_widths(ax, data.unfolded, BLACK, "Data, unfolded", 0.06)
            curves.append((data, BLACK))
        for found, colour in curves:
            ax.plot(energy, 100 * found.function.sigma(energy) / energy, color=colour, lw=1)
        ax.set_xlabel(r"$p_{\rm recoil} \approx E_\gamma$ [GeV]")
        ax.set_ylabel(r"$\sigma_E / E$ [%]")
        ax.set_ylim(0, None)
        ax.legend(loc="lower left", ncols=2)
        annotate(ax, synthetic=synthetic, label=label)
    return figure


def unfolding(
    found: Calibration,
    seen: hist.Hist,
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Examples of the convolution fits (R0 fig. 8.13)."""
    from alp_coffea.stats.photon_resolution import FIT_RANGE
    from alp_coffea.stats.shapes import crystal_ball

    axis, momenta = seen.axes[1], seen.axes[0].edges
    with style():
        figure, axes = _columns(len(_SHOWN), 11.0, 4.0)
        for ax, k in zip(axes, _SHOWN, strict=True):
            inside = [f for f in found.unfolded if momenta[k] <= f.energy < momenta[k + 1]]
            if not inside:
                ax.set_axis_off()
                continue
            fit = inside[0]
            values = seen.values()[k]
            ball = crystal_ball(axis.edges, fit.mu, fit.sigma, fit.alpha, fit.n)
            both = np.convolve(ball, found.smearing[k][::-1], mode="same")
            reach = 6 * fit.sigma
            group = max(int(fit.sigma / 2 / (axis.edges[1] - axis.edges[0])), 1)
            used = len(values) // group * group
            coarse = values[:used].reshape(-1, group).sum(axis=1)
            edges = axis.edges[: used + 1 : group]
            middle = (edges[1:] + edges[:-1]) / 2
            ax.errorbar(
                middle, coarse, yerr=np.sqrt(coarse), fmt="o", ms=2.5, lw=0.8, color=BLACK,
                label=r"$E - p_{\rm recoil}$",
            )  # fmt: skip
            inside_range = (axis.edges[:-1] >= FIT_RANGE[0]) & (axis.edges[1:] <= FIT_RANGE[1])
            norm = group * values[inside_range].sum() / both[inside_range].sum()
            ax.plot(axis.centers, norm * both, color=BLUE, lw=1.4, label="Fit")
            ax.plot(axis.centers, norm * ball, color=VERMILLION, lw=1, ls="--",
                    label="Calorimeter")  # fmt: skip
            peak = norm * float(ball.max())
            smeared = found.smearing[k][::-1] / found.smearing[k].max()
            ax.plot(found.centres, peak * smeared, color=ORANGE, lw=1, ls="--",
                    label="Smearing, scaled")  # fmt: skip
            ax.set_xlim(-1.5 * reach, reach)
            ax.locator_params(axis="x", nbins=5)
            ax.set_ylim(0, 1.3 * peak)
            ax.set_xlabel("Energy difference [GeV]")
            ax.set_title(
                rf"{momenta[k]:g} < $p_{{\rm recoil}}$ < {momenta[k + 1]:g} GeV",
                fontsize=9, loc="right",
            )  # fmt: skip
        axes[0].set_ylabel("Events")
        axes[0].legend(loc="upper left", fontsize=8.5)
        annotate(axes[0], synthetic=synthetic, label=label, above=18)
    return figure


def corrections(found: EnergyCorrections, *, synthetic: bool, label: str | None = None) -> Figure:
    """What energies of data are scaled by, and what simulation is smeared with."""
    with style():
        figure, (ax, below) = panels((1, 1), height=5.4)
        ax.errorbar(
            found.energy, 100 * found.bias, yerr=100 * found.bias_error, fmt="o", ms=4,
            color=BLACK,
        )  # fmt: skip
        ax.axhline(0, color=GREY, lw=0.7)
        ax.set_ylabel("Data shifted by [%]")
        below.plot(found.energy, 100 * found.smearing_measured, "o", ms=4, color=BLACK,
                   label="Difference in quadrature, bins")  # fmt: skip
        below.plot(found.energy, 100 * found.smearing, color=BLUE, label="of the functions")
        below.axhline(0, color=GREY, lw=0.7)
        below.set_ylabel("Smearing [%]")
        below.set_xlabel(r"$E_\gamma$ [GeV]")
        below.legend(loc="best")
        annotate(ax, synthetic=synthetic, label=label)
    return figure


def phi_pulls(
    pulls: Mapping[str, ArrayLike], *, synthetic: bool, label: str | None = None
) -> Figure:
    """Pulls of the azimuths in kinematic fits of three photons, by kind of events."""
    with style():
        figure, ax = new_figure(6.6, 4.6)
        edges = np.linspace(-5, 5, 101)
        for (kind, values), colour in zip(pulls.items(), (BLUE, BLACK), strict=False):
            counts = np.histogram(np.asarray(values, float).ravel(), edges)[0]
            density = counts / counts.sum() / np.diff(edges)
            ax.stairs(density, edges, color=colour, lw=1.3, label=kind.capitalize())
        t = np.linspace(-5, 5, 400)
        ax.plot(t, np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi), color=VERMILLION, lw=1, ls="--",
                label="Unit Gaussian")  # fmt: skip
        ax.set_xlabel(r"$(\phi_{\rm measured} - \phi_{\rm fit})$ / expected spread")
        ax.set_ylabel("Density")
        ax.legend(loc="upper right")
        annotate(ax, synthetic=synthetic, label=label)
    return figure


def normality(
    before: Sequence[MassPulls],
    after: Sequence[MassPulls] | None,
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Median and width of the pulls of the fitted mass over mass (R0 fig. 8.3)."""
    shown: list[tuple[Sequence[MassPulls], str, dict[str, Any]]] = [
        (before, "Measured covariance", {"color": BLUE, "marker": "o"})
    ]
    if after is not None:
        shown.append((after, "with scanned factors", {"color": ORANGE, "marker": "s"}))
    masses = [row.mass for row in before]
    with style():
        figure, (ax, below) = panels((1, 1), height=5.4)
        for rows, text, look in shown:
            at = [row.mass for row in rows]
            ax.errorbar(at, [row.width for row in rows], yerr=[row.width_error for row in rows],
                        ls="none", ms=4, lw=1, label=text, **look)  # fmt: skip
            below.errorbar(at, [row.median for row in rows],
                           yerr=[row.median_error for row in rows],
                           ls="none", ms=4, lw=1, **look)  # fmt: skip
        ax.axhline(1, color=BLACK, lw=0.7)
        below.axhline(0, color=BLACK, lw=0.7)
        reach = 1.4 * max(0.1, *(abs(row.width - 1) for rows, _, _ in shown for row in rows))
        ax.set_ylim(1 - reach, 1 + reach)
        below.set_ylim(-reach, reach)
        ax.set_ylabel("Width of pulls", loc="center")
        below.set_ylabel("Median of pulls", loc="center")
        ax.legend(loc="lower left", ncols=2)
        log_mass_axis(below, 0.9 * min(masses), 1.1 * max(masses))
        below.set_xlabel(r"$m_a$ [GeV]")
        annotate(ax, synthetic=synthetic, label=label)
    return figure
