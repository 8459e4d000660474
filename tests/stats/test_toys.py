"""Scan-wide toys: the parent's shape, three-fold correlations, and what the fits make of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import ModelError
from alp_coffea.stats import engine
from alp_coffea.stats.background import Spectra
from alp_coffea.stats.scan import scan_points
from alp_coffea.stats.significance import from_toys, from_up_crossings
from alp_coffea.stats.studies import spurious_signal
from alp_coffea.stats.toys import ToySource, toy_scans
from alp_coffea.stats.workspace import POI, Point

KEYS = [(d, e) for d in ("diphoton", "recoil") for e in ("low_mass", "high_mass")]


def source(events: int = 200_000, *, copies: int = 1, seed: int = 1) -> ToySource:
    """Candidates flat in squared mass from 0 to 90 GeV^2; ``copies`` candidates are the same."""
    rng = np.random.default_rng(seed)
    masses = np.sqrt(rng.uniform(0, 90, (events, 3)))
    masses[:, :copies] = masses[:, :1]
    low = np.where(rng.random((events, 1)) < 0.7, masses, np.nan)
    return ToySource(
        EDGES, {(d, e): low if e == "low_mass" else masses for d in ("diphoton", "recoil")
                for e in ("low_mass", "high_mass")},
    )  # fmt: skip


def points(per_gev2: float) -> list[Point]:
    flat = Spectra(EDGES, dict.fromkeys(KEYS, FLAT * per_gev2))
    settings = Scan(nuisances=Nuisances(luminosity=0, efficiency=(), width=0))
    masses = [2.0, 2.01, 2.2, 3.0, 5.0, 5.2, 5.4]
    built = scan_points(flat, flat, MODEL, settings, masses, luminosity=445.0)
    assert all(isinstance(p, Point) for p in built)
    return [p for p in built if isinstance(p, Point)]


def test_toys_follow_the_parent_on_average() -> None:
    parent = source(5000)
    mean, toys = 800.0, 400
    total = {key: np.zeros(15000) for key in KEYS}
    for toy in range(toys):
        spectra = parent.draw(np.random.default_rng(toy), mean)
        for key in KEYS:
            total[key] += spectra[key]
    for key in KEYS:
        expected = parent.spectra(mean / parent.size)[key].reshape(50, -1).sum(axis=1)
        seen = total[key].reshape(50, -1).sum(axis=1) / toys
        error = np.sqrt(np.maximum(expected, 1e-9) / toys)
        assert np.all(np.abs(seen - expected) < 5 * error)


def test_candidates_of_one_event_stay_together() -> None:
    """Counts in a range vary like a compound Poisson process: E[k^2]/E[k] of an event's k in it.

    That is 3 for three equal candidates, and 1 + 2p for independent ones that fall in with p.
    """
    inside = slice(6000, 9000)  # 2 to 5 GeV
    p = (25 - 4) / 90
    for copies, factor in ((3, 3.0), (1, 1 + 2 * p)):
        parent = source(copies=copies)
        toys = (parent.draw(np.random.default_rng([9, toy]), 2000) for toy in range(800))
        counts = [toy["diphoton", "high_mass"][inside].sum() for toy in toys]
        assert np.var(counts) / np.mean(counts) == pytest.approx(factor, rel=0.2)


def test_independent_candidates_have_the_same_spectrum_and_no_correlation() -> None:
    parent = source(copies=3)
    alone = parent.independent()
    assert alone.size == 3 * parent.size
    for key in KEYS:
        np.testing.assert_array_equal(alone.spectra()[key], parent.spectra()[key])
    toys = (alone.draw(np.random.default_rng([9, toy]), 6000) for toy in range(800))
    counts = [toy["diphoton", "high_mass"][6000:9000].sum() for toy in toys]
    assert np.var(counts) / np.mean(counts) == pytest.approx(1.0, rel=0.2)


def test_energy_sets_share_events() -> None:
    spectra = source(copies=1).draw(np.random.default_rng(3), 3000)
    high, low = spectra["diphoton", "high_mass"], spectra["diphoton", "low_mass"]
    assert np.all(low <= high)
    assert low.sum() == pytest.approx(0.7 * high.sum(), rel=0.05)


def test_significances_are_normal_around_the_spurious_signal_of_the_parent() -> None:
    models, parent, mean = points(300.0), source(), 9000.0
    scans = toy_scans(models, parent, mean=mean, toys=600, seed=5)
    assert scans.failed == 0
    spectra = parent.spectra(mean / parent.size)
    templates = [p.window.counts(spectra[p.window.definition, p.window.energy_set]) for p in models]
    spurious = spurious_signal(models, templates, size=parent.size / mean)
    for column, shift in zip(scans.z.T, spurious.significance, strict=True):
        assert abs(shift) < 4 * spurious.noise
        assert kstest(column - shift, "norm").pvalue > 1e-3
    # neighbours half a width apart are strongly correlated, distant ones are not
    correlation = np.corrcoef(scans.z.T)
    assert correlation[0, 1] > 0.5
    assert abs(correlation[0, 4]) < 0.15


def test_crossings_bound_the_global_p_of_toys() -> None:
    scans = toy_scans(points(300.0), source(), mean=9000, toys=1500, seed=6)
    toys = from_toys(2.2, scans.maxima)
    crossings = from_up_crossings(2.2, scans.crossings(0.5), 0.5, scans=1500)
    # with a handful of hypotheses the asymptotic formula is an upper bound, not a tight one
    assert toys.low < crossings.p < 1.4 * toys.high


def test_a_toy_is_the_same_whatever_their_number() -> None:
    few = toy_scans(points(300.0), source(), mean=9000, toys=3, seed=7)
    many = toy_scans(points(300.0), source(), mean=9000, toys=70, seed=7, threads=2)
    np.testing.assert_array_equal(few.z, many.z[:3])


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ModelError, match=r"one shape \(n, 3\)"):
        ToySource(EDGES, {("diphoton", "low_mass"): np.zeros((4, 2))})


def test_weighted_events_are_drawn_in_proportion() -> None:
    edges = np.linspace(0, 4, 5)
    masses = np.array([[0.5] * 3, [1.5] * 3, [2.5] * 3])
    source = ToySource(edges, {("diphoton", "low_mass"): masses}, weights=[1.0, 0.0, 3.0])
    drawn = source.draw(np.random.default_rng(1), 40_000)["diphoton", "low_mass"]
    assert drawn[1] == 0
    assert drawn[0] / 3 == pytest.approx(10_000, abs=4 * 100)
    assert drawn[2] / 3 == pytest.approx(30_000, abs=4 * 174)
    assert source.spectra(2.0)["diphoton", "low_mass"].tolist() == [6, 0, 18, 0]
    with pytest.raises(ModelError, match="none negative"):
        ToySource(edges, {("diphoton", "low_mass"): masses}, weights=[1.0, -1.0, 3.0])


def test_nuisances_of_the_yield_do_not_change_a_significance() -> None:
    """Toys are fitted without them; here are fits of the whole models, width included."""
    flat = Spectra(EDGES, dict.fromkeys(KEYS, FLAT * 300.0))
    settings = Scan(nuisances=Nuisances(luminosity=0.1, width=0.1))
    built = scan_points(flat, flat, MODEL, settings, [2.0, 3.0, 7.0, 9.4], luminosity=445.0)
    models = [point for point in built if isinstance(point, Point)]
    parent, mean = source(), 9000.0
    scans = toy_scans(models, parent, mean=mean, toys=30, seed=8)
    whole = engine.compile([point.workspace for point in models], poi=POI)
    for toy, z in enumerate(scans.z):
        spectra = parent.draw(np.random.default_rng([8, toy]), mean)
        found = whole.q0(
            [p.window.counts(spectra[p.window.definition, p.window.energy_set]) for p in models]
        )
        np.testing.assert_allclose(z, found.z, atol=1e-5)
