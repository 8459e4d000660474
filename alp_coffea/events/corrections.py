"""Corrections of photon energies and event weights, and the systematic variations of both.

Corrections come before the selection, so that everything computed from an energy follows it: the
choice of photons, masses, cuts. Random numbers depend on nothing but seed and event identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import awkward as ak
import numpy as np
import yaml
from coffea.analysis_tools import Weights
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PositiveFloat, PrivateAttr, model_validator

from alp_coffea.errors import ConfigurationError, suggest
from alp_coffea.events.candidates import FlatPhotons, PhotonTriples
from alp_coffea.events.schema import IDENTITY
from alp_coffea.events.weights import event_weight
from alp_coffea.rng import event_keys, normals
from alp_coffea.yaml_models import Model, expand_variables, parse

Array = NDArray[np.float64]


class EnergyTable(Model):
    """A relative quantity at photon energies [GeV]: linear in between, constant beyond the ends."""

    energy: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    value: tuple[float, ...]

    @model_validator(mode="after")
    def _ordered(self) -> EnergyTable:
        if len(self.value) != len(self.energy):
            raise ValueError(f"{len(self.energy)} energies but {len(self.value)} values")
        if any(b <= a for a, b in zip(self.energy, self.energy[1:], strict=False)):
            raise ValueError("energies must increase")
        return self

    def __call__(self, energy: ArrayLike) -> Array:
        """Value at energies [GeV]."""
        return np.asarray(np.interp(np.asarray(energy), self.energy, self.value))


class EnergyFile(Model):
    """The same from a correctionlib JSON: a correction whose only input is the energy [GeV].

    The file is read when the processor is made, so workers need not see it; ``${VARIABLE}`` in
    its path is expanded.
    """

    file: str
    name: str
    _content: str = PrivateAttr()

    def model_post_init(self, _context: Any) -> None:
        """Read the file and check that it holds the correction."""
        path = Path(expand_variables(self.file, Path(self.file)))
        try:
            self._content = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"correction file {path} cannot be read: {error}") from error
        self._correction()

    def _correction(self) -> Any:
        import correctionlib  # slow, and rarely needed

        try:
            corrections = correctionlib.CorrectionSet.from_string(self._content)
        except RuntimeError as error:
            raise ConfigurationError(f"{self.file} is no correctionlib JSON: {error}") from error
        if self.name not in list(corrections):
            raise ConfigurationError(
                f"{self.file}: no correction '{self.name}'{suggest(self.name, list(corrections))} "
                f"(has {', '.join(corrections)})"
            )
        inputs = [variable.name for variable in corrections[self.name].inputs]
        if len(inputs) != 1:
            raise ConfigurationError(
                f"{self.file}: correction '{self.name}' takes {', '.join(inputs) or 'nothing'}; "
                "the photon energy must be its only input"
            )
        return corrections[self.name]

    def __call__(self, energy: ArrayLike) -> Array:
        """Value at energies [GeV]."""
        return np.asarray(self._correction().evaluate(np.asarray(energy, dtype=np.float64)))


class Corrections(Model):
    """What is corrected; nothing by default.

    ``energy_bias`` is the relative shift of photon energies of data, ``energy_smearing`` the
    relative width of a Gaussian smearing of those of simulation (R0 sec. 7.5.1).
    ``photon_efficiency`` is the relative difference of the efficiency per photon, data over
    simulation minus one, by which simulated events are weighted, and ``photon_efficiency_error``
    its uncertainty.
    """

    energy_bias: EnergyTable | EnergyFile | None = None
    energy_smearing: EnergyTable | EnergyFile | None = None
    photon_efficiency: EnergyTable | EnergyFile | None = None
    photon_efficiency_error: EnergyTable | EnergyFile | None = None
    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> Corrections:
        """From the option of an analysis file; raises ConfigurationError naming the key."""
        return parse(
            yaml.safe_dump(dict(settings or {})), cls, where="processor option 'corrections'"
        )

    def energies(self, photons: FlatPhotons, events: ak.Array) -> FlatPhotons:
        """Photons of a chunk with corrected energies."""
        if events.metadata["kind"] == "data":
            if self.energy_bias is None:
                return photons
            energy = np.asarray(photons.E, dtype=np.float64)
            return photons.replaced(E=energy * (1 + self.energy_bias(energy)))
        if self.energy_smearing is None:
            return photons
        return smeared(photons, self.energy_smearing, events, self.seed, "photon energy smearing")

    def weights(self, events: ak.Array, triples: PhotonTriples) -> Weights:
        """Weights (n,) of a chunk's events: the generator's, and the efficiency of each of the
        three photons of ``triples``, for simulation; events without a triple keep theirs."""
        weights = Weights(len(events))
        weights.add("generator", event_weight(events))
        if self.photon_efficiency is not None and events.metadata["kind"] != "data":
            factor = 1 + self.photon_efficiency(triples.E)
            error = self.photon_efficiency_error
            shift = np.zeros_like(factor) if error is None else error(triples.E)
            by_event = []
            for shifted in (factor, factor + shift, factor - shift):
                column = np.ones(len(events))
                column[triples.event] = shifted.prod(axis=1)
                by_event.append(column)
            nominal, up, down = by_event
            weights.add(
                "photon_efficiency",
                nominal,
                weightUp=None if error is None else up,
                weightDown=None if error is None else down,
            )
        return weights


def shifted_weights(weights: Weights) -> dict[str, Array]:
    """Weights (n,) of every weight variation by name, such as ``photon_efficiency_up``."""
    return {
        name.removesuffix(end) + f"_{end.lower()}": np.asarray(weights.weight(name))
        for name in sorted(weights.variations)
        for end in ("Up", "Down")
        if name.endswith(end)
    }


def smeared(
    photons: FlatPhotons,
    width: EnergyTable | EnergyFile,
    events: ak.Array,
    seed: int,
    purpose: str,
) -> FlatPhotons:
    """Photons with energies times 1 + width(E) * normal, one number per photon and purpose.

    The numbers are functions of seed, purpose, event identity and the photon's place in its
    event, so they depend on neither chunking nor executor.
    """
    keys = event_keys(seed, purpose, *(ak.to_numpy(events[part]) for part in IDENTITY))
    counts = np.diff(photons.offsets)
    place = np.arange(photons.offsets[-1]) - np.repeat(photons.offsets[:-1], counts)
    energy = np.asarray(photons.E, dtype=np.float64)[: photons.offsets[-1]]
    return photons.replaced(
        E=energy * (1 + width(energy) * normals(np.repeat(keys, counts), place))
    )


# --- systematic variations -----------------------------------------------------------------------


@dataclass(frozen=True)
class Variation:
    """One shifted evaluation of the selection, declared by a processor.

    A *weight* variation changes which events count and how much: weights and cut thresholds. A
    *kinematic* one moves photons, and with them masses. ``nuisance`` becomes the name of the
    nuisance parameter, which is one and the same at all masses if ``correlated``.
    """

    nuisance: str
    direction: Literal["up", "down"]
    kind: Literal["weight", "kinematic"]
    correlated: bool = True

    @property
    def name(self) -> str:
        """``<nuisance>_<direction>``, the category of histograms."""
        return f"{self.nuisance}_{self.direction}"

    @property
    def sign(self) -> int:
        """+1 for up, -1 for down."""
        return 1 if self.direction == "up" else -1
