"""e+e- -> e+e- a, a -> gamma gamma: photon fusion with both leptons in the tracking chamber.

Sections, tables, equations and figures are those of R1, the photon-fusion study. Energies in GeV,
angles in rad, times in ns, lengths in cm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC
from numpy.typing import NDArray

from alp_coffea.events.candidates import ALP_PDG
from alp_coffea.events.combinations import Combinations, combine
from alp_coffea.events.fitted import read_covariance
from alp_coffea.events.histograms import Variable, fill_x, mass_histogram, variable_histogram
from alp_coffea.events.schema import IDENTITY
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.events.skims import SkimSettings, write_chunk
from alp_coffea.events.tracks import good_tracks
from alp_coffea.events.truth_histograms import acceptance, by_run
from alp_coffea.events.weights import event_weight
from alp_coffea.learning import Classifier
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.constants import ELECTRON_MASS
from alp_coffea.physics.four_momenta import four_momenta, squared_mass
from alp_coffea.physics.kinematic_fit import KinematicFit
from alp_coffea.physics.kinematics import opening_angle, signed_root
from alp_coffea.physics.photon_lepton_fit import fit_photons_and_leptons, lepton_covariances
from alp_coffea.physics.vertices import Helices, pair_distances

Columns = dict[str, NDArray[Any]]

# Reconstruction, table 6.1
THETA = (math.radians(17), math.radians(150))  # inCDCacceptance
PHOTON_ENERGY, TIME_ERROR = 0.1, 1e6
TRACK_DR, TRACK_DZ = 1.0, 3.0
POSITRON_THETA_MIN, ELECTRON_THETA_MAX = 0.52, 2.44  # not backscattered
ALP_PT, ALP_ENERGY, RECOIL_MASS2, SIMULTANEITY = 0.1, 0.5, 5.0, 5.0
# Selection, sec. 6.4 and table 7.4; the last two of the low-energy photon
DISPLACEMENT, ELECTRON_ID = 1.0, 0.9
CLUSTER_TO_TRACK, BEAM_BACKGROUND = 30.0, 0.5

#: High- and low-energy photon, electron, positron: the order of all columns (n, 4).
PHOTONS, LEPTONS = ("gH", "gL"), ("em", "ep")
NAMES = PHOTONS + LEPTONS
MASSES = np.array([0.0, 0.0, ELECTRON_MASS, ELECTRON_MASS])
PAIRS = tuple(itertools.combinations(range(4), 2))
SETS = ("reconstruction", "selection")

#: Features of the classifier and the ranges that become [0, 1] (table 7.1, which lists 27).
FEATURES = (
    {"E_a": (0, 20), "pt_a": (0, 20), "pz_a": (-10, 15), "similarity": (0, 1)}
    | {f"E_{name}": (0, 7) for name in NAMES}
    | {f"angle_ecl_{NAMES[i]}_{NAMES[j]}": (0, 3.5) for i, j in PAIRS}
    | {f"angle_track_{NAMES[i]}_{NAMES[j]}": (0, 3.5) for i, j in PAIRS if j > 1}
    | {f"E_over_p_{name}": (0, 5) for name in LEPTONS}
    | {f"s_{name}": (-2, 12) for name in LEPTONS}
    | {f"t_{sign}_{name}": (-1, 11) for name in LEPTONS for sign in ("plus", "minus")}
)
#: Bins, range and label of what figures show.
VARIABLES = {
    name: Variable(name, *settings)
    for name, settings in (
        {name: (50, *span, name.replace("_", " ")) for name, span in FEATURES.items()}
        | {
            "four_body_mass": (60, 8.6, 11.6, r"$m_{ee\gamma\gamma}$ before the fit [GeV]"),
            "dilepton_mass": (106, 0.0, 10.6, r"$m_{ee}$ before the fit [GeV]"),
            "displacement": (60, 0.0, 6.0, r"$D(e^+,e^-)$ [cm]"),
            "electron_id": (50, 0.0, 1.0, "Electron identification, the better of two"),
            "cluster_to_track": (50, 0.0, 250.0, "Low-energy photon to nearest track [cm]"),
            "beam_background": (50, 0.0, 1.0, "Beam-background MVA, low-energy photon"),
            "fit_chi2": (60, 0.0, 60.0, r"$\chi^2$ of the kinematic fit"),
            "classifier": (50, 0.0, 1.0, "Classifier"),
        }
    ).items()
}


class Fusion(ProcessorABC):
    """Selects e+e- gamma gamma events and fills the fitted diphoton mass of their best candidate.

    Parameters
    ----------
    covariance
        File of the photon resolution, see docs/kinematic-fit.md.
    classifier, working_point
        ONNX file of ``alp-coffea train`` and the smallest score (sec. 7.3); None: no such cut.
    skim
        Also write events as parquet (``SkimSettings``): ``final`` after all cuts, otherwise those
        before the cuts on the classifier and on the low-energy photon, for training.
    """

    uses = (
        "Photon.E", "Photon.theta", "Photon.phi", "Photon.clusterTiming",
        "Photon.clusterErrorTiming", "Photon.minC2TDist", "Photon.beamBackgroundSuppression",
        "Track.charge", "Track.p", "Track.pt", "Track.theta", "Track.phi", "Track.ptErr",
        "Track.thetaErr", "Track.phiErr", "Track.dr", "Track.dz", "Track.d0", "Track.z0",
        "Track.nCDCHits", "Track.electronID", "Track.clusterE", "Track.clusterTiming",
        "Track.clusterTrackMatch", "Track.helixExtTheta", "Track.helixExtPhi",
    )  # fmt: skip
    uses_truth = (
        "Photon.genMotherPDG", "Photon.isSignal", "Track.mcPDG", "Truth.PDG", "Truth.theta",
    )  # fmt: skip
    features = FEATURES

    def __init__(
        self,
        beams: Beams,
        *,
        covariance: str = "photon-covariance-simulation.json",
        classifier: str | None = None,
        working_point: float = 0.9,
        skim: Mapping[str, Any] | None = None,
    ) -> None:
        self.beams = beams
        self.covariance = read_covariance("kinematic_fit", covariance)
        self.classifier = None if classifier is None else Classifier.read(classifier)
        self.working_point = working_point
        self.skim = SkimSettings.of(skim)
        if self.skim is not None:
            self.uses = (*self.uses, *IDENTITY, *self.skim.columns)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms, cutflow and counts of one chunk, keyed by sample."""
        signal = events.metadata["kind"] == "signal"
        weights, cutflow = event_weight(events), Cutflow()
        best = self.reconstructed(events, Selection(cutflow, SETS[0], weight=weights))
        values, fit = self.quantities(best)
        selection = Selection(cutflow, SETS[1], weight=weights)
        selection.choose("best_candidate", best.event)
        selection.cut("displacement", values["displacement"] < DISPLACEMENT)
        selection.cut("electron_id", values["electron_id"] > ELECTRON_ID)  # of one or the other
        selection.cut("kinematic_fit", fit.converged)
        to_learn = selection.mask
        if self.classifier is not None:
            values["classifier"] = self.classifier.score(values)
            selection.cut("classifier", values["classifier"] > self.working_point)
        selection.cut("cluster_to_track", values["cluster_to_track"] > CLUSTER_TO_TRACK)
        selection.cut("beam_background", values["beam_background"] > BEAM_BACKGROUND)
        selection.book_n_minus_1()

        weight = weights[best.event]
        true = matched(best) if signal else np.zeros(len(weight), dtype=bool)
        origin = np.where(true, "true", "other")
        origins = ["true", "other"] if signal else ["other"]
        histograms = {"mass": mass_histogram(SETS, origins, ("diphoton", "fit"))}
        for name, passed in zip(SETS, (fit.converged, selection.mask), strict=True):
            where = {"energy_set": name, "weight": weight[passed]}
            for definition in ("diphoton", "fit"):
                mass = values[f"{definition}_mass"][passed]
                histograms["mass"].fill(
                    definition=definition, origin=origin[passed], mass=mass, **where
                )
            for variable in (name for name in VARIABLES if name in values):
                empty = variable_histogram(VARIABLES[variable], SETS)
                fill_x(histograms.setdefault(variable, empty), values[variable][passed], **where)
        if signal:
            histograms["acceptance"] = acceptance(events.Truth, THETA, weights)
            histograms["runs"] = by_run(events, weights, best.event[selection.mask])
        output = {
            "histograms": histograms,
            "cutflow": cutflow,
            "counts": {"failed_fits": int(np.count_nonzero(~fit.converged))},
            "selected": int(np.count_nonzero(selection.mask)),
        }
        if self.skim is not None:
            rows = selection.mask if self.skim.selection == "final" else to_learn
            columns = values | {"true": true, "weight": weight}
            columns = {name: column[rows] for name, column in columns.items()}
            output["skim"] = write_chunk(self.skim, events, best.event[rows], columns, prefix="")
        return {events.metadata["dataset"]: output}

    def reconstructed(self, events: ak.Array, selection: Selection) -> Combinations:
        """The best candidate of every event that has one (table 6.1)."""
        photons, tracks = events.Photon, events.Track
        inside = (photons.theta > THETA[0]) & (photons.theta < THETA[1])
        fitted_time = photons.clusterErrorTiming < TIME_ERROR
        photons = photons[inside & (photons.E > PHOTON_ENERGY) & fitted_time]
        good = good_tracks(tracks, TRACK_DR, TRACK_DZ)
        leptons = tracks[good & (tracks.clusterTrackMatch == 1)]
        electrons = leptons[(leptons.charge < 0) & (leptons.theta < ELECTRON_THETA_MAX)]
        positrons = leptons[(leptons.charge > 0) & (leptons.theta > POSITRON_THETA_MIN)]
        number = ak.to_numpy(ak.sum(good, axis=1))
        selection.cut("good_tracks", (number >= 2) & (number <= 3))
        selection.cut("two_photons", ak.to_numpy(ak.num(photons) >= 2))
        both = (ak.num(electrons) > 0) & (ak.num(positrons) > 0)
        selection.cut("electron_positron", ak.to_numpy(both))

        left = np.flatnonzero(selection.mask)
        photons = photons[left]
        photons = photons[ak.argsort(photons.E, axis=1, ascending=False)]
        pairs = ak.combinations(photons, 2, fields=PHOTONS)
        candidates = combine(left, pair=pairs, em=electrons[left], ep=positrons[left])
        p4 = four_momenta(*measured(candidates), MASSES)
        alp, total = p4[:, :2].sum(axis=1), p4.sum(axis=1)
        time = candidates.column("clusterTiming", *NAMES)
        spread = np.abs(time - time.mean(axis=1, keepdims=True)).max(axis=1)
        passed = np.ones(len(total), dtype=bool)
        for name, mask in (
            ("alp_pt", np.hypot(alp[:, 1], alp[:, 2]) > ALP_PT),
            ("alp_energy", alp[:, 0] > ALP_ENERGY),
            ("recoil_mass2", squared_mass(self.beams.momentum - total) < RECOIL_MASS2),
            ("simultaneity", spread < SIMULTANEITY),
        ):
            passed &= mask
            selection.cut(name, candidates.events_with(passed, len(events)))
        distance = np.abs(signed_root(squared_mass(total)) - self.beams.sqrt_s)
        return candidates.where(passed).best(distance[passed])

    def quantities(self, best: Combinations) -> tuple[Columns, KinematicFit]:
        """Features after the kinematic fit (sec. 7.1) and what is cut on, (n,), and the fit."""
        energy, theta, phi = measured(best)
        momentum, deposit = best.column("p", *LEPTONS), best.column("clusterE", *LEPTONS)
        errors = (best.column(f"{name}Err", *LEPTONS) for name in ("pt", "theta", "phi"))
        covariances = lepton_covariances(momentum, theta[:, 2:], *errors)
        fit = fit_photons_and_leptons(
            energy, theta, phi, self.covariance, covariances, self.beams,
            mass=MASSES, groups=[(0, 1)],
        )  # fmt: skip
        p4 = four_momenta(energy, theta, phi, MASSES)
        values = {"fit_mass": fit.mass[:, 0], "fit_chi2": fit.chi2}
        for name, first, last in (("diphoton", 0, 2), ("dilepton", 2, 4), ("four_body", 0, 4)):
            values[f"{name}_mass"] = signed_root(squared_mass(p4[:, first:last].sum(axis=1)))
        p4 = four_momenta(fit.energy, fit.theta, fit.phi, MASSES)
        alp = p4[:, 0] + p4[:, 1]
        values |= {"E_a": alp[:, 0], "pt_a": np.hypot(alp[:, 1], alp[:, 2]), "pz_a": alp[:, 3]}
        values |= {f"E_{name}": fit.energy[:, i] for i, name in enumerate(NAMES)}
        values["similarity"] = np.abs(fit.energy[:, 0] - fit.energy[:, 1]) / alp[:, 0]  # eq. 7.1
        at_ecl = [
            np.hstack([best.column(name, *PHOTONS), best.column(ext, *LEPTONS)])
            for name, ext in (("theta", "helixExtTheta"), ("phi", "helixExtPhi"))
        ]
        for where, (polar, azimuth) in (("track", (fit.theta, fit.phi)), ("ecl", at_ecl)):
            for i, j in PAIRS:
                angle = opening_angle(polar[:, i], azimuth[:, i], polar[:, j], azimuth[:, j])
                values[f"angle_{where}_{NAMES[i]}_{NAMES[j]}"] = angle
        in_cm = self.beams.to_cm(p4[:, 2:])
        for i, name in enumerate(LEPTONS):  # eq. 7.3
            energy, along = in_cm[:, i, 0], in_cm[:, i, 3]
            along = energy * along / np.linalg.norm(in_cm[:, i, 1:], axis=1)
            values[f"E_over_p_{name}"] = deposit[:, i] / momentum[:, i]
            values[f"s_{name}"] = self.beams.sqrt_s - 2 * energy
            values |= {f"t_plus_{name}": energy + along, f"t_minus_{name}": energy - along}
        helices = (
            Helices(*(best.column(field, name)[:, 0] for field in Helices._fields))
            for name in LEPTONS
        )
        values["displacement"] = pair_distances(*helices)
        values["electron_id"] = best.column("electronID", *LEPTONS).max(axis=1)
        values["cluster_to_track"] = best.column("minC2TDist", "gL")[:, 0]
        values["beam_background"] = best.column("beamBackgroundSuppression", "gL")[:, 0]
        return values, fit

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do after merging."""
        return accumulator


def measured(candidates: Combinations) -> tuple[NDArray[np.float64], ...]:
    """Energies, polar angles and azimuths before any fit, (n, 4) each."""
    photons, momenta = candidates.column("E", *PHOTONS), candidates.column("p", *LEPTONS)
    angles = (candidates.column(name, *NAMES) for name in ("theta", "phi"))
    return np.hstack([photons, np.hypot(momenta, ELECTRON_MASS)]), *angles


def matched(best: Combinations) -> NDArray[np.bool_]:
    """Whether both photons are from the ALP and both leptons from the beams (sec. 7.1), (n,)."""
    found = best.column("genMotherPDG", *PHOTONS) == ALP_PDG
    found &= best.column("isSignal", *PHOTONS) == 1
    return np.asarray((found & (best.column("mcPDG", *LEPTONS) == (11, -11))).all(axis=1))
