"""From histograms and signal model to limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import alp_coffea
from alp_coffea.config import Nuisances
from alp_coffea.errors import ConfigurationError
from alp_coffea.events.blinding import hides_signal_region
from alp_coffea.pipeline.job import Job, content_hash
from alp_coffea.pipeline.scan_parts import ScanParts
from alp_coffea.results import Run, save_workspaces, workspace_name
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.crossing import expected_crossing
from alp_coffea.stats.injection import Injection, inject
from alp_coffea.stats.scan import ScanModels, converged, scan
from alp_coffea.stats.scan_result import Row, ScanResult
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
    inputs = _inputs(job, run)
    parts = ScanParts(job.out / "scan_parts", inputs, fresh=job.options.fresh)
    last = _finished(job, inputs) if job.options.resume_scan else None
    finished = replace(last or ScanResult((), job.beams.sqrt_s), rows=_together(last, parts.rows))
    earlier = {} if last is None else {n: json.dumps(w) for n, w in run.workspaces.items()}

    def keep(rows: Sequence[Row], models: ScanModels) -> None:
        parts.add(rows, _workspaces(models))

    result, _ = scan(
        data,
        run.signal_model,
        job.analysis.scan,
        luminosity=run.luminosity,
        background=background,
        background_size=background_size(run),
        systematics=measured_systematics(run, job.analysis.scan.nuisances),
        production=job.production,
        synthetic=run.manifest["synthetic"],
        blinded=blinded,
        finished=finished,
        progress=job.report("scan"),
        keep=keep,
    )
    if background is not None and CROSSING <= set(background.axes["definition"]):
        crossing = expected_crossing(
            Spectra.of(background), run.signal_model, job.analysis.scan, luminosity=run.luminosity
        )
        result = replace(result, meta={**result.meta, "expected_crossing": crossing.mass})
    made = {"injected": list(job.options.inject), "inputs": inputs}
    result = replace(result, meta={**result.meta, **made})
    result.save(job.out)
    kept = converged(last)
    masses = {f"m_{row['mass']:.4f}" for row in result if row["mass"] in kept}
    earlier = {name: text for name, text in earlier.items() if _of(name) in masses}
    save_workspaces({**earlier, **parts.workspaces}, job.out / "workspaces")
    parts.clear()


def _together(last: ScanResult | None, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows of the last scan and of parts of this one, which are newer."""
    by_mass = {row["mass"]: row for row in (*(last or ()), *rows)}
    return tuple(by_mass.values())


def _workspaces(models: ScanModels) -> dict[str, dict[str, Any]]:
    """The models of a scan by file name."""
    return {
        **{workspace_name(p.window.mass): p.workspace for p in models.nominal},
        **{workspace_name(p.window.mass, limit=True): p.workspace for p in models.limiting},
        **{
            workspace_name(p.window.mass, order=p.window.order): p.workspace
            for p in models.profiled
        },
    }


def _of(name: str) -> str:
    """The mass in a workspace's file name: ``m_0.5000`` of ``m_0.5000_limit.json``."""
    return "_".join(name.removesuffix(".json").split("_")[:2])


def _inputs(job: Job, run: Run) -> str:
    """Hash of everything that a point of the scan depends on, except the scan's range."""
    settings = job.analysis.scan.model_dump(mode="json", exclude={"low", "high", "excluded"})
    names = ("histograms.zip", "signal_model.json")
    files = {name: hashlib.sha256((job.out / name).read_bytes()).hexdigest() for name in names}
    return content_hash(
        {
            # the grid of masses begins at the lowest
            "scan": [job.analysis.scan.low, settings],
            "configuration": job.fingerprint,
            "samples": [run.luminosity, run.manifest["samples"]],
            "files": files,
            "theory": job.analysis.model_dump(mode="json")["theory"],
            "injected": [list(job.options.inject), job.options.seed],
            "version": alp_coffea.__version__,
        }
    )


def _finished(job: Job, inputs: str) -> ScanResult | None:
    """The last scan, if it was made of the same."""
    path = job.out / "scan.json"
    last = ScanResult.load(path) if path.is_file() else None
    return last if last is not None and last.meta.get("inputs") == inputs else None


def measured_systematics(run: Run, settings: Nuisances) -> Systematics:
    """Nuisance sizes, measured where the processor evaluated variations of the signal."""
    name = "true_mass_variations"
    variations = [
        (row["mass"], run.histograms[f"{row['name']}/{name}"])
        for row in run.samples.values()
        if row["kind"] == "signal" and f"{row['name']}/{name}" in run.histograms
    ]
    return measure(settings, variations)


def background_size(run: Run) -> float | None:
    """Luminosity of the smallest background sample over that of the data."""
    covered = [
        row["covered_luminosity"]
        for row in run.samples.values()
        if row["kind"] == "background" and row["covered_luminosity"]
    ]
    return min(covered) / run.luminosity if covered and run.luminosity > 0 else None
