"""From files to selected events."""

from __future__ import annotations
