"""Squared matrix elements against explicit Dirac helicity amplitudes."""

from __future__ import annotations

import math

import dirac
import numpy as np
import pytest

from alp_coffea.physics.constants import MUON_MASS
from alp_coffea.simulation import ee, eeg, gg, ggg, mumu, mumug, strahlung

ROOT_S = 10.58
P_MINUS, P_PLUS = dirac.beams(ROOT_S)
POINTS = 40
EXACT = 1e-8


def three_bodies(seed: int) -> np.ndarray:
    """Random points a little away from the poles, where the amplitudes are well conditioned."""
    points = dirac.rambo(np.random.default_rng(seed), ROOT_S, 40 * POINTS, 3)
    cosine = np.abs(points[..., 3] / points[..., 0])
    good = (points[..., 0].min(axis=1) > 0.05) & (cosine.max(axis=1) < 0.999)
    return points[good][:POINTS]


def test_spinors_satisfy_completeness() -> None:
    p = np.array([3.0, 1.0, -0.7, 2.0])
    mass = math.sqrt(dirac.dot(p, p).real)
    for spinor, sign in ((dirac.u, 1), (dirac.v, -1)):
        total = sum(np.outer(spinor(p, h), dirac.bar(spinor(p, h))) for h in dirac.SPINS)
        np.testing.assert_allclose(total, dirac.slash(p) + sign * mass * np.eye(4), atol=1e-12)


def test_three_photons() -> None:
    for k in three_bodies(1):
        a = [2 * dirac.dot(P_MINUS, q).real for q in k]
        b = [2 * dirac.dot(P_PLUS, q).real for q in k]
        expected = dirac.photons(P_MINUS, P_PLUS, list(k))
        assert ggg.matrix_element(ROOT_S**2, *a, *b) == pytest.approx(expected, rel=EXACT)


def test_radiative_bhabha() -> None:
    for k, minus, plus in three_bodies(2):
        expected = dirac.pair_and_photon(P_MINUS, P_PLUS, minus, plus, k, exchange=True)
        assert eeg.matrix_element(ROOT_S, minus, plus, k) == pytest.approx(expected, rel=EXACT)


def test_radiative_muon_pairs_without_mass() -> None:
    for k, minus, plus in three_bodies(3):
        expected = dirac.pair_and_photon(P_MINUS, P_PLUS, minus, plus, k, exchange=False)
        found = mumug.matrix_element(ROOT_S, minus, plus, k, 0.0)
        assert found == pytest.approx(expected, rel=EXACT)


def test_muon_mass_correction_is_good_to_order_mass_squared() -> None:
    deviations = []
    for point in three_bodies(4):
        k, minus, plus = dirac.massive(point, [0.0, MUON_MASS, MUON_MASS], ROOT_S)
        pair2 = dirac.dot(minus + plus, minus + plus).real
        expected = dirac.pair_and_photon(
            P_MINUS, P_PLUS, minus, plus, k, exchange=False, mass=MUON_MASS
        )
        found = mumug.matrix_element(ROOT_S, minus, plus, k, MUON_MASS**2)
        deviations.append(abs(found / expected - 1) * pair2 / MUON_MASS**2)
    assert np.quantile(deviations, 0.9) < 10


@pytest.mark.parametrize("share", [1e-4, 0.3, 0.9])
@pytest.mark.parametrize("tilt", [0.0, 0.01, 0.02, 0.05])
def test_muon_mass_correction_for_soft_and_collinear_photons(share: float, tilt: float) -> None:
    """``share`` is the photon's part of the beam energy; the dead cone is 0.02 rad wide."""
    half = ROOT_S / 2
    angle = 1.1
    k = share * half * np.array([1, math.sin(angle), 0, math.cos(angle)])
    angle += tilt
    minus = (1 - share) * half * np.array([1, math.sin(angle), 0, math.cos(angle)])
    plus = -(k + minus)
    plus[0] = np.linalg.norm(plus[1:])
    k, minus, plus = dirac.massive(np.array([k, minus, plus]), [0, MUON_MASS, MUON_MASS], ROOT_S)
    expected = dirac.pair_and_photon(
        P_MINUS, P_PLUS, minus, plus, k, exchange=False, mass=MUON_MASS
    )
    found = mumug.matrix_element(ROOT_S, minus, plus, k, MUON_MASS**2)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("cosine", [-0.97, -0.5, 0.0, 0.3, 0.9])
def test_two_bodies(cosine: float) -> None:
    half, sine = ROOT_S / 2, math.sqrt(1 - cosine**2)
    k1 = half * np.array([1, sine, 0, cosine])
    k2 = half * np.array([1, -sine, 0, -cosine])
    expected = dirac.photons(P_MINUS, P_PLUS, [k1, k2])
    assert gg.matrix_element(cosine) == pytest.approx(expected, rel=EXACT)
    expected = dirac.pair(P_MINUS, P_PLUS, k1, k2, exchange=True)
    assert ee.matrix_element(cosine) == pytest.approx(expected, rel=EXACT)
    minus, plus = dirac.massive(np.array([k1, k2]), [MUON_MASS] * 2, ROOT_S)
    expected = dirac.pair(P_MINUS, P_PLUS, minus, plus, exchange=False)
    assert mumu.matrix_element(ROOT_S**2, cosine) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("mass", [0.2, 5.0, 9.7])
@pytest.mark.parametrize("cosine", [-0.8, 0.1, 0.99])
def test_signal(mass: float, cosine: float) -> None:
    s = ROOT_S**2
    energy, sine = (s - mass**2) / (2 * ROOT_S), math.sqrt(1 - cosine**2)
    k = energy * np.array([1, sine, 0, cosine])
    t, u = -2 * dirac.dot(P_MINUS, k).real, -2 * dirac.dot(P_PLUS, k).real
    expected = dirac.alp_and_photon(P_MINUS, P_PLUS, k, 1e-3)
    assert strahlung.matrix_element(s, t, u, 1e-3) == pytest.approx(expected, rel=EXACT)
