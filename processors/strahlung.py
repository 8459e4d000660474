"""e+e- -> gamma a, a -> gamma gamma: the three-photon selection of the 2018 Belle II search.

Sections, tables and equations refer to R0, the doctoral thesis behind Belle II,
PRL 125 (2020) 161806. Energies and masses in GeV, angles in rad, times in ns, lengths in cm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import awkward as ak
import hist
import numpy as np
from coffea.analysis_tools import Weights
from coffea.processor import ProcessorABC

from alp_coffea.events.candidates import Acceptance, AwkwardTriples, FlatPhotons, PhotonTriples
from alp_coffea.events.corrections import (
    Corrections,
    EnergyTable,
    Variation,
    shifted_weights,
    smeared,
)
from alp_coffea.events.cut_grids import BENCHMARKS, cut_grid_histogram, cut_values
from alp_coffea.events.filling import fill_masses, fill_variable, fill_variation
from alp_coffea.events.fitted import fitted_triples, read_covariance
from alp_coffea.events.histograms import fill_x, variation_histograms
from alp_coffea.events.schema import IDENTITY
from alp_coffea.events.selection import Cutflow, Selection, all_candidates
from alp_coffea.events.skims import SkimSettings, write_chunk
from alp_coffea.events.three_photon_histograms import (
    CUT_ON,
    FIT_VARIABLES,
    SIDEBAND_VARIABLES,
    VARIABLES,
    empty_histograms,
)
from alp_coffea.events.tracks import good_tracks
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams

#: Smallest lab energy of a photon in the set of each mass region (sec. 5.2.3).
ENERGY_SETS = {"low_mass": 1.00, "high_mass": 0.65}

#: Loose selection (sec. 5.1): smallest photon energy and acceptance of the drift chamber.
LOOSE = Acceptance(energy_min=0.1, theta=(math.radians(17), math.radians(150)))
LOOSE_MASS = (0.80, 1.05)  # units of sqrt(s)


@dataclass(frozen=True)
class Cuts:
    """Final selection of R0 ch. 5; ranges are (low, high)."""

    theta: tuple[float, float] = (math.radians(37.3), math.radians(123.7))  # eq. 5.3
    cluster_n_hits: float = 1.5  # sec. 5.3.4
    energy_scale: float = 1.0  # of the smallest photon energies
    three_photon_mass: tuple[float, float] = (0.88, 1.03)  # units of sqrt(s), eq. 5.6
    track_dr: float = 1.0  # good tracks come from the interaction point
    track_dz: float = 5.0
    zernike_mva: float = 0.6  # eq. 5.7
    timing_chi: float = 10.0  # eq. 5.10
    delta_theta: float = 0.014  # eq. 5.11
    delta_phi: float = 0.40
    fit_chi2: float = 25.0  # with masses of the kinematic fit: less than 0.1 % of the signal


#: Systematic variations (sec. 7.5). Those of thresholds leave photons and masses as they are.
VARIATIONS = (
    *(
        Variation(nuisance, direction, "weight")
        for nuisance in (
            *("photon_theta", "photon_energy", "zernike_mva"),
            *("delta_theta_phi", "three_photon_mass"),
        )
        for direction in ("up", "down")
    ),
    Variation("photon_resolution", "up", "kinematic"),
)
#: Relative width by which photon energies are smeared for ``photon_resolution``: about the
#: data/MC difference, 2 % at low energy and negligible at high (sec. 7.5.1).
RESOLUTION = EnergyTable(energy=(0.65, 5.0), value=(0.02, 0.0))


def shifted(cuts: Cuts, nuisance: str, sign: int) -> Cuts:
    """Cuts with one threshold moved up (+1) or down (-1) (sec. 7.5.2)."""
    low, high = cuts.theta
    mass_low, mass_high = cuts.three_photon_mass
    # a calorimeter moved by 2 mm along the beam, seen at its inner radius of 125 cm
    tilt = sign * 0.2 / 125
    shift = sign * 0.002
    changes: dict[str, dict[str, Any]] = {
        "photon_theta": {
            "theta": (low + tilt * math.sin(low) ** 2, high + tilt * math.sin(high) ** 2)
        },
        "photon_energy": {"energy_scale": 1 + sign * 0.01},
        "zernike_mva": {"zernike_mva": cuts.zernike_mva + sign * 0.05},
        # either angle keeps a pair, so moving both the same way changes most
        "delta_theta_phi": {
            "delta_theta": cuts.delta_theta + sign * 0.005,
            "delta_phi": cuts.delta_phi + sign * 0.005,
        },
        "three_photon_mass": {"three_photon_mass": (mass_low + shift, mass_high + shift)},
    }
    return replace(cuts, **changes[nuisance])


class Strahlung(ProcessorABC):
    """Selects three-photon events and fills the masses of their candidates.

    Each event has three candidates, one per choice of the recoil photon, for each photon-energy
    set. Histograms are filled with generator weights; luminosity scaling comes later.

    Parameters
    ----------
    beams
        Where sqrt(s) and the centre-of-mass frame come from.
    corrections
        Of photon energies and event weights, see ``alp_coffea.events.corrections.Corrections``.
    variations
        Also evaluate the systematic variations of simulated samples.
    skim
        Also write selected events as parquet, see ``alp_coffea.events.skims.SkimSettings``.
    optimisation
        Also fill what ``alp-coffea optimise`` needs to choose cuts.
    masses
        ``pair_and_recoil`` as published, or ``kinematic_fit``: one mass of a fit to the beams,
        and a cut on its chi^2.
    covariance
        File of the photon resolution for that, see docs/kinematic-fit.md; where there is no such
        file, one that comes with the package.
    kernels
        False takes the readable awkward version of the photon kernels, as a check of them.
    """

    uses = (
        "Photon.E",
        "Photon.theta",
        "Photon.phi",
        "Photon.clusterNHits",
        "Photon.clusterZernikeMVA",
        "Photon.clusterTiming",
        "Photon.clusterErrorTiming",
        "Track.dr",
        "Track.dz",
        "Track.nCDCHits",
    )
    uses_truth = ("Photon.isSignal", "Photon.genMotherPDG")

    def __init__(
        self,
        beams: Beams,
        *,
        corrections: Mapping[str, Any] | None = None,
        variations: bool = False,
        optimisation: bool = False,
        skim: Mapping[str, Any] | None = None,
        masses: Literal["pair_and_recoil", "kinematic_fit"] = "pair_and_recoil",
        covariance: str | None = None,
        kernels: bool = True,
    ) -> None:
        self.beams = beams
        self.corrections = Corrections.of(corrections)
        self.cuts = Cuts()
        self.variations = VARIATIONS if variations else ()
        self.optimisation = optimisation
        self.skim = SkimSettings.of(skim)
        if self.skim is not None:
            self.uses = (*self.uses, *IDENTITY, *self.skim.columns)
            if self.skim.selection == "preselection":
                self.uses = (*self.uses, "Track.theta")
        self.kind_of_triples = PhotonTriples if kernels else AwkwardTriples
        self.covariance = read_covariance(masses, covariance)
        self.variables = VARIABLES if self.covariance is None else VARIABLES | FIT_VARIABLES
        self.definitions = ("diphoton", "recoil") if self.covariance is None else ("fit",)

    @property
    def triples(self) -> type[PhotonTriples]:
        """The kind of triples that has what is asked for."""
        if self.covariance is None:
            return self.kind_of_triples
        return fitted_triples(self.kind_of_triples, self.covariance, self.beams)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        sample, kind = events.metadata["dataset"], events.metadata["kind"]
        read = FlatPhotons(events.Photon)
        photons = self.corrections.energies(read, events)
        good = good_tracks(events.Track, self.cuts.track_dr, self.cuts.track_dz)
        clean = ~ak.any(good, axis=1).to_numpy()

        cutflow = Cutflow()
        histograms = empty_histograms(
            self.thresholds(),
            signal=kind == "signal",
            variables=self.variables,
            definitions=self.definitions,
        )
        loose = self.triples.choose(photons, LOOSE)
        weights = self.corrections.weights(events, loose)
        weight = weights.weight()
        fill = partial(fill_variable, histograms, weight=weight)
        self.loose_selection(loose, weight, cutflow, fill)

        acceptances = self.acceptances()
        in_theta = loose.narrowed(acceptances["cluster_n_hits"])
        final = in_theta.narrowed(acceptances["all"])
        flows = {}
        for energy_set in ENERGY_SETS:
            selection = flows[energy_set] = Selection(cutflow, energy_set, weight=weight)
            selection.choose("three_photons", loose.event)
            selection.choose("photon_theta", in_theta.event)
            selection.choose("cluster_n_hits", final.event)
            for cut, passed in self.final_cuts(final, energy_set, clean).items():
                selection.cut(cut, passed)
        least = min(ENERGY_SETS.values())
        relaxed = {
            cut: wider.narrowed(replace(acceptances[cut], energy_min=least))
            for cut, wider in (("photon_theta", loose), ("cluster_n_hits", in_theta))
        }
        self.fill_variables(fill, final, flows, relaxed, clean, weight)
        self.fill_sideband(fill, final, flows)
        for energy_set, selection in flows.items():
            left = final.passing(selection.all_but("delta_theta_phi"))
            plane = histograms["delta_theta_phi_n_minus_1"]
            at = weight[left.event]
            fill_x(plane, left.delta_theta, at, left.delta_phi, energy_set=energy_set)
        either = np.logical_or.reduce([selection.mask for selection in flows.values()])
        selected = final.passing(either)
        fill_masses(
            histograms["mass"],
            self.masses(selected),
            weight[selected.event],
            {energy_set: selection.mask[either] for energy_set, selection in flows.items()},
            selected.origin if kind == "signal" else None,
        )

        if self.optimisation and kind != "data":
            histograms["cut_grid"] = self.cut_grid(loose, clean, weight, events.metadata["mass"])
        if self.variations and kind != "data":
            histograms |= self.varied(events, loose, final, clean, weights)
        result = {
            "histograms": histograms,
            "cutflow": cutflow,
            "counts": {"bad_photons": read.impossible} | self.failed_fits(final),
            "selected": len(selected),
        }
        if self.skim is not None:
            if self.skim.selection == "final":
                chosen = selected
            elif self.skim.selection == "loose":
                chosen = loose.passing(self.mass_within(loose, LOOSE_MASS))
            else:
                chosen = self.preselection(events, photons, weight, cutflow)
            columns = self.listing(chosen) | {"weight": weight[chosen.event]}
            result["skim"] = write_chunk(self.skim, events, chosen.event, columns)
        return {sample: result}

    def sideband(self, events: ak.Array) -> np.ndarray:
        """Events outside the three-photon mass window of the signal, for blinding.

        A mask (n,): False where any triple that reaches a histogram or a skim is inside.
        """
        photons = self.corrections.energies(FlatPhotons(events.Photon), events)
        loose = self.triples.choose(photons, LOOSE)
        outside = np.ones(len(events), dtype=bool)
        for triples in (
            loose,
            self.simultaneous(photons),
            *(loose.narrowed(acceptance) for acceptance in self.acceptances().values()),
        ):
            outside[triples.event[self.mass_within(triples, self.cuts.three_photon_mass)]] = False
        return outside

    # --- selections -----------------------------------------------------------------------------

    def acceptance(self, cuts: Cuts) -> Acceptance:
        """Cuts that a photon passes before the three most energetic are taken (sec. 5.2.1).

        The energy sets share it: the three most energetic photons above 1 GeV are the three most
        energetic above 0.1 GeV, if the third of these has 1 GeV.
        """
        return Acceptance(LOOSE.energy_min, cuts.theta, above=("clusterNHits", cuts.cluster_n_hits))

    def acceptances(self) -> dict[str, Acceptance]:
        """Of the final selection with all per-photon cuts, and without the cut of that name.

        Without one, other photons may be the three most energetic.
        """
        return {
            "all": self.acceptance(self.cuts),
            "photon_theta": self.acceptance(replace(self.cuts, theta=LOOSE.theta)),
            "cluster_n_hits": self.acceptance(replace(self.cuts, cluster_n_hits=-math.inf)),
        }

    def loose_selection(
        self,
        triples: PhotonTriples,
        weight: np.ndarray,
        cutflow: Cutflow,
        fill: Callable[..., None],
    ) -> None:
        """The selection in which cuts were chosen (sec. 5.1)."""
        selection = Selection(cutflow, "loose", weight=weight)
        selection.choose("three_photons", triples.event)
        selection.cut("three_photon_mass", self.mass_within(triples, LOOSE_MASS))
        for name, settings in self.variables.items():
            fill(settings, triples, passed={(f"{name}_loose", None): selection.mask})

    def preselection(
        self, events: ak.Array, photons: FlatPhotons, weight: np.ndarray, cutflow: Cutflow
    ) -> PhotonTriples:
        """Events for training (R2): simultaneous photons in time, no good track in the CDC."""
        triples = self.simultaneous(photons)
        low, high = LOOSE.theta
        tracks = events.Track
        good = good_tracks(tracks, 1.0, 3.0) & (tracks.theta > low) & (tracks.theta < high)
        selection = Selection(cutflow, "preselection", weight=weight)
        selection.choose("three_photons", triples.event)
        selection.cut("timing_chi", triples.timing_chi < self.cuts.timing_chi)
        selection.cut("no_good_track", ~ak.any(good, axis=1).to_numpy()[triples.event])
        return triples.passing(selection.mask)

    def simultaneous(self, photons: FlatPhotons) -> PhotonTriples:
        """Triples of photons within 200 ns of the event (R2)."""
        in_time = photons.replaced(earliness=-np.abs(photons.clusterTiming))
        return self.triples.choose(in_time, replace(LOOSE, above=("earliness", -200.0)))

    def final_cuts(
        self, triples: PhotonTriples, energy_set: str, clean: np.ndarray, cuts: Cuts | None = None
    ) -> dict[str, np.ndarray]:
        """Cuts on events with three photons in order: (n,), or (n, 3) for a cut on candidates."""
        cuts = self.cuts if cuts is None else cuts
        masks = {
            "photon_energy": triples.E[:, 2] >= cuts.energy_scale * ENERGY_SETS[energy_set],
            "three_photon_mass": self.mass_within(triples, cuts.three_photon_mass),
            "no_good_track": clean[triples.event],
            "zernike_mva": triples.zernike_of_most_isolated > cuts.zernike_mva,
            "timing_chi": triples.timing_chi < cuts.timing_chi,
            # one pair that could be a split cluster spoils all three candidates: the event goes
            "delta_theta_phi": (triples.delta_theta > cuts.delta_theta)
            | (triples.delta_phi > cuts.delta_phi),
        }
        if self.covariance is not None:
            # not true either where the fit failed
            masks["fit_chi2"] = triples.fit_chi2 < cuts.fit_chi2
        return masks

    def thresholds(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """Where each variable is cut, by energy set."""
        cuts = self.cuts
        low, high = (limit * self.beams.sqrt_s for limit in cuts.three_photon_mass)
        common = {
            "three_photon_mass": (low, high),
            "photon_theta": cuts.theta,
            "cluster_n_hits": (cuts.cluster_n_hits,),
            "zernike_mva": (cuts.zernike_mva,),
            "timing_chi": (cuts.timing_chi,),
            "delta_theta": (cuts.delta_theta,),
            "delta_phi": (cuts.delta_phi,),
            "fit_chi2": (cuts.fit_chi2,),
        }
        energies = {s: (energy * cuts.energy_scale,) for s, energy in ENERGY_SETS.items()}
        return {"photon_energy": energies} | {
            name: dict.fromkeys(ENERGY_SETS, limits) for name, limits in common.items()
        }

    def passed(
        self, triples: PhotonTriples, energy_set: str, clean: np.ndarray, cuts: Cuts | None = None
    ) -> np.ndarray:
        """Whether triples pass all cuts on events, (n,)."""
        masks = self.final_cuts(triples, energy_set, clean, cuts).values()
        return np.logical_and.reduce([all_candidates(mask) for mask in masks])

    def mass_within(self, triples: PhotonTriples, limits: tuple[float, float]) -> np.ndarray:
        """Whether the three-photon mass lies inside limits in units of sqrt(s), (n,)."""
        low, high = (limit * self.beams.sqrt_s for limit in limits)
        mass = triples.three_photon_mass
        return (mass >= low) & (mass <= high)

    # --- histograms -----------------------------------------------------------------------------

    def masses(self, triples: PhotonTriples) -> dict[str, np.ndarray]:
        """Masses of the candidates as signed roots [GeV], (n, 3), by definition."""
        if self.covariance is not None:
            return {"fit": triples.fit_mass}
        return self.pair_and_recoil(triples)

    def pair_and_recoil(self, triples: PhotonTriples) -> dict[str, np.ndarray]:
        """The published masses."""
        return {
            "diphoton": kin.signed_root(triples.pair_masses2),
            "recoil": kin.signed_root(triples.recoil_masses2(self.beams)),
        }

    def failed_fits(self, triples: PhotonTriples) -> dict[str, int]:
        """Triples in the mass window without a fitted mass, where it is asked for."""
        if self.covariance is None:
            return {}
        inside = self.mass_within(triples, self.cuts.three_photon_mass)
        return {"failed_fits": int(np.isnan(triples.fit_chi2[inside]).sum())}

    def listing(self, triples: PhotonTriples) -> dict[str, np.ndarray]:
        """What a skim says about the triple of each event."""
        masses = {f"{name}_mass": mass for name, mass in self.masses(triples).items()}
        names = ["three_photon_mass", "zernike_of_most_isolated", "timing_chi"]
        if self.covariance is not None:
            names.append("fit_chi2")
        return {name: getattr(triples, name) for name in ("E", "theta", "phi", *names)} | masses

    def fill_variables(
        self,
        fill: Callable[..., None],
        final: PhotonTriples,
        flows: Mapping[str, Selection],
        relaxed: Mapping[str, PhotonTriples],
        clean: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        """Selection variables after all cuts, and after all but the one on each (N-1).

        ``relaxed`` are the triples chosen without the cut of that name.
        """
        without = {
            cut: {energy_set: self.passed(triples, energy_set, clean) for energy_set in flows}
            for cut, triples in relaxed.items()
        }
        for energy_set, selection in flows.items():
            selection.book_n_minus_1(
                **{
                    cut: weight[relaxed[cut].event[passed[energy_set]]]
                    for cut, passed in without.items()
                }
            )
        for name, settings in self.variables.items():
            cut = CUT_ON.get(name, name)
            after = {(name, energy_set): flow.mask for energy_set, flow in flows.items()}
            alone = without.get(cut) or {s: flow.all_but(cut) for s, flow in flows.items()}
            n_minus_1 = {(f"{name}_n_minus_1", s): passed for s, passed in alone.items()}
            if cut in relaxed:
                fill(settings, final, passed=after)
                fill(settings, relaxed[cut], passed=n_minus_1)
            else:
                fill(settings, final, passed=after | n_minus_1)

    def fill_sideband(
        self, fill: Callable[..., None], triples: PhotonTriples, flows: Mapping[str, Selection]
    ) -> None:
        """Events below the three-photon mass, without the Zernike cut (sec. 6.3)."""
        below = triples.three_photon_mass < self.cuts.three_photon_mass[0] * self.beams.sqrt_s
        for name, settings in SIDEBAND_VARIABLES.items():
            passed = {
                (name, energy_set): below & flow.all_but("three_photon_mass", "zernike_mva")
                for energy_set, flow in flows.items()
            }
            fill(settings, triples, passed=passed)

    def varied(
        self,
        events: ak.Array,
        loose: PhotonTriples,
        final: PhotonTriples,
        clean: np.ndarray,
        weights: Weights,
    ) -> dict[str, hist.Hist]:
        """Selected events of every variation, and masses of true candidates in signal samples."""
        nominal = weights.weight()
        cases = {"nominal": (final, self.cuts, nominal)}
        for variation in self.variations:
            triples, cuts = final, self.cuts
            if variation.kind == "kinematic":
                seed = self.corrections.seed
                moved = smeared(loose.photons, RESOLUTION, events, seed, variation.name)
                triples = self.triples.choose(moved, self.acceptance(cuts))
            else:
                cuts = shifted(cuts, variation.nuisance, variation.sign)
                if cuts.theta != self.cuts.theta:
                    triples = loose.narrowed(self.acceptance(cuts))
            cases[variation.name] = (triples, cuts, nominal)
        for name, weight in shifted_weights(weights).items():
            cases[name] = (final, self.cuts, weight)

        histograms = variation_histograms(
            list(cases), list(ENERGY_SETS), events.metadata["mass"], self.definitions
        )
        for energy_set in ENERGY_SETS:
            for name, (triples, cuts, weight) in cases.items():
                left = triples.passing(self.passed(triples, energy_set, clean, cuts))
                fill_variation(histograms, (name, energy_set), left, weight, self.masses)
        return histograms

    def cut_grid(
        self, triples: PhotonTriples, clean: np.ndarray, weight: np.ndarray, mass: float | None
    ) -> hist.Hist:
        """Candidates near each benchmark mass by the cuts that keep them.

        Of the loose selection without good tracks or noise clusters.
        """
        real = all_candidates(triples.clusterNHits > self.cuts.cluster_n_hits)
        triples = triples.passing(
            self.mass_within(triples, LOOSE_MASS) & clean[triples.event] & real
        )
        apart = self.final_cuts(triples, "high_mass", clean)["delta_theta_phi"]
        values = cut_values(triples, self.beams.sqrt_s, self.cuts.theta, all_candidates(apart))
        masses, at = self.pair_and_recoil(triples), weight[triples.event]
        if mass is None:
            return cut_grid_histogram(BENCHMARKS, values, masses, at)
        # of a signal only true candidates at its own mass
        own = {m: window for m, window in BENCHMARKS.items() if m == mass}
        return cut_grid_histogram(own, values, masses, at, triples.origin == "true")

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator
