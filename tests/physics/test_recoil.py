"""The momentum recoiling against two tracks, and its error."""

from __future__ import annotations

import numpy as np
import pytest

from alp_coffea.physics import SUPERKEKB
from alp_coffea.physics.recoil import recoil_error, recoil_momentum

RNG = np.random.default_rng(3)
N = 200_000
PT = np.array([4.1, 2.3])
THETA = np.array([0.8, 1.9])
PHI = np.array([0.4, -2.1])
ERRORS = (np.array([0.025, 0.012]), np.array([0.002, 0.001]), np.array([0.001, 0.003]))


def test_nothing_recoils_against_what_has_all_the_momentum():
    """Two back-to-back muons in the centre of mass, boosted to the lab."""
    half = SUPERKEKB.sqrt_s / 2
    direction = np.array([0.3, -0.5, np.sqrt(1 - 0.34)])
    p4 = np.array([[half, *(half * sign * direction)] for sign in (1, -1)])
    lab = SUPERKEKB.to_lab(p4)
    p = np.linalg.norm(lab[:, 1:], axis=1)
    theta, phi = np.arccos(lab[:, 3] / p), np.arctan2(lab[:, 2], lab[:, 1])
    found = recoil_momentum(p[np.newaxis], theta[np.newaxis], phi[np.newaxis], SUPERKEKB)
    assert found.vector == pytest.approx(np.zeros((1, 3)), abs=1e-12)
    assert found.p == pytest.approx(0.0, abs=1e-12)


def test_momentum_and_angles_are_those_of_the_vector():
    found = recoil_momentum(
        RNG.uniform(0.5, 6, (50, 2)),
        RNG.uniform(0.3, 2.8, (50, 2)),
        RNG.uniform(-3.1, 3.1, (50, 2)),
        SUPERKEKB,
    )
    x = found.p * np.sin(found.theta) * np.cos(found.phi)
    y = found.p * np.sin(found.theta) * np.sin(found.phi)
    z = found.p * np.cos(found.theta)
    assert np.stack([x, y, z], axis=1) == pytest.approx(found.vector, abs=1e-12)


@pytest.mark.parametrize("direction", [*np.eye(3), np.array([0.48, -0.6, 0.64])])
def test_error_is_the_spread_of_repeated_measurements(direction):
    pt, theta, phi = (
        value + error * RNG.standard_normal((N, 2))
        for value, error in zip((PT, THETA, PHI), ERRORS, strict=True)
    )
    along = recoil_momentum(pt / np.sin(theta), theta, phi, SUPERKEKB).vector @ direction
    columns = [np.array([column]) for column in (PT, THETA, PHI, *ERRORS)]
    # 0.16 % statistical, and curvature of the same size
    assert recoil_error(direction, *columns)[0] == pytest.approx(along.std(), rel=0.008)


def test_errors_are_linear_and_add_in_quadrature():
    columns = [np.array([column]) for column in (PT, THETA, PHI)]
    errors = [np.array([error]) for error in ERRORS]
    n = np.array([[0.48, -0.6, 0.64]])
    whole = recoil_error(n, *columns, *errors)
    assert recoil_error(n, *columns, *(2 * e for e in errors)) == pytest.approx(2 * whole)
    parts = [
        recoil_error(n, *columns, *(e * (i == k) for i, e in enumerate(errors))) for k in range(3)
    ]
    assert np.sqrt(sum(part**2 for part in parts)) == pytest.approx(whole)
