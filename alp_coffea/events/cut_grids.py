"""What is needed to choose cuts without reading events again: candidates by the cuts they pass.

:mod:`alp_coffea.stats.punzi` reads these grids. Sections and equations refer to R0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import hist
import numpy as np
from numpy.typing import NDArray

from alp_coffea.events.candidates import PhotonTriples
from alp_coffea.events.histograms import category
from alp_coffea.events.selection import all_candidates

#: Masses for which cuts are chosen: definition and width sigma(m^2)/2m of the peak, from fits to
#: the embedded simulation. Windows are [m - 5 sigma, m + 3 sigma] (eq. 5.1).
BENCHMARKS: Final = {
    0.5: ("diphoton", 0.0157),
    1.0: ("diphoton", 0.0205),
    2.0: ("diphoton", 0.0335),
    3.0: ("diphoton", 0.0488),
    5.0: ("diphoton", 0.0751),
    6.5: ("diphoton", 0.0926),
    8.0: ("recoil", 0.0643),
    9.3: ("recoil", 0.0344),
}
#: Thresholds at which cuts are scanned; the mass is cut with one parameter, eq. 5.5.
GRID: Final = (
    hist.axis.Regular(29, 0.10, 1.55, name="min_photon_energy", label=r"$E_\gamma$ [GeV]"),
    hist.axis.Regular(10, 0.0, 0.05, name="max_right_fraction", label="right fraction RF"),
    hist.axis.Integer(0, 3, name="min_acceptance", label="drift chamber, barrel, reduced barrel"),
    hist.axis.Regular(10, 0.0, 1.0, name="min_zernike_mva", label="Zernike MVA"),
    hist.axis.Integer(0, 2, name="min_separated", label="daughters apart"),
    hist.axis.Regular(2, 0.0, 20.0, name="max_timing_chi", label=r"$t_c$"),
)
#: Calorimeter barrel in the lab [rad]; the reduced barrel is the acceptance of the selection.
BARREL: Final = (math.radians(32.2), math.radians(128.7))


def cut_values(
    triples: PhotonTriples,
    sqrt_s: float,
    theta: tuple[float, float],
    separated: NDArray[np.bool_],
) -> tuple[NDArray[np.generic], ...]:
    """What is cut on along each axis of ``GRID``, (n,) each.

    ``theta`` is the acceptance of the selection [rad] and ``separated`` (n,) whether all pairs of
    photons are apart.
    """
    relative = triples.three_photon_mass / sqrt_s
    return (
        triples.E[:, 2],
        np.maximum((1 - relative) / 4, relative - 1),
        _within(triples.theta, BARREL).astype(int) + _within(triples.theta, theta),
        triples.zernike_of_most_isolated,
        separated.astype(int),
        triples.timing_chi,
    )


def _within(angle: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    """Whether all three angles (n, 3) lie inside limits, (n,)."""
    return all_candidates((angle > limits[0]) & (angle < limits[1]))


def cut_grid_histogram(
    windows: Mapping[float, tuple[str, float]],
    values: Sequence[NDArray[np.generic]],
    masses: Mapping[str, NDArray[np.float64]],
    weight: NDArray[np.float64],
    keep: NDArray[np.bool_] | None = None,
) -> hist.Hist:
    """Candidates near each mass hypothesis by the cuts that keep them, for ``stats.punzi``.

    Parameters
    ----------
    windows
        Definition and width sigma [GeV] by hypothesis m [GeV]; a candidate is near m from
        m - 5 sigma to m + 3 sigma (R0 5.1).
    values
        See :func:`cut_values`, (n,).
    masses
        Candidates' masses by definition [GeV], (n, k).
    weight
        Per event (n,).
    keep
        Candidates to count (n, k), all by default.
    """
    names = {mass: f"{mass:.4f}" for mass in windows}
    histogram = hist.Hist(category("hypothesis", list(names.values())), *GRID)
    for mass, (definition, sigma) in windows.items():
        candidates = masses[definition]
        near = (candidates > mass - 5 * sigma) & (candidates < mass + 3 * sigma)
        if keep is not None:
            near &= keep
        event = np.nonzero(near)[0]
        histogram.fill(names[mass], *(value[event] for value in values), weight=weight[event])
    return histogram
