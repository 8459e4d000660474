"""What is known of simulated signal events before any selection."""

from __future__ import annotations

import awkward as ak
import hist
import numpy as np
from numpy.typing import NDArray

from alp_coffea.events.histograms import category

#: Both leptons, one or none in the acceptance with all photons; a photon outside (R1 fig. 9.2).
TAGS = ("two_tags", "electron_tag", "positron_tag", "zero_tag", "photon_lost")


def acceptance(
    truth: ak.Array, theta: tuple[float, float], weight: NDArray[np.float64]
) -> hist.Hist:
    """Weighted events by tag class: which of photons, electron and positron are within ``theta``.

    ``truth`` has the generated particles' ``PDG`` and ``theta`` [rad].
    """
    seen = (truth.theta > theta[0]) & (truth.theta < theta[1])
    photons, electron, positron = (
        ak.to_numpy(ak.all(seen[truth.PDG == code], axis=1)) for code in (22, 11, -11)
    )
    cases = [photons & electron & positron, photons & electron, photons & positron, photons]
    histogram = hist.Hist(category("tag", TAGS), storage="weight")
    histogram.fill(np.select(cases, TAGS[:-1], TAGS[-1]), weight=weight)
    return histogram


def by_run(events: ak.Array, weight: NDArray[np.float64], selected: NDArray[np.int64]) -> hist.Hist:
    """Weighted events of each run, all of them and those at the positions ``selected`` (m,)."""
    histogram = hist.Hist(
        category("step", ("all", "selected")),
        hist.axis.IntCategory([], growth=True, name="experiment"),
        hist.axis.IntCategory([], growth=True, name="run"),
        storage="weight",
    )
    experiment, run = (ak.to_numpy(events[name]) for name in ("experiment", "run"))
    for step, rows in (("all", np.arange(len(events))), ("selected", selected)):
        histogram.fill(step, experiment[rows], run[rows], weight=weight[rows])
    return histogram
