"""Validate the scan of an output folder: bias, coverage, spurious signal, crossing, injections.

    python benchmarks/validation.py out/demo [--published FILE] [--toys N] [--pull-toys N]
        [--coefficients free] [--parts WORD ...] [--json FILE] [--figures FOLDER]

Numbers belong to simulated background; ``--published`` compares expected couplings with a curve
in AxionLimits form (mass [eV], coupling [1/GeV]). ``--toys`` scans toys of whole events, for which
the run needs the processor option ``skim: {folder: FOLDER, selection: final}``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import alp_coffea
from alp_coffea import plots
from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import ModelError
from alp_coffea.plots import model_checks
from alp_coffea.plots.style import annotate
from alp_coffea.results import Run
from alp_coffea.run_studies import Study, toy_source
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.crossing import expected_crossing
from alp_coffea.stats.injection import Injection, inject
from alp_coffea.stats.published import published_limits
from alp_coffea.stats.scan import scan, scan_points
from alp_coffea.stats.significance import from_toys, from_up_crossings
from alp_coffea.stats.studies import bias_study, coverage, null_toys
from alp_coffea.stats.systematics import Systematics
from alp_coffea.stats.toys import ToyScans, toy_scans
from alp_coffea.stats.workspace import POI, Point

BIAS_MASSES = np.linspace(0.5, 9.5, 15)
COVERAGE_MASSES = (0.3, 0.8, 2.0, 3.0, 4.5, 6.0, 7.5, 8.5)
COVERAGE_TOYS = 4000
STATISTICAL_ONLY = Systematics(Nuisances(luminosity=0, efficiency=(), width=0))


def models(
    run: Run, background: Spectra, masses: Any, settings: Scan
) -> tuple[list[Point], list[Any]]:
    """Points without nuisances and the background-only fits to the simulation as parents."""
    points = scan_points(
        background,
        background,
        run.signal_model,
        settings,
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


def bias(
    run: Run, background: Spectra, settings: Scan, toys: int, figures: Path | None
) -> dict[str, Any]:
    points, parents = models(run, background, BIAS_MASSES, settings)
    study = bias_study(points, parents, toys=toys, seed=1)
    used = study.background_per_sigma >= 10
    mean, width = study.likelihood_mean, study.likelihood_width
    # the statistical errors of a mean and of a width of toys
    biased = np.abs(mean) > 0.06 + 2 * width / np.sqrt(toys)
    wide = np.abs(width - 1) > 0.05 + 2 / np.sqrt(2 * toys)
    slope, offset = study.linearity
    if figures is not None:
        plots.save(plots.pulls(study), figures, "pulls")

    def cells(which: Any, values: Any) -> list[str]:
        chosen = np.argwhere(which & used[:, np.newaxis])
        return [
            f"{study.masses[i]:.2f} GeV, {study.injected[j]:g} limits: {values[i, j]:.3f}"
            for i, j in chosen
        ]

    return {
        "cells": int(mean[used].size),
        "excluded (fewer than 10 background events per width)": [
            f"{m:.2f} GeV: {n:.1f}"
            for m, n in zip(study.masses[~used], study.background_per_sigma[~used], strict=True)
        ],
        "mean of means": float(mean[used].mean()),
        "largest |mean|": float(np.abs(mean[used]).max()),
        "mean of widths": float(width[used].mean()),
        "widths from, to": [float(width[used].min()), float(width[used].max())],
        "means beyond 0.06 + 2 statistical errors": cells(biased, mean),
        "widths beyond 0.05 + 2 statistical errors": cells(wide, width),
        "classical pulls: mean of means, of widths": [
            float(study.classical_mean[used].mean()),
            float(study.classical_width[used].mean()),
        ],
        "linearity: slopes from, to": [float(slope[used].min()), float(slope[used].max())],
        "... fit without signal [expected limits] from, to": [
            float(offset[used].min()),
            float(offset[used].max()),
        ],
        "failed toys": int(study.failed.sum()),
    }


def uniform(run: Run, background: Spectra, settings: Scan) -> dict[str, Any]:
    points, parents = models(run, background, BIAS_MASSES, settings)
    study = null_toys(points, parents, toys=1000, seed=3)
    return {
        "smallest KS p": float(study.ks_p.min()),
        "KS p below 0.01": [
            f"{m:.2f} GeV: {p:.2g}, mean Z {mean:.3f}"
            for m, p, mean in zip(study.masses, study.ks_p, study.mean, strict=True)
            if p < 0.01
        ],
        "mean Z from, to": [float(study.mean.min()), float(study.mean.max())],
    }


def covered(run: Run, background: Spectra, settings: Scan) -> dict[str, Any]:
    points, parents = models(run, background, COVERAGE_MASSES, settings)
    study = coverage(points, parents, toys=COVERAGE_TOYS, seed=2)
    return {
        "strengths": study.strengths.tolist(),
        "masses": study.masses.tolist(),
        "CLs minus closed form": np.round(study.cls - study.cls_expectation, 4).tolist(),
        "... mean over masses": np.round((study.cls - study.cls_expectation).mean(0), 4).tolist(),
        "largest binomial error": float(study.error.max()),
        "CLs+b": np.round(study.cl_sb, 4).tolist(),
        "... mean over masses ": np.round(study.cl_sb.mean(0), 4).tolist(),
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


def yield_pulls(run: Run, settings: Scan, number: int = 150) -> dict[str, Any]:
    """Pulls of the same signals in the one window that they belong to, for many more of them."""
    background = run.scaled("mass", "background")
    assert background is not None
    grid, generator = run.scan["mass"], np.random.default_rng(77)
    masses = generator.uniform(settings.low + 0.1, settings.high - 0.2, number)
    sigma = 3 * np.interp(masses, grid, run.scan["sigma_exp"])
    nearest = grid[np.argmin(np.abs(grid - masses[:, np.newaxis]), axis=1)]
    spectra = Spectra.of(background)
    points = scan_points(
        spectra, spectra, run.signal_model, settings, nearest.tolist(), luminosity=run.luminosity,
        systematics=STATISTICAL_ONLY,
    )  # fmt: skip
    good = [point for point in points if isinstance(point, Point)]
    assert len(good) == number
    data = np.zeros((1, number, max(len(point.window.edges) for point in good)))
    for i, point in enumerate(good):
        fresh = background.copy()
        counts = np.random.default_rng([6, i]).poisson(np.maximum(background.values(), 0))
        fresh.view().value, fresh.view().variance = counts, counts
        signal = Injection(float(masses[i]), float(sigma[i]))
        filled = inject(
            fresh, run.signal_model, settings, [signal], luminosity=run.luminosity, seed=i
        )
        window = point.window
        seen = window.counts(Spectra.of(filled)[window.definition, window.energy_set])
        data[0, i, : len(seen)] = seen
    strength = sigma / np.array([point.unit for point in good])
    fits = engine.compile([point.workspace for point in good], poi=POI).fit_toys(data, poi=strength)
    classical = (fits.poi[0] - strength) / fits.poi_error[0]
    return {
        "signals": number,
        **{
            f"{name} pulls: mean, width": [float(values.mean()), float(values.std(ddof=1))]
            for name, values in (("likelihood", fits.z[0]), ("classical", classical))
        },
        "statistical error of the mean": number**-0.5,
    }


def against_published(run: Run, path: Path, figures: Path | None) -> dict[str, Any]:
    """Expected couplings over the running median of a published curve, +-10 % in mass.

    Beyond 8.8 GeV the published curve ends inside the median's window while couplings rise by 1.5
    over it, (1 - m^2/s)^(-3/2): the median of what is left belongs to a smaller mass. The second
    ratio shrinks windows on both sides where the curve ends, the third takes the median of cross
    sections, which do not rise, and turns the result into couplings (a square root).
    """
    mass, coupling = published_limits(path)
    s = run.scan.sqrt_s**2

    def in_cross_section(m: Any, g: Any) -> Any:
        return g**2 * (1 - m**2 / s) ** 3

    published = in_cross_section(mass, coupling)
    ratios, flat, even = [], [], []
    for m, g in zip(run.scan["mass"], run.scan["g_exp"], strict=True):
        if 0.25 <= m <= 9.5:
            near = np.abs(mass / m - 1) <= 0.1
            ratios.append(g / np.median(coupling[near]))
            flat.append(np.sqrt(in_cross_section(m, g) / np.median(published[near])))
            # as far up as down: no further than the curve goes
            reach = min(0.1, mass.max() / m - 1, 1 - mass.min() / m)
            even.append(g / np.median(coupling[np.abs(mass / m - 1) <= reach]))
    if figures is not None:
        covered = (run.scan["mass"] >= 0.25) & (run.scan["mass"] <= 9.5)
        _ratio_figure(run.scan["mass"][covered], ratios, even, figures)
    return {
        "points": len(ratios),
        **{
            f"{which} ratio ({name})": float(function(values))
            for name, values in (
                ("couplings", ratios),
                ("couplings, windows that end with the curve", even),
                ("cross sections, as couplings", flat),
            )
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


def globally(run: Run, number: int, figures: Path | None) -> dict[str, Any]:
    """Toys of the whole scan against up-crossings, and what makes the two differ."""
    study = Study.of(run)
    points = study.points()
    source, mean = toy_source(run, study.background)
    start = time.process_time()
    toys = toy_scans(points, source, mean=mean, toys=number, seed=0)
    spent = time.process_time() - start
    tabulated = np.interp(toys.masses, run.scan["mass"], run.scan["spurious_z"])
    centre = toys.z.mean(axis=0)
    free = replace(
        study, settings=study.settings.model_copy(update={"background_coefficients": "free"})
    )
    fewer = min(number, 5000)
    others = {
        "as they are": toys.z,
        "mean Z of each mass taken out": toys.z - centre,
        "mean and width taken out": (toys.z - centre) / toys.z.std(axis=0),
        "without the definition switch (below it), mean taken out": (toys.z - centre)[
            :, toys.masses < study.settings.transition
        ],
        "free coefficients": toy_scans(free.points(), source, mean=mean, toys=fewer, seed=0).z,
        "independent candidates": toy_scans(
            points, source.independent(), mean=3 * mean, toys=fewer, seed=0
        ).z,
    }
    others["free coefficients, mean taken out"] = _centred(others["free coefficients"])
    others["independent candidates, mean taken out"] = _centred(others["independent candidates"])
    if figures is not None:
        _global_figure(toys, figures)
    return {
        "toys": number,
        "CPU minutes": spent / 60,
        "failed fits": toys.failed,
        "mean Z against tabulated spurious signal: rms, largest difference": [
            float(np.std(centre - tabulated)),
            float(np.abs(centre - tabulated).max()),
        ],
        "masses where they differ by more than 0.15": [
            round(float(m), 3) for m in toys.masses[np.abs(centre - tabulated) > 0.15]
        ],
        "width of Z from, to": [float(toys.z.std(axis=0).min()), float(toys.z.std(axis=0).max())],
    } | {f"global p, {name}": _compared(z) for name, z in others.items()}


def _centred(z: Any) -> Any:
    return z - z.mean(axis=0)


def _compared(z: Any) -> list[str]:
    """Toys and their up-crossings of 2 at three significances."""
    scans = ToyScans(np.arange(z.shape[1]), z, 0)
    lines = []
    for level in (3.0, 3.5, 4.0):
        toys = from_toys(level, scans.maxima)
        crossings = from_up_crossings(level, scans.crossings(2.0), 2.0, scans=len(z))
        error = (toys.high - toys.low) / 2
        lines.append(
            f"Z = {level:g}: {toys.p:.4f} +- {error:.4f} by toys, {crossings.p:.4f} by crossings "
            f"({(toys.p - crossings.p) / error:+.1f} errors)"
        )
    return lines


def _global_figure(toys: ToyScans, folder: Path) -> None:
    z = np.arange(1.5, 4.51, 0.25)
    columns = [
        [from_toys(x, toys.maxima) for x in z],
        [from_up_crossings(x, toys.crossings(2.0), 2.0, scans=len(toys.z)) for x in z],
    ]
    values = [[found.p for found in column] for column in columns]
    errors = [
        np.array([[g.p - g.low for g in column], [g.high - g.p for g in column]])
        for column in columns
    ]
    figure = model_checks.global_significance(
        z, values[0], errors[0], values[1], errors[1], synthetic=True
    )
    plots.save(figure, folder, "global")


def _ratio_figure(mass: Any, ratios: list[float], even: list[float], folder: Path) -> None:
    with plots.style():
        figure, ax = plots.new_figure(6.6, 3.6)
        ax.axhspan(0.75, 1.35, color="0.92", label="Aim")
        ax.plot(mass, ratios, label=r"Running median over $\pm$10%")
        ax.plot(mass, even, "--", label="Window as far up as down")
        ax.axhline(1.0, color="0.5", linewidth=0.8)
        ax.set_xlim(0.0, 10.0)
        ax.set_ylim(0.6, 1.6)
        ax.set_xlabel("$m_a$ [GeV]")
        ax.set_ylabel("Expected / published $g_{a\\gamma\\gamma}$")
        ax.legend(loc="upper left", ncols=3, fontsize="small")
        annotate(ax, synthetic=True)
        plots.save(figure, folder, "published_ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--toys", type=int, default=0, help="of the whole scan")
    parser.add_argument("--pull-toys", type=int, default=250, help="of each cell of pulls")
    parser.add_argument("--coefficients", default="non_negative", help="or free")
    parser.add_argument("--parts", nargs="+", default=[], help="only parts whose name has a word")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figures", type=Path, help="folder for figures")
    arguments = parser.parse_args()
    run = alp_coffea.load(arguments.out)
    scaled = run.scaled("mass", "background")
    if scaled is None:
        raise SystemExit(f"{arguments.out} has no background sample")
    background = Spectra.of(scaled)
    settings = Scan(background_coefficients=arguments.coefficients)
    spurious = run.scan["spurious_z"]
    parts = {
        f"bias (6 injections x 15 masses x {arguments.pull_toys} toys)": lambda: bias(
            run, background, settings, arguments.pull_toys, arguments.figures
        ),
        "uniform local p-values": lambda: uniform(run, background, settings),
        "coverage of 95 % limits": lambda: covered(run, background, settings),
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
        "injected signals, yields": lambda: yield_pulls(run, settings),
    }
    if arguments.published:
        published = arguments.published
        parts["expected g over the published median"] = lambda: against_published(
            run, published, arguments.figures
        )
    if arguments.toys:
        parts["global significance"] = lambda: globally(run, arguments.toys, arguments.figures)
    if arguments.parts:
        parts = {
            name: compute
            for name, compute in parts.items()
            if any(word in name for word in arguments.parts)
        }
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
