"""pyhf as oracle: minima, discovery statistics and CLs on random and realistic workspaces."""

from __future__ import annotations

import json

import numpy as np
import pyhf
import pytest
from engine_models import random_workspace, window
from scipy.stats import norm

from alp_coffea.stats import engine

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:pyhf")


@pytest.fixture(autouse=True)
def _numpy_backend():
    pyhf.set_backend("numpy")


def opened(workspace: dict):
    model = pyhf.Workspace(json.loads(json.dumps(workspace))).model()
    return model, pyhf.Workspace(workspace).data(model)


def pyhf_minimum(model, data, starts, *, mu=None, bounds=None) -> float:
    """-2 ln L at the deepest minimum that pyhf finds from several starting points."""
    best = np.inf
    for start in starts:
        init = list(start)
        fixed = model.config.suggested_fixed()
        if mu is not None:
            init[model.config.poi_index] = mu
            fixed[model.config.poi_index] = True
        try:
            with np.errstate(all="ignore"):
                _, value = pyhf.infer.mle.fit(
                    data, model, init_pars=init, fixed_params=fixed, par_bounds=bounds,
                    return_fitted_val=True,
                )  # fmt: skip
        except pyhf.exceptions.FailedMinimization:
            continue
        best = min(best, float(value))
    return best


def deepest_cls(model, data, scan, ours, mu: float, band: int | None) -> float:
    """CLs from pyhf's likelihood, taking the deepest of several minima in every fit."""
    null = scan.null.values[0]
    starts = [model.config.suggested_init(), ours, null]
    asimov = np.array(model.expected_data(null))
    best_a = pyhf_minimum(model, asimov, [null], mu=0.0)
    root_a = np.sqrt(max(pyhf_minimum(model, asimov, starts, mu=mu) - best_a, 0.0))
    if band is not None:
        return float(norm.sf(root_a - (band - 2)) / norm.cdf(band - 2))
    free = pyhf_minimum(model, data, [*starts, scan.free.values[0]])
    root = np.sqrt(max(pyhf_minimum(model, data, starts, mu=mu) - free, 0.0))
    if root <= root_a:
        return float(norm.sf(root) / norm.sf(root - root_a))
    u, v = (root**2 + root_a**2) / (2 * root_a), (root**2 - root_a**2) / (2 * root_a)
    return float(norm.sf(u) / norm.sf(v))


def compare(workspace: dict, poi: str, *, strict_limits: bool = True) -> bool:
    """Engine against pyhf on one workspace; False if the point was flagged and not compared."""
    compiled = engine.compile(workspace, poi=poi)
    scan = compiled.scan()
    if not scan.ok[0]:
        assert scan.words[0] != "ok"
        return False
    model, data = opened(workspace)
    assert compiled.names(0) == model.config.par_names
    for fit in (scan.free, scan.null):
        own = float(np.squeeze(pyhf.infer.mle.twice_nll(fit.values[0], data, model)))
        assert fit.twice_nll[0] == pytest.approx(own, rel=1e-11, abs=1e-8)
    init = model.config.suggested_init()
    free = pyhf_minimum(model, data, [init, scan.free.values[0]])
    null = pyhf_minimum(model, data, [init, scan.null.values[0]], mu=0.0)
    assert scan.free.twice_nll[0] <= free + 1e-6
    assert scan.null.twice_nll[0] <= null + 1e-6
    if scan.discovery.poi[0] > 0.0 and not scan.status[0] & engine.Status.AT_EDGE:
        assert scan.discovery.q0[0] == pytest.approx(max(null - free, 0.0), abs=2e-5, rel=1e-4)
    high = model.config.suggested_bounds()[model.config.poi_index][1]
    targets = [
        (scan.limits.observed[0], None),
        *((m, k) for k, m in enumerate(scan.limits.expected[0])),
    ]
    for mu, band in targets:
        if not mu < high:
            continue
        # pyhf may end in a shallower minimum; where its fit agrees with ours, so must CLs
        at_mu = compiled.fit(poi=mu)
        reference = pyhf_minimum(model, data, [init], mu=mu)
        assert at_mu.twice_nll[0] <= reference + 1e-6
        if abs(reference - at_mu.twice_nll[0]) > 1e-4:
            continue
        with np.errstate(all="ignore"):
            observed, expected = pyhf.infer.hypotest(mu, data, model, return_expected_set=True)
        cls = float(observed if band is None else expected[band])
        if abs(cls - 0.05) > 1e-4:
            # one of hypotest's five fits, each from one start, may have ended too early
            cls = deepest_cls(model, data, scan, at_mu.values[0], mu, band)
        if strict_limits:
            assert cls == pytest.approx(0.05, abs=1e-4)
    return True


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_random_workspaces(seed):
    compare(random_workspace(3000 + seed), "mu")


@pytest.mark.slow
def test_many_random_workspaces():
    compared = sum(compare(random_workspace(5000 + seed), "mu") for seed in range(60))
    assert compared >= 54


@pytest.mark.slow
def test_likelihoods_with_several_minima_are_never_worse_than_pyhfs():
    compared = sum(
        compare(random_workspace(seed, folded=True), "mu", strict_limits=False)
        for seed in range(40)
    )
    assert compared >= 34


@pytest.mark.slow
@pytest.mark.parametrize("mass", [0.3, 3.0, 9.5])
@pytest.mark.parametrize("order", [2, 5])
def test_mass_windows(mass, order):
    assert compare(
        window(mass, order=order, events=3000.0, scale=60.0, high=50.0, seed=order), "sigma"
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"staterror": 0.05}, {"shapesys": 0.1}])
def test_mass_windows_with_bin_factors(options):
    assert compare(
        window(3.0, bins=25, order=2, events=3000.0, scale=60.0, high=50.0, **options), "sigma"
    )


def test_ninety_percent_limits_of_a_window():
    workspace = window(3.0, bins=40, order=2, events=2000.0, scale=50.0, high=50.0, seed=3)
    limits = engine.compile(workspace, poi="sigma").limits(0.90)
    model, data = opened(workspace)
    observed, _ = pyhf.infer.hypotest(limits.observed[0], data, model, return_expected_set=True)
    assert float(observed) == pytest.approx(0.1, abs=1e-4)
    _, expected = pyhf.infer.hypotest(limits.expected[0, 2], data, model, return_expected_set=True)
    assert float(expected[2]) == pytest.approx(0.1, abs=1e-4)


def test_pyhfs_own_root_finder_gives_the_same_limits():
    workspace = window(2.0, bins=20, order=1, events=500.0, scale=20.0, high=10.0, seed=2)
    limits = engine.compile(workspace, poi="sigma").limits()
    model, data = opened(workspace)
    observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(
        data, model, 0.05, 10.0, rtol=1e-7, atol=1e-9
    )
    assert limits.observed[0] == pytest.approx(float(observed), rel=1e-4)
    np.testing.assert_allclose(limits.expected[0], np.array(expected, float), rtol=1e-4)


def test_pyhf_workspace_objects_and_measurement_choice():
    workspace = window(3.0)
    second = json.loads(json.dumps(workspace["measurements"][0]))
    second["name"] = "tight"
    second["config"]["parameters"].append(
        {
            "name": "efficiency",
            "auxdata": [0.5],
            "bounds": [[-1.0, 1.0]],
            "inits": [0.5],
            "fixed": True,
        }
    )
    workspace["measurements"].append(second)
    spec = pyhf.Workspace(workspace)
    by_name = engine.compile(spec, poi="sigma", measurement="tight").fit(poi=1.0)
    by_index = engine.compile(spec, poi="sigma", measurement=1).fit(poi=1.0)
    default = engine.compile(spec, poi="sigma").fit(poi=1.0)
    assert by_name.twice_nll[0] == by_index.twice_nll[0]
    assert by_name.twice_nll[0] != default.twice_nll[0]
    model = spec.model(measurement_name="tight")
    own = pyhf.infer.mle.twice_nll(by_name.values[0], spec.data(model), model)
    assert by_name.twice_nll[0] == pytest.approx(float(np.squeeze(own)), rel=1e-12)


def test_check_reports_the_differences():
    compiled = engine.compile(
        [window(m, bins=30, order=2, scale=60.0, high=50.0) for m in (1.0, 5.0)], poi="sigma"
    )
    report = compiled.check(1, seed=3)
    assert report.points.size == 1
    assert abs(report.free[0]) < 1e-6
    assert np.all(np.abs(report.expected) < 1e-4)
    assert np.all(np.abs(report.observed) < 1e-4)
    assert str(report).startswith("1 points against pyhf")


def test_templates_may_be_arrays():
    workspace = window(1.0, bins=10, order=1, scale=60.0, high=50.0)
    plain = engine.compile(workspace, poi="sigma")
    for sample in workspace["channels"][0]["samples"]:
        sample["data"] = np.array(sample["data"])
    arrays = engine.compile(workspace, poi="sigma")
    assert arrays.limits().observed[0] == plain.limits().observed[0]
    assert abs(arrays.check(1).free[0]) < 1e-6


@pytest.mark.parametrize(
    "options", [{}, {"staterror": 0.1}, {"shapesys": 0.2}, {"staterror": 0.1, "shapesys": 0.2}]
)
def test_errors_are_the_inverse_of_the_full_hessian(options):
    """Numerical Hessian of pyhf's likelihood in all parameters, bin factors included."""
    workspace = window(3.0, bins=8, order=1, events=3000.0, scale=200.0, high=50.0, **options)
    data = np.array(workspace["observations"][0]["data"])
    data += 3.0 * np.array(workspace["channels"][0]["samples"][0]["data"])
    workspace["observations"][0]["data"] = data.tolist()
    fit = engine.compile(workspace, poi="sigma").fit()
    assert fit.status[0] == 0
    model, full = opened(workspace)
    best, n = fit.values[0], len(fit.values[0])
    step = 1e-3 * np.maximum(fit.errors[0], 1e-6)

    def nll(x: np.ndarray) -> float:
        return -float(model.logpdf(x, full)[0])

    hessian = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for a in (1.0, -1.0):
                for b in (1.0, -1.0):
                    x = best.copy()
                    x[i] += a * step[i]
                    x[j] += b * step[j]
                    total += a * b * nll(x)
            hessian[i, j] = hessian[j, i] = total / (4.0 * step[i] * step[j])
    free = ~np.array(model.config.suggested_fixed())
    expected = np.sqrt(np.diag(np.linalg.inv(hessian[np.ix_(free, free)])))
    np.testing.assert_allclose(fit.errors[0][free], expected, rtol=2e-3)
    assert fit.poi_error[0] == pytest.approx(fit.errors[0][model.config.poi_index], rel=1e-9)
