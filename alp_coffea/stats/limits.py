"""From workspaces to limits: the one place that decides how a point is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.stats import engine
from alp_coffea.stats.workspace import POI

Workspace = Mapping[str, Any]


@dataclass(frozen=True)
class PointLimits:
    """Fit and limits of one workspace, in units of its parameter of interest.

    ``observed`` and the five ``expected`` (-2 to +2 sigma) are CLs upper limits. ``poi_hat``,
    ``poi_error``, ``z_local`` (signed) and ``p_local`` come from the fit whose parameter of
    interest may be negative. ``parameters`` and the ``fitted`` bin contents are those of the fit
    with the parameter of interest >= 0, and ``gof_p`` is its saturated goodness of fit.
    ``status`` is ``ok`` or says what went wrong; ``note`` is worth knowing, but no failure.
    """

    observed: float
    expected: tuple[float, ...]
    poi_hat: float
    poi_error: float
    z_local: float
    p_local: float
    gof_p: float
    parameters: Mapping[str, float]
    fitted: NDArray[np.float64]
    status: str
    note: str


def point_limits(workspaces: Sequence[Workspace], *, level: float) -> list[PointLimits]:
    """Fit and limits of every workspace at a confidence level, all together.

    Raises ModelError when a workspace has features that the engine does not support.
    """
    if not workspaces:
        return []
    result = engine.compile(list(workspaces), poi=POI).scan(level=level)
    free, signed, limits = result.free, result.discovery, result.limits
    return [
        PointLimits(
            observed=float(limits.observed[i]),
            expected=tuple(float(value) for value in limits.expected[i]),
            poi_hat=float(signed.poi[i]),
            poi_error=float(signed.poi_error[i]),
            z_local=float(signed.z[i]),
            p_local=float(signed.p[i]),
            gof_p=float(free.gof_p[i]),
            parameters=dict(zip(free.names[i], free.values[i].tolist(), strict=True)),
            fitted=free.expected[i],
            status="ok" if ok else words,
            note=words if ok and words != "ok" else "",
        )
        for i, (ok, words) in enumerate(zip(result.ok, result.words, strict=True))
    ]
