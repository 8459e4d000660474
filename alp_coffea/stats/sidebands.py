"""A background whose shape is fixed by the sidebands, as in the photon-fusion study (R1 sec. 8.3).

The polynomial is fitted to the window without the bins around the peak; its shape is then held
and only its yield floats beside the signal. The statistical error of the shape is not part of
such a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.workspace import BACKGROUND_BOUND, POI, Point

#: Half-width of what is left out around the peak, in peak widths (R1 sec. 8.3).
SIGNAL_REGION = 3.0


def fix_shapes(
    points: Sequence[Point | ModelError], *, signal_region: float = SIGNAL_REGION
) -> list[Point | ModelError]:
    """Points with one background sample, whose shape their sidebands gave.

    Parameters
    ----------
    points
        With floating polynomials, as from ``scan_points``; those without a model stay.
    signal_region
        Bins whose centre is less than so many peak widths from the hypothesis are left out.

    A point whose sidebands cannot be fitted becomes a ModelError that says why.
    """
    good = [i for i, point in enumerate(points) if isinstance(point, Point)]
    fixed = list(points)
    floating = [point for point in points if isinstance(point, Point)]
    kept = [sideband_bins(point, signal_region) for point in floating]
    if not floating:
        return fixed
    fits = engine.compile(
        [_only(point.workspace, bins) for point, bins in zip(floating, kept, strict=True)], poi=POI
    ).fit(poi=np.zeros(len(floating)))
    for n, (i, point) in enumerate(zip(good, floating, strict=True)):
        if not fits.ok[n]:
            words = engine.status_words(int(fits.status[n]))
            fixed[i] = ModelError(f"mass {point.window.mass:g} GeV: sidebands: {words}")
            continue
        values = dict(zip(fits.names[n], fits.values[n], strict=True))
        fixed[i] = replace(point, workspace=_with_fixed_shape(point.workspace, values))
    return fixed


def sideband_bins(point: Point, signal_region: float = SIGNAL_REGION) -> NDArray[np.bool_]:
    """Which bins of a point's window are sidebands, shape (nbins,)."""
    edges, mass = point.window.edges, point.window.mass
    centre = (edges[1:] + edges[:-1]) / 2
    sigma = 2 * mass * point.width
    return np.asarray(np.abs(centre - mass**2) >= signal_region * sigma)


def _only(workspace: dict[str, Any], bins: NDArray[np.bool_]) -> dict[str, Any]:
    """The background of a workspace in some of its bins; the signal is kept without nuisances."""
    (channel,) = workspace["channels"]
    samples = [
        {
            **sample,
            "data": np.asarray(sample["data"])[bins],
            "modifiers": [m for m in sample["modifiers"] if m["type"] == "normfactor"],
        }
        for sample in channel["samples"]
    ]
    data = np.asarray(workspace["observations"][0]["data"])[bins]
    return {
        **workspace,
        "channels": [{**channel, "samples": samples}],
        "observations": [{**workspace["observations"][0], "data": data}],
    }


def _with_fixed_shape(workspace: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    (channel,) = workspace["channels"]
    signal, *polynomials = channel["samples"]
    # rounding may leave a bin of a polynomial with a root there below zero
    shape = np.maximum(sum(values[p["name"]] * np.asarray(p["data"]) for p in polynomials), 0.0)
    name = "background"
    background = {
        "name": name,
        "data": shape,
        "modifiers": [{"name": name, "type": "normfactor", "data": None}],
    }
    (measurement,) = workspace["measurements"]
    (poi,) = (p for p in measurement["config"]["parameters"] if p["name"] == POI)
    bound = {"name": name, "inits": [1.0], "bounds": [[0.0, BACKGROUND_BOUND]]}
    config = {**measurement["config"], "parameters": [poi, bound]}
    return {
        **workspace,
        "channels": [{**channel, "samples": [signal, background]}],
        "measurements": [{**measurement, "config": config}],
    }
