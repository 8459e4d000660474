"""Putting a signal into a spectrum, for blind challenges of the scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import hist
import numpy as np

from alp_coffea.config import Scan
from alp_coffea.errors import ConfigurationError
from alp_coffea.physics.kinematics import signed_square
from alp_coffea.stats.background import widest_region
from alp_coffea.stats.signal import SignalModel


@dataclass(frozen=True)
class Injection:
    """A signal of ``mass`` [GeV] and Born cross section ``sigma`` [pb]."""

    mass: float
    sigma: float

    @classmethod
    def parse(cls, text: str) -> Injection:
        """From ``mass=3.0,sigma=0.5``. Raises ConfigurationError for anything else.

        >>> Injection.parse("mass=3.0,sigma=0.5")
        Injection(mass=3.0, sigma=0.5)
        """
        number = r"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
        match = re.fullmatch(rf"\s*mass={number}\s*,\s*sigma={number}\s*", text)
        if match is None or float(match[1]) <= 0:
            raise ConfigurationError(
                f"--inject '{text}': expected mass=MASS,sigma=SIGMA with a mass > 0 in GeV and a "
                "cross section >= 0 in pb, such as mass=3.0,sigma=0.5"
            )
        return cls(float(match[1]), float(match[2]))


def inject(
    data: hist.Hist,
    model: SignalModel,
    settings: Scan,
    injections: Sequence[Injection],
    *,
    luminosity: float,
    seed: int,
) -> hist.Hist:
    """A copy of a mass histogram with Poisson signals added.

    True candidates are drawn from the interpolated peak and the combinatorial ones of the same
    events from theirs, in the definition and energy set in which the scan looks for the mass.

    Raises ModelError for a mass outside the simulated range.
    """
    result = data.copy()
    edges = signed_square(data.axes["mass"].edges)
    origin = data.axes["origin"].index("other")
    for number, signal in enumerate(injections):
        definition = settings.definition(signal.mass)
        energy_set = settings.energy_set(signal.mass)
        efficiency = float(model.efficiency(signal.mass, definition, energy_set))
        where = (signal.mass, definition, energy_set)
        per_event = efficiency * model.template(edges, *where)
        region = widest_region(signal.mass, settings, model, data.axes["mass"].edges, definition)
        inside = (edges[:-1] >= region[0]) & (edges[1:] <= region[1])
        ends = np.append(edges[:-1][inside], region[1])
        others = model.combinatorial_template(
            ends, *where, region=region, peak=float(per_event[inside].sum())
        )
        if others is not None:
            per_event[inside] += others
        mean = luminosity * signal.sigma * per_event
        counts = np.random.default_rng([seed, number]).poisson(mean)
        view = result.view()[
            data.axes["energy_set"].index(energy_set),
            data.axes["definition"].index(definition),
            origin,
        ]
        view.value += counts
        view.variance += counts
    return result
