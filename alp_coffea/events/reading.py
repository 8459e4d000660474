"""What a processor sees of a sample: its good runs, what is not blinded, and lost tracks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.catalogue_config import Sample
from alp_coffea.config import Blinding
from alp_coffea.events.blinding import visible
from alp_coffea.events.identity import identity_columns
from alp_coffea.events.luminosity import good_run_keys, run_keys
from alp_coffea.events.weights import lost_track_probability, weight_branch, with_lost_tracks


@dataclass(frozen=True)
class Reading:
    """Rules that are applied to every chunk of a sample before the processor gets it.

    ``good_runs`` are sorted keys of experiment and run; ``per_track`` is the probability with
    which a track is lost, ``branch`` the generator's weight. None means that there is no rule.
    """

    blinding: Blinding | None = None
    good_runs: tuple[int, ...] | None = None
    per_track: float | None = None
    branch: str | None = None

    @classmethod
    def of(cls, sample: Sample, blinding: Blinding | None = None) -> Reading:
        """The rules of a sample. Raises ConfigurationError if its run list cannot be read."""
        return cls(
            blinding=blinding if sample.kind == "data" else None,
            good_runs=None if sample.good_runs is None else good_run_keys(sample.good_runs),
            per_track=lost_track_probability(sample.event_weight),
            branch=weight_branch(sample.event_weight),
        )

    def describe(self) -> list[Any]:
        """Plain data that differ if the rules do."""
        blinding = None if self.blinding is None else self.blinding.model_dump(mode="json")
        return [blinding, self.good_runs, self.per_track, self.branch]

    def __call__(self, events: ak.Array, processor: Any) -> ak.Array:
        """The events that ``processor`` may see, nothing read that is not needed."""
        masks: list[NDArray[np.bool_]] = []
        if self.good_runs is not None:
            experiment, run, _, _ = identity_columns(events)
            masks.append(np.isin(run_keys(experiment, run), np.array(self.good_runs)))
        if self.blinding is not None and self.blinding.policy != "none":
            masks.append(visible(events, self.blinding, processor))
        if masks:
            events = events[np.logical_and.reduce(masks)]
        if self.per_track is not None:
            events = with_lost_tracks(events, self.per_track, self.branch)
        return events


def readings(samples: Iterable[Sample], blinding: Blinding | None = None) -> dict[str, Reading]:
    """The rules of every sample by name."""
    return {sample.name: Reading.of(sample, blinding) for sample in samples}
