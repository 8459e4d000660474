"""Filling many histograms at once is filling each, bit for bit."""

from __future__ import annotations

import math

import hist
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.events.filling import fill_masses, fill_slots
from alp_coffea.events.histograms import (
    MASS,
    Variable,
    fill_x,
    mass_histogram,
    variable_histogram,
)

#: Ranges whose width is no exact number, and one that is.
RANGES = st.sampled_from([(8.4, 11.2), (0.25, 2.65), (-4.0, 11.0), (0.0, 1.0)])
SETS = ["low", "high"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Variable, np.ndarray, np.ndarray, list[np.ndarray]]:
    low, high = draw(RANGES)
    bins = draw(st.sampled_from([1, 7, 120, 15_000]))
    events, values = draw(st.integers(0, 40)), draw(st.sampled_from([1, 3]))
    edges = hist.axis.Regular(bins, low, high).edges
    near = st.sampled_from([*edges[:: max(bins // 20, 1)].tolist(), low, high])
    value = st.one_of(
        st.floats(low - 1, high + 1),
        near,
        near.map(lambda edge: math.nextafter(edge, math.inf)),
        near.map(lambda edge: math.nextafter(edge, -math.inf)),
        st.sampled_from([math.nan, math.inf, -math.inf]),
    )
    seed = draw(st.integers(0, 2**32 - 1))
    pool = np.array(draw(st.lists(value, min_size=1, max_size=30)))
    rng = np.random.default_rng(seed)
    x = rng.choice(pool, (events, values))
    weight = rng.normal(1.0, 3.0, events)
    masks = [rng.random(events) < 0.5 for _ in range(3)]
    return Variable("x", bins, low, high, "x"), x if values > 1 else x[:, 0], weight, masks


@given(cases())
def test_equals_one_fill_per_histogram_bit_for_bit(
    case: tuple[Variable, np.ndarray, np.ndarray, list[np.ndarray]],
) -> None:
    variable, x, weight, masks = case
    plain = [hist.Hist(variable.axis(), storage="weight") for _ in range(2)]
    sets = [variable_histogram(variable, SETS) for _ in range(2)]
    slots = [(sets[0], ("low",)), (sets[0], ("high",)), (plain[0], ())]
    fill_slots(variable, x, weight, [(*s, m) for s, m in zip(slots, masks, strict=True)])
    for energy_set, mask in zip(SETS, masks, strict=False):
        fill_x(sets[1], x[mask], weight[mask], energy_set=energy_set)
    fill_x(plain[1], x[masks[2]], weight[masks[2]])
    for ours, theirs in (sets, plain):
        np.testing.assert_array_equal(ours.values(flow=True), theirs.values(flow=True))
        np.testing.assert_array_equal(ours.variances(flow=True), theirs.variances(flow=True))


@given(st.integers(0, 2**32 - 1))
def test_masses_by_origin_are_those_of_hist(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 50
    origins = ["true", "combinatorial", "other"]
    origin = rng.choice(origins, (n, 3))
    masses = {name: rng.uniform(-5, 12, (n, 3)) for name in ("diphoton", "recoil")}
    weight, passed = rng.random(n), {name: rng.random(n) < 0.7 for name in SETS}
    ours, theirs = (mass_histogram(SETS, origins) for _ in range(2))
    fill_masses(ours, masses, weight, passed, origin)
    for name, mask in passed.items():
        for definition, mass in masses.items():
            theirs.fill(
                energy_set=name,
                definition=definition,
                origin=origin[mask].ravel(),
                mass=mass[mask].ravel(),
                weight=np.repeat(weight[mask], 3),
            )
    # entries of different origin are added in another order only where bins are shared: nowhere
    np.testing.assert_array_equal(ours.values(flow=True), theirs.values(flow=True))
    np.testing.assert_array_equal(ours.variances(flow=True), theirs.variances(flow=True))
    assert ours.axes["mass"] == MASS.axis("mass")
