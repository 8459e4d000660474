"""External events through the detector."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import uproot

from alp_coffea.errors import InputError, MissingFileError, UnreadableFileError
from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.simulation import generate, read_lhe, write_lhe_sample

pytest.importorskip("pylhe")

HALF = SUPERKEKB.sqrt_s / 2


def write_lhe(
    path: Path, events, *, first=-11, energies=(HALF, HALF), weights=None, sigma=(1.0, 2.0)
) -> Path:
    """``events``: lists of (pdg, status, mother, (E, px, py, pz)); beam A runs along +z."""
    lines = ['<LesHouchesEvents version="3.0">', "<init>"]
    lines.append(f"{first} {-first} {energies[0]!r} {energies[1]!r} 0 0 0 0 -4 {len(sigma)}")
    lines += [f"{value} 0.1 1.0 {i + 1}" for i, value in enumerate(sigma)]
    lines.append("</init>")
    for number, particles in enumerate(events):
        weight = 1.0 if weights is None else weights[number]
        lines += ["<event>", f"{len(particles) + 2} 1 {weight!r} 10.58 0.0073 0.118"]
        beams = (
            (first, -1, 0, (energies[0], 0.0, 0.0, energies[0])),
            (-first, -1, 0, (energies[1], 0.0, 0.0, -energies[1])),
        )
        for pdg, status, mother, (e, x, y, z) in (*beams, *particles):
            lines.append(f"{pdg} {status} {mother} {mother} 0 0 {x!r} {y!r} {z!r} {e!r} 0 0 9")
        lines.append("</event>")
    text = "\n".join([*lines, "</LesHouchesEvents>\n"])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def bhabha_like(n: int):
    """Asymmetric two-particle events that tell the electron's direction."""
    events = generate("ee", n, seed=1, isr=False, theta_min=0.3, theta_max=2.8)
    return events.p4


@pytest.mark.parametrize("suffix", [".lhe", ".lhe.gz"])
def test_electron_ends_up_along_plus_z(tmp_path: Path, suffix: str) -> None:
    p4 = bhabha_like(50)
    turned = p4 * [1, 1, -1, -1]  # beams exchanged: the same events seen from the other side
    for first, momenta in ((11, p4), (-11, turned)):
        particles = [
            [(11, 1, 1, event[0].tolist()), (-11, 1, 1, event[1].tolist())] for event in momenta
        ]
        found = read_lhe(write_lhe(tmp_path / f"a{suffix}", particles, first=first))
        np.testing.assert_allclose(found.particles.p4, p4.reshape(-1, 4), atol=1e-9)
        assert found.particles.pdg.tolist() == [11, -11] * 50
        assert found.particles.stable.all()
        assert (found.particles.mother == 0).all()


def test_unequal_head_on_beams_are_boosted_to_the_cm(tmp_path: Path) -> None:
    p4 = bhabha_like(20)
    head_on = Beams(7.0, SUPERKEKB.s / 28.0, 0.0)
    lab = head_on.to_lab(p4)
    particles = [[(11, 1, 1, e[0].tolist()), (-11, 1, 1, e[1].tolist())] for e in lab]
    energies = (7.0, SUPERKEKB.s / 28.0)
    found = read_lhe(write_lhe(tmp_path / "a.lhe", particles, first=11, energies=energies))
    np.testing.assert_allclose(found.particles.p4, p4.reshape(-1, 4), atol=1e-9)


def signal_particles(n: int, decayed: bool):
    events = generate("signal", n, seed=1, mass=1.0, isr=False)
    for event in events.p4:
        alp = (9000006, 2 if decayed else 1, 1, event[3].tolist())
        particles = [(22, 1, 1, event[0].tolist()), alp]
        if decayed:  # particle 4 of the event is the ALP
            particles += [(22, 1, 4, event[i].tolist()) for i in (1, 2)]
        yield particles


@pytest.mark.parametrize("decayed", [False, True])
def test_alps_decay(tmp_path: Path, decayed: bool) -> None:
    found = read_lhe(write_lhe(tmp_path / "a.lhe", signal_particles(200, decayed)))
    particles = found.particles
    assert len(found) == 200
    assert found.cross_section == pytest.approx(3.0)
    assert found.cross_section_error == pytest.approx(0.1 * np.sqrt(2))
    assert particles.pdg.reshape(-1, 4)[0].tolist() == [22, 9000006, 22, 22]
    assert particles.mother.reshape(-1, 4)[0].tolist() == [0, 0, 9000006, 9000006]
    assert particles.stable.reshape(-1, 4)[0].tolist() == [True, False, True, True]
    p4 = particles.p4.reshape(-1, 4, 4)
    np.testing.assert_allclose(p4[:, 2] + p4[:, 3], p4[:, 1], atol=1e-8)
    mass2 = p4[:, 2:, 0] ** 2 - np.sum(p4[:, 2:, 1:] ** 2, axis=-1)
    np.testing.assert_allclose(mass2, 0, atol=1e-7)


def test_ntuple_of_external_events(tmp_path: Path) -> None:
    lhe = write_lhe(tmp_path / "a.lhe", signal_particles(300, True), weights=[0.5, 1.5, 1.0] * 100)
    record = write_lhe_sample(tmp_path / "a.root", lhe, seed=4)
    assert record.events == 300
    assert record.cross_section == pytest.approx(3.0)
    arrays = uproot.open(tmp_path / "a.root")["events"].arrays(["weight", "mc_PDG", "n_gamma"])
    np.testing.assert_allclose(arrays["weight"], [0.5, 1.5, 1.0] * 100)
    assert arrays["mc_PDG"][0].to_list() == [22, 9000006, 22, 22]
    assert np.mean(arrays["n_gamma"] >= 3) > 0.4


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such LHE file"):
        read_lhe(tmp_path / "none.lhe")
    (tmp_path / "text.lhe").write_text("not xml")
    with pytest.raises(UnreadableFileError, match="not a readable LHE file"):
        read_lhe(tmp_path / "text.lhe")
    whole = write_lhe(tmp_path / "whole.lhe", signal_particles(5, True)).read_text()
    (tmp_path / "half.lhe").write_text(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFileError, match="not a readable LHE file"):
        read_lhe(tmp_path / "half.lhe")
    with pytest.raises(InputError, match="no events"):
        read_lhe(write_lhe(tmp_path / "a.lhe", []))
    particles = list(signal_particles(1, True))
    with pytest.raises(InputError, match=r"sqrt\(s\) = 13"):
        read_lhe(write_lhe(tmp_path / "a.lhe", particles, energies=(6.5, 6.5)))
    with pytest.raises(InputError, match="PDG codes"):
        read_lhe(write_lhe(tmp_path / "a.lhe", particles, first=2212))
