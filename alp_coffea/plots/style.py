"""One look for all figures, applied only while they are drawn, and the one way to files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

#: Colours that stay apart for colour-blind readers (Okabe and Ito, jfly.uni-koeln.de/color).
BLACK: Final = "#000000"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#777777"
CYCLE: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)
#: Limit bands, 1 and 2 standard deviations: apart in hue and in lightness.
BAND_1: Final = "#607641"
BAND_2: Final = "#F5BB54"

SYNTHETIC: Final = "Simulation (synthetic)"

#: From here on counts are written with a power of ten.
_LARGE: Final = 1e5

#: Names of mass definitions and photon-energy sets in figures.
MASS: Final = {
    "diphoton": r"$m_{\gamma\gamma}$",
    "recoil": r"$m_{\mathrm{recoil}}$",
    "fit": r"$m_{\gamma\gamma}$ (kinematic fit)",
}
MASS2: Final = {
    "diphoton": r"$m^2_{\gamma\gamma}$",
    "recoil": r"$m^2_{\mathrm{recoil}}$",
    "fit": r"$m^2_{\gamma\gamma}$ (kinematic fit)",
}
SELECTION: Final = {"low_mass": "low-mass selection", "high_mass": "high-mass selection"}

_RC: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: same figure on every machine
    "font.size": 11,
    "mathtext.fontset": "dejavusans",
    "axes.labelsize": 12,
    "axes.linewidth": 0.9,
    "axes.formatter.limits": (-3, 5),
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 6,
    "ytick.major.size": 6,
    "xtick.minor.size": 3,
    "ytick.minor.size": 3,
    "lines.linewidth": 1.4,
    "errorbar.capsize": 0,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.borderpad": 0.2,
    "legend.fontsize": 10,
    "legend.title_fontsize": 10,
    "legend.handlelength": 1.8,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """Settings of matplotlib for figures of this package, restored afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the caller has set, except the backend
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(width: float = 6.6, height: float = 4.8) -> tuple[Figure, Axes]:
    """A figure of one panel, sizes in inches, known to no global registry."""
    figure = _empty(width, height)
    return figure, figure.subplots()


def panels(
    heights: tuple[float, ...], *, width: float = 6.6, height: float = 5.8
) -> tuple[Figure, list[Axes]]:
    """A figure of panels above one another with one horizontal axis."""
    figure = _empty(width, height)
    figure.get_layout_engine().set(h_pad=0.025, hspace=0)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    figure.align_ylabels()
    return figure, list(axes)


def _empty(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def annotate(
    ax: Axes,
    *,
    synthetic: bool,
    label: str | None = None,
    luminosity: float | None = None,
    sqrt_s: float | None = None,
    injected: Sequence[str] = (),
    above: float = 5.0,
) -> list[Annotation]:
    """What is shown, above the axes: label and origin on the left, luminosity on the right.

    Parameters
    ----------
    synthetic
        Whether any of the input is simulated in place of data.
    label
        Experiment or other label; none unless the user wants one.
    luminosity
        Integrated luminosity [1/pb].
    sqrt_s
        Centre-of-mass energy [GeV].
    injected
        Signals that were added to the data, said inside the axes.
    above
        Distance from the axes [points]; larger under a second horizontal axis.
    """
    texts = []
    left = [part for part in (label, SYNTHETIC if synthetic else None) if part]
    if left:
        texts.append(_above(ax, "   ".join(left), 0.0, above, weight="bold"))
    right = []
    if luminosity is not None:
        right.append(rf"$\int\!L\,dt$ = {luminosity_text(luminosity)}")
    if sqrt_s is not None:
        right.append(rf"$\sqrt{{s}}$ = {sqrt_s:.2f} GeV")
    if right:
        texts.append(_above(ax, ", ".join(right), 1.0, above, weight="normal"))
    if injected:
        texts.append(
            ax.annotate(
                injected_text(injected),
                (1.0, 0.0),
                (-6, 6),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=VERMILLION,
                fontsize=9.5,
            )
        )
    return texts


def _above(ax: Axes, text: str, x: float, points: float, *, weight: str) -> Annotation:
    return ax.annotate(
        text,
        (x, 1.0),
        (0, points),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right" if x > 0.5 else "left",
        va="bottom",
        weight=weight,
        fontsize=10.5,
    )


def injected_text(injected: Sequence[str]) -> str:
    """What was added to the data, from the entries ``mass=M,sigma=S`` of a scan's ``injected``.

    >>> injected_text(["mass=3,sigma=0.5"])
    'with injected signal: 0.5 pb at 3 GeV'
    >>> injected_text([])
    ''
    """
    if not injected:
        return ""
    from alp_coffea.stats.injection import Injection

    signals = (f"{i.sigma:g} pb at {i.mass:g} GeV" for i in map(Injection.parse, injected))
    return f"with injected signal: {', '.join(signals)}"


def luminosity_text(luminosity: float) -> str:
    """A luminosity [1/pb] with the unit that reads best."""
    if luminosity >= 1e6:
        return rf"{luminosity / 1e6:.3g} ab$^{{-1}}$"
    if luminosity >= 1e4:
        return rf"{luminosity / 1e3:.4g} fb$^{{-1}}$"
    return rf"{luminosity:.4g} pb$^{{-1}}$"


def log_mass_axis(ax: Axes, low: float, high: float) -> None:
    """Logarithmic mass axis [GeV] with plain numbers at 1, 2 and 5 of each decade, or more."""
    from matplotlib.ticker import (
        FixedLocator,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        StrMethodFormatter,
    )

    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ticks = [t for e in range(-3, 3) for m in (1, 2, 5) if low <= (t := m * 10.0**e) <= high]
    if len(ticks) < 3:  # a narrow range
        ticks = list(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=50))
    ax.xaxis.set_minor_formatter(NullFormatter())


def plain_log_ticks(ax: Axes) -> None:
    """Plain numbers at a few values of each decade of a logarithmic vertical axis.

    After everything is drawn: they are more where the axis has little more than a decade.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs: Sequence[float] = (1, 2, 5)
    if high < 20 * low:
        subs = (1, 1.5, 2, 3, 4, 5, 7) if high > 4 * low else range(1, 10)
    # with a number of ticks LogLocator keeps to decades where it fits
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=99))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def set_count_label(ax: Axes, text: str) -> None:
    """Label a linear vertical axis of counts, with the power of ten of large ones.

    After its limits are set. matplotlib would write the power where the figure says what it is.
    """
    ax.set_ylabel(text)
    high = ax.get_ylim()[1]
    if ax.get_yscale() == "linear" and high >= _LARGE:
        power = 3 * math.floor(math.log10(high) / 3)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value / 10**power:g}")
        ax.set_ylabel(rf"$10^{{{power}}}$ {text[:1].lower()}{text[1:]}")


def save(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write ``name.pdf`` and ``name.png`` into ``folder``; the same figure gives the same bytes.

    Returns the paths. Raises OSError when the folder cannot be written.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.pdf", folder / f"{name}.png"]
    layout, canvas = figure.get_layout_engine(), figure.canvas
    with style():
        figure.savefig(paths[1], metadata={"Software": None})
        # savefig would find the same layout again, and draw twice to do so
        figure.set_layout_engine("none")
        pdf = FigureCanvasPdf(figure)
        pdf.print_pdf(  # type: ignore[no-untyped-call]
            paths[0], metadata={"CreationDate": None, "Producer": None}
        )
    figure.set_layout_engine(layout)
    figure.set_canvas(canvas)
    return paths
