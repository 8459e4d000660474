"""From four-momenta to calorimeter clusters and tracks, one event at a time.

Every event uses its own random stream, so the result does not depend on how events are batched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alp_coffea.errors import ConfigurationError
from alp_coffea.physics.beams import Beams
from alp_coffea.rng import purpose_key
from alp_coffea.simulation import tracker
from alp_coffea.simulation.background import add_background, add_chosen
from alp_coffea.simulation.calorimeter import (
    DEPOSIT_FIELDS,
    ENERGY,
    MATRIX_SIDE,
    PHI,
    REGION,
    THETA,
    TIME,
    TRACK,
    TRUTH,
    angle_resolution,
    crystal_count,
    deposited_energy,
    measured_energy,
    merge,
    time_resolution,
    wrap,
    zernike,
)
from alp_coffea.simulation.constants import ELECTRON, MUON, PHOTON
from alp_coffea.simulation.draws import draw, normal_draw, start
from alp_coffea.simulation.settings import Detector

#: ``simulate``: each track is lost with the probability of the settings; ``weight``: all tracks
#: of charged generated particles are lost and the event gets that probability per track as weight
LostTracks = Literal["simulate", "weight"]
#: ``simulate``: each photon converts with the probability of the settings; ``weight``: exactly one
#: photon of every event converts where tracks are found, and the event gets that probability
Conversions = Literal["simulate", "weight"]
#: ``simulate``: beam background of all energies and times; ``weight``: every event gets one more
#: cluster of it that is energetic and in time, and the expected number of such clusters as weight
BeamPhotons = Literal["simulate", "weight"]

#: columns of the cluster array; truth is the row of the generated particle, -1 for none
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
#: columns of the track array, the first as :func:`alp_coffea.simulation.tracker.measure` fills
TRACK_COLUMNS: Final = (
    "charge",
    "p",
    "pt",
    "theta",
    "phi",
    "dr",
    "dz",
    "nCDCHits",
    "electronID",
    "muonID",
    "clusterE",
    "truth",
    "clusterTiming",
    "clusterErrorTiming",
    "d0",
    "z0",
    "clusterTheta",
    "clusterPhi",
    "helixExtTheta",
    "helixExtPhi",
    "clusterTrackMatch",
    "ptErr",
    "thetaErr",
    "phiErr",
)
_TRACK_CLUSTER: Final = 10
_TRACK_TRUTH: Final = 11
_TRACK_TIME: Final = 12
_TRACK_DIRECTION: Final = 16
_TRACK_MATCH: Final = 20

#: deposits and tracks an event can hold
_MAX_DEPOSITS: Final = 96
_MAX_TRACKS: Final = 32
#: 99 % of a Gaussian lies within this many standard deviations
_GAUSS_99: Final = 2.5758293035489004
#: largest minC2TDist [cm]
_DISTANCE_CAP: Final = 250.0


@dataclass(frozen=True)
class DetectedEvents:
    """Clusters without track and tracks of a batch of events.

    ``clusters`` has one row per :data:`CLUSTER_COLUMNS` and one column per cluster, ``tracks``
    one row per :data:`TRACK_COLUMNS`; ``cluster_counts`` and ``track_counts``, shape (n,), are
    their numbers per event and ``weight``, shape (n,), the weight for lost tracks.
    """

    clusters: NDArray[np.float64]
    cluster_counts: NDArray[np.int64]
    tracks: NDArray[np.float64]
    track_counts: NDArray[np.int64]
    weight: NDArray[np.float64]


def detect(
    p4: NDArray[np.float64],
    pdg: NDArray[np.int64],
    stable: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    *,
    seed: int,
    first: int,
    beams: Beams,
    detector: Detector,
    purpose: str = "",
    lost_tracks: LostTracks = "simulate",
    conversions: Conversions = "simulate",
    beam_photons: BeamPhotons = "simulate",
) -> DetectedEvents:
    """Detector response of events.

    Parameters
    ----------
    p4, pdg, stable
        Four-momenta (E, px, py, pz) [GeV] in the collision CM frame, shape (N, 4), PDG code and
        whether it reaches the detector, shape (N,), of all particles of all events. Photons,
        electrons and muons are seen.
    offsets
        Particles of event i are rows ``offsets[i]:offsets[i + 1]``, shape (n + 1,).
    seed, first, purpose
        Random streams: seed, number of the first event in the sample, and the sample's name.
    lost_tracks
        Whether lost tracks are simulated or a weight, see :data:`LostTracks`.
    conversions, beam_photons
        Whether photon conversions, and energetic clusters of the beam background in time with the
        collision, are simulated or a weight, see :data:`Conversions` and :data:`BeamPhotons`.

    Raises ConfigurationError for another value of these.
    """
    for name, value in (
        ("lost_tracks", lost_tracks),
        ("conversions", conversions),
        ("beam_photons", beam_photons),
    ):
        if value not in ("simulate", "weight"):
            raise ConfigurationError(f"detect: {name} = '{value}' must be 'simulate' or 'weight'")
    constants = detector.constants()
    events = offsets.size - 1
    clusters = np.empty((len(CLUSTER_COLUMNS), 1024 + events * _MAX_DEPOSITS))
    tracks = np.empty((len(TRACK_COLUMNS), 1024 + events * _MAX_TRACKS))
    counts = np.zeros((2, events), np.int64)
    weight = np.ones(events)
    used = _detect(
        p4,
        pdg,
        stable,
        offsets,
        purpose_key(seed, f"detector {purpose}"),
        first,
        beams.to_lab_matrix,
        lost_tracks == "weight",
        conversions == "weight",
        beam_photons == "weight",
        constants,
        clusters,
        tracks,
        counts,
        weight,
    )
    return DetectedEvents(
        clusters[:, : used[0]], counts[0], tracks[:, : used[1]], counts[1], weight
    )


@njit(cache=True)
def _detect(  # type: ignore[no-untyped-def]
    p4, pdg, stable, offsets, key, first, matrix, by_weight, convert_one, beam_photon,
    constants,
    clusters, tracks, counts, weight,
):  # fmt: skip
    d = constants[0]
    state = np.zeros(2, np.uint64)
    deposits = np.zeros((_MAX_DEPOSITS, DEPOSIT_FIELDS))
    shared = np.empty(_MAX_DEPOSITS)
    track = np.zeros((_MAX_TRACKS, len(TRACK_COLUMNS)))
    impact = np.empty((_MAX_TRACKS, 3))  # where tracks meet the calorimeter: theta, phi, radius
    cluster_total = np.int64(0)
    track_total = np.int64(0)
    for event in range(offsets.size - 1):
        start(state, key, first + event)
        occupancy = math.exp(
            d.background_occupancy_spread * normal_draw(state)
            - 0.5 * d.background_occupancy_spread**2
        )
        chosen = np.int64(-1)
        if convert_one:
            chosen, weight[event] = _choose(state, pdg, stable, offsets, event, d)
        # not literals: numba would compile every callee twice
        count = np.int64(0)
        found = np.int64(0)
        for i in range(offsets[event], offsets[event + 1]):
            if not stable[i] or count > _MAX_DEPOSITS - 4 or found > _MAX_TRACKS - 4:
                continue
            e = px = py = pz = 0.0
            for j in range(4):
                e += matrix[0, j] * p4[i, j]
                px += matrix[1, j] * p4[i, j]
                py += matrix[2, j] * p4[i, j]
                pz += matrix[3, j] * p4[i, j]
            theta = math.atan2(math.hypot(px, py), pz)
            phi = math.atan2(py, px)
            code = abs(pdg[i])
            truth = i - offsets[event]
            if code == PHOTON:
                fate = draw(state)
                if convert_one:
                    # the chosen photon converts, the others do not
                    tracked = d.conversion_tracked
                    fate = tracked * fate if i == chosen else tracked + (1.0 - tracked) * fate
                count, found = _photon(
                    state, fate, e, theta, phi, truth, deposits, count, track, impact, found, d
                )
            elif code in (ELECTRON, MUON):
                p = math.sqrt(px * px + py * py + pz * pz)
                charge = -1.0 if pdg[i] > 0 else 1.0
                lost = by_weight
                if by_weight and tracker.in_acceptance(theta, p * math.sin(theta), d):
                    weight[event] *= d.track_loss
                count, found = _charged(
                    state, e, p, theta, phi, charge, code, truth, 0.0, lost,
                    deposits, count, track, impact, found, d,
                )  # fmt: skip
        count = merge(deposits, count, shared, d)
        count = add_background(state, deposits, count, shared, occupancy, d)
        if beam_photon:
            count, expected = add_chosen(state, deposits, count, shared, occupancy, d)
            weight[event] *= expected

        before = cluster_total
        for k in range(count):
            cluster_total += _reconstruct(
                state, deposits[k], shared[k], occupancy, track, impact, found,
                clusters[:, cluster_total], d,
            )  # fmt: skip
        counts[0, event] = cluster_total - before
        for k in range(found):
            # clusters of tracks come from the collision; drawn last, so nothing else depends on it
            error = time_resolution(track[k, _TRACK_CLUSTER], occupancy, d)
            track[k, _TRACK_TIME] = error * normal_draw(state)
            track[k, _TRACK_TIME + 1] = _GAUSS_99 * error
            energy = track[k, _TRACK_CLUSTER]
            track[k, _TRACK_MATCH] = 0.0 if math.isnan(energy) else 1.0
            sigma = angle_resolution(energy, d)
            for j in range(_TRACK_DIRECTION, _TRACK_DIRECTION + 2):
                track[k, j] += sigma * normal_draw(state)
            track[k, _TRACK_DIRECTION + 1] = wrap(track[k, _TRACK_DIRECTION + 1])
            tracker.extrapolate(track[k], d)
            for column in range(track.shape[1]):
                tracks[column, track_total + k] = track[k, column]
        track_total += found
        counts[1, event] = found
    return cluster_total, track_total


@njit(cache=True)
def _add(state, deposits, count, energy, theta, phi, truth, track, d):  # type: ignore[no-untyped-def]
    """A shower at the calorimeter becomes a deposit, unless it misses it."""
    kept, where = deposited_energy(state, energy, theta, d)
    if where == 0:
        return count
    deposits[count, ENERGY] = kept
    deposits[count, THETA] = theta
    deposits[count, PHI] = wrap(phi)
    deposits[count, TIME] = 0.0
    deposits[count, TRUTH] = truth
    deposits[count, TRACK] = track
    deposits[count, REGION] = where
    return count + 1


@njit(cache=True)
def _photon(  # type: ignore[no-untyped-def]
    state, fate, energy, theta, phi, truth, deposits, count, track, impact, found, d
):
    """A photon showers, converts before or behind the tracker, splits or is lost."""
    if fate < d.conversion_tracked:
        share = draw(state)
        radius = _conversion_radius(fate / d.conversion_tracked, d)
        for part in range(2):
            e = energy * (share if part == 0 else 1.0 - share)
            count, found = _charged(
                state, e, e, theta, phi, 2.0 * part - 1.0, np.int64(ELECTRON), truth, radius,
                np.bool_(False),
                deposits, count, track, impact, found, d,
            )  # fmt: skip
        return count, found
    fate -= d.conversion_tracked
    if fate < d.conversion_untracked:
        share = draw(state)
        radius = d.conversion_radius_min + draw(state) * (
            d.conversion_radius_max - d.conversion_radius_min
        )
        for part in range(2):
            e = energy * (share if part == 0 else 1.0 - share)
            front = max(tracker.calorimeter_radius(theta, d), radius)
            turn = tracker.bend(e * math.sin(theta), 2.0 * part - 1.0, front, radius, d.track_field)
            if not math.isnan(turn):
                count = _add(state, deposits, count, e, theta, phi + turn, truth, -1, d)
        return count, found
    if draw(state) > d.efficiency:
        return count, found
    if draw(state) < d.splitting:
        fragment = min(0.5, -d.splitting_fraction * math.log(draw(state))) * energy
        direction = 2.0 * math.pi * draw(state)
        distance = d.splitting_distance_min + draw(state) * (
            d.splitting_distance_max - d.splitting_distance_min
        )
        count = _add(
            state, deposits, count, fragment,
            theta + distance * math.cos(direction),
            phi + distance * math.sin(direction) / math.sin(theta),
            -1, -1, d,
        )  # fmt: skip
        energy -= fragment
    return _add(state, deposits, count, energy, theta, phi, truth, -1, d), found


@njit(cache=True)
def _choose(state, pdg, stable, offsets, event, d):  # type: ignore[no-untyped-def]
    """One photon of the event at random, and the probability that exactly one converts."""
    photons = 0
    for i in range(offsets[event], offsets[event + 1]):
        if stable[i] and pdg[i] == PHOTON:
            photons += 1
    remaining = int(photons * draw(state))
    chosen = -1
    for i in range(offsets[event], offsets[event + 1]):
        if stable[i] and pdg[i] == PHOTON:
            if remaining == 0:
                chosen = i
            remaining -= 1
    if photons == 0:
        return chosen, 0.0
    tracked = d.conversion_tracked
    return chosen, photons * tracked * (1.0 - tracked) ** (photons - 1)


@njit(cache=True)
def _conversion_radius(u, d):  # type: ignore[no-untyped-def]
    """Radius [cm] of a conversion in the beam pipe or the vertex detector; u uniform in (0, 1)."""
    if u < d.conversion_pipe:
        return d.conversion_pipe_radius
    u = (u - d.conversion_pipe) / (1.0 - d.conversion_pipe)
    return d.conversion_vertex_min + u * (d.conversion_vertex_max - d.conversion_vertex_min)


@njit(cache=True)
def _charged(  # type: ignore[no-untyped-def]
    state, energy, p, theta, phi, charge, code, truth, radius, lost,
    deposits, count, track, impact, found, d,
):  # fmt: skip
    """A charged particle leaves a track, unless lost, and a deposit where it meets the crystals."""
    pt = p * math.sin(theta)
    index = -1
    if tracker.in_acceptance(theta, pt, d) and not lost and draw(state) >= d.track_loss:
        index = found
        tracker.measure(state, track[index], p, theta, phi, charge, code, radius, d)
        track[index, 4] = wrap(track[index, 4])
        track[index, _TRACK_CLUSTER] = math.nan
        track[index, _TRACK_TRUTH] = truth
        track[index, _TRACK_DIRECTION] = track[index, _TRACK_DIRECTION + 1] = math.nan
        impact[index, 0] = math.nan
        found += 1
    front = tracker.calorimeter_radius(theta, d)
    turn = tracker.bend(pt, charge, front, radius, d.track_field)
    if math.isnan(turn):
        return count, found
    if index >= 0:
        impact[index, 0] = theta
        impact[index, 1] = phi + turn
        impact[index, 2] = front / math.sin(theta)
    deposit = energy if code == ELECTRON else tracker.ionisation(state, energy, d)
    count = _add(state, deposits, count, deposit, theta, phi + turn, truth, index, d)
    return count, found


@njit(cache=True)
def _reconstruct(  # type: ignore[no-untyped-def]
    state, deposit, shared, occupancy, track, impact, found, cluster, d
):
    """Turn a deposit into a measured cluster; 1 if it is written, 0 if below threshold or
    matched to a track, whose cluster energy it then is.
    """
    true = deposit[ENERGY]
    background = deposit[TRUTH] < -1.0
    # the energy spectrum of the background is that of measured clusters
    energy = true if background else measured_energy(state, true, d)
    if energy < d.energy_threshold:
        return 0
    if deposit[TRACK] >= 0.0:
        matched = int(deposit[TRACK])
        track[matched, _TRACK_CLUSTER] = energy
        track[matched, _TRACK_DIRECTION] = deposit[THETA]
        track[matched, _TRACK_DIRECTION + 1] = deposit[PHI]
        return 0
    sigma = angle_resolution(true, d)
    theta = deposit[THETA] + sigma * normal_draw(state)
    if not 0.0 < theta < math.pi:
        return 0
    phi = wrap(deposit[PHI] + sigma * normal_draw(state))
    time_error = time_resolution(true, occupancy, d)
    # Shared crystals are divided between the clusters: their number is not an integer.
    hits = crystal_count(state, true, d) - 0.5 * shared * MATRIX_SIDE**2
    shape = zernike(state, d) - d.zernike_overlap * shared
    centre = d.e1e9_mean + d.e1e9_spread * normal_draw(state)
    if background:
        shape = draw(state)
        centre = d.background_e1e9_min + (1.0 - d.background_e1e9_min) * draw(state)
    cluster[0] = energy
    cluster[1] = theta
    cluster[2] = phi
    cluster[3] = deposit[TIME] + time_error * normal_draw(state)
    cluster[4] = _GAUSS_99 * time_error
    cluster[5] = max(1.0, hits)
    cluster[6] = min(max(shape, 0.0), 1.0)
    cluster[7] = min(max(centre, 0.1), 1.0)
    cluster[8] = _distance_to_track(theta, phi, impact, found)
    doubt = -math.log(draw(state))
    if background:
        cluster[9] = min(1.0, d.background_suppression_scale * doubt)
    else:
        cluster[9] = max(0.0, 1.0 - d.suppression_scale * doubt)
    cluster[10] = deposit[REGION]
    cluster[11] = max(-1.0, deposit[TRUTH])
    return 1


@njit(cache=True)
def _distance_to_track(theta, phi, impact, found):  # type: ignore[no-untyped-def]
    """Distance [cm] to the nearest track at the calorimeter; NaN if no track gets there."""
    nearest = math.nan
    for k in range(found):
        if math.isnan(impact[k, 0]):
            continue
        sine = math.sin(theta)
        along = theta - impact[k, 0]
        across = sine * wrap(phi - impact[k, 1])
        distance = min(impact[k, 2] * math.hypot(along, across), _DISTANCE_CAP)
        if math.isnan(nearest) or distance < nearest:
            nearest = distance
    return nearest
