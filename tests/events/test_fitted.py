"""Triples with the kinematic fit: the same numbers as the fit itself, wherever they come from."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest

from alp_coffea.events.candidates import Acceptance, AwkwardTriples, FlatPhotons, PhotonTriples
from alp_coffea.events.fitted import fitted_triples
from alp_coffea.physics import SUPERKEKB
from alp_coffea.physics.kinematic_fit import fit_photons
from alp_coffea.physics.photon_covariance import (
    AngularResolution,
    EnergyResolution,
    PhotonCovariance,
    Region,
    Tail,
)

ANGLE = AngularResolution(constant=0.003, stochastic=0.0035)
COVARIANCE = PhotonCovariance(
    source="test",
    # nothing is known of photons in the endcaps
    regions=(
        Region(
            theta_min=0.5,
            theta_max=2.3,
            energy=EnergyResolution(stochastic=0.02, constant=0.016, noise=0.003),
            theta=ANGLE,
            phi=ANGLE,
        ),
    ),
    energy_tail=Tail(alpha=1.2, n=6.0),
)
LOOSE = Acceptance(0.1, (0.3, 2.7))


@pytest.fixture(scope="module")
def photons() -> FlatPhotons:
    """Four photons per event: three that more or less balance, and a soft one."""
    rng = np.random.default_rng(1)
    n = 300
    phi = rng.uniform(-math.pi, math.pi, (n, 1)) + np.array([0.0, 2.1, 4.2, 1.0])
    columns = {
        "E": rng.normal([4.0, 3.6, 3.4, 0.3], 0.05, (n, 4)),
        "theta": rng.normal([1.2, 1.25, 1.3, 0.8], 0.1, (n, 4)),
        "phi": np.remainder(phi + math.pi, 2 * math.pi) - math.pi,
    }
    columns["theta"][:20, 0] = 0.4
    return FlatPhotons(ak.zip({k: ak.from_regular(ak.Array(v)) for k, v in columns.items()}))


@pytest.mark.parametrize("base", [PhotonTriples, AwkwardTriples])
def test_masses_are_those_of_the_fit(photons: FlatPhotons, base: type[PhotonTriples]) -> None:
    triples = fitted_triples(base, COVARIANCE, SUPERKEKB).choose(photons, LOOSE)
    direct = fit_photons(triples.E, triples.theta, triples.phi, COVARIANCE, SUPERKEKB)
    assert np.array_equal(triples.fit_mass, direct.mass, equal_nan=True)
    assert np.array_equal(triples.fit_chi2, direct.chi2, equal_nan=True)
    failed = (triples.theta < 0.5).any(axis=1)
    assert failed.sum() == 20
    assert np.array_equal(np.isnan(triples.fit_chi2), failed)


def test_triples_of_triples_take_the_same_fits(photons: FlatPhotons) -> None:
    kind = fitted_triples(PhotonTriples, COVARIANCE, SUPERKEKB)
    loose = kind.choose(photons, LOOSE)
    narrow = Acceptance(0.1, (1.15, 2.7))
    for left in (loose.narrowed(narrow), loose.passing(loose.E[:, 0] > 4.0)):
        alone = kind(photons, left.event, left.index)
        assert len(left) > 20
        assert np.array_equal(left.fit_mass, alone.fit_mass, equal_nan=True)
        assert np.array_equal(left.fit_chi2, alone.fit_chi2, equal_nan=True)
