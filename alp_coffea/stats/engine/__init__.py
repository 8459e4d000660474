"""Fits and limits of many HistFactory models at once.

``compile`` turns pyhf workspaces into arrays, grouped by structure; the methods of the object it
returns fit all of them together. See docs/engine.md for the method and what the numbers mean.

Example:
    >>> from alp_coffea.stats import engine
    >>> signal = {"name": "signal", "data": [5.0], "modifiers": [
    ...     {"name": "mu", "type": "normfactor", "data": None}]}
    >>> background = {"name": "background", "data": [50.0], "modifiers": []}
    >>> workspace = {
    ...     "channels": [{"name": "count", "samples": [signal, background]}],
    ...     "observations": [{"name": "count", "data": [52.0]}],
    ...     "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    ...     "version": "1.0.0"}
    >>> limits = engine.compile(workspace, poi="mu").limits(level=0.95)
    >>> round(float(limits.observed[0]), 3), round(float(limits.expected[0, 2]), 3)
    (3.346, 3.034)
"""

from __future__ import annotations

from alp_coffea.stats.engine.models import Engine, compile  # noqa: A004
from alp_coffea.stats.engine.results import (
    CheckReport,
    DiscoveryResult,
    EngineScan,
    FitResult,
    LimitResult,
    Status,
    ToyResult,
    status_words,
)

__all__ = [
    "CheckReport",
    "DiscoveryResult",
    "Engine",
    "EngineScan",
    "FitResult",
    "LimitResult",
    "Status",
    "ToyResult",
    "compile",
    "status_words",
]
