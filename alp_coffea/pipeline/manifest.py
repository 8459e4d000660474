"""The manifest: what ran, with which configuration, on which files."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import alp_coffea
from alp_coffea.events.accounting import account, without_home
from alp_coffea.events.blinding import luminosity_fraction
from alp_coffea.events.datasets import FileRecord
from alp_coffea.files import write_json
from alp_coffea.pipeline.job import Job, content_hash


def write_manifest(
    job: Job, records: Sequence[FileRecord], counts: Mapping[str, Any] | None = None
) -> None:
    """Write ``manifest.json`` of a run: its configuration, files and what became of them."""
    manifest = {
        "format": "alp_coffea manifest 1",
        "alp_coffea": alp_coffea.__version__,
        "analysis": job.path.name,
        "title": job.analysis.title,
        "configuration": {
            "analysis": job.analysis.model_dump(mode="json"),
            "catalogue": job.catalogue.model_dump(mode="json"),
        },
        "configuration_hash": content_hash(job.analysis.model_dump(mode="json")),
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
        **account_for(job, records),
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


def account_for(job: Job, records: Sequence[FileRecord]) -> dict[str, Any]:
    """The part of the manifest that says what was read, see ``account``."""
    return account(
        job.catalogue,
        records,
        job.blinding,
        projected=job.analysis.luminosity,
        production=job.production,
    )


def _versions() -> dict[str, str]:
    names = ("awkward", "coffea", "hist", "iminuit", "numba", "numpy", "pyhf", "scipy", "uproot")
    return {name: importlib.metadata.version(name) for name in names}
