"""Clusters that do not come from the collision: beam background, other crossings, cosmics."""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from alp_coffea.simulation.calorimeter import (
    ENERGY,
    PHI,
    REGION,
    THETA,
    TIME,
    TRACK,
    TRUTH,
    region,
    wrap,
)
from alp_coffea.simulation.draws import draw, poisson_draw

#: truth code of a background deposit (-1 marks a fragment of a real shower)
_BACKGROUND: Final = -2.0


@njit(cache=True)
def add_background(state, deposits, count, shared, occupancy, d):  # type: ignore[no-untyped-def]
    """Append background deposits to an event; returns the new number of deposits."""
    limit = len(shared)
    for _ in range(poisson_draw(state, d.background_clusters * occupancy)):
        if count < limit:
            energy = d.energy_threshold - d.background_energy_slope * math.log(draw(state))
            theta, where = _towards_beams(state, d)
            time = d.background_time_window * (2.0 * draw(state) - 1.0)
            count = _append(state, deposits, count, shared, energy, theta, where, time)
    if d.background_out_of_time > 0.0:
        for _ in range(poisson_draw(state, d.background_out_of_time)):
            if count < limit:
                range_ = d.background_out_of_time_energy_max / d.background_out_of_time_energy_min
                energy = d.background_out_of_time_energy_min * range_ ** draw(state)
                theta, where = _towards_beams(state, d)
                time = d.background_time_window * (2.0 * draw(state) - 1.0)
                count = _append(state, deposits, count, shared, energy, theta, where, time)
    if d.background_cosmics > 0.0 and draw(state) < d.background_cosmics and count + 2 <= limit:
        count = _cosmic(state, deposits, count, shared, d)
    return count


@njit(cache=True)
def add_chosen(state, deposits, count, shared, occupancy, d):  # type: ignore[no-untyped-def]
    """One more background deposit, energetic and in time; returns the number and the weight.

    The weight is the expected number of such deposits: what an event with a marked point of a
    Poisson process counts (J. Mecke, Z. Wahrsch. Verw. Geb. 9 (1967) 36). Sums over these events
    are sums over the in-time background clusters of ordinary events.
    """
    above = max(d.background_chosen_energy_min - d.energy_threshold, 0.0)
    in_time = min(d.background_chosen_time_window / d.background_time_window, 1.0)
    expected = d.background_clusters * occupancy * in_time
    expected *= math.exp(-above / d.background_energy_slope)
    if count >= len(shared):
        return count, 0.0
    energy = d.energy_threshold + above - d.background_energy_slope * math.log(draw(state))
    theta, where = _towards_beams(state, d)
    time = in_time * d.background_time_window * (2.0 * draw(state) - 1.0)
    return _append(state, deposits, count, shared, energy, theta, where, time), expected


@njit(cache=True)
def _towards_beams(state, d):  # type: ignore[no-untyped-def]
    """Polar angle flat in pseudorapidity, which favours the endcaps, and its region."""
    low = math.log(math.tan(0.5 * d.forward_min))
    high = math.log(math.tan(0.5 * d.backward_max))
    while True:
        theta = 2.0 * math.atan(math.exp(low + (high - low) * draw(state)))
        where = region(theta, d)
        if where != 0:
            return theta, where


@njit(cache=True)
def _cosmic(state, deposits, count, shared, d):  # type: ignore[no-untyped-def]
    """A muon from above crosses the barrel: two deposits on a line, seen at the same time.

    It misses the interaction point by up to half the radius, so no good track belongs to it.
    """
    time = d.background_time_window * (2.0 * draw(state) - 1.0)
    entry = 0.5 * math.pi + 0.5 * (2.0 * draw(state) - 1.0)
    turn = math.pi - math.asin(0.5 * (2.0 * draw(state) - 1.0))
    low = math.cos(d.barrel_max)
    span = math.cos(d.barrel_min) - low
    for part in range(2):
        energy = d.track_mip_energy - d.background_cosmics_energy * math.log(draw(state))
        theta = math.acos(low + span * draw(state))
        where = region(theta, d)
        count = _append(state, deposits, count, shared, energy, theta, where, time)
        deposits[count - 1, PHI] = wrap(entry + part * turn)
    return count


@njit(cache=True)
def _append(state, deposits, count, shared, energy, theta, where, time):  # type: ignore[no-untyped-def]
    deposits[count, ENERGY] = energy
    deposits[count, THETA] = theta
    deposits[count, PHI] = math.pi * (2.0 * draw(state) - 1.0)
    deposits[count, TIME] = time
    deposits[count, TRUTH] = _BACKGROUND
    deposits[count, TRACK] = -1.0
    deposits[count, REGION] = where
    shared[count] = 0.0
    return count + 1
