"""Explicit Dirac spinors and helicity amplitudes, independent of the package.

Chiral representation, metric (+, -, -, -), momenta (E, px, py, pz). Amplitudes are summed over
final and averaged over initial helicities by evaluating every combination.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.complex128]

METRIC = np.diag([1.0, -1.0, -1.0, -1.0])
_SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex)
_ZERO, _ONE = np.zeros((2, 2)), np.eye(2)
GAMMA = np.array(
    [np.block([[_ZERO, _ONE], [_ONE, _ZERO]])]
    + [np.block([[_ZERO, sigma], [-sigma, _ZERO]]) for sigma in _SIGMA]
)
E = math.sqrt(4 * math.pi / 137.036)
SPINS = (+1, -1)


def slash(p: NDArray) -> Matrix:
    return np.einsum("m,mab->ab", METRIC @ p, GAMMA)


def bar(spinor: Matrix) -> Matrix:
    return spinor.conj() @ GAMMA[0]


def dot(a: NDArray, b: NDArray) -> complex:
    return a @ METRIC @ b


def _two_spinor(p: Vector, helicity: int) -> Matrix:
    momentum = np.linalg.norm(p[1:])
    theta = math.acos(np.clip(p[3] / momentum, -1, 1))
    phi = math.atan2(p[2], p[1])
    if helicity > 0:
        return np.array([math.cos(theta / 2), np.exp(1j * phi) * math.sin(theta / 2)])
    return np.array([-np.exp(-1j * phi) * math.sin(theta / 2), math.cos(theta / 2)])


def u(p: Vector, helicity: int) -> Matrix:
    """Particle spinor of definite helicity, u ubar summed = pslash + m."""
    momentum = np.linalg.norm(p[1:])
    plus = math.sqrt(p[0] + momentum)
    minus = math.sqrt(max(p[0] - momentum, 0.0))
    chi = _two_spinor(p, helicity)
    low, high = (minus, plus) if helicity > 0 else (plus, minus)
    return np.concatenate([low * chi, high * chi])


def v(p: Vector, helicity: int) -> Matrix:
    """Antiparticle spinor, v vbar summed = pslash - m; ``helicity`` labels the two states."""
    momentum = np.linalg.norm(p[1:])
    plus = math.sqrt(p[0] + momentum)
    minus = math.sqrt(max(p[0] - momentum, 0.0))
    chi = _two_spinor(p, -helicity)
    low, high = (plus, -minus) if helicity > 0 else (minus, -plus)
    return np.concatenate([low * chi, high * chi])


def polarisation(k: Vector, helicity: int) -> Matrix:
    theta = math.acos(np.clip(k[3] / k[0], -1, 1))
    phi = math.atan2(k[2], k[1])
    first = [math.cos(theta) * math.cos(phi), math.cos(theta) * math.sin(phi), -math.sin(theta)]
    second = [-math.sin(phi), math.cos(phi), 0.0]
    return np.array([0, *(np.array(first) + helicity * 1j * np.array(second))]) / math.sqrt(2)


def propagator(p: NDArray, mass: float = 0.0) -> Matrix:
    return (slash(p) + mass * np.eye(4)) / (dot(p, p) - mass**2)


def photons(p_minus: Vector, p_plus: Vector, momenta: list[Vector]) -> float:
    """Spin-averaged |M|^2 of e+ e- to any number of photons."""
    total = 0.0
    for spins in itertools.product(SPINS, repeat=2 + len(momenta)):
        vectors = [polarisation(k, s).conj() for k, s in zip(momenta, spins[2:], strict=True)]
        amplitude = 0.0
        for order in itertools.permutations(range(len(momenta))):
            chain, flow = u(p_minus, spins[0]), p_minus.copy()
            for step, i in enumerate(order):
                chain = E * slash(vectors[i]) @ chain
                flow = flow - momenta[i]
                if step < len(order) - 1:
                    chain = propagator(flow) @ chain
            amplitude += bar(v(p_plus, spins[1])) @ chain
        total += abs(amplitude) ** 2
    return total / 4


def _current(left: Matrix, right: Matrix, insert: list[Matrix]) -> Matrix:
    """Contravariant current left Gamma^mu right, sum over the matrices in ``insert``."""
    return np.array([sum(left @ m[mu] @ right for m in insert) for mu in range(4)])


def _line(outgoing: Vector, incoming: Vector, k: Vector, eps: Matrix, mass: float) -> list[Matrix]:
    """gamma^mu with one photon emitted before or after, for a fermion line (flow momenta)."""
    after = [slash(eps) @ propagator(outgoing + k, mass) @ GAMMA[mu] for mu in range(4)]
    before = [GAMMA[mu] @ propagator(incoming - k, mass) @ slash(eps) for mu in range(4)]
    return [np.array(after), np.array(before)]


def pair_and_photon(
    p_minus: Vector,
    p_plus: Vector,
    q_minus: Vector,
    q_plus: Vector,
    k: Vector,
    *,
    exchange: bool,
    mass: float = 0.0,
) -> float:
    """Spin-averaged |M|^2 of e+ e- -> f+ f- gamma; ``exchange`` adds the t-channel (Bhabha)."""
    total = 0.0
    bare = [GAMMA]
    for a, b, c, d, h in itertools.product(SPINS, repeat=5):
        eps = polarisation(k, h).conj()
        u1, v1, u2, v2 = u(p_minus, a), v(p_plus, b), u(q_minus, c), v(q_plus, d)

        def product(x: Matrix, y: Matrix) -> complex:
            return x @ METRIC @ y

        initial = _current(bar(v1), u1, _line(-p_plus, p_minus, k, eps, 0.0))
        final = _current(bar(u2), v2, _line(q_minus, -q_plus, k, eps, mass))
        s, s_out = dot(p_minus + p_plus, p_minus + p_plus), dot(q_minus + q_plus, q_minus + q_plus)
        amplitude = product(initial, _current(bar(u2), v2, bare)) / s_out
        amplitude += product(_current(bar(v1), u1, bare), final) / s
        if exchange:
            electron = _current(bar(u2), u1, _line(q_minus, p_minus, k, eps, 0.0))
            positron = _current(bar(v1), v2, _line(-p_plus, -q_plus, k, eps, 0.0))
            t, t_out = p_plus - q_plus, p_minus - q_minus
            amplitude -= product(electron, _current(bar(v1), v2, bare)) / dot(t, t)
            amplitude -= product(_current(bar(u2), u1, bare), positron) / dot(t_out, t_out)
        total += abs(E**3 * amplitude) ** 2
    return total / 4


def pair(
    p_minus: Vector, p_plus: Vector, q_minus: Vector, q_plus: Vector, *, exchange: bool
) -> float:
    """Spin-averaged |M|^2 of e+ e- -> f+ f-; ``exchange`` adds the t-channel (Bhabha)."""
    total = 0.0
    for a, b, c, d in itertools.product(SPINS, repeat=4):
        u1, v1, u2, v2 = u(p_minus, a), v(p_plus, b), u(q_minus, c), v(q_plus, d)
        s, t = p_minus + p_plus, p_minus - q_minus
        first = _current(bar(v1), u1, [GAMMA]) @ METRIC @ _current(bar(u2), v2, [GAMMA])
        amplitude = first / dot(s, s)
        if exchange:
            second = _current(bar(u2), u1, [GAMMA]) @ METRIC @ _current(bar(v1), v2, [GAMMA])
            amplitude -= second / dot(t, t)
        total += abs(E**2 * amplitude) ** 2
    return total / 4


def _levi_civita() -> NDArray:
    tensor = np.zeros((4, 4, 4, 4))
    for order in itertools.permutations(range(4)):
        tensor[order] = np.linalg.det(np.eye(4)[list(order)])
    return tensor


EPSILON = _levi_civita()


def alp_and_photon(p_minus: Vector, p_plus: Vector, k: Vector, coupling: float) -> float:
    """Spin-averaged |M|^2 of e+ e- -> gamma* -> gamma a, vertex g eps^{mu nu rho sigma} q_r k_s."""
    q = p_minus + p_plus
    total = 0.0
    for a, b, h in itertools.product(SPINS, repeat=3):
        current = METRIC @ _current(bar(v(p_plus, b)), u(p_minus, a), [GAMMA])
        eps = METRIC @ polarisation(k, h).conj()
        vertex = np.einsum("mnrs,m,n,r,s", EPSILON, current, eps, METRIC @ q, METRIC @ k)
        total += abs(E * coupling * vertex / dot(q, q)) ** 2
    return total / 4


def beams(root_s: float) -> tuple[Vector, Vector]:
    half = root_s / 2
    return np.array([half, 0, 0, half]), np.array([half, 0, 0, -half])


def rambo(rng: np.random.Generator, root_s: float, count: int, particles: int) -> Vector:
    """Massless final states uniform in phase space (Kleiss, Stirling, Ellis, CPC 40 (1986) 359).

    Returns four-momenta of shape (count, particles, 4).
    """
    cosine, phi = rng.uniform(-1, 1, (2, count, particles))
    phi = math.pi * phi
    energy = -np.log(rng.uniform(size=(count, particles)) * rng.uniform(size=(count, particles)))
    sine = np.sqrt(1 - cosine**2)
    q = np.stack(
        [energy, energy * sine * np.cos(phi), energy * sine * np.sin(phi), energy * cosine], -1
    )
    total = q.sum(axis=1, keepdims=True)
    mass = np.sqrt(total[..., 0] ** 2 - np.sum(total[..., 1:] ** 2, axis=-1))[..., None]
    b, gamma = -total[..., 1:] / mass, total[..., :1] / mass
    bq = np.sum(b * q[..., 1:], axis=-1, keepdims=True)
    scale = root_s / mass
    out = np.empty_like(q)
    out[..., :1] = scale * (gamma * q[..., :1] + bq)
    out[..., 1:] = scale * (q[..., 1:] + b * q[..., :1] + bq / (1 + gamma) * b)
    return out


def massive(momenta: Vector, masses: list[float], root_s: float) -> Vector:
    """Rescale massless momenta of one event, shape (k, 4), to masses with the same total."""
    energies = momenta[:, 0]
    low, high = 0.0, 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        total = np.sum(np.sqrt((middle * energies) ** 2 + np.square(masses)))
        low, high = (middle, high) if total < root_s else (low, middle)
    out = momenta * low
    out[:, 0] = np.sqrt((low * energies) ** 2 + np.square(masses))
    return out
