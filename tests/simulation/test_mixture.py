"""Samples of all of phase space with more events inside cuts, and the weights that undo it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import uproot
from pydantic import ValidationError

from alp_coffea.config import Simulate
from alp_coffea.errors import PhysicsError
from alp_coffea.physics.beams import SUPERKEKB
from alp_coffea.simulation import cross_section, generate, write_sample
from alp_coffea.simulation.generator import generate_mixture, within
from alp_coffea.simulation.sampling import Cuts

CUTS = Cuts(0.0, math.radians(16), math.radians(151), "lab", 0.0)
PHYSICS = {"beams": SUPERKEKB, "isr": True, "mass": 3.0, "coupling": 1e-3}
ASKED = {"theta_min": CUTS.theta_min, "theta_max": CUTS.theta_max, "frame": "lab"}


def mixture(n: int, first: int = 0, inside: float = 0.8):
    return generate_mixture("eea", n, inside=inside, seed=4, first=first, cuts=CUTS, **PHYSICS)


def test_events_that_were_generated_inside_are_within() -> None:
    events = generate("eea", 500, seed=4, mass=3.0, **ASKED)
    assert within(CUTS, events.p4[:, :4], events.pdg[:4], SUPERKEKB).all()
    everywhere = generate("eea", 4000, seed=5, mass=3.0)
    share = within(CUTS, everywhere.p4[:, :4], everywhere.pdg[:4], SUPERKEKB).mean()
    expected = (
        cross_section("eea", mass=3.0, isr=True, points=2**18, **ASKED)[0]
        / cross_section("eea", mass=3.0, isr=True, points=2**18)[0]
    )
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))


def test_weights_have_mean_one_and_undo_the_choice() -> None:
    """Two ways of generating, any share: one cross section inside and outside."""
    n = 20_000
    reference = generate("eea", n, seed=6, mass=3.0)
    energy = reference.p4[:, 2, 0]
    for inside in (0.2, 0.8):
        events = mixture(n, inside=inside)
        outside = ~within(CUTS, events.p4[:, :4], events.pdg[:4], SUPERKEKB)
        # outside the weight is a constant, so its sum has the error of a binomial
        error = math.sqrt(n * (1 - inside) * inside) / (1 - inside)
        assert abs(events.weight.sum() - n) < 4 * error
        # two values only: that of the cuts and that of the rest
        assert len(np.unique(events.weight)) == 2
        assert events.weight[outside] == pytest.approx(1 / (1 - inside))
        edges = np.quantile(energy, np.linspace(0, 1, 9))
        values = events.p4[:, 2, 0]
        found, _ = np.histogram(values, edges, weights=events.weight)
        squares, _ = np.histogram(values, edges, weights=events.weight**2)
        wanted, _ = np.histogram(energy, edges)
        chi2 = ((found - wanted) ** 2 / (squares + wanted)).sum()
        assert chi2 < 30  # eight bins, p = 2e-4


def test_an_event_does_not_depend_on_its_batch() -> None:
    whole, part = mixture(300), mixture(100, first=150)
    np.testing.assert_array_equal(whole.p4[150:250], part.p4)
    np.testing.assert_array_equal(whole.weight[150:250], part.weight)


def test_the_file_has_the_weights_and_the_whole_cross_section(tmp_path: Path) -> None:
    path = tmp_path / "s.root"
    record = write_sample(path, "eea", 400, seed=4, mass=3.0, inside=0.8, **ASKED)
    expected, error = cross_section("eea", mass=3.0, isr=True, points=2**18)
    assert abs(record.cross_section - expected) < 4 * math.hypot(error, record.cross_section_error)
    with uproot.open(path) as file:
        weight = file["events"]["weight"].array(library="np")
    np.testing.assert_allclose(weight, mixture(400).weight)


@pytest.mark.parametrize("inside", [0.0, 1.0, math.nan])
def test_impossible_shares_are_refused(inside: float) -> None:
    with pytest.raises(PhysicsError, match=r"inside = .* between 0 and 1"):
        mixture(10, inside=inside)


def test_a_process_without_a_finite_cross_section_is_refused(tmp_path: Path) -> None:
    """Cuts that leave the beams inside."""
    cuts = {"energy_min": 0.0, "theta_min": 0.0, "theta_max": math.pi, "frame": "lab"}
    with pytest.raises(PhysicsError, match="infinite"):
        write_sample(tmp_path / "s.root", "gg", 10, seed=1, inside=0.5, **cuts)


def test_a_share_without_cuts_is_refused() -> None:
    with pytest.raises(ValidationError, match="give some"):
        Simulate(process="eea", events=10, inside=0.5)
