"""The engine against closed forms, independent minimisers, invariances and its own promises."""

from __future__ import annotations

import doctest
import json
import zipfile

import numpy as np
import pytest
from engine_models import window
from hypothesis import given, settings
from hypothesis import strategies as st
from iminuit import Minuit
from scipy.optimize import brentq, minimize
from scipy.special import xlogy
from scipy.stats import norm

from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.engine import likelihood
from alp_coffea.stats.engine.asymptotics import expected_targets
from alp_coffea.stats.engine.batch import code4_coefficients

MASSES = (0.5, 1.5, 4.0, 9.0)


def counting(observed: float, background: float, signal: float, high: float = 1e6) -> dict:
    """A counting experiment with a known background."""
    mu = {"name": "mu", "type": "normfactor", "data": None}
    return {
        "channels": [
            {
                "name": "count",
                "samples": [
                    {"name": "signal", "data": [signal], "modifiers": [mu]},
                    {"name": "background", "data": [background], "modifiers": []},
                ],
            }
        ],
        "observations": [{"name": "count", "data": [observed]}],
        "measurements": [
            {
                "name": "m",
                "config": {
                    "poi": "mu",
                    "parameters": [{"name": "mu", "bounds": [[0.0, high]], "inits": [0.1]}],
                },
            }
        ],
        "version": "1.0.0",
    }


def counting_nll(n: float, nu: float) -> float:
    return float(nu - xlogy(n, nu))


def counting_limits(n: float, b: float, s: float, level: float) -> tuple[float, np.ndarray]:
    """CLs limits of a counting experiment from the definitions of the test statistic."""
    alpha = 1.0 - level
    mu_hat = max((n - b) / s, 0.0)

    def q(mu: float, count: float, best: float) -> float:
        if mu <= best:
            return 0.0
        rise = counting_nll(count, mu * s + b) - counting_nll(count, best * s + b)
        return max(2.0 * rise, 0.0)

    def cls(mu: float) -> float:
        root, root_a = np.sqrt(q(mu, n, mu_hat)), np.sqrt(q(mu, b, 0.0))
        if root <= root_a:
            return float(norm.sf(root) / norm.sf(root - root_a))
        u, v = (root**2 + root_a**2) / (2 * root_a), (root**2 - root_a**2) / (2 * root_a)
        return float(norm.sf(u) / norm.sf(v))

    top = 100.0 * (np.sqrt(b + 1.0) + n + 10.0) / s
    observed = brentq(
        lambda mu: cls(mu) - alpha, mu_hat + 1e-4 * np.sqrt(b) / s, top, xtol=1e-14 / s
    )
    bands = []
    for band in range(-2, 3):
        target = band + norm.isf(alpha * norm.cdf(band))
        bands.append(
            brentq(lambda mu, t=target: np.sqrt(q(mu, b, 0.0)) - t, 1e-12 / s, top, xtol=1e-14 / s)
        )
    return observed, np.array(bands)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 400),
    b=st.floats(0.3, 300.0),
    scale=st.sampled_from([1e-4, 1.0, 37.0, 1e4]),
    level=st.sampled_from([0.9, 0.95]),
)
def test_counting_experiment_in_closed_form(n, b, scale, level):
    compiled = engine.compile(counting(float(n), b, scale, high=1e9), poi="mu")
    limits = compiled.limits(level)
    observed, expected = counting_limits(float(n), b, scale, level)
    assert limits.ok.all()
    np.testing.assert_allclose(limits.expected[0], expected, rtol=1e-7)
    np.testing.assert_allclose(limits.observed[0], observed, rtol=1e-6)
    discovery = compiled.q0()
    mu_hat = (n - b) / scale
    q0 = 2.0 * (counting_nll(n, b) - counting_nll(n, max(n, 0)))
    assert discovery.poi[0] == pytest.approx(mu_hat, rel=1e-6, abs=1e-5 * b / scale)
    assert discovery.q0[0] == pytest.approx(np.sign(mu_hat) * q0, rel=1e-6, abs=1e-7)
    if n > 0:
        assert discovery.poi_error[0] == pytest.approx(np.sqrt(n) / scale, rel=1e-5)


def test_the_example_of_the_module():
    assert doctest.testmod(engine).failed == 0
    observed, expected = counting_limits(52.0, 50.0, 5.0, 0.95)
    assert (round(observed, 3), round(expected[2], 3)) == (3.346, 3.034)


def test_targets_of_the_expected_limits():
    # square roots of q_A at the five expected limits, 95 % and 90 % CL
    np.testing.assert_allclose(
        expected_targets(0.95), [1.0518, 1.4120, 1.9600, 2.7272, 3.6560], atol=5e-5
    )
    np.testing.assert_allclose(
        expected_targets(0.90), [0.8373, 1.1478, 1.6449, 2.3778, 3.2946], atol=5e-5
    )


def test_background_free_counting_experiment():
    """No background and nothing seen: q_A is linear in the signal, and so has no curvature."""
    limits = engine.compile(counting(0.0, 0.0, 2.0), poi="mu").limits(0.95)
    assert limits.ok[0]
    np.testing.assert_allclose(limits.expected[0], expected_targets(0.95) ** 2 / 4.0, rtol=1e-6)


def independent_nll(spec: dict, data: np.ndarray):
    """-ln L of a window without nuisance parameters, relative to the saturated model."""
    templates = np.array([s["data"] for s in spec["channels"][0]["samples"]])
    seen = data > 0.0

    def nll(x: np.ndarray) -> float:
        nu = x @ templates
        if np.any(nu < 0.0) or np.any(nu[seen] <= 0.0):
            return 1e10
        return float(np.sum(nu - data) + np.sum(data[seen] * np.log(data[seen] / nu[seen])))

    return nll, templates


@pytest.mark.parametrize("seed", range(6))
def test_signed_fit_against_iminuit(seed):
    spec = window(2.0, events=3000.0, nuisances=False, seed=seed)
    data = np.array(spec["observations"][0]["data"])
    nll, _ = independent_nll(spec, data)
    minuit = Minuit(nll, np.array([0.01, *([0.7] * 5)]))
    minuit.errordef, minuit.tol, minuit.strategy = 0.5, 1e-8, 2
    minuit.limits = [(None, None)] + [(0.0, 1e3)] * 5
    minuit.migrad(ncall=20000)
    minuit.hesse()
    compiled = engine.compile(spec, poi="sigma")
    signed = compiled.q0()
    assert signed.status[0] == 0
    assert signed.poi[0] == pytest.approx(minuit.values[0], abs=0.02 * signed.poi_error[0])
    assert signed.poi_error[0] == pytest.approx(minuit.errors[0], rel=2e-3)
    toys = compiled.fit_toys(data[np.newaxis, np.newaxis])
    assert 0.5 * toys.deviance[0, 0] <= minuit.fval + 1e-7
    assert 0.5 * toys.deviance[0, 0] == pytest.approx(minuit.fval, abs=1e-4)
    assert toys.q0[0, 0] == signed.q0[0]


def test_minimum_at_the_edge_of_the_domain():
    """Deficits over empty bins: the minimum of the closed domain, by another algorithm."""
    compared = 0
    for seed in range(60):
        spec = window(2.0, events=60.0, nuisances=False, seed=seed, order=3)
        data = np.array(spec["observations"][0]["data"])
        result = engine.compile(spec, poi="sigma").fit_toys(data[np.newaxis, np.newaxis])
        if not result.status[0, 0] & engine.Status.AT_EDGE:
            continue
        assert result.ok[0, 0]
        compared += 1
        nll, templates = independent_nll(spec, data)
        empty = templates[:, data == 0.0]
        found = minimize(
            lambda x, t=templates, d=data: (
                np.sum(x @ t) - np.sum(xlogy(d, np.maximum(x @ t, 1e-12)))
            ),
            np.array([0.0, 0.5, 0.5, 0.5, 0.5]),
            jac=lambda x, t=templates, d=data: t @ (1.0 - d / np.maximum(x @ t, 1e-12)),
            method="SLSQP",
            bounds=[(None, None)] + [(0.0, 1e3)] * 4,
            constraints={
                "type": "ineq",
                "fun": lambda x, e=empty: x @ e,
                "jac": lambda _, e=empty: e.T,
            },
            options={"ftol": 1e-13, "maxiter": 500},
        )
        constant = np.sum(xlogy(data, data)) - data.sum()
        assert 0.5 * result.deviance[0, 0] <= found.fun + constant + 1e-6
        assert nll(np.array([0.0, 0.5, 0.5, 0.5, 0.5])) >= 0.5 * result.deviance[0, 0]
    assert compared >= 3


def test_coefficients_at_bounds_satisfy_the_optimality_conditions():
    spec = window(3.0, events=400.0, order=5, nuisances=False, seed=4)
    data = np.array(spec["observations"][0]["data"])
    data[:30] = 0.0  # forces the first coefficients to zero
    result = engine.compile(spec, poi="sigma").fit(data[np.newaxis], poi=0.0)
    assert result.ok[0]
    order = [result.names[0].index(name) for name in ("sigma", *(f"b{k}" for k in range(6)))]
    values, errors = result.values[0][order], result.errors[0][order]
    assert np.sum(values[1:] == 0.0) >= 2
    _, templates = independent_nll(spec, data)
    nu = values @ templates
    np.testing.assert_allclose(result.expected[0], nu, rtol=1e-12)
    gradient = templates @ (1.0 - data / nu)
    scale = 1.0 / np.sqrt((templates**2) @ (1.0 / nu))
    for k in range(1, 7):
        if values[k] == 0.0:
            assert gradient[k] > 0.0
            assert errors[k] == 0.0
        else:
            assert abs(gradient[k] * scale[k]) < 1e-6
            assert errors[k] > 0.0


@pytest.mark.parametrize("factor", [1e-4, 1e-2, 1e2, 1e4])
def test_limits_scale_inversely_with_the_signal_template(factor):
    plain = engine.compile(window(3.0, scale=20.0), poi="sigma").scan()
    other = engine.compile(window(3.0, scale=20.0 * factor, high=1e12), poi="sigma").scan()
    assert other.ok.all()
    np.testing.assert_allclose(other.limits.expected * factor, plain.limits.expected, rtol=1e-7)
    np.testing.assert_allclose(other.limits.observed * factor, plain.limits.observed, rtol=1e-7)
    np.testing.assert_allclose(other.discovery.z, plain.discovery.z, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(other.free.twice_nll, plain.free.twice_nll, rtol=1e-12)


def test_order_of_bins_samples_channels_and_points_does_not_matter():
    rng = np.random.default_rng(2)
    plain = window(4.0, bins=60, seed=5)
    shuffled = json.loads(json.dumps(plain))
    order = rng.permutation(60)
    for sample in shuffled["channels"][0]["samples"]:
        sample["data"] = [sample["data"][i] for i in order]
        for modifier in sample["modifiers"]:
            if modifier["type"] == "histosys":
                for key in ("hi_data", "lo_data"):
                    modifier["data"][key] = [modifier["data"][key][i] for i in order]
    shuffled["observations"][0]["data"] = [plain["observations"][0]["data"][i] for i in order]
    shuffled["channels"][0]["samples"].reverse()
    split = json.loads(json.dumps(plain))
    for part, bins in (("a", slice(0, 25)), ("b", slice(25, 60))):
        channel = json.loads(json.dumps(plain["channels"][0]))
        channel["name"] = part
        for sample in channel["samples"]:
            sample["data"] = sample["data"][bins]
            for modifier in sample["modifiers"]:
                if modifier["type"] == "histosys":
                    modifier["data"] = {k: v[bins] for k, v in modifier["data"].items()}
        split["channels"].append(channel)
        split["observations"].append({"name": part, "data": plain["observations"][0]["data"][bins]})
    split["channels"].pop(0)
    split["observations"].pop(0)
    result = engine.compile([plain, shuffled, split], poi="sigma").scan()
    assert result.ok.all()
    for array in (
        result.limits.observed,
        result.limits.expected[:, 2],
        result.discovery.poi,
        result.free.twice_nll,
    ):
        np.testing.assert_allclose(array[1:], array[0], rtol=1e-7, atol=1e-8)


def test_threads_give_the_same_bits():
    workspaces = [window(m, seed=i) for i, m in enumerate(np.linspace(0.5, 9.0, 11))]
    compiled = engine.compile(workspaces, poi="sigma")
    one = compiled.scan(threads=1)
    toys = np.random.default_rng(0).poisson(20.0, (5, 11, 100)).astype(float)
    toys_one = compiled.fit_toys(toys)
    for threads in (2, 3, 7):
        many = compiled.scan(threads=threads)
        np.testing.assert_array_equal(many.limits.observed, one.limits.observed)
        np.testing.assert_array_equal(many.limits.expected, one.limits.expected)
        np.testing.assert_array_equal(many.discovery.q0, one.discovery.q0)
        np.testing.assert_array_equal(many.free.twice_nll, one.free.twice_nll)
        np.testing.assert_array_equal(compiled.fit_toys(toys, threads=threads).q0, toys_one.q0)


def test_points_of_different_structure_keep_their_places():
    workspaces = [
        window(m, order=o, bins=b)
        for m, o, b in zip(MASSES, (2, 4, 2, 4), (50, 60, 70, 80), strict=True)
    ]
    together = engine.compile(workspaces, poi="sigma")
    assert len(together.groups) == 2
    result = together.scan()
    for i, workspace in enumerate(workspaces):
        alone = engine.compile(workspace, poi="sigma").scan()
        assert result.limits.observed[i] == alone.limits.observed[0]
        assert result.discovery.z[i] == alone.discovery.z[0]
        np.testing.assert_array_equal(result.free.values[i], alone.free.values[0])
        assert result.free.names[i] == alone.free.names[0]
        assert result.free.expected[i].size == (50, 60, 70, 80)[i]


def test_modes_and_replaced_data():
    compiled = engine.compile([window(m) for m in MASSES], poi="sigma")
    both = compiled.limits(0.9)
    expected = compiled.limits(0.9, observed=False)
    observed = compiled.limits(0.9, expected=False)
    np.testing.assert_allclose(expected.expected, both.expected, rtol=1e-12)
    np.testing.assert_allclose(observed.observed, both.observed, rtol=1e-6)
    assert np.isnan(expected.observed).all()
    assert np.isnan(observed.expected).all()
    assert expected.ok.all()
    assert observed.ok.all()
    assert np.all(both.observed < compiled.limits(0.95).observed)
    asimov = compiled.fit(poi=0.0).expected
    on_asimov = compiled.limits(0.95, asimov)
    np.testing.assert_allclose(on_asimov.observed, on_asimov.expected[:, 2], rtol=1e-6)
    free = compiled.fit(asimov)
    np.testing.assert_allclose(compiled.q0(asimov).z, 0.0, atol=1e-4)
    np.testing.assert_allclose(free.gof_p, 1.0, atol=1e-6)


def test_goodness_of_fit_is_that_of_the_saturated_model():
    spec = window(3.0, nuisances=False)
    result = engine.compile(spec, poi="sigma").fit()
    data, nu = np.array(spec["observations"][0]["data"]), result.expected[0]
    deviance = 2.0 * np.sum(nu - data + xlogy(data, data / nu))
    from scipy.stats import chi2

    assert result.gof_p[0] == pytest.approx(chi2.sf(deviance, 100 - 6), rel=1e-9)
    p_values = []
    truth = np.array(window(3.0, seed=None)["observations"][0]["data"])
    toys = np.random.default_rng(1).poisson(truth, (400, 1, 100)).astype(float)
    fits = engine.compile(spec, poi="sigma").fit_toys(toys)
    p_values = chi2.sf(fits.deviance[:, 0], 94)
    assert abs(np.mean(p_values) - 0.5) < 0.06


def test_failing_points_do_not_take_others_along():
    good = window(3.0)
    hopeless = window(3.0)
    for sample in hopeless["channels"][0]["samples"]:
        sample["data"][7] = 0.0
        for modifier in sample["modifiers"]:
            if modifier["type"] == "histosys":
                modifier["data"]["hi_data"][7] = modifier["data"]["lo_data"][7] = 0.0
    hopeless["observations"][0]["data"][7] = 3.0
    insensitive = window(3.0, scale=0.0)
    compiled = engine.compile([good, hopeless, insensitive, good], poi="sigma")
    data = [np.array(w["observations"][0]["data"]) for w in (good, hopeless, insensitive, good)]
    data[3] = data[3].copy()
    data[3][0] = np.nan
    result = compiled.scan(data=data)
    assert result.ok.tolist() == [True, False, False, False]
    assert result.words[0] == "ok"
    assert "model expects none" in result.words[1]
    assert "signal does not change" in result.words[2]
    assert "not finite" in result.words[3]
    alone = engine.compile(good, poi="sigma").scan()
    assert result.limits.observed[0] == alone.limits.observed[0]
    assert np.isnan(result.limits.observed[1:]).all()
    assert np.isnan(result.discovery.z[3])
    assert np.isnan(result.free.twice_nll[3])


def test_nuisances_without_effect_stay_where_their_constraints_want_them():
    """Without a signal its uncertainties do nothing, and their errors are those of the prior."""
    compiled = engine.compile([window(m) for m in MASSES], poi="sigma")
    null = compiled.fit(poi=0.0)
    assert null.ok.all()
    names = null.names[0]
    for name in ("efficiency", "luminosity", "width"):
        column = names.index(name)
        np.testing.assert_array_equal([values[column] for values in null.values], 0.0)
        np.testing.assert_allclose([errors[column] for errors in null.errors], 1.0, rtol=1e-12)
    other = names.index("b2")
    assert all(errors[other] > 0.0 for errors in null.errors)


@pytest.mark.parametrize("both", [0.5, 0.8, 1.3])
def test_uncertainty_whose_two_variations_are_the_same(both):
    """Its effect is stationary at the nominal value, which for large signals is no minimum."""
    signal, background = np.array([5.0, 8.0]), np.array([50.0, 40.0])
    spec = counting(0.0, 0.0, 0.0)
    for sample, template in zip(spec["channels"][0]["samples"], (signal, background), strict=True):
        sample["data"] = template.tolist()
    size = {"name": "size", "type": "normsys", "data": {"hi": both, "lo": both}}
    spec["channels"][0]["samples"][0]["modifiers"].append(size)
    spec["observations"][0]["data"] = background.tolist()
    alpha = np.linspace(-5.0, 5.0, 20001)
    coefficients = code4_coefficients(both, both)
    weight = np.array([likelihood.normsys.py_func(a, coefficients)[0] for a in alpha])

    def root_of_q(mu: float) -> float:
        nu = background + mu * weight[:, np.newaxis] * signal
        deviance = 2.0 * np.sum(nu - background + background * np.log(background / nu), axis=1)
        return float(np.sqrt(np.min(deviance + alpha**2)))

    result = engine.compile(spec, poi="mu").limits()
    assert result.ok[0]
    for k, target in enumerate((1.0518, 1.4120, 1.9600, 2.7272, 3.6560)):
        assert root_of_q(result.expected[0, k]) == pytest.approx(target, abs=2e-4)
    assert result.observed[0] == pytest.approx(result.expected[0, 2], rel=1e-6)
    fixed = engine.compile(spec, poi="mu").fit(poi=3.0)
    assert np.isfinite(fixed.errors[0]).all()
    assert fixed.errors[0].max() > 0.1


@pytest.mark.parametrize("expected", [0.1, 0.2, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("relative", [0.01, 0.1, 0.5])
def test_nothing_is_nan_without_a_status(expected, relative):
    """Bin factors of an empty bin, whose likelihood would like to expect less than nothing."""
    background = [50.0, expected, 60.0]
    spec = counting(0.0, 0.0, 0.0)
    for sample, template in zip(
        spec["channels"][0]["samples"], ([5.0, 8.0, 3.0], background), strict=True
    ):
        sample["data"] = template
    errors = [relative * count for count in background]
    spec["channels"][0]["samples"][1]["modifiers"].append(
        {"name": "mc", "type": "staterror", "data": errors}
    )
    spec["observations"][0]["data"] = [30.0, 0.0, 50.0]
    result = engine.compile(spec, poi="mu").scan()
    finite = np.isfinite(result.discovery.q0) & np.isfinite(result.limits.observed)
    assert finite[0] or not result.ok[0]
    assert np.isfinite(result.limits.expected).all()


def test_degenerate_parameters_leave_the_limits_alone():
    """Two identical background samples: errors are undefined, everything else is not."""
    plain = window(3.0)
    doubled = json.loads(json.dumps(plain))
    copy = json.loads(json.dumps(doubled["channels"][0]["samples"][1]))
    copy["name"], copy["modifiers"][0]["name"] = "copy", "b_copy"
    doubled["channels"][0]["samples"].append(copy)
    one = engine.compile(plain, poi="sigma").scan()
    two = engine.compile(doubled, poi="sigma").scan()
    assert two.ok[0]
    assert "singular" in two.words[0]
    np.testing.assert_allclose(two.limits.observed, one.limits.observed, rtol=1e-6)
    np.testing.assert_allclose(two.limits.expected, one.limits.expected, rtol=1e-6)
    np.testing.assert_allclose(two.free.twice_nll, one.free.twice_nll, rtol=1e-10)


def test_extreme_data():
    """Nothing seen at all, one event, and 10^11 events: limits exist and grow."""
    spec = window(3.0, nuisances=False)
    compiled = engine.compile([spec] * 3, poi="sigma")
    one = np.zeros(100)
    one[40] = 1.0
    result = compiled.limits(data=[np.zeros(100), one, np.full(100, 1e9)])
    assert result.ok.all()
    # nothing expected, so q_A = 2 mu S with S signal events per unit
    signal = np.sum(spec["channels"][0]["samples"][0]["data"])
    assert result.expected[0, 2] == pytest.approx(1.95996398**2 / (2.0 * signal), rel=1e-5)
    assert result.observed[0] == pytest.approx(result.expected[0, 2], rel=1e-5)
    assert result.observed[0] < result.observed[1] < result.observed[2]


def test_notes_do_not_spoil_ok():
    narrow = window(3.0, high=0.5)
    result = engine.compile(narrow, poi="sigma").scan()
    assert result.ok[0]
    assert result.status[0] & engine.Status.LIMIT_ABOVE_BOUND
    wide = engine.compile(window(3.0), poi="sigma").scan()
    np.testing.assert_allclose(result.limits.expected, wide.limits.expected, rtol=1e-9)
    excess = window(3.0, high=0.5)
    excess["observations"][0]["data"] = (
        np.array(excess["observations"][0]["data"])
        + 5.0 * np.array(excess["channels"][0]["samples"][0]["data"])
    ).tolist()
    fit = engine.compile(excess, poi="sigma").fit()
    assert fit.poi[0] == 0.5
    assert "upper bound" in engine.status_words(int(fit.status[0]))


def test_sparse_toys_never_fail_silently():
    for scale in (1e-4, 1.0, 1e4):
        compiled = engine.compile(
            [window(m, events=60.0, scale=scale, seed=None, high=1e12) for m in MASSES],
            poi="sigma",
        )
        truth = compiled.groups[0].observed[:, 0]
        toys = np.random.default_rng(5).poisson(truth, (200, *truth.shape)).astype(float)
        result = compiled.fit_toys(toys)
        assert np.all(result.kkt[result.ok] < 1e-6)
        assert result.ok.mean() > 0.999
        assert np.isfinite(result.q0).all()


def test_toys_tested_at_their_own_signal_have_pulls_of_unit_width():
    specs = [window(m, events=3000.0, nuisances=False, seed=None) for m in MASSES]
    compiled = engine.compile(specs, poi="sigma")
    templates = np.array([s["channels"][0]["samples"][0]["data"] for s in specs])
    injected = 2.0
    truth = compiled.groups[0].observed[:, 0] + injected * templates
    toys = np.random.default_rng(6).poisson(truth, (600, *truth.shape)).astype(float)
    result = compiled.fit_toys(toys, poi=injected)
    assert result.ok.all()
    assert abs(np.mean(result.z)) < 0.07
    assert abs(np.std(result.z) - 1.0) < 0.05


def test_workspaces_from_files_zips_folders_and_lists(tmp_path):
    workspaces = [window(m) for m in MASSES[:3]]
    for i, workspace in enumerate(workspaces):
        (tmp_path / f"m_{i}.json").write_text(json.dumps(workspace))
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for i in range(3):
            out.write(tmp_path / f"m_{i}.json", f"m_{i}.json")
    direct = engine.compile(workspaces, poi="sigma").limits().observed
    for source in (archive, str(tmp_path), [tmp_path / f"m_{i}.json" for i in range(3)]):
        compiled = engine.compile(source, poi="sigma")
        np.testing.assert_array_equal(compiled.limits().observed, direct)
    assert engine.compile(archive, poi="sigma").labels == ["m_0.json", "m_1.json", "m_2.json"]


def _modified(change) -> dict:
    workspace = json.loads(json.dumps(window(3.0, bins=10)))
    change(workspace)
    return workspace


def _first_modifiers(workspace: dict) -> list:
    return workspace["channels"][0]["samples"][0]["modifiers"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: _first_modifiers(w).append(
                {"name": "x", "type": "shapefactor", "data": None}
            ),
            "modifier 'x' of sample 'signal' in channel 'window' has type 'shapefactor'",
        ),
        (
            lambda w: _first_modifiers(w).append({"name": "x", "type": "normsis", "data": None}),
            "did you mean 'normsys'",
        ),
        (
            lambda w: _first_modifiers(w).append({"name": "b0", "type": "normsys", "data": {}}),
            "already used for a 'normfactor'|only normsys and histosys may share",
        ),
        (
            lambda w: _first_modifiers(w)[1]["data"].update(lo=-0.1),
            "lo = -0.1.*needs both > 0",
        ),
        (lambda w: w["observations"][0]["data"].pop(), "shape .9,. where the channel has 10"),
        (lambda w: w["observations"].clear(), "no observation"),
        (lambda w: w["observations"][0]["data"].__setitem__(0, -1.0), "negative bins"),
        (
            lambda w: w["channels"][0]["samples"][0]["data"].__setitem__(0, float("nan")),
            "not finite",
        ),
        (
            lambda w: w["measurements"][0]["config"]["parameters"][0].update(fixed=True),
            "'sigma' is fixed",
        ),
        (
            lambda w: w["measurements"][0]["config"]["parameters"][0].update(inits=[-3.0]),
            "starts at -3.0, outside",
        ),
        (
            lambda w: _first_modifiers(w).append({"name": "lumi", "type": "lumi", "data": None}),
            "'lumi' needs 'inits'",
        ),
        (lambda w: w.pop("channels"), "lacks KeyError.'channels'"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(change, message):
    with pytest.raises(ModelError, match=message):
        engine.compile(_modified(change), poi="sigma")


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"'sigm' is not a normfactor.*did you mean 'sigma'"):
        engine.compile(window(), poi="sigm")
    with pytest.raises(ModelError, match="no measurement 'scam'.*did you mean 'scan'"):
        engine.compile(window(), poi="sigma", measurement="scam")
    with pytest.raises(ModelError, match="does not exist"):
        engine.compile(tmp_path / "nothing.json", poi="sigma")
    with pytest.raises(ModelError, match="empty sequence"):
        engine.compile([], poi="sigma")
    compiled = engine.compile(window(), poi="sigma")
    with pytest.raises(ModelError, match="level = 95"):
        compiled.limits(95)
    with pytest.raises(ModelError, match="1 points; one row"):
        compiled.fit(np.zeros((2, 100)))
    with pytest.raises(ModelError, match=r"shape \(99,\)"):
        compiled.fit(np.zeros((1, 99)))
    with pytest.raises(ModelError, match=r"expected \(toys, 1, 100\)"):
        compiled.fit_toys(np.zeros((3, 100)))
    with pytest.raises(ModelError, match="threads = 0"):
        compiled.scan(threads=0)
