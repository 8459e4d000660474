"""From files to selected events: canonical schema, catalogues and files, selection bookkeeping.

Everything a processor needs to read events and to account for what it does with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alp_coffea.events.datasets import FileRecord, open_catalogue
    from alp_coffea.events.schema import AlpSchema
    from alp_coffea.events.selection import Cutflow, Selection

__all__ = ["AlpSchema", "Cutflow", "FileRecord", "Selection", "open_catalogue"]

_MODULES = {
    "AlpSchema": "schema",
    "Cutflow": "selection",
    "FileRecord": "datasets",
    "Selection": "selection",
    "open_catalogue": "datasets",
}


def __getattr__(name: str) -> Any:
    """Import public names when first used: a look into a file needs neither coffea nor numba."""
    if name not in _MODULES:
        raise AttributeError(f"module 'alp_coffea.events' has no attribute '{name}'")
    return getattr(importlib.import_module(f"alp_coffea.events.{_MODULES[name]}"), name)
