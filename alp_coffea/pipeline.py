"""The stages of an analysis, each from files to files.

``process`` turns ntuples into histograms, ``model`` fits the signal, ``scan`` sets limits and
``report`` draws. Each reads what the earlier ones left in the output folder, so that any of them
can be repeated on its own.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import alp_coffea
from alp_coffea.builtin import builtin_folder
from alp_coffea.config import (
    Analysis,
    Blinding,
    Catalogue,
    Nuisances,
    load_analysis,
    load_catalogues,
)
from alp_coffea.errors import ConfigurationError, InputError, suggest
from alp_coffea.events.accounting import account, without_home
from alp_coffea.events.blinding import check_sideband, hides_signal_region, luminosity_fraction
from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.events.ledger import IdentityCheck, check_identities
from alp_coffea.events.skims import write_index
from alp_coffea.execution import Cluster, Status, load_processor, process_files
from alp_coffea.execution.checking import Cost, measure_cost
from alp_coffea.execution.running import ExecutorName
from alp_coffea.figures import write_figures
from alp_coffea.files import write_json
from alp_coffea.physics.beams import Beams
from alp_coffea.report import write_report
from alp_coffea.results import Run, save_workspaces, workspace_name
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.crossing import expected_crossing
from alp_coffea.stats.injection import Injection, inject
from alp_coffea.stats.published import published_limits
from alp_coffea.stats.scan import scan
from alp_coffea.stats.signal import SignalSample, fit_signal
from alp_coffea.stats.systematics import Systematics, measure
from alp_coffea.storage import save_cutflows, save_histograms

Stage = Literal["process", "model", "scan", "report"]
STAGES: Final[tuple[Stage, ...]] = ("process", "model", "scan", "report")


class Progress(Protocol):
    """What is told how far a run is, such as ``alp_coffea.execution.progress.display``."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` of a stage is done."""

    def processing(self, status: Status) -> None:
        """The same in more detail, while files are processed."""


#: The recoil mass means nothing for light ALPs: R0 fits it from here on [GeV] (sec. 7.2.1).
LOWEST_RECOIL_MASS: Final = 3.0


@dataclass(frozen=True)
class Options:
    """How an analysis is run, apart from what it computes."""

    executor: ExecutorName = "iterative"
    workers: int | None = None
    chunksize: int = 250_000
    limit_files: int | None = None
    limit_chunks: int | None = None
    allow_missing: bool = False
    unblind: bool = False
    fresh: bool = False
    cluster: Cluster | None = None
    #: Signals added to the data before the scan, such as ``mass=3.0,sigma=0.5`` (GeV, pb).
    inject: tuple[str, ...] = ()
    seed: int = 0
    command: str = ""


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
    job = _Job(path, settings, samples, Path(out), options or Options(), progress)
    job.out.mkdir(parents=True, exist_ok=True)
    if "scan" in stages:
        _check_range(job)
    for stage in STAGES:
        if stage in stages:
            with job.timed(stage):
                _STAGES[stage](job)
    return Run(job.out)


def _check_range(job: _Job) -> None:
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


@dataclass
class _Job:
    """What the stages of one run share."""

    path: Path
    analysis: Analysis
    catalogue: Catalogue
    out: Path
    options: Options
    progress: Progress | None
    identities: IdentityCheck | None = None

    @property
    def beams(self) -> Beams:
        return Beams(**self.catalogue.beams.model_dump())

    def report(self, stage: str) -> Callable[[int, int], None]:
        """Progress callback of one stage."""

        def update(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(stage, done, total)

        return update

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Record when a stage ran in the manifest."""
        start = _now()
        yield
        manifest = json.loads((self.out / "manifest.json").read_text("utf-8"))
        manifest["stages"][stage] = {
            "start": start,
            "end": _now(),
            "command": self.options.command,
            "configuration_hash": _hash(self.analysis.model_dump(mode="json")),
            "injected": list(self.options.inject) if stage == "scan" else [],
        }
        # what the newest stage used: earlier ones that depend on it are refused when it differs
        manifest["configuration"]["analysis"] = self.analysis.model_dump(mode="json")
        manifest["configuration_hash"] = _hash(self.analysis.model_dump(mode="json"))
        manifest["complete"] = manifest["input_complete"] and all(
            done in manifest["stages"] for done in STAGES
        )
        write_json(without_home(manifest), self.out / "manifest.json")

    @property
    def blinding(self) -> Blinding:
        """What may be seen of data, after the option that unblinds."""
        return Blinding() if self.options.unblind else self.analysis.blinding

    @property
    def fingerprint(self) -> str:
        """Hash of everything the histograms depend on, except the files' contents."""
        return _hash(
            {
                "catalogue": self.catalogue.model_dump(mode="json"),
                "processor": self.analysis.processor,
                "options": self.analysis.options,
                "limits": [self.options.limit_files, self.options.limit_chunks],
                "blinding": self.blinding.model_dump(mode="json"),
                "luminosity": self.analysis.luminosity,
            }
        )


def plan(
    analysis: Path | str, *, catalogue: Path | str | None = None, options: Options | None = None
) -> list[FileRecord]:
    """Open every input file of an analysis without processing anything."""
    settings = load_analysis(find_analysis(analysis))
    options = options or Options()
    return open_catalogue(
        _catalogue(settings, catalogue),
        allow_missing=options.allow_missing,
        limit_files=options.limit_files,
    )


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
    records = plan(analysis, catalogue=catalogue, options=options)
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


# --- process -------------------------------------------------------------------------------------


def _process(job: _Job) -> None:
    options = job.options
    for sample in job.catalogue.samples:
        if sample.simulate is not None:
            raise ConfigurationError(
                f"catalogue of {job.path}: sample '{sample.name}' is described, not made yet; run "
                "'alp-coffea simulate CATALOGUE -o FOLDER' and use FOLDER/catalogue.yaml"
            )
    processor = load_processor(
        job.analysis.processor, job.analysis.options, beams=job.beams, base=job.path.parent
    )
    check_sideband(job.blinding, processor)
    records = open_catalogue(
        job.catalogue,
        allow_missing=options.allow_missing,
        limit_files=options.limit_files,
        cache=job.out / "cache",
        workers=options.workers or os.cpu_count() or 1,
        progress=job.report("convert"),
    )
    job.identities = check_identities(
        records, job.catalogue.samples, allow_missing=options.allow_missing
    )
    if job.blinding.policy == "full":
        data = {sample.name for sample in job.catalogue.of_kind("data")}
        for record in records:
            if record.sample in data and record.status == "pending":
                record.status, record.reason = "blinded", "data are fully blinded"
    # written first, so that an interrupted run says what it was
    _write_manifest(job, records)
    try:
        output = process_files(
            processor,
            [record for record in records if record.status != "blinded"],
            job.catalogue,
            blinding=job.blinding,
            executor=options.cluster or options.executor,
            workers=options.workers,
            chunksize=options.chunksize,
            limit_chunks=options.limit_chunks,
            checkpoints=job.out / "checkpoints",
            fresh=options.fresh,
            allow_missing=options.allow_missing,
            progress=None if job.progress is None else job.progress.processing,
        )
    finally:
        _write_manifest(job, records)
    histograms = {
        f"{sample}/{name}": histogram
        for sample, part in output.items()
        for name, histogram in part["histograms"].items()
    }
    save_histograms(histograms, job.out / "histograms.zip")
    save_cutflows({sample: part["cutflow"] for sample, part in output.items()}, job.out)
    if (skim := getattr(processor, "skim", None)) is not None:
        write_index(skim.folder, [line for part in output.values() for line in part["skim"]])
    _write_manifest(job, records, {s: part.get("counts", {}) for s, part in output.items()})


def _write_manifest(
    job: _Job, records: Sequence[FileRecord], counts: Mapping[str, Any] | None = None
) -> None:
    manifest = {
        "format": "alp_coffea manifest 1",
        "alp_coffea": alp_coffea.__version__,
        "analysis": job.path.name,
        "title": job.analysis.title,
        "configuration": {
            "analysis": job.analysis.model_dump(mode="json"),
            "catalogue": job.catalogue.model_dump(mode="json"),
        },
        "configuration_hash": _hash(job.analysis.model_dump(mode="json")),
        "process_hash": job.fingerprint,
        "command": job.options.command,
        "host": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
        },
        "libraries": _versions(),
        "executor": {
            "name": "dask" if job.options.cluster else job.options.executor,
            "workers": job.options.workers,
            "chunksize": job.options.chunksize,
        },
        "synthetic": any(sample.synthetic for sample in job.catalogue.samples),
        **account(
            job.catalogue,
            records,
            job.blinding,
            projected=job.analysis.luminosity,
            sqrt_s=job.beams.sqrt_s,
        ),
        "blinding": {
            **job.blinding.model_dump(mode="json"),
            "unblinded": job.options.unblind,
            "luminosity_fraction": luminosity_fraction(job.blinding),
        },
        "counts": counts or {},
        "identities": job.identities and job.identities.to_json(),
        "stages": {},
        "complete": False,
    }
    write_json(without_home(manifest), job.out / "manifest.json")


# --- model ---------------------------------------------------------------------------------------


def _model(job: _Job) -> None:
    run = _processed(job)
    samples = _signal_samples(run)
    if not samples:
        raise ConfigurationError(f"{job.path}: the catalogue has no signal sample to model")
    model = fit_signal(
        samples,
        sqrt_s=job.beams.sqrt_s,
        definitions={"diphoton": 0.0, "recoil": LOWEST_RECOIL_MASS},
        progress=job.report("model"),
    )
    model.save(job.out / "signal_model.json")


def _signal_samples(run: Run) -> list[SignalSample]:
    """One sample per mass; those of several campaigns added, each scaled to its data."""
    rows: dict[float, list[dict[str, Any]]] = {}
    for row in run.samples.values():
        if row["kind"] == "signal" and row["covered_luminosity"]:
            rows.setdefault(row["mass"], []).append(row)
    samples: list[SignalSample] = []
    for mass, alike in rows.items():
        histograms = [run.histograms[f"{row['name']}/mass"] for row in alike]
        luminosity = alike[0]["covered_luminosity"]
        if len(alike) > 1 or alike[0]["campaign"]:
            names = ", ".join(row["name"] for row in alike)
            if len({row["coupling"] for row in alike}) > 1:
                raise ConfigurationError(f"signal samples {names} have different couplings")
            campaigns = sorted(row["campaign"] for row in alike)
            if campaigns != sorted(run.manifest["campaigns"]):
                raise ConfigurationError(
                    f"signal samples {names} at {mass:g} GeV: every campaign with data "
                    f"({', '.join(run.manifest['campaigns'])}) needs exactly one"
                )
            histograms = [h * row["scale"] for h, row in zip(histograms, alike, strict=True)]
            luminosity = run.luminosity
        samples.append(
            SignalSample(mass, alike[0]["coupling"], luminosity, sum(histograms[1:], histograms[0]))
        )
    return samples


def _processed(job: _Job) -> Run:
    """The output folder, after checking that its histograms belong to this configuration."""
    run = Run(job.out)
    if run.manifest["process_hash"] != job.fingerprint:
        raise InputError(
            f"{job.out}: the histograms were made with another catalogue, processor or options; "
            "run the 'process' stage again or choose another output folder"
        )
    return run


# --- scan ----------------------------------------------------------------------------------------


def _scan(job: _Job) -> None:
    run = _processed(job)
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
        synthetic=run.manifest["synthetic"],
        blinded=blinded,
        progress=job.report("scan"),
    )
    if background is not None:
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


# --- report --------------------------------------------------------------------------------------


def _report(job: _Job) -> None:
    run = _processed(job)
    published = [
        (Path(path).stem, *published_limits(path)) for path in job.analysis.published_limits
    ]
    figures = write_figures(
        job.out,
        job.analysis.scan,
        published,
        workers=job.options.workers or os.cpu_count() or 1,
        progress=job.report("report"),
    )
    scanned = (job.out / "scan.json").exists()
    modelled = (job.out / "signal_model.json").exists()
    write_report(
        job.out / "report.html",
        manifest=run.manifest,
        cutflows=run.cutflow,
        scan=run.scan if scanned else None,
        windows=run.window_fits() if scanned else [],
        figures=figures,
        published=published,
        model=run.signal_model if modelled else None,
    )


# --- shared --------------------------------------------------------------------------------------


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    names = ("awkward", "coffea", "hist", "iminuit", "numba", "numpy", "pyhf", "scipy", "uproot")
    return {name: importlib.metadata.version(name) for name in names}


_STAGES: Final[Mapping[Stage, Callable[[_Job], None]]] = {
    "process": _process,
    "model": _model,
    "scan": _scan,
    "report": _report,
}
