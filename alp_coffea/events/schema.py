"""The canonical ntuple layout as coffea collections.

One entry per event; jagged branches carry the prefix of their collection (``gamma_E`` becomes
``events.Photon.E``), event identity and the generator weight are scalars (``__run__`` becomes
``events.run``). Names after the prefix are basf2's. TTree, RNTuple and parquet look the same.

>>> canonical_branch("Photon.clusterTiming"), canonical_branch("experiment")
('gamma_clusterTiming', '__experiment__')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import awkward as ak
import numpy as np
from coffea.nanoevents import BaseSchema
from coffea.nanoevents.schemas.base import zip_forms
from vector.backends.awkward import behavior as vector_behavior

from alp_coffea.errors import MissingFieldError, WrongTypeError, suggest
from alp_coffea.physics.beams import Beams

#: Collections of the canonical layout and the branch prefix of each.
PREFIXES: Final[Mapping[str, str]] = {"Photon": "gamma_", "Track": "track_", "Truth": "mc_"}
#: Event-level fields whose branch carries basf2's counter decoration.
IDENTITY: Final = ("experiment", "run", "event", "production")
#: Mass of the electron [GeV], the default mass hypothesis of a track (PDG 2024).
ELECTRON_MASS: Final = 0.51099895e-3


def canonical_branch(field: str) -> str:
    """Branch name of ``"Photon.E"`` (collection.field) or ``"run"`` (event level)."""
    collection, dot, name = field.partition(".")
    if dot:
        return PREFIXES[collection] + name
    return f"__{field}__" if field in IDENTITY else field


def check_fields(
    needed: Sequence[str],
    branches: Iterable[str],
    *,
    path: str,
    tree: str,
    processor: str,
    misfits: Mapping[str, str] | None = None,
) -> None:
    """Raise MissingFieldError unless every needed canonical field has its branch.

    Raises WrongTypeError if one is among the ``misfits``, by type.
    """
    for field in needed:
        stored = (misfits or {}).get(canonical_branch(field))
        if stored is not None:
            raise WrongTypeError(
                f"{path}: tree '{tree}', branch '{canonical_branch(field)}' is '{stored}'; "
                f"processor '{processor}' reads {field} as a list of numbers per event. Write it "
                "as a variable-length array"
            )
    existing = set(branches)
    lines = [
        f"  {field} (branch '{branch}'{suggest(branch, existing)})"
        for field in needed
        if (branch := canonical_branch(field)) not in existing
    ]
    if lines:
        raise MissingFieldError(
            f"{path}: tree '{tree}' lacks what processor '{processor}' reads:\n"
            + "\n".join(lines)
            + f"\nThe tree has {len(existing)} branches, among them: "
            + ", ".join(sorted(existing)[:12])
            + ".\nCanonical files have one prefix per collection "
            + f"({', '.join(f'{p}* for {c}' for c, p in PREFIXES.items())})."
        )


class AlpSchema(BaseSchema):
    """Groups the branches of the canonical layout into Photon, Track and Truth."""

    def __init__(self, base_form: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(base_form, *args, **kwargs)
        forms = dict(zip(self._form["fields"], self._form["contents"], strict=True))
        fields: dict[str, Any] = {}
        for collection, prefix in PREFIXES.items():
            members = {
                name.removeprefix(prefix): form
                for name, form in forms.items()
                if name.startswith(prefix) and form["class"].startswith("ListOffset")
            }
            if members:
                fields[collection] = zip_forms(members, collection, collection)
        for name, form in forms.items():
            plain = name.strip("_")
            if form["class"] == "NumpyArray":
                fields[plain if plain in IDENTITY else name] = form
        self._form["fields"] = list(fields)
        self._form["contents"] = list(fields.values())

    @classmethod
    def behavior(cls) -> dict[Any, Any]:
        """Behaviours of the base schema, of vector and of our collections."""
        return {**BaseSchema.behavior(), **vector_behavior, **_behavior}


class PhotonArray(ak.Array):
    """Photon candidates: lab-frame energy [GeV] and angles [rad] of ECL clusters."""

    @property
    def p4(self) -> ak.Array:
        """Massless four-momenta in the lab [GeV] with vector's methods."""
        return _momentum(self.E * np.sin(self.theta), self.theta, self.phi, 0.0)

    def E_cm(self, beams: Beams) -> ak.Array:
        """Energies in the centre-of-mass frame [GeV]."""
        from alp_coffea.physics.kinematics import energy_cm

        return energy_cm(self.E, self.theta, self.phi, beams)

    def recoil_mass2(self, beams: Beams) -> ak.Array:
        """Squared mass recoiling against each photon [GeV^2], may be negative."""
        from alp_coffea.physics.kinematics import recoil_mass2

        return recoil_mass2(self.E_cm(beams), beams.sqrt_s)


class TrackArray(ak.Array):
    """Charged tracks: momenta [GeV], impact parameters relative to the IP [cm]."""

    @property
    def p4(self) -> ak.Array:
        """Four-momenta in the lab [GeV] under the electron hypothesis."""
        return _momentum(self.p * np.sin(self.theta), self.theta, self.phi, ELECTRON_MASS)


def _momentum(pt: ak.Array, theta: ak.Array, phi: ak.Array, mass: float) -> ak.Array:
    return ak.zip(
        {"pt": pt, "theta": theta, "phi": phi, "mass": ak.full_like(pt, mass)},
        with_name="Momentum4D",
        behavior=vector_behavior,
    )


_behavior: dict[Any, Any] = {
    ("*", "Photon"): PhotonArray,
    ("*", "Track"): TrackArray,
}
