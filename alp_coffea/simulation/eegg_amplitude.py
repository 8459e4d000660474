"""Helicity amplitudes of double radiative Bhabha scattering e+ e- -> e+ e- gamma gamma.

All 40 leading-order diagrams with massive electrons, evaluated numerically. A lepton line with its
photons is a current: spinors get one photon, then the other, attached from either end
(``_columns``, ``_rows``), and their products are the line's current with none, one or both photons
in every order (``_line``). Contracting the currents of two lines, with the photon between them,
gives the amplitude (the recursion of F. A. Berends and W. T. Giele, Nucl. Phys. B306 (1988) 759,
for two photons). Exchange of two fermions gives the relative sign of scattering and annihilation.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from alp_coffea.simulation.constants import E2
from alp_coffea.simulation.helicity import (
    add,
    bar,
    current,
    light_cone,
    product,
    propagate,
    propagate_left,
    slash,
    slash_left,
    spinor,
)

#: what is attached to a spinor or a line: nothing, the first photon (two polarisations), the
#: second (two), both (four)
_NONE: Final = 0
_FIRST: Final = 1
_SECOND: Final = 3
_BOTH: Final = 5
_STATES: Final = 9


@njit(cache=True)
def _get(table, helicity, state):  # type: ignore[no-untyped-def]
    return (
        table[helicity, state, 0],
        table[helicity, state, 1],
        table[helicity, state, 2],
        table[helicity, state, 3],
    )


@njit(cache=True)
def _put(table, helicity, state, value):  # type: ignore[no-untyped-def]
    for i in range(4):
        table[helicity, state, i] = value[i]


@njit(cache=True)
def _times(factor, v):  # type: ignore[no-untyped-def]
    return factor * v[0], factor * v[1], factor * v[2], factor * v[3]


@njit(cache=True)
def polarisations(k):  # type: ignore[no-untyped-def]
    """Two linear polarisation vectors of a photon (E, px, py, pz), light-cone components."""
    transverse = math.hypot(k[1], k[2])
    if transverse == 0.0:
        return light_cone((0.0, 1.0, 0.0, 0.0)), light_cone((0.0, 0.0, 1.0, 0.0))
    cosine, sine = k[1] / transverse, k[2] / transverse
    momentum = math.hypot(transverse, k[3])
    along, across = k[3] / momentum, transverse / momentum
    return (
        light_cone((0.0, along * cosine, along * sine, -across)),
        light_cone((0.0, -sine, cosine, 0.0)),
    )


@njit(cache=True)
def _columns(table, helicity, p, mass, k1, k2, eps1, eps2):  # type: ignore[no-untyped-def]
    """Photons attached to the spinor ``table[helicity, 0]`` whose momentum flow is ``p``."""
    f = _get(table, helicity, _NONE)
    pk1, pk2, kk = product(p, k1).real, product(p, k2).real, product(k1, k2).real
    after1, after2 = add(p, _times(-1.0, k1)), add(p, _times(-1.0, k2))
    after = add(after1, _times(-1.0, k2))
    for i in range(2):
        first = propagate(after1, mass, -0.5 / pk1, slash(eps1[i], f))
        _put(table, helicity, _FIRST + i, first)
        second = propagate(after2, mass, -0.5 / pk2, slash(eps2[i], f))
        _put(table, helicity, _SECOND + i, second)
    for i in range(2):
        for j in range(2):
            both = add(
                slash(eps2[j], _get(table, helicity, _FIRST + i)),
                slash(eps1[i], _get(table, helicity, _SECOND + j)),
            )
            both = propagate(after, mass, 0.5 / (kk - pk1 - pk2), both)
            _put(table, helicity, _BOTH + 2 * i + j, both)


@njit(cache=True)
def _rows(table, helicity, p, mass, k1, k2, eps1, eps2):  # type: ignore[no-untyped-def]
    """Photons attached to the conjugate spinor ``table[helicity, 0]`` of momentum flow ``p``."""
    b = _get(table, helicity, _NONE)
    pk1, pk2, kk = product(p, k1).real, product(p, k2).real, product(k1, k2).real
    before1, before2 = add(p, k1), add(p, k2)
    before = add(before1, k2)
    for i in range(2):
        first = propagate_left(slash_left(b, eps1[i]), before1, mass, 0.5 / pk1)
        _put(table, helicity, _FIRST + i, first)
        second = propagate_left(slash_left(b, eps2[i]), before2, mass, 0.5 / pk2)
        _put(table, helicity, _SECOND + i, second)
    for i in range(2):
        for j in range(2):
            both = add(
                slash_left(_get(table, helicity, _FIRST + i), eps2[j]),
                slash_left(_get(table, helicity, _SECOND + j), eps1[i]),
            )
            both = propagate_left(both, before, mass, 0.5 / (kk + pk1 + pk2))
            _put(table, helicity, _BOTH + 2 * i + j, both)


@njit(cache=True)
def _line(out, rows, columns, helicities):  # type: ignore[no-untyped-def]
    """Currents of a line, ``out[row helicity, column helicity, photons, component]``."""
    for r in range(2):
        b = _get(rows, r, _NONE)
        for c in range(helicities):
            f = _get(columns, c, _NONE)
            _put(out[r], c, _NONE, current(b, f))
            for state in range(_FIRST, _BOTH):
                one = add(current(b, _get(columns, c, state)), current(_get(rows, r, state), f))
                _put(out[r], c, state, one)
            for i in range(2):
                b1, f1 = _get(rows, r, _FIRST + i), _get(columns, c, _FIRST + i)
                for j in range(2):
                    state = _BOTH + 2 * i + j
                    both = add(
                        add(
                            current(b, _get(columns, c, state)),
                            current(_get(rows, r, state), f),
                        ),
                        add(
                            current(b1, _get(columns, c, _SECOND + j)),
                            current(_get(rows, r, _SECOND + j), f1),
                        ),
                    )
                    _put(out[r], c, state, both)


@njit(cache=True)
def _square(e, x, y, z):  # type: ignore[no-untyped-def]
    return e * e - x * x - y * y - z * z


@njit(cache=True)
def _transfer2(a, b, k):  # type: ignore[no-untyped-def]
    """(a - b - k)^2 of four-momenta."""
    return _square(a[0] - b[0] - k[0], a[1] - b[1] - k[1], a[2] - b[2] - k[2], a[3] - b[3] - k[3])


@njit(cache=True)
def squared(root, minus, plus, k1, k2, eps1, eps2, mass):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-4] summed over pairs of given polarisation vectors.

    Replacing both vectors of a photon by its momentum must give zero: the test of gauge invariance.
    Arguments as :func:`matrix_element`; ``eps1`` and ``eps2`` are pairs of vectors in light-cone
    components.
    """
    energy = 0.5 * root
    beam = math.sqrt(energy * energy - mass * mass)
    p_minus = (energy, 0.0, 0.0, beam)
    p_plus = (energy, 0.0, 0.0, -beam)
    none = (0.0, 0.0, 0.0, 0.0)
    photon1, photon2 = light_cone(k1), light_cone(k2)

    # spinors with photons: u(p-), v(q+) as columns; vbar(p+), ubar(q-) as rows
    u1 = np.empty((1, _STATES, 4), np.complex128)
    v2 = np.empty((2, _STATES, 4), np.complex128)
    v1 = np.empty((2, _STATES, 4), np.complex128)
    u2 = np.empty((2, _STATES, 4), np.complex128)
    flow_p_minus, flow_q_minus = light_cone(p_minus), light_cone(minus)
    flow_p_plus = _times(-1.0, light_cone(p_plus))
    flow_q_plus = _times(-1.0, light_cone(plus))
    # parity: the incoming electron of one helicity stands for both
    _put(u1, 0, _NONE, spinor(p_minus, mass, 1, False))
    _columns(u1, 0, flow_p_minus, mass, photon1, photon2, eps1, eps2)
    for h in range(2):
        helicity = 1 - 2 * h
        _put(v2, h, _NONE, spinor(plus, mass, helicity, True))
        _columns(v2, h, flow_q_plus, mass, photon1, photon2, eps1, eps2)
        _put(v1, h, _NONE, bar(spinor(p_plus, mass, helicity, True)))
        _rows(v1, h, flow_p_plus, mass, photon1, photon2, eps1, eps2)
        _put(u2, h, _NONE, bar(spinor(minus, mass, helicity, False)))
        _rows(u2, h, flow_q_minus, mass, photon1, photon2, eps1, eps2)

    electron = np.empty((2, 1, _STATES, 4), np.complex128)
    positron = np.empty((2, 2, _STATES, 4), np.complex128)
    incoming = np.empty((2, 1, _STATES, 4), np.complex128)
    outgoing = np.empty((2, 2, _STATES, 4), np.complex128)
    _line(electron, u2, u1, 1)
    _line(positron, v1, v2, 2)
    _line(incoming, v1, u1, 1)
    _line(outgoing, u2, v2, 2)

    # virtual photons, by the photons that the first line of each pair radiates
    both_t = 1.0 / _transfer2(p_plus, plus, none)
    none_t = 1.0 / _transfer2(p_minus, minus, none)
    first_t = 1.0 / _transfer2(p_minus, minus, k1)
    second_t = 1.0 / _transfer2(p_minus, minus, k2)
    both_s = 1.0 / _square(
        minus[0] + plus[0], minus[1] + plus[1], minus[2] + plus[2], minus[3] + plus[3]
    )
    none_s = 1.0 / (root * root)
    first_s = 1.0 / _square(root - k1[0], -k1[1], -k1[2], -k1[3])
    second_s = 1.0 / _square(root - k2[0], -k2[1], -k2[2], -k2[3])

    total = 0.0
    for b in range(2):
        for c in range(2):
            for d in range(2):
                a1, a2 = electron[c], positron[b]
                c1, c2 = incoming[b], outgoing[c]
                for i in range(2):
                    first = _FIRST + i
                    for j in range(2):
                        second, both = _SECOND + j, _BOTH + 2 * i + j
                        amplitude = (
                            both_t * product(_get(a1, 0, both), _get(a2, d, _NONE))
                            + none_t * product(_get(a1, 0, _NONE), _get(a2, d, both))
                            + first_t * product(_get(a1, 0, first), _get(a2, d, second))
                            + second_t * product(_get(a1, 0, second), _get(a2, d, first))
                            - both_s * product(_get(c1, 0, both), _get(c2, d, _NONE))
                            - none_s * product(_get(c1, 0, _NONE), _get(c2, d, both))
                            - first_s * product(_get(c1, 0, first), _get(c2, d, second))
                            - second_s * product(_get(c1, 0, second), _get(c2, d, first))
                        )
                        total += amplitude.real**2 + amplitude.imag**2
    # two helicities of the electron, averaged over four
    return 0.5 * E2**4 * total


@njit(cache=True)
def matrix_element(root, minus, plus, k1, k2, mass):  # type: ignore[no-untyped-def]
    """Spin-averaged |M|^2 [GeV^-4] of e+ e- -> e+ e- gamma gamma.

    Final four-momenta (E, px, py, pz) of electron, positron and photons in the partonic CM frame of
    energy ``root`` with the electron along +z; ``mass`` is the electron's, 0 allowed.
    """
    return squared(root, minus, plus, k1, k2, polarisations(k1), polarisations(k2), mass)
