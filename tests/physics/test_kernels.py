"""The compiled kernels against the formulas and a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.physics import SUPERKEKB, Beams, kernels
from alp_coffea.physics import kinematics as kin

RNG = np.random.default_rng(5)
N = 2000
ENERGY = -np.sort(-RNG.uniform(0.05, 7.0, (N, 3)), axis=1)
THETA = RNG.uniform(0.2, 2.7, (N, 3))
PHI = RNG.uniform(-math.pi, math.pi, (N, 3))
# some close pairs, across the seam in phi too
THETA[:50, 1] = THETA[:50, 2] + 1e-3
PHI[:50, 1], PHI[:50, 2] = math.pi - 1e-3, -math.pi + 1e-3


def test_masses_are_the_formulas() -> None:
    expected = kin.pair_masses2(ENERGY, THETA, PHI)
    np.testing.assert_allclose(kernels.pair_masses2(ENERGY, THETA, PHI), expected, rtol=1e-14)


@pytest.mark.parametrize("beams", [SUPERKEKB, Beams.symmetric(10.58)])
def test_recoil_masses_are_the_formulas(beams: Beams) -> None:
    ours = kernels.recoil_masses2(ENERGY, THETA, PHI, beams.momentum, beams.sqrt_s)
    expected = kin.recoil_mass2(kin.energy_cm(ENERGY, THETA, PHI, beams), beams.sqrt_s)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13 * beams.s)


def test_pair_angles_and_isolation_are_the_formulas() -> None:
    dtheta, dphi = kernels.pair_angles(THETA, PHI)
    for c, (_, one, two) in enumerate(kin.CANDIDATE_ROLES):
        np.testing.assert_array_equal(dtheta[:, c], kin.delta_theta(THETA[:, one], THETA[:, two]))
        np.testing.assert_array_equal(dphi[:, c], kin.delta_phi(PHI[:, one], PHI[:, two]))
    np.testing.assert_array_equal(
        kernels.most_isolated(dtheta, dphi), kin.most_isolated(THETA, PHI)
    )


@pytest.mark.parametrize(
    "bad", [None, (0, 1, math.nan), (1, 0, 0.0), (1, 2, -3.0), (1, 1, math.nan)]
)
def test_timing_is_the_formula_and_nan_for_bad_input(bad: tuple[int, int, float] | None) -> None:
    time, dt99 = RNG.normal(size=(10, 3)), RNG.uniform(1, 9, (10, 3))
    if bad is not None:
        (time, dt99)[bad[0]][4, bad[1]] = bad[2]
    ours = kernels.timing_chi(time, dt99)
    np.testing.assert_allclose(ours, kin.timing_chi(time, dt99), rtol=1e-13)
    assert np.isnan(ours[4]) == (bad is not None)


SPECIAL = st.sampled_from([0.5, 1.0, 1.0, 2.0, math.nan, math.inf, -1.0, 0.0])
PHOTON = st.tuples(
    st.one_of(st.floats(0.01, 8.0), SPECIAL),
    st.one_of(st.floats(-0.2, 3.4), st.just(math.nan)),
    st.one_of(st.floats(-7.0, 7.0), st.just(math.nan)),
    st.one_of(st.floats(0.0, 9.0), st.just(math.nan)),
)
EVENTS = st.lists(st.lists(PHOTON, max_size=6), max_size=8)


def flat(events: list[list[Any]]) -> tuple[np.ndarray, ...]:
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in events])]).astype(np.int64)
    photons = np.array([p for event in events for p in event], dtype=float).reshape(-1, 4)
    return offsets, *np.ascontiguousarray(photons.T)


def plain_choice(
    events: list[list[Any]], energy_min: float, theta: tuple[float, float], quality_min: float
) -> dict[int, list[int]]:
    """Flat indices of the three most energetic good photons by event, with a plain sort."""
    first = np.concatenate([[0], np.cumsum([len(event) for event in events])])
    chosen = {}
    for number, photons in enumerate(events):
        good = [
            (-p[0], first[number] + i)
            for i, p in enumerate(photons)
            if energy_min <= p[0] < math.inf
            and theta[0] < p[1] < theta[1]
            and abs(p[2]) <= 2 * math.pi
            and (quality_min == -math.inf or p[3] > quality_min)
        ]
        if len(good) >= 3:
            chosen[number] = [i for _, i in sorted(good)[:3]]
    return chosen


CUTS = {
    "energy_min": st.sampled_from([0.1, 0.9, 1.0]),
    "quality_min": st.sampled_from([-math.inf, 1.5]),
}


@given(events=EVENTS, **CUTS)
def test_choice_is_a_plain_sort(
    events: list[list[Any]], energy_min: float, quality_min: float
) -> None:
    event, index = kernels.three_most_energetic(*flat(events), energy_min, 0.3, 2.6, quality_min)
    found = dict(zip(event.tolist(), index.tolist(), strict=True))
    assert found == plain_choice(events, energy_min, (0.3, 2.6), quality_min)


@given(events=EVENTS, theta_low=st.sampled_from([0.3, 1.0, 1.5]), **CUTS)
def test_narrower_choice_is_a_plain_sort_and_knows_what_is_the_same(
    events: list[list[Any]], theta_low: float, energy_min: float, quality_min: float
) -> None:
    columns = flat(events)
    event, index = kernels.three_most_energetic(*columns, 0.1, 0.3, 2.6, -math.inf)
    row, narrower, same = kernels.three_of_narrower(
        event, index, *columns, energy_min, theta_low, 2.6, quality_min
    )
    found = dict(zip(event[row].tolist(), narrower.tolist(), strict=True))
    assert found == plain_choice(events, energy_min, (theta_low, 2.6), quality_min)
    np.testing.assert_array_equal(same, (index[row] == narrower).all(axis=1))


@given(events=EVENTS)
def test_impossible_photons_are_counted_like_the_formula(events: list[list[Any]]) -> None:
    _, energy, theta, phi, _ = flat(events)
    assert kernels.count_impossible(energy, theta, phi) == np.count_nonzero(
        ~kin.valid_photon(energy, theta, phi)
    )
