from __future__ import annotations

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import boost, mass2

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import SUPERKEKB, Beams

energies = st.floats(0.5, 500)
crossing = st.floats(0, 1.0)


def test_superkekb_published_numbers():
    assert SUPERKEKB.sqrt_s == pytest.approx(10.579, abs=1e-3)
    assert pytest.approx([11.006, 0.457, 0.0, 2.999], abs=5e-4) == SUPERKEKB.momentum
    assert SUPERKEKB.beta_gamma == pytest.approx(0.287, abs=5e-4)
    axis = np.degrees(np.arctan2(SUPERKEKB.momentum[1], SUPERKEKB.momentum[3]))
    assert axis == pytest.approx(8.7, abs=0.05)


@given(energies, energies, crossing)
def test_cm_frame_definition(electron, positron, angle):
    beams = Beams(electron, positron, angle)
    half = beams.sqrt_s / 2
    scale = max(electron, positron)
    np.testing.assert_allclose(beams.to_cm(beams.momentum)[1:], 0, atol=1e-12 * scale)
    np.testing.assert_allclose(
        beams.to_cm(beams.electron), [half, 0, 0, half], atol=1e-12 * scale, rtol=1e-12
    )
    np.testing.assert_allclose(
        beams.to_cm(beams.positron), [half, 0, 0, -half], atol=1e-12 * scale, rtol=1e-12
    )
    assert beams.s == pytest.approx(mass2(beams.momentum), rel=1e-9)


@given(energies, energies, crossing, st.integers(0, 2**32 - 1))
def test_transformation_is_lorentz_and_invertible(electron, positron, angle, seed):
    beams = Beams(electron, positron, angle)
    metric = np.diag([1.0, -1.0, -1.0, -1.0])
    matrix = beams.to_cm_matrix
    size = np.abs(matrix).max() ** 2
    np.testing.assert_allclose(matrix.T @ metric @ matrix, metric, atol=1e-13 * size)
    assert np.linalg.det(matrix) == pytest.approx(1.0, rel=1e-9)
    p4 = np.random.default_rng(seed).normal(size=(5, 2, 4))
    np.testing.assert_allclose(beams.to_lab(beams.to_cm(p4)), p4, atol=1e-12 * size)


def test_cm_is_pure_boost_then_rotation():
    p4 = np.random.default_rng(1).normal(size=(50, 4))
    boosted = boost(p4, -SUPERKEKB.boost)
    cm = SUPERKEKB.to_cm(p4)
    np.testing.assert_allclose(cm[:, 0], boosted[:, 0], rtol=1e-12)
    np.testing.assert_allclose(
        cm[:, 1:] @ cm[:, 1:].T, boosted[:, 1:] @ boosted[:, 1:].T, atol=1e-12
    )
    # the smallest rotation leaves the axis normal to electron and z (here y) alone
    np.testing.assert_allclose(cm[:, 2], boosted[:, 2], atol=1e-14)


def test_symmetric_beams_are_the_identity():
    beams = Beams.symmetric(10.58)
    assert beams.sqrt_s == 10.58
    assert beams.beta_gamma == 0
    np.testing.assert_array_equal(beams.to_cm_matrix, np.eye(4))


def test_survives_shipping_to_workers_and_cannot_be_changed():
    copy = cloudpickle.loads(cloudpickle.dumps(SUPERKEKB))
    assert copy == SUPERKEKB
    assert hash(copy) == hash(SUPERKEKB)
    with pytest.raises(ValueError, match="read-only"):
        SUPERKEKB.momentum[0] = 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 4.0), "electron_energy = 0.0 GeV must be positive"),
        ((7.0, -4.0), "positron_energy = -4.0 GeV must be positive"),
        ((7.0, float("nan")), "positron_energy = nan GeV"),
        ((7.0, 4.0, 83.0), "rad, not mrad"),
        ((7.0, 4.0, -0.1), "crossing_angle"),
    ],
)
def test_impossible_beams_raise(arguments, message):
    with pytest.raises(PhysicsError, match=message):
        Beams(*arguments)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3)])
def test_wrong_shape_raises(shape):
    with pytest.raises(PhysicsError, match=r"shape \(\.\.\., 4\)"):
        SUPERKEKB.to_cm(np.ones(shape))
