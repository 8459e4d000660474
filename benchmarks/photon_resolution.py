"""Photon resolution from muon pairs at 25/fb: scale factors, unfolded bins, controls that fail.

    python benchmarks/photon_resolution.py [--luminosity L] [--small L] [--json FILE]

Radiative pairs of two independent samples are simulated: what one shows is unfolded with the
smearing of the other, and compared with its true E - E_true in the same bins. Then the calorimeter
function at 10/fb against the constants of the simulation. Pure pairs are 2 % of that luminosity.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import hist
import numpy as np
import yaml

from alp_coffea.config import load_catalogue
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB
from alp_coffea.physics.photon_covariance import EnergyResolution
from alp_coffea.simulation import Detector, simulate
from alp_coffea.stats.energy_calibration import bin_energies, calibrate_data, calibrate_simulation
from alp_coffea.stats.photon_resolution import FIT_RANGE, calorimeter_function, unfold_all

CUTS = {"energy_min": 0.9, "theta_min": 16.0, "theta_max": 151.0}
#: bins of p_recoil that begin at 1.25 ... 4.75 GeV
BINS = 8
WHOLE = (-math.inf, math.inf)


def pairs(luminosity: float, seed: int, detector: dict[str, Any]) -> dict[str, hist.Hist]:
    """Histograms of ``dimuon_photon`` of pairs with and without a photon."""
    total: dict[str, hist.Hist] = {}
    for k, (process, share, least) in enumerate((("mumug", 1.0, 0.9), ("mumu", 0.02, 1.9))):
        sample = {
            "name": process,
            "kind": "background",
            "files": ["pairs.root"],
            "simulate": {
                "process": process,
                "seed": seed + k,
                "luminosity": share * luminosity,
                "cuts": CUTS | {"energy_min": least},
                "detector": detector,
            },
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.yaml"
            path.write_text(yaml.safe_dump({"samples": [sample]}), "utf-8")
            simulate(path, Path(folder) / "input", workers=1)
            catalogue = load_catalogue(Path(folder) / "input" / "catalogue.yaml")
            processor = load_processor("dimuon_photon", {}, beams=SUPERKEKB)
            found = process_files(processor, open_catalogue(catalogue), catalogue)
        for name, histogram in found[process]["histograms"].items():
            total[name] = histogram if name not in total else total[name] + histogram
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--luminosity", type=float, default=25_000.0, help="of the bins [1/pb]")
    parser.add_argument("--small", type=float, default=10_000.0, help="of the function [1/pb]")
    parser.add_argument("--json", type=Path, help="also write the numbers to a file")
    arguments = parser.parse_args()
    calorimeter = Detector().calorimeter
    truth = EnergyResolution(
        stochastic=calorimeter.energy_stochastic,
        constant=calorimeter.energy_constant,
        noise=calorimeter.energy_noise,
    )
    # tracks that are 8 % worse than their errors say
    tracker = Detector().tracker
    names = ("momentum_curvature", "momentum_scattering", "angle")
    worse = {name: 1.08 * getattr(tracker, name) for name in names} | {"error_scale": 1 / 1.08}
    simulation = calibrate_simulation(pairs(arguments.luminosity, 10, {}))
    everything: dict[str, Any] = {}

    for title, luminosity, seed, detector, true_factor in (
        ("nominal", arguments.luminosity, 20, {}, 1.0),
        ("tracks 8 % worse than their errors", arguments.luminosity, 30, {"tracker": worse}, 1.08),
        ("nominal, small", arguments.small, 40, {}, 1.0),
    ):
        seen = pairs(luminosity, seed, detector)
        found = calibrate_data(seen, simulation)
        energies = bin_energies(seen)
        true = unfold_all(seen["calorimeter"], None, energies)
        factors = {name: factor.value / true_factor for name, factor in found.factors.items()}
        errors = {name: factor.error / true_factor for name, factor in found.factors.items()}
        rows: dict[str, list[float]] = {"energy": [fit.energy for fit in true[:BINS]]}
        plain = unfold_all(seen["resolution"], None, energies, limits=WHOLE)
        whole = unfold_all(seen["resolution"], found.smearing, energies, limits=WHOLE)
        for name, fits in (
            ("unfolded", found.unfolded),
            ("whole range", whole),
            ("no unfolding", found.plain),
            ("no unfolding, whole range", plain),
            ("no radiation", found.without_isr(seen)),
            ("no radiation, whole range", found.without_isr(seen, limits=WHOLE)),
        ):
            rows[name] = [a.sigma / b.sigma - 1 for a, b in zip(fits, true, strict=True)][:BINS]
        grid = np.arange(1.0, 5.01, 0.5)
        function = found.function.sigma(grid) / truth.sigma(grid) - 1
        whole_function = calorimeter_function(whole).sigma(grid) / truth.sigma(grid) - 1
        everything[title] = {
            "luminosity": luminosity,
            "scale_factors_over_true": factors,
            "errors": errors,
            "bins": rows,
            "unfolded_error": [f.sigma_error / f.sigma for f in found.unfolded[:BINS]],
            "function": dict(zip(grid.tolist(), function.tolist(), strict=True)),
            "function, whole range": dict(zip(grid.tolist(), whole_function.tolist(), strict=True)),
        }
        print(f"\n{title}, {luminosity / 1000:g}/fb; fits within {FIT_RANGE} GeV")
        text = ", ".join(f"S_{n} {factors[n]:.4f} +- {errors[n]:.4f}" for n in factors)
        print(f"scale factors over true ones: {text}   target 1 +- 0.01")
        print("change of the width against E - E_true, bins from 1.25 to 4.75 GeV")
        for name, values in rows.items():
            unit = 1 if name == "energy" else 100
            cells = " ".join(f"{unit * value:+6.1f}" for value in values)
            print(f"{name:28s} {cells}")
        print(
            f"{'largest of unfolded':28s} {100 * max(map(abs, rows['unfolded'])):.1f} %   target 5"
        )
        print(
            f"function at 1 to 5 GeV: {100 * function.min():+.1f} to {100 * function.max():+.1f} %"
            f" of the simulated one   target 4"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
