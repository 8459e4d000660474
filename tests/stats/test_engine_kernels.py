"""The engine's kernels: derivatives, interpolation, bin factors and bounded quadratic steps."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest
from engine_models import random_workspace, window
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy.optimize import minimize_scalar

from alp_coffea.stats.engine import arrays, bin_factors, likelihood, newton
from alp_coffea.stats.engine.arrays import DESCENT, KKT
from alp_coffea.stats.engine.batch import build_group, code4_coefficients
from alp_coffea.stats.engine.fits import Problem
from alp_coffea.stats.engine.histfactory import read_model


@pytest.fixture(scope="module", autouse=True)
def _numpy_backend():
    pyhf.set_backend("numpy")


def problem_of(workspace: dict, poi: str) -> Problem:
    group = build_group([0], [read_model("test", workspace, poi, None)])
    return Problem(group, np.array([0]), group.observed.copy())


def random_point(problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Parameters away from bounds and from the kinks of the third derivatives."""
    group, jobs = problem.group, problem.jobs
    sigma = np.where(
        group.arrays.precision[0] > 0.0,
        1.0 / np.sqrt(np.where(group.arrays.precision[0] > 0.0, group.arrays.precision[0], 1.0)),
        0.3,
    )
    theta = group.init[0] + rng.normal(0.0, 0.6, group.parameters) * sigma
    theta[group.poi] = abs(theta[group.poi])
    return np.clip(theta, np.maximum(jobs.low[0], -2.0), np.minimum(jobs.high[0], 5.0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gradient_and_hessian_are_those_of_finite_differences(seed):
    problem = problem_of(random_workspace(seed), "mu")
    jobs, rows = problem.jobs, problem.everything
    theta = random_point(problem, np.random.default_rng(seed))
    jobs.theta[0] = theta
    problem.evaluate(rows)
    if not np.isfinite(jobs.value[0]):
        return
    value, gradient, hessian = jobs.value[0], jobs.gradient[0].copy(), jobs.hessian[0].copy()
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-12)
    h = 1e-5
    for p in np.flatnonzero(jobs.vary[0]):
        ends = []
        for sign in (1.0, -1.0):
            jobs.theta[0] = theta
            jobs.theta[0, p] += sign * h
            problem.evaluate(rows)
            ends.append((jobs.value[0], jobs.gradient[0].copy()))
        scale = 1.0 + np.abs(hessian).max()
        slope = (ends[0][0] - ends[1][0]) / (2.0 * h)
        assert slope == pytest.approx(gradient[p], rel=1e-5, abs=1e-6 * (scale + abs(value)))
        np.testing.assert_allclose(
            (ends[0][1] - ends[1][1]) / (2.0 * h), hessian[p], rtol=1e-4, atol=1e-4 * scale
        )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), bin_factors=st.booleans())
def test_derivatives_do_not_depend_on_which_other_parameters_vary(seed, bin_factors):
    """Held parameters, at zero or not, only leave out their own rows and columns."""
    problem = problem_of(random_workspace(seed, bin_factors=bin_factors), "mu")
    jobs, rows = problem.jobs, problem.everything
    rng = np.random.default_rng(seed)
    theta = random_point(problem, rng)
    theta[rng.random(theta.size) < 0.3] = 0.0
    jobs.theta[0] = theta
    all_vary = jobs.vary[0].copy()
    problem.evaluate(rows)
    if not np.isfinite(jobs.value[0]):
        return
    value, gradient, hessian = jobs.value[0], jobs.gradient[0].copy(), jobs.hessian[0].copy()
    chosen = all_vary & (rng.random(theta.size) < 0.6)
    jobs.vary[0] = chosen
    problem.evaluate(rows)
    scale = 1.0 + np.abs(hessian).max()
    assert jobs.value[0] == pytest.approx(value, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(jobs.gradient[0][chosen], gradient[chosen], atol=1e-10 * scale)
    np.testing.assert_allclose(
        jobs.hessian[0][np.ix_(chosen, chosen)],
        hessian[np.ix_(chosen, chosen)],
        rtol=1e-10,
        atol=1e-10 * scale,
    )
    assert np.all(jobs.gradient[0][~chosen] == 0.0)
    assert np.all(jobs.hessian[0][~chosen] == 0.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), folded=st.booleans())
def test_likelihood_is_pyhfs_at_any_point(seed, folded):
    """Value and bin factors: pyhf's likelihood at our profile, and no better bin factor nearby."""
    from alp_coffea.stats.engine import point_fits

    workspace = random_workspace(seed, folded=folded)
    problem = problem_of(workspace, "mu")
    group, jobs = problem.group, problem.jobs
    jobs.theta[0] = random_point(problem, np.random.default_rng(seed))
    problem.evaluate(problem.everything)
    if not np.isfinite(jobs.value[0]):
        return
    opened = pyhf.Workspace(workspace)
    model = opened.model()
    data = np.array(opened.data(model))
    assert group.models[0].parameter_names == model.config.par_names
    values, _ = point_fits.in_pyhf_order(
        group, 0, jobs.theta[0], np.zeros(group.parameters), jobs.gamma[0], jobs.gamma[0]
    )
    constant = group.constant[0] + point_fits.saturated(group.observed)[0]
    reference = -float(model.logpdf(values, data)[0])
    assert jobs.value[0] + constant == pytest.approx(reference, rel=1e-11, abs=1e-9)
    bounds = np.array(model.config.suggested_bounds())
    fixed = model.config.suggested_fixed()
    for i, name in enumerate(model.config.par_names):
        if "[" in name and not fixed[i]:
            for change in (-1e-3, 1e-3):
                moved = values.copy()
                moved[i] = np.clip(moved[i] + change, *bounds[i])
                assert -float(model.logpdf(moved, data)[0]) >= reference - 1e-9


@pytest.mark.parametrize(("lo", "hi"), [(0.947, 1.053), (0.7, 1.1), (1.2, 1.3), (0.5, 0.9)])
def test_normsys_is_interpolation_code_4(lo, hi):
    alphas = np.linspace(-4.0, 4.0, 161)
    code = pyhf.interpolators.code4([[[[lo], [1.0], [hi]]]], subscribe=False)
    expected = np.ravel(code(alphas[np.newaxis]))
    coefficients = code4_coefficients(lo, hi)
    got = np.array([likelihood.normsys.py_func(a, coefficients) for a in alphas])
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-12)
    # value and two derivatives are continuous at the joints
    for joint in (-1.0, 1.0):
        below, above = (likelihood.normsys.py_func(joint + d, coefficients) for d in (-1e-9, 1e-9))
        np.testing.assert_allclose(below, above, atol=1e-6)


def test_histosys_is_interpolation_code_4p():
    alphas = np.linspace(-3.0, 3.0, 121)
    nominal, up, down = 10.0, 13.0, 9.0
    code = pyhf.interpolators.code4p([[[[down], [nominal], [up]]]], subscribe=False)
    expected = np.ravel(code(alphas[np.newaxis]))
    above, below = (
        np.array([likelihood.histosys.py_func(a, sign) for a in alphas]) for sign in (1.0, -1.0)
    )
    got = above[:, 0] * (up - nominal) + below[:, 0] * (nominal - down)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_vectorised_logarithm_is_accurate_to_rounding():
    rng = np.random.default_rng(0)
    ratio = np.concatenate(
        [np.exp(rng.uniform(-600.0, 600.0, 4000)), 1.0 + rng.normal(0, 1e-3, 999)]
    )
    lines = np.ones((7, ratio.size))
    lines[3] = ratio

    @njit
    def call(lines, bits):
        likelihood._logarithms(lines, bits, lines.shape[1])

    call(lines, lines.view(np.int64))
    np.testing.assert_allclose(lines[5], np.log(ratio), rtol=4e-16, atol=1e-19)


@settings(max_examples=150, deadline=None)
@given(
    n=st.sampled_from([0.0, 1.0, 3.0, 250.0]),
    rest=st.floats(0.0, 200.0),
    rate=st.floats(1e-3, 300.0),
    poisson=st.booleans(),
    relative=st.floats(0.01, 1.0),
    pull=st.floats(-2.0, 2.0),
)
def test_best_bin_factor_is_the_minimum(n, rest, rate, poisson, relative, pull):
    tau = 1.0 / relative**2
    aux = max(tau + pull * np.sqrt(tau), 0.0) if poisson else 1.0 + pull * relative

    def objective(gamma: float) -> float:
        nu = rest + gamma * rate
        likelihood_term = nu - (n * np.log(nu) if n > 0.0 else 0.0)
        if poisson:
            return likelihood_term + tau * gamma - (aux * np.log(gamma) if aux > 0.0 else 0.0)
        return likelihood_term + 0.5 * ((gamma - aux) / relative) ** 2

    got = bin_factors.best_factor.py_func(n, rest, rate, int(poisson), aux, tau, 1e-10, 10.0)
    found = minimize_scalar(
        objective, bounds=(1e-10, 10.0), method="bounded", options={"xatol": 1e-9}
    )
    assert objective(got) <= found.fun + 1e-9 * (1.0 + abs(found.fun))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_box_step_satisfies_the_optimality_conditions(seed):
    """Random convex quadratics in random boxes, many solutions at several bounds."""
    rng = np.random.default_rng(seed)
    problem = problem_of(window(order=5), "sigma")
    jobs, n = problem.jobs, problem.group.parameters
    root = rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-3.0, 3.0, n)
    hessian = root.T @ root + 1e-6 * np.diag(np.diag(root.T @ root))
    gradient = rng.normal(size=n) * np.sqrt(np.diag(hessian))
    jobs.hessian[0], jobs.gradient[0] = hessian, gradient
    scale = 1.0 / np.sqrt(np.diag(hessian))
    jobs.low[0] = -scale * rng.uniform(0.0, 1.0, n) * (rng.random(n) < 0.7)
    jobs.high[0] = scale * rng.uniform(1e-3, 1.0, n)
    jobs.theta[0] = 0.0
    jobs.vary[0] = True
    problem.steps(np.array([0]))
    step = jobs.step[0]
    assert np.all(step >= jobs.low[0] - 1e-12 * scale)
    assert np.all(step <= jobs.high[0] + 1e-12 * scale)
    force = (gradient + hessian @ step) * scale
    at_low, at_high = step <= jobs.low[0] + 1e-9 * scale, step >= jobs.high[0] - 1e-9 * scale
    tolerance = 1e-6
    assert np.all(force[at_low & ~at_high] > -tolerance)
    assert np.all(force[at_high & ~at_low] < tolerance)
    assert np.all(np.abs(force[~at_low & ~at_high]) < tolerance)
    assert jobs.info[0, DESCENT] <= 0.0


def test_indefinite_hessian_is_reported():
    problem = problem_of(window(), "sigma")
    jobs = problem.jobs
    jobs.hessian[0] = -np.eye(problem.group.parameters)
    jobs.gradient[0] = 1.0
    jobs.low[0], jobs.high[0], jobs.theta[0] = -10.0, 10.0, 0.0
    problem.steps(np.array([0]))
    assert np.isnan(jobs.info[0, DESCENT])
    assert jobs.info[0, KKT] > 1.0


@pytest.mark.parametrize("curvature", [1.0, 0.0, -1.0])
def test_only_a_minimum_is_a_place_to_rest(curvature):
    """A parameter without gradient or couplings stays; at a maximum the fit is indefinite."""
    block, numbers = np.zeros((1, 8, 2)), np.zeros((1, 8))
    block[0, arrays.LOW], block[0, arrays.HIGH] = -5.0, 5.0
    block[0, arrays.GRADIENT] = [1.0, 0.0]
    flags = np.ones((1, 2, 2), np.int8)
    newton.newton_steps(
        block, np.diag([2.0, curvature])[np.newaxis], flags, numbers, np.zeros(1, np.int64),
        -1, 0.0, np.zeros((4, 2)), np.zeros(2, np.int64),
    )  # fmt: skip
    assert np.isnan(numbers[0, arrays.DESCENT]) == (curvature < 0.0)
    target = [0.0 if curvature < 0.0 else -0.5, 0.0]
    np.testing.assert_allclose(block[0, arrays.TARGET], target, rtol=1e-15)
    assert numbers[0, arrays.KKT] == pytest.approx(2.0**-0.5)
