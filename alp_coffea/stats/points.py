"""The statistical models of a scan: which masses, which background models, which windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alp_coffea.config import Definition, Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats.background import Spectra, fit_window, widest_region
from alp_coffea.stats.sidebands import fix_shapes
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.spurious import with_spurious
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import Point, build_point, with_order


@dataclass(frozen=True)
class BackgroundChoice:
    """A change of the background model: polynomial order, and window edges in peak widths."""

    order: int = 0
    widen: float = 0.0

    @property
    def name(self) -> str:
        """As in the ``variation`` column: ``nominal``, ``order+1``, ``order-1 window+5``."""
        parts = [f"order{self.order:+d}"] if self.order else []
        parts += [f"window{self.widen:+g}"] if self.widen else []
        return " ".join(parts) or "nominal"


NOMINAL: Final = BackgroundChoice()
#: Order +-1 and window +-5 widths in all combinations, the nominal one first (R0 sec. 7.5.3).
NINE_CHOICES: Final = (
    NOMINAL,
    *(
        BackgroundChoice(order, widen)
        for order in (0, -1, 1)
        for widen in (0.0, -5.0, 5.0)
        if order or widen
    ),
)
#: Orders that discrete profiling decides between: those of the nine choices.
ORDER_CHOICES: Final = (NOMINAL, BackgroundChoice(-1), BackgroundChoice(1))


def hypotheses(model: SignalModel, settings: Scan) -> list[float]:
    """Masses [GeV] from ``low`` to ``high`` in steps of ``step`` peak widths (R0 sec. 7.1)."""
    masses: list[float] = []
    mass = settings.low
    while mass <= settings.high * (1 + 1e-9):
        if not any(low <= mass <= high for low, high in settings.excluded):
            masses.append(mass)
        definition, energy_set = settings.definition(mass), settings.energy_set(mass)
        mass += settings.step * float(model.width(mass, definition, energy_set))
    return masses


def scan_points(
    data: Spectra,
    shape: Spectra,
    model: SignalModel,
    settings: Scan,
    masses: Sequence[float],
    *,
    luminosity: float,
    choice: BackgroundChoice = NOMINAL,
    definition: Definition | None = None,
    systematics: Systematics | None = None,
) -> list[Point | ModelError]:
    """The statistical model of each mass [GeV], or why there is none.

    Parameters
    ----------
    data, shape
        Observed spectra, and the expected ones that tell where windows are populated.
    choice
        Change of the background model.
    definition
        Used at all masses instead of the one that the settings give.
    systematics
        Sizes of the nuisances; default those of the settings alone. With ``spurious_signal`` in
        its settings ``shape`` is also what spurious signals are fitted to.
    """
    (points,) = scan_choices(
        data,
        shape,
        model,
        settings,
        masses,
        choices=(choice,),
        luminosity=luminosity,
        definition=definition,
        systematics=systematics,
    )
    return points


def scan_choices(
    data: Spectra,
    shape: Spectra,
    model: SignalModel,
    settings: Scan,
    masses: Sequence[float],
    *,
    choices: Sequence[BackgroundChoice],
    luminosity: float,
    definition: Definition | None = None,
    systematics: Systematics | None = None,
) -> list[list[Point | ModelError]]:
    """:func:`scan_points` for several background models, by choice and then by mass.

    Choices with the same window share its bins and the signal in them, which is most of the work.
    """
    systematics = systematics or Systematics(settings.nuisances)
    free = settings.background_coefficients == "free"
    built: list[list[Point | ModelError]] = [[] for _ in choices]
    for mass in masses:
        key = (definition or settings.definition(mass), settings.energy_set(mass))
        nuisances = systematics.at(mass, *key)
        order = settings.window(mass, key[0]).order
        by_window: dict[float, Point | ModelError] = {}
        for column, choice in zip(built, choices, strict=True):
            if choice.widen not in by_window:
                try:
                    window = fit_window(
                        mass,
                        settings,
                        model,
                        data.edges,
                        shape[key],
                        definition=key[0],
                        extra_order=choice.order,
                        widen=choice.widen,
                    )
                    by_window[choice.widen] = build_point(
                        window,
                        model,
                        window.counts(data[key]),
                        luminosity=luminosity,
                        nuisances=nuisances,
                        free_coefficients=free,
                        region=widest_region(mass, settings, model, data.edges, key[0]),
                    )
                except ModelError as error:
                    by_window[choice.widen] = error
            point, wanted = by_window[choice.widen], max(order + choice.order, 0)
            if isinstance(point, Point) and point.window.order != wanted:
                point = with_order(point, wanted, free_coefficients=free)
            column.append(point)
    if settings.background_shape == "sideband":
        built = [fix_shapes(points) for points in built]
    if systematics.settings.spurious_signal:
        built = [with_spurious(points, shape) for points in built]
    return built
