"""Intervals of efficiencies counted in events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import hist
import numpy as np
from scipy.stats import beta

from alp_coffea.errors import ModelError

#: Probability content of one standard deviation.
ONE_SIGMA: Final = 0.6826894921370859


@dataclass(frozen=True)
class Efficiency:
    """``passed`` of ``total`` events and the interval [``low``, ``high``]; NaN for no events."""

    passed: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """passed / total."""
        return self.passed / self.total if self.total else float("nan")


def clopper_pearson(passed: int, total: int, level: float = ONE_SIGMA) -> Efficiency:
    """Central Clopper-Pearson interval: each tail has at most (1 - level)/2.

    Covers at least ``level`` for any true efficiency (Biometrika 26 (1934) 404). Raises
    ModelError unless 0 <= passed <= total.
    """
    _check(passed, total)
    if total == 0:
        return Efficiency(0, 0, float("nan"), float("nan"))
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, passed, total - passed + 1)) if passed else 0.0
    high = float(beta.isf(tail, passed + 1, total - passed)) if passed < total else 1.0
    return Efficiency(passed, total, low, high)


def lower_limit(passed: int, total: int, level: float = ONE_SIGMA) -> Efficiency:
    """One-sided interval [low, 1] of the same kind: the whole of 1 - level below it.

    R0 eq. 5.13 prints this one: for 18 244 of 18 244 it is 1 - 0.32^(1/n) = 6e-5 below one.
    """
    _check(passed, total)
    if total == 0:
        return Efficiency(0, 0, float("nan"), float("nan"))
    low = float(beta.ppf(1 - level, passed, total - passed + 1)) if passed else 0.0
    return Efficiency(passed, total, low, 1.0)


def trigger_efficiency(
    histogram: hist.Hist, axis: str | None = None, level: float = ONE_SIGMA
) -> list[Efficiency]:
    """Efficiencies from the ``trigger`` histogram of the trigger processor (R0 5.12).

    In the bins of ``axis`` (``mass`` or ``energy_sum``), or of all events as the only entry.
    """
    if axis is None:
        counts = histogram.project("probe").values(flow=True)[:, np.newaxis]
    else:
        counts = histogram.project("probe", axis).values()
    fired, silent = (counts[list(histogram.axes["probe"]).index(n)] for n in ("fired", "silent"))
    return [clopper_pearson(int(f), int(f + s), level) for f, s in zip(fired, silent, strict=True)]


def _check(passed: int, total: int) -> None:
    if not 0 <= passed <= total:
        raise ModelError(f"an efficiency needs 0 <= passed <= total, got {passed} of {total}")
