"""The spurious signal as a nuisance: what the background's polynomial takes for a signal.

Beside the signal that the cross section scales, the model gets a second one of the same shape,
whose size is a Gaussian-constrained parameter around zero. One standard deviation of it is the
signal that the same model finds in the simulated background: an uncertainty that adds to the
yield of the signal, as recommended in ATL-PHYS-PUB-2020-028.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alp_coffea.errors import ModelError
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.studies import signal_template, spurious_signal
from alp_coffea.stats.workspace import SPURIOUS, Point


def with_spurious(
    points: Sequence[Point | ModelError], expected: Spectra
) -> list[Point | ModelError]:
    """Points with their own spurious signal as a nuisance.

    Parameters
    ----------
    points
        Models without it; those that could not be built stay.
    expected
        Expected background at the data's luminosity.

    A point whose fit to the expected background fails becomes a ModelError that says why.
    """
    templates = [
        point.window.counts(expected[point.window.definition, point.window.energy_set])
        if isinstance(point, Point)
        else None
        for point in points
    ]
    found = spurious_signal(points, templates)
    added: list[Point | ModelError] = []
    for point, sigma, status in zip(points, found.sigma, found.status, strict=True):
        if isinstance(point, ModelError):
            added.append(point)
        elif np.isfinite(sigma):
            added.append(replace(point, workspace=_with(point, abs(float(sigma)))))
        else:
            mass = point.window.mass
            added.append(ModelError(f"mass {mass:g} GeV: spurious signal: {status}"))
    return added


def _with(point: Point, sigma: float) -> dict[str, Any]:
    """The workspace with a spurious signal of ``sigma`` [pb] at one standard deviation."""
    size = sigma / point.unit * signal_template(point)
    data = {"lo_data": -size, "hi_data": size}
    sample = {
        "name": SPURIOUS,
        "data": np.zeros_like(size),
        "modifiers": [{"name": SPURIOUS, "type": "histosys", "data": data}],
    }
    (channel,) = point.workspace["channels"]
    channels = [{**channel, "samples": [*channel["samples"], sample]}]
    return {**point.workspace, "channels": channels}
