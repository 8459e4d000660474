"""What a classifier learns from: events of a skim with labels, weights and roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import InputError
from alp_coffea.events.schema import IDENTITY, canonical_branch
from alp_coffea.events.skims import read_skim
from alp_coffea.rng import event_keys, uniforms

if TYPE_CHECKING:
    from alp_coffea.results import Run

Array = NDArray[np.float64]

#: Roles of events and their shares. Training sees the first, early stopping the second; every
#: number that is quoted is of the third.
SHARES: Final = {"training": 0.6, "validation": 0.2, "test": 0.2}
ROLES: Final = tuple(SHARES)


@dataclass(frozen=True)
class TrainingSample:
    """Events for a classifier; all arrays have one row per event.

    Attributes
    ----------
    features
        In the order of ``ranges``, shape (n, k), in their own units.
    signal
        Whether it is one, (n,).
    weight
        Expected events: with the cross section of each process, (n,).
    mass
        Of a signal's ALP [GeV], NaN for background, (n,).
    observed
        What the search fits [GeV], to see how the classifier shapes it, (n,).
    role
        0, 1, 2: of :data:`ROLES`, (n,).
    source
        Which of ``names``, (n,).
    ranges
        Lowest and highest value of each feature, mapped to 0 and 1.
    names
        Of the samples.
    """

    features: NDArray[np.float32]
    signal: NDArray[np.bool_]
    weight: Array
    mass: Array
    observed: Array
    role: NDArray[np.int8]
    source: NDArray[np.int16]
    ranges: Mapping[str, tuple[float, float]]
    names: tuple[str, ...]

    @classmethod
    def read(
        cls,
        run: Run,
        folder: Path | str,
        ranges: Mapping[str, tuple[float, float]],
        *,
        observed: str = "fit_mass",
        seed: int = 0,
    ) -> Self:
        """Events of the skim in ``folder`` that ``run`` wrote.

        Signal is what is marked ``true``, wholly truth-matched (R1 sec. 7.1); events with a
        feature that is not finite are left out. ``seed`` decides the roles, which are functions
        of it and of the event's identity.

        Raises InputError without events of either kind.
        """
        identity = [canonical_branch(name) for name in IDENTITY]
        parts: list[dict[str, Any]] = []
        names: list[str] = []
        for sample in run.samples.values():
            if sample["kind"] == "data" or not sample["scale"]:
                continue
            table = read_skim(folder, sample["name"])
            columns = {name: ak.to_numpy(table[name]) for name in table.fields}
            values = np.stack([columns[name] for name in ranges], axis=1).astype(np.float32)
            signal = sample["kind"] == "signal"
            kept = np.isfinite(values).all(axis=1) & np.isfinite(columns[observed])
            if signal:
                kept &= columns["true"]
            keys = event_keys(seed, "role in training", *(columns[name] for name in identity))
            role = np.searchsorted(np.cumsum([*SHARES.values()])[:-1], uniforms(keys, 0))
            count = int(kept.sum())
            parts.append(
                {
                    "features": values[kept],
                    "signal": np.full(count, signal),
                    "weight": columns["weight"][kept] * float(sample["scale"]),
                    "mass": np.full(count, sample["mass"] if signal else np.nan),
                    "observed": columns[observed][kept],
                    "role": role[kept].astype(np.int8),
                    "source": np.full(count, len(names), dtype=np.int16),
                }
            )
            names.append(sample["name"])
        for kind in (True, False):
            if not any((part["signal"] == kind).any() for part in parts):
                word = "signal" if kind else "background"
                raise InputError(f"{folder}: no {word} event to learn from")
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(**joined, ranges=dict(ranges), names=tuple(names))

    def __len__(self) -> int:
        return len(self.signal)

    def of(self, role: str) -> TrainingSample:
        """Events of one role."""
        return self.where(self.role == ROLES.index(role))

    def where(self, chosen: NDArray[np.bool_]) -> TrainingSample:
        """Events of a mask (n,)."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: c[chosen] for name, c in columns.items() if isinstance(c, np.ndarray)}
        return TrainingSample(**{**columns, **arrays})

    def without(self, features: Sequence[str]) -> TrainingSample:
        """The same events without some features."""
        kept = [i for i, name in enumerate(self.ranges) if name not in features]
        ranges = {name: span for name, span in self.ranges.items() if name not in features}
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return TrainingSample(**{**columns, "features": self.features[:, kept], "ranges": ranges})

    @property
    def scaled(self) -> NDArray[np.float32]:
        """Features mapped from their ranges to [0, 1], what lies outside to the ends, (n, k)."""
        low, high = np.array([*self.ranges.values()], dtype=np.float32).T
        scaled = np.clip((self.features - low) / (high - low), 0.0, 1.0)
        return np.asarray(scaled, dtype=np.float32)

    @property
    def balanced(self) -> Array:
        """Weights (n,) with which every mass counts the same, and signal as much as background.

        Backgrounds keep their expected composition (R1 sec. 7.1). The mean is one.
        """
        weight = self.weight.copy()
        for mass in np.unique(self.mass[self.signal]):
            of_mass = self.mass == mass
            weight[of_mass] /= weight[of_mass].sum()
        for kind in (self.signal, ~self.signal):
            if kind.any():
                weight[kind] *= 0.5 * len(self) / weight[kind].sum()
        return weight

    def thinned(self, seed: int) -> TrainingSample:
        """With at most as many signal as background events, chosen at random.

        Equal weights of unequal numbers would sample the space of features unevenly; R1 keeps
        10 % of its signal for that (table 7.3).
        """
        wanted = int((~self.signal).sum())
        rows = np.flatnonzero(self.signal)
        if len(rows) <= wanted:
            return self
        dropped = np.random.default_rng(seed).permutation(rows)[wanted:]
        kept = np.ones(len(self), dtype=bool)
        kept[dropped] = False
        return self.where(kept)
