"""Histograms to limits."""

from __future__ import annotations
