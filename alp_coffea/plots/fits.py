"""Fits to mass spectra: data, components and pulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from alp_coffea.plots.arrays import (
    Array,
    nearest_edges,
    nominal_width,
    poisson_errors,
    rebinned,
    signed,
    width_text,
)
from alp_coffea.plots.style import (
    BLACK,
    BLUE,
    GREY,
    MASS2,
    VERMILLION,
    annotate,
    panels,
    set_count_label,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from matplotlib.patches import StepPatch

    from alp_coffea.stats.signal import PeakFit


def draw_points(
    ax: Axes,
    edges: ArrayLike,
    values: ArrayLike,
    errors: ArrayLike | None = None,
    **kwargs: Any,
) -> ErrorbarContainer:
    """Data points at the bin centres, scaled to the nominal bin width.

    Parameters
    ----------
    edges
        Shape (n + 1,).
    values
        Contents (n,).
    errors
        Their errors, (n,) or (2, n) below and above; Poisson intervals of the counts by default.
    **kwargs
        Of ``Axes.errorbar``, winning over the defaults.
    """
    edges, values = np.asarray(edges, dtype=np.float64), np.asarray(values, dtype=np.float64)
    bounds = np.array(poisson_errors(values)) if errors is None else np.asarray(errors)
    scale = nominal_width(edges) / np.diff(edges)
    looks: dict[str, Any] = {"fmt": "o", "color": BLACK, "ms": 3, "lw": 0.9, "zorder": 5}
    looks |= {"label": "Data"} | kwargs
    return ax.errorbar((edges[1:] + edges[:-1]) / 2, values * scale, yerr=bounds * scale, **looks)


def draw_pulls(ax: Axes, edges: ArrayLike, pulls: ArrayLike, *, ylabel: str = "Pull") -> StepPatch:
    """Pulls (n,) as filled steps between lines at two standard deviations."""
    from matplotlib.ticker import MultipleLocator

    pulls = np.asarray(pulls, dtype=np.float64)
    steps = ax.stairs(np.nan_to_num(pulls), edges, fill=True, color=BLUE, alpha=0.55, lw=0)
    ax.axhline(0, color=BLACK, lw=0.7)
    for level in (-2, 2):
        ax.axhline(level, color=GREY, lw=0.6, ls="--")
    reach = max(3.5, 1.1 * float(np.abs(np.nan_to_num(pulls)).max()))
    ax.set_ylim(-reach, reach)
    ax.yaxis.set_major_locator(MultipleLocator(2 if reach < 7 else 5))
    ax.set_ylabel(ylabel, loc="center")
    return steps


#: Names of peak shapes in figures.
_SHAPE = {
    "crystal_ball": "Crystal Ball",
    "double_sided": "Double-sided Crystal Ball",
    "generalised": "Generalised Crystal Ball",
}
#: A fitted cross section below this [pb] is a minimiser's zero.
_NO_CROSS_SECTION = 1e-9


@dataclass(frozen=True)
class WindowArtists:
    """Artists of a window fit."""

    data: ErrorbarContainer
    background: StepPatch
    total: StepPatch
    signal: StepPatch
    pulls: StepPatch


def draw_window(
    ax: Axes,
    pull_ax: Axes,
    edges: ArrayLike,
    data: ArrayLike,
    background: ArrayLike,
    signal: ArrayLike,
) -> WindowArtists:
    """A fit of signal and background to counts.

    Parameters
    ----------
    edges
        Squared masses [GeV^2], shape (n + 1,).
    data, background, signal
        Observed counts and fitted components (n,); the signal may be negative.
    """
    edges, data = np.asarray(edges, dtype=np.float64), np.asarray(data, dtype=np.float64)
    background, signal = np.asarray(background, float), np.asarray(signal, float)
    scale = nominal_width(edges) / np.diff(edges)
    total = background + signal
    points = draw_points(ax, edges, data)
    lines = [
        ax.stairs(y * scale, edges, baseline=None, color=colour, lw=width, ls=ls, label=name)
        for y, colour, width, ls, name in (
            (total, VERMILLION, 1.6, "-", "Signal + background"),
            (background, BLUE, 1.4, "--", "Background"),
        )
    ]
    peak = ax.stairs(
        signal * scale, edges, fill=True, color=VERMILLION, alpha=0.35, lw=0, label="Signal"
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        pulls = np.where(total > 0, (data - total) / np.sqrt(np.abs(total)), 0.0)
    steps = draw_pulls(
        pull_ax, edges, pulls, ylabel=r"$\frac{\mathrm{data}-\mathrm{fit}}{\sqrt{\mathrm{fit}}}$"
    )
    return WindowArtists(points, lines[1], lines[0], peak, steps)


def window(
    mass: float,
    definition: str,
    edges: ArrayLike,
    data: ArrayLike,
    background: ArrayLike,
    signal: ArrayLike,
    *,
    synthetic: bool,
    z_local: float | None = None,
    sigma_hat: float | None = None,
    luminosity: float | None = None,
    injected: Sequence[str] = (),
    label: str | None = None,
) -> Figure:
    """The fit at one mass hypothesis.

    The curves are the fit with a cross section of at least zero; where the signed one that is
    printed is negative, the figure says so.

    Parameters
    ----------
    mass
        Hypothesis [GeV].
    definition
        ``"diphoton"`` or ``"recoil"``.
    edges, data, background, signal
        As for :func:`draw_window`.
    synthetic
        Whether the data are simulated.
    z_local, sigma_hat
        Signed local significance and fitted cross section [pb], printed when given.
    luminosity
        Of the data [1/pb].
    injected
        Signals that were added to the data, see :func:`alp_coffea.plots.style.injected_text`.
    label
        Experiment label, none by default.
    """
    edges = np.asarray(edges, dtype=np.float64)
    with style():
        figure, (ax, pull_ax) = panels((3, 1))
        drawn = draw_window(ax, pull_ax, edges, data, background, signal)
        squared_mass_axes(ax, pull_ax, edges, definition)
        room_above(ax, 0.3)
        set_count_label(ax, f"Candidates / ({width_text(nominal_width(edges))} GeV$^2$)")
        text = [rf"$m_a$ = {mass:.4g} GeV"]
        if sigma_hat is not None and np.isfinite(sigma_hat):
            rounded = 0.0 if abs(sigma_hat) < _NO_CROSS_SECTION else sigma_hat
            text.append(rf"$\hat\sigma$ = {signed(rounded, '.3g')} pb")
        if z_local is not None and np.isfinite(z_local):
            text.append(f"$Z$ = {signed(z_local, '.2f')}")
        title = "   ".join(text)
        if sigma_hat is not None and sigma_hat < -_NO_CROSS_SECTION:
            title += "\n" + r"curves: fit with $\sigma \geq 0$"
        ax.legend(
            handles=[drawn.data, drawn.total, drawn.signal, drawn.background],
            loc="upper right",
            ncols=2,
            title=title,
            columnspacing=1.2,
        )
        annotate(
            ax,
            synthetic=synthetic,
            label=label,
            luminosity=luminosity,
            injected=injected,
            above=38,
        )
    return figure


def squared_mass_axes(ax: Axes, lowest: Axes, edges: Array, definition: str) -> None:
    """Squared mass below, mass above."""
    from matplotlib.ticker import MaxNLocator

    from alp_coffea.physics.kinematics import signed_root, signed_square

    ax.set_xlim(edges[0], edges[-1])
    symbol = MASS2.get(definition, "$m^2$")
    lowest.set_xlabel(rf"{symbol} [GeV$^2$]")
    ax.tick_params(axis="x", which="both", top=False)
    top = ax.secondary_xaxis("top", functions=(signed_root, signed_square))
    low, high = float(signed_root(edges[0])), float(signed_root(edges[-1]))
    ticks = MaxNLocator(6).tick_values(low, high)
    # near zero, equal steps in mass crowd together in m^2
    spread = [t for t in ticks if low <= t <= high]
    apart = 0.06 * (edges[-1] - edges[0])
    kept: list[float] = []
    for tick in reversed(spread):
        if not kept or signed_square(kept[-1]) - signed_square(tick) > apart:
            kept.append(tick)
    top.set_xticks(kept, [signed(t, ".4g") for t in kept])
    top.xaxis.set_minor_locator(MaxNLocator(1))
    top.set_xlabel("sign($m^2$) $\\sqrt{|m^2|}$ [GeV]" if low < -0.05 else "$m$ [GeV]")


def room_above(ax: Axes, share: float) -> None:
    """Leave the upper ``share`` of the axes free for a legend; linear axis from what is drawn."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, low + (high - low) / (1 - share))


def peak(
    histogram: Any,
    fit: PeakFit,
    *,
    synthetic: bool = True,
    label: str | None = None,
) -> Figure:
    """The peak fit to truth-matched candidates of one simulated mass.

    Parameters
    ----------
    histogram
        Mass histogram of the sample, axes energy_set, definition, origin and mass.
    fit
        The fit to draw; its mass definition and energy set choose the spectrum.
    synthetic
        Whether to say that it is simulation; signal always is.
    label
        Experiment label, none by default.
    """
    from alp_coffea.physics.kinematics import signed_square
    from alp_coffea.stats.signal import TAIL_SIDE

    side = TAIL_SIDE[fit.definition]
    spectrum = histogram[
        {"energy_set": fit.energy_set, "definition": fit.definition, "origin": "true"}
    ]
    fine = signed_square(spectrum.axes[0].edges)
    ends = sorted((fit.mu - side * 9 * fit.sigma, fit.mu + side * 5 * fit.sigma))
    index = nearest_edges(fine, np.arange(ends[0], ends[1], fit.sigma / 4))
    edges = fine[index]
    values, variances = rebinned(spectrum, index)
    shape = fit.fractions(edges)
    expected = values.sum() * shape / shape.sum()
    scale = nominal_width(edges) / np.diff(edges)
    with np.errstate(divide="ignore", invalid="ignore"):
        pulls = np.where(variances > 0, (values - expected) / np.sqrt(variances), 0.0)
    with style():
        figure, (ax, pull_ax) = panels((3, 1))
        draw_points(ax, edges, values, np.sqrt(variances), label="Truth-matched candidates")
        ax.stairs(
            expected * scale,
            edges,
            baseline=None,
            color=VERMILLION,
            label=f"{_SHAPE[fit.shape]} fit",
        )
        draw_pulls(pull_ax, edges, pulls)
        squared_mass_axes(ax, pull_ax, edges, fit.definition)
        ax.set_ylim(0, 1.18 * float((values * scale).max()))
        set_count_label(ax, f"Candidates / ({width_text(nominal_width(edges))} GeV$^2$)")
        text = "\n".join(
            (
                rf"$m_a$ = {fit.mass:.4g} GeV",
                rf"$\mu$ = {_with_error(fit.mu, fit.mu_error)} GeV$^2$",
                rf"$\sigma$ = {_with_error(fit.sigma, fit.sigma_error)} GeV$^2$",
                rf"$\alpha$ = {_with_error(fit.alpha, fit.alpha_error)}",
                rf"$n$ = {_with_error(fit.n, fit.n_error)}",
                rf"$\chi^2$/ndf = {fit.chi2:.1f} / {fit.ndf}",
            )
        )
        ax.legend(loc="upper left" if side > 0 else "upper right", title=text, alignment="left")
        annotate(ax, synthetic=synthetic, label=label, above=38)
    return figure


def _with_error(value: float, error: float) -> str:
    """Value and error with as many digits as the error deserves."""
    if not np.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = min(max(1 - int(np.floor(np.log10(error))), 0), 8)
    return rf"{value:.{digits}f} $\pm$ {error:.{digits}f}"
