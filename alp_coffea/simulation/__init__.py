"""The embedded Monte Carlo: processes at leading order, detector response, ntuple writer.

Everything it makes is synthetic and labelled so. Event ``i`` of a seed is the same whatever the
batching. ``docs/simulation.md`` has the formulas, their validity and the comparisons.
"""

from __future__ import annotations

from alp_coffea.simulation.catalogue import simulate
from alp_coffea.simulation.generator import (
    PROCESSES,
    GeneratedEvents,
    cross_section,
    generate,
    generation_cuts,
)
from alp_coffea.simulation.lhe import LheEvents, read_lhe
from alp_coffea.simulation.samples import SampleRecord, write_lhe_sample, write_sample
from alp_coffea.simulation.settings import Detector

__all__ = [
    "PROCESSES",
    "Detector",
    "GeneratedEvents",
    "LheEvents",
    "SampleRecord",
    "cross_section",
    "generate",
    "generation_cuts",
    "read_lhe",
    "simulate",
    "write_lhe_sample",
    "write_sample",
]
