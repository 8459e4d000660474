"""Which dask workers to use. Light to import: connecting is in ``dask_engine``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

ClusterName = Literal["slurm", "htcondor", "lsf", "pbs"]
#: Classes of dask-jobqueue by the name of the batch system.
CLUSTERS: Final[Mapping[ClusterName, str]] = {
    "slurm": "SLURMCluster",
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "pbs": "PBSCluster",
}


@dataclass(frozen=True)
class Cluster:
    """Which dask workers to use; by default our own on this machine.

    ``scheduler`` is the address of a running one, with ``tls`` (``ca``, ``cert``, ``key``: file
    names) for a secure one. ``batch`` starts workers as jobs, with the options of dask-jobqueue's
    own configuration, and adapts their number to the work, up to ``workers`` of them.
    """

    workers: int | None = None
    scheduler: str | None = None
    batch: ClusterName | None = None
    tls: Mapping[str, str] = field(default_factory=dict)
