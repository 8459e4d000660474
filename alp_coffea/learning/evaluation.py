"""How good a classifier is: numbers of the test events, which training never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from alp_coffea.learning.classifier import Classifier
from alp_coffea.learning.samples import TrainingSample
from alp_coffea.learning.training import Hyperparameters, train

Array = NDArray[np.float64]

#: Working points that are quoted; 0.9 is that of R1.
WORKING_POINTS: Final = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: efficiencies (n,) above each threshold (n,), falling
    thresholds."""

    threshold: Array
    signal: Array
    background: Array

    @property
    def auc(self) -> float:
        """Area under the curve: the probability that a signal event scores higher."""
        return float(np.trapezoid(self.signal, self.background))

    def at(self, threshold: float) -> tuple[float, float]:
        """Efficiencies of signal and background with a score above ``threshold``."""
        passed = int(np.searchsorted(-self.threshold, -threshold, side="left")) - 1
        return float(self.signal[passed]), float(self.background[passed])


def roc(score: ArrayLike, signal: ArrayLike, weight: ArrayLike) -> Roc:
    """The curve of weighted events (n,); equal scores count half, as they should.

    >>> roc([0.1, 0.4, 0.35, 0.8], [False, False, True, True], [1, 1, 1, 1]).auc
    0.75
    """
    score, signal = np.asarray(score, float), np.asarray(signal, bool)
    weight = np.asarray(weight, float)
    order = np.argsort(-score, kind="stable")
    score, signal, weight = score[order], signal[order], weight[order]
    # one point per different score: the straight line between gives ties one half
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    curves = [
        np.concatenate([[0.0], np.cumsum(np.where(kind, weight, 0.0))[ends]])
        for kind in (signal, ~signal)
    ]
    return Roc(
        np.concatenate([[np.inf], score[ends]]),
        curves[0] / curves[0][-1],
        curves[1] / curves[1][-1],
    )


@dataclass(frozen=True)
class Overtraining:
    """Scores of training against test events of one kind: the largest distance of their
    distributions (Kolmogorov and Smirnov) and its probability with effective numbers of events."""

    distance: float
    probability: float


def overtraining(score: Array, other: Array, weight: Array, other_weight: Array) -> Overtraining:
    """Compare two sets of weighted scores, (n,) and (m,)."""
    where = np.sort(np.concatenate([score, other]))

    def cumulative(values: Array, weights: Array) -> Array:
        order = np.argsort(values)
        total = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
        return np.asarray(total[np.searchsorted(values[order], where, side="right")])

    distance = float(np.abs(cumulative(score, weight) - cumulative(other, other_weight)).max())
    n, m = (w.sum() ** 2 / np.square(w).sum() for w in (weight, other_weight))
    probability = float(stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m))))
    return Overtraining(distance, probability)


@dataclass(frozen=True)
class Sculpting:
    """Share of the background that passes, with error, in bins of the fitted mass.

    ``edges`` [GeV] (n + 1,), ``passed`` and ``error`` (n,); NaN in empty bins. ``chi2`` per degree
    of freedom of a parabola in mass: a smooth change does no harm to a fit in narrow windows,
    structure of the size of a bin does.
    """

    edges: Array
    passed: Array
    error: Array
    chi2: float


def sculpting(
    sample: TrainingSample, score: Array, working_point: float, *, bins: int = 24
) -> Sculpting:
    """What the cut does to the background's spectrum."""
    other = ~sample.signal
    mass, weight, kept = sample.observed[other], sample.weight[other], score[other] > working_point
    edges = np.linspace(0, max(float(mass.max()), 1e-3), bins + 1)
    index = np.digitize(mass, edges[1:-1])
    total, total2, passed = (
        np.bincount(index, values, bins)
        for values in (weight, weight**2, np.where(kept, weight, 0.0))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        share = passed / total
        error = np.sqrt(np.maximum(share * (1 - share), 1e-12) * total2) / total
    centre = (edges[1:] + edges[:-1]) / 2
    used = np.isfinite(share) & (share > 0)
    chi2 = np.nan
    if used.sum() > 3:
        fit = np.polynomial.Polynomial.fit(centre[used], share[used], 2, w=1 / error[used])
        pulls = (share[used] - fit(centre[used])) / error[used]
        chi2 = float(np.square(pulls).sum() / (used.sum() - 3))
    return Sculpting(edges, share, error, chi2)


@dataclass(frozen=True)
class Importance:
    """What the network loses without some features when it is trained anew."""

    without: tuple[str, ...]
    auc: float
    loss: float


def importance(
    sample: TrainingSample,
    groups: Sequence[Sequence[str]],
    settings: Hyperparameters,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Importance]:
    """Train once with all features and once without each group; the first entry is without none."""
    found = []
    for number, group in enumerate([(), *groups]):
        reduced = sample.without(group)
        trained = train(reduced, settings)
        test = reduced.of("test")
        score = scores(trained.classifier, test)
        area = roc(score, test.signal, test.balanced).auc
        loss = min(epoch.validation for epoch in trained.history)
        found.append(Importance(tuple(group), area, loss))
        if progress is not None:
            progress(number + 1, len(groups) + 1)
    return found


def scores(classifier: Classifier, sample: TrainingSample) -> Array:
    """Scores of events, (n,)."""
    return classifier.score(dict(zip(sample.ranges, sample.features.T, strict=True)))
