"""Compiled twins of the hot path: choosing three photons, and what is computed from a triple.

Each kernel does in one pass over the events what :mod:`alp_coffea.physics.kinematics` says in
formulas; tests hold the two together. Energies and masses in GeV, angles in rad, times in ns;
triples have shape (n, 3), photons sorted by descending energy.

Photons are flat arrays over all events, event ``i`` owning ``offsets[i]`` to ``offsets[i + 1]``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alp_coffea.physics.constants import TWO_PI


@njit(cache=True, inline="always")
def _possible(energy, theta, phi):  # type: ignore[no-untyped-def]
    """Scalar twin of ``kinematics.valid_photon``."""
    # & instead of and: without branches, which are hard to predict here
    return (
        (energy > 0.0)
        & (energy < math.inf)
        & (theta >= 0.0)
        & (theta <= math.pi)
        & (abs(phi) <= TWO_PI)
    )


@njit(cache=True)
def count_impossible(energy, theta, phi):  # type: ignore[no-untyped-def]
    """Number of photons whose energy or angles cannot be."""
    bad = 0
    for i in range(len(energy)):
        if not _possible(energy[i], theta[i], phi[i]):
            bad += 1
    return bad


@njit(cache=True, inline="always")
def _accepts(  # type: ignore[no-untyped-def]
    j, energy, theta, quality, energy_min, theta_low, theta_high, quality_min
):
    """Whether photon j passes the cuts of an acceptance, see :func:`three_most_energetic`."""
    return (
        (energy[j] >= energy_min)
        & (theta[j] > theta_low)
        & (theta[j] < theta_high)
        & ((quality_min == -math.inf) | (quality[j] > quality_min))
    )


@njit(cache=True, inline="always")
def _three_of_event(  # type: ignore[no-untyped-def]
    start, stop, energy, theta, phi, quality, energy_min, theta_low, theta_high, quality_min
):
    """Indices of the three most energetic of the accepted photons of an event, else -1."""
    first = second = third = -1.0
    one = two = three = -1
    for j in range(start, stop):
        accepted = _accepts(
            j, energy, theta, quality, energy_min, theta_low, theta_high, quality_min
        )
        if not accepted or not _possible(energy[j], theta[j], phi[j]):
            continue
        e = np.float64(energy[j])
        if e > first:
            first, second, third = e, first, second
            one, two, three = j, one, two
        elif e > second:
            second, third = e, second
            two, three = j, two
        elif e > third:
            third = e
            three = j
    return one, two, three


@njit(cache=True)
def three_most_energetic(  # type: ignore[no-untyped-def]
    offsets, energy, theta, phi, quality, energy_min, theta_low, theta_high, quality_min
):
    """Flat indices of the three most energetic photons inside an acceptance, ties in input order.

    Parameters
    ----------
    offsets
        (n + 1,) int64.
    energy, theta, phi, quality
        Flat photon columns; ``quality`` may be any further one, such as the number of crystals.
    energy_min, theta_low, theta_high, quality_min
        A photon counts if it is possible, ``energy >= energy_min``,
        ``theta_low < theta < theta_high`` and ``quality > quality_min`` (which -inf switches
        off, also for missing values).

    Returns
    -------
    event, index
        Positions (m,) of the events with at least three such photons, and their triples (m, 3).
    """
    n = len(offsets) - 1
    event = np.empty(n, np.int64)
    index = np.empty((n, 3), np.int64)
    found = 0
    for i in range(n):
        if offsets[i + 1] - offsets[i] < 3:
            continue
        one, two, three = _three_of_event(
            offsets[i], offsets[i + 1], energy, theta, phi, quality,
            energy_min, theta_low, theta_high, quality_min,
        )  # fmt: skip
        if three >= 0:
            event[found] = i
            index[found, 0], index[found, 1], index[found, 2] = one, two, three
            found += 1
    return event[:found].copy(), index[:found].copy()


@njit(cache=True)
def three_of_narrower(  # type: ignore[no-untyped-def]
    event, index, offsets, energy, theta, phi, quality,
    energy_min, theta_low, theta_high, quality_min,
):  # fmt: skip
    """The same for an acceptance inside that of known triples, mostly without looking again.

    Parameters
    ----------
    event, index
        Result (m,), (m, 3) of a wider acceptance; the others as in :func:`three_most_energetic`.

    Returns
    -------
    row, index, same
        Rows (k,) of ``event`` that still have three photons, their triples (k, 3), and whether
        these are the known ones (k,).
    """
    row = np.empty(len(event), np.int64)
    chosen = np.empty((len(event), 3), np.int64)
    same = np.empty(len(event), np.bool_)
    found = 0
    for k in range(len(event)):
        one, two, three = index[k, 0], index[k, 1], index[k, 2]
        if energy[three] < energy_min:
            continue  # no other third photon has more
        known = True
        for c in range(3):
            known = known and _accepts(
                index[k, c], energy, theta, quality, energy_min, theta_low, theta_high, quality_min
            )
        if not known:
            i = event[k]
            if offsets[i + 1] - offsets[i] == 3:
                continue
            one, two, three = _three_of_event(
                offsets[i], offsets[i + 1], energy, theta, phi, quality,
                energy_min, theta_low, theta_high, quality_min,
            )  # fmt: skip
            if three < 0:
                continue
        row[found], same[found] = k, known
        chosen[found, 0], chosen[found, 1], chosen[found, 2] = one, two, three
        found += 1
    return row[:found].copy(), chosen[:found].copy(), same[:found].copy()


@njit(cache=True, inline="always")
def _wrapped(phi1, phi2):  # type: ignore[no-untyped-def]
    """Scalar twin of ``kinematics.delta_phi``."""
    difference = phi1 - phi2
    return abs(difference - TWO_PI * np.rint(difference / TWO_PI))


@njit(cache=True)
def pair_masses2(energy, theta, phi):  # type: ignore[no-untyped-def]
    """Twin of ``kinematics.pair_masses2``: (n, 3), column c is the pair without photon c."""
    masses2 = np.empty(energy.shape)
    sine = np.empty(3)
    for i in range(len(energy)):
        for c in range(3):
            sine[c] = math.sin(theta[i, c])
        for c in range(3):
            one, two = (1 if c == 0 else 0), (1 if c == 2 else 2)
            polar = math.sin(0.5 * (theta[i, one] - theta[i, two]))
            azimuth = math.sin(0.5 * (phi[i, one] - phi[i, two]))
            sine2 = polar * polar + sine[one] * sine[two] * (azimuth * azimuth)
            masses2[i, c] = 4 * energy[i, one] * energy[i, two] * sine2
    return masses2


@njit(cache=True)
def recoil_masses2(energy, theta, phi, momentum, sqrt_s):  # type: ignore[no-untyped-def]
    """Twin of ``kinematics.recoil_mass2`` of ``energy_cm``: (n, 3), against each photon.

    ``momentum`` is the beams' total four-momentum.
    """
    total = momentum / sqrt_s
    masses2 = np.empty(energy.shape)
    for i in range(len(energy)):
        for c in range(3):
            transverse = total[1] * math.cos(phi[i, c])
            if total[2] != 0:
                transverse = transverse + total[2] * math.sin(phi[i, c])
            e = energy[i, c]
            e_cm = e * total[0] - e * (
                math.sin(theta[i, c]) * transverse + total[3] * math.cos(theta[i, c])
            )
            masses2[i, c] = sqrt_s * (sqrt_s - 2 * e_cm)
    return masses2


@njit(cache=True)
def pair_angles(theta, phi):  # type: ignore[no-untyped-def]
    """Absolute (delta theta, wrapped delta phi) of the pair without photon c: two (n, 3)."""
    delta_theta = np.empty(theta.shape)
    delta_phi = np.empty(theta.shape)
    for i in range(len(theta)):
        for c in range(3):
            one, two = (1 if c == 0 else 0), (1 if c == 2 else 2)
            delta_theta[i, c] = abs(theta[i, one] - theta[i, two])
            delta_phi[i, c] = _wrapped(phi[i, one], phi[i, two])
    return delta_theta, delta_phi


@njit(cache=True)
def most_isolated(delta_theta, delta_phi):  # type: ignore[no-untyped-def]
    """Twin of ``kinematics.most_isolated``, from pair angles: index (n,), lower wins ties."""
    isolated = np.zeros(len(delta_theta), np.int64)
    for i in range(len(delta_theta)):
        nearest = math.inf
        for c in range(3):
            distance2 = delta_theta[i, c] ** 2 + delta_phi[i, c] ** 2
            if distance2 < nearest:
                nearest = distance2
                isolated[i] = c
    return isolated


@njit(cache=True, error_model="numpy")
def timing_chi(time, dt99):  # type: ignore[no-untyped-def]
    """Twin of ``kinematics.timing_chi``: (n,), NaN if any input is bad."""
    largest = np.empty(len(time))
    for i in range(len(time)):
        weighted = total = 0.0
        for c in range(3):
            weight = 1 / (dt99[i, c] * dt99[i, c]) if dt99[i, c] > 0 else math.nan
            weighted += time[i, c] * weight
            total += weight
        mean = weighted / total
        worst = 0.0
        for c in range(3):
            pull = abs(time[i, c] - mean) / dt99[i, c]
            # a comparison with NaN is false: let it through
            if not pull <= worst:
                worst = pull
        largest[i] = worst + 0.0 * mean
    return largest
