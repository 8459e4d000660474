"""Cross sections of the generators against published numbers, closed forms, other integrators."""

from __future__ import annotations

import math

import dirac
import numpy as np
import pytest
from numba import njit

from alp_coffea.errors import PhysicsError
from alp_coffea.physics import theory
from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.physics.constants import ALPHA, GEV2_TO_PB, MUON_MASS
from alp_coffea.simulation import PROCESSES, cross_section, eeg, generate, ggg, mesons
from alp_coffea.simulation.sampling import radiator_exponent

DEGREE = math.pi / 180
BEAMS = Beams.symmetric(10.58)
S = BEAMS.s

#: physics specification: sigma(gamma a) at sqrt(s) = 10.58 GeV, g = 1e-3 /GeV [pb]
SIGNAL = {0.5: 0.1176, 1.0: 0.1152, 3.0: 0.0921, 5.0: 0.0555, 8.0: 0.00930}


def agrees(found: tuple[float, float], expected: float, error: float = 0.0) -> None:
    """Within four standard deviations, and those small enough to mean something."""
    total = math.hypot(found[1], error)
    assert total < 0.02 * expected
    assert abs(found[0] - expected) < 4 * total


@pytest.mark.parametrize("mass", SIGNAL)
def test_signal(mass: float) -> None:
    value, error = cross_section("signal", beams=BEAMS, mass=mass)
    assert error < 1e-3 * value
    assert value == pytest.approx(SIGNAL[mass], rel=3e-3)


@pytest.mark.parametrize("mass", [0.5, 5.0, 8.0, 9.7])
def test_radiation_lowers_the_signal_within_its_bounds(mass: float) -> None:
    value, error = cross_section("signal", beams=BEAMS, mass=mass, isr=True)
    born = float(theory.cross_section(mass, 1e-3, sqrt_s=BEAMS.sqrt_s))
    least = born * float(theory.radiative_fraction(mass, sqrt_s=BEAMS.sqrt_s))
    assert least < value - 4 * error
    assert value + 4 * error < born


@pytest.mark.parametrize("mass", [0.5, 5.0])
def test_signal_angular_spectrum_from_weights(mass: float) -> None:
    events = generate("signal", 400_000, seed=5, beams=BEAMS, mass=mass, isr=False, weighted=True)
    recoil = events.p4[:, 0]
    cosine = recoil[:, 3] / recoil[:, 0]
    mean = np.average(cosine**2, weights=events.weight)
    assert mean == pytest.approx(0.4, rel=3e-3)  # of 1 + cos^2


def test_three_photons() -> None:
    cuts = {"energy_min": 0.5, "theta_min": 30 * DEGREE, "theta_max": 150 * DEGREE}
    value, error = cross_section("ggg", beams=BEAMS, **cuts)
    assert error < 1e-3 * value
    assert value == pytest.approx(44.50, rel=3e-3)


def test_bhabha_near_the_published_value() -> None:
    value, _ = cross_section("ee", beams=BEAMS, theta_min=15 * DEGREE, theta_max=165 * DEGREE)
    assert value == pytest.approx(124.5e3, rel=0.05)  # R0 4.3.2, with higher orders


@njit
def _squares(bhabha, root, points):
    """|M|^2 of points of shape (n, 3, 4), with the factor for identical photons."""
    out = np.empty(points.shape[0])
    for i in range(out.size):
        k, q, r = points[i]
        if bhabha:
            out[i] = eeg.matrix_element(root, q, r, k)
        else:
            a, b = (
                root * (points[i, :, 0] - points[i, :, 3]),
                root * (points[i, :, 0] + points[i, :, 3]),
            )
            square = ggg.matrix_element(root * root, a[0], a[1], a[2], b[0], b[1], b[2])
            out[i] = square / 6.0
    return out


@pytest.mark.parametrize("process", ["ggg", "eeg"])
def test_against_flat_phase_space(process: str) -> None:
    """The same region with uniform phase space instead of the sampling channels.

    Photons away from the leptons by 0.3 rad, so that flat phase space converges.
    """
    cosine_cut = math.cos(40 * DEGREE)

    def inside(p4: np.ndarray) -> np.ndarray:
        photons = 3 if process == "ggg" else 1
        good = (p4[:, :photons, 0] > 1.0).all(axis=1)
        good &= (np.abs(p4[..., 3] / np.maximum(p4[..., 0], 1e-9)) < cosine_cut).all(axis=1)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            product = np.sum(p4[:, i, 1:] * p4[:, j, 1:], axis=1)
            good &= product < math.cos(0.3) * p4[:, i, 0] * p4[:, j, 0]
        return good

    points = 1_000_000
    momenta = dirac.rambo(np.random.default_rng(8), BEAMS.sqrt_s, points, 3)
    squares = _squares(process == "eeg", BEAMS.sqrt_s, momenta[inside(momenta)])
    volume = S / (256 * math.pi**3)  # massless three-body phase space
    factor = GEV2_TO_PB * volume / (2 * S) / points
    expected, error = factor * squares.sum(), factor * math.sqrt(np.sum(squares**2))

    cuts = {"energy_min": 1.0, "theta_min": 40 * DEGREE, "theta_max": 140 * DEGREE}
    events = generate(
        process, 1_000_000, seed=1, beams=BEAMS, isr=False, frame="cm", sqrt_s_min=0.0,
        weighted=True, **cuts,
    )  # fmt: skip
    weight = events.weight[inside(events.p4)] / events.weight.size
    agrees((weight.sum(), math.sqrt(np.sum(weight**2))), expected, error)


def test_two_photons_closed_form() -> None:
    c = math.cos(20 * DEGREE)
    expected = 2 * math.pi * ALPHA**2 / S * (math.log((1 + c) / (1 - c)) - c) * GEV2_TO_PB
    agrees(
        cross_section("gg", beams=BEAMS, theta_min=20 * DEGREE, theta_max=160 * DEGREE), expected
    )


def test_muon_pairs_closed_form() -> None:
    ratio = 4 * MUON_MASS**2 / S
    expected = 4 * math.pi * ALPHA**2 / (3 * S) * math.sqrt(1 - ratio) * (1 + ratio / 2)
    agrees(cross_section("mumu", beams=BEAMS), expected * GEV2_TO_PB)


@pytest.mark.parametrize(
    ("process", "published"), [("pi0g", 2.43), ("etag", 0.96), ("etaprimeg", 0.03)]
)
def test_mesons_are_normalised_to_the_published_cross_sections(
    process: str, published: float
) -> None:
    agrees(cross_section(process, beams=BEAMS), published)


def test_photon_of_radiative_return_integrates_to_its_closed_form() -> None:
    gap = 1e-6
    # substitution cos = tanh(y) resolves the beam directions
    y = np.linspace(-12, 12, 400_001)
    cosine = np.tanh(y)
    density = np.array([mesons.photon_angle(0.995, c, gap) for c in cosine[::4]])
    integral = np.trapezoid(density / np.cosh(y[::4]) ** 2, y[::4])
    assert integral == pytest.approx(math.log(4 / gap) - 1, rel=1e-4)


def test_omega_appears_in_the_pion_sample() -> None:
    events = generate("pi0g", 20_000, seed=3, isr=False)
    through = events.p4[:, 5, 0] > 0
    expected = 0.0835 * mesons.return_cross_section(SUPERKEKB.s) / 2.43
    assert through.mean() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 20_000))
    p4 = events.p4[through]
    pair = p4[:, 1] + p4[:, 2] + p4[:, 3]
    mass = np.sqrt(pair[:, 0] ** 2 - np.sum(pair[:, 1:] ** 2, axis=1))
    np.testing.assert_allclose(mass, mesons.OMEGA_MASS, rtol=1e-6)


def test_radiator_exponent() -> None:
    assert radiator_exponent(S) == pytest.approx(0.0877, abs=5e-5)


def test_radiation_leaves_the_normalisation_of_the_structure_function() -> None:
    """One leg's D integrates to 1 + O(beta^2), so a constant cross section stays."""
    value, _ = cross_section("etaprimeg", beams=BEAMS, isr=True)
    born, _ = cross_section("etaprimeg", beams=BEAMS)
    # the threshold factor takes a little away at small s'
    assert 0.98 < value / born < 1.005


def test_signal_scales_with_coupling_squared() -> None:
    weak, _ = cross_section("signal", beams=SUPERKEKB, mass=2.0, coupling=1e-4)
    strong, _ = cross_section("signal", beams=SUPERKEKB, mass=2.0, coupling=1e-3)
    assert strong / weak == pytest.approx(100, rel=1e-12)


def test_lab_cuts_are_cm_cuts_for_symmetric_beams() -> None:
    cuts = {"energy_min": 0.4, "theta_min": 0.5, "theta_max": 2.2}
    for process in ("ggg", "eeg", "mumug"):
        lab, error = cross_section(process, beams=BEAMS, frame="lab", points=2**18, **cuts)
        agrees(cross_section(process, beams=BEAMS, points=2**18, **cuts), lab, error)


@pytest.mark.parametrize(
    ("process", "arguments", "message"),
    [
        ("gggg", {}, "unknown process 'gggg'; did you mean 'ggg'"),
        ("signal", {}, "needs mass"),
        ("signal", {"mass": 11.0}, "mass = 11.0 GeV must lie in"),
        ("signal", {"mass": -1.0}, "mass = -1.0"),
        ("signal", {"mass": math.nan}, "mass = nan"),
        ("signal", {"mass": 1.0, "coupling": -1e-3}, "coupling = -0.001"),
        ("ggg", {"mass": 1.0}, "takes no mass"),
        ("ggg", {}, "infinite"),
        ("gg", {}, "infinite"),
        ("ggg", {"energy_min": 0.1}, "infinite"),
        ("ggg", {"energy_min": 9.0, "theta_min": 0.3, "theta_max": 2.5}, "energy_min = 9.0"),
        ("ggg", {"energy_min": 4.0, "theta_min": 0.3, "theta_max": 2.5}, "no phase space"),
        ("ee", {"theta_min": 17, "theta_max": 150}, "radians"),
        ("ee", {"theta_min": 2.0, "theta_max": 1.0}, "theta_min"),
        ("ee", {"theta_min": 1.0, "theta_max": 2.0, "frame": "CMS"}, "frame = 'CMS'"),
        ("mumu", {"sqrt_s_min": 20.0}, "sqrt_s_min = 20.0"),
        ("mumu", {"points": 0}, "points = 0"),
    ],
)
def test_bad_input_is_named(process: str, arguments: dict, message: str) -> None:
    with pytest.raises(PhysicsError, match=message):
        cross_section(process, beams=BEAMS, **arguments)


def test_crossing_beams_inside_a_lab_cut_are_noticed() -> None:
    """SuperKEKB's beams are 41.5 mrad off the detector axis."""
    cuts = {"energy_min": 0.5, "theta_max": 2.5, "frame": "lab"}
    with pytest.raises(PhysicsError, match=r"theta_min > 0\.0415"):
        cross_section("ggg", theta_min=0.03, **cuts)
    close, _ = cross_section("ggg", theta_min=0.06, **cuts)
    far, _ = cross_section("ggg", theta_min=0.12, **cuts)
    assert close > far > 0


def test_every_process_has_a_cross_section_and_default_cuts() -> None:
    for process in PROCESSES:
        mass = 1.0 if process in ("signal", "eea") else None
        events = generate(process, 20, seed=1, mass=mass)
        assert events.p4.shape == (20, len(events.pdg), 4)
        assert (events.weight > 0).all()
