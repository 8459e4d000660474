"""From results to figures and the report."""

from __future__ import annotations

import os

from alp_coffea.figures import write_figures
from alp_coffea.pipeline.job import Job
from alp_coffea.report import write_report
from alp_coffea.stats.published import published_curves


def report(job: Job) -> None:
    run = job.processed()
    published = published_curves(job.analysis.published_limits)
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
