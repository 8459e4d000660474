from __future__ import annotations

import itertools

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    SEEDS,
    angles,
    boost,
    mass2,
    sort_by_energy,
    three_photon_events,
    two_photon_decays,
)

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import SUPERKEKB, kinematics
from alp_coffea.physics.constants import MUON_MASS

SQRT_S = SUPERKEKB.sqrt_s


def photons(seed, n=40):
    """Sorted lab photons (E, theta, phi) of exact three-photon events, and their four-vectors."""
    rng = np.random.default_rng(seed)
    p4 = sort_by_energy(SUPERKEKB.to_lab(three_photon_events(rng, n, SQRT_S)))
    return (*angles(p4), p4)


# --- masses


@given(SEEDS)
def test_diphoton_mass_is_the_four_vector_mass(seed):
    energy, theta, phi, p4 = photons(seed)
    for i, j in itertools.combinations(range(3), 2):
        value = kinematics.diphoton_mass2(
            energy[:, i], theta[:, i], phi[:, i], energy[:, j], theta[:, j], phi[:, j]
        )
        np.testing.assert_allclose(value, mass2(p4[:, i] + p4[:, j]), rtol=1e-9, atol=1e-9)


@given(SEEDS, st.floats(-0.95, 0.95), st.floats(-0.2, 0.2))
def test_diphoton_mass_is_lorentz_invariant(seed, beta_z, beta_x):
    energy, theta, phi, p4 = photons(seed)
    moved = angles(boost(p4, np.array([beta_x, 0.0, beta_z])))
    np.testing.assert_allclose(
        kinematics.pair_masses2(energy, theta, phi), kinematics.pair_masses2(*moved), rtol=1e-7
    )


@pytest.mark.parametrize("angle", [1e-2, 1e-5, 1e-8])
def test_diphoton_mass_at_small_angles(angle):
    # 1 - cos(angle) would be off by 1e-12, 1e-6 and 100 %
    theta2, phi2 = 1.0 + angle, 0.3 + angle
    along_theta = kinematics.diphoton_mass2(2.0, 1.0, 0.3, 3.0, theta2, 0.3)
    assert along_theta == pytest.approx(24 * np.sin((theta2 - 1.0) / 2) ** 2, rel=1e-14)
    along_phi = kinematics.diphoton_mass2(2.0, 1.0, 0.3, 3.0, 1.0, phi2)
    expected = 24 * (np.sin(1.0) * np.sin((phi2 - 0.3) / 2)) ** 2
    assert along_phi == pytest.approx(expected, rel=1e-14)


def test_diphoton_mass_back_to_back_and_collinear():
    assert kinematics.diphoton_mass2(2.0, 1.0, 0.5, 3.0, np.pi - 1.0, 0.5 - np.pi) == (
        pytest.approx(24.0)
    )
    assert kinematics.diphoton_mass2(2.0, 1.0, 0.5, 3.0, 1.0, 0.5) == 0


@given(SEEDS)
def test_pair_masses_sum_to_the_triple_mass(seed):
    energy, theta, phi, p4 = photons(seed)
    pairs = kinematics.pair_masses2(energy, theta, phi)
    np.testing.assert_allclose(pairs.sum(axis=1), mass2(p4.sum(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(kinematics.three_photon_mass2(energy, theta, phi), SQRT_S**2)
    np.testing.assert_allclose(kinematics.three_photon_mass(energy, theta, phi), SQRT_S)


@given(SEEDS)
def test_recoil_equals_diphoton_for_exact_events(seed):
    energy, theta, phi, _ = photons(seed)
    diphoton, recoil = kinematics.candidate_masses2(energy, theta, phi, SUPERKEKB)
    np.testing.assert_allclose(recoil, diphoton, atol=1e-9 * SQRT_S**2)


@given(SEEDS, st.permutations(range(3)))
def test_masses_do_not_depend_on_photon_order(seed, order):
    energy, theta, phi, _ = photons(seed)
    shuffled = [column[:, order] for column in (energy, theta, phi)]
    pairs = kinematics.pair_masses2(energy, theta, phi)
    np.testing.assert_allclose(kinematics.pair_masses2(*shuffled), pairs[:, order], rtol=1e-12)
    sort = kinematics.order_by_energy(shuffled[0])
    for column, original in zip(shuffled, (energy, theta, phi), strict=True):
        np.testing.assert_array_equal(np.take_along_axis(column, sort, axis=1), original)


def test_the_true_candidate_has_the_alp_mass():
    # a heavy ALP recoils against the softest photon, a light one against the hardest
    rng = np.random.default_rng(3)
    for mass, candidate in ((0.3, 0), (10.3, 2)):
        p4 = sort_by_energy(two_photon_decays(rng, np.full(200, mass), SQRT_S))
        lab = angles(SUPERKEKB.to_lab(p4))
        order = kinematics.order_by_energy(lab[0])
        lab = [np.take_along_axis(column, order, axis=1) for column in lab]
        masses = kinematics.candidate_masses2(*lab, SUPERKEKB)
        hit = np.isclose(masses.diphoton_mass2, mass**2, rtol=1e-6)
        np.testing.assert_allclose(masses.recoil_mass2[hit], mass**2, atol=1e-10 * SQRT_S**2)
        assert (hit.sum(axis=1) == 1).all()
        assert hit[:, candidate].mean() > 0.5


def test_candidate_roles_are_every_photon_once():
    assert [recoil for recoil, _, _ in kinematics.CANDIDATE_ROLES] == [0, 1, 2]
    assert all(sorted(roles) == [0, 1, 2] for roles in kinematics.CANDIDATE_ROLES)


@given(st.floats(-120, 120))
def test_signed_root_and_square_are_inverse(value):
    root = kinematics.signed_root(value)
    assert kinematics.signed_square(root) == pytest.approx(value, rel=1e-14)
    assert np.sign(root) == np.sign(value)


def test_recoil_mass_limits():
    assert kinematics.recoil_mass2(0.0, 10.0) == 100
    assert kinematics.recoil_mass2(5.0, 10.0) == 0
    assert kinematics.recoil_mass2(5.1, 10.0) == pytest.approx(-2.0)
    assert kinematics.recoil_mass2(10.0, 10.0, 100.0) == 0


# --- centre-of-mass quantities


@given(SEEDS)
def test_cm_energy_and_angles_are_those_of_the_boosted_vectors(seed):
    energy, theta, phi, p4 = photons(seed)
    cm = SUPERKEKB.to_cm(p4)
    energy_cm, theta_cm, phi_cm = angles(cm)
    np.testing.assert_allclose(
        kinematics.energy_cm(energy, theta, phi, SUPERKEKB), energy_cm, rtol=1e-10
    )
    got_theta, got_phi = kinematics.angles_cm(theta, phi, SUPERKEKB)
    np.testing.assert_allclose(got_theta, theta_cm, atol=1e-9)
    transverse = np.hypot(cm[..., 1], cm[..., 2])
    np.testing.assert_allclose(kinematics.delta_phi(got_phi, phi_cm) * transverse, 0, atol=1e-9)


@given(SEEDS, st.floats(0.0, 2.0))
def test_dimuon_recoil_against_four_vectors(seed, mass):
    rng = np.random.default_rng(seed)
    p3 = rng.normal(scale=2.0, size=(30, 2, 3))
    p4 = np.concatenate(
        [np.sqrt(np.sum(p3**2, axis=-1, keepdims=True) + MUON_MASS**2), p3], axis=-1
    )
    _, theta, phi = angles(p4)
    momentum = np.linalg.norm(p3, axis=-1)
    args = (momentum[:, 0], theta[:, 0], phi[:, 0], momentum[:, 1], theta[:, 1], phi[:, 1])
    total = SUPERKEKB.momentum - p4.sum(axis=1)
    value = kinematics.dimuon_recoil_mass2(*args, SUPERKEKB)
    np.testing.assert_allclose(value, mass2(total), rtol=1e-9, atol=1e-8)
    # general masses
    q4 = p4.copy()
    q4[:, 0, 0] = np.sqrt(momentum[:, 0] ** 2 + mass**2)
    pair = kinematics.pair_mass2(*args, mass1=mass, mass2=MUON_MASS)
    np.testing.assert_allclose(pair, mass2(q4.sum(axis=1)), rtol=1e-9, atol=1e-9)


@given(SEEDS, st.floats(0.05, 10.0))
def test_helicity_cosine_in_the_rest_frame(seed, mass):
    rng = np.random.default_rng(seed)
    p4 = two_photon_decays(rng, np.full(30, mass), SQRT_S)
    one, two = p4[:, 1], p4[:, 2]
    pair = one + two
    velocity = pair[:, 1:] / pair[:, :1]
    rest = boost(one, -velocity)
    direction = pair[:, 1:] / np.linalg.norm(pair[:, 1:], axis=1, keepdims=True)
    expected = np.sum(rest[:, 1:] * direction, axis=1) / rest[:, 0]
    e1, t1, f1 = angles(one)
    e2, t2, f2 = angles(two)
    value = kinematics.cos_helicity_angle(e1, t1, f1, e2, t2, f2)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    np.testing.assert_allclose(
        kinematics.cos_helicity_angle(e2, t2, f2, e1, t1, f1), -value, atol=1e-14
    )


def test_helicity_of_a_pair_at_rest_is_undefined():
    rest = kinematics.cos_helicity_angle(1.0, np.pi / 2, 0.0, 1.0, np.pi / 2, np.pi)
    along = kinematics.cos_helicity_angle(2.0, 0.0, 0.0, 1.0, np.pi, 0.0)
    assert along == pytest.approx(1.0)
    assert np.isnan(rest) or abs(rest) < 1e-12


# --- angles


@given(st.floats(-7, 7), st.floats(-7, 7), st.integers(-2, 2))
def test_delta_phi_wraps(one, two, turns):
    value = kinematics.delta_phi(one, two)
    assert 0 <= value <= np.pi
    assert np.cos(value) == pytest.approx(np.cos(one - two), abs=1e-12)
    assert kinematics.delta_phi(two, one) == value
    assert kinematics.delta_phi(one + 2 * np.pi * turns, two) == pytest.approx(value, abs=1e-13)


def test_delta_phi_keeps_small_differences():
    assert kinematics.delta_phi(1.0 + 1e-12, 1.0) == pytest.approx(1e-12, rel=1e-3)
    assert kinematics.delta_phi(np.pi - 1e-9, -np.pi + 1e-9) == pytest.approx(2e-9, rel=1e-6)


def test_delta_theta_is_absolute():
    np.testing.assert_allclose(kinematics.delta_theta([0.1, 2.0], [2.0, 0.1]), 1.9)


@given(SEEDS)
def test_opening_angle_against_scalar_product(seed):
    _, theta, phi, p4 = photons(seed)
    n = p4[..., 1:] / p4[..., :1]
    value = kinematics.opening_angle(theta[:, 0], phi[:, 0], theta[:, 1], phi[:, 1])
    np.testing.assert_allclose(np.cos(value), np.sum(n[:, 0] * n[:, 1], axis=1), atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, np.pi / 2, np.pi - 1e-7, np.pi])
def test_opening_angle_is_accurate_at_both_ends(angle):
    assert kinematics.opening_angle(0.0, 0.0, angle, 1.0) == pytest.approx(angle, abs=1e-15)
    assert kinematics.opening_angle(np.pi / 2, 0.2, np.pi / 2, 0.2 + angle) == pytest.approx(
        angle, abs=1e-15
    )


@given(SEEDS)
def test_most_isolated_by_its_definition(seed):
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0.3, 2.6, (40, 3))
    phi = rng.uniform(-np.pi, np.pi, (40, 3))
    distance = np.zeros((40, 3))
    for i, j in itertools.permutations(range(3), 2):
        wrapped = np.abs(np.angle(np.exp(1j * (phi[:, i] - phi[:, j]))))
        distance[:, i] += (theta[:, i] - theta[:, j]) ** 2 + wrapped**2
    np.testing.assert_array_equal(kinematics.most_isolated(theta, phi), distance.argmax(axis=1))


def test_most_isolated_wraps_azimuth():
    theta = np.full((1, 3), 1.5)
    assert kinematics.most_isolated(theta, np.array([[-3.1, 0.5, 3.1]])) == [1]


# --- timing


def test_timing_by_hand():
    time, error = np.array([[1.0, 2.0, 6.0]]), np.array([[1.0, 1.0, 2.0]])
    # weights 1, 1, 1/4: mean 4.5/2.25 = 2; pulls 1, 0, 2
    np.testing.assert_allclose(kinematics.mean_time(time, error), 2.0)
    np.testing.assert_allclose(kinematics.timing_chi(time, error), 2.0)


@given(SEEDS, st.floats(-100, 100), st.floats(0.1, 10), st.permutations(range(3)))
def test_timing_invariances(seed, shift, scale, order):
    rng = np.random.default_rng(seed)
    time, error = rng.normal(0, 20, (20, 3)), rng.uniform(0.5, 30, (20, 3))
    value = kinematics.timing_chi(time, error)
    np.testing.assert_allclose(kinematics.timing_chi(time + shift, error), value, atol=1e-9)
    np.testing.assert_allclose(kinematics.timing_chi(scale * time, scale * error), value, atol=1e-9)
    np.testing.assert_allclose(
        kinematics.timing_chi(time[:, order], error[:, order]), value, atol=1e-9
    )


@pytest.mark.parametrize("kind", [np.asarray, ak.Array, lambda x: ak.from_regular(ak.Array(x))])
def test_bad_timing_is_nan_and_fails_the_cut(kind):
    time = kind(np.array([[1.0, np.nan, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    error = kind(np.array([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0], [1.0, 0.0, 1.0], [1.0, -2.0, 1.0]]))
    value = kinematics.timing_chi(time, error)
    assert np.isnan(np.asarray(value)).all()
    assert not np.any(value < 10)


# --- bad elements, types and shapes


def test_impossible_photons_become_nan_and_can_be_counted():
    bad = [
        (np.nan, 1.0, 0.0),
        (np.inf, 1.0, 0.0),
        (0.0, 1.0, 0.0),
        (-1.0, 1.0, 0.0),
        (1.0, -0.1, 0.0),
        (1.0, 3.2, 0.0),
        (1.0, np.nan, 0.0),
        (1.0, 1.0, np.inf),
        (1.0, 1.0, 7.0),
    ]
    energy, theta, phi = np.array([*bad, (1.0, 1.0, 0.5), (1.0, 0.0, 6.28)]).T
    valid = kinematics.valid_photon(energy, theta, phi)
    np.testing.assert_array_equal(valid, [False] * len(bad) + [True, True])
    for column in kinematics.mask_invalid(energy, theta, phi):
        np.testing.assert_array_equal(np.isnan(column), ~valid)


@given(SEEDS, st.integers(0, 2))
def test_one_bad_photon_spoils_what_it_enters_and_nothing_else(seed, bad):
    energy, theta, phi, _ = photons(seed, n=3)
    clean = kinematics.candidate_masses2(energy, theta, phi, SUPERKEKB)
    theta = theta.copy()
    theta[1, bad] = 4.0
    masses = kinematics.candidate_masses2(*kinematics.mask_invalid(energy, theta, phi), SUPERKEKB)
    expected = np.zeros((3, 3), bool)
    expected[1] = True
    expected[1, bad] = False  # the pair without the bad photon
    np.testing.assert_array_equal(np.isnan(masses.diphoton_mass2), expected)
    expected[1] = ~expected[1]  # the recoil against the bad photon
    np.testing.assert_array_equal(np.isnan(masses.recoil_mass2), expected)
    for value, reference in zip(masses, clean, strict=True):
        np.testing.assert_array_equal(value[[0, 2]], reference[[0, 2]])


ELEMENTWISE = [
    (kinematics.delta_theta, 2),
    (kinematics.delta_phi, 2),
    (kinematics.opening_angle, 4),
    (kinematics.diphoton_mass2, 6),
    (kinematics.cos_helicity_angle, 6),
    (kinematics.signed_root, 1),
    (kinematics.signed_square, 1),
    (kinematics.recoil_mass2, 3),
    (lambda *a: kinematics.energy_cm(*a, SUPERKEKB), 3),
    (lambda *a: kinematics.angles_cm(*a, SUPERKEKB)[0], 2),
    (lambda *a: kinematics.angles_cm(*a, SUPERKEKB)[1], 2),
    (lambda *a: kinematics.dimuon_recoil_mass2(*a, SUPERKEKB), 6),
    (kinematics.valid_photon, 3),
    (lambda *a: kinematics.mask_invalid(*a)[0], 3),
    (lambda *a: kinematics.mean_time(*a)[:, None] + 0 * a[0], 2),
    (lambda *a: kinematics.timing_chi(*a)[:, None] + 0 * a[0], 2),
]


@pytest.mark.parametrize(("function", "arguments"), ELEMENTWISE)
def test_awkward_gives_the_numpy_numbers(function, arguments):
    rng = np.random.default_rng(11)
    counts = np.array([2, 0, 3, 1])
    flat = [rng.uniform(0.2, 2.8, counts.sum()) for _ in range(arguments)]
    jagged = [ak.unflatten(column, counts) for column in flat]
    got = function(*jagged)
    expected = [
        function(*(np.asarray(column[i])[None] for column in jagged))[0]
        for i in range(len(counts))
        if counts[i]
    ]
    assert isinstance(got, ak.Array)
    np.testing.assert_allclose(
        ak.to_numpy(ak.flatten(got)), np.concatenate(expected), rtol=1e-14, atol=1e-15
    )


@pytest.mark.parametrize("kind", [np.asarray, ak.Array])
def test_float32_columns_are_computed_in_double(kind):
    rng = np.random.default_rng(5)
    single = [rng.uniform(0.2, 2.8, 20).astype(np.float32) for _ in range(6)]
    value = kinematics.diphoton_mass2(*(kind(column) for column in single))
    double = kinematics.diphoton_mass2(*(column.astype(np.float64) for column in single))
    assert np.asarray(value).dtype == np.float64
    np.testing.assert_array_equal(np.asarray(value), double)


@pytest.mark.parametrize("kind", [np.ones, lambda n: ak.Array([[1.0]] * n)])
def test_shapes_that_do_not_broadcast_raise(kind):
    with pytest.raises(PhysicsError, match=r"diphoton_mass2: .*broadcast"):
        kinematics.diphoton_mass2(kind(2), kind(2), kind(2), kind(3), kind(3), kind(3))


def test_triples_of_wrong_shape_raise():
    good = np.ones((4, 3))
    with pytest.raises(PhysicsError, match=r"\(n, 3\), got theta \(4, 3\), phi \(3, 3\)"):
        kinematics.most_isolated(good, good[:3])
    with pytest.raises(PhysicsError, match=r"\(n, 3\), got energy \(4, 2\)"):
        kinematics.pair_masses2(*(np.ones((4, 2)),) * 3)
    with pytest.raises(PhysicsError, match="theta must be an array of numbers"):
        kinematics.pair_masses2(good, [["a"]], good)
    with pytest.raises(PhysicsError, match=r"shape \(n, k\)"):
        kinematics.order_by_energy(np.ones(3))


def test_unsorted_triples_raise():
    good = np.ones((2, 3))
    energy = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 0.5]])
    with pytest.raises(PhysicsError, match=r"row 1 has E = .*order_by_energy"):
        kinematics.candidate_masses2(energy, good, good, SUPERKEKB)


def test_order_by_energy_puts_nan_last():
    np.testing.assert_array_equal(
        kinematics.order_by_energy([[np.nan, 1.0, 2.0], [1.0, 1.0, 3.0]]), [[2, 1, 0], [2, 0, 1]]
    )
