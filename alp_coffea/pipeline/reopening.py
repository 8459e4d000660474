"""Stages on an output folder alone: its manifest says with which configuration it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alp_coffea.config import Analysis, Catalogue
from alp_coffea.errors import ConfigurationError, InputError
from alp_coffea.pipeline.analysis import check_range, run_stages
from alp_coffea.pipeline.job import Job, Options, Progress, Stage
from alp_coffea.results import Run, load


class ReopenedJob(Job):
    """A job whose histograms are those in the folder, whatever made them."""

    @property
    def fingerprint(self) -> str:
        """That of the histograms in the folder."""
        return str(Run(self.out).manifest["process_hash"])


def run_again(
    out: Path | str,
    stages: Sequence[Stage],
    *,
    scan: Mapping[str, Any] | None = None,
    signal: Mapping[str, Any] | None = None,
    published: Sequence[str] = (),
    options: Options | None = None,
    progress: Progress | None = None,
) -> Run:
    """Repeat stages after ``process`` in an output folder.

    Parameters
    ----------
    out
        Folder of an earlier run. Data that were hidden when it was made stay hidden.
    stages
        Of ``model``, ``scan`` and ``report``.
    scan, signal
        Settings that replace those of the earlier run, by name as in an analysis file.
    published
        Files with limits of others, beside those of the earlier run.

    Raises
    ------
    InputError
        If the folder holds no processed histograms.
    ConfigurationError
        For settings that do not exist or have no such value.
    """
    if "process" in stages:
        raise InputError("ntuples are processed by 'alp-coffea run', which knows where they are")
    job = reopen(out, scan=scan, signal=signal, published=published)
    job.options = replace(options or Options(), unblind=job.options.unblind)
    job.progress = progress
    if "scan" in stages:
        check_range(job)
    return run_stages(job, stages)


def reopen(
    out: Path | str,
    *,
    scan: Mapping[str, Any] | None = None,
    signal: Mapping[str, Any] | None = None,
    published: Sequence[str] = (),
) -> ReopenedJob:
    """The job that made an output folder, with changed settings; see :func:`run_again`."""
    run = load(out)
    configuration = run.manifest["configuration"]
    settings = dict(configuration["analysis"])
    for name, changes in (("scan", scan), ("signal", signal)):
        settings[name] = {**settings.get(name, {}), **(changes or {})}
    settings["published_limits"] = [
        *(str(Path(path).expanduser()) for path in settings["published_limits"]),
        *published,
    ]
    theory = settings.get("theory")
    if isinstance(theory, dict):
        settings["theory"] = {**theory, "table": str(Path(theory["table"]).expanduser())}
    return ReopenedJob(
        run.folder / "manifest.json",
        _validated(settings, run.folder),
        Catalogue.model_validate(configuration["catalogue"]),
        run.folder,
        Options(unblind=run.manifest["blinding"]["unblinded"]),
        None,
    )


def _validated(settings: Mapping[str, Any], folder: Path) -> Analysis:
    try:
        return Analysis.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{folder}: {where}: {first['msg']}") from error
