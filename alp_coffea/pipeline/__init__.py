"""The stages of an analysis, each from files to files.

``process`` turns ntuples into histograms, ``model`` fits the signal, ``scan`` sets limits and
``report`` draws. Each reads what the earlier ones left in the output folder, so that any of them
can be repeated on its own.
"""

from __future__ import annotations

from alp_coffea.pipeline.analysis import check, find_analysis, plan, run_analysis
from alp_coffea.pipeline.job import STAGES, Options, Progress, Stage
from alp_coffea.pipeline.planning import Plan

__all__ = [
    "STAGES",
    "Options",
    "Plan",
    "Progress",
    "Stage",
    "check",
    "find_analysis",
    "plan",
    "run_analysis",
]
