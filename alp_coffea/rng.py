"""One counter-based random generator for the whole package.

A *key* is a 64-bit hash of (seed, purpose, event identity, object index); draw number
``counter`` of a key is a pure function of the two. Nothing therefore depends on chunk size,
executor or order of evaluation: the same event gets the same numbers wherever it is processed.

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), whose
output stream ``mix(key + n * GOLDEN)`` passes BigCrush. All functions are scalar numba
functions for use inside kernels; :func:`event_keys`, :func:`uniforms` and :func:`normals` are
their array forms.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit, vectorize
from numpy.typing import ArrayLike, NDArray

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX2: Final = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_ONE: Final = np.uint64(1)
_TO_UNIT: Final = 2.0**-53


@njit(cache=True, inline="always")
def mix(x):  # type: ignore[no-untyped-def]
    """SplitMix64 finaliser: a bijection of 64-bit integers."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@njit(cache=True, inline="always")
def combine(key, value):  # type: ignore[no-untyped-def]
    """Derive a new key from a key and one more integer (order matters)."""
    return mix(mix(np.uint64(key) + GOLDEN) ^ (np.uint64(value) * GOLDEN + _ONE))


@njit(cache=True, inline="always")
def uniform(key, counter):  # type: ignore[no-untyped-def]
    """Uniform double in (0, 1), never an end point: draw ``counter`` of ``key``."""
    bits = mix(np.uint64(key) + (np.uint64(counter) + _ONE) * GOLDEN)
    return (np.float64(bits >> _S11) + 0.5) * _TO_UNIT


@njit(cache=True)
def normal(key, counter):  # type: ignore[no-untyped-def]
    """Standard normal by Box-Muller; uses the uniform draws 2*counter and 2*counter + 1."""
    base = np.uint64(counter) * np.uint64(2)
    radius = math.sqrt(-2.0 * math.log(uniform(key, base)))
    return radius * math.cos(2.0 * math.pi * uniform(key, base + _ONE))


@vectorize(["uint64(uint64, int64)"], cache=True)
def _combine_array(key, value):  # type: ignore[no-untyped-def]
    return combine(key, np.uint64(value))


@vectorize(["float64(uint64, int64)"], cache=True)
def _uniform_array(key, counter):  # type: ignore[no-untyped-def]
    return uniform(key, np.uint64(counter))


@vectorize(["float64(uint64, int64)"], cache=True)
def _normal_array(key, counter):  # type: ignore[no-untyped-def]
    return normal(key, np.uint64(counter))


def purpose_key(seed: int, purpose: str) -> np.uint64:
    """Key of a (seed, purpose) pair, e.g. ``(42, "energy smearing")``.

    The purpose is hashed byte by byte, so it does not depend on Python's salted ``hash``.
    """
    key = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    for byte in purpose.encode():
        key = np.uint64(combine(key, byte))  # numba returns a plain int
    return key


def event_keys(
    seed: int,
    purpose: str,
    experiment: ArrayLike,
    run: ArrayLike,
    event: ArrayLike,
    production: ArrayLike = 0,
) -> NDArray[np.uint64]:
    """Keys of events, shape (n,), from their identity (experiment, run, event, production)."""
    key = purpose_key(seed, purpose)
    for part in (experiment, run, event, production):
        key = _combine_array(key, np.asarray(part).astype(np.int64))
    return np.asarray(key, dtype=np.uint64)


def uniforms(keys: ArrayLike, counter: ArrayLike = 0) -> NDArray[np.float64]:
    """Uniform doubles in (0, 1), one per (key, counter), broadcast."""
    return np.asarray(_uniform_array(np.asarray(keys, np.uint64), np.asarray(counter, np.int64)))


def normals(keys: ArrayLike, counter: ArrayLike = 0) -> NDArray[np.float64]:
    """Standard normal doubles, one per (key, counter), broadcast."""
    return np.asarray(_normal_array(np.asarray(keys, np.uint64), np.asarray(counter, np.int64)))
