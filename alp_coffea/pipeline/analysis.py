"""An analysis file from beginning to end, and trials of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from alp_coffea.builtin import builtin_folder
from alp_coffea.config import (
    Analysis,
    Catalogue,
    load_analysis,
    load_catalogues,
)
from alp_coffea.errors import ConfigurationError, suggest
from alp_coffea.events.blinding import check_sideband
from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.execution import load_processor
from alp_coffea.execution.checking import Cost, measure_cost
from alp_coffea.physics.beams import Beams
from alp_coffea.pipeline.job import STAGES, Job, Options, Progress, Stage
from alp_coffea.pipeline.modelling import model
from alp_coffea.pipeline.planning import Plan, plan_job
from alp_coffea.pipeline.processing import process
from alp_coffea.pipeline.reporting import report
from alp_coffea.pipeline.scanning import scan_masses
from alp_coffea.results import Run


def run_analysis(
    analysis: Path | str,
    out: Path | str,
    *,
    stages: Sequence[Stage] = STAGES,
    options: Options | None = None,
    catalogue: Path | str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run the stages of an analysis file into an output folder.

    Parameters
    ----------
    analysis
        Path of the analysis file, or the name of a built-in one (``demo``).
    out
        Output folder, made if missing.
    stages
        Which of ``process``, ``model``, ``scan`` and ``report`` to run, in this order.
    catalogue
        Used instead of the one that the analysis names.

    Raises
    ------
    AlpCoffeaError
        One of the named errors, see ``alp_coffea.errors``.
    """
    path = find_analysis(analysis)
    settings = load_analysis(path)
    samples = _catalogue(settings, catalogue)
    job = Job(path, settings, samples, Path(out), options or Options(), progress)
    job.out.mkdir(parents=True, exist_ok=True)
    if "scan" in stages:
        check_range(job)
    return run_stages(job, stages)


def run_stages(job: Job, stages: Sequence[Stage]) -> Run:
    """Run some stages of a job, in their order."""
    for stage in STAGES:
        if stage in stages:
            with job.timed(stage):
                _STAGES[stage](job)
    return Run(job.out)


def check_range(job: Job) -> None:
    """Refuse a scan beyond the simulated masses before anything is computed."""
    masses = [sample.mass for sample in job.catalogue.of_kind("signal") if sample.mass is not None]
    scan = job.analysis.scan
    if masses and not (min(masses) <= scan.low and scan.high <= max(masses)):
        raise ConfigurationError(
            f"{job.path}: scan from {scan.low:g} to {scan.high:g} GeV, but signal is simulated "
            f"from {min(masses):g} to {max(masses):g} GeV and never extrapolated; change 'low' and "
            "'high' of the scan or add signal samples"
        )


def find_analysis(name: Path | str) -> Path:
    """Path of an analysis file, or of a built-in analysis by its name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = {p.stem: p for p in builtin_folder("analyses").glob("*.yaml")}
    if str(name) not in known:
        raise ConfigurationError(
            f"no built-in analysis '{name}'{suggest(str(name), known)} "
            f"(known: {', '.join(sorted(known))}); give the path of a .yaml file for your own"
        )
    return known[str(name)]


def _catalogue(settings: Analysis, catalogue: Path | str | None) -> Catalogue:
    return load_catalogues(settings.catalogue if catalogue is None else [catalogue])


def plan(
    analysis: Path | str,
    out: Path | str,
    *,
    catalogue: Path | str | None = None,
    options: Options | None = None,
) -> Plan:
    """What :func:`run_analysis` would do with the same arguments; nothing is written.

    Raises
    ------
    AlpCoffeaError
        If the analysis, the catalogue or the processor is wrong; what is wrong with files is in
        the plan.
    """
    path = find_analysis(analysis)
    settings = load_analysis(path)
    samples = _catalogue(settings, catalogue)
    return plan_job(Job(path, settings, samples, Path(out), options or Options(), None))


def check(
    analysis: Path | str, *, catalogue: Path | str | None = None, options: Options | None = None
) -> tuple[list[FileRecord], Cost | None]:
    """Open every file and process one chunk of each kind of sample.

    Returns the files, and what processing costs: None if no file can be used.
    """
    path = find_analysis(analysis)
    settings = load_analysis(path)
    samples = _catalogue(settings, catalogue)
    options = options or Options()
    records = open_catalogue(
        samples, allow_missing=options.allow_missing, limit_files=options.limit_files
    )
    processor = load_processor(
        settings.processor,
        settings.options,
        beams=Beams(**samples.beams.model_dump()),
        base=path.parent,
    )
    check_sideband(settings.blinding, processor)
    if all(record.status == "unusable" for record in records):
        return records, None
    cost = measure_cost(
        processor, records, samples, chunksize=options.chunksize, blinding=settings.blinding
    )
    for record in records:  # a trial is no result
        if record.status != "unusable":
            record.read, record.selected, record.status = 0, None, "pending"
    return records, cost


_STAGES: Final[Mapping[Stage, Callable[[Job], None]]] = {
    "process": process,
    "model": model,
    "scan": scan_masses,
    "report": report,
}
