"""One pyhf workspace per mass hypothesis: the single definition of the statistical model.

Signal: the interpolated peak and, where they matter, the other candidates of signal events,
scaled by the cross section (the parameter of interest, in units of ``Point.unit``), with
Gaussian-constrained yield (one nuisance per source) and width.
Background: the Bernstein polynomials in m^2, one sample with its own non-negative factor each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ModelError
from alp_coffea.stats.background import FitWindow
from alp_coffea.stats.shapes import bernstein
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.systematics import NuisanceSizes, mass2_per_sqrt_s

Array = NDArray[np.float64]

#: Name of the parameter of interest in every workspace.
POI = "sigma"
#: Sample and nuisance parameter of the spurious signal, see ``alp_coffea.stats.spurious``.
SPURIOUS = "spurious_signal"
#: Largest background factor, in units of a flat background: steep spectra need a few tens.
BACKGROUND_BOUND = 1000.0


@dataclass(frozen=True)
class Point:
    """One mass hypothesis ready to be fitted.

    ``unit`` [pb] is the cross section at which the parameter of interest is one; ``workspace``
    a pyhf workspace whose ``data`` are arrays; ``efficiency`` and ``width`` [GeV] went into it.
    """

    window: FitWindow
    workspace: dict[str, Any]
    unit: float
    efficiency: float
    width: float
    n_data: float


def build_point(
    window: FitWindow,
    model: SignalModel,
    observed: Array,
    *,
    luminosity: float,
    nuisances: NuisanceSizes,
    free_coefficients: bool = False,
    region: tuple[float, float] | None = None,
) -> Point:
    """Workspace of one mass hypothesis.

    Parameters
    ----------
    observed
        Events in the window's bins, shape (nbins,).
    luminosity
        Integrated luminosity of the observed events [1/pb].
    free_coefficients
        Let the Bernstein coefficients be negative: any polynomial of the order.
    region
        Range [GeV^2] of the estimate of the signal's combinatorial candidates, by default the
        window; the same for all windows of one mass makes it once.

    Raises
    ------
    ModelError
        If the efficiency is not positive or the window holds no events.
    """
    mass, definition, energy_set = window.mass, window.definition, window.energy_set
    efficiency = float(model.efficiency(mass, definition, energy_set))
    total = float(observed.sum())
    if efficiency <= 0 or total <= 0:
        raise ModelError(
            f"mass {mass:g} GeV: efficiency {efficiency:.3g} and {total:g} events in the window; "
            "both must be positive"
        )

    varied = (1 - nuisances.width, 1 + nuisances.width) if nuisances.width > 0 else ()
    nominal, *stretched = model.templates(
        window.edges, mass, definition, energy_set, width_scales=(1.0, *varied)
    )
    others = model.combinatorial_template(
        window.edges,
        mass,
        definition,
        energy_set,
        region=region or (float(window.edges[0]), float(window.edges[-1])),
        peak=efficiency * float(nominal.sum()),
    )
    # in units of the peak's candidates, wherever they are
    beside = 0.0 if others is None else others / efficiency
    unit = _unit(nominal, observed, efficiency * luminosity)
    signal_yield = luminosity * efficiency * unit
    signal_modifiers: list[dict[str, Any]] = [
        {"name": POI, "type": "normfactor", "data": None},
        *(_normsys(name, size) for name, size in nuisances.efficiency.items() if size > 0),
    ]
    if stretched:
        low, high = stretched
        data = {
            "lo_data": signal_yield * (low + beside),
            "hi_data": signal_yield * (high + beside),
        }
        signal_modifiers.append({"name": nuisances.width_source, "type": "histosys", "data": data})
    shift = nuisances.sqrt_s * mass2_per_sqrt_s(definition, mass, model.sqrt_s)
    if shift > 0:
        # a higher sqrt(s) moves the peak up: bins see what lies below them
        low, high = (
            model.template(window.edges + sign * shift, mass, definition, energy_set)
            for sign in (1, -1)
        )
        data = {
            "lo_data": signal_yield * (low + beside),
            "hi_data": signal_yield * (high + beside),
        }
        signal_modifiers.append({"name": "sqrt_s", "type": "histosys", "data": data})
    signal = {
        "name": "signal",
        "data": signal_yield * (nominal + beside),
        "modifiers": signal_modifiers,
    }
    background, parameters = _background(window, total, free_coefficients)
    config = {
        "poi": POI,
        "parameters": [{"name": POI, "inits": [1.0], "bounds": [[0.0, 1000.0]]}, *parameters],
    }
    workspace = {
        "channels": [{"name": "window", "samples": [signal, *background]}],
        "observations": [{"name": "window", "data": observed}],
        "measurements": [
            {
                "name": f"cross section in units of {unit:g} pb at m = {mass:.4f} GeV",
                "config": config,
            }
        ],
        "version": "1.0.0",
    }
    width = float(model.width(mass, definition, energy_set))
    return Point(window, workspace, unit, efficiency, width, total)


def with_order(point: Point, order: int, *, free_coefficients: bool = False) -> Point:
    """The same point with a background polynomial of another order; signal and data are shared."""
    window = replace(point.window, order=order)
    background, parameters = _background(window, point.n_data, free_coefficients)
    workspace = point.workspace
    (channel,), (measurement,) = workspace["channels"], workspace["measurements"]
    signal, poi = channel["samples"][0], measurement["config"]["parameters"][0]
    config = {**measurement["config"], "parameters": [poi, *parameters]}
    changed = {
        **workspace,
        "channels": [{**channel, "samples": [signal, *background]}],
        "measurements": [{**measurement, "config": config}],
    }
    return replace(point, window=window, workspace=changed)


def _background(
    window: FitWindow, total: float, free_coefficients: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of the Bernstein polynomials of a window's order, and their parameters."""
    lowest = -BACKGROUND_BOUND if free_coefficients else 0.0
    samples, parameters = [], []
    for k, polynomial in enumerate(bernstein(window.edges, window.order)):
        name = f"background_{k}"
        factor = {"name": name, "type": "normfactor", "data": None}
        samples.append({"name": name, "data": total * polynomial, "modifiers": [factor]})
        bounds = [[lowest, BACKGROUND_BOUND]]
        parameters.append({"name": name, "inits": [1.0], "bounds": bounds})
    return samples, parameters


def _normsys(name: str, uncertainty: float) -> dict[str, Any]:
    data = {"lo": 1 - uncertainty, "hi": 1 + uncertainty}
    return {"name": name, "type": "normsys", "data": data}


def _unit(fractions: Array, observed: Array, per_pb: float) -> float:
    """A round cross section [pb] near the expected limit: twice the counting error on sigma."""
    weight = fractions**2 / np.maximum(observed, 1.0)
    estimate = 2 / math.sqrt(weight.sum()) / per_pb
    exponent = math.floor(math.log10(estimate))
    leading = min((1.0, 2.0, 5.0), key=lambda digit: abs(digit - estimate / 10**exponent))
    return float(f"{leading}e{exponent}")
