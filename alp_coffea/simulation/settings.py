"""Every constant of the detector simulation, in one typed object.

Each description ends with where the value comes from: *independent* (geometry, published
detector descriptions, or an educated guess made without looking at any yield) or *calibrated*
to a named quantity. Angles in rad, energies in GeV, times in ns, lengths in cm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alp_coffea.errors import ConfigurationError, suggest

_DEG = math.pi / 180


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """Every ``x_min`` lies below its ``x_max``."""
        for name in type(self).model_fields:
            other = name.removesuffix("_min") + "_max"
            if name.endswith("_min") and hasattr(self, other):
                low, high = getattr(self, name), getattr(self, other)
                if not low < high:
                    raise ValueError(f"{name} = {low} must be smaller than {other} = {high}")
        return self


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
    energy_scale: float = Field(
        default=1.0, gt=0, description="measured over true energy at the peak. Independent: ideal"
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
    conversion_tracked: float = Field(
        default=0.015,
        ge=0,
        le=0.5,
        description="probability to convert where both tracks can be found. Calibrated, within "
        "the guess of 1-3 %, to the published loose efficiencies (R0 table 5.1)",
    )
    conversion_pipe: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of those in the beam pipe. Independent: guess, its radiation length "
        "over that of everything before the drift chamber",
    )
    conversion_pipe_radius: float = Field(
        default=1.1, gt=0, description="radius of the beam pipe. Independent: design, 10-12 mm"
    )
    conversion_vertex_min: float = Field(
        default=1.4,
        gt=0,
        description="radius where the others start, uniform. Independent: first pixel layer",
    )
    conversion_vertex_max: float = Field(
        default=16.0,
        gt=0,
        description="radius where they end. Independent: inner wall of the drift chamber",
    )
    conversion_untracked: float = Field(
        default=0.003,
        ge=0,
        le=0.5,
        description="probability to convert behind that, two neutral clusters. Independent: guess, "
        "0.2-0.4 %",
    )
    conversion_radius_min: float = Field(
        default=60.0, gt=0, description="where untracked conversions start. Independent: outer CDC"
    )
    conversion_radius_max: float = Field(
        default=120.0, gt=0, description="where they end. Independent: TOP and its supports"
    )
    splitting: float = Field(
        default=0.002,
        ge=0,
        le=0.5,
        description="probability that a shower fluctuation makes a second cluster. Independent: "
        "guess",
    )
    splitting_fraction: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="mean energy share of it. Calibrated: split-offs have tens of MeV, seen in the "
        "selected two-photon events",
    )
    splitting_distance_min: float = Field(
        default=0.09, gt=0, description="its distance. Independent: two to five crystals away"
    )
    splitting_distance_max: float = Field(
        default=0.18, gt=0, description="its distance. Independent: two to five crystals away"
    )
    gap_efficiency: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="probability of a cluster from a photon between barrel and endcap. "
        "Independent: guess",
    )
    gap_energy_min: float = Field(
        default=0.2, ge=0, le=1, description="smallest share of energy it keeps. Independent: guess"
    )
    gap_energy_max: float = Field(
        default=0.8, ge=0, le=1, description="largest share of energy it keeps. Independent: guess"
    )
    edge_leakage: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="largest fraction of energy lost at the edge of a region. Independent: guess",
    )
    edge_width: float = Field(
        default=0.02,
        gt=0,
        description="distance over which it falls by e. Independent: about half a crystal",
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
    barrel_radius: float = Field(
        default=125.0, gt=0, description="front face of the barrel. Independent: R0 3.4.2"
    )
    forward_z: float = Field(
        default=196.0, gt=0, description="front face of the endcap. Independent: R0 3.4.2"
    )
    backward_z: float = Field(
        default=102.0, gt=0, description="front face of the endcap, |z|. Independent: R0 3.4.2"
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
    e1e9_mean: float = Field(
        default=0.69, gt=0, le=1, description="mean E1/E9 of photons. Independent: guess"
    )
    e1e9_spread: float = Field(
        default=0.06, ge=0, description="spread of E1/E9 of photons. Independent: guess"
    )
    suppression_scale: float = Field(
        default=0.02,
        gt=0,
        description="mean of 1 - beamBackgroundSuppression of photons. Independent: guess",
    )


class Tracker(_Settings):
    """Charged particles: acceptance, losses, resolutions, identification."""

    theta_min: float = Field(default=17.0 * _DEG, description="acceptance. Independent: R0 3.4.1")
    theta_max: float = Field(default=150.0 * _DEG, description="acceptance. Independent: R0 3.4.1")
    pt_min: float = Field(default=0.1, ge=0, description="smallest pT. Independent: guess")
    loss: float = Field(
        default=0.025, ge=0, le=1, description="lost tracks. Calibrated by R0 to data (4.3.2)"
    )
    field: float = Field(default=1.5, gt=0, description="solenoid field [T]. Independent: design")
    momentum_curvature: float = Field(
        default=0.0011, ge=0, description="sigma_pT/pT = this * pT. Independent: drift chamber"
    )
    momentum_scattering: float = Field(
        default=0.0035, ge=0, description="constant term of sigma_pT/pT. Independent: material"
    )
    angle: float = Field(
        default=0.001, ge=0, description="resolution of theta and phi. Independent: guess"
    )
    error_scale: float = Field(
        default=1.0,
        gt=0,
        description="reported errors of pT, theta and phi over the resolution. Independent: ideal",
    )
    impact_transverse: float = Field(
        default=0.02, ge=0, description="resolution of dr at high p. Independent: guess"
    )
    impact_longitudinal: float = Field(
        default=0.05, ge=0, description="resolution of dz at high p. Independent: guess"
    )
    impact_scattering: float = Field(
        default=0.02,
        ge=0,
        description="both grow by this/(p sin^(3/2) theta) [cm GeV]. Independent: guess",
    )
    layers: int = Field(default=56, gt=0, description="wire layers. Independent: design")
    identification_scale: float = Field(
        default=0.05, gt=0, description="mean of 1 - score of the right kind. Independent: guess"
    )
    identification_tail: float = Field(
        default=0.02, ge=0, le=1, description="tracks with a uniform score. Independent: guess"
    )
    mip_energy: float = Field(
        default=0.2, gt=0, description="energy a muon leaves in a crystal. Independent: 30 cm CsI"
    )
    mip_spread: float = Field(
        default=0.03, gt=0, description="mean of its exponential tail. Independent: guess"
    )
    mip_resolution: float = Field(
        default=0.02, ge=0, description="Gaussian resolution of that energy. Independent: guess"
    )
    layers_efficiency: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="smallest share of layers with a hit. Independent: guess",
    )


class BeamBackground(_Settings):
    """Clusters of other origin than the collision: soft beam background and options."""

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
    occupancy_spread: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="log-normal spread of the background level between events, which scales the "
        "number of clusters and the noise of the time. Independent: guess",
    )
    suppression_scale: float = Field(
        default=0.1, gt=0, description="mean of their beamBackgroundSuppression. Independent: guess"
    )
    e1e9_min: float = Field(
        default=0.3, gt=0, lt=1, description="their E1/E9 is flat above. Independent: guess"
    )
    chosen_energy_min: float = Field(
        default=0.08,
        gt=0,
        description="smallest energy of the cluster that every event gets where beam photons are "
        "a weight. Independent: below the 0.1 of selections by two resolutions",
    )
    chosen_time_window: float = Field(
        default=20.0,
        gt=0,
        description="half width of its flat time. Independent: five resolutions at 0.1 GeV",
    )
    out_of_time: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="option: mean number of energetic clusters of other crossings per event",
    )
    out_of_time_energy_min: float = Field(
        default=0.1, gt=0, description="their energies, uniform in the log. Independent: guess"
    )
    out_of_time_energy_max: float = Field(
        default=5.0, gt=0, description="their energies, uniform in the log. Independent: guess"
    )
    cosmics: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="option: probability of a cosmic muon crossing the calorimeter per event",
    )
    cosmics_energy: float = Field(
        default=0.1,
        gt=0,
        description="mean energy its two clusters have above that of a muon. Independent: guess",
    )


class Detector(_Settings):
    """All detector constants; see :meth:`named` for the two documented settings."""

    calorimeter: Calorimeter = Calorimeter()
    tracker: Tracker = Tracker()
    background: BeamBackground = BeamBackground()

    @classmethod
    def parse(cls, settings: str | Mapping[str, Any]) -> Self:
        """Settings from a configuration file: a name, or groups of values to change.

        ``{"base": "run1", "calorimeter": {"efficiency": 0.97}}`` starts from named settings,
        without ``base`` from ``phase2-2018``.

        Raises ConfigurationError for unknown names or values outside their range.
        """
        if isinstance(settings, str):
            return cls.named(settings)
        changes = dict(settings)
        values = cls.named(changes.pop("base", "phase2-2018")).model_dump()
        for group, change in changes.items():
            known = values.get(group)
            if known is None or not isinstance(change, Mapping):
                raise ConfigurationError(
                    f"detector: '{group}' must be one of the groups {', '.join(values)} with "
                    f"values to change{suggest(group, values)}"
                )
            for name in change:
                if name not in known:
                    raise ConfigurationError(
                        f"detector: {group} has no constant '{name}'{suggest(name, known)}"
                    )
            values[group] = {**known, **change}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc']))} = {item['input']!r}: {item['msg']}"
                for item in error.errors()
            )
            raise ConfigurationError(f"detector: {problems}") from error

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

    def constants(self) -> NDArray[np.void]:
        """The same values as one record of doubles for the kernels, shape (1,)."""
        values = {
            f"{prefix}{key}": float(value)
            for prefix, group in self._groups()
            for key, value in group.model_dump().items()
        }
        return np.array([tuple(values.values())], dtype=[(name, np.float64) for name in values])

    def _groups(self) -> tuple[tuple[str, _Settings], ...]:
        return ("", self.calorimeter), ("track_", self.tracker), ("background_", self.background)


_NAMED: Final[dict[str, dict[str, Any]]] = {
    # one octant of the vertex detector, little beam background
    "phase2-2018": {},
    # complete vertex detector, more beam background, fewer lost tracks
    "run1": {
        "tracker": {
            "loss": 0.01,
            "impact_transverse": 0.002,
            "impact_longitudinal": 0.003,
            "impact_scattering": 0.003,
        },
        "background": {"clusters": 4.0},
    },
}
