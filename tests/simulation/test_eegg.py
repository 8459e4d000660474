"""e+ e- -> e+ e- gamma gamma: amplitudes, their symmetries and limits, the cross section."""

from __future__ import annotations

import itertools
import math
import time

import dirac
import numpy as np
import pytest
from numba import njit

from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.physics.constants import ELECTRON_MASS, GEV2_TO_PB
from alp_coffea.simulation import eeg, generate
from alp_coffea.simulation.eegg import OPENING
from alp_coffea.simulation.eegg_amplitude import matrix_element, polarisations, squared
from alp_coffea.simulation.helicity import light_cone

BEAMS = Beams.symmetric(10.58)
ROOT = BEAMS.sqrt_s
DEGREE = math.pi / 180


def four(p: np.ndarray) -> tuple[float, ...]:
    return tuple(float(x) for x in p)


def points(seed: int, count: int, mass: float = ELECTRON_MASS) -> list[list[tuple[float, ...]]]:
    """Random electron, positron, photon, photon."""
    momenta = dirac.rambo(np.random.default_rng(seed), ROOT, count, 4)
    masses = [mass, mass, 0.0, 0.0]
    return [[four(p) for p in dirac.massive(point, masses, ROOT)] for point in momenta]


def _emissions(
    out: np.ndarray, into: np.ndarray, photons: list[tuple[np.ndarray, np.ndarray]], mass: float
) -> np.ndarray:
    """Sum over all orders of the photons and gamma^mu along a line from ``into`` to ``out``."""
    total = np.zeros((4, 4, 4), complex)
    for order in itertools.permutations(range(len(photons))):
        for before in range(len(photons) + 1):
            chain, flow = np.eye(4, dtype=complex), into.copy()
            for i in order[:before]:
                k, eps = photons[i]
                flow = flow - k
                chain = dirac.propagator(flow, mass) @ dirac.slash(eps) @ chain
            left, back = np.eye(4, dtype=complex), out.copy()
            for i in reversed(order[before:]):
                k, eps = photons[i]
                back = back + k
                left = left @ dirac.slash(eps) @ dirac.propagator(back, mass)
            total += np.array([left @ dirac.GAMMA[mu] @ chain for mu in range(4)])
    return total


def explicit(minus, plus, k1, k2, mass: float) -> float:
    """Spin-averaged |M|^2 from products of Dirac matrices, diagram by diagram."""
    half = ROOT / 2
    momentum = math.sqrt(half**2 - mass**2)
    p_minus, p_plus = np.array([half, 0, 0, momentum]), np.array([half, 0, 0, -momentum])
    q, r, k = np.array(minus), np.array(plus), [np.array(k1), np.array(k2)]
    total = 0.0
    for h in itertools.product(dirac.SPINS, repeat=2):
        photons = [(k[i], dirac.polarisation(k[i], h[i]).conj()) for i in range(2)]
        subsets = [[], [0], [1], [0, 1]]
        ends = {
            "scatter": ((q, p_minus), (-p_plus, -r), p_minus - q),
            "annihilate": ((-p_plus, p_minus), (q, -r), p_minus + p_plus),
        }
        lines = {}
        for name, (one, two, transfer) in ends.items():
            for chosen in subsets:
                rest = [i for i in range(2) if i not in chosen]
                flow = transfer - sum((k[i] for i in chosen), np.zeros(4))
                lines[name, tuple(chosen)] = (
                    _emissions(*one, [photons[i] for i in chosen], mass),
                    _emissions(*two, [photons[i] for i in rest], mass),
                    dirac.dot(flow, flow),
                )
        for a, b, c, d in itertools.product(dirac.SPINS, repeat=4):
            u1, v1 = dirac.u(p_minus, a), dirac.bar(dirac.v(p_plus, b))
            u2, v2 = dirac.bar(dirac.u(q, c)), dirac.v(r, d)
            amplitude = 0.0
            for (name, _), (first, second, square) in lines.items():
                scatter = name == "scatter"
                left = dirac._current(u2 if scatter else v1, u1, [first])
                right = dirac._current(v1 if scatter else u2, v2, [second])
                amplitude += (1 if scatter else -1) * (left @ dirac.METRIC @ right) / square
            total += abs(dirac.E**4 * amplitude) ** 2
    return total / 4


@pytest.mark.parametrize("mass", [0.0, ELECTRON_MASS, 1.0])
def test_against_explicit_dirac_amplitudes(mass: float) -> None:
    """A mass of 1 GeV tests the terms that the electron's is too small for."""
    for point in points(1, 4, mass):
        expected = explicit(*point, mass)
        assert matrix_element(ROOT, *point, mass) == pytest.approx(expected, rel=1e-9)


def test_gauge_invariance() -> None:
    """A photon's polarisation replaced by its momentum in units of its energy."""
    for minus, plus, k1, k2 in points(2, 50):
        expected = matrix_element(ROOT, minus, plus, k1, k2, ELECTRON_MASS)
        along1, along2 = light_cone(np.array(k1) / k1[0]), light_cone(np.array(k2) / k2[0])
        eps1, eps2 = polarisations(k1), polarisations(k2)
        for pair in (((along1, along1), eps2), (eps1, (along2, along2))):
            found = squared(ROOT, minus, plus, k1, k2, *pair, ELECTRON_MASS)
            assert found < 1e-20 * expected


def test_shifted_polarisations_give_the_same() -> None:
    """eps -> eps + 3 k changes nothing (and the test above is not about zeros)."""
    for minus, plus, k1, k2 in points(3, 20):
        k = light_cone(k1)
        shifted = tuple(tuple(e[i] + 3 * k[i] for i in range(4)) for e in polarisations(k1))
        found = squared(ROOT, minus, plus, k1, k2, shifted, polarisations(k2), ELECTRON_MASS)
        expected = matrix_element(ROOT, minus, plus, k1, k2, ELECTRON_MASS)
        assert found == pytest.approx(expected, rel=1e-10)


def test_bose_symmetry() -> None:
    for minus, plus, k1, k2 in points(4, 50):
        found = matrix_element(ROOT, minus, plus, k2, k1, ELECTRON_MASS)
        expected = matrix_element(ROOT, minus, plus, k1, k2, ELECTRON_MASS)
        assert found == pytest.approx(expected, rel=1e-10)


def test_charge_symmetry() -> None:
    """Electron and positron exchanged, everything turned by pi about y."""
    mirror = np.array([1.0, -1.0, 1.0, -1.0])
    for point in points(5, 50):
        minus, plus, k1, k2 = (four(np.array(p) * mirror) for p in point)
        found = matrix_element(ROOT, plus, minus, k1, k2, ELECTRON_MASS)
        expected = matrix_element(ROOT, *point, ELECTRON_MASS)
        assert found == pytest.approx(expected, rel=1e-10)


def test_parity() -> None:
    """Only one helicity of the incoming electron is summed: mirror images must agree."""
    mirror = np.array([1.0, 1.0, -1.0, 1.0])
    for point in points(6, 50):
        found = matrix_element(ROOT, *(four(np.array(p) * mirror) for p in point), ELECTRON_MASS)
        assert found == pytest.approx(matrix_element(ROOT, *point, ELECTRON_MASS), rel=1e-10)


def test_soft_photon_limit() -> None:
    """|M|^2 -> |M(e+ e- gamma)|^2 times the eikonal factor, with a deviation linear in omega."""
    half = ROOT / 2
    beams = [np.array([half, 0, 0, half]), np.array([half, 0, 0, -half])]
    energies = np.array([1e-5, 2e-5, 4e-5])
    rng = np.random.default_rng(7)
    for _ in range(5):
        k, minus, plus = dirac.rambo(rng, ROOT, 1, 3)[0]
        direction = dirac.rambo(rng, 2.0, 1, 2)[0][0]
        deviations = []
        for omega in energies:
            soft = omega * direction
            # the other momenta keep their directions and take the recoil with a boost and a scale
            rest = np.array([ROOT, 0, 0, 0]) - soft
            mass = math.sqrt(dirac.dot(rest, rest))
            scaled = np.array([k, minus, plus]) * mass / ROOT
            boosted = np.array([_boost(p, rest, mass) for p in scaled])
            charges = [(-1, beams[0]), (1, beams[1]), (1, boosted[1]), (-1, boosted[2])]
            eikonal = -sum(
                a * b * dirac.dot(p, q) / (dirac.dot(p, soft) * dirac.dot(q, soft))
                for (a, p), (b, q) in itertools.product(charges, repeat=2)
            )
            hard = eeg.matrix_element(ROOT, minus, plus, k)
            found = matrix_element(
                ROOT, four(boosted[1]), four(boosted[2]), four(boosted[0]), four(soft), 0.0
            )
            deviations.append(found / (dirac.E**2 * eikonal * hard) - 1)
        slopes = np.array(deviations) / energies
        assert np.abs(deviations).max() < 2e-3
        # quadratic terms of order omega over the smallest energy in the event remain
        np.testing.assert_allclose(slopes, slopes[0], rtol=0.01)


def _boost(p: np.ndarray, system: np.ndarray, mass: float) -> np.ndarray:
    along = (system[1:] @ p[1:]) / mass
    energy = p[0] * system[0] / mass + along
    return np.array([energy, *(p[1:] + (p[0] + energy) / (system[0] + mass) * system[1:])])


@njit
def _squares(root, momenta, mass):
    out = np.empty(momenta.shape[0])
    for i in range(out.size):
        p = momenta[i]
        out[i] = matrix_element(
            root,
            (p[0, 0], p[0, 1], p[0, 2], p[0, 3]),
            (p[1, 0], p[1, 1], p[1, 2], p[1, 3]),
            (p[2, 0], p[2, 1], p[2, 2], p[2, 3]),
            (p[3, 0], p[3, 1], p[3, 2], p[3, 3]),
            mass,
        )
    return out


def apart(p4: np.ndarray, cosine: float) -> np.ndarray:
    """Whether all pairs of particles are further apart than that."""
    unit = p4[..., 1:] / np.maximum(np.linalg.norm(p4[..., 1:], axis=-1, keepdims=True), 1e-12)
    good = np.ones(p4.shape[0], bool)
    for i, j in itertools.combinations(range(4), 2):
        good &= np.sum(unit[:, i] * unit[:, j], axis=-1) < cosine
    return good


def test_against_flat_phase_space() -> None:
    """The sum of all channels and uniform phase space, where the latter converges."""
    cut, count = math.cos(40 * DEGREE), 300_000

    def inside(p4: np.ndarray) -> np.ndarray:
        good = (p4[..., 0] > 1.0).all(axis=1)
        good &= (np.abs(p4[..., 3]) < cut * p4[..., 0]).all(axis=1)
        return good & apart(p4, math.cos(0.5))

    momenta = dirac.rambo(np.random.default_rng(8), ROOT, count, 4)
    squares = _squares(ROOT, momenta[inside(momenta)], 0.0)
    # massless n-body phase space: (pi/2)^(n-1) s^(n-2)/((n-1)!(n-2)!) (2 pi)^(4-3n)
    volume = (math.pi / 2) ** 3 * BEAMS.s**2 / 12 / (2 * math.pi) ** 8
    factor = 0.5 * GEV2_TO_PB * volume / (2 * BEAMS.s) / count
    expected, error = factor * squares.sum(), factor * math.sqrt(np.sum(squares**2))
    events = generate(
        "eegg", 300_000, seed=1, beams=BEAMS, isr=False, frame="cm", sqrt_s_min=0.0,
        weighted=True, energy_min=1.0, theta_min=40 * DEGREE, theta_max=140 * DEGREE,
    )  # fmt: skip
    weight = events.weight * inside(events.p4)
    found, found_error = weight.mean(), weight.std() / math.sqrt(weight.size)
    assert math.hypot(error, found_error) < 0.03 * found
    assert abs(found - expected) < 4 * math.hypot(error, found_error)


def test_events_obey_the_cuts() -> None:
    events = generate("eegg", 2000, seed=2)
    p4 = events.p4
    lab = SUPERKEKB.to_lab(p4)
    theta = np.arccos(lab[..., 3] / np.linalg.norm(lab[..., 1:], axis=-1))
    assert theta.min() >= 0.2
    assert theta.max() <= 2.72
    assert lab[:, :2, 0].min() >= 0.06
    for photon, lepton in itertools.product((0, 1), (2, 3)):
        a, b = p4[:, photon, 1:], p4[:, lepton, 1:]
        scalar = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert scalar.max() < math.cos(OPENING)
    pair = p4[:, 2] + p4[:, 3]
    mass2 = pair[:, 0] ** 2 - np.sum(pair[:, 1:] ** 2, axis=1)
    assert mass2.min() > 4 * ELECTRON_MASS**2 * (1 - 1e-3)
    # internal conversions are there: pairs lighter than any the opening angle of eeg would leave
    assert (mass2 < 0.05**2).any()


def separated(p4: np.ndarray) -> np.ndarray:
    """All E > 0.5 GeV and Delta R(eta, phi) > 0.4 between all pairs."""
    good = (p4[..., 0] > 0.5).all(axis=1)
    transverse = np.maximum(np.hypot(p4[..., 1], p4[..., 2]), 1e-12)
    eta, phi = np.arcsinh(p4[..., 3] / transverse), np.arctan2(p4[..., 2], p4[..., 1])
    for i, j in itertools.combinations(range(4), 2):
        delta = np.abs(phi[:, i] - phi[:, j])
        delta = np.minimum(delta, 2 * math.pi - delta)
        good &= np.hypot(eta[:, i] - eta[:, j], delta) > 0.4
    return good


@pytest.mark.slow
def test_cross_section() -> None:
    """8.54 pb for 30-150 degrees, E > 0.5 GeV, Delta R > 0.4 (CM), computed independently."""
    events = generate(
        "eegg", 2**21, seed=3, beams=BEAMS, isr=False, frame="cm", sqrt_s_min=0.0,
        weighted=True, energy_min=0.5, theta_min=30 * DEGREE, theta_max=150 * DEGREE,
    )  # fmt: skip
    weight = events.weight * separated(events.p4)
    error = weight.std() / math.sqrt(weight.size)
    assert error < 0.005 * 8.54
    assert weight.mean() == pytest.approx(8.54, rel=0.02)


@pytest.mark.slow
def test_speed_of_the_amplitudes() -> None:
    momenta = np.array(points(9, 1000))
    _squares(ROOT, momenta, ELECTRON_MASS)
    start = time.process_time()
    for _ in range(20):
        _squares(ROOT, momenta, ELECTRON_MASS)
    assert 20_000 / (time.process_time() - start) > 5e4
