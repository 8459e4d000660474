"""Photon fusion e+ e- -> e+ e- a and its background e+ e- gamma gamma against reference numbers.

    python benchmarks/fusion.py [--quick] [--json FILE] [NAME ...]

NAME is one of amplitudes, signal, background, speed (default: all). Prints one line per quantity:
measured, target, ratio. Cross sections at sqrt(s) = 10.58 GeV, g = 1e-3/GeV, Born; the targets
were computed independently of this package.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.physics.constants import ELECTRON_MASS
from alp_coffea.simulation import cross_section, eea, eeg, generate, helicity
from alp_coffea.simulation.constants import E2
from alp_coffea.simulation.eegg_amplitude import matrix_element, polarisations, squared
from alp_coffea.simulation.helicity import light_cone

Array = NDArray[np.float64]
BEAMS = Beams.symmetric(10.58)
ROOT = BEAMS.sqrt_s
DEGREE = math.pi / 180
MASSES = (0.5, 1.0, 3.0, 5.0)
TOTAL = (1.588, 1.053, 0.371, 0.155)
WITH_PT = (0.1126, 0.0939, 0.0452, 0.0203)
ACCEPTED = (0.394, 0.557, 1.19, 1.88)
TAGS = {"theta_min": 17 * DEGREE, "theta_max": 150 * DEGREE, "frame": "lab"}
MINUS, PLUS, K1, K2 = range(4)


class Result(NamedTuple):
    """One line of the table; ``target`` is NaN where there is none."""

    name: str
    measured: float
    error: float = 0.0
    target: float = math.nan
    remark: str = ""

    def __str__(self) -> str:
        target = "" if math.isnan(self.target) else f"{self.target:10.5g}"
        ratio = "" if math.isnan(self.target) else f"{self.measured / self.target:8.4f}"
        error = f"{self.error:9.2g}" if self.error else ""
        return (
            f"{self.name:46s} {self.measured:11.5g} {error:9s} {target:10s} {ratio:8s} "
            f"{self.remark}"
        )


Results = Iterator[Result]


def four_bodies(seed: int, count: int) -> Array:
    """Points of the process's own sampling at wide angles, rows electron, positron, photons."""
    cuts = {"energy_min": 0.3, "theta_min": 0.4, "theta_max": math.pi - 0.4, "sqrt_s_min": 0.0}
    events = generate("eegg", count, seed=seed, beams=BEAMS, isr=False, frame="cm", **cuts)
    return events.p4[:, [2, 3, 0, 1]]


def tuples(point: Array) -> list[tuple[float, ...]]:
    return [tuple(float(x) for x in p) for p in point]


def amplitudes(share: float) -> Results:
    """Symmetries of the amplitudes; the worst of many points."""
    count = int(300 * share)
    gauge = bose = charge = 0.0
    turn = np.array([1.0, -1.0, 1.0, -1.0])
    for point in four_bodies(1, count):
        q, r, k, p = tuples(point)
        value = matrix_element(ROOT, q, r, k, p, ELECTRON_MASS)
        swapped = matrix_element(ROOT, q, r, p, k, ELECTRON_MASS)
        bose = max(bose, abs(swapped / value - 1))
        mirror = tuples(point * turn)
        conjugate = matrix_element(ROOT, mirror[1], mirror[0], *mirror[2:], ELECTRON_MASS)
        charge = max(charge, abs(conjugate / value - 1))
        along = light_cone(tuple(x / k[0] for x in k))
        zero = squared(ROOT, q, r, k, p, (along, along), polarisations(p), ELECTRON_MASS)
        gauge = max(gauge, zero / value)
    yield Result("e+e-gg: gauge, |M(eps -> k/E)|^2/|M|^2", gauge, remark="target < 1e-20")
    yield Result("e+e-gg: Bose symmetry", bose, remark="target < 1e-10")
    yield Result("e+e-gg: charge symmetry", charge, remark="target < 1e-10")
    yield from soft_limit()

    worst = conserved = 0.0
    beam = (ROOT / 2, 0.0, 0.0, math.sqrt(ROOT**2 / 4 - ELECTRON_MASS**2))
    events = generate("eea", count, seed=2, beams=BEAMS, mass=1.0, isr=False)
    for event in events.p4:
        q, r = tuples(event[2:4])
        value = eea.matrix_element(ROOT, q, r, 1.0)
        conjugate = eea.matrix_element(ROOT, *reversed(tuples(event[2:4] * turn)), 1.0)
        worst = max(worst, abs(conjugate / value - 1))
        row = helicity.bar(helicity.spinor(q, ELECTRON_MASS, 1, False))
        current = helicity.current(row, helicity.spinor(beam, ELECTRON_MASS, 1, False))
        left = helicity.product(
            current, light_cone(tuple(a - b for a, b in zip(beam, q, strict=True)))
        )
        size = sum(abs(x) ** 2 for x in current) * (beam[0] - q[0]) ** 2
        conserved = max(conserved, abs(left) ** 2 / size)
    yield Result("e+e-a: gauge, |J.k|^2/(|J| k0)^2", conserved, remark="target < 1e-20")
    yield Result("e+e-a: charge symmetry", worst, remark="target < 1e-10")


def soft_limit() -> Results:
    """|M|^2 over eikonal factor times |M(e+ e- gamma)|^2, at two soft energies."""
    half = ROOT / 2
    metric = np.array([1.0, -1, -1, -1])
    k = 2.0 * np.array([1, math.sin(1.2), 0, math.cos(1.2)])
    n = np.array([1, math.sin(2.0) * math.cos(2.5), math.sin(2.0) * math.sin(2.5), math.cos(2.0)])
    deviations = []
    for omega in (1e-3, 1e-2):
        soft = omega * np.array([1, math.sin(1.0), 0, -math.cos(1.0)])
        rest = np.array([ROOT, 0, 0, 0])

        def leptons(system: Array) -> tuple[Array, Array]:
            square = system @ (metric * system)
            minus = 0.5 * square / (system @ (metric * n)) * n
            return minus, system - minus

        q, r = leptons(rest - k - soft)
        hard_q, hard_r = leptons(rest - k)
        charges = [
            (-1, half * np.array([1, 0, 0, 1])),
            (1, half * np.array([1, 0, 0, -1])),
            (1, q),
            (-1, r),
        ]
        eikonal = -sum(
            a * b * (x @ (metric * y)) / ((x @ (metric * soft)) * (y @ (metric * soft)))
            for (a, x), (b, y) in itertools.product(charges, repeat=2)
        )
        hard = eeg.matrix_element(ROOT, hard_q, hard_r, k)
        value = matrix_element(ROOT, *tuples(np.array([q, r, k, soft])), 0.0)
        deviations.append(value / (E2 * eikonal * hard) - 1)
    yield Result("e+e-gg: soft limit, deviation at 1 MeV", deviations[0])
    ratio = deviations[1] / deviations[0]
    yield Result("  growth from 1 to 10 MeV (linear: 10)", ratio, target=10)


@njit
def diagrams(root, p4):  # type: ignore[no-untyped-def]
    """Fusion, strahlung and interference of events of shape (n, 5, 4)."""
    out = np.zeros((p4.shape[0], 3))
    for i in range(p4.shape[0]):
        q, r = p4[i, 2], p4[i, 3]
        if q[0] > 0.0:
            out[i] = eea.squares(root, (q[0], q[1], q[2], q[3]), (r[0], r[1], r[2], r[3]))
    return out


def mean(weight: Array) -> tuple[float, float]:
    return float(weight.mean()), float(weight.std() / math.sqrt(weight.size))


def signal(share: float) -> Results:
    """Cross sections and acceptance of e+ e- -> e+ e- a."""
    count = int(2**21 * share)
    for mass, total, with_pt, accepted in zip(MASSES, TOTAL, WITH_PT, ACCEPTED, strict=True):
        at = f"e+e-a, {mass} GeV: "
        value, error = cross_section("eea", beams=BEAMS, mass=mass, points=count)
        yield Result(f"{at}sigma [pb]", value, error, total, "+- 1 %")
        events = generate("eea", count, seed=3, beams=BEAMS, isr=False, mass=mass, weighted=True)
        leptons = events.p4[:, 2:4]
        above = (np.hypot(leptons[..., 1], leptons[..., 2]) > 0.1).all(axis=1)
        yield Result(f"{at}pT(e) > 0.1 [pb]", *mean(events.weight * above), with_pt, "+- 1.5 %")
        tagged, error = cross_section("eea", mass=mass, points=count, **TAGS)
        yield Result(
            f"{at}all in 17-150 deg [%]", 100 * tagged / value, 100 * error / value, accepted,
            "+- 2 %",
        )  # fmt: skip
        events = generate("eea", count // 2, seed=4, isr=False, mass=mass, weighted=True, **TAGS)
        parts = diagrams(SUPERKEKB.sqrt_s, events.p4)
        all_ = np.maximum(parts.sum(axis=1), 1e-300)
        strahlung, interference = (
            float(np.sum(events.weight * parts[:, i] / all_) / events.weight.sum()) for i in (1, 2)
        )
        yield Result("  s-channel share of these", strahlung, remark="target 0.17-0.20")
        yield Result("  interference", interference, remark="target -0.03 to -0.04")


def separated(p4: Array) -> NDArray[np.bool_]:
    """All E > 0.5 GeV and Delta R(eta, phi) > 0.4 between all pairs."""
    good = (p4[..., 0] > 0.5).all(axis=1)
    transverse = np.maximum(np.hypot(p4[..., 1], p4[..., 2]), 1e-12)
    eta, phi = np.arcsinh(p4[..., 3] / transverse), np.arctan2(p4[..., 2], p4[..., 1])
    for i, j in itertools.combinations(range(4), 2):
        delta = np.abs(phi[:, i] - phi[:, j])
        delta = np.minimum(delta, 2 * math.pi - delta)
        good &= np.hypot(eta[:, i] - eta[:, j], delta) > 0.4
    return good


def background(share: float) -> Results:
    """Cross section of e+ e- -> e+ e- gamma gamma."""
    cuts = {"energy_min": 0.5, "theta_min": 30 * DEGREE, "theta_max": 150 * DEGREE}
    events = generate(
        "eegg", int(2**22 * share), seed=5, beams=BEAMS, isr=False, frame="cm", sqrt_s_min=0.0,
        weighted=True, **cuts,
    )  # fmt: skip
    value, error = mean(events.weight * separated(events.p4))
    yield Result("e+e-gg, 30-150, E > 0.5, dR > 0.4 [pb]", value, error, 8.54, "+- 2 %")


@njit
def evaluate(root, mass, points):  # type: ignore[no-untyped-def]
    """All amplitudes of points of shape (n, 4, 4)."""
    total = 0.0
    for p in points:
        total += matrix_element(
            root,
            (p[0, 0], p[0, 1], p[0, 2], p[0, 3]),
            (p[1, 0], p[1, 1], p[1, 2], p[1, 3]),
            (p[2, 0], p[2, 1], p[2, 2], p[2, 3]),
            (p[3, 0], p[3, 1], p[3, 2], p[3, 3]),
            mass,
        )
    return total


def speed(share: float) -> Results:
    """Per core, CPU time, without compilation."""

    def rate(count: int, run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return count / (time.process_time() - start)

    count = int(200_000 * share)
    points = np.resize(four_bodies(6, 1000), (count, 4, 4))
    evaluate(ROOT, ELECTRON_MASS, points[:1])
    found = rate(count, lambda: evaluate(ROOT, ELECTRON_MASS, points))
    yield Result("e+e-gg amplitudes/s", found, remark="target >= 5e4")
    for mass in MASSES:
        generate("eea", 1, seed=7, mass=mass, **TAGS)
        found = rate(count // 2, lambda m=mass: generate("eea", count // 2, seed=7, mass=m, **TAGS))
        yield Result(
            f"e+e-a tagged, unweighted/s, {mass} GeV", found, remark="with radiation; >= 5e3"
        )
    generate("eegg", 1, seed=8)
    found = rate(count // 20, lambda: generate("eegg", count // 20, seed=8))
    yield Result("e+e-gg unweighted/s, default acceptance", found, remark="with radiation")


PARTS: dict[str, Callable[[float], Results]] = {
    "amplitudes": amplitudes,
    "signal": signal,
    "background": background,
    "speed": speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the statistics")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    print(f"{'':46s} {'measured':>11s} {'error':>9s} {'target':>10s} {'ratio':>8s}")
    found = []
    for name in arguments.names or PARTS:
        for result in PARTS[name](0.1 if arguments.quick else 1.0):
            print(result, flush=True)
            found.append(result)
    if arguments.json is not None:
        rows = [
            {key: None if value != value else value for key, value in result._asdict().items()}
            for result in found
        ]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
