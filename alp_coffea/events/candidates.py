"""Photon triples of events, what is computed from them, and where their candidates come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from alp_coffea.physics import kernels
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.beams import Beams

#: PDG code of the axion-like particle in basf2 steering files.
ALP_PDG: Final = 9000006

#: Photon indices of the first and second daughter of candidates 0, 1, 2.
_DAUGHTERS: Final = np.array(kin.CANDIDATE_ROLES).T[1:]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class FlatPhotons:
    """Photon columns of a chunk, flat over its events; each is read when first asked for.

    ``offsets`` (n + 1,) delimit the events; ``photons.E`` [GeV], ``photons.theta`` [rad] and so
    on have shape (offsets[-1],). ``replace`` holds columns used instead of those read.
    """

    def __init__(self, photons: ak.Array, **replace: NDArray[np.generic]) -> None:
        self.jagged = photons
        self._columns: dict[str, NDArray[np.generic]] = dict(replace)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where events begin in the flat columns, (n + 1,)."""
        return np.asarray(_packed(self.jagged["E"]).offsets.data, dtype=np.int64)

    def __getattr__(self, name: str) -> NDArray[np.generic]:
        # names of methods that pickle and numpy look for are not branches
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._columns:
            self._columns[name] = np.asarray(ak.to_numpy(_packed(self.jagged[name]).content))
        return self._columns[name]

    def __len__(self) -> int:
        """Number of events."""
        return len(self.offsets) - 1

    def replaced(self, **columns: NDArray[np.generic]) -> FlatPhotons:
        """The same photons with other or further flat columns; everything computed follows."""
        return FlatPhotons(self.jagged, **{**self._columns, **columns})

    @property
    def impossible(self) -> int:
        """Number of photons whose energy or angles cannot be; they fail every selection."""
        return int(kernels.count_impossible(self.E, self.theta, self.phi))


def _packed(column: ak.Array) -> ak.contents.ListOffsetArray:
    layout = ak.to_layout(ak.materialize(column))
    if layout.is_indexed:  # some events were left out
        layout = layout.project()
    layout = layout.to_ListOffsetArray64(True)
    return ak.to_packed(layout) if layout.content.is_option else layout


@dataclass(frozen=True)
class Acceptance:
    """Per-photon cuts that are passed before the three most energetic are taken.

    ``energy_min`` [GeV], ``theta`` [rad] as (low, high), and a further column that must exceed a
    value, ``None`` for no such cut.
    """

    energy_min: float
    theta: tuple[float, float]
    above: tuple[str, float] | None = None

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """Smallest energy, both polar angles, and what the further column must exceed."""
        return self.energy_min, *self.theta, -math.inf if self.above is None else self.above[1]


def _columns(photons: FlatPhotons, acceptance: Acceptance) -> tuple[NDArray[np.generic], ...]:
    """What an acceptance looks at; without a further column the energies stand in for it."""
    name = "E" if acceptance.above is None else acceptance.above[0]
    return photons.E, photons.theta, photons.phi, getattr(photons, name)


class Shared:
    """A cached property that triples take from those they were made of, where they can."""

    def __init__(self, compute: Callable[[Any], Array]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, triples: PhotonTriples | None, owner: type) -> Any:
        if triples is None:
            return self
        value = triples._inherited(self._name)
        value = self._compute(triples) if value is None else value
        triples.__dict__[self._name] = value
        return value


class PhotonTriples:
    """Events with three photons, most energetic first.

    Photon columns are attributes of shape (n, 3) (``triples.E`` [GeV], ``triples.theta`` [rad],
    ...); ``event`` (n,) is each triple's position in its chunk. Column c of a quantity of
    candidates is candidate c of ``kinematics.CANDIDATE_ROLES``. Everything is computed when first
    asked for, and once: triples made of others by :meth:`narrowed` or :meth:`passing` take from
    them what is the same.
    """

    def __init__(
        self,
        photons: FlatPhotons,
        event: NDArray[np.int64],
        index: NDArray[np.int64],
        *,
        source: tuple[Self, NDArray[np.int64]] | None = None,
        other: NDArray[np.int64] | None = None,
    ) -> None:
        # `source` are the triples that these were made of, and the row of each in them; `other`
        # the rows here whose photons are not those of the source
        self.photons = photons
        self.event = event
        self.index = index
        self._source = source
        self._other = other

    def __len__(self) -> int:
        return len(self.event)

    def __getattr__(self, name: str) -> Array:
        # __dict__ because attributes are missing while an object is being unpickled
        if name.startswith("_") or "photons" not in self.__dict__:
            raise AttributeError(name)
        column = self._inherited(name)
        if column is None:
            column = getattr(self.photons, name).take(self.index).astype(np.float64, copy=False)
        self.__dict__[name] = column
        return column

    def _inherited(self, name: str) -> Array | None:
        """A quantity of the triples that these were made of, None without such."""
        if self._source is None:
            return None
        source, row = self._source
        values: Array = getattr(source, name).take(row, axis=0)
        if self._other is not None and len(self._other):
            values[self._other] = getattr(self._apart, name)
        return values

    @cached_property
    def _apart(self) -> Self:
        """The triples whose photons are not those of the source."""
        return type(self)(self.photons, self.event[self._other], self.index[self._other])

    @classmethod
    def choose(cls, photons: FlatPhotons, acceptance: Acceptance) -> Self:
        """The three most energetic of the photons that pass every per-photon cut."""
        event, index = kernels.three_most_energetic(
            photons.offsets, *_columns(photons, acceptance), *acceptance.limits
        )
        return cls(photons, event, index)

    def narrowed(self, acceptance: Acceptance) -> Self:
        """The same for an acceptance that lies inside the one of these triples."""
        row, index, same = kernels.three_of_narrower(
            self.event,
            self.index,
            self.photons.offsets,
            *_columns(self.photons, acceptance),
            *acceptance.limits,
        )
        event, source = self.event[row], self
        if self._source is not None:
            # straight to where things are computed, without a copy in between
            same &= ~np.isin(row, [] if self._other is None else self._other)
            source, before = self._source
            row = before[row]
        return type(self)(
            self.photons, event, index, source=(source, row), other=np.flatnonzero(~same)
        )

    def passing(self, keep: Mask) -> Self:
        """Triples of a mask over these triples (n,)."""
        rows = np.flatnonzero(keep)
        index = self.index.take(rows, axis=0)
        return type(self)(self.photons, self.event[rows], index, source=(self, rows))

    @property
    def in_chunk(self) -> Mask:
        """Whether each event of the chunk has a triple."""
        mask = np.zeros(len(self.photons), dtype=bool)
        mask[self.event] = True
        return mask

    @Shared
    def pair_masses2(self) -> Array:
        """Squared diphoton masses of the candidates [GeV^2], shape (n, 3)."""
        return np.asarray(kernels.pair_masses2(self.E, self.theta, self.phi))

    @Shared
    def three_photon_mass(self) -> Array:
        """m(gamma gamma gamma) [GeV], shape (n,)."""
        one, two, three = self.pair_masses2.T
        return np.asarray(np.sqrt(one + two + three))

    def recoil_masses2(self, beams: Beams) -> Array:
        """Squared recoil masses of the candidates [GeV^2], shape (n, 3)."""
        return np.asarray(
            kernels.recoil_masses2(self.E, self.theta, self.phi, beams.momentum, beams.sqrt_s)
        )

    @cached_property
    def _pair_angles(self) -> tuple[Array, Array]:
        delta_theta, delta_phi = kernels.pair_angles(self.theta, self.phi)
        return delta_theta, delta_phi

    @Shared
    def delta_theta(self) -> Array:
        """Polar separation of the two daughters of each candidate [rad], shape (n, 3)."""
        return self._pair_angles[0]

    @Shared
    def delta_phi(self) -> Array:
        """Azimuthal separation of the two daughters, in [0, pi] [rad], shape (n, 3)."""
        return self._pair_angles[1]

    @Shared
    def zernike_of_most_isolated(self) -> Array:
        """Zernike MVA of the photon farthest from the other two, shape (n,)."""
        isolated = kernels.most_isolated(self.delta_theta, self.delta_phi)
        chosen = self.index[np.arange(len(self)), isolated]
        return np.asarray(self.photons.clusterZernikeMVA[chosen], dtype=np.float64)

    @Shared
    def timing_chi(self) -> Array:
        """Largest normalised distance from the mean cluster time t_c, shape (n,)."""
        return np.asarray(kernels.timing_chi(self.clusterTiming, self.clusterErrorTiming))

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


class AwkwardTriples(PhotonTriples):
    """The readable twin: awkward arrays choose the photons, ``kinematics`` has the formulas.

    The oracle that the kernels are held against; about half as fast.
    """

    @classmethod
    def choose(cls, photons: FlatPhotons, acceptance: Acceptance) -> Self:
        """The three most energetic of the photons that pass every per-photon cut."""
        return cls(photons, *_chosen_with_awkward(photons, acceptance, np.arange(len(photons))))

    def narrowed(self, acceptance: Acceptance) -> Self:
        """The same, of the events of these triples, chosen and computed afresh."""
        event, index = _chosen_with_awkward(self.photons, acceptance, self.event)
        return type(self)(self.photons, event, index)

    @Shared
    def pair_masses2(self) -> Array:
        return kin.pair_masses2(self.E, self.theta, self.phi)

    def recoil_masses2(self, beams: Beams) -> Array:
        energy_cm = kin.energy_cm(self.E, self.theta, self.phi, beams)
        return np.asarray(kin.recoil_mass2(energy_cm, beams.sqrt_s))

    @Shared
    def delta_theta(self) -> Array:
        one, two = _DAUGHTERS
        return np.asarray(kin.delta_theta(self.theta[:, one], self.theta[:, two]))

    @Shared
    def delta_phi(self) -> Array:
        one, two = _DAUGHTERS
        return np.asarray(kin.delta_phi(self.phi[:, one], self.phi[:, two]))

    @Shared
    def zernike_of_most_isolated(self) -> Array:
        isolated = kin.most_isolated(self.theta, self.phi)
        return np.take_along_axis(self.clusterZernikeMVA, isolated[:, None], axis=1)[:, 0]

    @Shared
    def timing_chi(self) -> Array:
        return np.asarray(kin.timing_chi(self.clusterTiming, self.clusterErrorTiming))


def _chosen_with_awkward(
    photons: FlatPhotons, acceptance: Acceptance, among: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Events (m,) among some that have three photons in an acceptance, and their triples (m, 3)."""
    counts = np.diff(photons.offsets)
    energy_min, low, high, least = acceptance.limits
    names = ("E", "theta", "phi", "quality")
    jagged = ak.zip(
        {
            name: ak.unflatten(column[: photons.offsets[-1]], counts)
            for name, column in zip(names, _columns(photons, acceptance), strict=True)
        }
    )
    jagged["index"] = ak.unflatten(np.arange(photons.offsets[-1]), counts)
    jagged = jagged[among]
    passing = (
        (jagged.E >= energy_min)
        & (jagged.theta > low)
        & (jagged.theta < high)
        & kin.valid_photon(jagged.E, jagged.theta, jagged.phi)
    )
    if acceptance.above is not None:
        passing = passing & (jagged.quality > least)
    three = np.flatnonzero(ak.sum(passing, axis=1) >= 3)
    left = jagged[three][passing[three]]
    by_energy = ak.argsort(left.E, axis=1, ascending=False, stable=True)
    return among[three], ak.to_numpy(left.index[by_energy][:, :3]).reshape(-1, 3)
