"""Bin integrals of signal and background shapes, exact and for all masses at once.

Peaks (Crystal Ball and relatives) come back as the fraction of the density, normalised over the
whole real line, that falls into each bin: what leaks out of the window is lost, as it should be
when the efficiency was counted without a window. Polynomials and kernel estimates come back
normalised to the window, because they only live there.

Shapes: ``edges`` is (..., nbins + 1) and parameters are scalars or (...); the leading axes
(masses, variations) broadcast. Edges and widths share one unit, GeV or GeV^2; results have none.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import erfc, ndtr

from alp_coffea.errors import PhysicsError

Array = NDArray[np.float64]
Mirror = Literal["both", "low", "high", "none"]

_SQRT_HALF_PI = math.sqrt(math.pi / 2.0)
_KDE_CELLS = 2048
_KDE_REACH = 8.5  # widths after which a Gaussian is below rounding errors


def _checked_edges(edges: ArrayLike) -> Array:
    array = np.asarray(edges, dtype=np.float64)
    if array.ndim < 1 or array.shape[-1] < 2:
        raise PhysicsError(
            f"bin edges have shape {array.shape}; at least two edges are needed on the last axis"
        )
    if not np.all(np.isfinite(array)) or not np.all(np.diff(array) > 0.0):
        raise PhysicsError("bin edges must be finite and strictly increasing along the last axis")
    return array


def _parameter(
    name: str, value: ArrayLike, *, above: float | None = None, infinite: bool = False
) -> Array:
    """One shape parameter with a trailing axis of length 1, checked against its domain."""
    array = np.asarray(value, dtype=np.float64)[..., np.newaxis]
    bad = np.isnan(array) if infinite else ~np.isfinite(array)
    if above is not None:
        bad |= array <= above
    if np.any(bad):
        allowed = "finite" if above is None else f"finite and > {above:g}"
        raise PhysicsError(f"{name} = {array[bad].flat[0]:g} where it must be {allowed}")
    return array


def _half_integral(t: Array, alpha: Array, n: Array) -> Array:
    """Integral from ``t`` >= 0 to infinity of a Gaussian with a power tail beyond ``alpha``.

    The unnormalised density is exp(-t^2/2) below alpha and A (B + t)^-n above, with
    A = (n/alpha)^n exp(-alpha^2/2) and B = n/alpha - alpha (Gaiser, SLAC-R-255 (1982), app. F).
    Survival integrals rather than cumulative ones keep the relative accuracy far out in the tail.
    """
    finite = np.isfinite(alpha)
    a = np.where(finite, alpha, 1.0)
    scale = np.where(finite, np.exp(-0.5 * a * a) * n / (a * (n - 1.0)), 0.0)
    beyond = np.maximum(t - a, 0.0)
    tail = scale * np.exp((1.0 - n) * np.log1p(a * beyond / n))
    core = _SQRT_HALF_PI * (erfc(t / math.sqrt(2.0)) - erfc(alpha / math.sqrt(2.0)))
    integral: Array = np.where(t < alpha, core, 0.0) + tail
    return integral


def generalised_crystal_ball(
    edges: ArrayLike,
    mu: ArrayLike,
    sigma_low: ArrayLike,
    alpha_low: ArrayLike,
    n_low: ArrayLike,
    sigma_high: ArrayLike,
    alpha_high: ArrayLike,
    n_high: ArrayLike,
) -> Array:
    """Bin fractions (..., nbins) of an asymmetric Gaussian core with a power tail on each side.

    ``sigma_low`` and ``sigma_high`` are the core widths below and above ``mu``; the tails begin
    ``alpha`` widths away (``inf``: no tail on that side) and fall with power ``n`` > 1.
    Raises :class:`~alp_coffea.errors.PhysicsError` for values outside these domains.
    """
    x = _checked_edges(edges)
    peak = _parameter("mu", mu)
    sides = []
    for side, sigma, alpha, n in (
        ("low", sigma_low, alpha_low, n_low),
        ("high", sigma_high, alpha_high, n_high),
    ):
        width = _parameter(f"sigma ({side} side)", sigma, above=0.0)
        start = _parameter(f"alpha ({side} side)", alpha, above=0.0, infinite=True)
        power = _parameter(f"n ({side} side)", n, above=1.0)
        distance = np.maximum((peak - x if side == "low" else x - peak) / width, 0.0)
        whole = width * _half_integral(np.zeros_like(start * power), start, power)
        sides.append((width * _half_integral(distance, start, power), whole))
    (low, low_total), (high, high_total) = sides
    # Below mu only ``low`` changes, above only ``high``: no cancellation between the two.
    contents: Array = (np.diff(low, axis=-1) - np.diff(high, axis=-1)) / (low_total + high_total)
    return contents


def double_sided_crystal_ball(
    edges: ArrayLike,
    mu: ArrayLike,
    sigma: ArrayLike,
    alpha_low: ArrayLike,
    n_low: ArrayLike,
    alpha_high: ArrayLike,
    n_high: ArrayLike,
) -> Array:
    """Bin fractions (..., nbins) of a Gaussian with a power tail on each side.

    See :func:`generalised_crystal_ball`, of which this is the case of one core width.
    """
    return generalised_crystal_ball(edges, mu, sigma, alpha_low, n_low, sigma, alpha_high, n_high)


def crystal_ball(
    edges: ArrayLike, mu: ArrayLike, sigma: ArrayLike, alpha: ArrayLike, n: ArrayLike
) -> Array:
    """Bin fractions (..., nbins) of a Crystal Ball function.

    The power tail is on the low side for ``alpha`` > 0 and on the high side for ``alpha`` < 0;
    it begins ``|alpha|`` widths from ``mu`` and falls with power ``n`` > 1, which makes it
    normalisable. ``alpha`` = 0 raises :class:`~alp_coffea.errors.PhysicsError`, as do
    ``sigma`` <= 0 and ``n`` <= 1.
    """
    a = np.asarray(alpha, dtype=np.float64)
    if np.any(a == 0.0):
        raise PhysicsError("alpha = 0 where it must be non-zero: no Gaussian core would be left")
    low = np.where(a > 0.0, a, np.inf)
    high = np.where(a < 0.0, -a, np.inf)
    return generalised_crystal_ball(edges, mu, sigma, low, n, sigma, high, n)


@functools.cache
def _gauss_legendre(nodes: int) -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1]; finding them takes longer than using them."""
    found, weights = np.polynomial.legendre.leggauss(nodes)
    return found, weights


def _window_nodes(edges: Array, degree: int) -> tuple[Array, Array, Array]:
    """Gauss-Legendre nodes as distances from the window's two ends, and weights.

    Distances are fractions of the window, shape (..., nbins, nodes), and weights sum to one over
    the window. Enough nodes for polynomials of ``degree`` to be integrated exactly; all weights
    are positive, so that tiny integrals near the window's ends keep full relative accuracy,
    which differences of antiderivatives do not.
    """
    nodes, weights = _gauss_legendre(degree // 2 + 1)
    low, high = edges[..., :-1, np.newaxis], edges[..., 1:, np.newaxis]
    first, last = edges[..., :1, np.newaxis], edges[..., -1:, np.newaxis]
    span = last - first
    up = 0.5 * (1.0 + nodes)
    from_low = ((low - first) + (high - low) * up) / span
    from_high = ((last - high) + (high - low) * (1.0 - up)) / span
    return from_low, from_high, 0.5 * weights * (high - low) / span


def _checked_order(order: int) -> int:
    if order < 0:
        raise PhysicsError(f"polynomial order = {order} where it must be >= 0")
    return int(order)


def bernstein(edges: ArrayLike, order: int) -> Array:
    """Bin integrals (..., order + 1, nbins) of the Bernstein basis over the window.

    With t = (x - x_first)/(x_last - x_first), the integral over dt of
    C(order, k) t^k (1 - t)^(order - k) in each bin. Each basis polynomial sums to
    1/(order + 1) over the window, and all polynomials together to each bin's fraction of the
    window: all coefficients equal to N describe a flat density with N events in the window.
    Raises :class:`~alp_coffea.errors.PhysicsError` for a negative order.
    """
    order = _checked_order(order)
    t, u, weights = _window_nodes(_checked_edges(edges), order)
    return np.stack(
        [
            np.sum(math.comb(order, k) * t**k * u ** (order - k) * weights, axis=-1)
            for k in range(order + 1)
        ],
        axis=-2,
    )


def chebyshev(edges: ArrayLike, order: int) -> Array:
    """Bin integrals (..., order + 1, nbins) of the Chebyshev polynomials T_0 ... T_order.

    The window is mapped to [-1, 1] and the measure normalised to one over it, so that T_0 gives
    each bin's fraction of the window: coefficients (N, 0, 0, ...) describe a flat density
    with N events. Higher polynomials have negative bins: unlike :func:`bernstein`, nothing
    keeps a sum of them positive.
    Raises :class:`~alp_coffea.errors.PhysicsError` for a negative order.
    """
    order = _checked_order(order)
    t, u, weights = _window_nodes(_checked_edges(edges), order)
    y = t - u  # = 2t - 1, exact at both ends
    previous, current = np.ones_like(y), y
    integrals = [np.sum(previous * weights, axis=-1)]
    for _ in range(order):
        integrals.append(np.sum(current * weights, axis=-1))
        previous, current = current, 2.0 * y * current - previous
    return np.stack(integrals, axis=-2)


def _kde_window(edges: Array, x: Array, w: Array, rho: float, low: bool, high: bool) -> Array:
    """Kernel estimate of one window; see :func:`kde`."""
    first, last = edges[0], edges[-1]
    inside = (x >= first) & (x <= last) & (w > 0.0)
    x, w = x[inside], w[inside]
    total = float(np.sum(w))
    mean = float(np.sum(w * x)) / total if total > 0.0 else 0.0
    spread = math.sqrt(float(np.sum(w * (x - mean) ** 2)) / total) if total > 0.0 else 0.0
    if spread == 0.0:
        raise PhysicsError(
            f"kernel estimate in [{first:g}, {last:g}]: needs at least two different values with "
            f"positive weight inside the window, got {x.size} entries"
        )
    copies = 1 + int(low) + int(high)
    effective = copies * total**2 / float(np.sum(w * w))
    h = rho * (4.0 / 3.0) ** 0.2 * effective**-0.2

    # Linear binning onto cells much finer than bins and kernels makes the cost independent of n.
    cell = (last - first) / _KDE_CELLS
    position = np.clip((x - first) / cell - 0.5, 0.0, _KDE_CELLS - 1.0)
    left = np.minimum(position.astype(np.int64), _KDE_CELLS - 2)
    mass = np.bincount(left, w * (1.0 - (position - left)), _KDE_CELLS)
    mass += np.bincount(left + 1, w * (position - left), _KDE_CELLS)

    padded = np.concatenate(
        [mass[::-1] * float(low), mass, mass[::-1] * float(high)],
    )
    # of the mirror images only what the kernel reaches
    kernel = h * spread / cell
    reach = min(math.ceil(_KDE_REACH * kernel), _KDE_CELLS)
    near = padded[_KDE_CELLS - reach : 2 * _KDE_CELLS + reach]
    pilot = _smoothed(near, kernel)
    used = np.flatnonzero(mass)
    density = pilot[reach + used] / (cell * total * copies)
    width = np.maximum(
        h * math.sqrt(spread) / (2.0 * math.sqrt(3.0)) / np.sqrt(density),
        h * spread * math.sqrt(2.0) / 10.0,
    )
    centre = first + (used + 0.5) * cell
    cumulative = mass[used] @ ndtr((edges - centre[:, np.newaxis]) / width[:, np.newaxis])
    for mirrored, edge in ((low, first), (high, last)):
        if mirrored:  # those of what is far away add the same to all
            close = np.abs(edge - centre) < _KDE_REACH * width
            image = (2.0 * edge - centre[close])[:, np.newaxis]
            cumulative += mass[used[close]] @ ndtr((edges - image) / width[close, np.newaxis])
    contents = np.diff(cumulative)
    result: Array = contents / np.sum(contents)
    return result


def _smoothed(values: Array, sigma: float) -> Array:
    """Values (n,) smoothed with a Gaussian of ``sigma`` cells, with nothing around them."""
    n, reach = len(values), min(math.ceil(_KDE_REACH * sigma), len(values))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    size = next_fast_len(n + 2 * reach, real=True)
    smooth = irfft(rfft(values, size) * rfft(kernel / kernel.sum(), size), size)
    return np.asarray(smooth[reach : reach + n])


def kde(
    edges: ArrayLike,
    values: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    rho: float = 1.0,
    mirror: Mirror = "both",
) -> Array:
    """Bin fractions (..., nbins) of an adaptive Gaussian kernel estimate, mirrored at the edges.

    ``values`` and ``weights`` are (..., n), one row per window; pad shorter rows with weight 0.
    Entries outside the window are ignored. Bandwidths follow RooFit's ``RooKeysPdf``
    (Cranmer, Comput. Phys. Commun. 136 (2001) 198): with spread s, n entries counting mirror
    images and h = rho (4/3)^(1/5) n^(-1/5), the width of entry i is
    max(h sqrt(s / 12 f(x_i)), h s sqrt(2)/10), f being a pilot estimate of fixed width h s. For
    weighted entries n is the effective number and f the weighted density. Each row is
    normalised to one over its window.

    The entries are first shared between 2048 cells per window, so the result is exact to about
    the square of (cell / kernel width). Raises :class:`~alp_coffea.errors.PhysicsError` for
    negative weights, ``rho`` <= 0, or fewer than two distinct values inside a window.
    """
    x_edges = _checked_edges(edges)
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if not rho > 0.0:
        raise PhysicsError(f"kernel smoothing rho = {rho:g} where it must be > 0")
    if np.any(w < 0.0) or not np.all(np.isfinite(w)):
        raise PhysicsError("kernel estimate: weights must be finite and >= 0")
    lead = np.broadcast_shapes(x_edges.shape[:-1], x.shape[:-1], w.shape[:-1])
    flat_edges = np.broadcast_to(x_edges, (*lead, x_edges.shape[-1])).reshape(-1, x_edges.shape[-1])
    x, w = np.broadcast_arrays(x, w)
    n = x.shape[-1]
    x = np.broadcast_to(x, (*lead, n)).reshape(-1, n)
    w = np.broadcast_to(w, (*lead, n)).reshape(-1, n)
    low, high = mirror in ("both", "low"), mirror in ("both", "high")
    rows = [_kde_window(*row, rho, low, high) for row in zip(flat_edges, x, w, strict=True)]
    return np.stack(rows).reshape(*lead, x_edges.shape[-1] - 1)
