"""The signal model: peaks at the simulated masses, interpolated between them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import ModelError
from alp_coffea.stats.combinatorial import (
    Combinatorial,
    CombinatorialModel,
    combinatorial_shape,
    from_json,
)
from alp_coffea.stats.interpolation import Curve, Method
from alp_coffea.stats.peaks import (
    POWERS,
    TAIL_SIDE,
    Peak,
    PeakFit,
    Shape,
    SignalSample,
    peak_fractions,
)
from alp_coffea.tables import signal_table

__all__ = ["TAIL_SIDE", "PeakFit", "SignalModel", "SignalSample", "fit_signal"]

Array = NDArray[np.float64]

#: A peak fit with a smaller probability is an outlier.
OUTLIER: Final = 0.01


def fit_signal(
    samples: Iterable[SignalSample],
    *,
    sqrt_s: float,
    definitions: Mapping[str, float],
    shape: Shape = "crystal_ball",
    interpolation: Method = "spline",
    progress: Callable[[int, int], None] | None = None,
) -> SignalModel:
    """Fit every (mass, definition, energy set) and return the interpolating model.

    Parameters
    ----------
    samples
        Simulated masses, in any order.
    sqrt_s
        Centre-of-mass energy [GeV].
    definitions
        Definitions to fit and the smallest mass [GeV] at which each makes sense.
    shape
        Of the peak, see ``alp_coffea.stats.peaks``.
    interpolation
        How parameters depend on mass, see ``alp_coffea.stats.interpolation``.
    progress
        Called with (fits done, fits in all).

    Raises
    ------
    ModelError
        When the model is used, if fewer than two masses could be fitted for a definition.
    """
    ordered = sorted(samples, key=lambda s: s.mass)
    peaks = [
        peak
        for sample in ordered
        for definition, low in definitions.items()
        if sample.mass >= low
        for energy_set in sample.histogram.axes["energy_set"]
        if (peak := Peak.of(sample, definition, energy_set)) is not None
    ]
    fits: list[PeakFit] = []
    for definition in definitions:
        for energy_set in {p.energy_set: None for p in peaks}:
            group = [p for p in peaks if (p.definition, p.energy_set) == (definition, energy_set)]
            first = [peak.fit(shape) for peak in group]
            powers, powers_2 = _smooth_powers(first, "n"), _smooth_powers(first, "n_2")
            for peak in group:
                mass = peak.sample.mass
                fits.append(peak.fit(shape, powers=(powers(mass), powers_2(mass))))
                if progress is not None:
                    progress(len(fits), len(peaks))
    others = [
        found
        for peak in peaks
        if (found := combinatorial_shape(peak.sample, peak.definition, peak.energy_set)) is not None
    ]
    return SignalModel(tuple(fits), sqrt_s, interpolation, tuple(others))


def _smooth_powers(fits: Sequence[PeakFit], name: str) -> Callable[[float], float]:
    """A tail's power as a smooth function of mass.

    alpha and n are nearly degenerate: with n smooth in mass, alpha is too.
    """
    values = [(f.mass, getattr(f, name), getattr(f, f"{name}_error")) for f in fits if f.converged]
    if len(values) < 2 or not all(error > 0 for _, _, error in values):
        constant = values[0][1] if values else 3.0
        return lambda _: constant
    curve = Curve(
        f"log {name}",
        [mass for mass, _, _ in values],
        [math.log(power) for _, power, _ in values],
        [max(error / power, 1e-3) for _, power, error in values],
    )
    low, high = values[0][0], values[-1][0]
    smallest, largest = POWERS
    return lambda mass: float(
        np.clip(math.exp(float(curve(min(max(mass, low), high)))), smallest, largest)
    )


@dataclass(frozen=True)
class SignalModel:
    """Peak shapes and efficiencies, interpolated in mass and never extrapolated.

    Methods take masses [GeV], scalars or arrays, and raise ModelError outside the simulated range.
    """

    fits: tuple[PeakFit, ...]
    sqrt_s: float
    interpolation: Method = "spline"
    combinatorial: tuple[Combinatorial, ...] = ()

    def of(self, definition: str, energy_set: str) -> list[PeakFit]:
        """Converged fits of one definition and energy set, sorted by mass."""
        return [
            fit
            for fit in self.fits
            if (fit.definition, fit.energy_set) == (definition, energy_set) and fit.converged
        ]

    @property
    def outliers(self) -> list[PeakFit]:
        """Fits that failed or whose chi^2 has a probability below ``OUTLIER``, worst first."""
        bad = [fit for fit in self.fits if not fit.converged or fit.p_value < OUTLIER]
        return sorted(bad, key=lambda fit: (fit.converged, fit.p_value))

    def without(self, mass: float) -> SignalModel:
        """The model that a simulation without this mass [GeV] would have given."""
        return replace(
            self,
            fits=tuple(fit for fit in self.fits if fit.mass != mass),
            combinatorial=tuple(shape for shape in self.combinatorial if shape.mass != mass),
        )

    @cached_property
    def _built(self) -> dict[tuple[str, str], dict[str, Curve]]:
        return {}

    @cached_property
    def _others(self) -> dict[tuple[str, str], CombinatorialModel]:
        return {}

    def _group_curves(self, definition: str, energy_set: str) -> dict[str, Curve]:
        fits = self.of(definition, energy_set)
        mass = [fit.mass for fit in fits]

        def curve(name: str, value: list[float], error: list[float]) -> Curve:
            where = f"{name} ({definition}, {energy_set})"
            return Curve(where, mass, value, error, self.interpolation)

        curves = {
            "sigma": curve(
                "log sigma",
                [math.log(f.sigma) for f in fits],
                [f.sigma_error / f.sigma for f in fits],
            ),
            "shift": curve(
                "peak shift",
                [(f.mu - f.mass**2) / f.sigma for f in fits],
                [f.mu_error / f.sigma for f in fits],
            ),
            "alpha": curve("alpha", [f.alpha for f in fits], [f.alpha_error for f in fits]),
            # smooth already: see fit_signal
            "n": curve("n", [f.n for f in fits], [0.0] * len(fits)),
            "efficiency": curve(
                "efficiency", [f.efficiency for f in fits], [f.efficiency_error for f in fits]
            ),
        }
        if all(fit.alpha_2 is not None for fit in fits):
            second = [fit.alpha_2 or math.inf for fit in fits]
            curves["alpha_2"] = curve("alpha_2", second, [f.alpha_2_error for f in fits])
            curves["n_2"] = curve("n_2", [f.n_2 for f in fits], [0.0] * len(fits))
            curves["ratio"] = curve("ratio", [f.ratio for f in fits], [f.ratio_error for f in fits])
        return curves

    def _curves(self, definition: str, energy_set: str) -> dict[str, Curve]:
        """The curves of a group, built when first asked for, so that a definition with a single
        mass does not stand in the way of the others."""
        key = (definition, energy_set)
        if key not in self._built:
            groups = {(fit.definition, fit.energy_set): None for fit in self.fits}
            if key not in groups:
                known = ", ".join(f"{d}/{e}" for d, e in groups) or "nothing"
                raise ModelError(
                    f"signal model: no fits for {definition}/{energy_set} (has {known})"
                )
            self._built[key] = self._group_curves(*key)
        return self._built[key]

    def _curve(self, definition: str, energy_set: str, name: str) -> Curve:
        return self._curves(definition, energy_set)[name]

    def sigma(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Core width in m^2 [GeV^2], of a generalised peak that on the side of the main tail."""
        return np.asarray(np.exp(self._curve(definition, energy_set, "sigma")(mass)))

    def width(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Resolution in mass, sigma(m^2) / 2m [GeV]."""
        return np.asarray(self.sigma(mass, definition, energy_set) / (2 * np.asarray(mass, float)))

    def mu(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Peak position in m^2 [GeV^2]."""
        shift = self._curve(definition, energy_set, "shift")(mass)
        sigma = self.sigma(mass, definition, energy_set)
        return np.asarray(np.asarray(mass, float) ** 2 + shift * sigma)

    def alpha(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Distance of the tail from the peak, in widths."""
        return np.asarray(self._curve(definition, energy_set, "alpha")(mass))

    def n(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Power of the tail."""
        return np.asarray(self._curve(definition, energy_set, "n")(mass))

    def efficiency(self, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Selected true candidates per signal event at the Born cross section."""
        return np.asarray(self._curve(definition, energy_set, "efficiency")(mass))

    def uncertainty(self, name: str, mass: ArrayLike, definition: str, energy_set: str) -> Array:
        """Relative uncertainty of the interpolated ``sigma`` or ``efficiency``, absolute of
        ``shift`` [widths] and ``alpha``, from the errors of the fitted points."""
        curve = self._curve(definition, energy_set, name)
        error = curve.uncertainty(mass)
        return np.asarray(error / curve(mass) if name == "efficiency" else error)

    def template(
        self,
        edges: ArrayLike,
        mass: float,
        definition: str,
        energy_set: str,
        *,
        width_scale: float = 1.0,
    ) -> Array:
        """Fraction of the true candidates in each m^2 bin; ``edges`` [GeV^2], shape (nbins + 1,).

        ``width_scale`` stretches sigma, for resolution uncertainties.
        """
        (fractions,) = self.templates(
            edges, mass, definition, energy_set, width_scales=(width_scale,)
        )
        return fractions

    def templates(
        self,
        edges: ArrayLike,
        mass: float,
        definition: str,
        energy_set: str,
        *,
        width_scales: Sequence[float],
    ) -> list[Array]:
        """:meth:`template` for several stretches of sigma."""
        curves = self._curves(definition, energy_set)
        second = [curves[name](mass) for name in ("alpha_2", "n_2", "ratio") if name in curves]
        side, mu = TAIL_SIDE[definition], self.mu(mass, definition, energy_set)
        sigma = self.sigma(mass, definition, energy_set)
        alpha, n = curves["alpha"](mass), curves["n"](mass)
        return [
            peak_fractions(edges, side, mu, scale * sigma, alpha, n, *second)
            for scale in width_scales
        ]

    def combinatorial_template(
        self,
        edges: ArrayLike,
        mass: float,
        definition: str,
        energy_set: str,
        *,
        region: tuple[float, float],
        peak: float,
    ) -> Array | None:
        """Combinatorial candidates per signal event in each m^2 bin, None where they are fewer
        than 1 % of the true ones (R0 sec. 7.2.2).

        ``region`` [GeV^2] is the range of the kernel estimate and ``peak`` the true candidates per
        signal event in the bins, see
        :class:`~alp_coffea.stats.combinatorial.CombinatorialModel`.
        """
        key = (definition, energy_set)
        if key not in self._others:
            self._others[key] = CombinatorialModel(
                [c for c in self.combinatorial if (c.definition, c.energy_set) == key],
                [fit.mass for fit in self.of(*key)],
            )
        return self._others[key].expected(edges, mass, region, peak)

    def __repr__(self) -> str:
        masses = sorted({fit.mass for fit in self.fits})
        if not masses:
            return "SignalModel(empty)"
        chi2 = [fit.chi2 / fit.ndf for fit in self.fits]
        first = (
            f"SignalModel: {len(self.fits)} peaks at {len(masses)} masses from {masses[0]:g} to "
            f"{masses[-1]:g} GeV, chi2/ndf {np.median(chi2):.2f} (median), "
            f"{len(self.outliers)} with p < {OUTLIER:g} or not converged"
        )
        lines = [first]
        lines += [
            f"  {fit.mass:g} GeV, {fit.definition}, {fit.energy_set}: "
            + (f"chi2/ndf = {fit.chi2:.1f}/{fit.ndf}" if fit.converged else "not converged")
            for fit in self.outliers[:5]
        ]
        if len(self.outliers) > 5:
            lines.append(f"  ... and {len(self.outliers) - 5} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return signal_table(self.fits, caption=repr(self).splitlines()[0])

    def save(self, path: Path) -> None:
        """Write ``signal_model.json``."""
        rows = [{**asdict(fit), "width": fit.width, "p_value": fit.p_value} for fit in self.fits]
        content = {
            "format": "alp_coffea signal model 1",
            "sqrt_s": self.sqrt_s,
            "interpolation": self.interpolation,
            "fits": rows,
            "combinatorial": [asdict(shape) for shape in self.combinatorial],
        }
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> SignalModel:
        """Read ``signal_model.json``."""
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        derived = ("width", "p_value")
        fits = tuple(
            PeakFit(**{key: value for key, value in row.items() if key not in derived})
            for row in content["fits"]
        )
        return cls(
            fits,
            content["sqrt_s"],
            content.get("interpolation", "spline"),
            from_json(content.get("combinatorial", ())),
        )
