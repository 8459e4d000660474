"""From four-momenta to calorimeter clusters and tracks, one event at a time.

Every event uses its own random stream, so the result does not depend on how events are batched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alp_coffea.physics.beams import Beams
from alp_coffea.rng import purpose_key
from alp_coffea.simulation.calorimeter import (
    MATRIX_SIDE,
    angle_resolution,
    crystal_count,
    crystal_distance,
    measured_energy,
    region,
    time_resolution,
    wrap,
    zernike,
)
from alp_coffea.simulation.draws import draw, normal_draw, poisson_draw, start
from alp_coffea.simulation.settings import Detector

#: columns of the cluster array; TRUTH is the row of the generated particle, -1 for none
CLUSTER_COLUMNS: Final = (
    "E",
    "theta",
    "phi",
    "clusterTiming",
    "clusterErrorTiming",
    "clusterNHits",
    "clusterZernikeMVA",
    "clusterE1E9",
    "minC2TDist",
    "beamBackgroundSuppression",
    "clusterReg",
    "truth",
)
(
    _E,
    _THETA,
    _PHI,
    _TIME,
    _DT99,
    _HITS,
    _ZERNIKE,
    _E1E9,
    _TRACK_DISTANCE,
    _SUPPRESSION,
    _REGION,
    _TRUTH,
) = range(len(CLUSTER_COLUMNS))

#: deposits an event can hold: generated particles, their secondaries and background
_MAX_DEPOSITS: Final = 96
#: 99 % of a Gaussian lies within this many standard deviations
_GAUSS_99: Final = 2.5758293035489004


@dataclass(frozen=True)
class DetectedEvents:
    """Clusters of a batch of events.

    ``clusters`` has one row per :data:`CLUSTER_COLUMNS` and one column per cluster;
    ``cluster_counts``, shape (n,), is the number of clusters of each event.
    """

    clusters: NDArray[np.float64]
    cluster_counts: NDArray[np.int64]


def detect(
    p4: NDArray[np.float64],
    stable: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    *,
    seed: int,
    first: int,
    beams: Beams,
    detector: Detector,
    purpose: str = "",
) -> DetectedEvents:
    """Detector response of events.

    Parameters
    ----------
    p4
        Four-momenta (E, px, py, pz) [GeV] of all particles of all events, shape (N, 4), in the
        collision CM frame.
    stable
        Which particles reach the detector, shape (N,).
    offsets
        Particles of event i are rows ``offsets[i]:offsets[i + 1]``, shape (n + 1,).
    seed, first, purpose
        Random streams: seed, number of the first event in the sample, and the sample's name.
    """
    constants = detector.constants()
    events = offsets.size - 1
    capacity = p4.shape[0] + events * (8 + int(3 * constants.background_clusters))
    clusters = np.empty((len(CLUSTER_COLUMNS), capacity))
    counts = np.zeros(events, np.int64)
    used = _detect(
        p4,
        stable,
        offsets,
        purpose_key(seed, f"detector {purpose}"),
        first,
        beams.to_lab_matrix,
        constants,
        clusters,
        counts,
    )
    return DetectedEvents(clusters[:, :used], counts)


@njit(cache=True)
def _detect(p4, stable, offsets, key, first, matrix, d, clusters, counts):  # type: ignore[no-untyped-def]
    state = np.zeros(2, np.uint64)
    energy = np.empty(_MAX_DEPOSITS)
    theta = np.empty(_MAX_DEPOSITS)
    phi = np.empty(_MAX_DEPOSITS)
    truth = np.empty(_MAX_DEPOSITS, np.int64)
    shared = np.empty(_MAX_DEPOSITS)
    used = 0
    capacity = clusters.shape[1]
    for event in range(offsets.size - 1):
        start(state, key, first + event)
        deposits = 0
        for i in range(offsets[event], offsets[event + 1]):
            if not stable[i] or deposits == _MAX_DEPOSITS:
                continue
            e = px = py = pz = 0.0
            for j in range(4):
                e += matrix[0, j] * p4[i, j]
                px += matrix[1, j] * p4[i, j]
                py += matrix[2, j] * p4[i, j]
                pz += matrix[3, j] * p4[i, j]
            polar = math.atan2(math.hypot(px, py), pz)
            if region(polar, d) == 0 or draw(state) > d.efficiency:
                continue
            energy[deposits] = e
            theta[deposits] = polar
            phi[deposits] = math.atan2(py, px)
            truth[deposits] = i - offsets[event]
            deposits += 1
        deposits = _merge(energy, theta, phi, truth, shared, deposits, d)

        before = used
        for k in range(deposits):
            if used == capacity:
                break
            e = energy[k]
            reco = measured_energy(state, e, d)
            sigma = angle_resolution(e, d)
            polar = theta[k] + sigma * normal_draw(state)
            azimuth = wrap(phi[k] + sigma * normal_draw(state))
            resolution = time_resolution(e, d)
            time = resolution * normal_draw(state)
            # Shared crystals are split between the clusters: the count is not an integer.
            hits = max(1.0, crystal_count(state, e, d) - 0.5 * shared[k] * MATRIX_SIDE**2)
            shape = zernike(state, d) - d.zernike_overlap * shared[k]
            centre = 0.75 - 0.12 * draw(state) + 0.06 * normal_draw(state)
            # reconstruction acts on measured values: threshold and crystal region
            if reco < d.energy_threshold or not 0.0 < polar < math.pi:
                continue
            clusters[_E, used] = reco
            clusters[_THETA, used] = polar
            clusters[_PHI, used] = azimuth
            clusters[_TIME, used] = time
            clusters[_DT99, used] = _GAUSS_99 * resolution
            clusters[_HITS, used] = hits
            clusters[_ZERNIKE, used] = min(max(shape, 0.0), 1.0)
            clusters[_E1E9, used] = min(max(centre, 0.1), 1.0)
            clusters[_TRACK_DISTANCE, used] = math.nan
            clusters[_SUPPRESSION, used] = max(0.0, 1.0 + 0.02 * math.log(draw(state)))
            clusters[_REGION, used] = region(polar, d)
            clusters[_TRUTH, used] = truth[k]
            used += 1
        for _ in range(poisson_draw(state, d.background_clusters)):
            if used == capacity:
                break
            _background_cluster(state, clusters, used, d)
            used += 1
        counts[event] = used - before
    return used


@njit(cache=True)
def _merge(energy, theta, phi, truth, shared, deposits, d):  # type: ignore[no-untyped-def]
    """Merge deposits whose seed crystals touch; note what fraction of a cluster is shared.

    Two local maxima need a crystal between them (R0 section 3.4.2.1). The merged cluster keeps
    the truth of the more energetic deposit and the energy-weighted direction.
    """
    merged = True
    while merged:
        merged = False
        for a in range(deposits):
            for b in range(a + 1, deposits):
                rings, columns = crystal_distance(theta[a], phi[a], theta[b], phi[b], d)
                if max(rings, columns) > 1:
                    continue
                total = energy[a] + energy[b]
                fraction = energy[b] / total
                theta[a] += fraction * (theta[b] - theta[a])
                phi[a] = wrap(phi[a] + fraction * wrap(phi[b] - phi[a]))
                if energy[b] > energy[a]:
                    truth[a] = truth[b]
                energy[a] = total
                deposits -= 1
                energy[b], theta[b], phi[b] = energy[deposits], theta[deposits], phi[deposits]
                truth[b] = truth[deposits]
                merged = True
                break
            if merged:
                break
    for a in range(deposits):
        shared[a] = 0.0
    for a in range(deposits):
        for b in range(a + 1, deposits):
            rings, columns = crystal_distance(theta[a], phi[a], theta[b], phi[b], d)
            if max(rings, columns) < MATRIX_SIDE:
                overlap = (MATRIX_SIDE - rings) * (MATRIX_SIDE - columns) / MATRIX_SIDE**2
                # the more energetic cluster keeps the larger share of the common crystals
                shared[a] += 2.0 * overlap * energy[b] / (energy[a] + energy[b])
                shared[b] += 2.0 * overlap * energy[a] / (energy[a] + energy[b])
    return deposits


@njit(cache=True)
def _background_cluster(state, clusters, k, d):  # type: ignore[no-untyped-def]
    """Write one beam-background cluster into column ``k``: soft, out of time, anywhere."""
    energy = d.energy_threshold - d.background_energy_slope * math.log(draw(state))
    while True:
        # flat in pseudorapidity: towards the beams, where most background is
        low = math.log(math.tan(0.5 * d.forward_min))
        high = math.log(math.tan(0.5 * d.backward_max))
        polar = 2.0 * math.atan(math.exp(low + (high - low) * draw(state)))
        if region(polar, d) != 0:
            break
    clusters[_E, k] = energy
    clusters[_THETA, k] = polar
    clusters[_PHI, k] = wrap(math.pi * (2.0 * draw(state) - 1.0))
    clusters[_TIME, k] = d.background_time_window * (2.0 * draw(state) - 1.0)
    clusters[_DT99, k] = _GAUSS_99 * time_resolution(energy, d)
    clusters[_HITS, k] = crystal_count(state, energy, d)
    clusters[_ZERNIKE, k] = draw(state)
    clusters[_E1E9, k] = 0.3 + 0.7 * draw(state)
    clusters[_TRACK_DISTANCE, k] = math.nan
    clusters[_SUPPRESSION, k] = min(1.0, -0.1 * math.log(draw(state)))
    clusters[_REGION, k] = region(polar, d)
    clusters[_TRUTH, k] = -1
