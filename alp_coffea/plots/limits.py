"""Limits with their expected bands, and local significances, over mass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.plots.arrays import Array, interruptions, segments, transitions
from alp_coffea.plots.style import (
    BAND_1,
    BAND_2,
    BLACK,
    CYCLE,
    GREEN,
    GREY,
    MASS,
    SELECTION,
    VERMILLION,
    annotate,
    log_mass_axis,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import FillBetweenPolyCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from alp_coffea.stats.scan import ScanResult

#: A published curve: its name, masses [GeV] (n,) and couplings [1/GeV] (n,).
Overlay = tuple[str, ArrayLike, ArrayLike]


@dataclass(frozen=True)
class BandArtists:
    """Artists of a limit plot, one of each kind per uninterrupted run of masses."""

    observed: list[Line2D]
    expected: list[Line2D]
    one_sigma: list[FillBetweenPolyCollection]
    two_sigma: list[FillBetweenPolyCollection]


def draw_bands(
    ax: Axes,
    mass: ArrayLike,
    observed: ArrayLike | None,
    expected: ArrayLike,
    *,
    good: ArrayLike | None = None,
) -> BandArtists:
    """Observed and expected limits on a mass axis.

    Parameters
    ----------
    mass
        Masses [GeV], ascending, shape (n,).
    observed
        Observed limit (n,), None when blinded.
    expected
        Limits expected at -2, -1, 0, +1 and +2 standard deviations, shape (5, n).
    good
        Which points to draw (n,): lines and bands have gaps at the others, wherever a value is not
        finite, and where masses were left out.
    """
    m, bands = np.asarray(mass, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    usable = np.ones(len(m), dtype=bool) if good is None else np.asarray(good, dtype=bool)
    artists = BandArtists([], [], [], [])
    for run in segments(usable & np.isfinite(bands).all(axis=0), interruptions(m)):
        first = not artists.expected
        x, (low2, low1, median, high1, high2) = m[run], bands[:, run]
        fill: dict[str, Any] = {"linewidth": 0, "zorder": 1}
        artists.two_sigma.append(
            ax.fill_between(
                x, low2, high2, color=BAND_2, label=r"Expected $\pm 2\sigma$" * first, **fill
            )
        )
        artists.one_sigma.append(
            ax.fill_between(
                x, low1, high1, color=BAND_1, label=r"Expected $\pm 1\sigma$" * first, **fill
            )
        )
        artists.expected.extend(
            ax.plot(
                x,
                median,
                "--",
                color=BLACK,
                lw=1.2,
                zorder=3,
                label="Expected" * first,
                **_lone(x, "_"),
            )
        )
        if len(x) == 1:  # a band of one point has no area
            for low, high, colour, width in ((low2, high2, BAND_2, 5), (low1, high1, BAND_1, 5)):
                ax.vlines(x, low, high, color=colour, lw=width, zorder=1)
    if observed is not None:
        y = np.asarray(observed, dtype=np.float64)
        for run in segments(usable & np.isfinite(y), interruptions(m)):
            first = not artists.observed
            artists.observed.extend(
                ax.plot(
                    m[run], y[run], color=BLACK, zorder=4, label="Observed" * first, **_lone(m[run])
                )
            )
    return artists


def _lone(x: Array, marker: str = "o") -> dict[str, Any]:
    """Marker for a line of one point, which would be invisible."""
    return {"marker": marker, "markersize": 3 if marker == "o" else 7} if len(x) == 1 else {}


def limits(
    scan: ScanResult,
    quantity: Literal["sigma", "g"] = "g",
    *,
    published: Sequence[Overlay] = (),
    label: str | None = None,
) -> Figure:
    """Upper limits of a scan on the cross section or the coupling.

    Parameters
    ----------
    scan
        The result; without any observed limit only the expected ones are drawn.
    quantity
        ``"sigma"`` [pb] or ``"g"`` [1/GeV].
    published
        Coupling limits of others, drawn on the coupling plot only.
    label
        Experiment label, none by default.
    """
    mass = scan["mass"]
    expected = np.array([scan[f"{quantity}_exp{band}"] for band in _BAND_SUFFIXES])
    observed = scan[f"{quantity}_obs"]
    with style():
        figure, ax = new_figure(7.0, 5.0)
        ax.set_yscale("log")
        draw_bands(ax, mass, observed, expected, good=_drawn(scan))
        drawn = np.concatenate((expected, observed[np.newaxis]))[:, _drawn(scan)]
        low, high = _decades(drawn[np.isfinite(drawn) & (drawn > 0)])
        if quantity == "g":
            draw_published(ax, published, _mass_range(mass))
        _mark_scan(ax, scan)
        log_mass_axis(ax, *_mass_range(mass))
        ax.set_ylim(low, high)
        ax.set_xlabel(r"$m_a$ [GeV]")
        confidence = [f"{100 * level:.3g}% CL" for level in scan["level"][:1]]
        level = " ".join([*confidence, "upper limit on "])
        ax.set_ylabel(
            level
            + (r"$\sigma$ [pb]" if quantity == "sigma" else r"$g_{a\gamma\gamma}$ [GeV$^{-1}$]")
        )
        # the empty decade above the curves is the legend's
        _legend(ax)
        _annotate_scan(ax, scan, label)
    return figure


_BAND_SUFFIXES = ("_m2", "_m1", "", "_p1", "_p2")


def _drawn(scan: ScanResult) -> NDArray[np.bool_]:
    """Points that are drawn: converged ones, and expected limits of a blinded scan."""
    return np.asarray(scan.ok | (scan["status"] == "blinded"))


def _mass_range(mass: Array) -> tuple[float, float]:
    """A little more than the masses [GeV]; something for an empty scan."""
    return (0.93 * float(mass.min()), 1.07 * float(mass.max())) if len(mass) else (0.1, 10.0)


def _decades(values: Array) -> tuple[float, float]:
    """Limits of a logarithmic axis with room for a legend above."""
    if not len(values):
        return 0.1, 10.0
    low, high = float(values.min()), float(values.max())
    return low / 1.6, high * 1.6 * (high / low) ** 0.45


def draw_published(
    ax: Axes, published: Iterable[Overlay], mass_range: tuple[float, float]
) -> list[Line2D]:
    """Curves of others within a mass range [GeV], solid lines in colour; returns them."""
    lines = []
    for number, (name, mass, coupling) in enumerate(published):
        m, g = np.asarray(mass, dtype=np.float64), np.asarray(coupling, dtype=np.float64)
        near = (m > 0.5 * mass_range[0]) & (m < 2 * mass_range[1])
        if near.any():
            lines += ax.plot(
                m[near], g[near], color=CYCLE[number % 6], lw=1.1, zorder=2.5, label=name
            )
    return lines


def _mark_scan(ax: Axes, scan: ScanResult) -> None:
    """Where the analysis changes along the scan, and which masses have no result."""
    for column, line, names in (("energy_set", ":", SELECTION), ("definition", "-.", MASS)):
        for mass, old, new in transitions(scan["mass"], scan[column]):
            before = names.get(old, old).removesuffix(" selection")
            change = rf"{before} $\to$ {names.get(new, new)}"
            ax.axvline(mass, color=GREY, ls=line, lw=1.1, zorder=0.5, label=change)
    failed = ~_drawn(scan)
    if failed.any():
        ax.plot(
            scan["mass"][failed],
            np.full(failed.sum(), 0.02),
            "x",
            color=VERMILLION,
            ms=5,
            mew=1.4,
            transform=ax.get_xaxis_transform(),
            label=f"No result ({failed.sum()})",
            clip_on=False,
        )


def _legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:  # an empty scan has none
        ax.legend(loc="upper left", ncols=2, columnspacing=1.2)


def _annotate_scan(ax: Axes, scan: ScanResult, label: str | None) -> None:
    luminosity = scan["luminosity"]
    one = np.unique(luminosity[np.isfinite(luminosity)])
    annotate(
        ax,
        synthetic=scan.synthetic,
        label=label,
        luminosity=float(one[0]) if len(one) == 1 else None,
        sqrt_s=scan.sqrt_s,
        injected=scan.meta.get("injected") or (),
    )


def draw_significance(
    ax: Axes, mass: ArrayLike, z_local: ArrayLike, *, good: ArrayLike | None = None
) -> list[Line2D]:
    """Signed local significance over mass (n,) with gaps where not ``good``; returns the lines."""
    m, z = np.asarray(mass, dtype=np.float64), np.asarray(z_local, dtype=np.float64)
    usable = np.isfinite(z) if good is None else np.isfinite(z) & np.asarray(good, dtype=bool)
    lines = []
    for run in segments(usable, interruptions(m)):
        lines += ax.plot(m[run], z[run], color="#0072B2", lw=1.1, **_lone(m[run]))
    return lines


#: The level whose up-crossings estimate the look-elsewhere effect (R0 sec. 7.1.2).
_CROSSING_LEVEL = 0.5


def _mark_up_crossings(ax: Axes, mass: Array, z: Array) -> None:
    """Where the scan crosses the level from below, half-way between the two masses."""
    up = np.flatnonzero((z[:-1] <= _CROSSING_LEVEL) & (z[1:] > _CROSSING_LEVEL))
    if len(up):
        ax.plot(
            (mass[up] + mass[up + 1]) / 2,
            np.full(len(up), _CROSSING_LEVEL),
            "^",
            color=GREEN,
            ms=3.5,
            label=f"Up-crossings of {_CROSSING_LEVEL:g}: {len(up)}",
        )


def significance(scan: ScanResult, *, label: str | None = None) -> Figure:
    """Signed local significance of a scan, with the local p-value on the right and the
    up-crossings that :meth:`alp_coffea.stats.scan_result.ScanResult.largest_excess` counts.

    Not corrected for the number of places looked at: about one in three masses is beyond one
    standard deviation even without a signal.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    from scipy.stats import norm

    mass, z = scan["mass"], scan["z_local"]
    with style():
        figure, ax = new_figure(7.0, 4.4)
        for level in (-2, -1, 1, 2, 3):
            ax.axhline(level, color=GREY, lw=0.6, ls=":", zorder=0.5)
        ax.axhline(0, color=GREY, lw=0.8, zorder=0.5)
        draw_significance(ax, mass, z, good=_drawn(scan))
        finite = z[_drawn(scan) & np.isfinite(z)]
        reach = 3.4 if not len(finite) else max(3.4, 1.15 * float(np.abs(finite).max()))
        if len(finite):
            top = int(np.nanargmax(np.where(_drawn(scan), z, np.nan)))
            ax.plot(
                mass[top],
                z[top],
                "o",
                mfc="none",
                color=VERMILLION,
                ms=7,
                label=f"Largest: {z[top]:.2f} at {mass[top]:.3f} GeV",
            )
        shown = _drawn(scan) & np.isfinite(z)
        _mark_up_crossings(ax, mass[shown], z[shown])
        _mark_scan(ax, scan)
        log_mass_axis(ax, *_mass_range(mass))
        ax.set_ylim(-reach, reach * 1.45)
        ax.set_xlabel(r"$m_a$ [GeV]")
        ax.set_ylabel(r"Local significance $Z$ (signed)")
        ax.tick_params(axis="y", which="both", right=False)
        right = ax.secondary_yaxis("right")
        step = 1 if reach < 6 else 2
        right.yaxis.set_major_locator(FixedLocator([float(step * k) for k in range(-8, 9)]))
        right.yaxis.set_minor_locator(NullLocator())
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _p_text(norm.sf(value))))
        right.set_ylabel("Local $p$-value")
        _legend(ax)
        _annotate_scan(ax, scan, label)
    return figure


def _p_text(p: float) -> str:
    if p >= 1e-2:
        return (
            f"{p:.2f}" if p < 0.995 else f"{p:.3f}".rstrip("0").rstrip(".") if p < 0.9995 else "1"
        )
    exponent = int(np.floor(np.log10(p)))
    return rf"${p / 10.0**exponent:.1f}\times10^{{{exponent}}}$"
