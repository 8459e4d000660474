"""Leaving one simulated mass out: does the interpolation predict what was not shown to it?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from alp_coffea.config import Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.goodness import merged_bins, pearson
from alp_coffea.stats.peaks import Peak, SignalSample
from alp_coffea.stats.scan import scan_points
from alp_coffea.stats.signal import SignalModel
from alp_coffea.stats.workspace import POI, Point


@dataclass(frozen=True)
class HeldOut:
    """One simulated mass [GeV] as the others predict it.

    ``chi2`` compares the predicted shape, scaled to the candidates seen, with them, and
    ``own_chi2`` that of the mass's own fit: their difference is what interpolating costs.
    ``efficiency_ratio`` is predicted over simulated efficiency, ``efficiency_error`` the
    statistical error of the latter, relative. ``limit_ratio`` is the median expected limit with
    the predicted signal over that with the complete model, NaN where there is none.
    """

    mass: float
    definition: str
    energy_set: str
    chi2: float
    ndf: int
    own_chi2: float
    own_ndf: int
    efficiency_ratio: float
    efficiency_error: float
    limit_ratio: float


def leave_one_out(
    model: SignalModel,
    samples: Iterable[SignalSample],
    background: Spectra,
    settings: Scan,
    *,
    luminosity: float,
) -> list[HeldOut]:
    """Predict every simulated mass, except for the outermost, from the others.

    In the definition and energy set in which the scan looks for it. The power of the tail, which
    was smoothed over all masses before, stays.

    Parameters
    ----------
    samples
        Those that the model was made of.
    background
        Expected spectra at the luminosity [1/pb], for the limits.
    """
    found: list[HeldOut] = []
    for sample in sorted(samples, key=lambda sample: sample.mass):
        definition = settings.definition(sample.mass)
        energy_set = settings.energy_set(sample.mass)
        fits = model.of(definition, energy_set)
        inner = [fit for fit in fits[1:-1] if fit.mass == sample.mass]
        peak = Peak.of(sample, definition, energy_set)
        if not inner or peak is None:
            continue
        (own,) = inner
        others = model.without(sample.mass)
        template = others.template(peak.edges, sample.mass, definition, energy_set)
        expected = peak.counts.sum() * template / template.sum()
        chi2, bins = pearson(peak.counts, expected, merged_bins(expected))
        predicted = float(others.efficiency(sample.mass, definition, energy_set))
        both = [
            _limit(one, sample.mass, background, settings, luminosity) for one in (others, model)
        ]
        found.append(
            HeldOut(
                sample.mass,
                definition,
                energy_set,
                chi2=chi2,
                ndf=max(bins - 1, 1),
                own_chi2=own.chi2,
                own_ndf=own.ndf,
                efficiency_ratio=predicted / own.efficiency,
                efficiency_error=own.efficiency_error / own.efficiency,
                limit_ratio=both[0] / both[1],
            )
        )
    return found


def _limit(
    model: SignalModel, mass: float, background: Spectra, settings: Scan, luminosity: float
) -> float:
    """Median expected limit [pb] of the nominal background, NaN where there is none."""
    try:
        (point,) = scan_points(
            background, background, model, settings, [mass], luminosity=luminosity
        )
    except ModelError:
        return np.nan
    if not isinstance(point, Point):
        return np.nan
    limits = engine.compile([point.workspace], poi=POI).limits(
        settings.confidence_level, observed=False
    )
    return float(limits.expected[0, 2] * point.unit) if limits.ok[0] else np.nan
