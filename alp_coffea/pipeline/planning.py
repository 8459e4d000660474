"""What a run would do: files, luminosities, branches, and what is already computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from alp_coffea.errors import AlpCoffeaError, InputError
from alp_coffea.events.blinding import check_sideband
from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.events.file_entries import complete_counts
from alp_coffea.events.ledger import check_identities
from alp_coffea.events.luminosity import require_counts
from alp_coffea.execution import load_processor
from alp_coffea.execution.survey import Finished, missing_fields, survey_checkpoints
from alp_coffea.pipeline.job import Job
from alp_coffea.pipeline.manifest import account_for


@dataclass(frozen=True)
class Plan:
    """What a run would do, if nothing else is lost.

    Attributes
    ----------
    records
        The files, sorted by sample; ``unusable`` ones have their reason.
    luminosity
        That yields and limits would refer to [1/pb].
    samples
        Rows as in the manifest: luminosity of each sample, what is covered, and the scale.
    finished
        Checkpoints by path, for files that would be read.
    lacking
        What is wrong with the branches of files, by path.
    problem
        Why the run would stop before it reads anything, apart from ``lacking``.
    """

    records: tuple[FileRecord, ...]
    luminosity: float
    samples: tuple[Mapping[str, Any], ...]
    finished: Mapping[str, Finished]
    lacking: Mapping[str, InputError]
    problem: AlpCoffeaError | None

    @property
    def ready(self) -> bool:
        """Whether a run would read everything."""
        usable = all(record.status != "unusable" for record in self.records)
        return usable and not self.lacking and self.problem is None


def plan_job(job: Job) -> Plan:
    """Open every input file of a job, processing and converting nothing.

    Identities of events are read only where luminosity is known by run.

    Raises
    ------
    AlpCoffeaError
        If the catalogue, the processor or its options are wrong. Files that are: see the plan.
    """
    processor = load_processor(
        job.analysis.processor, job.analysis.options, beams=job.beams, base=job.path.parent
    )
    check_sideband(job.blinding, processor)
    options, samples = job.options, job.catalogue.samples
    records = open_catalogue(
        job.catalogue,
        allow_missing=True,
        limit_files=options.limit_files,
        cache=job.out / "cache",
        convert=False,
    )
    by_run = [sample for sample in samples if sample.luminosity_table is not None]
    names = {sample.name for sample in by_run}
    problem: AlpCoffeaError | None = None
    try:
        check_identities(
            # what is still to be converted has told its runs
            [r for r in records if r.sample in names and not r.reason],
            by_run,
            allow_missing=options.allow_missing,
        )
        earlier = job.out / "file_entries.csv"
        records = complete_counts(records, samples, earlier=earlier, allow_missing=True)
        require_counts(records, samples, estimate=options.estimate_missing)
    except AlpCoffeaError as error:
        problem = error
    pending = [record for record in records if record.status == "pending"]
    # the luminosity of a run that reads all it can
    wholly = [replace(r, read=r.expected if r.status == "pending" else 0) for r in records]
    account = account_for(job, wholly)
    return Plan(
        records=tuple(records),
        luminosity=account["luminosity"],
        samples=tuple(account["samples"]),
        finished=survey_checkpoints(
            processor, pending, job.catalogue, job.out / "checkpoints", blinding=job.blinding
        ),
        lacking=missing_fields(processor, pending, job.catalogue),
        problem=problem,
    )
