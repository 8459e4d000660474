"""Bin integrals of shapes against quadrature, independent implementations and limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev
from scipy.integrate import quad
from scipy.interpolate import BPoly
from scipy.stats import crystalball, norm

from alp_coffea.errors import PhysicsError
from alp_coffea.stats import shapes

alphas = st.floats(0.3, 4.0)
powers = st.floats(1.05, 60.0)
widths = st.floats(1e-3, 1e3)


@settings(max_examples=60, deadline=None)
@given(mu=st.floats(-5, 5), sigma=widths, alpha=alphas, n=powers)
def test_crystal_ball_is_the_difference_of_scipys_cumulative(mu, sigma, alpha, n):
    edges = mu + sigma * np.linspace(-20.0, 12.0, 77)
    expected = np.diff(crystalball(alpha, n, loc=mu, scale=sigma).cdf(edges))
    got = shapes.crystal_ball(edges, mu, sigma, alpha, n)
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=2e-14)
    mirrored = shapes.crystal_ball(2 * mu - edges[::-1], mu, sigma, -alpha, n)[::-1]
    np.testing.assert_allclose(mirrored, got, rtol=1e-9, atol=1e-14)


def density(x, mu, low, high):
    """Generalised Crystal Ball, unnormalised, written from its definition."""
    t, (a, n, width) = (mu - x, low) if x < mu else (x - mu, high)
    t /= width
    if t < a:
        return np.exp(-0.5 * t * t)
    log_a = n * np.log(n / a) - 0.5 * a * a
    return np.exp(log_a - n * np.log(n / a - a + t))


def quadrature(edges, mu, low, high):
    """Bin fractions of :func:`density` by adaptive quadrature between its kinks."""

    def integral(a, b):
        return quad(density, a, b, args=(mu, low, high), epsabs=0, epsrel=1e-11, limit=200)[0]

    kinks = [mu - low[0] * low[2], mu, mu + high[0] * high[2]]
    total = sum(integral(a, b) for a, b in pairwise([-np.inf, *kinks, np.inf]))
    contents = []
    for a, b in pairwise(edges):
        points = [a, *(k for k in kinks if a < k < b), b]
        contents.append(sum(integral(*ends) for ends in pairwise(points)))
    return np.array(contents) / total


@settings(max_examples=15, deadline=None)
@given(
    low=st.tuples(alphas, st.floats(1.5, 60.0), st.floats(0.3, 3.0)),
    high=st.tuples(alphas, st.floats(1.5, 60.0), st.floats(0.3, 3.0)),
    mu=st.floats(-5, 5),
)
def test_generalised_crystal_ball_against_quadrature(low, high, mu):
    edges = mu + np.array([-30.0, -6.0, -2.0, -0.7, 0.0, 0.2, 1.1, 3.0, 7.0, 40.0])
    got = shapes.generalised_crystal_ball(
        edges, mu, low[2], low[0], low[1], high[2], high[0], high[1]
    )
    np.testing.assert_allclose(got, quadrature(edges, mu, low, high), rtol=1e-8)


def test_double_sided_is_the_generalised_one_with_one_width():
    edges = np.linspace(-4.0, 5.0, 12)
    got = shapes.double_sided_crystal_ball(edges, 0.3, 0.8, 0.9, 3.0, 1.7, 8.0)
    np.testing.assert_allclose(
        got, quadrature(edges, 0.3, (0.9, 3.0, 0.8), (1.7, 8.0, 0.8)), rtol=1e-9
    )


def test_tail_bins_keep_relative_accuracy_far_out():
    # alpha = 8: the tail begins at e^-32, where differences of a cumulative have no digit left.
    edges = np.array([9.0, 10.0, 11.0])
    got = shapes.crystal_ball(edges, 0.0, 1.0, -8.0, 3.0)
    a, n = 8.0, 3.0
    tail = (n / a) ** n * np.exp(-a * a / 2) * (n / a - a + edges) ** (1 - n) / (n - 1)
    np.testing.assert_allclose(got, -np.diff(tail) / np.sqrt(2 * np.pi), rtol=1e-11)


def test_limits_of_the_crystal_ball():
    edges = np.linspace(-6.0, 6.0, 61)
    gauss = np.diff(norm.cdf(edges))
    one = shapes.crystal_ball(edges, 0.0, 1.0, 40.0, 2.0)
    np.testing.assert_allclose(one, gauss, rtol=0, atol=1e-15)
    # n -> infinity: an exponential tail
    a = 1.5
    got = shapes.crystal_ball(edges, 0.0, 1.0, a, 1e12)
    norm_total = np.exp(-a * a / 2) / a + np.sqrt(2 * np.pi) * norm.cdf(a)
    below = edges[edges <= -a]
    expected = np.diff(np.exp(a * a / 2 + a * below) / a) / norm_total
    np.testing.assert_allclose(got[: below.size - 1], expected, rtol=1e-6)
    # everything is inside a wide enough window
    wide = np.array([-1e9, -1.0, 0.5, 1e9])
    total = shapes.double_sided_crystal_ball(wide, 0.2, 0.5, 1.1, 4.0, 1.9, 5.0).sum()
    assert total == pytest.approx(1.0, abs=1e-12)


def test_many_masses_at_once_are_the_masses_one_by_one():
    masses = np.linspace(0.5, 9.0, 13)
    sigma = 0.01 + 0.02 * masses
    edges = masses[:, None] + sigma[:, None] * np.linspace(-20, 30, 101)
    alpha = np.where(masses > 5, -1.3, 0.8)
    all_at_once = shapes.crystal_ball(edges, masses, sigma, alpha, 3.0)
    assert all_at_once.shape == (13, 100)
    for i in range(13):
        one = shapes.crystal_ball(edges[i], masses[i], sigma[i], alpha[i], 3.0)
        np.testing.assert_array_equal(all_at_once[i], one)
    # one set of edges, many masses
    assert shapes.crystal_ball(edges[0], masses, sigma, alpha, 3.0).shape == (13, 100)
    assert shapes.bernstein(edges, 4).shape == (13, 5, 100)
    np.testing.assert_allclose(shapes.bernstein(edges, 4)[3], shapes.bernstein(edges[3], 4))


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1e-4, 1e4), shift=st.floats(-10, 10))
def test_scale_and_shift_invariance(scale, shift):
    edges = np.linspace(-3.0, 5.0, 33)
    plain = shapes.double_sided_crystal_ball(edges, 0.7, 0.4, 1.0, 2.5, 1.5, 4.0)
    moved = shapes.double_sided_crystal_ball(
        scale * (edges + shift), scale * (0.7 + shift), scale * 0.4, 1.0, 2.5, 1.5, 4.0
    )
    np.testing.assert_allclose(moved, plain, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(
        shapes.bernstein(scale * (edges + shift), 5), shapes.bernstein(edges, 5), rtol=1e-9
    )


@pytest.mark.parametrize("order", range(9))
def test_bernstein_against_scipys_basis_polynomials(order):
    rng = np.random.default_rng(order)
    edges = np.sort(rng.uniform(2.0, 5.0, 31))
    got = shapes.bernstein(edges, order)
    span = edges[-1] - edges[0]
    for k in range(order + 1):
        coefficients = np.zeros((order + 1, 1))
        coefficients[k] = 1.0
        primitive = BPoly(coefficients, [edges[0], edges[-1]]).antiderivative()
        np.testing.assert_allclose(got[k], np.diff(primitive(edges)) / span, rtol=0, atol=1e-14)
    assert np.all(got > 0)
    np.testing.assert_allclose(got.sum(axis=-1), 1.0 / (order + 1), rtol=1e-12)
    np.testing.assert_allclose(got.sum(axis=-2), np.diff(edges) / span, rtol=1e-12)


def test_bernstein_tiny_integrals_at_the_ends_are_exact():
    edges = np.linspace(0.0, 1.0, 401)
    got = shapes.bernstein(edges, 6)
    np.testing.assert_allclose(got[6, 0], 0.0025**7 / 7, rtol=1e-12)
    np.testing.assert_allclose(got[0, -1], 0.0025**7 / 7, rtol=1e-9)
    np.testing.assert_allclose(got[:, ::-1], got[::-1], rtol=1e-9)


@pytest.mark.parametrize("order", range(7))
def test_chebyshev_against_numpy(order):
    edges = np.sort(np.random.default_rng(order).uniform(-2.0, 9.0, 23))
    got = shapes.chebyshev(edges, order)
    domain = [edges[0], edges[-1]]
    for k in range(order + 1):
        primitive = Chebyshev.basis(k, domain=domain).integ()
        expected = np.diff(primitive(edges)) / (edges[-1] - edges[0])
        np.testing.assert_allclose(got[k], expected, rtol=0, atol=1e-14)


def test_chebyshev_and_bernstein_span_the_same_polynomials():
    edges = np.linspace(1.0, 3.0, 51)
    b, c = shapes.bernstein(edges, 5), shapes.chebyshev(edges, 5)
    solution, _, rank, _ = np.linalg.lstsq(b.T, c.T, rcond=None)
    assert rank == 6
    np.testing.assert_allclose(b.T @ solution, c.T, atol=1e-14)


def direct_kde(edges, x, w, rho, mirror):
    """RooKeysPdf's algorithm written down literally, O(n^2), bin integrals by error functions."""
    lo, hi = edges[0], edges[-1]
    keep = (x >= lo) & (x <= hi)
    x, w = x[keep], w[keep]
    points, weights = [x], [w]
    if mirror in ("both", "low"):
        points.append(2 * lo - x)
        weights.append(w)
    if mirror in ("both", "high"):
        points.append(2 * hi - x)
        weights.append(w)
    p, q = np.concatenate(points), np.concatenate(weights)
    mean = np.average(x, weights=w)
    s = np.sqrt(np.average((x - mean) ** 2, weights=w))
    n = len(points) * w.sum() ** 2 / np.sum(w * w)
    h = (4 / 3) ** 0.2 * n**-0.2 * rho
    pilot = (norm.pdf(p[:, None], p[None], h * s) * q).sum(axis=1) / q.sum()
    width = np.maximum(h * np.sqrt(s) / (2 * np.sqrt(3)) / np.sqrt(pilot), h * s * np.sqrt(2) / 10)
    contents = (q[:, None] * np.diff(norm.cdf((edges - p[:, None]) / width[:, None]))).sum(axis=0)
    return contents / contents.sum()


@pytest.mark.parametrize("mirror", ["both", "low", "high", "none"])
@pytest.mark.parametrize("rho", [0.7, 1.5])
def test_kde_against_the_direct_sum(mirror, rho):
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.exponential(1.0, 900), rng.normal(2.0, 0.2, 300)])
    w = rng.uniform(0.2, 2.0, x.size)
    edges = np.linspace(0.0, 4.0, 61)
    got = shapes.kde(edges, x, w, rho=rho, mirror=mirror)
    # away from an unmirrored edge of a steep spectrum the pilots differ by nothing
    np.testing.assert_allclose(got, direct_kde(edges, x, w, rho, mirror), rtol=2e-4)
    assert got.sum() == pytest.approx(1.0, abs=1e-12)


def test_kde_mirroring_keeps_a_flat_density_flat():
    x = (np.arange(20000) + 0.5) / 20000
    edges = np.linspace(0.0, 1.0, 21)
    np.testing.assert_allclose(shapes.kde(edges, x), 0.05, rtol=1e-4)
    assert shapes.kde(edges, x, mirror="none")[0] < 0.048


def test_kde_of_a_gaussian_sample_converges():
    rng = np.random.default_rng(3)
    edges = np.linspace(-3.0, 3.0, 31)
    expected = np.diff(norm.cdf(edges)) / (norm.cdf(3) - norm.cdf(-3))
    distances = [
        np.abs(shapes.kde(edges, rng.normal(size=n)) - expected).sum() for n in (300, 30000)
    ]
    assert distances[1] < 0.03
    assert distances[1] < 0.4 * distances[0]


def test_kde_rows_and_padding():
    rng = np.random.default_rng(8)
    rows = [rng.normal(1.0, 0.3, 500), rng.normal(2.0, 0.3, 300)]
    padded = np.zeros((2, 500))
    weights = np.zeros((2, 500))
    for i, row in enumerate(rows):
        padded[i, : row.size] = row
        weights[i, : row.size] = 1.0
    edges = np.array([np.linspace(0, 2, 21), np.linspace(1, 3, 21)])
    got = shapes.kde(edges, padded, weights, rho=1.5)
    for i, row in enumerate(rows):
        np.testing.assert_allclose(got[i], shapes.kde(edges[i], row, rho=1.5), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: shapes.crystal_ball(e, 0, 1, 1, 1.0), "n .low side. = 1 "),
        (lambda e: shapes.crystal_ball(e, 0, 0.0, 1, 2), "sigma"),
        (lambda e: shapes.crystal_ball(e, 0, 1, 0.0, 2), "alpha = 0"),
        (lambda e: shapes.crystal_ball(e, np.nan, 1, 1, 2), "mu = nan"),
        (lambda e: shapes.crystal_ball(e[::-1], 0, 1, 1, 2), "strictly increasing"),
        (lambda e: shapes.crystal_ball(e[:1], 0, 1, 1, 2), "at least two edges"),
        (lambda e: shapes.bernstein(e, -1), "order = -1"),
        (lambda e: shapes.kde(e, [0.1, 0.1]), "two different values"),
        (lambda e: shapes.kde(e, [0.1, 0.2], [1.0, -1.0]), "weights"),
        (lambda e: shapes.kde(e, [0.1, 0.2], rho=0.0), "rho = 0"),
    ],
)
def test_wrong_parameters_are_refused(call, message):
    with pytest.raises(PhysicsError, match=message):
        call(np.linspace(-1.0, 1.0, 5))
