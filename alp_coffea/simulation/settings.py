"""Every constant of the detector simulation, in one typed object.

Each description ends with where the value comes from: *independent* (geometry, published
detector descriptions, or an educated guess made without looking at any yield) or *calibrated*
to a named quantity. Angles in rad, energies in GeV, times in ns, lengths in cm.
"""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from alp_coffea.errors import ConfigurationError, suggest

_DEG = math.pi / 180


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calorimeter(_Settings):
    """Crystal calorimeter: acceptance, response to photons, shower shapes and timing."""

    energy_stochastic: float = Field(
        default=0.02,
        ge=0,
        description="sigma_E/E = this/sqrt(E). Independent: CsI(Tl) design value",
    )
    energy_constant: float = Field(
        default=0.016,
        ge=0,
        description="constant term of sigma_E/E. Independent: CsI(Tl) design value",
    )
    energy_noise: float = Field(
        default=0.003,
        ge=0,
        description="sigma_E/E = this/E. Independent: electronics and pile-up noise",
    )
    energy_tail_alpha: float = Field(
        default=1.2,
        gt=0,
        description="start of the low-energy tail in sigmas (Crystal Ball). Independent: leakage "
        "of 16 radiation lengths, educated guess",
    )
    energy_tail_n: float = Field(
        default=6.0, gt=1, description="power of the low-energy tail. Independent: educated guess"
    )
    angle_constant: float = Field(
        default=0.003, ge=0, description="angular resolution, constant. Independent: 6 cm crystals"
    )
    angle_stochastic: float = Field(
        default=0.0035,
        ge=0,
        description="angular resolution, this/sqrt(E). Independent: 6 cm crystals",
    )
    efficiency: float = Field(
        default=0.98,
        gt=0,
        le=1,
        description="probability that a photon in the acceptance makes a usable neutral cluster. "
        "Independent: educated guess, 0.975-0.985",
    )
    energy_threshold: float = Field(
        default=0.02,
        ge=0,
        description="smallest cluster energy. Independent: 20 MeV (R0 section 3.4.2)",
    )
    forward_min: float = Field(
        default=12.0 * _DEG, description="forward endcap. Independent: R0 3.4.2"
    )
    forward_max: float = Field(
        default=31.4 * _DEG, description="forward endcap. Independent: R0 3.4.2"
    )
    barrel_min: float = Field(default=32.3 * _DEG, description="barrel. Independent: R0 3.4.2")
    barrel_max: float = Field(default=128.7 * _DEG, description="barrel. Independent: R0 3.4.2")
    backward_min: float = Field(
        default=131.5 * _DEG, description="backward endcap. Independent: R0 3.4.2"
    )
    backward_max: float = Field(
        default=155.0 * _DEG, description="backward endcap. Independent: R0 3.4.2"
    )
    forward_rings: int = Field(default=13, gt=0, description="crystal rings. Independent: R0 3.4.2")
    barrel_rings: int = Field(default=46, gt=0, description="crystal rings. Independent: R0 3.4.2")
    backward_rings: int = Field(
        default=10, gt=0, description="crystal rings. Independent: R0 3.4.2"
    )
    barrel_columns: int = Field(
        default=144,
        gt=0,
        description="crystals around a barrel ring. Independent: 6624 / 46 (R0 3.4.2)",
    )
    time_resolution: float = Field(
        default=0.8, ge=0, description="time resolution at high energy. Independent: educated guess"
    )
    time_noise: float = Field(
        default=0.4,
        ge=0,
        description="time resolution grows by this/E [ns GeV]. Independent: guess",
    )
    hits_offset: float = Field(
        default=15.0, gt=0, description="crystals of a 1 GeV cluster. Independent: educated guess"
    )
    hits_slope: float = Field(
        default=3.5, ge=0, description="crystals gained per factor e in energy. Independent: guess"
    )
    hits_spread: float = Field(
        default=2.0, ge=0, description="spread of crystals. Independent: guess"
    )
    zernike_scale: float = Field(
        default=0.03,
        gt=0,
        description="mean of 1 - Zernike MVA of an isolated photon. Independent: guess",
    )
    zernike_tail: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="fraction of photons with a uniform Zernike MVA. Independent: guess",
    )
    zernike_overlap: float = Field(
        default=1.2,
        ge=0,
        description="loss of Zernike MVA per shared fraction of a 5x5 cluster. Independent: the "
        "variable falls for close clusters (R0 5.3.1), size guessed",
    )


class BeamBackground(_Settings):
    """Clusters from beam background: soft, out of time, mostly in the endcaps."""

    clusters: float = Field(
        default=1.0,
        ge=0,
        le=30,
        description="mean clusters per event above threshold. Independent: guess",
    )
    energy_slope: float = Field(
        default=0.05, gt=0, description="mean energy above threshold. Independent: educated guess"
    )
    time_window: float = Field(
        default=1000.0,
        gt=0,
        description="half width of the flat time distribution. Independent: range of clusterTiming",
    )


class Detector(_Settings):
    """All detector constants; see :meth:`named` for the two documented settings."""

    calorimeter: Calorimeter = Calorimeter()
    background: BeamBackground = BeamBackground()

    @classmethod
    def named(cls, name: str) -> Self:
        """The settings ``phase2-2018`` (few beam-background clusters) or ``run1`` (many).

        Raises ConfigurationError for another name.
        """
        if name not in _NAMED:
            raise ConfigurationError(
                f"detector settings '{name}' do not exist{suggest(name, _NAMED)}; known: "
                f"{', '.join(_NAMED)}"
            )
        return cls.model_validate(_NAMED[name])

    def constants(self) -> Any:
        """The same values as one named tuple for the kernels."""
        values: dict[str, float] = {}
        for prefix, group in (("", self.calorimeter), ("background_", self.background)):
            values |= {prefix + key: float(value) for key, value in group.model_dump().items()}
        return DetectorConstants(**values)


_NAMED: Final[dict[str, dict[str, Any]]] = {
    "phase2-2018": {"background": {"clusters": 1.0}},
    "run1": {"background": {"clusters": 4.0}},
}

#: what the kernels see of :class:`Detector`: one flat tuple of floats
DetectorConstants = namedtuple(  # type: ignore[misc]  # the fields are those of the models
    "DetectorConstants",
    [*Calorimeter.model_fields, *("background_" + key for key in BeamBackground.model_fields)],
)
