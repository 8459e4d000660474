"""From files to selected events: canonical schema, catalogues and files, selection bookkeeping.

Everything a processor needs to read events and to account for what it does with them.
"""

from __future__ import annotations

from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.events.schema import AlpSchema
from alp_coffea.events.selection import Cutflow, Selection

__all__ = ["AlpSchema", "Cutflow", "FileRecord", "Selection", "open_catalogue"]
