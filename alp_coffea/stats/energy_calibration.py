"""Photon energy resolution and scale from muon pairs, and the corrections that follow.

From the histograms of ``processors/dimuon_photon.py``, summed over samples: scale factors of the
errors of tracking, smearing of the recoil momentum, unfolded resolution per bin and as a function
of energy, for simulation and for data, and what brings both together (R0 sec. 7.5.1 and 8.3).
Energies in GeV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hist
import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import InputError
from alp_coffea.physics.photon_covariance import EnergyResolution, PhotonCovariance, Tail
from alp_coffea.stats.photon_resolution import (
    FIT_RANGE,
    ResolutionFit,
    calorimeter_function,
    unfold_all,
)
from alp_coffea.stats.recoil_scale import (
    ScaleFactor,
    corrected,
    scale_factors,
    tracking_smearing,
    without_radiation,
)

Array = NDArray[np.float64]
Histograms = Mapping[str, hist.Hist]


@dataclass(frozen=True)
class Calibration:
    """What muon pairs of one kind, data or simulation, say about photon energies.

    Attributes
    ----------
    raw, factors
        Scale factors of x, y, z as measured, and without radiation.
    centres
        Of the bins of energy differences [GeV], (n,).
    tracking, radiation, smearing
        Shares of p_recoil - E_true due to tracking, to radiation and together, (bins, n).
    plain, unfolded, true
        Fits of E - p_recoil without and with unfolding; of E - E_true, empty for data.
    tail, common
        Median tail of the unfolded bins, and fits with that one tail in all bins, as the
        covariance file has it: their widths belong to it, and are twice as well known.
    function
        Through the widths of ``common``.
    """

    raw: Mapping[str, ScaleFactor]
    factors: Mapping[str, ScaleFactor]
    centres: Array
    tracking: Array
    radiation: Array
    smearing: Array
    plain: list[ResolutionFit]
    unfolded: list[ResolutionFit]
    true: list[ResolutionFit]
    tail: Tail
    common: list[ResolutionFit]
    function: EnergyResolution

    def without_isr(
        self, histograms: Histograms, *, limits: tuple[float, float] = FIT_RANGE
    ) -> list[ResolutionFit]:
        """Fits within ``limits`` [GeV] that take all smearing for tracking: a control, too wide."""
        energies = bin_energies(histograms)
        return unfold_all(histograms["resolution"], self.tracking, energies, limits=limits)


def bin_energies(histograms: Histograms) -> Array:
    """Mean p_recoil [GeV] in each of its bins; the centre of an empty one."""
    fine, edges = histograms["p_recoil"], histograms["resolution"].axes[0].edges
    centres, weight = fine.axes[0].centers, fine.values()
    bin_of = np.digitize(centres, edges) - 1
    sums = np.bincount(bin_of, weight, minlength=len(edges) - 1)
    moments = np.bincount(bin_of, weight * centres, minlength=len(edges) - 1)
    middle = (edges[1:] + edges[:-1]) / 2
    return np.where(sums > 0, moments / np.where(sums > 0, sums, 1), middle)


def calibrate_simulation(histograms: Histograms) -> Calibration:
    """Everything for simulated muon pairs.

    Raises InputError where histograms or events are missing.
    """
    _require(
        histograms, "simulation",
        ("recoil_pull", "recoil_pull_below", "recoil_error", "p_recoil"),
        ("resolution", "calorimeter", "radiation"),
    )  # fmt: skip
    raw = scale_factors(histograms["recoil_pull"])
    factors = without_radiation(histograms["recoil_pull_below"])
    radiation = histograms["radiation"].values()
    radiation = radiation / np.maximum(radiation.sum(axis=1, keepdims=True), 1e-300)
    return _calibrate(histograms, raw, factors, radiation, histograms["calorimeter"])


def calibrate_data(histograms: Histograms, simulation: Calibration) -> Calibration:
    """The same for data, with the radiation of simulation.

    Raises InputError where histograms or events are missing.
    """
    _require(histograms, "data", ("recoil_pull", "recoil_error", "p_recoil"), ("resolution",))
    raw = scale_factors(histograms["recoil_pull"])
    factors = corrected(raw, dict(simulation.raw), dict(simulation.factors))
    return _calibrate(histograms, raw, factors, simulation.radiation, None)


def _require(histograms: Histograms, kind: str, *groups: tuple[str, ...]) -> None:
    missing = [name for group in groups for name in group if name not in histograms]
    if missing:
        raise InputError(
            f"no {kind} with {', '.join(missing)}: the run needs muon pairs, processed by "
            "'dimuon_photon', of simulation with truth and, for corrections, of data"
        )


def _calibrate(
    histograms: Histograms,
    raw: Mapping[str, ScaleFactor],
    factors: Mapping[str, ScaleFactor],
    radiation: Array,
    calorimeter: hist.Hist | None,
) -> Calibration:
    seen = histograms["resolution"]
    energies, centres = bin_energies(histograms), seen.axes[1].centers
    tracking = tracking_smearing(histograms["recoil_error"], dict(factors), centres)
    smearing = np.array(
        [np.convolve(a, b, mode="same") for a, b in zip(tracking, radiation, strict=True)]
    )
    unfolded = unfold_all(seen, smearing, energies)
    good = [fit for fit in unfolded if fit.converged]
    if not good:
        raise InputError("no bin of p_recoil with a converged fit: more muon pairs are needed")
    tail = Tail(
        alpha=float(np.median([fit.alpha for fit in good])),
        n=float(np.median([fit.n for fit in good])),
    )
    common = unfold_all(seen, smearing, energies, tail=(tail.alpha, tail.n))
    return Calibration(
        raw=raw,
        factors=factors,
        centres=centres,
        tracking=tracking,
        radiation=radiation,
        smearing=smearing,
        plain=unfold_all(seen, None, energies),
        unfolded=unfolded,
        true=[] if calorimeter is None else unfold_all(calorimeter, None, energies),
        tail=tail,
        common=common,
        function=calorimeter_function(common),
    )


@dataclass(frozen=True)
class EnergyCorrections:
    """Data against simulation at the energies [GeV] of the bins, (n,).

    ``bias`` is what energies of data are multiplied by, minus one; ``smearing`` the relative width
    of the Gaussian that simulation lacks: of the functions through the widths, and of the bins
    themselves (``smearing_measured``, negative where simulation is the wider one).
    """

    energy: Array
    bias: Array
    bias_error: Array
    smearing: Array
    smearing_measured: Array

    def settings(self) -> dict[str, Any]:
        """As the option ``corrections`` of a processor takes it."""

        def table(values: Array) -> dict[str, list[float]]:
            return {
                "energy": [round(float(e), 4) for e in self.energy],
                "value": [round(float(v), 6) for v in values],
            }

        return {"energy_bias": table(self.bias), "energy_smearing": table(self.smearing)}


def energy_corrections(data: Calibration, simulation: Calibration) -> EnergyCorrections:
    """What brings data and simulation together (R0 sec. 7.5.1, with unfolded widths).

    Raises InputError without a bin that was fitted in both.
    """
    pairs = [
        (one, other)
        for one in data.common
        for other in simulation.common
        if abs(one.energy - other.energy) < 0.1 and one.converged and other.converged
    ]
    if not pairs:
        raise InputError("energy_corrections: no bin of p_recoil was fitted in data and simulation")
    energy = np.array([one.energy for one, _ in pairs])
    bias = np.array([other.mu - one.mu for one, other in pairs]) / energy
    error = np.array([np.hypot(one.mu_error, other.mu_error) for one, other in pairs]) / energy
    squares = np.array([one.sigma**2 - other.sigma**2 for one, other in pairs])
    smooth = data.function.sigma(energy) ** 2 - simulation.function.sigma(energy) ** 2
    return EnergyCorrections(
        energy,
        bias,
        error,
        np.sqrt(np.maximum(smooth, 0.0)) / energy,
        np.sign(squares) * np.sqrt(np.abs(squares)) / energy,
    )


def photon_covariance(
    calibration: Calibration, base: PhotonCovariance, *, angle: float = 1.0, source: str
) -> PhotonCovariance:
    """The covariance ``base`` with the measured energies and angles times ``angle``.

    Muon pairs see the barrel: other regions of ``base`` get the same energy resolution.
    """
    scaled = base.scaled(theta=angle, phi=angle)
    regions = tuple(
        region.model_copy(update={"energy": calibration.function}) for region in scaled.regions
    )
    return scaled.model_copy(
        update={"regions": regions, "energy_tail": calibration.tail, "source": source}
    )
