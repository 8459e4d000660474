"""e+e- -> mu+ mu- gamma: photon energies against the recoil of the muon pair (R0 sec. 8.3.1).

The recoil momentum of the muons is the photon's, up to further radiation and tracking, so the
calorimeter's resolution can be taken from data. Energies and momenta in GeV, angles in rad, times
in ns, lengths in cm.
"""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.tracks import good_tracks
from alp_coffea.events.weights import event_weight
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.constants import MUON_MASS

PHOTON_ENERGY = 1.0  # of the most energetic
OTHER_ENERGY = 0.5  # largest of any other
THETA = (math.radians(37.3), math.radians(123.7))
CLUSTER_N_HITS = 1.5
CLUSTER_TIMING = 200.0
TRACK_DISTANCE = 50.0  # photon to where a track enters the calorimeter
TRACK_DR, TRACK_DZ = 1.0, 5.0  # good tracks as in the search, sec. 5.3.4
MUON_CLUSTER_ENERGY = (0.05, 0.25)
MUON_P = 2.0
MUON_PHOTON_MASS = (9.8, 10.8)
MUON_MASS_MIN = 1.0
DIRECTION = 0.10  # between photon and recoil, in each angle
MOMENTUM_RATIO = (0.5, 1.5)


class DimuonPhoton(ProcessorABC):
    """Selects radiative muon pairs and histograms E - p_recoil in bins of p_recoil.

    Simulation with ``Photon.mcE`` also gives its two parts: calorimeter, E - E_true, and
    radiation with tracking, p_recoil - E_true (eq. 8.7).
    """

    uses = (
        "Photon.E",
        "Photon.theta",
        "Photon.phi",
        "Photon.clusterNHits",
        "Photon.clusterTiming",
        "Photon.minC2TDist",
        "Track.charge",
        "Track.p",
        "Track.theta",
        "Track.phi",
        "Track.clusterE",
        "Track.dr",
        "Track.dz",
        "Track.nCDCHits",
    )

    def __init__(self, beams: Beams) -> None:
        self.beams = beams

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        weight = event_weight(events)
        tracks, photons = events.Track, events.Photon
        muons = tracks[good_tracks(tracks, TRACK_DR, TRACK_DZ)]
        possible = kin.valid_photon(photons.E, photons.theta, photons.phi)
        photons = photons[possible]
        photons = photons[ak.argsort(photons.E, ascending=False)]
        pair = np.flatnonzero(
            ak.to_numpy((ak.num(muons) == 2) & (ak.sum(muons.charge, axis=1) == 0))
        )
        both = pair[ak.to_numpy(ak.num(photons) >= 1)[pair]]
        muons, others, photon = muons[both], photons[both][:, 1:], photons[both][:, 0]
        recoil = self.recoil(muons)

        cutflow = Cutflow()
        selection = Selection(cutflow, "dimuon_photon", weight=weight)
        selection.choose("two_muons", pair)
        selection.choose("photon", both)
        for name, passed in self.cuts(muons, photon, others, *recoil).items():
            selection.cut(name, ak.to_numpy(passed))
        selection.book_n_minus_1()

        left = selection.mask
        energy, momentum = ak.to_numpy(photon.E)[left], recoil[0][left]
        differences = {"resolution": energy - momentum}
        if "mcE" in photon.fields:
            truth = ak.to_numpy(photon.mcE)[left]
            differences |= {"calorimeter": energy - truth, "recoil": momentum - truth}
        histograms = {}
        for name, difference in differences.items():
            histograms[name] = resolution_histogram()
            histograms[name].fill(
                p_recoil=momentum, difference=difference, weight=weight[both[left]]
            )
        return {
            events.metadata["dataset"]: {
                "histograms": histograms,
                "cutflow": cutflow,
                "counts": {"bad_photons": int(ak.sum(~possible))},
                "selected": int(left.sum()),
            }
        }

    def recoil(self, muons: ak.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(p, theta, phi) of the momentum recoiling against the muons in the lab, (n,)."""
        p, theta, phi = (ak.to_numpy(muons[name]).reshape(-1, 2) for name in ("p", "theta", "phi"))
        x = self.beams.momentum[1] - (p * np.sin(theta) * np.cos(phi)).sum(axis=1)
        y = self.beams.momentum[2] - (p * np.sin(theta) * np.sin(phi)).sum(axis=1)
        z = self.beams.momentum[3] - (p * np.cos(theta)).sum(axis=1)
        transverse = np.hypot(x, y)
        return np.hypot(transverse, z), np.arctan2(transverse, z), np.arctan2(y, x)

    def cuts(
        self,
        muons: ak.Array,
        photon: ak.Array,
        others: ak.Array,
        p_recoil: np.ndarray,
        theta_recoil: np.ndarray,
        phi_recoil: np.ndarray,
    ) -> dict[str, ak.Array]:
        """Cuts in order, (n,)."""
        low, high = MUON_CLUSTER_ENERGY
        one, two = muons[:, 0], muons[:, 1]
        angles = (one.p, one.theta, one.phi, two.p, two.theta, two.phi)
        pair2 = kin.pair_mass2(*angles, mass1=MUON_MASS, mass2=MUON_MASS)
        with_photon = sum(
            kin.pair_mass2(
                muon.p, muon.theta, muon.phi, photon.E, photon.theta, photon.phi,
                mass1=MUON_MASS, mass2=0.0,
            )
            - MUON_MASS**2
            for muon in (one, two)
        )  # fmt: skip
        mass = np.sqrt(pair2 + with_photon)
        return {
            "photon_energy": photon.E > PHOTON_ENERGY,
            "no_other_photon": ak.all(others.E < OTHER_ENERGY, axis=1),
            "cluster_n_hits": photon.clusterNHits > CLUSTER_N_HITS,
            "cluster_timing": abs(photon.clusterTiming) < CLUSTER_TIMING,
            "track_distance": photon.minC2TDist > TRACK_DISTANCE,
            "photon_theta": (photon.theta > THETA[0]) & (photon.theta < THETA[1]),
            "muon_cluster_energy": ak.all(
                (muons.clusterE >= low) & (muons.clusterE <= high), axis=1
            ),
            "muon_momentum": ak.all(muons.p > MUON_P, axis=1),
            "mumugamma_mass": (mass >= MUON_PHOTON_MASS[0]) & (mass <= MUON_PHOTON_MASS[1]),
            "mumu_mass": pair2 >= MUON_MASS_MIN**2,
            "recoil_theta": kin.delta_theta(photon.theta, theta_recoil) < DIRECTION,
            "recoil_phi": kin.delta_phi(photon.phi, phi_recoil) < DIRECTION,
            "momentum_ratio": (photon.E / p_recoil > MOMENTUM_RATIO[0])
            & (photon.E / p_recoil < MOMENTUM_RATIO[1]),
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def resolution_histogram() -> hist.Hist:
    """Differences of energies in the published bins of the recoil momentum (sec. 8.3.2)."""
    return hist.Hist(
        hist.axis.Regular(10, 1.25, 6.25, name="p_recoil", label=r"$p_{\rm recoil}$ [GeV]"),
        hist.axis.Regular(400, -1.0, 1.0, name="difference", label="Energy difference [GeV]"),
        storage="weight",
    )
