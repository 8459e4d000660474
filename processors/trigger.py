"""Efficiency of a calorimeter trigger, measured with an orthogonal track trigger (R0 sec. 5.4).

In e+e- -> e+e- gamma events, which both triggers should take, efficiency = N(probe and reference)
/ N(reference) (eq. 5.12). ``alp_coffea.stats.intervals.trigger_efficiency`` turns the histograms
into efficiencies with intervals. Energies and masses in GeV, angles in rad, lengths in cm.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.histograms import category
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.weights import event_weight
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams

TRACK_P, TRACK_DR, TRACK_DZ = 1.0, 1.0, 4.0
CLUSTER_ENERGY = 0.65
CLUSTER_THETA = (0.651, 2.159)
MASS = (0.8, 1.1)  # units of sqrt(s)


class Trigger(ProcessorABC):
    """Counts reference-triggered events with and without the probe trigger.

    Parameters
    ----------
    reference, probe
        Event-level branches with the bits of the two trigger lines. Events without the
        information (NaN) are left out and counted.
    """

    def __init__(
        self,
        beams: Beams,
        *,
        reference: str = "L1PSNM__boff__bc",
        probe: str = "L1PSNM__bolume__bc",
    ) -> None:
        self.beams = beams
        self.reference, self.probe = reference, probe
        self.uses = (
            "Photon.clusterE",
            "Photon.clusterTheta",
            "Photon.clusterPhi",
            "Track.p",
            "Track.theta",
            "Track.phi",
            "Track.clusterE",
            "Track.dr",
            "Track.dz",
            reference,
            probe,
        )

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        weight = event_weight(events)
        tracks, photons = events.Track, events.Photon
        low, high = CLUSTER_THETA
        tracks = tracks[
            (tracks.p > TRACK_P)
            & (abs(tracks.dr) < TRACK_DR)
            & (abs(tracks.dz) < TRACK_DZ)
            & (tracks.clusterE > CLUSTER_ENERGY)
            & (tracks.theta > low)
            & (tracks.theta < high)
        ]
        photons = photons[
            (photons.clusterE > CLUSTER_ENERGY)
            & (photons.clusterTheta > low)
            & (photons.clusterTheta < high)
        ]
        # more than one candidate discards the event
        one = np.flatnonzero(ak.to_numpy((ak.num(tracks) == 2) & (ak.num(photons) == 1)))
        energy, theta, phi = (
            np.concatenate(
                [ak.to_numpy(tracks[mine][one]).reshape(-1, 2), ak.to_numpy(photons[name][one])],
                axis=1,
            )
            for name, mine in (
                ("clusterE", "clusterE"),
                ("clusterTheta", "theta"),
                ("clusterPhi", "phi"),
            )
        )
        mass = kin.three_photon_mass(energy, theta, phi)
        # bits come as numbers, and NaN where a run has no trigger information
        reference, probe = (
            np.asarray(ak.to_numpy(events[name]), dtype=np.float64)[one]
            for name in (self.reference, self.probe)
        )
        known = np.isfinite(reference) & np.isfinite(probe)

        cutflow = Cutflow()
        selection = Selection(cutflow, "trigger", weight=weight)
        selection.choose("one_candidate", one)
        relative = mass / self.beams.sqrt_s
        selection.cut("three_cluster_mass", (relative > MASS[0]) & (relative < MASS[1]))
        selection.cut("trigger_information", known)
        selection.cut("reference", reference > 0)
        left = selection.mask
        histogram = trigger_histogram()
        histogram.fill(
            probe=np.where(probe[left] > 0, "fired", "silent"),
            mass=mass[left],
            energy_sum=energy[left].sum(axis=1),
        )
        return {
            events.metadata["dataset"]: {
                "histograms": {"trigger": histogram},
                "cutflow": cutflow,
                "counts": {"no_trigger_information": int(np.count_nonzero(~known))},
                "selected": int(left.sum()),
            }
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def trigger_histogram() -> hist.Hist:
    """Numbers of events, unweighted: intervals of efficiencies need counts."""
    return hist.Hist(
        category("probe", ["fired", "silent"]),
        hist.axis.Regular(16, 8.4, 11.6, name="mass", label=r"$m_{ee\gamma}$ [GeV]"),
        hist.axis.Regular(20, 6.0, 14.0, name="energy_sum", label="Sum of cluster energies [GeV]"),
    )
