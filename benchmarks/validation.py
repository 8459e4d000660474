"""Validate the scan of an output folder: bias, coverage, spurious signal, crossing, injections.

    python benchmarks/validation.py out/demo [--published FILE] [--json FILE]

Numbers belong to simulated background; ``--published`` compares expected couplings with a curve
in AxionLimits form (mass [eV], coupling [1/GeV]).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import alp_coffea
from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import ModelError
from alp_coffea.results import Run
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.crossing import expected_crossing
from alp_coffea.stats.injection import Injection, inject
from alp_coffea.stats.published import published_limits
from alp_coffea.stats.scan import scan, scan_points
from alp_coffea.stats.studies import bias_study, coverage
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.workspace import POI, Point

BIAS_MASSES = np.linspace(0.5, 9.5, 15)
COVERAGE_MASSES = (0.8, 3.0, 6.0, 8.0)
TOYS = 250
STATISTICAL_ONLY = Systematics(Nuisances(luminosity=0, efficiency=(), width=0))


def models(run: Run, background: Spectra, masses: Any) -> tuple[list[Point], list[Any]]:
    """Points without nuisances and the background-only fits to the simulation as parents."""
    points = scan_points(
        background,
        background,
        run.signal_model,
        Scan(),
        list(masses),
        luminosity=run.luminosity,
        systematics=STATISTICAL_ONLY,
    )
    good: list[Point] = []
    for point in points:
        if isinstance(point, ModelError):
            raise point
        good.append(point)
    fits = engine.compile([point.workspace for point in good], poi=POI)
    return good, fits.fit(poi=np.zeros(len(good))).expected


def bias(run: Run, background: Spectra) -> dict[str, Any]:
    points, parents = models(run, background, BIAS_MASSES)
    study = bias_study(points, parents, toys=TOYS, seed=1)
    used = study.background_per_sigma >= 10
    error = 1 / np.sqrt(TOYS)
    mean, width = study.likelihood_mean[used], study.likelihood_width[used]
    off = np.abs(mean) > 0.06 + 2 * error
    return {
        "cells": int(mean.size),
        "excluded masses (fewer than 10 background events per width)": study.masses[~used].tolist(),
        "mean of means": float(mean.mean()),
        "largest |mean|": float(np.abs(mean).max()),
        "mean of widths": float(width.mean()),
        "cells beyond 0.06 + 2 statistical errors": int(off.sum()),
        "at masses": sorted({round(float(m), 2) for m in study.masses[used][off.any(axis=1)]}),
        "failed toys": int(study.failed.sum()),
    }


def covered(run: Run, background: Spectra) -> dict[str, Any]:
    points, parents = models(run, background, COVERAGE_MASSES)
    study = coverage(points, parents, toys=2000, seed=2)
    return {
        "strengths": study.strengths.tolist(),
        "CLs minus closed form": np.round(study.cls - study.cls_expectation, 4).tolist(),
        "binomial error": float(study.error.max()),
        "CLs+b": np.round(study.cl_sb, 4).tolist(),
        "failed toys": int(study.failed.sum()),
    }


def injections(run: Run, settings: Scan) -> dict[str, Any]:
    """Signals of three times the expected limit at random masses, one pseudo-data set each."""
    data, background = run.scaled("mass", "data"), run.scaled("mass", "background")
    assert data is not None
    assert background is not None
    generator = np.random.default_rng(5)
    expected = run.scan["sigma_exp"]
    found, close, pulls = 0, 0, []
    masses = generator.uniform(settings.low + 0.1, settings.high - 0.2, 20)
    nominal = settings.model_copy(update={"background_choices": "nominal"})
    for seed, mass in enumerate(masses):
        sigma = 3 * float(np.interp(mass, run.scan["mass"], expected))
        # independent background: Poisson around the simulation
        fresh = background.copy()
        counts = np.random.default_rng([6, seed]).poisson(np.maximum(background.values(), 0))
        fresh.view().value, fresh.view().variance = counts, counts
        signal = Injection(float(mass), sigma)
        filled = inject(
            fresh, run.signal_model, nominal, [signal], luminosity=run.luminosity, seed=seed
        )
        result, _ = scan(
            filled,
            run.signal_model,
            nominal,
            luminosity=run.luminosity,
            background=background,
            systematics=STATISTICAL_ONLY,
        )
        top = result.rows[int(np.nanargmax(result["z_local"]))]
        near = result.rows[int(np.argmin(np.abs(result["mass"] - mass)))]
        found += near["z_local"] > 3
        close += abs(top["mass"] - mass) < near["width"]
        pulls.append((near["sigma_hat"] - sigma) / near["sigma_hat_error"])
    return {
        "found above 3 sigma": int(found),
        "largest excess within a resolution of the signal": int(close),
        "of": len(masses),
        "pulls of the yield: mean": float(np.mean(pulls)),
        "pulls of the yield: width": float(np.std(pulls, ddof=1)),
    }


def against_published(run: Run, path: Path) -> dict[str, Any]:
    """Expected couplings over the running median of a published curve, +-10 % in mass.

    Beyond 8.8 GeV the published curve ends inside the median's window while couplings rise by 1.5
    over it, (1 - m^2/s)^(-3/2): the median of what is left belongs to a smaller mass. The second
    ratio takes the median of cross sections, which do not rise, and turns the result into couplings
    (a square root).
    """
    mass, coupling = published_limits(path)
    s = run.scan.sqrt_s**2

    def in_cross_section(m: Any, g: Any) -> Any:
        return g**2 * (1 - m**2 / s) ** 3

    published = in_cross_section(mass, coupling)
    ratios, flat = [], []
    for m, g in zip(run.scan["mass"], run.scan["g_exp"], strict=True):
        if 0.25 <= m <= 9.5:
            near = np.abs(mass / m - 1) <= 0.1
            ratios.append(g / np.median(coupling[near]))
            flat.append(np.sqrt(in_cross_section(m, g) / np.median(published[near])))
    return {
        "points": len(ratios),
        **{
            f"{which} ratio ({name})": float(function(values))
            for name, values in (("couplings", ratios), ("cross sections, as couplings", flat))
            for which, function in (
                ("smallest", np.min),
                ("median", np.median),
                ("largest", np.max),
            )
        },
        "above 1.35 [GeV] (couplings)": [
            round(float(m), 2)
            for m, ratio in zip(
                run.scan["mass"][(run.scan["mass"] >= 0.25) & (run.scan["mass"] <= 9.5)],
                ratios,
                strict=True,
            )
            if ratio > 1.35
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    run = alp_coffea.load(arguments.out)
    scaled = run.scaled("mass", "background")
    if scaled is None:
        raise SystemExit(f"{arguments.out} has no background sample")
    background, settings = Spectra.of(scaled), Scan()
    spurious = run.scan["spurious_z"]
    parts = {
        "bias (6 injections x 15 masses x 250 toys)": lambda: bias(run, background),
        "coverage of 95 % limits": lambda: covered(run, background),
        "spurious signal": lambda: {
            "rms": float(np.nanstd(spurious)),
            "largest": float(np.nanmax(np.abs(spurious))),
            "at [GeV]": float(run.scan["mass"][int(np.nanargmax(np.abs(spurious)))]),
        },
        "crossing of the expected limits [GeV]": lambda: {
            "mass": expected_crossing(
                background, run.signal_model, settings, luminosity=run.luminosity
            ).mass
        },
        "injected signals of three expected limits": lambda: injections(run, settings),
    }
    if arguments.published:
        published = arguments.published
        parts["expected g over the published median"] = lambda: against_published(run, published)
    results = {}
    for name, compute in parts.items():
        start = time.process_time()
        results[name] = compute()
        print(f"{name} ({time.process_time() - start:.1f} s)")
        for key, value in results[name].items():
            print(f"    {key}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), "utf-8")


if __name__ == "__main__":
    main()
