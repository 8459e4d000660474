"""Joining trees on event identity (experiment, run, event, production).

basf2 writes one tree per particle list. Trees of one job have the same events in the same order;
trees of different jobs, or files merged in another order, need not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import DuplicateEventError, JoinError

IDENTITY: Final = ("experiment", "run", "event", "production")


@dataclass(frozen=True)
class Identity:
    """Event identity columns, each int64 of shape (n,)."""

    experiment: NDArray[np.int64]
    run: NDArray[np.int64]
    event: NDArray[np.int64]
    production: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.event)

    @property
    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """The four columns in the order of their significance."""
        return self.experiment, self.run, self.event, self.production

    def __getitem__(self, index: Any) -> Identity:
        return Identity(*(column[index] for column in self.columns))

    def at(self, index: int) -> str:
        """One event in words, for messages."""
        values = (f"{n} {int(c[index])}" for n, c in zip(IDENTITY, self.columns, strict=True))
        return ", ".join(values)

    def equals(self, other: Identity) -> bool:
        """Same events in the same order."""
        return all(np.array_equal(a, b) for a, b in zip(self.columns, other.columns, strict=True))

    def keys(self) -> NDArray[np.uint64]:
        """64-bit hash of each identity."""
        from alp_coffea.rng import event_keys  # compiled: not for a look at headers

        return event_keys(0, "event identity", *self.columns)

    @staticmethod
    def concatenate(parts: Sequence[Identity]) -> Identity:
        """Identities one after the other."""
        return Identity(
            *(np.concatenate(columns) for columns in zip(*(p.columns for p in parts), strict=True))
        )


def first_duplicate(keys: NDArray[np.uint64]) -> int | None:
    """Index of the earliest key that occurred before, None if all are distinct."""
    order = np.argsort(keys, kind="stable")
    repeated = order[1:][keys[order[1:]] == keys[order[:-1]]]
    return int(repeated.min()) if repeated.size else None


@dataclass(frozen=True)
class Join:
    """Events of the result and, per tree, the entry of each (-1 where a tree lacks it).

    ``entries[k]`` is None when tree k has exactly these events in this order.
    """

    identity: Identity
    entries: tuple[NDArray[np.int64] | None, ...]
    absent: tuple[int, ...]


def join(identities: Sequence[Identity], names: Sequence[str], *, strict: bool) -> Join:
    """Match the events of several trees.

    Parameters
    ----------
    identities, names
        Of each tree; names are for messages. The first tree decides the order.
    strict
        Demand the same events in the same order, as one basf2 job writes them. Otherwise trees
        may be in any order, and an event absent from a tree has no objects there.

    Raises
    ------
    JoinError
        If ``strict`` and the events or their order differ.
    DuplicateEventError
        If trees must be matched and one has an event twice.
    """
    first = identities[0]
    if all(len(first) == len(other) and first.equals(other) for other in identities[1:]):
        return Join(first, (None,) * len(identities), (0,) * len(identities))
    if strict:
        _explain(identities, names)
    keys = [identity.keys() for identity in identities]
    for tree_keys, identity, name in zip(keys, identities, names, strict=True):
        if (duplicate := first_duplicate(tree_keys)) is not None:
            raise DuplicateEventError(
                f"{name}: {identity.at(duplicate)} appears twice, so the trees cannot be joined; "
                "remove the duplicate file or events"
            )
    # events of later trees that no earlier one has go to the end
    parts, known = [first], keys[0]
    for tree_keys, identity in zip(keys[1:], identities[1:], strict=True):
        new = ~np.isin(tree_keys, known)
        if new.any():
            parts.append(identity[new])
            known = np.concatenate([known, tree_keys[new]])
    entries = tuple(_positions(known, tree_keys) for tree_keys in keys)
    absent = tuple(int((entry < 0).sum()) for entry in entries)
    return Join(Identity.concatenate(parts), entries, absent)


def _positions(wanted: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each wanted key is among ``keys``, -1 if nowhere."""
    if keys.size == 0:
        return np.full(wanted.size, -1, np.int64)
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), keys.size - 1)
    index = order[place]
    return np.where(keys[index] == wanted, index, -1)


def _explain(identities: Sequence[Identity], names: Sequence[str]) -> None:
    """Raise the error that says how the trees differ."""
    first, keys = identities[0], identities[0].keys()
    for identity, name in zip(identities[1:], names[1:], strict=True):
        if len(identity) == len(first) and identity.equals(first):
            continue
        other = identity.keys()
        only_first, only_other = ~np.isin(keys, other), ~np.isin(other, keys)
        remedy = (
            "If that is intended, join them by identity (join='identity', --join identity): "
            "events absent from a tree then have no objects in it"
        )
        if only_first.any() or only_other.any():
            example = (
                f"{names[0]} has {first.at(int(np.argmax(only_first)))}"
                if only_first.any()
                else f"{name} has {identity.at(int(np.argmax(only_other)))}"
            )
            raise JoinError(
                f"{names[0]} and {name} do not have the same events: {int(only_first.sum())} only "
                f"in the first, {int(only_other.sum())} only in the second; for example only "
                f"{example}. {remedy}"
            )
        length = min(len(first), len(identity))
        pairs = zip(first.columns, identity.columns, strict=True)
        unequal = np.any([a[:length] != b[:length] for a, b in pairs], axis=0)
        entry = int(np.argmax(unequal)) if unequal.any() else length
        raise JoinError(
            f"{names[0]} and {name} have the same events in different order, from entry {entry} "
            f"on. {remedy}"
        )
