"""Detector response of particles shot at known places."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from alp_coffea.errors import ConfigurationError
from alp_coffea.physics.beams import SUPERKEKB
from alp_coffea.simulation import Detector, calorimeter, generate
from alp_coffea.simulation.columns import Particles
from alp_coffea.simulation.detector import CLUSTER_COLUMNS, TRACK_COLUMNS, detect

CLUSTER = {name: i for i, name in enumerate(CLUSTER_COLUMNS)}
TRACK = {name: i for i, name in enumerate(TRACK_COLUMNS)}
#: nothing but the response under test
IDEAL = Detector.model_validate(
    {
        "calorimeter": {
            "efficiency": 1.0,
            "conversion_tracked": 0.0,
            "conversion_untracked": 0.0,
            "splitting": 0.0,
        },
        "background": {"clusters": 0.0},
        "tracker": {"loss": 0.0},
    }
)


def change(detector: Detector, **groups: dict) -> Detector:
    return Detector.model_validate(
        {name: {**values, **groups.get(name, {})} for name, values in detector.model_dump().items()}
    )


def shoot(particles, n, detector=IDEAL, *, seed=1, first=0, **options):
    """Detector response of ``n`` events of the same (pdg, energy, theta, phi) lab particles."""
    p4 = []
    for pdg, energy, theta, phi in particles:
        mass = {22: 0.0, 11: 0.000511, 13: 0.1057}[abs(pdg)]
        p = math.sqrt(energy**2 - mass**2)
        p4.append(
            [
                energy,
                p * math.sin(theta) * math.cos(phi),
                p * math.sin(theta) * math.sin(phi),
                p * math.cos(theta),
            ]
        )
    k = len(particles)
    return detect(
        np.tile(SUPERKEKB.to_cm(p4), (n, 1)),
        np.tile(np.array([p[0] for p in particles]), n),
        np.ones(n * k, bool),
        np.arange(n + 1) * k,
        seed=seed,
        first=first,
        beams=SUPERKEKB,
        detector=detector,
        **options,
    )


@pytest.mark.parametrize("energy", [0.2, 1.0, 5.0])
def test_photon_energy_and_angles(energy: float) -> None:
    n = 40_000
    seen = shoot([(22, energy, 1.4, 0.5)], n)
    clusters = seen.clusters
    assert (seen.cluster_counts == 1).mean() > 0.9998  # the tail reaches the threshold
    resolution = math.hypot(math.hypot(0.02 / math.sqrt(energy), 0.016), 0.003 / energy)
    pulls = (clusters[CLUSTER["E"]] / energy - 1) / resolution
    assert stats.kstest(pulls, stats.crystalball(1.2, 6.0).cdf).pvalue > 1e-3
    sigma = math.hypot(0.003, 0.0035 / math.sqrt(energy))
    for name, true in (("theta", 1.4), ("phi", 0.5)):
        assert stats.kstest((clusters[CLUSTER[name]] - true) / sigma, "norm").pvalue > 1e-3


def test_time_is_within_dt99_for_99_percent_and_grows_at_low_energy() -> None:
    medians = []
    for energy in (0.1, 1.0, 5.0):
        clusters = shoot([(22, energy, 1.4, 0.5)], 40_000).clusters
        time, dt99 = clusters[CLUSTER["clusterTiming"]], clusters[CLUSTER["clusterErrorTiming"]]
        assert (np.abs(time) < dt99).mean() == pytest.approx(0.99, abs=0.002)
        medians.append(np.median(dt99))
    assert medians[0] > 2 * medians[1] > 2 * medians[2]


def test_efficiency() -> None:
    n = 40_000
    detector = change(IDEAL, calorimeter={"efficiency": 0.9})
    found = shoot([(22, 2.0, 1.4, 0.5)], n, detector).cluster_counts.mean()
    assert found == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / n))


@pytest.mark.parametrize(
    ("degrees", "regions"),
    [
        (8.0, set()),
        (20.0, {1.0}),
        (31.8, {11.0}),
        (80.0, {2.0}),
        (130.0, {13.0}),
        (145.0, {3.0}),
        (160.0, set()),
    ],
)
def test_regions_and_gaps(degrees: float, regions: set) -> None:
    seen = shoot([(22, 2.0, math.radians(degrees), 0.5)], 400)
    assert set(seen.clusters[CLUSTER["clusterReg"]]) == regions
    if regions & {11.0, 13.0}:
        assert 0.3 < seen.cluster_counts.mean() < 0.7
        assert seen.clusters[CLUSTER["E"]].mean() < 1.3


def test_energy_leaks_at_the_edge_of_the_barrel() -> None:
    edge = shoot([(22, 3.0, math.radians(32.5), 0.5)], 4000).clusters[CLUSTER["E"]].mean()
    centre = shoot([(22, 3.0, math.radians(80.0), 0.5)], 4000).clusters[CLUSTER["E"]].mean()
    assert 0.85 < edge / centre < 0.97


def crystal_centre(ring: int, column: int) -> tuple[float, float]:
    pitch = (128.7 - 32.3) / 46
    theta = math.radians(32.3 + (ring + 0.5) * pitch)
    return theta, -math.pi + (column + 0.5) * 2 * math.pi / 144


@pytest.mark.parametrize(("rings", "columns"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_touching_crystals_merge(rings: int, columns: int) -> None:
    first, second = crystal_centre(20, 70), crystal_centre(20 + rings, 70 + columns)
    seen = shoot([(22, 2.0, *first), (22, 1.0, *second)], 2000)
    assert (seen.cluster_counts == 1).all()
    assert np.median(seen.clusters[CLUSTER["E"]]) == pytest.approx(3.0, rel=0.01)
    assert (seen.clusters[CLUSTER["truth"]] == 0).all()  # the more energetic one
    expected = first[0] + (second[0] - first[0]) / 3
    assert seen.clusters[CLUSTER["theta"]].mean() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("rings", "columns"), [(2, 0), (0, 2), (2, 2), (4, 1)])
def test_close_clusters_share_crystals(rings: int, columns: int) -> None:
    first, second = crystal_centre(20, 143), crystal_centre(20 + rings, (143 + columns) % 144)
    seen = shoot([(22, 2.0, *first), (22, 0.9, *second)], 2000)
    alone = shoot([(22, 2.0, *first)], 2000).clusters
    assert (seen.cluster_counts == 2).all()
    hits, shape = (
        seen.clusters[CLUSTER["clusterNHits"]],
        seen.clusters[CLUSTER["clusterZernikeMVA"]],
    )
    assert (hits % 1 != 0).any()
    assert hits[0::2].mean() < alone[CLUSTER["clusterNHits"]].mean()
    assert shape[0::2].mean() < alone[CLUSTER["clusterZernikeMVA"]].mean()
    # the soft cluster suffers more
    assert shape[1::2].mean() < shape[0::2].mean()


def test_distant_clusters_do_not_influence_each_other() -> None:
    seen = shoot([(22, 2.0, 1.2, 0.5), (22, 1.0, 1.5, 0.5)], 2000)
    assert (seen.cluster_counts == 2).all()
    assert (seen.clusters[CLUSTER["clusterNHits"]] % 1 == 0).all()


@given(phi=st.floats(-50, 50))
def test_wrap(phi: float) -> None:
    wrapped = calorimeter.wrap(phi)
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped - phi) == pytest.approx(1, abs=1e-9)
    assert calorimeter.wrap(wrapped) == wrapped


def test_electrons_bend_by_the_closed_form_and_lost_tracks_become_photon_candidates() -> None:
    theta, energy = 1.3, 1.5
    seen = shoot([(11, energy, theta, 0.2), (-11, energy, theta, 0.2)], 4000, lost_tracks="weight")
    assert (seen.track_counts == 0).all()
    np.testing.assert_allclose(seen.weight, 0.0**2)  # IDEAL loses none
    radius = energy * math.sin(theta) / (0.00299792458 * 1.5)
    turn = math.asin(125.0 / (2 * radius))
    phi = seen.clusters[CLUSTER["phi"]].reshape(-1, 2)
    # in a field along +z the positive charge turns clockwise
    assert phi[:, 0].mean() == pytest.approx(0.2 + turn, abs=5e-4)
    assert phi[:, 1].mean() == pytest.approx(0.2 - turn, abs=5e-4)
    assert np.isnan(seen.clusters[CLUSTER["minC2TDist"]]).all()


def test_tracks() -> None:
    n = 20_000
    seen = shoot([(13, 3.0, 1.2, 0.5), (-11, 2.0, 1.9, -2.0), (22, 1.0, 1.2, -1.0)], n)
    assert (seen.track_counts == 2).all()
    assert (seen.cluster_counts == 1).all()  # matched clusters belong to their tracks
    muon, positron = seen.tracks[:, 0::2], seen.tracks[:, 1::2]
    assert (muon[TRACK["charge"]] == -1).all()
    assert (positron[TRACK["charge"]] == 1).all()
    p = math.sqrt(3.0**2 - 0.1057**2)
    pt = p * math.sin(1.2)
    resolution = math.hypot(0.0011 * pt, 0.0035)
    pull = (pt / muon[TRACK["pt"]] - 1) / resolution
    assert stats.kstest(pull, "norm").pvalue > 1e-3
    np.testing.assert_allclose(
        muon[TRACK["p"]] * np.sin(muon[TRACK["theta"]]), muon[TRACK["pt"]], rtol=1e-12
    )
    assert np.isfinite(seen.tracks[TRACK["clusterE"]]).mean() > 0.99
    assert np.nanmedian(muon[TRACK["clusterE"]]) < 0.4
    assert np.median(positron[TRACK["clusterE"]]) == pytest.approx(2.0, rel=0.01)
    for track, right, wrong in ((muon, "muonID", "electronID"), (positron, "electronID", "muonID")):
        assert (track[TRACK[right]] > 0.5).mean() > 0.97
        assert (track[TRACK[wrong]] < 0.5).mean() > 0.97
    assert (muon[TRACK["dr"]] >= 0).all()
    assert (muon[TRACK["nCDCHits"]] > 20).all()
    # 1 GeV photon far from both tracks: the distance is their separation at the calorimeter
    distance = seen.clusters[CLUSTER["minC2TDist"]]
    assert 100 < np.median(distance) <= 250


def test_tracks_are_lost_with_their_probability_or_weight() -> None:
    n = 40_000
    detector = change(IDEAL, tracker={"loss": 0.025})
    pair = [(11, 5.0, 1.2, 0.5), (-11, 4.0, 1.9, -2.5)]
    lost = 2 - shoot(pair, n, detector).track_counts
    for k in range(3):
        expected = stats.binom.pmf(k, 2, 0.025)
        error = math.sqrt(expected * (1 - expected) / n)
        assert (lost == k).mean() == pytest.approx(expected, abs=4 * error)
    np.testing.assert_allclose(
        shoot(pair, 100, detector, lost_tracks="weight").weight, 0.025**2, rtol=1e-12
    )
    outside = [(11, 5.0, math.radians(14), 0.5), (-11, 4.0, 1.9, -2.5)]
    np.testing.assert_allclose(
        shoot(outside, 100, detector, lost_tracks="weight").weight, 0.025, rtol=1e-12
    )


def test_conversions_in_front_make_tracks_and_behind_make_two_clusters() -> None:
    n = 20_000
    front = change(IDEAL, calorimeter={"conversion_tracked": 0.1})
    seen = shoot([(22, 3.0, 1.4, 0.0)], n, front)
    converted = seen.track_counts > 0
    assert converted.mean() == pytest.approx(0.1, abs=0.01)
    behind = change(IDEAL, calorimeter={"conversion_untracked": 0.5})
    seen = shoot([(22, 3.0, 1.4, 0.0)], n, behind)
    assert (seen.track_counts == 0).all()
    two = seen.cluster_counts == 2
    assert 0.1 < two.mean() < 0.5
    first = (np.cumsum(seen.cluster_counts) - seen.cluster_counts)[two]
    pair = seen.clusters[:, first], seen.clusters[:, first + 1]
    d_theta, d_phi = (pair[0][CLUSTER[name]] - pair[1][CLUSTER[name]] for name in ("theta", "phi"))
    assert np.std(d_phi) > 5 * np.std(d_theta)  # the field separates them in phi only
    total = pair[0][CLUSTER["E"]] + pair[1][CLUSTER["E"]]
    assert np.median(total) == pytest.approx(3.0, rel=0.02)


def test_beam_background_is_soft_late_and_unmatched() -> None:
    n = 20_000
    noisy = change(IDEAL, background={"clusters": 3.0})
    seen = shoot([(22, 2.0, 1.4, 0.5)], n, noisy)
    assert seen.cluster_counts.mean() - 1 == pytest.approx(3.0, rel=0.05)
    # the background level varies between events: more spread than Poisson
    assert seen.cluster_counts.var() > 3.3
    background = seen.clusters[:, seen.clusters[CLUSTER["truth"]] < 0]
    assert np.median(background[CLUSTER["E"]]) < 0.1
    assert np.abs(background[CLUSTER["clusterTiming"]]).mean() > 300
    assert np.median(background[CLUSTER["beamBackgroundSuppression"]]) < 0.2
    photon = seen.clusters[:, seen.clusters[CLUSTER["truth"]] >= 0]
    assert np.median(photon[CLUSTER["beamBackgroundSuppression"]]) > 0.8


def test_options_out_of_time_and_cosmics() -> None:
    late = change(IDEAL, background={"out_of_time": 1.0})
    seen = shoot([(22, 2.0, 1.4, 0.5)], 5000, late)
    assert seen.cluster_counts.mean() - 1 == pytest.approx(1.0, abs=0.08)
    muons = change(IDEAL, background={"cosmics": 1.0})
    seen = shoot([(22, 2.0, 1.4, 0.5)], 5000, muons)
    assert (seen.cluster_counts == 3).all()
    time = seen.clusters[CLUSTER["clusterTiming"]].reshape(-1, 3)
    assert np.median(np.abs(time[:, 1] - time[:, 2])) < 10
    assert np.median(np.abs(time[:, 1] - time[:, 0])) > 100


def test_response_does_not_depend_on_the_batch() -> None:
    events = generate("eeg", 300, seed=5)
    particles = Particles.of(events)
    options = {"seed": 5, "beams": SUPERKEKB, "detector": Detector.named("run1")}

    def response(first: int, last: int):
        part = particles.between(first, last)
        return detect(part.p4, part.pdg, part.stable, part.offsets, first=first, **options)

    whole, head, tail = response(0, 300), response(0, 123), response(123, 300)
    clusters = np.concatenate([head.clusters, tail.clusters], axis=1)
    np.testing.assert_array_equal(whole.clusters, clusters)
    np.testing.assert_array_equal(whole.tracks, np.concatenate([head.tracks, tail.tracks], axis=1))
    assert whole.cluster_counts.sum() == whole.clusters.shape[1]


def test_named_settings_and_mistakes() -> None:
    assert Detector.named("phase2-2018") == Detector()
    assert Detector.named("run1").background.clusters > Detector().background.clusters
    with pytest.raises(ConfigurationError, match="'run2'.*did you mean 'run1'"):
        Detector.named("run2")
    with pytest.raises(ValidationError, match="efficency"):
        Detector.model_validate({"calorimeter": {"efficency": 0.9}})
    changed = Detector.parse({"base": "run1", "tracker": {"loss": 0.5}})
    assert changed.tracker.loss == 0.5
    assert changed.background == Detector.named("run1").background
    for wrong, message in (
        ({"tracker": {"los": 0.5}}, "tracker has no constant 'los'; did you mean 'loss'"),
        ({"traker": {"loss": 0.5}}, "did you mean 'tracker'"),
        ({"tracker": {"loss": 1.5}}, "tracker.loss = 1.5"),
        ({"calorimeter": {"gap_energy_min": 0.9}}, "gap_energy_min = 0.9 must be smaller"),
        ({"base": "run3"}, "'run3'"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Detector.parse(wrong)
    with pytest.raises(ConfigurationError, match="lost_tracks = 'no'"):
        shoot([(22, 1.0, 1.0, 1.0)], 1, lost_tracks="no")


def test_every_constant_says_where_it_comes_from() -> None:
    for group in Detector().model_fields_set | set(Detector.model_fields):
        for name, field in type(getattr(Detector(), group)).model_fields.items():
            text = field.description or ""
            assert any(w in text for w in ("Independent", "Calibrated", "option")), name
