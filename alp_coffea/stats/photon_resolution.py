"""Photon energy resolution from e+e- -> mu+ mu- gamma by a convolution fit (R0 sec. 8.3.2).

What data show is E - p_recoil = (E - E_true) - (p_recoil - E_true) (eq. 8.7). The second part, of
radiation and tracking, is a template; the first is a Crystal Ball whose convolution with the
template is fitted. Energies in GeV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import hist
import numpy as np
from iminuit import Minuit
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from alp_coffea.errors import InputError, PhysicsError
from alp_coffea.physics.photon_covariance import EnergyResolution
from alp_coffea.stats.shapes import crystal_ball

Array = NDArray[np.float64]

#: A bin of p_recoil with fewer events is not fitted.
MINIMUM_EVENTS = 200
#: Differences E - p_recoil [GeV] that the selection keeps whatever the direction. It asks for
#: m(mu mu gamma) between 9.8 and 10.8 GeV, and d(m^2)/dE = 2 (E - p.n) of the beams' E and p is
#: 17 to 25 GeV for directions n in the barrel: beyond 0.19 GeV above, 2 sigma at 5 GeV, the mass
#: begins to cut into the peak, and a fit would find it too narrow.
FIT_RANGE = (-0.60, 0.19)


@dataclass(frozen=True)
class ResolutionFit:
    """Crystal Ball of E - E_true in one bin of p_recoil; all in GeV but ``alpha`` and ``n``.

    ``energy`` is the middle of the bin; ``converged`` says whether the minimum is one.
    """

    energy: float
    mu: float
    mu_error: float
    sigma: float
    sigma_error: float
    alpha: float
    n: float
    chi2: float
    ndf: int
    converged: bool


def unfold(
    edges: ArrayLike,
    counts: ArrayLike,
    energy: float,
    smearing: ArrayLike | None = None,
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
    tail: tuple[float, float] | None = None,
) -> ResolutionFit:
    """Fit a Crystal Ball, convoluted with a smearing, to differences of energies.

    Parameters
    ----------
    edges
        Of uniform bins of E - p_recoil [GeV], (n + 1,), zero in the middle of one.
    counts
        Events, or effective numbers of them, (n,).
    energy
        What the bin stands for [GeV].
    smearing
        Distribution of p_recoil - E_true in the same bins (n,), of any normalisation. None for no
        smearing: the fit of E - E_true itself, or what is found without unfolding.
    limits
        Bins inside are fitted.
    tail
        (alpha, n) where they are known; they float otherwise.

    Raises
    ------
    PhysicsError
        For bins that are not uniform, not symmetric around zero or of an even number, or arrays
        of other shapes.
    InputError
        For fewer than 200 events, or an empty smearing.
    """
    edges, counts = np.asarray(edges, float), np.asarray(counts, float)
    width = np.diff(edges)
    if edges.ndim != 1 or counts.shape != width.shape:
        raise PhysicsError(f"unfold: {counts.shape} counts do not fit {edges.shape} edges")
    if not (np.allclose(width, width[0]) and np.allclose(edges, -edges[::-1])):
        raise PhysicsError("unfold: the bins must be uniform and symmetric around zero")
    if len(counts) % 2 == 0:
        raise PhysicsError("unfold: the number of bins must be odd, with zero in the middle one")
    fitted = (edges[:-1] >= limits[0]) & (edges[1:] <= limits[1])
    if counts[fitted].sum() < MINIMUM_EVENTS:
        raise InputError(
            f"unfold: {counts[fitted].sum():.4g} events at {energy:g} GeV; {MINIMUM_EVENTS} are "
            "needed"
        )
    kernel = None
    if smearing is not None:
        kernel = np.asarray(smearing, float)
        if kernel.shape != counts.shape:
            raise PhysicsError(f"unfold: smearing {kernel.shape} where {counts.shape} is needed")
        if not kernel.sum() > 0:
            raise InputError(f"unfold: the smearing at {energy:g} GeV is empty")
        # E - p_recoil has the minus of it
        kernel = kernel[::-1] / kernel.sum()

    def shape(mu: float, sigma: float, alpha: float, n: float) -> Array:
        fractions = crystal_ball(edges, mu, sigma, alpha, n)
        if kernel is not None:
            fractions = np.convolve(fractions, kernel, mode="same")
        inside = fractions[fitted]
        return np.asarray(inside / max(inside.sum(), 1e-300))

    edges_fitted, counts = edges[1:][fitted], counts[fitted]
    total, filled = counts.sum(), counts > 0

    def deviance(mu: float, sigma: float, alpha: float, n: float) -> float:
        expected = np.maximum(total * shape(mu, sigma, alpha, n)[filled], 1e-300)
        return float(2 * (counts[filled] * np.log(counts[filled] / expected)).sum())

    centres = (edges[1:] + edges[:-1]) / 2
    cumulative = np.cumsum(counts) / total
    low, centre, high = np.interp([0.1587, 0.5, 0.8413], cumulative, edges_fitted)
    spread = (high - low) / 2
    if kernel is not None:
        mean = float(kernel @ centres)
        narrow = np.interp([0.1587, 0.8413], np.cumsum(kernel), edges[1:])
        smeared = (narrow[1] - narrow[0]) / 2
        spread = math.sqrt(max(spread**2 - smeared**2, 0.1 * spread**2))
        centre -= mean
    minuit = Minuit(deviance, mu=centre, sigma=spread, alpha=1.2, n=5.0)
    minuit.errordef = Minuit.LEAST_SQUARES  # a deviance is twice a log-likelihood
    minuit.limits["mu"] = (centre - 5 * spread, centre + 5 * spread)
    minuit.limits["sigma"] = (0.1 * spread, 5 * spread)
    minuit.limits["alpha"] = (0.2, 5.0)
    minuit.limits["n"] = (1.05, 60.0)
    if tail is not None:
        minuit.values["alpha"], minuit.values["n"] = tail
        minuit.fixed["alpha"] = minuit.fixed["n"] = True
    minuit.migrad(ncall=5000)
    if not minuit.valid:
        minuit.simplex().migrad(ncall=5000)
    expected = total * shape(*minuit.values)
    large = expected > 5
    chi2 = float((((counts - expected) ** 2) / np.maximum(expected, 1e-300))[large].sum())
    value, error = minuit.values, minuit.errors
    return ResolutionFit(
        energy=energy,
        mu=value["mu"],
        mu_error=error["mu"],
        sigma=value["sigma"],
        sigma_error=error["sigma"],
        alpha=value["alpha"],
        n=value["n"],
        chi2=chi2,
        ndf=max(int(large.sum()) - (5 if tail is None else 3), 1),
        converged=bool(minuit.valid),
    )


def unfold_all(
    data: hist.Hist,
    smearing: ArrayLike | None = None,
    energies: ArrayLike | None = None,
    *,
    limits: tuple[float, float] = FIT_RANGE,
    tail: tuple[float, float] | None = None,
) -> list[ResolutionFit]:
    """:func:`unfold` in every bin of p_recoil that has enough events.

    ``data`` has the axes p_recoil and difference of ``processors/dimuon_photon.py``, and is fitted
    within ``limits`` [GeV]; ``smearing`` has the same shape. ``energies`` [GeV] is what the bins
    stand for, by default their centres. Weighted events count as their effective number.
    """
    fits = []
    for k, energy in enumerate(np.asarray(data.axes[0].centers if energies is None else energies)):
        values, variances = data.values()[k], data.variances()[k]
        if variances is None or not variances.sum() > 0:
            continue
        counts = values * values.sum() / variances.sum()
        template = None if smearing is None else np.asarray(smearing)[k]
        # a little more, for what lies outside the range
        if counts.sum() < 1.5 * MINIMUM_EVENTS or (template is not None and not template.sum() > 0):
            continue
        fits.append(
            unfold(data.axes[1].edges, counts, float(energy), template, limits=limits, tail=tail)
        )
    return fits


#: Improvement of chi^2 from which on the noise term is kept: two standard deviations.
NOISE_CHI2 = 4.0


def calorimeter_function(fits: Sequence[ResolutionFit]) -> EnergyResolution:
    """sigma/E = A/sqrt(E) (+) B (+) C/E through the widths, terms not negative (R0 sec. 8.3).

    Least squares in sigma^2, which is linear in the squares of the terms. C is zero unless it
    improves chi^2 by more than 4: above 1 GeV it is small, and where it is not seen its
    fluctuations, upwards only, would decide what the function says below the lowest bin.

    Raises InputError for fewer than three converged fits.
    """
    good = [fit for fit in fits if fit.converged]
    if len(good) < 3:
        raise InputError(
            f"calorimeter_function: {len(good)} converged fits; at least three energies are needed"
        )
    energy = np.array([fit.energy for fit in good])
    sigma = np.array([fit.sigma for fit in good])
    weight = 1 / (2 * sigma * np.array([fit.sigma_error for fit in good]))
    terms = np.stack([energy, energy**2, np.ones_like(energy)], axis=1) * weight[:, None]
    squares, norm = nnls(terms, sigma**2 * weight)
    simple, simple_norm = nnls(terms[:, :2], sigma**2 * weight)
    if simple_norm**2 - norm**2 <= NOISE_CHI2:
        squares = np.append(simple, 0.0)
    stochastic, constant, noise = np.sqrt(squares)
    return EnergyResolution(
        stochastic=float(stochastic), constant=float(constant), noise=float(noise)
    )
