"""Events for the kinematics tests, built from four-vectors without the code under test."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)


def unit_vectors(rng, n):
    cosine = rng.uniform(-1, 1, n)
    phi = rng.uniform(-np.pi, np.pi, n)
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=-1)


def two_photon_decays(rng, mass, sqrt_s):
    """e+e- -> gamma a, a -> gamma gamma in the CM frame: (n, 3, 4), recoil photon first."""
    mass = np.asarray(mass, dtype=float)
    n = len(mass)
    momentum = (sqrt_s**2 - mass**2) / (2 * sqrt_s)
    direction = unit_vectors(rng, n)
    recoil = np.concatenate([momentum[:, None], momentum[:, None] * direction], axis=1)
    rest = unit_vectors(rng, n) * (mass / 2)[:, None]
    velocity = -direction * (momentum / np.sqrt(momentum**2 + mass**2))[:, None]
    one = boost(np.concatenate([(mass / 2)[:, None], rest], axis=1), velocity)
    two = boost(np.concatenate([(mass / 2)[:, None], -rest], axis=1), velocity)
    return np.stack([recoil, one, two], axis=1)


def three_photon_events(rng, n, sqrt_s):
    """Flat three-body phase space by two sequential decays: (n, 3, 4) in the CM frame."""
    return two_photon_decays(rng, sqrt_s * np.sqrt(rng.uniform(0.001, 0.98, n)), sqrt_s)


def boost(p4, velocity):
    """Textbook boost of (..., 4) by ``velocity`` (..., 3)."""
    velocity = np.broadcast_to(velocity, (*p4.shape[:-1], 3))
    beta2 = np.sum(velocity**2, axis=-1)
    gamma = 1 / np.sqrt(1 - beta2)
    along = np.sum(velocity * p4[..., 1:], axis=-1)
    factor = np.divide(gamma - 1, beta2, out=np.zeros_like(beta2), where=beta2 > 0)
    energy = gamma * (p4[..., 0] + along)
    shift = (factor * along + gamma * p4[..., 0])[..., None] * velocity
    return np.concatenate([energy[..., None], p4[..., 1:] + shift], axis=-1)


def mass2(p4):
    return p4[..., 0] ** 2 - np.sum(p4[..., 1:] ** 2, axis=-1)


def angles(p4):
    """(E, theta, phi) of four-vectors."""
    theta = np.arctan2(np.hypot(p4[..., 1], p4[..., 2]), p4[..., 3])
    return p4[..., 0], theta, np.arctan2(p4[..., 2], p4[..., 1])


def sort_by_energy(p4):
    order = np.argsort(-p4[..., 0], axis=1)
    return np.take_along_axis(p4, order[..., None], axis=1)
