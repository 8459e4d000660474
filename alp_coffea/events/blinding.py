"""What may be seen of data, decided event by event before a processor gets them.

=====================  ===========================================================================
``none``               everything
``fraction``           a share of the events, by default 10 %
``exclude_fraction``   the others: what is left after cuts were chosen on the share
``sideband``           events outside the signal region, as the processor defines it
``full``               nothing; files of data are counted but not processed
=====================  ===========================================================================

The share is chosen by a hash of the event's identity, so it holds the same events whatever the
file, the chunk or the processor. Simulation is never blinded.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.config import Blinding
from alp_coffea.errors import ConfigurationError
from alp_coffea.events.identity import identity_columns
from alp_coffea.rng import event_keys, uniforms


def luminosity_fraction(blinding: Blinding) -> float:
    """Share of the recorded luminosity that yields and limits refer to.

    1 for ``sideband`` and ``full``, whose expected limits hold for all data.
    """
    if blinding.policy == "fraction":
        return blinding.fraction
    if blinding.policy == "exclude_fraction":
        return 1.0 - blinding.fraction
    return 1.0


def hides_signal_region(blinding: Blinding) -> bool:
    """Whether no event that could be signal is seen, so that only expected limits exist."""
    return blinding.policy in ("sideband", "full")


def visible(events: ak.Array, blinding: Blinding, processor: Any) -> NDArray[np.bool_]:
    """Which events (n,) of a chunk of data may be seen.

    Raises
    ------
    MissingFieldError
        If the file has no event identity, for ``fraction`` and ``exclude_fraction``.
    ConfigurationError
        If the processor has no method ``sideband(events)``, for ``sideband``.
    """
    if blinding.policy in ("fraction", "exclude_fraction"):
        keys = event_keys(blinding.seed, "blinding", *identity_columns(events))
        chosen = uniforms(keys) < blinding.fraction
        return chosen if blinding.policy == "fraction" else ~chosen
    if blinding.policy == "sideband":
        check_sideband(blinding, processor)
        return np.asarray(processor.sideband(events), dtype=np.bool_)
    return np.full(len(events), blinding.policy == "none")


def check_sideband(blinding: Blinding, processor: Any) -> None:
    """Raise ConfigurationError if a sideband is wanted and the processor defines none."""
    if blinding.policy == "sideband" and not hasattr(processor, "sideband"):
        raise ConfigurationError(
            f"blinding: processor '{type(processor).__name__}' defines no sideband (a method "
            "'sideband(events)' that says which events are outside the signal region); give it "
            "one, or choose policy fraction, exclude_fraction or full"
        )
