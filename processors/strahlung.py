"""e+e- -> gamma a, a -> gamma gamma: the three-photon selection of the 2018 Belle II search.

Sections, tables and equations refer to R0, the doctoral thesis behind Belle II,
PRL 125 (2020) 161806. Energies and masses in GeV, angles in rad, times in ns, lengths in cm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.candidates import PhotonTriples, event_weight, possible_photons
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams

#: Smallest lab energy of a photon in the set of each mass region (sec. 5.2.3).
ENERGY_SETS = {"low_mass": 1.00, "high_mass": 0.65}


@dataclass(frozen=True)
class Cuts:
    """Final selection of R0 ch. 5; ranges are (low, high)."""

    theta: tuple[float, float] = (math.radians(37.3), math.radians(123.7))  # eq. 5.3
    cluster_n_hits: float = 1.5  # sec. 5.3.4
    three_photon_mass: tuple[float, float] = (0.88, 1.03)  # units of sqrt(s), sec. 5.2.4
    track_dr: float = 1.0  # good tracks come from the interaction point
    track_dz: float = 5.0
    zernike_mva: float = 0.6  # sec. 5.3.1
    timing_chi: float = 10.0  # eqs. 5.8, 5.9
    delta_theta: float = 0.014  # sec. 5.3.3
    delta_phi: float = 0.40


class Strahlung(ProcessorABC):
    """Selects three-photon events and fills the masses of their candidates.

    Each event has three candidates, one per choice of the recoil photon, for each photon-energy
    set. Histograms are filled with generator weights; luminosity scaling comes later.
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

    def __init__(self, beams: Beams) -> None:
        self.beams = beams
        self.cuts = Cuts()

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        photons = events.Photon
        weight = event_weight(events)
        is_signal = events.metadata["kind"] == "signal"
        good_tracks = ak.sum(self.is_good_track(events.Track), axis=1).to_numpy()

        cutflow = Cutflow()
        masses = mass_histogram(ORIGINS[is_signal])
        variables = {name: variable_histogram(name) for name in VARIABLES}
        selected = np.zeros(len(weight), dtype=bool)
        for energy_set, energy_min in ENERGY_SETS.items():
            selection = Selection(cutflow, energy_set, weight=weight)
            triples = self.most_energetic_photons(photons, energy_min, selection, is_signal)
            self.final_selection(triples, good_tracks, selection)

            triples = triples.passing(selection.mask)
            self.fill_masses(masses, energy_set, triples, weight[triples.event], is_signal)
            fill_variables(variables, energy_set, triples, weight[triples.event])
            selected |= selection.mask

        return {
            events.metadata["dataset"]: {
                "histograms": {"mass": masses, **variables},
                "cutflow": cutflow,
                "counts": {"bad_photons": int(ak.sum(~possible_photons(photons)))},
                "selected": int(selected.sum()),
            }
        }

    def most_energetic_photons(
        self, photons: ak.Array, energy_min: float, selection: Selection, is_signal: bool
    ) -> PhotonTriples:
        """The three most energetic of the photons that pass every per-photon cut (sec. 5.2.1)."""
        low, high = self.cuts.theta
        photon_cuts = {
            "three_photons": possible_photons(photons),
            "photon_energy": photons.E >= energy_min,
            "photon_theta": (photons.theta > low) & (photons.theta < high),
            "cluster_n_hits": photons.clusterNHits > self.cuts.cluster_n_hits,
        }
        passing = ak.ones_like(photons.E, dtype=bool)
        for name, passed in photon_cuts.items():
            passing = passing & passed
            selection.cut(name, (ak.sum(passing, axis=1) >= 3).to_numpy())
        fields = (*self.uses, *(self.uses_truth if is_signal else ()))
        columns = [f.removeprefix("Photon.") for f in fields if f.startswith("Photon.")]
        return PhotonTriples.of(photons, passing, selection.mask, columns)

    def final_selection(
        self, triples: PhotonTriples, good_tracks: np.ndarray, selection: Selection
    ) -> None:
        """Event cuts, one named step each."""
        cuts, sqrt_s = self.cuts, self.beams.sqrt_s
        cut = triples.cutter(selection)

        low, high = cuts.three_photon_mass
        mass = triples.three_photon_mass
        cut("three_photon_mass", (mass >= low * sqrt_s) & (mass <= high * sqrt_s))
        selection.cut("no_good_track", good_tracks == 0)
        cut("zernike_mva", triples.zernike_of_most_isolated > cuts.zernike_mva)
        cut("timing_chi", triples.timing_chi < cuts.timing_chi)
        # one pair that could be a split cluster spoils all three candidates: the event goes
        apart = (triples.delta_theta > cuts.delta_theta) | (triples.delta_phi > cuts.delta_phi)
        cut("delta_theta_phi", apart.all(axis=1))

    def is_good_track(self, tracks: ak.Array) -> ak.Array:
        """Tracks from the interaction point."""
        return (
            (tracks.nCDCHits > 0)
            & (abs(tracks.dr) < self.cuts.track_dr)
            & (abs(tracks.dz) < self.cuts.track_dz)
        )

    def fill_masses(
        self,
        histogram: hist.Hist,
        energy_set: str,
        triples: PhotonTriples,
        weight: np.ndarray,
        is_signal: bool,
    ) -> None:
        """Both squared masses of all three candidates, as signed roots."""
        masses2 = kin.candidate_masses2(triples.E, triples.theta, triples.phi, self.beams)
        for definition, mass2 in zip(("diphoton", "recoil"), masses2, strict=True):
            histogram.fill(
                energy_set=energy_set,
                definition=definition,
                origin=triples.origin.ravel() if is_signal else "other",
                mass=kin.signed_root(mass2).ravel(),
                weight=np.repeat(weight, 3),
            )

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


#: Origins of candidates in samples without and with a signal.
ORIGINS = {False: ["other"], True: ["true", "combinatorial", "other"]}


def mass_histogram(origins: list[str]) -> hist.Hist:
    """1 MeV bins of the signed root of the squared mass, wide enough for any recoil mass."""
    return hist.Hist(
        hist.axis.StrCategory(list(ENERGY_SETS), name="energy_set"),
        hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
        hist.axis.StrCategory(origins, name="origin"),
        hist.axis.Regular(
            15_000, -4.0, 11.0, name="mass", label=r"sign($m^2$) $\sqrt{|m^2|}$ [GeV]"
        ),
        storage="weight",
    )


#: Selection variables: bins, low edge, high edge and label of each.
VARIABLES = {
    "three_photon_mass": (100, 9.0, 11.2, r"$m_{\gamma\gamma\gamma}$ [GeV]"),
    "photon_energy": (100, 0.0, 8.0, r"$E_\gamma$ [GeV]"),
    "photon_theta": (90, 0.6, 2.2, r"$\theta_\gamma$ [rad]"),
    "zernike_mva": (50, 0.5, 1.0, "Zernike MVA of the most isolated photon"),
    "timing_chi": (50, 0.0, 10.0, r"$t_c$"),
}


def variable_histogram(name: str) -> hist.Hist:
    """Empty histogram of one selection variable for both energy sets."""
    bins, low, high, label = VARIABLES[name]
    return hist.Hist(
        hist.axis.StrCategory(list(ENERGY_SETS), name="energy_set"),
        hist.axis.Regular(bins, low, high, name="x", label=label),
        storage="weight",
    )


def fill_variables(
    histograms: dict[str, hist.Hist], energy_set: str, triples: PhotonTriples, weight: np.ndarray
) -> None:
    """Fill the selection variables of selected events, per event or per photon."""
    per_photon = np.repeat(weight, 3)
    values = {
        "three_photon_mass": (triples.three_photon_mass, weight),
        "photon_energy": (triples.E.ravel(), per_photon),
        "photon_theta": (triples.theta.ravel(), per_photon),
        "zernike_mva": (triples.zernike_of_most_isolated, weight),
        "timing_chi": (triples.timing_chi, weight),
    }
    for name, (value, value_weight) in values.items():
        histograms[name].fill(energy_set=energy_set, x=value, weight=value_weight)
