"""e+e- -> gamma a, a -> gamma gamma: the three-photon selection of the 2018 Belle II search.

Sections, tables and equations refer to R0, the doctoral thesis behind Belle II,
PRL 125 (2020) 161806. Energies and masses in GeV, angles in rad, times in ns, lengths in cm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.candidates import (
    Acceptance,
    AwkwardTriples,
    FlatPhotons,
    PhotonTriples,
)
from alp_coffea.events.histograms import (
    Variable,
    fill_x,
    mass_histogram,
    variable_histogram,
)
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.weights import event_weight
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
    three_photon_mass: tuple[float, float] = (0.88, 1.03)  # units of sqrt(s), eq. 5.6
    track_dr: float = 1.0  # good tracks come from the interaction point
    track_dz: float = 5.0
    zernike_mva: float = 0.6  # eq. 5.7
    timing_chi: float = 10.0  # eq. 5.10
    delta_theta: float = 0.014  # eq. 5.11
    delta_phi: float = 0.40


#: Selection variables, and the cut on each, for distributions without it (N-1).
VARIABLES = {
    "three_photon_mass": Variable(140, 8.4, 11.2, r"$m_{\gamma\gamma\gamma}$ [GeV]"),
    "photon_energy": Variable(100, 0.0, 8.0, r"$E_\gamma$ [GeV]"),
    "photon_theta": Variable(120, 0.25, 2.65, r"$\theta_\gamma$ [rad]"),
    "cluster_n_hits": Variable(60, 0.0, 60.0, "Weighted number of crystals"),
    "zernike_mva": Variable(50, 0.0, 1.0, "Zernike MVA of the most isolated photon"),
    "timing_chi": Variable(60, 0.0, 15.0, r"$t_c$"),
    "delta_theta": Variable(64, 0.0, 1.6, r"$\Delta\theta$ [rad]"),
    "delta_phi": Variable(64, 0.0, 3.2, r"$\Delta\varphi$ [rad]"),
}
CUT_ON = {"delta_theta": "delta_theta_phi", "delta_phi": "delta_theta_phi"}  # else the same name

#: Signal sideband (sec. 6.3): below the three-photon mass, without the Zernike cut.
SIDEBAND_VARIABLES = {
    "three_photon_mass_sideband": Variable(100, 0.0, 9.4, r"$m_{\gamma\gamma\gamma}$ [GeV]"),
    "zernike_mva_sideband": Variable(50, 0.0, 1.0, "Zernike MVA of the most isolated photon"),
}

#: Origins of candidates in samples without and with a signal.
ORIGINS = {False: ["other"], True: ["true", "combinatorial", "other"]}


class Strahlung(ProcessorABC):
    """Selects three-photon events and fills the masses of their candidates.

    Each event has three candidates, one per choice of the recoil photon, for each photon-energy
    set. Histograms are filled with generator weights; luminosity scaling comes later.

    Parameters
    ----------
    beams
        Where sqrt(s) and the centre-of-mass frame come from.
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

    def __init__(self, beams: Beams, *, kernels: bool = True) -> None:
        self.beams = beams
        self.cuts = Cuts()
        self.triples = PhotonTriples if kernels else AwkwardTriples

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        photons = FlatPhotons(events.Photon)
        clean = ak.sum(self.is_good_track(events.Track), axis=1).to_numpy() == 0
        weight = event_weight(events)
        is_signal = events.metadata["kind"] == "signal"
        cutflow = Cutflow()
        histograms = {"mass": mass_histogram(list(ENERGY_SETS), ORIGINS[is_signal])}
        histograms |= variable_histograms()

        loose = self.triples.choose(photons, LOOSE)
        self.loose_selection(loose, Selection(cutflow, "loose", weight=weight), histograms, weight)

        # every later acceptance lies inside the loose one
        choose = partial(self.triples.choose, photons, among=loose.event)
        final = choose(self.acceptance())
        # without one of the per-photon cuts, other photons may be the three most energetic
        any_theta = choose(self.acceptance(theta=LOOSE.theta))
        any_n_hits = choose(self.acceptance(n_hits=False))
        relaxed = {
            cut: triples.passing(triples.E[:, 2] >= min(ENERGY_SETS.values()))
            for cut, triples in {"photon_theta": any_theta, "cluster_n_hits": any_n_hits}.items()
        }
        selected = np.zeros(len(weight), dtype=bool)
        for energy_set, energy_min in ENERGY_SETS.items():
            selection = Selection(cutflow, energy_set, weight=weight)
            selection.require("three_photons", loose.has_triple)
            selection.require("photon_theta", any_n_hits.has_triple)
            selection.require("cluster_n_hits", final.has_triple)
            self.event_cuts(final, energy_min, clean, selection)
            selected |= selection.mask

            chosen = final.passing(selection.mask[final.event])
            self.fill_masses(histograms["mass"], energy_set, chosen, weight, is_signal)
            left = np.flatnonzero(selection.mask[final.event])
            for name in VARIABLES:
                fill_x(
                    histograms[name],
                    variable(name, final).take(left, axis=0),
                    weight[final.event[left]],
                    energy_set=energy_set,
                )
            self.fill_without_one_cut(
                histograms, energy_set, final, relaxed, clean, selection, weight
            )
            self.fill_sideband(histograms, energy_set, final, selection, weight)

        return {
            events.metadata["dataset"]: {
                "histograms": histograms,
                "cutflow": cutflow,
                "counts": {"bad_photons": photons.impossible},
                "selected": int(selected.sum()),
            }
        }

    # --- selections -----------------------------------------------------------------------------

    def acceptance(
        self, *, theta: tuple[float, float] | None = None, n_hits: bool = True
    ) -> Acceptance:
        """Cuts that a photon passes before the three most energetic are taken (sec. 5.2.1).

        The energy sets share it: the three most energetic photons above 1 GeV are the three most
        energetic above 0.1 GeV, if the third of these has 1 GeV.
        """
        return Acceptance(
            LOOSE.energy_min,
            self.cuts.theta if theta is None else theta,
            above=("clusterNHits", self.cuts.cluster_n_hits) if n_hits else None,
        )

    def loose_selection(
        self,
        triples: PhotonTriples,
        selection: Selection,
        histograms: dict[str, hist.Hist],
        weight: np.ndarray,
    ) -> None:
        """The selection in which cuts were chosen (sec. 5.1)."""
        selection.require("three_photons", triples.has_triple)
        selection.cut("three_photon_mass", self.mass_within(triples, LOOSE_MASS))
        left = np.flatnonzero(selection.mask[triples.event])
        weight = weight[triples.event[left]]
        for name in VARIABLES:
            fill_x(histograms[f"{name}_loose"], variable(name, triples).take(left, axis=0), weight)

    def event_cuts(
        self, triples: PhotonTriples, energy_min: float, clean: np.ndarray, selection: Selection
    ) -> None:
        """Cuts of the final selection on events with three photons, one named step each."""
        cuts = self.cuts
        chunk = triples.over_chunk
        selection.cut("photon_energy", chunk(triples.E[:, 2] >= energy_min))
        selection.cut("three_photon_mass", self.mass_within(triples, cuts.three_photon_mass))
        selection.cut("no_good_track", clean)
        selection.cut("zernike_mva", chunk(triples.zernike_of_most_isolated > cuts.zernike_mva))
        selection.cut("timing_chi", chunk(triples.timing_chi < cuts.timing_chi))
        # one pair that could be a split cluster spoils all three candidates: the event goes
        apart = (triples.delta_theta > cuts.delta_theta) | (triples.delta_phi > cuts.delta_phi)
        selection.cut_candidates("delta_theta_phi", chunk(apart))

    def mass_within(self, triples: PhotonTriples, limits: tuple[float, float]) -> np.ndarray:
        """Three-photon mass inside limits in units of sqrt(s), per event of the chunk."""
        low, high = (limit * self.beams.sqrt_s for limit in limits)
        mass = triples.three_photon_mass
        return triples.over_chunk((mass >= low) & (mass <= high))

    def is_good_track(self, tracks: ak.Array) -> ak.Array:
        """Tracks from the interaction point."""
        return (
            (tracks.nCDCHits > 0)
            & (abs(tracks.dr) < self.cuts.track_dr)
            & (abs(tracks.dz) < self.cuts.track_dz)
        )

    # --- histograms -----------------------------------------------------------------------------

    def fill_masses(
        self,
        histogram: hist.Hist,
        energy_set: str,
        triples: PhotonTriples,
        weight: np.ndarray,
        is_signal: bool,
    ) -> None:
        """Both squared masses of all three candidates, as signed roots."""
        masses2 = {
            "diphoton": triples.pair_masses2,
            "recoil": triples.recoil_masses2(self.beams),
        }
        for definition, mass2 in masses2.items():
            histogram.fill(
                energy_set=energy_set,
                definition=definition,
                origin=triples.origin.ravel() if is_signal else "other",
                mass=kin.signed_root(mass2).ravel(),
                weight=np.repeat(weight[triples.event], 3),
            )

    def fill_without_one_cut(
        self,
        histograms: dict[str, hist.Hist],
        energy_set: str,
        final: PhotonTriples,
        relaxed: dict[str, PhotonTriples],
        clean: np.ndarray,
        selection: Selection,
        weight: np.ndarray,
    ) -> None:
        """Each variable after all cuts but the one on it."""
        alone = {}
        for cut, triples in relaxed.items():
            others = Selection(Cutflow(), energy_set, weight=weight)
            self.event_cuts(triples, ENERGY_SETS[energy_set], clean, others)
            alone[cut] = others.mask
        selection.book_n_minus_1(**alone)
        for name in VARIABLES:
            cut = CUT_ON.get(name, name)
            triples = relaxed.get(cut, final)
            passed = alone[cut] if cut in alone else selection.all_but(cut)
            left = np.flatnonzero(passed[triples.event])
            fill_x(
                histograms[f"{name}_n_minus_1"],
                variable(name, triples).take(left, axis=0),
                weight[triples.event[left]],
                energy_set=energy_set,
            )
            if name == "delta_theta":
                histograms["delta_theta_phi_n_minus_1"].fill(
                    energy_set=energy_set,
                    x=triples.delta_theta[left].ravel(),
                    y=triples.delta_phi[left].ravel(),
                    weight=np.repeat(weight[triples.event[left]], 3),
                )

    def fill_sideband(
        self,
        histograms: dict[str, hist.Hist],
        energy_set: str,
        triples: PhotonTriples,
        selection: Selection,
        weight: np.ndarray,
    ) -> None:
        """Events below the three-photon mass window (sec. 6.3)."""
        below = triples.three_photon_mass < self.cuts.three_photon_mass[0] * self.beams.sqrt_s
        others = selection.all_but("three_photon_mass", "zernike_mva")
        left = np.flatnonzero(below & others[triples.event])
        for name in SIDEBAND_VARIABLES:
            fill_x(
                histograms[name],
                variable(name.removesuffix("_sideband"), triples).take(left, axis=0),
                weight[triples.event[left]],
                energy_set=energy_set,
            )

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def variable(name: str, triples: PhotonTriples) -> np.ndarray:
    """Values of a selection variable: per event (n,), per photon or per candidate (n, 3)."""
    attribute = {
        "photon_energy": "E",
        "photon_theta": "theta",
        "cluster_n_hits": "clusterNHits",
        "zernike_mva": "zernike_of_most_isolated",
    }.get(name, name)
    return getattr(triples, attribute)


def variable_histograms() -> dict[str, hist.Hist]:
    """Every variable after the loose selection, after all other cuts and after all cuts."""
    histograms = {}
    for name, settings in VARIABLES.items():
        histograms[name] = variable_histogram(settings, list(ENERGY_SETS))
        histograms[f"{name}_n_minus_1"] = variable_histogram(settings, list(ENERGY_SETS))
        histograms[f"{name}_loose"] = hist.Hist(settings.axis, storage="weight")
    for name, settings in SIDEBAND_VARIABLES.items():
        histograms[name] = variable_histogram(settings, list(ENERGY_SETS))
    histograms["delta_theta_phi_n_minus_1"] = hist.Hist(
        hist.axis.StrCategory(list(ENERGY_SETS), name="energy_set"),
        hist.axis.Regular(50, 0.0, 0.1, name="x", label=r"$\Delta\theta$ [rad]"),
        hist.axis.Regular(40, 0.0, 0.8, name="y", label=r"$\Delta\varphi$ [rad]"),
        storage="weight",
    )
    return histograms
