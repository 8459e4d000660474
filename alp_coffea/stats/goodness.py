"""Pearson's chi^2 of binned counts, with bins merged until its distribution is a chi^2."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Fewest entries that a merged bin expects (Cochran, Biometrics 10 (1954) 417).
MINIMUM_EXPECTED = 5.0


def merged_bins(expected: Array) -> NDArray[np.intp]:
    """First bins of neighbours that together expect ``MINIMUM_EXPECTED`` entries or more.

    For ``np.add.reduceat``. What is left over at the end belongs to the last group.
    """
    cumulative = np.concatenate(([0.0], np.cumsum(expected)))
    starts = [0]
    while True:
        enough = cumulative[starts[-1]] + MINIMUM_EXPECTED
        following = int(np.searchsorted(cumulative, enough))
        if following >= len(expected) or cumulative[-1] - cumulative[following] < MINIMUM_EXPECTED:
            return np.array(starts)
        starts.append(following)


def pearson(observed: Array, expected: Array, starts: NDArray[np.intp]) -> tuple[float, int]:
    """Pearson chi^2 over merged bins, and their number."""
    o, e = np.add.reduceat(observed, starts), np.add.reduceat(expected, starts)
    return float(((o - e) ** 2 / e).sum()), len(o)
