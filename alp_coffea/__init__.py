"""From e+e- collider ntuples to axion-like-particle exclusion limits."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from alp_coffea import plots
    from alp_coffea.physics import theory
    from alp_coffea.physics.beams import Beams
    from alp_coffea.pipeline import run_analysis
    from alp_coffea.pipeline.direct import open_events, process
    from alp_coffea.results import Run, load
    from alp_coffea.stats.scan import ScanResult, scan

#: Public name -> (module, attribute of it); the module itself when there is no attribute.
_LAZY = {
    "Beams": ("alp_coffea.physics.beams", "Beams"),
    "Run": ("alp_coffea.results", "Run"),
    "ScanResult": ("alp_coffea.stats.scan", "ScanResult"),
    "load": ("alp_coffea.results", "load"),
    "open_events": ("alp_coffea.pipeline.direct", "open_events"),
    "plots": ("alp_coffea.plots", None),
    "process": ("alp_coffea.pipeline.direct", "process"),
    "run_analysis": ("alp_coffea.pipeline", "run_analysis"),
    "scan": ("alp_coffea.stats.scan", "scan"),
    "theory": ("alp_coffea.physics.theory", None),
}

__all__ = [
    "Beams",
    "Run",
    "ScanResult",
    "__version__",
    "load",
    "open_events",
    "plots",
    "process",
    "run_analysis",
    "scan",
    "theory",
]


def __getattr__(name: str) -> Any:
    """Import public names when first used: nothing heavy is imported with the package."""
    if name not in _LAZY:
        raise AttributeError(f"module 'alp_coffea' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    imported = importlib.import_module(module)
    return imported if attribute is None else getattr(imported, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
