"""Realistic inputs for the figures, without running an analysis."""

from __future__ import annotations

from dataclasses import dataclass

import hist
import numpy as np

from alp_coffea.events.selection import Cutflow
from alp_coffea.physics.kinematics import signed_root
from alp_coffea.physics.theory import coupling_from_cross_section
from alp_coffea.stats.scan import BANDS, COLUMNS, ScanResult
from alp_coffea.stats.signal import PeakFit, SignalModel

SQRT_S = 10.58
LUMINOSITY = 445.0


def scan_result(
    points: int = 120, *, failed: tuple[int, ...] = (), synthetic: bool = True
) -> ScanResult:
    """A scan like R0's with both transitions, and points without a result."""
    rng = np.random.default_rng(4)
    rows = []
    for number, mass in enumerate(np.geomspace(0.2, 9.7, points)):
        row: dict[str, object] = dict.fromkeys(COLUMNS)
        row |= {
            "mass": float(mass),
            "definition": "diphoton" if mass < 6.85 else "recoil",
            "energy_set": "low_mass" if mass < 4 else "high_mass",
            "luminosity": LUMINOSITY,
            "level": 0.95,
            "variation": "nominal",
            "status": "ok",
            "note": "",
        }
        if number in failed:
            rows.append(row | {"status": "fit did not converge (<b>KKT</b> residual 3e-4)"})
            continue
        median = 0.09 * (1 + 1.6 * mass**0.7)
        z = float(rng.normal())
        bands = dict(zip(BANDS, median * np.array([0.54, 0.72, 1.0, 1.4, 1.9]), strict=True))
        observed = median * float(np.exp(0.3 * z))
        row |= {
            "window_low": mass * 0.8,
            "window_high": mass * 1.3,
            "efficiency": 0.3,
            "width": 0.014 + 0.006 * mass,
            "background_order": 4,
            "n_data": 1234,
            "yield": 12 * z,
            "yield_error": 12.0,
            "sigma_hat": median * z / 2,
            "sigma_hat_error": median / 2,
            "z_local": z,
            "p_local": 0.3,
            "gof_p": 0.5,
            "sigma_obs": observed,
            "g_obs": float(coupling_from_cross_section(observed, mass, sqrt_s=SQRT_S)),
        }
        for band, value in bands.items():
            row[f"sigma_{band}"] = float(value)
            row[f"g_{band}"] = float(coupling_from_cross_section(value, mass, sqrt_s=SQRT_S))
        rows.append(row)
    return ScanResult(tuple(rows), SQRT_S, synthetic)


def signal_model() -> SignalModel:
    """Peaks whose widths cross near 6.5 GeV."""
    rng = np.random.default_rng(5)
    fits = []
    for definition, lowest in (("diphoton", 0.2), ("recoil", 4.0)):
        for energy_set, reach in (("low_mass", 0.30), ("high_mass", 0.37)):
            for mass in np.geomspace(lowest, 9.7, 24 if lowest < 1 else 12):
                sigma = 0.0265 * mass**1.6 + 0.003
                if definition == "recoil":
                    sigma = 1.35 * (1 - (mass / 11.5) ** 2)
                efficiency = reach * (1 - 0.3 * (mass / 9) ** 4) * min(1.0, 0.6 + mass)
                fits.append(
                    PeakFit(
                        mass=float(mass),
                        definition=definition,
                        energy_set=energy_set,
                        candidates=9000.0,
                        mu=mass**2 - 0.08 * sigma,
                        mu_error=0.012 * sigma,
                        sigma=sigma * float(1 + 0.01 * rng.normal()),
                        sigma_error=0.01 * sigma,
                        alpha=1.1 + 0.02 * mass + 0.03 * float(rng.normal()),
                        alpha_error=0.03,
                        n=4.0,
                        n_error=0.2,
                        chi2=48.0,
                        ndf=44,
                        efficiency=efficiency,
                        efficiency_error=0.003,
                        converged=True,
                    )
                )
    return SignalModel(tuple(fits), SQRT_S)


def window_arrays(mass: float = 3.0) -> tuple[np.ndarray, ...]:
    """Edges [GeV^2], counts, background and signal of a window around a mass."""
    rng = np.random.default_rng(int(mass * 100))
    sigma = 0.0265 * mass**1.6 + 0.003
    edges = np.linspace(mass**2 - 20 * sigma, mass**2 + 30 * sigma, 101)
    x = (edges[1:] + edges[:-1]) / 2
    background = 55 - 0.3 * np.arange(100) + 8 * np.sin(np.arange(100) / 40)
    signal = 25 * np.exp(-0.5 * ((x - mass**2) / sigma) ** 2)
    data = rng.poisson(background + signal).astype(float)
    return edges, data, background, signal


def mass_histogram(
    entries: int, *, weight: float = 1.0, seed: int = 6, peak: bool = True
) -> hist.Hist:
    """Like the processor's: background spectrum with a step, plus a true peak at 3 GeV."""
    rng = np.random.default_rng(seed)
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
        hist.axis.StrCategory([], growth=True, name="origin"),
        hist.axis.Regular(15_000, -4.0, 11.0, name="mass"),
        storage="weight",
    )
    for energy_set, share in (("low_mass", 0.73), ("high_mass", 1.0)):
        for definition in ("diphoton", "recoil"):
            m2 = rng.uniform(-1 if definition == "recoil" else 0.05, 85, int(entries * share))
            m2 = m2[rng.uniform(size=len(m2)) < np.where(m2 < 13, 0.7, 1 - 0.006 * m2)]
            histogram.fill(
                energy_set=energy_set,
                definition=definition,
                origin="other",
                mass=signed_root(m2),
                weight=weight,
            )
            true = 9 + 0.17 * rng.normal(size=entries // 4 if peak else 0)
            histogram.fill(
                energy_set=energy_set,
                definition=definition,
                origin="true",
                mass=signed_root(true),
                weight=weight,
            )
    return histogram


def variable_histogram(entries: int, *, weight: float = 1.0, seed: int = 7) -> hist.Hist:
    """A selection variable for both energy sets."""
    rng = np.random.default_rng(seed)
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
        hist.axis.Regular(100, 9.0, 11.2, name="x", label=r"$m_{\gamma\gamma\gamma}$ [GeV]"),
        storage="weight",
    )
    for energy_set in ("low_mass", "high_mass"):
        x = 10.55 + 0.18 * rng.normal(size=entries) - 0.2 * rng.exponential(size=entries)
        histogram.fill(energy_set=energy_set, x=x, weight=weight)
    return histogram


def cutflows(*names: str) -> dict[str, Cutflow]:
    """A cutflow of two flows for every sample name."""
    result = {}
    for number, name in enumerate(names):
        flow = Cutflow()
        for energy_set in ("low_mass", "high_mass"):
            left = 100_000
            for cut in ("all", "three_photons", "photon_energy", "zernike_mva", "delta_theta_phi"):
                flow.book(energy_set, cut, left, left * 0.5, left * 0.25)
                left = int(left * (0.62 - 0.05 * number))
        result[name] = flow
    return result


def manifest(*, lost: bool = False, title: str = "Demonstration") -> dict[str, object]:
    """Like ``manifest.json`` of a run over a few files, one of them with losses when asked."""
    rows = [
        {
            "sample": sample,
            "path": f"out/demo/{sample}.root",
            "tree": "events",
            "size": 12_345_678,
            "identity": "0f" * 16,
            "expected": 20_000,
            "read": 20_000,
            "selected": 1_234,
            "status": "done",
            "reason": "",
        }
        for sample in ("data", "ggg", "signal_3.0000")
    ]
    if lost:
        rows[1] |= {"read": 5_000, "status": "unusable", "reason": "truncated after 5 baskets"}
    samples = [
        {
            "name": row["sample"],
            "kind": "data" if row["sample"] == "data" else "background",
            "mass": None,
            "coupling": None,
            "cross_section": {"value": 12.3, "error": 0.1, "source": "this <generator>"},
            "luminosity": 4450.0,
            "covered_fraction": row["read"] / row["expected"],
            "covered_luminosity": 4450.0 * row["read"] / row["expected"],
            "scale": 0.1,
            "synthetic": True,
        }
        for row in rows
    ]
    return {
        "format": "alp_coffea manifest 1",
        "alp_coffea": "0.1.0",
        "analysis": "demo.yaml",
        "title": title,
        "configuration": {"analysis": {"processor": "strahlung"}, "catalogue": {"samples": []}},
        "configuration_hash": "ab" * 32,
        "process_hash": "cd" * 32,
        "command": "python -m alp_coffea.run --demo",
        "host": {"python": "3.11.9", "platform": "Linux", "cpus": 2},
        "libraries": {"numpy": "2.4.6"},
        "executor": {"name": "iterative", "workers": None, "chunksize": 250_000},
        "synthetic": True,
        "luminosity": 445.0,
        "samples": samples,
        "counts": {"data": {"bad_photons": 3}},
        "ledger": rows,
        "stages": {
            "process": {"start": "2026-01-02T03:04:05+00:00", "end": "2026-01-02T03:05:06+00:00"}
        },
        "input_complete": not lost,
        "complete": not lost,
    }


@dataclass(frozen=True)
class Fit:
    """A window fit."""

    mass: float
    definition: str
    edges: np.ndarray
    data: np.ndarray
    background: np.ndarray
    signal: np.ndarray
    z_local: float | None
    sigma_hat: float | None
    status: str = "ok"
    synthetic: bool = True


def window_fits(scan: ScanResult) -> list[Fit]:
    """A fit of every point of a scan that has a result."""
    return [
        Fit(row["mass"], row["definition"], *window_arrays(row["mass"]), row["z_local"], 0.1)
        for row in scan
        if row["status"] == "ok"
    ]
