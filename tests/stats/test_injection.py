"""Injected signals: found by the scan, at the right place and of the right size."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import EDGES, FLAT, MODEL

from alp_coffea.config import Nuisances, Scan
from alp_coffea.errors import AlpCoffeaError, ConfigurationError, ModelError
from alp_coffea.stats.injection import Injection, inject
from alp_coffea.stats.scan import scan

LUMINOSITY = 445.0
SETTINGS = Scan(
    low=2.0,
    high=3.0,
    background_choices="nominal",
    nuisances=Nuisances(luminosity=0, efficiency=(), width=0),
)


def flat(seed: int | None = None, per_gev2: float = 300.0) -> hist.Hist:
    histogram = hist.Hist(
        hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
        hist.axis.StrCategory(["other"], name="origin"),
        hist.axis.Variable(EDGES, name="mass"),
        storage="weight",
    )
    counts = np.where(EDGES[1:] > 0, FLAT * per_gev2, 0.0)
    if seed is not None:
        counts = np.random.default_rng(seed).poisson(np.broadcast_to(counts, (2, 2, 1, 15000)))
    histogram.view().value = counts
    histogram.view().variance = counts
    return histogram


def test_nothing_else_changes() -> None:
    data = flat()
    before = data.values().copy()
    made = inject(data, MODEL, SETTINGS, [Injection(2.5, 1.0)], luminosity=LUMINOSITY, seed=1)
    assert np.array_equal(data.values(), before)
    added = made.values() - before
    assert added[0, 0].sum() > 0
    assert added[1].sum() == added[0, 1].sum() == 0
    expected = LUMINOSITY * 1.0 * 0.3
    assert added.sum() == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_the_scan_finds_what_was_injected() -> None:
    """Ten masses: found within a resolution, pulls of the yield consistent with unit width."""
    pulls = []
    for number, mass in enumerate(np.linspace(2.1, 2.9, 10)):
        signal = Injection(float(mass), 1.2)
        data = inject(flat(number), MODEL, SETTINGS, [signal], luminosity=LUMINOSITY, seed=number)
        result, _ = scan(data, MODEL, SETTINGS, luminosity=LUMINOSITY, background=flat())
        top = int(np.argmax(result["z_local"]))
        row = result.rows[top]
        assert row["z_local"] > 4
        assert abs(row["mass"] - mass) < 2 * row["width"]
        nearest = result.rows[int(np.argmin(abs(result["mass"] - mass)))]
        pulls.append((nearest["sigma_hat"] - 1.2) / nearest["sigma_hat_error"])
    assert abs(np.mean(pulls)) < 4 / np.sqrt(10)
    assert 0.4 < np.std(pulls) < 1.8


def test_injection_is_reproducible_and_stacks() -> None:
    both = [Injection(2.2, 0.5), Injection(2.7, 0.5)]
    one, two = (
        inject(flat(), MODEL, SETTINGS, both, luminosity=LUMINOSITY, seed=3) for _ in range(2)
    )
    assert one == two
    other = inject(flat(), MODEL, SETTINGS, both, luminosity=LUMINOSITY, seed=4)
    assert other != one


def test_masses_are_not_extrapolated() -> None:
    with pytest.raises(ModelError, match="never extrapolated"):
        inject(flat(), MODEL, SETTINGS, [Injection(0.01, 1)], luminosity=LUMINOSITY, seed=1)


@pytest.mark.parametrize("text", ["", "3.0", "mass=3", "mass=0,sigma=1", "mass=-1,sigma=1", "m"])
def test_bad_text_is_explained(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected mass=MASS,sigma=SIGMA"):
        Injection.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused_by_name(text: str) -> None:
    try:
        Injection.parse(text)
    except AlpCoffeaError as error:
        assert "--inject" in str(error)
