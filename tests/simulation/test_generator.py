"""Events: kinematics, unweighting, and independence of batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alp_coffea.errors import PhysicsError
from alp_coffea.physics.beams import SUPERKEKB
from alp_coffea.physics.constants import ELECTRON_MASS, MUON_MASS
from alp_coffea.simulation import PROCESSES, generate

MASSES = {22: 0.0, 13: MUON_MASS}
#: processes with massive electrons
MASSIVE = ("eea", "eegg", "eepi0", "eeeta", "eeetaprime")


def make(process: str, n: int, **options):
    mass = 1.3 if process in ("signal", "eea") else None
    return generate(process, n, mass=mass, **options)


@pytest.mark.parametrize("isr", [False, True])
@pytest.mark.parametrize("process", PROCESSES)
def test_energy_momentum_and_masses(process: str, isr: bool) -> None:
    events = make(process, 3000, seed=2, isr=isr)
    final = events.p4[:, : events.final]
    total = final.sum(axis=1)
    sqrt_s = SUPERKEKB.sqrt_s
    np.testing.assert_allclose(total[:, 1:3], 0.0, atol=1e-11 * sqrt_s)
    if isr:
        # collinear photons took energy and momentum along the beams only
        minus = (total[:, 0] + total[:, 3]) / sqrt_s
        plus = (total[:, 0] - total[:, 3]) / sqrt_s
        assert (minus <= 1 + 1e-12).all()
        assert (plus <= 1 + 1e-12).all()
        assert np.median(minus) > 0.999
        assert ((minus < 0.99) | (plus < 0.99)).mean() > 0.2
    else:
        np.testing.assert_allclose(total[:, 0], sqrt_s, rtol=1e-12)
        np.testing.assert_allclose(total[:, 3], 0.0, atol=1e-11 * sqrt_s)
    for i in range(events.final):
        mass2 = final[:, i, 0] ** 2 - np.sum(final[:, i, 1:] ** 2, axis=1)
        electron = ELECTRON_MASS if process in MASSIVE else 0.0
        expected = (MASSES | {11: electron})[abs(events.pdg[i])] ** 2
        np.testing.assert_allclose(mass2, expected, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_event_does_not_depend_on_the_batch(process: str) -> None:
    whole = make(process, 50, seed=7)
    part = make(process, 7, seed=7, first=31)
    np.testing.assert_array_equal(part.p4, whole.p4[31:38])
    np.testing.assert_array_equal(part.weight, whole.weight[31:38])
    assert not np.array_equal(make(process, 7, seed=8).p4, whole.p4[:7])


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 10**9), count=st.integers(1, 5), seed=st.integers(-(2**40), 2**40))
def test_any_split_of_the_sequence(first: int, count: int, seed: int) -> None:
    whole = generate("ggg", count + 2, seed=seed, first=first)
    part = generate("ggg", count, seed=seed, first=first + 2)
    np.testing.assert_array_equal(part.p4, whole.p4[2:])


def test_masses_and_processes_use_different_streams() -> None:
    one = generate("signal", 10, seed=1, mass=1.0)
    two = generate("signal", 10, seed=1, mass=2.0)
    cosine = [e.p4[:, 0, 3] / e.p4[:, 0, 0] for e in (one, two)]
    assert not np.allclose(cosine[0], cosine[1], atol=0.05)


@pytest.mark.parametrize("frame", ["cm", "lab"])
@pytest.mark.parametrize("isr", [False, True])
def test_weighted_and_unweighted_events_agree(frame: str, isr: bool) -> None:
    cuts = {"energy_min": 0.3, "theta_min": 0.6, "theta_max": 2.4, "sqrt_s_min": 8.0}
    for process in ("ggg", "eeg"):
        weighted = generate(process, 400_000, seed=1, frame=frame, isr=isr, weighted=True, **cuts)
        unweighted = generate(process, 20_000, seed=2, frame=frame, isr=isr, **cuts)
        edges = np.linspace(0.3, 5.4, 18)
        expected, _ = np.histogram(weighted.p4[:, 0, 0], edges, weights=weighted.weight)
        variance, _ = np.histogram(weighted.p4[:, 0, 0], edges, weights=weighted.weight**2)
        found, _ = np.histogram(unweighted.p4[:, 0, 0], edges)
        scale = found.sum() / expected.sum()
        used = found > 20
        pulls = (found - scale * expected)[used] / np.sqrt(found + scale**2 * variance)[used]
        assert np.sum(pulls**2) < 2.5 * used.sum()
        assert np.abs(pulls).max() < 5


def test_cuts_hold_for_every_event() -> None:
    cuts = {"energy_min": 0.4, "theta_min": 0.5, "theta_max": 2.5}
    for process in ("ggg", "eeg", "mumug"):
        events = generate(process, 5000, seed=4, frame="lab", **cuts)
        lab = SUPERKEKB.to_lab(events.p4)
        theta = np.arccos(lab[..., 3] / np.linalg.norm(lab[..., 1:], axis=-1))
        assert theta.min() >= 0.5
        assert theta.max() <= 2.5
        assert lab[:, [i for i, code in enumerate(events.pdg) if code == 22], 0].min() >= 0.4


def test_nothing_analysable_is_lost_by_the_default_cuts() -> None:
    """Looser generator cuts than the default add no event to a loose selection of true photons."""
    loose = generate(
        "ggg", 100_000, seed=9, energy_min=0.03, theta_min=0.15, theta_max=2.8, sqrt_s_min=6.0,
        frame="lab",
    )  # fmt: skip
    lab = SUPERKEKB.to_lab(loose.p4)
    theta = np.arccos(lab[..., 3] / lab[..., 0])
    total = loose.p4.sum(axis=1)
    mass = np.sqrt(total[:, 0] ** 2 - np.sum(total[:, 1:] ** 2, axis=1))
    selected = (lab[..., 0] > 0.1).all(axis=1) & (mass > 0.8 * SUPERKEKB.sqrt_s)
    selected &= ((theta > math.radians(17)) & (theta < math.radians(150))).all(axis=1)
    default = (lab[..., 0] > 0.06).all(axis=1) & (mass > 0.7 * SUPERKEKB.sqrt_s)
    default &= ((theta > 0.2) & (theta < 2.72)).all(axis=1)
    assert selected.sum() > 5000
    assert not (selected & ~default).any()


def test_alp_decays_isotropically() -> None:
    events = generate("signal", 50_000, seed=6, mass=3.0, isr=False)
    alp, photon = events.p4[:, 3], events.p4[:, 1]
    mass = 3.0
    # energy in the laboratory of the decay is uniform for an isotropic decay
    momentum = np.linalg.norm(alp[:, 1:], axis=1)
    cosine = (2 * photon[:, 0] - alp[:, 0]) / momentum
    assert np.abs(cosine).max() <= 1 + 1e-9
    counts, _ = np.histogram(cosine, np.linspace(-1, 1, 21))
    assert np.sum((counts - 2500) ** 2 / 2500) < 45  # 20 bins, 0.1 % quantile
    pair = photon + events.p4[:, 2]
    mass2 = pair[:, 0] ** 2 - np.sum(pair[:, 1:] ** 2, axis=1)
    np.testing.assert_allclose(np.sqrt(mass2), mass, rtol=1e-9)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(PhysicsError, match="n = -1"):
        generate("mumu", -1, seed=1)
