"""The three-photon selection as one would write it with awkward array and vector.

For benchmarks/throughput.py: the same cuts and histograms as processors/strahlung.py, jagged
arrays and four-vectors throughout, cuts as early as they can be, no Python loop over events.
"""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.physics.beams import Beams

LOOSE_THETA = (math.radians(17), math.radians(150))
THETA = (math.radians(37.3), math.radians(123.7))
ENERGY_SETS = {"low_mass": 1.00, "high_mass": 0.65}
#: (recoil, daughter, daughter) of the candidates.
CANDIDATES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
VARIABLES = {
    "mass": (140, 8.4, 11.2),
    "energy": (100, 0.0, 8.0),
    "theta": (120, 0.25, 2.65),
    "hits": (60, 0.0, 60.0),
    "zernike": (50, 0.0, 1.0),
    "chi": (60, 0.0, 15.0),
    "delta_theta": (64, 0.0, 1.6),
    "delta_phi": (64, 0.0, 3.2),
}


class AwkwardStrahlung(ProcessorABC):
    """Masses and selection variables of three-photon events."""

    def __init__(self, beams: Beams) -> None:
        self.beams = beams

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Histograms and counts of one chunk."""
        tracks = events.Track
        good = (tracks.nCDCHits > 0) & (abs(tracks.dr) < 1) & (abs(tracks.dz) < 5)
        clean = ~ak.any(good, axis=1)
        photons = events.Photon
        in_drift_chamber = (
            (photons.E >= 0.1)
            & (photons.theta > LOOSE_THETA[0])
            & (photons.theta < LOOSE_THETA[1])
            & np.isfinite(photons.E)
            & (abs(photons.phi) <= 2 * math.pi)
        )
        photons = photons[in_drift_chamber]
        enough = ak.num(photons) >= 3
        photons, clean = photons[enough], clean[enough]

        histograms = empty_histograms()
        loose = self.triples(photons, clean)
        mass = loose.mass / self.beams.sqrt_s
        fill_all(histograms, "loose", loose[(mass >= 0.80) & (mass <= 1.05)])

        barrel = (photons.theta > THETA[0]) & (photons.theta < THETA[1])
        several = photons.clusterNHits > 1.5
        final = self.triples(photons[barrel & several], clean)
        relaxed = {
            "theta": self.triples(photons[several & (photons.E >= 0.65)], clean),
            "hits": self.triples(photons[barrel & (photons.E >= 0.65)], clean),
        }
        counts = {}
        for energy_set, least in ENERGY_SETS.items():
            cuts = self.cuts(final, least)
            chosen = final[combined(cuts)]
            counts[energy_set] = len(chosen)
            for definition in ("diphoton", "recoil"):
                value = chosen[definition]
                histograms[f"{definition}_{energy_set}"].fill(
                    ak.flatten(np.sign(value) * np.sqrt(abs(value)))
                )
            fill_all(histograms, energy_set, chosen)
            for name in VARIABLES:
                target = histograms[f"{name}_{energy_set}_n_minus_1"]
                if name in relaxed:
                    left = relaxed[name][combined(self.cuts(relaxed[name], least))]
                else:
                    left = final[combined(cuts, name.replace("theta", "phi"))]
                target.fill(flat(left[name]))
            left = final[combined(cuts, "delta_phi")]
            histograms[f"angles_{energy_set}"].fill(
                ak.flatten(left.delta_theta), ak.flatten(left.delta_phi)
            )
            below = final[combined(cuts, "mass", "zernike")]
            below = below[below.mass < 0.88 * self.beams.sqrt_s]
            histograms[f"sideband_{energy_set}"].fill(below.mass)
            histograms[f"sideband_zernike_{energy_set}"].fill(below.zernike)
        return {"histograms": histograms, "counts": counts}

    def triples(self, photons: ak.Array, clean: ak.Array) -> ak.Array:
        """The three most energetic photons of each event and what is computed from them."""
        enough = ak.num(photons) >= 3
        photons, clean = photons[enough], clean[enough]
        photons = photons[ak.argsort(photons.E, ascending=False)][:, :3]
        p4 = photons.p4
        pairs = [(p4[:, one], p4[:, two]) for _, one, two in CANDIDATES]
        diphoton = [(one + two).mass2 for one, two in pairs]
        delta_theta = [abs(one.theta - two.theta) for one, two in pairs]
        delta_phi = [abs(one.deltaphi(two)) for one, two in pairs]
        distance2 = stack([t**2 + p**2 for t, p in zip(delta_theta, delta_phi, strict=True)])
        isolated = ak.argmin(distance2, axis=1, keepdims=True)
        weight = photons.clusterErrorTiming**-2.0
        mean = ak.sum(photons.clusterTiming * weight, axis=1) / ak.sum(weight, axis=1)
        return ak.zip(
            {
                "clean": clean,
                "mass": (p4[:, 0] + p4[:, 1] + p4[:, 2]).mass,
                "energy": photons.E,
                "theta": photons.theta,
                "hits": photons.clusterNHits,
                "zernike": ak.flatten(photons.clusterZernikeMVA[isolated]),
                "chi": ak.max(
                    abs(photons.clusterTiming - mean) / photons.clusterErrorTiming, axis=1
                ),
                "delta_theta": stack(delta_theta),
                "delta_phi": stack(delta_phi),
                "diphoton": stack(diphoton),
                "recoil": photons.recoil_mass2(self.beams),
            },
            depth_limit=1,
        )

    def cuts(self, triples: ak.Array, least: float) -> dict[str, ak.Array]:
        """Event cuts of the final selection."""
        mass = triples.mass / self.beams.sqrt_s
        return {
            "energy": triples.energy[:, 2] >= least,
            "mass": (mass >= 0.88) & (mass <= 1.03),
            "clean": triples.clean,
            "zernike": triples.zernike > 0.6,
            "chi": triples.chi < 10,
            "delta_phi": ak.all((triples.delta_theta > 0.014) | (triples.delta_phi > 0.4), axis=1),
        }

    def postprocess(self, accumulator: Any) -> Any:
        """Nothing to do after merging."""
        return accumulator


def stack(columns: list[ak.Array]) -> ak.Array:
    """Three flat columns as lists of three."""
    return ak.concatenate([column[:, np.newaxis] for column in columns], axis=1)


def combined(cuts: dict[str, ak.Array], *without: str) -> np.ndarray:
    """Events passing all cuts but some."""
    return np.logical_and.reduce([ak.to_numpy(v) for k, v in cuts.items() if k not in without])


def flat(values: ak.Array) -> ak.Array:
    """One value per event, photon or candidate."""
    return ak.flatten(values) if values.ndim == 2 else values


def fill_all(histograms: dict[str, hist.Hist], where: str, triples: ak.Array) -> None:
    """Every variable."""
    for name in VARIABLES:
        histograms[f"{name}_{where}"].fill(flat(triples[name]))


def empty_histograms() -> dict[str, hist.Hist]:
    """As many as the processor has."""

    def book(*axes: tuple[int, float, float]) -> hist.Hist:
        return hist.Hist(*(hist.axis.Regular(*axis) for axis in axes), storage="weight")

    histograms = {f"{name}_loose": book(axis) for name, axis in VARIABLES.items()}
    for energy_set in ENERGY_SETS:
        for name, axis in VARIABLES.items():
            histograms[f"{name}_{energy_set}"] = book(axis)
            histograms[f"{name}_{energy_set}_n_minus_1"] = book(axis)
        for definition in ("diphoton", "recoil"):
            histograms[f"{definition}_{energy_set}"] = book((15_000, -4.0, 11.0))
        histograms[f"angles_{energy_set}"] = book((50, 0.0, 0.1), (40, 0.0, 0.8))
        histograms[f"sideband_{energy_set}"] = book((100, 0.0, 9.4))
        histograms[f"sideband_zernike_{energy_set}"] = book((50, 0.0, 1.0))
    return histograms
