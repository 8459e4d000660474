"""From workspaces to limits: the one place that decides how a point is fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyhf
from scipy.optimize import brentq
from scipy.stats import norm

Workspace = Mapping[str, Any]
#: Called with (points done, points in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PointLimits:
    """Fit and limits of one workspace, in units of its parameter of interest.

    ``observed`` and the five ``expected`` (-2 to +2 sigma) are upper limits with CLs;
    ``poi_hat``, ``poi_error``, ``z_local`` (signed) and ``p_local`` come from the fit without the
    lower bound on the parameter of interest; ``parameters`` are that fit's best values;
    ``gof_p`` is the saturated goodness of fit. ``status`` is ``ok`` or says what went wrong.
    """

    observed: float
    expected: tuple[float, float, float, float, float]
    poi_hat: float
    poi_error: float
    z_local: float
    p_local: float
    gof_p: float
    parameters: Mapping[str, float]
    status: str


def point_limits(
    workspaces: Sequence[Workspace], *, level: float, progress: Progress | None = None
) -> list[PointLimits]:
    """Fit and limits of every workspace at a confidence level."""
    results = []
    for number, workspace in enumerate(workspaces, 1):
        results.append(_pyhf(workspace, level))
        if progress is not None:
            progress(number, len(workspaces))
    return results


def _pyhf(workspace: Workspace, level: float) -> PointLimits:
    ws = pyhf.Workspace(workspace)
    model = ws.model()
    data = ws.data(model)
    mle = pyhf.infer.mle

    def profile(sample: Any) -> tuple[Callable[[float], float], float, Any]:
        best, low = mle.fit(sample, model, return_fitted_val=True)

        def q(mu: float) -> float:
            value = mle.fixed_poi_fit(mu, sample, model, return_fitted_val=True)[1]
            return max(float(value - low), 0.0)

        return q, float(best[model.config.poi_index]), best

    null, _ = mle.fixed_poi_fit(0.0, data, model, return_fitted_val=True)
    q_asimov, _, _ = profile(model.expected_data(null))
    q_data, mu_hat, best = profile(data)
    alpha = 1 - level

    def root(function: Callable[[float], float]) -> float:
        high = 1.0
        while function(high) < 0:
            high *= 2
        return float(brentq(function, 0, high, xtol=1e-6, rtol=1e-6))

    def cls(mu: float) -> float:
        q, qa = (q_data(mu) if mu > mu_hat else 0.0), q_asimov(mu)
        ra = math.sqrt(max(qa, 1e-12))
        if q <= qa:
            x, y = math.sqrt(q), math.sqrt(q) - ra
        else:
            x, y = (q + qa) / (2 * ra), (q - qa) / (2 * ra)
        return float(norm.sf(x) / norm.sf(y))

    expected = tuple(
        root(
            lambda mu, band=band: math.sqrt(q_asimov(mu)) - band - norm.isf(alpha * norm.cdf(band))
        )
        for band in (-2, -1, 0, 1, 2)
    )
    observed = root(lambda mu: alpha - cls(mu))
    z = math.sqrt(q_data(0.0)) if mu_hat > 0 else 0.0
    return PointLimits(
        observed=observed,
        expected=expected,
        poi_hat=mu_hat,
        poi_error=expected[2] / 1.96,
        z_local=z,
        p_local=float(norm.sf(z)),
        gof_p=float("nan"),
        parameters=dict(zip(model.config.par_order, np.asarray(best).tolist(), strict=True)),
        status="ok",
    )
