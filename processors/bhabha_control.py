"""e+e- -> e+e- gamma as if it were the signal: the control sample of the three-photon search.

Electrons are treated as photons: the energies and directions of their calorimeter clusters make a
triple of three clusters without missing energy (R0 sec. 6.2). Orthogonal to the search, which
vetoes tracks. Energies and masses in GeV, angles in rad, lengths in cm.
"""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.filling import fill_masses
from alp_coffea.events.histograms import Variable, fill_x, mass_histogram, variable_histogram
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.tracks import good_tracks
from alp_coffea.events.weights import event_weight
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams

#: Smallest cluster energy of all three particles: R0 has 0.65, the other is the search's.
ENERGY_SETS = {"low_mass": 1.00, "high_mass": 0.65}
THETA = (math.radians(37.3), math.radians(123.7))
THREE_CLUSTER_MASS = (0.88, 1.03)  # units of sqrt(s)
TRACK_DR, TRACK_DZ = 1.0, 5.0  # good tracks as in the search, sec. 5.3.4
DELTA_THETA, DELTA_PHI = 0.003, 0.30  # an early optimisation

VARIABLES = {
    "three_photon_mass": Variable("three_photon_mass", 120, 9.0, 11.2, r"$m_{ee\gamma}$ [GeV]"),
    "photon_energy": Variable("photon_energy", 100, 0.0, 8.0, r"$E_{\rm cluster}$ [GeV]"),
    "photon_theta": Variable("photon_theta", 90, 0.6, 2.2, r"$\theta_{\rm cluster}$ [rad]"),
    "delta_theta": Variable("delta_theta", 64, 0.0, 1.6, r"$\Delta\theta$ [rad]"),
    "delta_phi": Variable("delta_phi", 64, 0.0, 3.2, r"$\Delta\varphi$ [rad]"),
}


class BhabhaControl(ProcessorABC):
    """Selects radiative Bhabha events and fills the masses of their three emulated candidates.

    The directions of electron clusters are ``clusterTheta`` and ``clusterPhi`` of the tracks
    where the ntuple has them, else those of the tracks.
    """

    uses = (
        "Photon.clusterE",
        "Photon.clusterTheta",
        "Photon.clusterPhi",
        "Track.clusterE",
        "Track.theta",
        "Track.phi",
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
        electrons = tracks[
            good_tracks(tracks, TRACK_DR, TRACK_DZ) & (tracks.clusterE > 0)  # NaN without a cluster
        ]
        has_cluster = kin.valid_photon(photons.clusterE, photons.clusterTheta, photons.clusterPhi)
        photons = photons[has_cluster]
        two = ak.to_numpy(ak.num(electrons) >= 2)
        both = np.flatnonzero(two & ak.to_numpy(ak.num(photons) >= 1))
        clusters = self.clusters(electrons[both], photons[both])

        cutflow = Cutflow()
        histograms = {"mass": mass_histogram(list(ENERGY_SETS), ["other"])}
        for name, settings in VARIABLES.items():
            histograms[name] = variable_histogram(settings, list(ENERGY_SETS))
        selected = np.zeros(len(weight), dtype=bool)
        for energy_set, energy_min in ENERGY_SETS.items():
            selection = Selection(cutflow, energy_set, weight=weight)
            selection.choose("two_good_tracks", np.flatnonzero(two))
            selection.choose("photon", both)
            for cut, passed in self.cuts(*clusters, energy_min).items():
                selection.cut(cut, passed)
            selection.book_n_minus_1()
            left = both[selection.mask]
            selected[left] = True
            chosen = tuple(column[selection.mask] for column in clusters)
            self.fill(histograms, energy_set, *chosen, weight[left])
        return {
            events.metadata["dataset"]: {
                "histograms": histograms,
                "cutflow": cutflow,
                "counts": {"bad_clusters": int(ak.sum(~has_cluster))},
                "selected": int(selected.sum()),
            }
        }

    def clusters(
        self, electrons: ak.Array, photons: ak.Array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(E, theta, phi) of the three clusters, (n, 3), most energetic first."""
        at_cluster = "clusterTheta" in electrons.fields
        fields = {
            "clusterE": "clusterE",
            "clusterTheta": "clusterTheta" if at_cluster else "theta",
            "clusterPhi": "clusterPhi" if at_cluster else "phi",
        }
        electrons = electrons[ak.argsort(electrons.clusterE, ascending=False)][:, :2]
        photons = photons[ak.argsort(photons.clusterE, ascending=False)][:, :1]
        columns = [
            np.concatenate(
                [ak.to_numpy(electrons[mine]).reshape(-1, 2), ak.to_numpy(photons[name])], axis=1
            )
            for name, mine in fields.items()
        ]
        order = kin.order_by_energy(columns[0])
        energy, theta, phi = (np.take_along_axis(c, order, axis=1) for c in columns)
        return energy, theta, phi

    def cuts(
        self, energy: np.ndarray, theta: np.ndarray, phi: np.ndarray, energy_min: float
    ) -> dict[str, np.ndarray]:
        """Cuts in order, (n,), or (n, 3) on the pairs that stand for candidates."""
        low, high = (limit * self.beams.sqrt_s for limit in THREE_CLUSTER_MASS)
        mass = kin.three_photon_mass(energy, theta, phi)
        delta_theta, delta_phi = separations(theta, phi)
        return {
            "photon_energy": energy[:, 2] >= energy_min,
            "photon_theta": ((theta > THETA[0]) & (theta < THETA[1])).all(axis=1),
            "three_photon_mass": (mass >= low) & (mass <= high),
            "delta_theta_phi": (delta_theta >= DELTA_THETA) | (delta_phi >= DELTA_PHI),
        }

    def fill(
        self,
        histograms: dict[str, hist.Hist],
        energy_set: str,
        energy: np.ndarray,
        theta: np.ndarray,
        phi: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        """Masses of the three emulated candidates, and the selection variables."""
        masses2 = kin.candidate_masses2(energy, theta, phi, self.beams)
        roots = dict(zip(("diphoton", "recoil"), map(kin.signed_root, masses2), strict=True))
        every = np.ones(len(weight), dtype=bool)
        fill_masses(histograms["mass"], roots, weight, {energy_set: every})
        delta_theta, delta_phi = separations(theta, phi)
        values = {
            "three_photon_mass": kin.three_photon_mass(energy, theta, phi),
            "photon_energy": energy,
            "photon_theta": theta,
            "delta_theta": delta_theta,
            "delta_phi": delta_phi,
        }
        for name, value in values.items():
            fill_x(histograms[name], value, weight, energy_set=energy_set)

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def separations(theta: np.ndarray, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Absolute differences of both angles in each pair, (n, 3)."""
    one, two = np.array(kin.CANDIDATE_ROLES).T[1:]
    return (
        kin.delta_theta(theta[:, one], theta[:, two]),
        kin.delta_phi(phi[:, one], phi[:, two]),
    )
