"""Track quantities of a search with leptons: helix, calorimeter match, displaced conversions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from test_detector import CLUSTER, IDEAL, TRACK, change, shoot

from alp_coffea.errors import ConfigurationError
from alp_coffea.simulation import tracker

FIELD = 1.5


@pytest.mark.parametrize("charge", [1.0, -1.0])
@pytest.mark.parametrize("radius", [0.0, 1.1, 8.0, 16.0])
@pytest.mark.parametrize(("pt", "theta"), [(0.15, 0.6), (1.0, 1.4), (4.0, 2.3)])
def test_perigee_is_the_closest_point_of_the_helix(
    charge: float, radius: float, pt: float, theta: float
) -> None:
    """The helix stepped backwards from (R, 0), where it runs along +x."""
    bending = pt / (0.00299792458 * FIELD)

    def point(turn: float) -> tuple[float, float, float]:
        # clockwise for positive charge in a field along +z; ``turn`` is the arc back from R
        x = radius - bending * math.sin(turn)
        y = charge * bending * (math.cos(turn) - 1.0)
        return x, y, (radius - bending * turn) / math.tan(theta)

    best = minimize_scalar(
        lambda turn: math.hypot(*point(turn)[:2]), bounds=(-0.1, 1.5), method="bounded",
        options={"xatol": 1e-12},
    ).x  # fmt: skip
    x, y, z = point(best)
    turn, d0, z0 = tracker.perigee(pt, theta, charge, radius, FIELD)
    direction = charge * best
    assert turn == pytest.approx(direction, abs=1e-6)
    # d0 > 0 where the angular momentum about z is positive
    momentum = x * math.sin(direction) - y * math.cos(direction)
    assert d0 == pytest.approx(momentum, abs=1e-6)
    assert abs(d0) == pytest.approx(math.hypot(x, y), abs=1e-6)
    assert z0 == pytest.approx(z, abs=1e-4)


def test_prompt_tracks_come_from_the_origin() -> None:
    n = 20_000
    tracks = shoot([(11, 3.0, 1.4, 0.5)], n).tracks
    d0, z0 = tracks[TRACK["d0"]], tracks[TRACK["z0"]]
    np.testing.assert_array_equal(np.abs(d0), tracks[TRACK["dr"]])
    np.testing.assert_array_equal(z0, tracks[TRACK["dz"]])
    d = IDEAL.tracker
    scattering = d.impact_scattering / (3.0 * math.sin(1.4) ** 1.5)
    for values, constant in ((d0, d.impact_transverse), (z0, d.impact_longitudinal)):
        sigma = math.hypot(constant, scattering)
        assert values.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * n))
        assert abs(values.mean()) < 4 * sigma / math.sqrt(n)


def test_conversions_start_where_material_is() -> None:
    """R from the sagitta of both tracks: |d0| rho summed is R^2 up to higher orders."""
    sharp = {"impact_transverse": 0.0, "impact_longitudinal": 0.0, "impact_scattering": 0.0}
    sharp |= {"momentum_curvature": 0.0, "momentum_scattering": 0.0, "angle": 0.0}
    detector = change(IDEAL, calorimeter={"conversion_tracked": 0.5}, tracker=sharp)
    seen = shoot([(22, 4.0, 1.4, 0.0)], 20_000, detector)
    tracks = seen.tracks
    bending = tracks[TRACK["pt"]] / (0.00299792458 * detector.tracker.field)
    distance = np.abs(tracks[TRACK["d0"]])
    # d0 = sqrt(R^2 + rho^2) - rho
    radius = np.sqrt(distance * (distance + 2 * bending))
    d = detector.calorimeter
    pipe = np.isclose(radius, d.conversion_pipe_radius, rtol=1e-6)
    # few lose a track: both of a pair are counted
    assert pipe.mean() == pytest.approx(d.conversion_pipe, abs=0.02)
    others = radius[~pipe]
    assert others.min() > d.conversion_vertex_min - 1e-6
    assert others.max() < d.conversion_vertex_max + 1e-6
    assert others.mean() == pytest.approx(
        0.5 * (d.conversion_vertex_min + d.conversion_vertex_max), rel=0.02
    )
    # opposite charges pass the origin on opposite sides
    assert (tracks[TRACK["charge"]] * tracks[TRACK["d0"]] > 0).all()


def test_one_conversion_as_a_weight() -> None:
    """All events have one pair; the weighted spectrum is that of simulated conversions."""
    n = 40_000
    photons = [(22, 3.0, 1.4, 0.0), (22, 2.5, 1.0, 2.0), (22, 4.0, 1.8, -2.0)]
    detector = change(IDEAL, calorimeter={"conversion_tracked": 0.02})
    weighted = shoot(photons, n, detector, conversions="weight")
    p = 0.02
    np.testing.assert_allclose(weighted.weight, 3 * p * (1 - p) ** 2, rtol=1e-12)
    two = weighted.track_counts == 2
    assert two.mean() > 0.8  # the rest has a track below the smallest pT
    chosen = np.bincount(weighted.tracks[TRACK["truth"]].astype(int), minlength=3)
    assert chosen / chosen.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    simulated = shoot(photons, n, detector)
    assert (simulated.weight == 1).all()
    found = (simulated.track_counts == 2).mean()
    expected = weighted.weight[0] * two.mean()
    assert found == pytest.approx(expected, abs=4 * math.sqrt(found / n))
    neutral = shoot([(11, 3.0, 1.4, 0.5)], 10, detector, conversions="weight")
    assert (neutral.weight == 0).all()


def test_one_beam_photon_as_a_weight() -> None:
    """Energetic in-time background clusters per event, counted and weighted."""
    window = 200.0  # wide, so that ordinary events have enough of them
    settings = {"clusters": 3.0, "chosen_energy_min": 0.07, "chosen_time_window": window}
    detector = change(IDEAL, background=settings)

    def spectrum(n: int, seed: int, **options: str) -> tuple[np.ndarray, np.ndarray]:
        seen = shoot([(22, 2.0, 1.4, 0.5)], n, detector, seed=seed, **options)
        weight = np.repeat(seen.weight, seen.cluster_counts)
        energy, time = (seen.clusters[CLUSTER[name]] for name in ("E", "clusterTiming"))
        chosen = (seen.clusters[CLUSTER["truth"]] < 0) & (energy > 0.1) & (np.abs(time) < 100)
        if options:
            # the added cluster is the last one of its event
            last = np.zeros(weight.size, bool)
            last[np.cumsum(seen.cluster_counts) - 1] = True
            chosen &= last
        edges = [0.1, 0.13, 0.17, 0.23, 1.0]
        counts, _ = np.histogram(energy[chosen], edges, weights=weight[chosen])
        squares, _ = np.histogram(energy[chosen], edges, weights=weight[chosen] ** 2)
        return counts / n, squares / n**2

    ordinary, error1 = spectrum(100_000, 1)
    weighted, error2 = spectrum(20_000, 2, beam_photons="weight")
    pulls = (ordinary - weighted) / np.sqrt(error1 + error2)
    assert np.abs(pulls).max() < 4
    assert np.sqrt(error2).max() < 0.1 * weighted.max()


@pytest.mark.parametrize("name", ["conversions", "beam_photons"])
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} = 'all' must be 'simulate' or 'weight'"):
        shoot([(22, 3.0, 1.4, 0.0)], 1, **{name: "all"})


@pytest.mark.parametrize("pdg", [11, -11])
def test_tracks_point_to_their_clusters(pdg: int) -> None:
    n = 20_000
    theta, phi, energy = 1.3, 2.9, 1.5
    tracks = shoot([(pdg, energy, theta, phi)], n).tracks
    matched = tracks[TRACK["clusterTrackMatch"]] == 1
    np.testing.assert_array_equal(matched, np.isfinite(tracks[TRACK["clusterE"]]))
    assert matched.mean() > 0.95
    tracks = tracks[:, matched]
    d = IDEAL.calorimeter
    across = tracks[TRACK["clusterPhi"]] - tracks[TRACK["helixExtPhi"]]
    across = np.remainder(across + math.pi, 2 * math.pi) - math.pi
    along = tracks[TRACK["clusterTheta"]] - tracks[TRACK["helixExtTheta"]]
    sigma = math.hypot(d.angle_constant, d.angle_stochastic / math.sqrt(energy))
    for values in (along, across):
        assert values.mean() == pytest.approx(0, abs=4 * sigma / math.sqrt(n) + 2e-4)
        assert values.std() == pytest.approx(sigma, rel=0.1)
    # the field turns negative charges to larger phi
    bent = np.remainder(tracks[TRACK["helixExtPhi"]] - phi + math.pi, 2 * math.pi) - math.pi
    assert np.sign(bent.mean()) == np.sign(pdg)
    assert abs(bent.mean()) > 0.1


def test_tracks_that_curl_up_reach_no_cluster() -> None:
    tracks = shoot([(11, 0.2, 1.5, 0.3)], 1000).tracks
    assert tracks.shape[1] == 1000
    assert (tracks[TRACK["clusterTrackMatch"]] == 0).all()
    for name in ("clusterE", "clusterTheta", "clusterPhi", "helixExtTheta", "helixExtPhi"):
        assert np.isnan(tracks[TRACK[name]]).all()
