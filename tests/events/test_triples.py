"""Triples made of other triples know the same as triples chosen afresh."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.events.candidates import Acceptance, AwkwardTriples, FlatPhotons, PhotonTriples
from alp_coffea.physics import SUPERKEKB

QUANTITIES = (
    *("E", "theta", "phi", "clusterNHits", "clusterTiming"),
    *("pair_masses2", "three_photon_mass", "delta_theta", "delta_phi"),
    *("zernike_of_most_isolated", "timing_chi"),
)
LOOSE = Acceptance(0.1, (0.3, 2.6))


def photons(seed: int, events: int = 60) -> FlatPhotons:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 7, events)
    n = int(counts.sum())
    columns = {
        # few values, so that energies are often equal
        "E": rng.choice([0.05, 0.2, 0.7, 1.0, 2.0, 3.0, math.nan], n),
        "theta": rng.uniform(0.1, 3.0, n),
        "phi": rng.uniform(-math.pi, math.pi, n),
        "clusterNHits": rng.uniform(0.5, 4.0, n),
        "clusterZernikeMVA": rng.random(n),
        "clusterTiming": rng.normal(0.0, 30.0, n),
        "clusterErrorTiming": rng.uniform(1.0, 9.0, n),
    }
    return FlatPhotons(ak.zip({k: ak.unflatten(v, counts) for k, v in columns.items()}))


@pytest.mark.parametrize("kind", [PhotonTriples, AwkwardTriples])
@given(seed=st.integers(0, 2**32 - 1), asked_first=st.booleans())
def test_narrowed_triples_are_those_chosen_afresh(
    kind: type[PhotonTriples], seed: int, asked_first: bool
) -> None:
    flat = photons(seed)
    rng = np.random.default_rng(seed)
    middle = Acceptance(0.1, (0.6, 2.2))
    tight = Acceptance(0.65, (0.6, 2.2), above=("clusterNHits", 1.5))
    loose = kind.choose(flat, LOOSE)
    if asked_first:  # inherited or computed, the order does not matter
        assert len(loose.timing_chi) == len(loose.E) == len(loose)
    for made in (loose.narrowed(tight), loose.narrowed(middle).narrowed(tight)):
        fresh = kind.choose(flat, tight)
        keep = rng.random(len(fresh)) < 0.5
        for ours, theirs in ((made, fresh), (made.passing(keep), fresh.passing(keep))):
            np.testing.assert_array_equal(ours.event, theirs.event)
            np.testing.assert_array_equal(ours.index, theirs.index)
            for name in QUANTITIES:
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), name)
            np.testing.assert_array_equal(
                ours.recoil_masses2(SUPERKEKB), theirs.recoil_masses2(SUPERKEKB)
            )
