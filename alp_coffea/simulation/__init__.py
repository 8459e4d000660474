"""The embedded Monte Carlo."""

from __future__ import annotations
