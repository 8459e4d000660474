"""How good the errors of tracking are, and how they smear the recoil momentum (R0 sec. 8.3.2).

Pure muon pairs have no recoil momentum, so its components over their errors should be unit
Gaussians; what they are instead gives factors S_x, S_y, S_z by which errors are multiplied. With
these the error of each radiative event makes a Gaussian, and their sum is the smearing of the
recoil momentum by tracking. Momenta in GeV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import hist
import numpy as np
from iminuit import Minuit
from numpy.typing import ArrayLike, NDArray
from scipy import special

from alp_coffea.errors import InputError, PhysicsError

Array = NDArray[np.float64]

COMPONENTS: Final = ("x", "y", "z")
#: Pulls beyond this are no part of the Gaussian (R0 sec. 8.3.2.2.1).
RANGE: Final = 3.0
#: The width of the rescaled pulls is one to this (R0).
TOLERANCE: Final = 1e-3
#: Fewer pulls are not fitted.
MINIMUM_EVENTS: Final = 500
#: The plateau without radiation is the mean of the smallest this many limits (R0 eq. 8.12).
PLATEAU: Final = 5


@dataclass(frozen=True)
class ScaleFactor:
    """What errors of one component are multiplied by, and its statistical uncertainty."""

    value: float
    error: float

    def __mul__(self, other: ScaleFactor) -> ScaleFactor:
        relative = math.hypot(self.error / self.value, other.error / other.value)
        return ScaleFactor(self.value * other.value, self.value * other.value * relative)


def scale_factor(edges: ArrayLike, counts: ArrayLike) -> ScaleFactor:
    """The factor that makes pulls a unit Gaussian in the middle.

    A Gaussian is fitted within +-3 of the rescaled pulls, and the factor multiplied by its width,
    until that is one to 1e-3; the mean is ignored (R0 sec. 8.3.2.2.1).

    Parameters
    ----------
    edges, counts
        Histogram of the pulls, (n + 1,) and (n,).

    Raises InputError for fewer than 500 pulls or where the iteration does not end.
    """
    edges, counts = np.asarray(edges, float), np.asarray(counts, float)
    if counts.shape != (len(edges) - 1,):
        raise PhysicsError(f"scale_factor: {counts.shape} counts do not fit {edges.shape} edges")
    if counts.sum() < MINIMUM_EVENTS:
        raise InputError(
            f"scale_factor: {counts.sum():.4g} pure muon pairs; {MINIMUM_EVENTS} are needed"
        )
    cumulative = np.cumsum(counts) / counts.sum()
    low, high = np.interp([0.1587, 0.8413], cumulative, edges[1:])
    factor = float(high - low) / 2
    for _ in range(50):
        inside = (edges[:-1] >= -RANGE * factor) & (edges[1:] <= RANGE * factor)
        if RANGE * factor > edges[-1] or counts[inside].sum() < MINIMUM_EVENTS / 2:
            break
        first, last = np.flatnonzero(inside)[[0, -1]]
        width, error = _gaussian_width(edges[first : last + 2] / factor, counts[inside])
        factor *= width
        if abs(width - 1) < TOLERANCE:
            return ScaleFactor(factor, factor * error / width)
    raise InputError(
        "scale_factor: the width of the rescaled pulls does not settle; look at the histogram "
        "'recoil_pull', which should be about a unit Gaussian"
    )


def _gaussian_width(edges: Array, counts: Array) -> tuple[float, float]:
    """Width and its error of a Gaussian seen between the outer edges only."""
    filled = counts > 0

    def cost(mean: float, sigma: float) -> float:
        below = special.ndtr((edges - mean) / sigma)
        share = np.maximum(np.diff(below) / (below[-1] - below[0]), 1e-300)
        return float(-2 * (counts[filled] * np.log(share[filled])).sum())

    minuit = Minuit(cost, mean=0.0, sigma=1.0)
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.limits["sigma"] = (0.2, 5.0)
    minuit.migrad()
    return float(minuit.values["sigma"]), float(minuit.errors["sigma"])


def scale_factors(pulls: hist.Hist) -> dict[str, ScaleFactor]:
    """Of x, y and z, from the histogram ``recoil_pull`` of ``processors/dimuon_photon.py``."""
    axis = pulls.axes["pull"]
    return {name: scale_factor(axis.edges, _effective(pulls[name, :])) for name in COMPONENTS}


def below_recoil(pulls: hist.Hist) -> dict[str, list[tuple[float, ScaleFactor]]]:
    """(largest true recoil [GeV], factor) of pure pairs, from ``recoil_pull_below`` (fig. 8.9).

    Limits with too few events are left out.
    """
    edges = pulls.axes["pull"].edges
    found: dict[str, list[tuple[float, ScaleFactor]]] = {name: [] for name in COMPONENTS}
    for name in COMPONENTS:
        one = pulls[{"component": name}]
        # with what is below the first limit
        values = np.cumsum(one.values(flow=True)[:, 1:-1], axis=0)
        variances = np.cumsum(one.variances(flow=True)[:, 1:-1], axis=0)
        for k, limit in enumerate(one.axes["radiated"].edges):
            if variances[k].sum() > 0:
                counts = values[k] * values[k].sum() / variances[k].sum()
                if counts.sum() >= MINIMUM_EVENTS:
                    found[name].append((float(limit), scale_factor(edges, counts)))
    return found


def without_radiation(pulls: hist.Hist) -> dict[str, ScaleFactor]:
    """Factors on the plateau at small true recoil (R0 eq. 8.12), from ``recoil_pull_below``.

    The limits contain each other, so the error is that of the widest of them.

    Raises InputError without enough events below them.
    """
    factors = {}
    for name, points in below_recoil(pulls).items():
        if not points:
            raise InputError("without_radiation: too few simulated muon pairs without radiation")
        chosen = [factor for _, factor in points[:PLATEAU]]
        factors[name] = ScaleFactor(float(np.mean([f.value for f in chosen])), chosen[-1].error)
    return factors


def corrected(
    data: dict[str, ScaleFactor],
    simulated: dict[str, ScaleFactor],
    plateau: dict[str, ScaleFactor],
) -> dict[str, ScaleFactor]:
    """Factors of data with the radiation taken out as simulation does (R0 eq. 8.13).

    The error is that of the data and of the plateau: nearly all radiative effects are common.
    """
    return {
        name: factor * ScaleFactor(plateau[name].value / simulated[name].value, 0.0)
        * ScaleFactor(1.0, plateau[name].error / plateau[name].value)
        for name, factor in data.items()
    }  # fmt: skip


def tracking_smearing(
    errors: hist.Hist, factors: dict[str, ScaleFactor] | None, centres: ArrayLike
) -> Array:
    """Sum of one Gaussian per event in each bin of p_recoil (R0 eq. 8.9, 8.10, 8.14).

    Parameters
    ----------
    errors
        Histogram ``recoil_error`` of ``processors/dimuon_photon.py``.
    factors
        Of x, y and z; None leaves the errors as they are.
    centres
        Where the smearing is evaluated [GeV], uniform, (n,).

    Returns the shares (bins, n), which add up to one in bins with events.
    """
    centres = np.asarray(centres, dtype=np.float64)
    share_x, share_z = errors.axes["share_x"].centers, errors.axes["share_z"].centers
    x, z = np.meshgrid(share_x, share_z, indexing="ij")
    # bins around the corner where x and z share everything stand for nothing in y
    total = np.maximum(x + z, 1.0)
    x, z = x / total, z / total
    values = [1.0] * 3 if factors is None else [factors[name].value for name in COMPONENTS]
    scale = np.sqrt(x * values[0] ** 2 + (1 - x - z) * values[1] ** 2 + z * values[2] ** 2)
    sigma = errors.axes["error"].centers[:, np.newaxis, np.newaxis] * scale
    smearing = np.zeros((len(errors.axes[0]), len(centres)))
    for k, content in enumerate(errors.values()):
        filled = content > 0
        # the values on a grid, whose variance is that of the Gaussian for widths beyond its step
        density = np.exp(-0.5 * (centres / sigma[filled][:, np.newaxis]) ** 2)
        density /= density.sum(axis=1, keepdims=True)
        smearing[k] = content[filled] @ density / max(content[filled].sum(), 1e-300)
    return smearing


def _effective(histogram: hist.Hist) -> Array:
    """Contents as effective numbers of events (n,)."""
    values, variances = histogram.values(), histogram.variances()
    if variances is None or not variances.sum() > 0:
        return np.zeros_like(values)
    return np.asarray(values * values.sum() / variances.sum())
