"""The subcommand ``alp-coffea resolution``: what muon pairs say about photons."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alp_coffea.files import atomic, write_table

if TYPE_CHECKING:
    from alp_coffea.physics.beams import Beams
    from alp_coffea.physics.photon_covariance import PhotonCovariance
    from alp_coffea.results import Run
    from alp_coffea.stats.energy_calibration import Calibration

OK = 0
#: Written into the folder ``resolution`` of the run.
COVARIANCE: Final = "photon-covariance.json"
CORRECTIONS: Final = "corrections.yaml"
#: Steps that the progress counts.
_STEPS: Final = 5
#: Three-photon events that tell the angles to half a per cent, and signal events per mass of the
#: scan of factors: more take longer, not further.
_MOST_TRIPLES: Final = 50_000
_MOST_SIGNALS: Final = 5_000


def add_resolution(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea resolution``."""
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="output folder of a run of 'dimuon_photon'"
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="photon covariance that the angles are taken from (default: the simulation's)",
    )
    parser.add_argument(
        "--photons",
        type=Path,
        metavar="RUN",
        help="run of the three-photon search with a skim: angles from its phi pulls, and the "
        "normality monitor from its signals",
    )


def resolution_command(arguments: argparse.Namespace) -> int:
    """Write ``resolution/``: tables, figures, corrections and a photon covariance."""
    from rich.console import Console

    from alp_coffea.builtin import builtin_folder
    from alp_coffea.execution.progress import display
    from alp_coffea.physics.photon_covariance import PhotonCovariance
    from alp_coffea.results import load
    from alp_coffea.run_resolution import dimuon_histograms
    from alp_coffea.stats import energy_calibration as calibration

    run = load(arguments.out)
    base = PhotonCovariance.read(
        arguments.base or builtin_folder("datasets") / "photon-covariance-simulation.json"
    )
    photons = load(arguments.photons) if arguments.photons is not None else None
    folder = run.folder / "resolution"
    folder.mkdir(exist_ok=True)
    lines: list[str] = []
    with display() as progress:
        simulated = dimuon_histograms(run, "background")
        simulation = calibration.calibrate_simulation(simulated)
        progress("resolution", 1, _STEPS)
        measured = dimuon_histograms(run, "data")
        data = calibration.calibrate_data(measured, simulation) if measured else None
        progress("resolution", 2, _STEPS)
        best = simulation if data is None else data
        lines += _scale_factors(folder, simulation, data)
        lines += _resolution(folder, simulation, data)
        if data is not None:
            lines += _corrections(folder, data, simulation)
        angle = 1.0
        if photons is not None:
            angle, found = _angles(folder, photons, simulation, data, base)
            lines += found
        progress("resolution", 3, _STEPS)
        source = f"muon pairs of {run.folder.name}; angles: {base.source}"
        covariance = calibration.photon_covariance(best, base, angle=angle, source=source)
        covariance.write(folder / COVARIANCE)
        if photons is not None:
            own = calibration.photon_covariance(simulation, base, source=source)
            lines += _normality(folder, photons, own)
        progress("resolution", 4, _STEPS)
        _figures(folder, run, simulated, simulation, measured, data)
        progress("resolution", _STEPS, _STEPS)
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line)
    console.print(f"covariance, tables and figures in {folder}")
    return OK


def _kinds(simulation: Calibration, data: Calibration | None) -> dict[str, Calibration]:
    return {"simulation": simulation} | ({} if data is None else {"data": data})


def _scale_factors(folder: Path, simulation: Calibration, data: Calibration | None) -> list[str]:
    rows = [
        {
            "kind": kind,
            "component": name,
            "raw": found.raw[name].value,
            "raw_error": found.raw[name].error,
            "factor": factor.value,
            "factor_error": factor.error,
        }
        for kind, found in _kinds(simulation, data).items()
        for name, factor in found.factors.items()
    ]
    write_table(rows, folder / "scale_factors.csv")
    return [
        f"errors of p_recoil, {kind}: "
        + ", ".join(
            f"S_{name} = {factor.value:.4f} +- {factor.error:.4f}"
            for name, factor in found.factors.items()
        )
        for kind, found in _kinds(simulation, data).items()
    ]


def _resolution(folder: Path, simulation: Calibration, data: Calibration | None) -> list[str]:
    rows = []
    lines = []
    for kind, found in _kinds(simulation, data).items():
        for method in ("plain", "unfolded", "common", "true"):
            fits = getattr(found, method)
            rows += [{"kind": kind, "method": method, **asdict(fit)} for fit in fits]
        terms = found.function
        lines.append(
            f"sigma/E, {kind}: {terms.stochastic:.4f}/sqrt(E) (+) {terms.constant:.4f} (+) "
            f"{terms.noise:.4f}/E, from {len(found.unfolded)} bins; at 1, 2, 5 GeV "
            + ", ".join(f"{100 * float(terms.sigma(e)) / e:.2f} %" for e in (1.0, 2.0, 5.0))
        )
        failed = [fit.energy for fit in found.unfolded if not fit.converged]
        if failed:
            lines.append(f"fits that did not converge, {kind}: {failed} GeV, left out")
    write_table(rows, folder / "resolution.csv")
    return lines


def _corrections(folder: Path, data: Calibration, simulation: Calibration) -> list[str]:
    import yaml

    from alp_coffea.stats.energy_calibration import energy_corrections

    found = energy_corrections(data, simulation)
    columns = asdict(found)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    write_table(rows, folder / "corrections.csv")
    with atomic(folder / CORRECTIONS) as temporary:
        temporary.write_text(
            "# processor option 'corrections' of an analysis file\n"
            + yaml.safe_dump({"corrections": found.settings()}, sort_keys=False),
            "utf-8",
        )
    return [
        (
            f"data: energies x {1 + found.bias.min():.4f} to {1 + found.bias.max():.4f}; "
            f"simulation: smearing {100 * found.smearing.min():.2f} to "
            f"{100 * found.smearing.max():.2f} %; both in {CORRECTIONS}"
        )
    ]


def _beams(run: Run) -> Beams:
    from alp_coffea.pipeline.reopening import reopen

    return reopen(run.folder).beams


def _angles(
    folder: Path,
    photons: Run,
    simulation: Calibration,
    data: Calibration | None,
    base: PhotonCovariance,
) -> tuple[float, list[str]]:
    """Factor on the angular resolution of ``base`` by phi pulls of three photons."""
    import numpy as np

    from alp_coffea import plots
    from alp_coffea.physics.kinematic_pulls import angular_scale, photon_pulls
    from alp_coffea.plots import photon_resolution as figures
    from alp_coffea.run_resolution import photon_triples
    from alp_coffea.stats.energy_calibration import energy_corrections, photon_covariance

    beams = _beams(photons)
    rows, lines, drawn = [], [], {}
    factors = {}
    for kind, name, found in (("background", "simulation", simulation), ("data", "data", data)):
        triples = None if found is None else photon_triples(photons, kind)
        if found is None or triples is None:
            continue
        covariance = photon_covariance(found, base, source=name)
        energy, theta, phi = triples[:, :_MOST_TRIPLES]
        if kind == "data":
            bias = energy_corrections(found, simulation)
            energy = energy * (1 + np.interp(energy, bias.energy, bias.bias))
        scale = angular_scale(energy, theta, phi, covariance, beams)
        factors[name] = scale
        rows.append({"kind": name, "events": len(energy), **asdict(scale)})
        lines.append(
            f"angles by phi pulls, {name}: x {scale.factor:.3f} +- {scale.error:.3f} "
            f"({len(energy)} events)"
        )
        scaled = covariance.scaled(theta=scale.factor, phi=scale.factor)
        drawn[name] = photon_pulls(energy, theta, phi, scaled, beams)[:, :, 2]
    write_table(rows, folder / "angles.csv")
    figure = figures.phi_pulls(drawn, synthetic=bool(photons.manifest["synthetic"]))
    plots.save(figure, folder, "phi_pulls")
    if "data" not in factors:
        return 1.0, [*lines, "no data: the angles stay as they are"]
    ratio = factors["data"].factor
    if "simulation" in factors:
        # radiation moves the pulls of both by the same
        ratio /= factors["simulation"].factor
    return ratio, [*lines, f"angular resolution of the covariance x {ratio:.3f}"]


def _normality(folder: Path, photons: Run, covariance: PhotonCovariance) -> list[str]:
    """Pulls of the fitted mass over all simulated masses, and the scan that flattens them."""
    from alp_coffea import plots
    from alp_coffea.physics.normality import departure, normality, scan_scales
    from alp_coffea.plots import photon_resolution as figures
    from alp_coffea.run_resolution import signal_triples

    samples = [sample for sample in signal_triples(photons) if len(sample.candidate) >= 500]
    if not samples:
        return ["normality monitor: no signal with 500 true triples"]
    beams = _beams(photons)
    before = normality(samples, covariance, beams)
    scan = scan_scales([sample.first(_MOST_SIGNALS) for sample in samples], covariance, beams)
    after = normality(samples, scan.apply(covariance), beams)
    table = (
        {"scaled": scaled, **asdict(row)}
        for scaled, rows in ((False, before), (True, after))
        for row in rows
    )
    write_table(table, folder / "normality.csv")
    scan.apply(covariance).write(folder / "photon-covariance-normal.json")
    figure = figures.normality(before, after, synthetic=True)
    plots.save(figure, folder, "normality")
    return [
        (
            f"normality of the mass pulls, {len(samples)} masses: departure "
            f"{departure(before):.3f}; {departure(after):.3f} with energies x "
            f"{scan.best_energy:.3f}, angles x "
            f"{scan.best_angle:.3f} (photon-covariance-normal.json)"
        )
    ]


def _figures(
    folder: Path,
    run: Run,
    simulated: Mapping[str, Any],
    simulation: Calibration,
    measured: Mapping[str, Any],
    data: Calibration | None,
) -> None:
    from alp_coffea import plots
    from alp_coffea.plots import photon_resolution as figures
    from alp_coffea.stats.energy_calibration import energy_corrections
    from alp_coffea.stats.recoil_scale import below_recoil

    synthetic = bool(run.manifest["synthetic"])
    # synthetic figures say that they are simulation
    names = {
        "simulation": None if synthetic else "Simulation",
        "data": "Pseudo-data" if synthetic else "Data",
    }
    kinds = _kinds(simulation, data)
    histograms: dict[str, Mapping[str, Any]] = {"simulation": simulated, "data": measured}
    drawn: dict[str, Any] = {
        "scale_plateau": figures.scale_plateau(
            below_recoil(simulated["recoil_pull_below"]), simulation.factors, synthetic=synthetic
        ),
        "smearing": figures.smearing(simulation, simulated, synthetic=synthetic),
        "resolution": figures.resolution(simulation, data, synthetic=synthetic),
    }
    for kind, found in kinds.items():
        drawn[f"recoil_pulls_{kind}"] = figures.recoil_pulls(
            histograms[kind]["recoil_pull"], found.raw, synthetic=synthetic, label=names[kind]
        )
        drawn[f"unfolding_{kind}"] = figures.unfolding(
            found, histograms[kind]["resolution"], synthetic=synthetic, label=names[kind]
        )
    if data is not None:
        corrections = energy_corrections(data, simulation)
        drawn["corrections"] = figures.corrections(corrections, synthetic=synthetic)
    for name, figure in drawn.items():
        plots.save(figure, folder, name)
