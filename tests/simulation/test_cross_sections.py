"""Cross sections of the generators against published numbers and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.simulation import cross_section, generate

BEAMS = Beams.symmetric(10.58)

#: physics specification: sigma(gamma a) at sqrt(s) = 10.58 GeV, g = 1e-3 /GeV [pb]
SIGNAL = {0.5: 0.1176, 1.0: 0.1152, 3.0: 0.0921, 5.0: 0.0555, 8.0: 0.00930}


@pytest.mark.parametrize("mass", SIGNAL)
def test_signal_cross_section(mass: float) -> None:
    value, error = cross_section("signal", beams=BEAMS, mass=mass)
    assert error < 1e-3 * value
    assert value == pytest.approx(SIGNAL[mass], rel=3e-3)


@pytest.mark.parametrize("mass", [0.5, 5.0])
def test_signal_angular_spectrum_from_weights(mass: float) -> None:
    events = generate("signal", 400_000, seed=5, beams=BEAMS, mass=mass, isr=False, weighted=True)
    recoil = events.p4[:, 0]
    cosine = recoil[:, 3] / recoil[:, 0]
    mean = np.average(cosine**2, weights=events.weight)
    assert mean == pytest.approx(0.4, rel=3e-3)  # of 1 + cos^2


def test_three_photon_cross_section() -> None:
    value, error = cross_section(
        "ggg",
        beams=BEAMS,
        energy_min=0.5,
        theta_min=math.radians(30),
        theta_max=math.radians(150),
    )
    assert error < 1e-3 * value
    assert value == pytest.approx(44.50, rel=3e-3)


def test_signal_cross_section_scales_with_coupling_squared() -> None:
    weak, _ = cross_section("signal", beams=SUPERKEKB, mass=2.0, coupling=1e-4)
    strong, _ = cross_section("signal", beams=SUPERKEKB, mass=2.0, coupling=1e-3)
    assert strong / weak == pytest.approx(100, rel=1e-12)


@pytest.mark.parametrize("frame", ["cm", "lab"])
@pytest.mark.parametrize("isr", [False, True])
def test_weighted_and_unweighted_events_agree(frame: str, isr: bool) -> None:
    cuts = {"energy_min": 0.3, "theta_min": 0.6, "theta_max": 2.4, "sqrt_s_min": 8.0}
    weighted = generate("ggg", 200_000, seed=1, frame=frame, isr=isr, weighted=True, **cuts)
    unweighted = generate("ggg", 50_000, seed=2, frame=frame, isr=isr, **cuts)
    edges = np.linspace(0.0, 5.4, 19)
    hardest = weighted.p4[:, :, 0].max(axis=1)
    expected, _ = np.histogram(hardest, edges, weights=weighted.weight)
    variance, _ = np.histogram(hardest, edges, weights=weighted.weight**2)
    found, _ = np.histogram(unweighted.p4[:, :, 0].max(axis=1), edges)
    scale = found.sum() / expected.sum()
    used = found > 20
    pulls = (found - scale * expected)[used] / np.sqrt(found + scale**2 * variance)[used]
    assert np.sum(pulls**2) < 3 * used.sum()
    assert np.abs(pulls).max() < 5
