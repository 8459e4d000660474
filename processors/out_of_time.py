"""Clusters of other times than the event's, and what they do to t_c (R0 sec. 6.1).

Energetic clusters that no collision made, around -500 ns in the data of 2018, can be the third
photon of e+e- -> gamma gamma. Two samples orthogonal to the search show them: events with one or
two neutral clusters, and e+e- -> e+e- gamma, in which t_c is compared with and without them.
Energies in GeV, angles in rad, times in ns, lengths in cm.
"""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.filling import fill_slots
from alp_coffea.events.histograms import Variable
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.weights import event_weight
from alp_coffea.physics import kernels
from alp_coffea.physics import kinematics as kin

#: Events with one or two clusters of this energy in the acceptance of the drift chamber.
CLUSTER_ENERGY = 0.25
DRIFT_CHAMBER = (math.radians(17), math.radians(150))
BARREL = (math.radians(32.2), math.radians(128.7))  # whose clusters are shown
#: Tracks of radiative Bhabha events belong to clusters of this energy.
ELECTRON_ENERGY = 3.0
#: What makes a further cluster anomalous or normal (eq. 6.1 and 6.2).
OTHER_ENERGY = 0.1
E1E9 = 0.8
ANOMALOUS_TIMING = (-800.0, -300.0)

TIMING = Variable("clusterTiming", 100, -1000.0, 1000.0, "Cluster time [ns]")
AGAINST = {
    "clusterE1E9": Variable("clusterE1E9", 50, 0.0, 1.0, "E1/E9"),
    "clusterE": Variable("clusterE", 50, 0.0, 6.0, r"$E_{\rm cluster}$ [GeV]"),
    "clusterTheta": Variable("clusterTheta", 50, 0.5, 2.4, r"$\theta_{\rm cluster}$ [rad]"),
    "clusterPhi": Variable("clusterPhi", 50, -3.2, 3.2, r"$\varphi_{\rm cluster}$ [rad]"),
}
TIMING_CHI = Variable("timing_chi", 200, 0.0, 100.0, r"$t_c$")


class OutOfTime(ProcessorABC):
    """Histograms of cluster times, and of t_c of radiative Bhabha events with a further cluster.

    t_c (eq. 5.8) is of the clusters of both tracks and the most energetic anomalous, or else
    normal, neutral cluster.
    """

    uses = (
        "Photon.clusterE",
        "Photon.clusterTheta",
        "Photon.clusterPhi",
        "Photon.clusterTiming",
        "Photon.clusterErrorTiming",
        "Photon.clusterE1E9",
        "Track.charge",
        "Track.clusterE",
        "Track.clusterTiming",
        "Track.clusterErrorTiming",
    )

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        weight = event_weight(events)
        photons = events.Photon
        valid = kin.valid_photon(photons.clusterE, photons.clusterTheta, photons.clusterPhi)
        photons = photons[valid]
        cutflow = Cutflow()
        clusters, few = self.few_clusters(photons, weight, cutflow)
        timing, radiative = self.radiative_bhabha(events.Track, photons, weight, cutflow)
        return {
            events.metadata["dataset"]: {
                "histograms": clusters | timing,
                "cutflow": cutflow,
                "counts": {"bad_clusters": int(ak.sum(~valid))},
                "selected": int(np.count_nonzero(few | radiative)),
            }
        }

    def few_clusters(
        self, photons: ak.Array, weight: np.ndarray, cutflow: Cutflow
    ) -> tuple[dict[str, hist.Hist], np.ndarray]:
        """Shape, energy and direction against time of barrel clusters of events with one or two
        clusters; and which events these are."""
        seen = photons[
            (photons.clusterE > CLUSTER_ENERGY) & within(photons.clusterTheta, DRIFT_CHAMBER)
        ]
        number = ak.to_numpy(ak.num(seen))
        selection = Selection(cutflow, "few_clusters", weight=weight)
        selection.cut("one_or_two_clusters", (number == 1) | (number == 2))
        shown = seen[selection.mask]
        shown = shown[within(shown.clusterTheta, BARREL)]
        at = np.repeat(weight[selection.mask], ak.to_numpy(ak.num(shown)))
        time = ak.to_numpy(ak.flatten(shown.clusterTiming))
        histograms = {}
        for name, settings in AGAINST.items():
            histogram = hist.Hist(TIMING.axis("x"), settings.axis("y"), storage="weight")
            histogram.fill(x=time, y=ak.to_numpy(ak.flatten(shown[name])), weight=at)
            histograms[f"{name}_against_time"] = histogram
        return histograms, selection.mask

    def radiative_bhabha(
        self, tracks: ak.Array, photons: ak.Array, weight: np.ndarray, cutflow: Cutflow
    ) -> tuple[dict[str, hist.Hist], np.ndarray]:
        """t_c by what the further cluster is; and which events have one."""
        pair = ak.num(tracks) == 2
        opposite = pair & (ak.sum(tracks.charge, axis=1) == 0)
        energetic = ak.all(tracks.clusterE > ELECTRON_ENERGY, axis=1)
        photons = photons[photons.clusterE > OTHER_ENERGY]
        low, high = ANOMALOUS_TIMING
        anomalous = (
            (photons.clusterE1E9 > E1E9)
            & (photons.clusterTiming > low)
            & (photons.clusterTiming < high)
        )
        normal = (photons.clusterE1E9 < E1E9) & (photons.clusterTiming > high)
        labelled = {"anomalous": ak.to_numpy(ak.any(anomalous, axis=1))}
        labelled["normal"] = ak.to_numpy(ak.any(normal, axis=1)) & ~labelled["anomalous"]

        selection = Selection(cutflow, "radiative_bhabha", weight=weight)
        selection.cut("two_opposite_tracks", ak.to_numpy(opposite))
        selection.cut("electron_energy", ak.to_numpy(energetic))
        selection.cut("further_cluster", labelled["anomalous"] | labelled["normal"])
        histograms = {}
        for label, kind in (("anomalous", anomalous), ("normal", normal)):
            chosen = np.flatnonzero(selection.mask & labelled[label])
            further = photons[kind][chosen]
            further = further[ak.argsort(further.clusterE, axis=1, ascending=False)][:, :1]
            time, error = (
                np.concatenate(
                    [ak.to_numpy(tracks[chosen][name]), ak.to_numpy(further[name])], axis=1
                )
                for name in ("clusterTiming", "clusterErrorTiming")
            )
            values = kernels.timing_chi(time, error)
            every = np.ones(len(chosen), dtype=bool)
            histogram = hist.Hist(TIMING_CHI.axis(), storage="weight")
            fill_slots(TIMING_CHI, values, weight[chosen], [(histogram, (), every)])
            histograms[f"timing_chi_{label}"] = histogram
        return histograms, selection.mask

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def within(angle: ak.Array, limits: tuple[float, float]) -> ak.Array:
    """Whether angles lie inside limits."""
    return (angle > limits[0]) & (angle < limits[1])
