"""e+e- -> mu+ mu- (gamma): photon energies against the recoil of the muon pair (R0 sec. 8.3).

In mu+ mu- gamma the recoil momentum of the muons is the photon's, up to further radiation and
tracking, so the calorimeter's resolution can be taken from data. In pure mu+ mu- it is zero, which
tells how good the errors of tracking are. Energies and momenta in GeV, angles in rad, times in ns,
lengths in cm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.candidates import FlatPhotons
from alp_coffea.events.corrections import Corrections
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.tracks import good_tracks
from alp_coffea.events.weights import event_weight
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.constants import MUON_MASS
from alp_coffea.physics.recoil import Recoil, recoil_error, recoil_momentum

# sec. 8.3.1, and 8.3.2.2.1 for pure muon pairs
PHOTON_ENERGY = 1.0  # of the most energetic
OTHER_ENERGY = 0.5  # largest of any other
THETA = (math.radians(37.3), math.radians(123.7))
CLUSTER_N_HITS = 1.5
CLUSTER_TIMING = 200.0
TRACK_DISTANCE = 50.0  # photon to where a track enters the calorimeter
TRACK_DR, TRACK_DZ = 1.0, 5.0  # good tracks as in the search, sec. 5.3.4
MUON_CLUSTER_ENERGY = (0.05, 0.25)
MUON_P = 2.0
TOTAL_MASS = (9.8, 10.8)  # of all particles
MUON_MASS_MIN = 1.0
DIRECTION = 0.10  # between photon and recoil, in each angle
MOMENTUM_RATIO = (0.5, 1.5)

#: Largest true recoil momenta [GeV] of pure muon pairs that are told apart (fig. 8.9).
RADIATED = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class DimuonPhoton(ProcessorABC):
    """Selects radiative and pure muon pairs; histograms of recoil momenta and photon energies.

    ``resolution`` is E - p_recoil in bins of p_recoil and ``recoil_error`` the error of p_recoil
    there; ``recoil_pull`` are the components of the recoil of pure pairs over their errors.
    Simulation also gives the parts of eq. 8.7: ``calorimeter`` (E - E_true), ``recoil`` (p_recoil
    - E_true), which is ``radiation`` (p_true - E_true) and ``tracking`` (p_recoil - p_true), and
    ``recoil_pull_below`` by the true recoil of pure pairs.

    Parameters
    ----------
    beams
        Where p_recoil comes from.
    corrections
        Of photon energies, see ``alp_coffea.events.corrections.Corrections``.
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
        "Track.pt",
        "Track.theta",
        "Track.phi",
        "Track.ptErr",
        "Track.thetaErr",
        "Track.phiErr",
        "Track.clusterE",
        "Track.dr",
        "Track.dz",
        "Track.nCDCHits",
    )
    uses_truth = ("Photon.mcE", "Truth.PDG", "Truth.E", "Truth.theta", "Truth.phi")

    def __init__(self, beams: Beams, *, corrections: Mapping[str, Any] | None = None) -> None:
        self.beams = beams
        self.corrections = Corrections.of(corrections)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        weight = event_weight(events)
        tracks = events.Track
        muons = tracks[good_tracks(tracks, TRACK_DR, TRACK_DZ)]
        energies = self.corrections.energies(FlatPhotons(events.Photon), events).E
        photons = ak.with_field(events.Photon, ak.unflatten(energies, ak.num(events.Photon.E)), "E")
        possible = kin.valid_photon(photons.E, photons.theta, photons.phi)
        photons = photons[possible]
        photons = photons[ak.argsort(photons.E, ascending=False)]
        pair = np.flatnonzero(
            ak.to_numpy((ak.num(muons) == 2) & (ak.sum(muons.charge, axis=1) == 0))
        )
        both = pair[ak.to_numpy(ak.num(photons) >= 1)[pair]]
        truth = true_recoil(events, self.beams) if "Truth" in events.fields else None

        cutflow = Cutflow()
        histograms: dict[str, hist.Hist] = {}
        pure = Selection(cutflow, "dimuon", weight=weight)
        pure.choose("two_muons", pair)
        for name, passed in self.pair_cuts(muons[pair]).items():
            pure.cut(name, passed)
        left = pair[pure.mask]
        of_pairs = None if truth is None else truth[left]
        histograms |= self.pulls(muons[left], weight[left], of_pairs)
        unknown = 0 if of_pairs is None else int(np.isnan(of_pairs).sum())

        muons, others, photon = muons[both], photons[both][:, 1:], photons[both][:, 0]
        recoil = self.recoil(muons)
        selection = Selection(cutflow, "dimuon_photon", weight=weight)
        selection.choose("two_muons", pair)
        selection.choose("photon", both)
        for name, passed in self.cuts(muons, photon, others, recoil).items():
            selection.cut(name, ak.to_numpy(passed))
        selection.book_n_minus_1()
        left = selection.mask
        known = None
        if truth is not None and "mcE" in photon.fields:
            known = np.stack([truth[both[left]], ak.to_numpy(photon.mcE)[left]])
            unknown += int(np.isnan(known).any(axis=0).sum())
        histograms |= self.resolution(muons[left], photon[left], weight[both[left]], known)
        return {
            events.metadata["dataset"]: {
                "histograms": histograms,
                "cutflow": cutflow,
                "counts": {"bad_photons": int(ak.sum(~possible)), "without_truth": unknown},
                "selected": int(left.sum()),
            }
        }

    def recoil(self, muons: ak.Array) -> Recoil:
        """Momentum recoiling against two muons per event in the lab."""
        return recoil_momentum(*columns(muons, "p", "theta", "phi"), self.beams)

    # --- selections -----------------------------------------------------------------------------

    def pair_cuts(self, muons: ak.Array) -> dict[str, np.ndarray]:
        """Cuts on pure muon pairs in order, (n,) (sec. 8.3.2.2.1)."""
        energy, p, theta, phi = columns(muons, "clusterE", "p", "theta", "phi")
        low, high = MUON_CLUSTER_ENERGY
        pair2 = kin.pair_mass2(
            p[:, 0], theta[:, 0], phi[:, 0], p[:, 1], theta[:, 1], phi[:, 1],
            mass1=MUON_MASS, mass2=MUON_MASS,
        )  # fmt: skip
        return {
            "track_errors": with_errors(muons),
            "muon_cluster_energy": ((energy >= low) & (energy <= high)).all(axis=1),
            "muon_momentum": (p > MUON_P).all(axis=1),
            "mumu_mass": (pair2 >= TOTAL_MASS[0] ** 2) & (pair2 <= TOTAL_MASS[1] ** 2),
        }

    def cuts(
        self, muons: ak.Array, photon: ak.Array, others: ak.Array, recoil: Recoil
    ) -> dict[str, ak.Array]:
        """Cuts on radiative pairs in order, (n,) (sec. 8.3.1)."""
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
            "track_errors": with_errors(muons),
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
            "mumugamma_mass": (mass >= TOTAL_MASS[0]) & (mass <= TOTAL_MASS[1]),
            "mumu_mass": pair2 >= MUON_MASS_MIN**2,
            "recoil_theta": kin.delta_theta(photon.theta, recoil.theta) < DIRECTION,
            "recoil_phi": kin.delta_phi(photon.phi, recoil.phi) < DIRECTION,
            "momentum_ratio": (photon.E / recoil.p > MOMENTUM_RATIO[0])
            & (photon.E / recoil.p < MOMENTUM_RATIO[1]),
        }

    # --- histograms -----------------------------------------------------------------------------

    def pulls(
        self, muons: ak.Array, weight: np.ndarray, truth: np.ndarray | None
    ) -> dict[str, hist.Hist]:
        """Components of the recoil of pure pairs over their errors (eq. 8.11)."""
        vector = self.recoil(muons).vector
        track = columns(muons, "pt", "theta", "phi", "ptErr", "thetaErr", "phiErr")
        pulls = {
            axis: vector[:, k] / recoil_error(np.eye(3)[k], *track) for k, axis in enumerate("xyz")
        }
        histogram = hist.Hist(component_axis(), pull_axis(), storage="weight")
        for axis, pull in pulls.items():
            histogram.fill(component=axis, pull=pull, weight=weight)
        if truth is None:
            return {"recoil_pull": histogram}
        below = hist.Hist(
            component_axis(),
            hist.axis.Variable(RADIATED, name="radiated", label="True recoil momentum [GeV]"),
            pull_axis(),
            storage="weight",
        )
        known = np.isfinite(truth)
        for axis, pull in pulls.items():
            below.fill(
                component=axis, radiated=truth[known], pull=pull[known], weight=weight[known]
            )
        return {"recoil_pull": histogram, "recoil_pull_below": below}

    def resolution(
        self, muons: ak.Array, photon: ak.Array, weight: np.ndarray, known: np.ndarray | None
    ) -> dict[str, hist.Hist]:
        """E - p_recoil, its parts, and the error of p_recoil.

        ``known`` (2, n) are the true recoil and photon energy, NaN where there is none.
        """
        recoil = self.recoil(muons)
        energy = ak.to_numpy(photon.E)
        differences = {"resolution": energy - recoil.p}
        if known is not None:
            true_recoil, true_energy = known
            differences |= {
                "calorimeter": energy - true_energy,
                "recoil": recoil.p - true_energy,
                "radiation": true_recoil - true_energy,
                "tracking": recoil.p - true_recoil,
            }
        histograms = {}
        for name, difference in differences.items():
            histograms[name] = hist.Hist(momentum_axis(), difference_axis(), storage="weight")
            there = np.isfinite(difference)
            histograms[name].fill(
                p_recoil=recoil.p[there], difference=difference[there], weight=weight[there]
            )
        fine = hist.axis.Regular(500, 1.25, 6.25, name="p_recoil", label=P_RECOIL)
        histograms["p_recoil"] = hist.Hist(fine, storage="weight").fill(recoil.p, weight=weight)

        direction = recoil.vector / recoil.p[:, np.newaxis]
        track = columns(muons, "pt", "theta", "phi", "ptErr", "thetaErr", "phiErr")
        # the shares of x and of z of p_recoil^2 tell how scale factors change its error (eq. 8.14)
        histograms["recoil_error"] = hist.Hist(
            momentum_axis(),
            hist.axis.Regular(
                120, 0.002, 0.5, transform=hist.axis.transform.log, name="error",
                label=r"Error of $p_{\rm recoil}$ [GeV]",
            ),
            hist.axis.Regular(6, 0.0, 1.0, name="share_x", label="Share of x", overflow=False),
            hist.axis.Regular(6, 0.0, 1.0, name="share_z", label="Share of z", overflow=False),
            storage="weight",
        ).fill(
            p_recoil=recoil.p,
            error=recoil_error(direction, *track),
            # exactly one belongs to the last bin
            share_x=np.minimum(direction[:, 0] ** 2, 1 - 1e-9),
            share_z=np.minimum(direction[:, 2] ** 2, 1 - 1e-9),
            weight=weight,
        )  # fmt: skip
        return histograms

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def columns(muons: ak.Array, *names: str) -> list[np.ndarray]:
    """Columns of events with two muons each, (n, 2)."""
    return [ak.to_numpy(ak.flatten(muons[name])).reshape(-1, 2) for name in names]


def with_errors(muons: ak.Array) -> np.ndarray:
    """Whether the errors of both tracks of events are known, (n,)."""
    errors = np.stack(columns(muons, "ptErr", "thetaErr", "phiErr"))
    return np.asarray(((errors > 0) & np.isfinite(errors)).all(axis=(0, 2)))


def true_recoil(events: ak.Array, beams: Beams) -> np.ndarray:
    """True momentum recoiling against the muons [GeV], (n,); NaN without one of each charge."""
    particles = events.Truth
    pair = particles[abs(particles.PDG) == 13]
    p = np.full(len(events), np.nan)
    found = ak.to_numpy((ak.num(pair) == 2) & (ak.sum(pair.PDG, axis=1) == 0))
    energy, theta, phi = columns(pair[found], "E", "theta", "phi")
    momentum = np.sqrt(np.maximum(energy**2 - MUON_MASS**2, 0.0))
    p[found] = recoil_momentum(momentum, theta, phi, beams).p
    return p


P_RECOIL = r"$p_{\rm recoil}$ [GeV]"


def momentum_axis() -> hist.axis.Regular:
    """The published bins of the recoil momentum (sec. 8.3.2)."""
    return hist.axis.Regular(10, 1.25, 6.25, name="p_recoil", label=P_RECOIL)


def difference_axis() -> hist.axis.Regular:
    """Differences of energies; zero, where radiation peaks, is the middle of a bin."""
    return hist.axis.Regular(401, -1.0025, 1.0025, name="difference", label="Difference [GeV]")


def component_axis() -> hist.axis.StrCategory:
    """Components of a momentum in the lab."""
    return hist.axis.StrCategory(["x", "y", "z"], name="component")


def pull_axis() -> hist.axis.Regular:
    """Pulls, fine enough to be rescaled."""
    return hist.axis.Regular(1000, -10.0, 10.0, name="pull", label="Pull of the recoil momentum")
