"""Comparison of the engine with pyhf, point by point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyhf

from alp_coffea.stats.engine.arrays import Index
from alp_coffea.stats.engine.results import CheckReport, EngineScan


def _deepest(model: Any, data: Sequence[float], ours: Sequence[float], **fit: Any) -> float:
    """-2 ln L at pyhf's deepest minimum from the model's starting point and from our minimum."""
    values, poi = [], model.config.poi_index
    for start in (list(model.config.suggested_init()), list(ours)):
        if "fixed_params" in fit:
            start[poi] = 0.0
        try:
            _, value = pyhf.infer.mle.fit(
                data, model, init_pars=start, return_fitted_val=True, **fit
            )
        except pyhf.exceptions.FailedMinimization:
            continue
        values.append(float(value))
    return min(values, default=np.nan)


def compare(
    specs: Sequence[Mapping[str, Any]],
    poi: str,
    measurement: str | int | None,
    scan: EngineScan,
    points: Index,
    level: float,
) -> CheckReport:
    """Fit the workspaces of ``points`` with pyhf (numpy, scipy) and compare."""
    rows = []
    chosen = (
        {"measurement_name": measurement}
        if isinstance(measurement, str)
        else {"measurement_index": measurement or 0}
    )
    for spec, point in zip(specs, points, strict=True):
        plain = json.dumps(spec, default=lambda array: np.asarray(array).tolist())
        workspace = pyhf.Workspace(json.loads(plain))
        model = workspace.model(poi_name=poi, **chosen)
        data = workspace.data(model)
        bounds = model.config.suggested_bounds()
        high = bounds[model.config.poi_index][1]
        bounds[model.config.poi_index] = (0.0, high)
        fixed = model.config.suggested_fixed()
        fixed[model.config.poi_index] = True
        free = _deepest(model, data, scan.free.values[point], par_bounds=bounds)
        null = _deepest(model, data, scan.null.values[point], par_bounds=bounds, fixed_params=fixed)
        q0 = np.nan
        if scan.discovery.poi[point] > 0.0:
            q0 = scan.discovery.q0[point] - max(null - free, 0.0)
        cls = np.full(6, np.nan)
        limits = [scan.limits.observed[point], *scan.limits.expected[point]]
        for k, limit in enumerate(limits):
            if np.isfinite(limit) and limit <= high:
                observed, band = pyhf.infer.hypotest(
                    limit, data, model, par_bounds=bounds, return_expected_set=True
                )
                cls[k] = observed if k == 0 else band[k - 1]
        rows.append(
            (
                scan.free.twice_nll[point] - free,
                scan.null.twice_nll[point] - null,
                q0,
                *(cls - (1.0 - level)),
            )
        )
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 9)
    return CheckReport(points, table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4:])
