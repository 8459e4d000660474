"""What makes an event itself: experiment, run, event and production number."""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import MissingFieldError


def event_numbers(values: ArrayLike) -> NDArray[np.int64]:
    """Event numbers as int64; old basf2 releases store the unsigned number as a signed one."""
    numbers = np.asarray(values).astype(np.int64)
    return np.where(numbers < 0, numbers + 2**32, numbers)


def identity_columns(events: ak.Array) -> tuple[NDArray[np.int64], ...]:
    """Experiment, run, event and production of the events of a chunk, each (n,).

    Production is 0 where the file has none, as old releases write.
    Raises MissingFieldError if another one is missing.
    """
    missing = [name for name in ("experiment", "run", "event") if name not in events.fields]
    if missing:
        raise MissingFieldError(
            f"the file has no branch '__{missing[0]}__'; blinding and good runs are decided by "
            "the identity of events (__experiment__, __run__, __event__)"
        )
    experiment, run, event = (
        ak.to_numpy(events[name]).astype(np.int64) for name in ("experiment", "run", "event")
    )
    production = (
        ak.to_numpy(events["production"]).astype(np.int64)
        if "production" in events.fields
        else np.zeros_like(run)
    )
    return experiment, run, event_numbers(event), production
