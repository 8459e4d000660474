"""Photon triples of selected events, and where their candidates come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.events.selection import Selection
from alp_coffea.physics import kinematics as kin

#: PDG code of the axion-like particle in basf2 steering files.
ALP_PDG: Final = 9000006

#: Photon indices of the first and second daughter of candidates 0, 1, 2.
_DAUGHTERS: Final = np.array(kin.CANDIDATE_ROLES).T[1:]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class PhotonTriples:
    """Columns of shape (n, 3) of events with three photons, most energetic first.

    Photon fields are attributes (``triples.E`` [GeV], ``triples.theta`` [rad], ...); ``event``
    (n,) is each triple's position in its chunk.
    """

    def __init__(self, event: NDArray[np.intp], columns: dict[str, Array]) -> None:
        self.event = event
        self._columns = columns

    def __getattr__(self, name: str) -> Array:
        # __dict__ because _columns itself is missing while an object is being unpickled
        columns = self.__dict__.get("_columns", {})
        if name not in columns:
            raise AttributeError(f"photon triples carry {sorted(columns)}, not '{name}'")
        return np.asarray(columns[name])

    def __len__(self) -> int:
        return len(self.event)

    @classmethod
    def of(
        cls, photons: ak.Array, passing: ak.Array, events: Mask, fields: Sequence[str]
    ) -> PhotonTriples:
        """The three most energetic photons of each event in a mask.

        Parameters
        ----------
        photons
            Jagged photons of the chunk.
        passing
            Jagged booleans: photons to choose from; at least three in each event of the mask.
        events
            Events to take, shape (n_events,).
        fields
            Photon fields to carry.
        """
        position = np.flatnonzero(events)
        if len(position) == 0:
            return cls(position, {name: np.empty((0, 3)) for name in fields})
        index = ak.local_index(passing)[events][passing[events]]
        by_energy = ak.argsort(photons.E[events][index], axis=1, ascending=False, stable=True)
        triple = index[by_energy][:, :3]
        return cls(
            position,
            {
                name: ak.to_numpy(photons[name][events][triple]).astype(np.float64)
                for name in fields
            },
        )

    def passing(self, mask: Mask) -> PhotonTriples:
        """Triples of the events in a mask over the chunk."""
        keep = mask[self.event]
        columns = {name: column[keep] for name, column in self._columns.items()}
        return PhotonTriples(self.event[keep], columns)

    def cutter(self, selection: Selection) -> Callable[[str, Mask], None]:
        """A ``cut(name, passed)`` that takes one boolean per triple instead of per event."""

        def cut(name: str, passed: Mask) -> None:
            mask = np.zeros(len(selection.mask), dtype=bool)
            mask[self.event] = passed
            selection.cut(name, mask)

        return cut

    @property
    def three_photon_mass(self) -> Array:
        """m(gamma gamma gamma) [GeV], shape (n,)."""
        return kin.three_photon_mass(self.E, self.theta, self.phi)

    @property
    def zernike_of_most_isolated(self) -> Array:
        """Zernike MVA of the photon farthest from the other two, shape (n,)."""
        isolated = kin.most_isolated(self.theta, self.phi)
        return np.take_along_axis(self.clusterZernikeMVA, isolated[:, None], axis=1)[:, 0]

    @property
    def timing_chi(self) -> Array:
        """Largest normalised distance from the mean cluster time t_c, shape (n,)."""
        return np.asarray(kin.timing_chi(self.clusterTiming, self.clusterErrorTiming))

    @property
    def delta_theta(self) -> Array:
        """Polar separation of the two daughters of each candidate [rad], shape (n, 3)."""
        one, two = _DAUGHTERS
        return np.asarray(kin.delta_theta(self.theta[:, one], self.theta[:, two]))

    @property
    def delta_phi(self) -> Array:
        """Azimuthal separation of the two daughters, in [0, pi] [rad], shape (n, 3)."""
        one, two = _DAUGHTERS
        return np.asarray(kin.delta_phi(self.phi[:, one], self.phi[:, two]))

    @property
    def origin(self) -> NDArray[np.str_]:
        """``true``, ``combinatorial`` or ``other`` for each candidate, shape (n, 3).

        An event is truth-matched when all three photons match the hard process and two of them
        come from the ALP; then the candidate recoiling against the third photon is the true one
        (R0 sec. 5.1).
        """
        from_alp = self.genMotherPDG == ALP_PDG
        matched = (self.isSignal == 1).all(axis=1) & (from_alp.sum(axis=1) == 2)
        # photon c is the recoil of candidate c
        origin = np.where(from_alp, "combinatorial", "true")
        return np.where(matched[:, None], origin, "other")


def possible_photons(photons: ak.Array) -> ak.Array:
    """Jagged booleans: photons whose energy and angles can be; count the others, they fail."""
    return kin.valid_photon(photons.E, photons.theta, photons.phi)


def event_weight(events: ak.Array) -> Array:
    """Generator weights (n,): the branch that the catalogue names, else one."""
    name = events.metadata["event_weight"]
    if name is None:
        return np.ones(len(events))
    return np.asarray(ak.to_numpy(events[name]), dtype=np.float64)
