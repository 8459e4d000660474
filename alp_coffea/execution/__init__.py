"""Doing it at scale."""

from __future__ import annotations
