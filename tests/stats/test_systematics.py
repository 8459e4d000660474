"""Nuisance sizes: measured effects of known size, interpolated, in the model where they belong."""

from __future__ import annotations

import hist
import numpy as np
import pytest

from alp_coffea.config import Nuisances
from alp_coffea.errors import ModelError
from alp_coffea.physics import SUPERKEKB, Beams
from alp_coffea.physics import kinematics as kin
from alp_coffea.physics.kinematic_fit import fit
from alp_coffea.stats.systematics import (
    NuisanceSizes,
    Systematics,
    mass2_per_sqrt_s,
    measure,
)

CASES = ["nominal", "photon_energy_up", "photon_energy_down", "photon_resolution_up"]


def sample(
    mass: float, *, up: float, down: float, smear: float, names: list[str] = CASES
) -> hist.Hist:
    """Gaussian peaks with exact contents: yields change by up/down, widths by ``smear``."""
    histogram = hist.Hist(
        hist.axis.StrCategory(names, name="variation"),
        hist.axis.StrCategory(["low_mass", "high_mass"], name="energy_set"),
        hist.axis.StrCategory(["diphoton", "recoil"], name="definition"),
        hist.axis.Regular(500, mass - 1, mass + 1, name="mass"),
        storage="weight",
    )
    centres = histogram.axes["mass"].centers
    for i, name in enumerate(names):
        scale = {"photon_energy_up": 1 + up, "photon_energy_down": 1 + down}.get(name, 1.0)
        width = 0.05 * (1 + smear if name == "photon_resolution_up" else 1)
        peak = np.exp(-0.5 * ((centres - mass) / width) ** 2)
        histogram.view().value[i] = 5000 * scale * peak / peak.sum()
    return histogram


def test_effects_come_back_with_their_size() -> None:
    samples = [(m, sample(m, up=-0.004 * m, down=0.002 * m, smear=0.1)) for m in (1.0, 3.0)]
    found = measure(Nuisances(), samples)
    at = found.at(3.0, "diphoton", "low_mass")
    assert at.efficiency["photon_energy"] == pytest.approx(0.009)  # mean of 0.012 and 0.006
    assert at.efficiency["photon_resolution"] == pytest.approx(0, abs=1e-12)
    assert at.efficiency["efficiency"] == 0.053
    assert at.efficiency["luminosity"] == 0.007
    assert at.width == pytest.approx(0.05, abs=0.002)  # half of ten per cent
    assert found.at(2.0, "recoil", "high_mass").efficiency["photon_energy"] == pytest.approx(0.006)
    assert found.at(9.0, "recoil", "high_mass").efficiency["photon_energy"] == pytest.approx(0.009)
    total = np.sqrt(0.053**2 + 0.007**2 + 0.009**2)
    assert at.total_efficiency == pytest.approx(total)


def test_without_variations_settings_are_all() -> None:
    sizes = measure(Nuisances(width=0.02), []).at(5.0, "recoil", "high_mass")
    assert sizes == NuisanceSizes({"efficiency": 0.045, "luminosity": 0.007}, 0.02)
    assert sizes == Systematics(Nuisances(width=0.02)).at(5.0, "recoil", "high_mass")


def test_sqrt_s_is_a_size_where_it_is_set() -> None:
    assert Systematics(Nuisances()).at(5.0, "fit", "high_mass").sqrt_s == 0.0
    assert Systematics(Nuisances(sqrt_s=0.002)).at(5.0, "fit", "high_mass").sqrt_s == 0.002
    varied = [(m, sample(m, up=0.0, down=0.0, smear=0.1)) for m in (1.0, 3.0)]
    measured = measure(Nuisances(sqrt_s=0.002), varied).at(2.0, "recoil", "high_mass")
    assert (measured.sqrt_s, measured.width > 0) == (0.002, True)


@pytest.mark.parametrize("mass", [1.0, 5.0, 9.3])
def test_shift_of_the_mass_is_that_of_exact_events_with_other_beams(mass: float) -> None:
    """Three photons of a signal event, seen by beams 0.1 % higher."""
    s = SUPERKEKB.s
    energy = (s - mass**2) / (2 * SUPERKEKB.sqrt_s)
    recoil = np.array([energy, energy * 0.6, 0.0, energy * 0.8])
    # the pair decays across its flight, in the plane of the event and out of it
    half = (np.array([SUPERKEKB.sqrt_s, 0, 0, 0]) - recoil) / 2
    across = mass / 2 * np.array([0.0, 0.8 * 0.6, 0.8, -0.6 * 0.6])
    photons = SUPERKEKB.to_lab(np.stack([recoil, half + across, half - across]))
    e, p = photons[:, 0], photons[:, 1:]
    theta, phi = np.arccos(p[:, 2] / e), np.arctan2(p[:, 1], p[:, 0])
    delta = 1e-3
    higher = Beams(
        (1 + delta) * SUPERKEKB.electron_energy,
        (1 + delta) * SUPERKEKB.positron_energy,
        SUPERKEKB.crossing_angle,
    )

    def recoil_mass2(beams: Beams) -> float:
        return float(kin.recoil_mass2(kin.energy_cm(e[0], theta[0], phi[0], beams), beams.sqrt_s))

    def fitted(beams: Beams) -> float:
        # angles much better known than energies, as they are
        covariance = np.array([np.diag([0.05 * x, 1e-4, 1e-4]) ** 2 for x in e])
        return float(fit([e], [theta], [phi], [covariance], beams, groups=[(1, 2)]).mass2[0, 0])

    for definition, mass2 in (("recoil", recoil_mass2), ("fit", fitted)):
        assert mass2(SUPERKEKB) == pytest.approx(mass**2, abs=1e-6)
        shift = (mass2(higher) - mass2(SUPERKEKB)) / delta
        expected = mass2_per_sqrt_s(definition, mass, SUPERKEKB.sqrt_s)
        assert shift == pytest.approx(expected, rel=0.02)
    assert mass2_per_sqrt_s("diphoton", mass, SUPERKEKB.sqrt_s) == 0.0


def test_noise_in_the_width_is_smoothed() -> None:
    rng = np.random.default_rng(1)
    masses = np.geomspace(0.3, 9, 20)
    samples = [(m, sample(m, up=0, down=0, smear=0.1 + rng.normal(0, 0.02))) for m in masses]
    found = measure(Nuisances(), samples)
    sizes = [found.at(m, "diphoton", "low_mass").width for m in masses]
    assert np.std(sizes) < 0.007
    assert np.mean(sizes) == pytest.approx(0.05, abs=0.005)


def test_too_few_candidates_say_nothing() -> None:
    empty = sample(2.0, up=0.1, down=0.1, smear=0.1)
    empty.view().value *= 0
    found = measure(Nuisances(), [(2.0, empty)])
    at = found.at(2.0, "diphoton", "low_mass")
    assert (at.efficiency["photon_energy"], at.width) == (0, 0)


def test_samples_must_have_the_same_variations() -> None:
    one = sample(1.0, up=0, down=0, smear=0)
    two = sample(2.0, up=0, down=0, smear=0, names=CASES[:2])
    with pytest.raises(ModelError, match="signal sample at 2 GeV has the variations"):
        measure(Nuisances(), [(1.0, one), (2.0, two)])
