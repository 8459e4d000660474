"""Drawing onto axes."""

from __future__ import annotations
