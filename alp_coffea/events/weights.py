"""What an event counts, and the luminosity a sample stands for: all weights in one place.

Histograms are filled with event weights only; :func:`scale` gives the factor that brings a
simulated sample to the luminosity of the data.
"""

from __future__ import annotations

import math
from typing import Final

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.catalogue_config import EventWeight, Sample
from alp_coffea.errors import ConfigurationError, MissingFieldError
from alp_coffea.physics.production import Production

#: Field that :func:`with_lost_tracks` adds.
WEIGHT_FIELD: Final = "event_weight"
#: Relative difference to the expected cross section from which on a signal's is remarked upon.
CROSS_SECTION_TOLERANCE: Final = 0.05


def event_weight(events: ak.Array) -> NDArray[np.float64]:
    """Weights (n,) of the events of a chunk: the field that their metadata name, else one."""
    name = events.metadata["event_weight"]
    if name is None:
        return np.ones(len(events))
    return np.asarray(ak.to_numpy(events[name]), dtype=np.float64)


def weight_branch(rule: str | EventWeight | None) -> str | None:
    """Branch with the generator's weight, None without."""
    return rule if rule is None or isinstance(rule, str) else rule.get("branch")


def weight_field(rule: str | EventWeight | None) -> str | None:
    """Field of the events as the processor sees them that has the whole weight."""
    return WEIGHT_FIELD if lost_track_probability(rule) is not None else weight_branch(rule)


def lost_track_probability(rule: str | EventWeight | None) -> float | None:
    """Probability with which a track is lost, None where tracks are as simulated."""
    return None if rule is None or isinstance(rule, str) else rule.get("per_track")


def with_lost_tracks(events: ak.Array, probability: float, branch: str | None) -> ak.Array:
    """Events all of whose tracks were lost, with the probability of that as ``event_weight``.

    A simulated Bhabha event without its tracks looks like photons; it counts ``probability`` for
    each of them (R0 sec. 4.3.2: 0.025 per track), times the generator's weight in ``branch``.

    Raises MissingFieldError if the events have no tracks to count.
    """
    if "Track" not in events.fields:
        raise MissingFieldError(
            "the catalogue's event weight 'per_track' counts tracks, but the file has no branch "
            "'track_*'; write the track list into the ntuple, or leave 'per_track' out"
        )
    tracks = events.Track
    weight = np.power(probability, ak.to_numpy(ak.num(tracks)).astype(np.float64))
    if branch is not None:
        weight = weight * ak.to_numpy(events[branch])
    return ak.with_field(ak.with_field(events, tracks[:, :0], "Track"), weight, WEIGHT_FIELD)


def equivalent_luminosity(sample: Sample, production: Production) -> float | None:
    """Luminosity that a whole sample corresponds to [1/pb].

    A signal without a cross section has the one of ``production`` at its coupling.

    Raises ConfigurationError if that is unknown.
    """
    given = sample.equivalent_luminosity
    if given is not None or sample.mass is None or sample.generated_events is None:
        return given
    expected = production.cross_section(sample.mass, sample.coupling)
    if not math.isfinite(expected):
        raise ConfigurationError(
            f"sample '{sample.name}': its 'cross_section' is needed, as the analysis' 'theory' "
            f"has none at {sample.mass:g} GeV"
        )
    return sample.generated_events / expected


def cross_section_notes(sample: Sample, production: Production) -> list[str]:
    """A remark if a signal's cross section is not that of ``production`` at its coupling.

    Limits on the coupling assume the latter, yields use the former. Radiation may lower it.
    """
    given = sample.cross_section
    if sample.mass is None or given is None:
        return []
    value = given.value * given.branching_fraction
    expected = production.cross_section(sample.mass, sample.coupling)
    least = production.least(sample.mass, sample.coupling)
    high, low = expected * (1 + CROSS_SECTION_TOLERANCE), least * (1 - CROSS_SECTION_TOLERANCE)
    if low <= value <= high or math.isnan(expected):
        return []
    note = (
        f"the cross section is {value:.4g} pb, {value / expected:.3g} times the theory's "
        f"{expected:.4g} pb at {sample.mass:g} GeV and g = {sample.coupling:g}/GeV, which "
        f"radiation could lower to {least:.4g} pb; check mass, coupling and cross section"
    )
    return [note]


def scale(luminosity: float, available: float | None) -> float | None:
    """Factor that scales a sample to ``luminosity``; ``available`` is what was read [1/pb].

    None where nothing was read or the sample's own luminosity is unknown.
    """
    return luminosity / available if available else None
