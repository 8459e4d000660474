"""Distributions of selected events: data against stacked simulation, and cutflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from alp_coffea.plots.arrays import (
    Array,
    nearest_edges,
    nominal_width,
    poisson_errors,
    rebinned,
    width_text,
)
from alp_coffea.plots.fits import draw_points, room_above, squared_mass_axes
from alp_coffea.plots.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    SELECTION,
    annotate,
    new_figure,
    panels,
    plain_log_ticks,
    set_count_label,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import StepPatch

    from alp_coffea.events.selection import Cutflow


def draw_stack(
    ax: Axes,
    edges: ArrayLike,
    components: Mapping[str, ArrayLike],
    variance: ArrayLike | None = None,
) -> list[StepPatch]:
    """Components (n,) stacked in the given order, first at the bottom; returns their patches.

    ``variance`` (n,) of the sum is shown as a hatched band.
    """
    edges = np.asarray(edges, dtype=np.float64)
    scale = nominal_width(edges) / np.diff(edges)
    base = np.zeros(len(edges) - 1)
    patches = []
    for number, (name, values) in enumerate(components.items()):
        top = base + np.asarray(values, dtype=np.float64) * scale
        patches.append(
            ax.stairs(
                top, edges, baseline=base, fill=True, color=_FILLS[number % len(_FILLS)], label=name
            )
        )
        base = top
    if variance is not None and components:
        error = np.sqrt(np.asarray(variance, dtype=np.float64)) * scale
        ax.stairs(
            base + error,
            edges,
            baseline=base - error,
            fill=True,
            facecolor="none",
            edgecolor=GREY,
            hatch="//////",
            lw=0,
            label="MC stat. uncertainty",
        )
        ax.stairs(base, edges, color=BLACK, lw=0.8)
    return patches


#: Fewer effective entries have no shape: scaled to the background's area they are a few spikes.
_SHAPE_ENTRIES = 25

#: From here on the names of samples in a cutflow are small.
_MANY_SAMPLES = 8

_FILLS = ("#9ecae1", "#fdd0a2", "#a1d99b", "#dadaeb", "#fcbba1", "#d9d9d9")


def draw_ratio(
    ax: Axes,
    edges: ArrayLike,
    data: ArrayLike,
    expected: ArrayLike,
    variance: ArrayLike,
    **kwargs: Any,
) -> None:
    """Data over expectation (n,) with Poisson errors, and the expectation's relative error."""
    edges, data = np.asarray(edges, dtype=np.float64), np.asarray(data, dtype=np.float64)
    total = np.asarray(expected, dtype=np.float64)
    filled = total > 0
    safe = np.where(filled, total, np.nan)
    errors = np.array(poisson_errors(data)) / safe
    relative = np.sqrt(np.asarray(variance, dtype=np.float64)) / safe
    looks: dict[str, Any] = {"fmt": "o", "color": BLACK, "ms": 3, "lw": 0.9, "zorder": 5} | kwargs
    shown = filled & (data > 0)
    ax.errorbar(
        ((edges[1:] + edges[:-1]) / 2)[shown], (data / safe)[shown], yerr=errors[:, shown], **looks
    )
    ax.stairs(
        np.nan_to_num(1 + relative, nan=1.0),
        edges,
        baseline=np.nan_to_num(1 - relative, nan=1.0),
        fill=True,
        facecolor="none",
        edgecolor=GREY,
        hatch="//////",
        lw=0,
    )
    ax.axhline(1, color=GREY, lw=0.8)
    ax.set_ylim(0.5, 1.5)
    ax.set_ylabel("Data / MC", loc="center")


def variable(
    data: Any | None,
    backgrounds: Mapping[str, Any],
    *,
    energy_set: str | None,
    signals: Mapping[str, Any] | None = None,
    synthetic: bool,
    luminosity: float | None = None,
    label: str | None = None,
    log: bool = False,
    per: str = "Entries",
    note: str = "",
) -> Figure:
    """One selection variable: stacked backgrounds, data and their ratio.

    Parameters
    ----------
    data
        Histogram with the axis x, and energy_set if that is given; None when there are no data or
        they are blinded.
    backgrounds
        Histograms by legend name, bottom of the stack first, scaled to the luminosity of the data.
    energy_set
        Which photon-energy set to draw, None for histograms without that axis. Cuts that the axis
        carries for it (``events.histograms.Variable.axis``) are dashed lines.
    signals
        Histograms drawn as lines with the area of the backgrounds, as only their shape matters;
        those with a handful of entries are left out.
    synthetic
        Whether the data are simulated.
    luminosity
        Of the data [1/pb].
    log
        Logarithmic vertical axis.
    per
        What is counted, for the axis label.
    note
        What to say about the selection, such as "N−1".
    """
    chosen = {name: _of_set(h, energy_set) for name, h in backgrounds.items()}
    axis = next(iter(chosen.values())).axes[0]
    edges = np.asarray(axis.edges)
    values = {name: h.values() for name, h in chosen.items()}
    total = np.sum(list(values.values()), axis=0)
    variance = np.sum([h.variances() for h in chosen.values()], axis=0)
    with style():
        if data is not None:
            figure, (ax, ratio_ax) = panels((3, 1))
        else:
            figure, ax = new_figure()
            ratio_ax = ax
        draw_stack(ax, edges, values, variance)
        content = total.copy()
        for (name, h), color in zip((signals or {}).items(), CYCLE[3:] + CYCLE[:3], strict=False):
            shape, error2 = _of_set(h, energy_set).values(), _of_set(h, energy_set).variances()
            if error2.sum() > 0 and shape.sum() ** 2 / error2.sum() >= _SHAPE_ENTRIES:
                shape = shape * total.sum() / shape.sum()
                ax.stairs(shape, edges, color=color, lw=1.6, label=name)
                content += shape
        if data is not None:
            observed = _of_set(data, energy_set).values()
            draw_points(ax, edges, observed)
            draw_ratio(ratio_ax, edges, observed, total, variance)
            content += observed
        filled = np.flatnonzero(content > 1e-3 * content.max())
        if len(filled):
            ratio_ax.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
        for threshold in _cuts(axis, energy_set):
            ax.axvline(threshold, **_CUT)
        positive = total[total > 0]
        if log and len(positive):
            ax.set_yscale("log")
            ax.set_ylim(0.5 * positive.min(), 60 * positive.max())
        else:
            ax.set_ylim(0, None)
            room_above(ax, 0.25)
        width = _widths(axis)
        set_count_label(ax, f"{per} / ({width})" if " " in width else f"{per} / {width}")
        ratio_ax.set_xlabel(axis.label)
        ax.legend(loc="upper right", ncols=2, title=_selection(energy_set, note))
        annotate(ax, synthetic=synthetic, label=label, luminosity=luminosity)
    return figure


#: How a threshold is drawn where a variable is shown without the cut on it.
_CUT: Mapping[str, Any] = {"color": GREY, "lw": 1.2, "ls": (0, (5, 2)), "zorder": 4}


def _cuts(axis: Any, energy_set: str | None) -> Sequence[float]:
    """Thresholds that the axis of a histogram carries for an energy set."""
    thresholds: Sequence[float] = axis.__dict__.get("cuts", {}).get(energy_set, ())
    return thresholds


def _widths(axis: Any) -> str:
    """Bin width of an axis with the unit that its label ends in."""
    unit = axis.label[axis.label.rfind("[") + 1 : -1] if axis.label.endswith("]") else ""
    return f"{width_text(nominal_width(axis.edges))} {unit}".strip()


def _of_set(histogram: Any, energy_set: str | None) -> Any:
    return histogram if energy_set is None else histogram[{"energy_set": energy_set}]


def _selection(energy_set: str | None, note: str) -> str:
    """Title of a legend: which selection, and what about it."""
    parts = [SELECTION.get(energy_set, energy_set) if energy_set else "", note]
    return ", ".join(part for part in parts if part)


def plane(
    histogram: Any,
    *,
    energy_set: str | None,
    synthetic: bool,
    luminosity: float | None = None,
    label: str | None = None,
    per: str = "Candidates",
    note: str = "",
) -> Figure:
    """Two variables against each other, such as the angles between two photons.

    Parameters
    ----------
    histogram
        Axes x and y, and energy_set if that is given.
    per, note
        What is counted, and what to say about the selection.
    """
    from matplotlib.colors import LogNorm

    chosen = _of_set(histogram, energy_set)
    x, y = chosen.axes
    values = chosen.values()
    with style():
        figure, ax = new_figure(6.6, 5.2)
        shown = np.ma.masked_less_equal(values.T, 0)
        norm = LogNorm(shown.min(), shown.max()) if shown.count() else None
        mesh = ax.pcolormesh(x.edges, y.edges, shown, norm=norm, cmap="cividis_r", rasterized=True)
        if shown.count():
            figure.colorbar(mesh, ax=ax, label=f"{per} / ({_widths(x)} × {_widths(y)})", pad=0.02)
        # below both thresholds a pair of photons is rejected
        for right, top in zip(_cuts(x, energy_set), _cuts(y, energy_set), strict=True):
            low_x, low_y = x.edges[0], y.edges[0]
            ax.plot([low_x, right, right], [top, top, low_y], **{**_CUT, "color": BLACK})
        ax.set_xlabel(x.label)
        ax.set_ylabel(y.label)
        ax.set_title(_selection(energy_set, note), fontsize=10.5, loc="center")
        annotate(ax, synthetic=synthetic, label=label, luminosity=luminosity, above=20)
    return figure


def masses(
    data: Any | None,
    background: Any,
    *,
    definition: str,
    energy_sets: Sequence[str] | None = None,
    bin_width: float = 1.0,
    synthetic: bool,
    luminosity: float | None = None,
    label: str | None = None,
) -> Figure:
    """Squared-mass spectra of data and background for every photon-energy set, with ratios.

    Parameters
    ----------
    data
        Mass histogram (axes energy_set, definition, origin, mass), None when blinded.
    background
        The same for the expected background, scaled to the luminosity of the data.
    definition
        Which mass, such as ``"diphoton"``.
    energy_sets
        Which selections, the last one of the histogram first by default.
    bin_width
        [GeV^2]; edges are the nearest ones of the fine bins.
    """
    from alp_coffea.physics.kinematics import signed_square

    energy_sets = energy_sets or list(background.axes["energy_set"])[::-1]
    with style():
        count = len(energy_sets) if data is not None else 0
        figure, (ax, *ratios) = (
            panels((3, *[0.8] * count), height=5.4 + 0.6 * count) if count else _single()
        )
        edges = np.empty(0)
        for number, energy_set in enumerate(energy_sets):
            color, marker = (BLUE, ORANGE)[number % 2], "os"[number % 2]
            spectrum = _spectrum(background, definition, energy_set)
            fine = signed_square(spectrum.axes[0].edges)
            if not len(edges):
                edges, index = _populated_edges(spectrum, fine, bin_width)
            expected, variance = rebinned(spectrum, index)
            scale = nominal_width(edges) / np.diff(edges)
            name = SELECTION.get(energy_set, energy_set)
            ax.stairs(expected * scale, edges, color=color, lw=1.5, label=f"Background MC, {name}")
            if data is not None:
                observed, _ = rebinned(_spectrum(data, definition, energy_set), index)
                draw_points(ax, edges, observed, color=color, fmt=marker, label=f"Data, {name}")
                draw_ratio(
                    ratios[number], edges, observed, expected, variance, color=color, fmt=marker
                )
        squared_mass_axes(ax, ratios[-1] if ratios else ax, edges, definition)
        ax.set_ylim(0, None)
        room_above(ax, 0.3)
        set_count_label(ax, f"Candidates / ({width_text(nominal_width(edges))} GeV$^2$)")
        ax.legend(loc="upper right", ncols=1 if data is None else 2, columnspacing=1.2)
        annotate(ax, synthetic=synthetic, label=label, luminosity=luminosity, above=38)
    return figure


def _single() -> tuple[Figure, list[Axes]]:
    figure, ax = new_figure()
    return figure, [ax]


def _spectrum(histogram: Any, definition: str, energy_set: str) -> Any:
    """1-D mass spectrum, all candidate origins together."""
    return histogram[{"energy_set": energy_set, "definition": definition}].project("mass")


def _populated_edges(spectrum: Any, fine: Array, bin_width: float) -> tuple[Array, Any]:
    """Edges every ``bin_width`` [GeV^2] over all but the emptiest ends of a spectrum."""
    share = np.cumsum(spectrum.values())
    inside = np.flatnonzero((share > 1e-4 * share[-1]) & (share < (1 - 1e-4) * share[-1]))
    first, last = (fine[inside[0]], fine[inside[-1] + 1]) if len(inside) else (fine[0], fine[-1])
    start = np.floor(first / bin_width) * bin_width
    index = nearest_edges(fine, np.arange(start, last + bin_width, bin_width))
    return fine[index], index


def cutflow(
    cutflows: Mapping[str, Cutflow],
    flow: str,
    *,
    synthetic: bool,
    label: str | None = None,
) -> Figure:
    """Share of events left after each cut of one flow, by sample."""
    with style():
        figure, ax = new_figure(7.6, 4.8)
        names: list[str] = []
        for number, (sample, counts) in enumerate(cutflows.items()):
            steps = counts.steps(flow)
            if not steps or steps[0].weighted <= 0:
                continue
            names = names or [step.cut.replace("_", " ") for step in steps]
            left = np.array([100 * step.weighted / steps[0].weighted for step in steps])
            ax.step(
                np.arange(len(left)),
                np.where(left > 0, left, np.nan),
                where="mid",
                color=CYCLE[number % 6],
                ls=("-", "--", ":")[number // 6 % 3],
                label=sample,
            )
        plain_log_ticks(ax)
        ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="x", which="minor", bottom=False, top=False)
        ax.set_ylabel("Events left [%]")
        title = SELECTION.get(flow, flow)
        if len(ax.lines):
            small = {"fontsize": 8, "labelspacing": 0.25} if len(ax.lines) > _MANY_SAMPLES else {}
            figure.legend(loc="outside right upper", title=title, **small)
        annotate(ax, synthetic=synthetic, label=label)
    return figure
