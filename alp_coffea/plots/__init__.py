"""Drawing results: nothing is computed here that is not needed to draw it.

Functions come in three tiers. ``limits``, ``window`` and friends take a result and return a
finished figure; ``draw_...`` functions take arrays, draw onto axes that the caller owns and return
the artists; :func:`save` is the only one that writes files. No global state of matplotlib is
touched: no pyplot, no style left behind.

    >>> import numpy as np
    >>> from alp_coffea import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    >>> points = plots.draw_points(ax, np.array([0.0, 1.0, 2.0]), np.array([4.0, 9.0]))
    >>> plots.save(figure, "out", "example")  # doctest: +SKIP
"""

from __future__ import annotations

from alp_coffea.plots.efficiencies import efficiency_steps
from alp_coffea.plots.fits import draw_points, draw_pulls, draw_window, peak, window
from alp_coffea.plots.limits import (
    Overlay,
    draw_bands,
    draw_significance,
    limits,
    significance,
)
from alp_coffea.plots.optimisation import cut_scan
from alp_coffea.plots.signal import crossings, efficiency, interpolation, resolution
from alp_coffea.plots.spectra import cutflow, draw_stack, masses, plane, variable
from alp_coffea.plots.studies import pulls, regimes, speeds
from alp_coffea.plots.style import new_figure, save, style

__all__ = [
    "Overlay",
    "crossings",
    "cut_scan",
    "cutflow",
    "draw_bands",
    "draw_points",
    "draw_pulls",
    "draw_significance",
    "draw_stack",
    "draw_window",
    "efficiency",
    "efficiency_steps",
    "interpolation",
    "limits",
    "masses",
    "new_figure",
    "peak",
    "plane",
    "pulls",
    "regimes",
    "resolution",
    "save",
    "significance",
    "speeds",
    "style",
    "variable",
    "window",
]
