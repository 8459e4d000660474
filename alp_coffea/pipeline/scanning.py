"""From histograms and signal model to limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from alp_coffea.config import (
    Nuisances,
)
from alp_coffea.errors import ConfigurationError
from alp_coffea.events.blinding import hides_signal_region
from alp_coffea.pipeline.job import Job
from alp_coffea.results import Run, save_workspaces, workspace_name
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.crossing import expected_crossing
from alp_coffea.stats.injection import Injection, inject
from alp_coffea.stats.scan import scan
from alp_coffea.stats.systematics import Systematics, measure

#: Mass definitions whose expected limits are compared.
CROSSING: Final = {"diphoton", "recoil"}


def scan_masses(job: Job) -> None:
    """Scan all mass hypotheses; write results and workspaces."""
    run = job.processed()
    background = run.scaled("mass", "background")
    blinded = hides_signal_region(job.blinding)
    data = background if blinded else run.scaled("mass", "data")
    if data is None:
        kind = "background" if blinded else "data"
        raise ConfigurationError(f"{job.path}: the catalogue has no {kind} sample to scan")
    injections = [Injection.parse(text) for text in job.options.inject]
    data = inject(
        data,
        run.signal_model,
        job.analysis.scan,
        injections,
        luminosity=run.luminosity,
        seed=job.options.seed,
    )
    result, models = scan(
        data,
        run.signal_model,
        job.analysis.scan,
        luminosity=run.luminosity,
        background=background,
        background_size=_background_size(run),
        systematics=_systematics(run, job.analysis.scan.nuisances),
        production=job.production,
        synthetic=run.manifest["synthetic"],
        blinded=blinded,
        progress=job.report("scan"),
    )
    if background is not None and CROSSING <= set(background.axes["definition"]):
        crossing = expected_crossing(
            Spectra.of(background), run.signal_model, job.analysis.scan, luminosity=run.luminosity
        )
        result = replace(result, meta={**result.meta, "expected_crossing": crossing.mass})
    result = replace(result, meta={**result.meta, "injected": list(job.options.inject)})
    result.save(job.out)
    save_workspaces(
        {
            **{workspace_name(p.window.mass): p.workspace for p in models.nominal},
            **{workspace_name(p.window.mass, limit=True): p.workspace for p in models.limiting},
            **{
                workspace_name(p.window.mass, order=p.window.order): p.workspace
                for p in models.profiled
            },
        },
        job.out / "workspaces",
    )


def _systematics(run: Run, settings: Nuisances) -> Systematics:
    """Nuisance sizes, measured where the processor evaluated variations of the signal."""
    name = "true_mass_variations"
    variations = [
        (row["mass"], run.histograms[f"{row['name']}/{name}"])
        for row in run.samples.values()
        if row["kind"] == "signal" and f"{row['name']}/{name}" in run.histograms
    ]
    return measure(settings, variations)


def _background_size(run: Run) -> float | None:
    """Luminosity of the smallest background sample over that of the data."""
    covered = [
        row["covered_luminosity"]
        for row in run.samples.values()
        if row["kind"] == "background" and row["covered_luminosity"]
    ]
    return min(covered) / run.luminosity if covered and run.luminosity > 0 else None
