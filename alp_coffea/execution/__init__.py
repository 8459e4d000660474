"""Doing it at scale: a processor over every entry of every file, each exactly once.

:func:`process_files` cuts files into chunks, runs a processor on them with coffea's Runner on
one of several engines, keeps what is finished on disk, and accounts for every entry in the ledger.
"""

from __future__ import annotations

from alp_coffea.execution.clusters import Cluster
from alp_coffea.execution.processors import load_processor
from alp_coffea.execution.progress import Status
from alp_coffea.execution.running import EXECUTORS, process_files

__all__ = ["EXECUTORS", "Cluster", "Status", "load_processor", "process_files"]
