"""Small array helpers of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: Half of what a central interval of one standard deviation leaves out, 1 - 0.6827.
_TAIL = 0.158655


def poisson_errors(counts: ArrayLike) -> tuple[Array, Array]:
    """Distances from ``counts`` (n,) to the ends of their central 68.27 % intervals (n,).

    Garwood, Biometrika 28 (1936) 437: covers at least its probability for every mean; only for
    unweighted counts.
    """
    from scipy.special import gammaincinv

    n = np.asarray(counts, dtype=np.float64)
    low = np.where(n > 0, gammaincinv(np.maximum(n, 1e-300), _TAIL), 0.0)
    high = gammaincinv(n + 1, 1 - _TAIL)
    return n - low, high - n


def nominal_width(edges: ArrayLike) -> float:
    """Median bin width, to which densities are scaled when bins differ slightly."""
    return float(np.median(np.diff(np.asarray(edges, dtype=np.float64))))


def width_text(width: float) -> str:
    """A bin width for an axis label."""
    return f"{width:.3g}"


def signed(value: float, spec: str) -> str:
    """A number as the axes write it, with a minus sign and not a hyphen."""
    return format(value, spec).replace("-", "\u2212")


def interruptions(mass: ArrayLike) -> list[int]:
    """Points of a scan (n,) before which masses were left out, by their indices.

    There the step is more than three times those beside it, in the mass as well as in its
    logarithm: steps follow the resolution and change slowly.
    """
    m = np.asarray(mass, dtype=np.float64)
    wide = np.ones(max(len(m) - 1, 0), dtype=bool)
    for step in (np.diff(m), np.diff(np.log(m))):
        beside = np.maximum(np.append(step[1:], 0.0), np.insert(step[:-1], 0, 0.0)[: len(step)])
        wide &= (beside > 0.0) & (step > 3.0 * beside)
    return [int(i) + 1 for i in np.flatnonzero(wide)]


def segments(good: ArrayLike, interrupted: Sequence[int] = ()) -> list[slice]:
    """Runs of neighbouring True in ``good`` (n,), ended also before the ``interrupted`` indices."""
    padded = np.concatenate(([False], np.asarray(good, dtype=bool), [False]))
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    found = []
    for start, stop in changes.reshape(-1, 2):
        ends = [int(start), *(i for i in interrupted if start < i < stop), int(stop)]
        found += [slice(a, b) for a, b in pairwise(ends)]
    return found


def transitions(mass: ArrayLike, choice: ArrayLike) -> list[tuple[float, str, str]]:
    """Where a choice changes along the scan: mass half-way, old and new value."""
    m, values = np.asarray(mass, dtype=np.float64), np.asarray(choice, dtype=str)
    return [
        (float(m[i] + m[i + 1]) / 2, str(values[i]), str(values[i + 1]))
        for i in np.flatnonzero(values[1:] != values[:-1])
    ]


def rebinned(histogram: Any, index: NDArray[np.intp]) -> tuple[Array, Array]:
    """Contents and variances (k,) of a 1-D histogram between positions ``index`` (k + 1,)."""
    values, variances = histogram.values(), histogram.variances()
    variances = values if variances is None else variances
    first, second = (
        np.diff(np.concatenate(([0.0], np.cumsum(content)))[index])
        for content in (values, variances)
    )
    return first, second


def nearest_edges(edges: ArrayLike, grid: ArrayLike) -> NDArray[np.intp]:
    """Positions of the edges nearest to a grid, each once."""
    edges = np.asarray(edges, dtype=np.float64)
    right = np.clip(np.searchsorted(edges, grid), 1, len(edges) - 1)
    left_is_nearer = np.abs(edges[right - 1] - grid) <= np.abs(edges[right] - grid)
    return np.unique(np.where(left_is_nearer, right - 1, right))
