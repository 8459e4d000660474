"""From e+e- collider ntuples to axion-like-particle exclusion limits."""

from __future__ import annotations

__version__ = "0.1.0"
