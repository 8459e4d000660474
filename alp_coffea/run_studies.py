"""Studies of a finished run, from its output folder to tables of plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import awkward as ak
import numpy as np

from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import InputError
from alp_coffea.events.skims import read_skim
from alp_coffea.pipeline.modelling import signal_samples
from alp_coffea.pipeline.reopening import reopen
from alp_coffea.pipeline.scanning import background_size, measured_systematics
from alp_coffea.results import Run
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.basis import BasisComparison, compare_bases
from alp_coffea.stats.holdout import HeldOut, leave_one_out
from alp_coffea.stats.impacts import (
    Correlations,
    Ranking,
    SystematicEffect,
    correlations,
    effect_of_systematics,
    rankings,
    with_signal,
)
from alp_coffea.stats.orders import OrderFit, order_fits
from alp_coffea.stats.projection import Projection, project
from alp_coffea.stats.scan import hypotheses, scan_points
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.studies import BiasStudy, Coverage, bias_study, coverage
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.toys import ToyScans, ToySource, toy_scans
from alp_coffea.stats.workspace import POI, Point

#: Smallest photon energy [GeV] of the sets (R0 ch. 5), to tell which events of a skim are in them.
ENERGY_SETS: Final = {"low_mass": 1.00, "high_mass": 0.65}


@dataclass(frozen=True)
class Study:
    """What the studies of one run share.

    ``data`` are the observed spectra, or the expected ones where the run is ``blinded``;
    ``masses`` [GeV] every so many of the scan's hypotheses.
    """

    run: Run
    settings: Scan
    model: SignalModel
    data: Spectra
    background: Spectra
    systematics: Systematics
    size: float
    masses: tuple[float, ...]
    blinded: bool

    @classmethod
    def of(cls, run: Run, *, every: int = 1) -> Study:
        """Raises InputError without simulated background of a known luminosity."""
        job = reopen(run.folder)
        expected, size = run.scaled("mass", "background"), background_size(run)
        if expected is None or size is None:
            raise InputError(f"{run.folder}: studies need simulated background samples")
        blinded = bool((run.scan["status"] == "blinded").any())
        observed = expected if blinded else run.scaled("mass", "data")
        settings = job.analysis.scan
        background = Spectra.of(expected)
        return cls(
            run,
            settings,
            run.signal_model,
            background if observed is None else Spectra.of(observed),
            background,
            measured_systematics(run, settings.nuisances),
            size,
            tuple(hypotheses(run.signal_model, settings)[::every]),
            blinded,
        )

    def points(self) -> list[Point]:
        """Nominal models of the masses that have one."""
        built = scan_points(
            self.data,
            self.background,
            self.model,
            self.settings,
            self.masses,
            luminosity=self.run.luminosity,
            systematics=self.systematics,
        )
        return [point for point in built if isinstance(point, Point)]

    def orders(self, widen: Sequence[float] = (-5.0, 0.0, 5.0)) -> list[OrderFit]:
        """Background-only fits of seven orders in windows of three widths."""
        return order_fits(
            self.data,
            self.background,
            self.model,
            self.settings,
            self.masses,
            luminosity=self.run.luminosity,
            widen=widen,
        )

    def bases(self) -> list[BasisComparison]:
        """Non-negative against free coefficients."""
        return compare_bases(
            self.data,
            self.background,
            self.model,
            self.settings,
            self.masses,
            luminosity=self.run.luminosity,
            background_size=self.size,
            systematics=self.systematics,
        )

    def impacts(self) -> list[Ranking]:
        """Ranking of nuisances for a signal of the expected limit on the fitted background."""
        points = self.points()
        return rankings(points, with_signal(points, level=self.settings.confidence_level))

    def systematic_effects(self) -> list[SystematicEffect]:
        """Limits with and without nuisances."""
        return effect_of_systematics(self.points(), level=self.settings.confidence_level)

    def correlations(self, mass: float) -> Correlations:
        """Of the fit at the scanned mass [GeV] nearest to ``mass``."""
        points = self.points()
        return correlations(min(points, key=lambda point: abs(point.window.mass - mass)))

    def held_out(self) -> list[HeldOut]:
        """Every simulated mass as the others predict it."""
        samples = signal_samples(reopen(self.run.folder), self.run)
        return leave_one_out(
            self.model, samples, self.background, self.settings, luminosity=self.run.luminosity
        )

    def projection(self, luminosity: float) -> Projection:
        """Expected couplings at another luminosity [1/pb]."""
        expected = self.run.scaled("mass", "background")
        assert expected is not None  # checked when the study was made
        return project(
            self.run.scan,
            expected,
            self.model,
            self.settings,
            luminosity=luminosity,
            systematics=self.systematics,
            production=reopen(self.run.folder).production,
        )

    def bias(self, toys: int, *, seed: int = 0, masses: int = 15) -> BiasStudy:
        """Injected signals and what is fitted, at masses spread over the scan.

        The parent of the toys is the model's own polynomial, fitted to the simulation.
        """
        points, parents = self._without_nuisances(masses)
        return bias_study(
            points, parents, toys=toys, seed=seed, level=self.settings.confidence_level
        )

    def coverage(self, toys: int, *, seed: int = 0, masses: int = 8) -> Coverage:
        """How often limits are above the truth; parents as for :meth:`bias`."""
        points, parents = self._without_nuisances(masses)
        return coverage(points, parents, toys=toys, seed=seed, level=self.settings.confidence_level)

    def _without_nuisances(self, masses: int) -> tuple[list[Point], list[Any]]:
        """Models that toys can be fitted with, and the background that they expect."""
        spread = np.linspace(self.settings.low, self.settings.high, masses + 2)[1:-1]
        built = scan_points(
            self.background,
            self.background,
            self.model,
            self.settings,
            list(spread),
            luminosity=self.run.luminosity,
            systematics=Systematics(Nuisances(luminosity=0, efficiency=(), width=0)),
        )
        points = [point for point in built if isinstance(point, Point)]
        fits = engine.compile([point.workspace for point in points], poi=POI)
        return points, fits.fit(poi=np.zeros(len(points))).expected

    def toys(
        self,
        number: int,
        *,
        seed: int = 0,
        threads: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> ToyScans:
        """Scans of background-only toys drawn from the events of the run's skim.

        Raises InputError if the run wrote none.
        """
        source, mean = toy_source(self.run, self.background)
        return toy_scans(
            self.points(),
            source,
            mean=mean,
            toys=number,
            seed=seed,
            threads=threads,
            progress=progress,
        )


def toy_source(run: Run, background: Spectra) -> tuple[ToySource, float]:
    """Background events of a run's skim with all three masses, and their expected number.

    Raises InputError if the run wrote no skim of finally selected events.
    """
    settings = run.manifest["configuration"]["analysis"]["options"].get("skim")
    if settings is None or settings.get("selection", "final") != "final":
        raise InputError(
            f"{run.folder}: toys need the masses of single events; run the analysis with the "
            "processor option 'skim: {folder: FOLDER, selection: final}' first"
        )
    folder = Path(settings["folder"]).expanduser()
    masses: dict[str, list[Any]] = {name: [] for name in background.definitions}
    least, weights = [], []
    for sample in run.samples.values():
        if sample["kind"] != "background" or not sample["scale"]:
            continue
        events = read_skim(folder, sample["name"])
        for name, parts in masses.items():
            parts.append(ak.to_numpy(events[f"triple_{name}_mass"]))
        least.append(np.min(ak.to_numpy(events["triple_E"]), axis=1))
        weights.append(ak.to_numpy(events["triple_weight"]) * sample["scale"])
    weight, energy = np.concatenate(weights), np.concatenate(least)
    together = {name: np.concatenate(parts) for name, parts in masses.items()}
    chosen = {
        (definition, energy_set): np.where(energy[:, np.newaxis] >= smallest, values, np.nan)
        for definition, values in together.items()
        for energy_set, smallest in ENERGY_SETS.items()
    }
    return ToySource(background.edges, chosen, weight), float(weight.sum())


def flat(row: Any, **more: Any) -> dict[str, Any]:
    """A dataclass as columns of a table; pairs become two of them."""
    columns: dict[str, Any] = {}
    for name, value in asdict(row).items():
        if isinstance(value, tuple) and len(value) == 2:
            first, second = _PAIRS[type(row).__name__]
            columns[f"{name}_{first}"], columns[f"{name}_{second}"] = value
        else:
            columns[name] = value
    return columns | more


#: What the two numbers of a pair are.
_PAIRS: Final[Mapping[str, tuple[str, str]]] = {
    "BasisComparison": ("non_negative", "free"),
    "SystematicEffect": ("with", "without"),
}
