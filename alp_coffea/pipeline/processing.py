"""From ntuples to histograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from alp_coffea.errors import ConfigurationError
from alp_coffea.events.blinding import check_sideband
from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.events.file_entries import complete_counts, write_file_entries
from alp_coffea.events.ledger import check_identities, runs_in
from alp_coffea.events.luminosity import require_counts
from alp_coffea.events.skims import write_index
from alp_coffea.execution import load_processor, mapping, process_files
from alp_coffea.execution.engines import Engine
from alp_coffea.execution.running import open_engine
from alp_coffea.pipeline.job import Job
from alp_coffea.pipeline.manifest import write_manifest
from alp_coffea.storage import save_cutflows, save_histograms


def process(job: Job) -> None:
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
    with ExitStack() as stack:
        engines: list[Engine] = []

        def for_each(
            function: Callable[[Any], Any], arguments: Sequence[Any]
        ) -> Iterator[tuple[int, Any]]:
            if not engines:  # started when there is a file to convert
                chosen = open_engine(options.cluster or options.executor, options.workers)
                engines.append(stack.enter_context(chosen))
            return mapping.for_each(engines[0], function, arguments)

        records = open_catalogue(
            job.catalogue,
            allow_missing=options.allow_missing,
            limit_files=options.limit_files,
            cache=job.out / "cache",
            for_each=for_each,
            progress=job.report("convert"),
        )
        records = _count(job, records)
        require_counts(records, job.catalogue.samples, estimate=options.estimate_missing)
        # written first, so that an interrupted run says what it was
        write_manifest(job, records)
        try:
            output = process_files(
                processor,
                [record for record in records if record.status not in ("blinded", "left_out")],
                job.catalogue,
                blinding=job.blinding,
                executor=engines[0] if engines else options.cluster or options.executor,
                workers=options.workers,
                chunksize=options.chunksize,
                limit_chunks=options.limit_chunks,
                checkpoints=job.out / "checkpoints",
                fresh=options.fresh,
                allow_missing=options.allow_missing,
                progress=None if job.progress is None else job.progress.processing,
            )
        finally:
            write_manifest(job, records)
    _attribute_losses(job, records)
    histograms = {
        f"{sample}/{name}": histogram
        for sample, part in output.items()
        for name, histogram in part["histograms"].items()
    }
    save_histograms(histograms, job.out / "histograms.zip")
    save_cutflows({sample: part["cutflow"] for sample, part in output.items()}, job.out)
    if (skim := getattr(processor, "skim", None)) is not None:
        lines = [line for part in output.values() for line in part["skim"]]
        write_index(skim.folder, lines, getattr(processor, "features", None))
    write_manifest(job, records, {s: part.get("counts", {}) for s, part in output.items()})


def _count(job: Job, records: Sequence[FileRecord]) -> list[FileRecord]:
    """Read the identities of all events, and find out what lost files had."""
    allow_missing, samples = job.options.allow_missing, job.catalogue.samples
    job.identities = check_identities(records, samples, allow_missing=allow_missing)
    counts = job.out / "file_entries.csv"
    counted = complete_counts(records, samples, earlier=counts, allow_missing=allow_missing)
    write_file_entries(counted, samples, counts)
    if job.blinding.policy == "full":
        data = {sample.name for sample in job.catalogue.of_kind("data")}
        for record in counted:
            if record.sample in data and record.status == "pending":
                record.status, record.reason = "blinded", "data are fully blinded"
    return counted


def _attribute_losses(job: Job, records: Sequence[FileRecord]) -> None:
    """Find out to which runs the entries belong that were not read."""
    by_run = {s.name for s in job.catalogue.samples if s.luminosity_table is not None}
    for record in records:
        if record.sample in by_run and record.unread and record.runs:
            record.unread_runs = runs_in(record, record.unread)
