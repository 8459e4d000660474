"""Trees of foreign files while they are being read: identity, columns, collections."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import (
    ConfigurationError,
    MissingFieldError,
    UnreadableFileError,
    WrongTypeError,
)
from alp_coffea.events.conversion.joining import Identity
from alp_coffea.events.opening import TreeInfo, readable

Array = NDArray[np.float64]

#: Branches of each identity column; the second is basf2's event variable of the same meaning,
#: stored as double by old releases.
_IDENTITY_BRANCHES: Final[tuple[tuple[str, str], ...]] = (
    ("__experiment__", "expNum"),
    ("__run__", "runNum"),
    ("__event__", "evtNum"),
    ("__production__", "productionIdentifier"),
)
IDENTITY_COLUMNS: Final = frozenset(name for names in _IDENTITY_BRANCHES for name in names)


@dataclass(frozen=True)
class OpenTree:
    """An open tree of a foreign file and the collection it becomes."""

    path: str
    tree: Any
    info: TreeInfo
    identity: str
    collection: str = ""

    @property
    def where(self) -> str:
        """File and tree, for messages."""
        return f"{self.path}: tree '{self.info.name}'"

    def into(self, collection: str) -> OpenTree:
        """The same tree with its collection decided."""
        return dataclasses.replace(self, collection=collection)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Columns of a range of entries, as awkward arrays.

        Raises UnreadableFileError naming the branch that cannot be decoded.
        """
        wanted = set(names)
        entries = f"entries {start}-{stop}"
        try:
            with readable(self.path, f"tree '{self.info.name}', {entries}"):
                arrays = self.tree.arrays(
                    filter_name=wanted.__contains__, entry_start=start, entry_stop=stop, how=dict
                )
        except UnreadableFileError:
            for name in names:  # find the culprit for the message
                what = f"tree '{self.info.name}', branch '{name}', {entries}"
                with readable(self.path, what):
                    self.tree[name].array(entry_start=start, entry_stop=stop)
            raise
        for name in names:
            # uproot returns what it finds: a damaged header can make that too few
            if len(arrays[name]) != stop - start:
                raise UnreadableFileError(
                    f"{self.where}, branch '{name}' gives {len(arrays[name])} of the "
                    f"{stop - start} entries {start}-{stop}; the file is damaged, copy or produce "
                    "it again"
                )
        return {name: arrays[name] for name in names}

    def identity_names(self) -> list[str]:
        """The branches of this tree that identify an event.

        Raises MissingFieldError if experiment, run or event is missing. Production may be: old
        releases do not write it.
        """
        names = []
        for candidates in _IDENTITY_BRANCHES:
            present = [name for name in candidates if name in self.info.columns]
            if present:
                names.append(present[0])
            elif candidates[0] != "__production__":
                raise MissingFieldError(
                    f"{self.where} has no branch '{candidates[0]}'; events are identified by "
                    "experiment, run, event and production"
                )
        for name in names:
            if self.info.columns[name].kind != "scalar":
                raise WrongTypeError(
                    f"{self.where}, branch '{name}' is '{self.info.columns[name].type}'; event "
                    "identity needs one integer per entry"
                )
        return names

    def identities(self, start: int, stop: int) -> Identity:
        """Identity of a range of entries. Raises as :meth:`read` and :meth:`identity_of`."""
        return self.identity_of(self.read(self.identity_names(), start, stop))

    def identity_of(self, arrays: Mapping[str, ak.Array]) -> Identity:
        """Identity of entries that were read with :meth:`identity_names`."""
        columns = [self._integers(name, arrays[name]) for name in self.identity_names()]
        # old releases store the unsigned event number as a signed one
        columns[2] = np.where(columns[2] < 0, columns[2] + 2**32, columns[2])
        if len(columns) == 3:
            columns.append(np.zeros_like(columns[0]))
        return Identity(*columns)

    def _integers(self, name: str, array: ak.Array) -> NDArray[np.int64]:
        values = ak.to_numpy(array)
        if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
            raise WrongTypeError(
                f"{self.where}, branch '{name}' holds numbers that are not integers; it should "
                "be part of the event identity"
            )
        return np.asarray(values).astype(np.int64)


@dataclass(frozen=True)
class Facts:
    """What a reader found out besides the events themselves."""

    columns: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...]
    truncated_events: int = 0
    notes: tuple[str, ...] = field(default=())


def floats(array: ak.Array) -> Array:
    """A flat column (bool, any integer or float) as float64."""
    return np.asarray(ak.to_numpy(array), dtype=np.float64)


def guess_collection(opened: OpenTree) -> str:
    """Collection of an event-based tree from the name of the tree, else from its columns.

    Raises ConfigurationError where neither tells.
    """
    guess = collection_of(opened.info)
    if guess is None:
        raise ConfigurationError(
            f"{opened.where}: cannot tell whether it is a list of photons, tracks or generator "
            "particles; say it with 'trees', for example {" + opened.info.name + ": Photon}"
        )
    return guess


_TREE_NAMES: Final = {
    "Photon": re.compile(r"gamma|photon|cluster|ecl", re.IGNORECASE),
    "Track": re.compile(r"track|trk|muon|electron|lepton|pion|^(mu|e|pi)\d*$", re.IGNORECASE),
    "Truth": re.compile(r"mc|gen|truth", re.IGNORECASE),
}
#: Variables that only make sense for one kind of particle.
_COLUMN_NAMES: Final = {
    "Track": {"dr", "dz", "d0", "z0", "nCDCHits", "nSVDHits", "pValue", "charge", "muonID"},
    "Photon": {
        "clusterZernikeMVA", "clusterNHits", "minC2TDist", "clusterReg", "clusterE1E9",
        "beamBackgroundSuppression", "fakePhotonSuppression", "clusterSecondMoment", "clusterE",
        "clusterTheta", "clusterPhi", "clusterTiming", "clusterErrorTiming",
    },
}  # fmt: skip


def collection_of(info: TreeInfo) -> str | None:
    """Collection that an event-based tree holds, None when unclear."""
    jagged = set(info.names("jagged"))
    if not jagged:
        return "Event"
    by_name = [name for name, pattern in _TREE_NAMES.items() if pattern.search(info.name)]
    if len(by_name) == 1:
        return by_name[0]
    if "dr" in jagged or "nCDCHits" in jagged:
        return "Track"
    score = {name: len(columns & jagged) for name, columns in _COLUMN_NAMES.items()}
    if score["Photon"] != score["Track"]:
        return max(score, key=lambda name: score[name])
    if jagged & {"mcPDG", "mcPrimary", "genParticleID"} and not jagged & {"clusterE"}:
        return "Truth"
    return None
