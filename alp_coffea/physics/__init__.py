"""Formulas on arrays, no I/O: beams, ALP theory and kinematics in natural units (GeV, rad)."""

from __future__ import annotations

from alp_coffea.physics import kinematics, theory
from alp_coffea.physics.beams import SUPERKEKB, Beams

__all__ = ["SUPERKEKB", "Beams", "kinematics", "theory"]
