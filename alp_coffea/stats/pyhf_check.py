"""Comparison of the engine with pyhf, point by point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyhf

from alp_coffea.stats.arrays import Index
from alp_coffea.stats.results import CheckReport, EngineScan


def best_twice_nll(model: Any, data: Sequence[float], start: Sequence[float], **fit: Any) -> float:
    """-2 ln L at pyhf's best minimum from the model's and from the given starting point."""
    values = []
    for init in (model.config.suggested_init(), list(start)):
        try:
            _, value = pyhf.infer.mle.fit(
                data, model, init_pars=init, return_fitted_val=True, **fit
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
        workspace = pyhf.Workspace(spec)
        model = workspace.model(poi_name=poi, **chosen)
        data = workspace.data(model)
        bounds = model.config.suggested_bounds()
        high = bounds[model.config.poi_index][1]
        bounds[model.config.poi_index] = (0.0, high)
        free = best_twice_nll(model, data, scan.free.values[point], par_bounds=bounds)
        fixed = model.config.suggested_fixed()
        fixed[model.config.poi_index] = True
        start = list(scan.null.values[point])
        values = []
        for init in (model.config.suggested_init(), start):
            init[model.config.poi_index] = 0.0
            try:
                _, value = pyhf.infer.mle.fit(
                    data,
                    model,
                    init_pars=init,
                    par_bounds=bounds,
                    fixed_params=fixed,
                    return_fitted_val=True,
                )
            except pyhf.exceptions.FailedMinimization:
                continue
            values.append(float(value))
        null = min(values, default=np.nan)
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
