"""Choosing cuts: against brute force over events, and closed forms."""

from __future__ import annotations

import itertools
import math

import hist
import numpy as np
import pytest

from alp_coffea.errors import ModelError
from alp_coffea.stats.punzi import CutGrid, figure_of_merit, published

AXES = (
    hist.axis.Regular(10, 0.0, 1.0, name="min_score"),
    hist.axis.Regular(6, 0.0, 3.0, name="max_distance"),
    hist.axis.Integer(0, 2, name="min_flag"),
)
RNG = np.random.default_rng(8)


def events(n: int, signal: bool) -> dict[str, np.ndarray]:
    # values beyond both ends of the axes too
    return {
        "min_score": RNG.normal(0.7 if signal else 0.3, 0.25, n),
        "max_distance": RNG.exponential(0.5 if signal else 2.0, n) - 0.1,
        "min_flag": (RNG.random(n) < (0.95 if signal else 0.5)).astype(int),
    }


SIGNAL = {mass: events(3000, True) for mass in (0.5, 5.0)}
BACKGROUND = {mass: events(20000, False) for mass in (0.5, 5.0)}


def filled(samples: dict[float, dict[str, np.ndarray]]) -> hist.Hist:
    names = [f"{mass:.4f}" for mass in samples]
    histogram = hist.Hist(hist.axis.StrCategory(names, name="hypothesis"), *AXES)
    for mass, columns in samples.items():
        histogram.fill(f"{mass:.4f}", *columns.values())
    return histogram


@pytest.fixture(scope="module")
def grid() -> CutGrid:
    return CutGrid({m: filled({m: SIGNAL[m]}) for m in SIGNAL}, filled(BACKGROUND))


def brute_merit(mass: float, score: float, distance: float, flag: int) -> float:
    """Counting events; the loosest threshold of each cut is none."""

    def count(columns: dict[str, np.ndarray]) -> int:
        keep = np.ones(len(columns["min_score"]), dtype=bool)
        if score > 0:
            keep &= columns["min_score"] >= score
        if distance < 3:
            keep &= columns["max_distance"] < distance
        if flag:
            keep &= columns["min_flag"] == 1
        return int(keep.sum())

    return count(SIGNAL[mass]) / (2.5 + math.sqrt(count(BACKGROUND[mass])))


def all_cuts() -> list[tuple[float, float, int]]:
    scores, distances = AXES[0].edges[:-1], AXES[1].edges[1:]
    return list(itertools.product(scores, distances, (0, 1)))


def test_figure_of_merit() -> None:
    np.testing.assert_allclose(figure_of_merit([0.3, 0.3], [0.0, 16.0]), [0.12, 0.3 / 6.5])
    assert figure_of_merit(0.3, 4.0, significance=3) == pytest.approx(0.3 / 3.5)


@pytest.mark.parametrize("mass", [0.5, 5.0])
def test_every_combination_is_what_counting_events_gives(grid: CutGrid, mass: float) -> None:
    brute = {cuts: brute_merit(mass, *cuts) for cuts in all_cuts()}
    best = max(brute.values())
    for cuts, merit in brute.items():
        thresholds = dict(zip(grid.thresholds, cuts, strict=True))
        assert grid.merit(thresholds, mass) == pytest.approx(merit / best, rel=1e-12)


def test_scan_is_a_line_through_the_grid(grid: CutGrid) -> None:
    others = {"max_distance": 1.0, "min_flag": 1.0}
    scan = grid.scan("min_score", 0.5, others)
    np.testing.assert_allclose(scan.thresholds, AXES[0].edges[:-1])
    np.testing.assert_allclose(
        scan.merit, [brute_merit(0.5, score, 1.0, 1) for score in scan.thresholds]
    )
    assert scan.price(scan.best) == 0
    assert scan.price(0.0) == pytest.approx(1 - scan.merit[0] / scan.merit.max())


@pytest.mark.parametrize("mass", [0.5, 5.0, None])
def test_iteration_ends_where_no_single_cut_can_improve(grid: CutGrid, mass: float | None) -> None:
    found = grid.optimise(mass)
    merit = grid.merit(found.thresholds, mass)
    for name, values in grid.thresholds.items():
        for value in values:
            assert grid.merit(found.thresholds | {name: float(value)}, mass) <= merit
    # these cuts are independent, so the fixed point is the best of all
    assert found.merit == pytest.approx(1, abs=0.01)
    assert grid.optimise(mass, start=found.thresholds).steps == 1


def test_common_optimum_is_the_mean_over_masses(grid: CutGrid) -> None:
    found = grid.optimise()
    mean = np.mean([grid.merit(found.thresholds, mass) for mass in grid.masses])
    assert grid.merit(found.thresholds) == pytest.approx(mean, rel=1e-12)


def test_published_cuts() -> None:
    assert published(3.9)["min_photon_energy"] == 1.0
    assert published(4.0)["min_photon_energy"] == 0.65


def test_what_is_missing_is_named(grid: CutGrid) -> None:
    background = filled(BACKGROUND)
    with pytest.raises(ModelError, match=r"no signal sample .* 0.5000, 5.0000 GeV"):
        CutGrid({}, background)
    with pytest.raises(ModelError, match=r"no hypothesis 0.5000 GeV \(has 5.0000\)"):
        CutGrid({0.5: filled({0.5: SIGNAL[0.5]})}, filled({5.0: BACKGROUND[5.0]}))
    with pytest.raises(ModelError, match="no signal candidate in the window"):
        CutGrid({0.5: filled({0.5: SIGNAL[0.5]}).reset()}, background)
    with pytest.raises(ModelError, match="its cuts are not the background's"):
        CutGrid({0.5: filled({0.5: SIGNAL[0.5]})[..., sum]}, background)
    with pytest.raises(ModelError, match="cut 'min_score' is not scanned at 0.55"):
        grid.merit(grid.loose | {"min_score": 0.55})
