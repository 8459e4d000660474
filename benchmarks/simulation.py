"""The embedded Monte Carlo against published numbers, and its speed.

    python benchmarks/simulation.py [--quick] [NAME ...]

NAME is one of cross-sections, yields, sensitivity, knee, efficiency, crossing, speed (default:
all). Prints one line per quantity: measured, target, ratio. The selection below is written out in
numpy from R0 chapter 5, independent of the processors.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.simulation import cross_section, generate, write_sample
from alp_coffea.simulation.columns import Particles
from alp_coffea.simulation.detector import CLUSTER_COLUMNS, TRACK_COLUMNS, DetectedEvents, detect
from alp_coffea.simulation.generator import cross_section_with_cuts, generation_cuts
from alp_coffea.simulation.settings import Detector

Array = NDArray[np.float64]
ROOT_S = 10.58
LUMINOSITY = 445.0
DEGREE = math.pi / 180
BATCH = 32_768
COLUMN = {name: i for i, name in enumerate(CLUSTER_COLUMNS)}
TRACK = {name: i for i, name in enumerate(TRACK_COLUMNS)}


class Result(NamedTuple):
    """One line of the table; ``target`` is NaN where there is none."""

    name: str
    measured: float
    target: float = math.nan
    remark: str = ""

    def __str__(self) -> str:
        target = "" if math.isnan(self.target) else f"{self.target:11.5g}"
        ratio = "" if math.isnan(self.target) else f"{self.measured / self.target:8.4f}"
        return f"{self.name:58s} {self.measured:11.5g} {target:11s} {ratio:8s}  {self.remark}"


Results = Iterator[Result]


class Triples:
    """The three most energetic photons of the events that have them, arrays of shape (k, 3)."""

    def __init__(self, particles: Particles, seen: DetectedEvents, energy: float, theta: Array):
        events = seen.cluster_counts.size
        event = np.repeat(np.arange(events), seen.cluster_counts)
        clusters = seen.clusters
        keep = clusters[COLUMN["E"]] >= energy
        keep &= (clusters[COLUMN["theta"]] > theta[0]) & (clusters[COLUMN["theta"]] < theta[1])
        if energy > 0.2:  # the final selection; the loose one has no cut on crystals
            keep &= clusters[COLUMN["clusterNHits"]] > 1.5
        event, clusters = event[keep], clusters[:, keep]
        order = np.lexsort((-clusters[COLUMN["E"]], event))
        event, clusters = event[order], clusters[:, order]
        count = np.bincount(event, minlength=events)
        first = np.cumsum(count) - count
        self.event = np.flatnonzero(count >= 3)
        self.columns = clusters[:, first[self.event][:, None] + np.arange(3)]
        e, t, p = self["E"], self["theta"], self["phi"]
        sine = np.sin(t)
        self.p4 = np.stack([e, e * sine * np.cos(p), e * sine * np.sin(p), e * np.cos(t)], axis=-1)
        tracks = np.repeat(np.arange(events), seen.track_counts)
        good = (seen.tracks[TRACK["nCDCHits"]] > 0) & (seen.tracks[TRACK["dr"]] < 1.0)
        good &= np.abs(seen.tracks[TRACK["dz"]]) < 5.0
        self.good_tracks = np.bincount(tracks[good], minlength=events)[self.event]
        rows = particles.offsets[self.event][:, None] + np.maximum(self["truth"], 0).astype(int)
        self.mother = np.where(self["truth"] >= 0, particles.mother[rows], -1)

    def __getitem__(self, name: str) -> Array:
        return self.columns[COLUMN[name]]

    def mass3(self) -> Array:
        total = self.p4.sum(axis=1)
        return np.sqrt(np.maximum(total[:, 0] ** 2 - np.sum(total[:, 1:] ** 2, axis=1), 0.0))

    def final(self) -> NDArray[np.bool_]:
        """R0 chapter 5 after the photon cuts."""
        ratio = self.mass3() / SUPERKEKB.sqrt_s
        good = (ratio >= 0.88) & (ratio <= 1.03) & (self.good_tracks == 0)
        theta, phi = self["theta"], self["phi"]
        distance = np.zeros_like(theta)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            d_theta = np.abs(theta[:, i] - theta[:, j])
            d_phi = np.abs(phi[:, i] - phi[:, j])
            d_phi = np.minimum(d_phi, 2 * math.pi - d_phi)
            good &= (d_theta > 0.014) | (d_phi > 0.40)
            distance[:, i] += d_theta**2 + d_phi**2
            distance[:, j] += d_theta**2 + d_phi**2
        isolated = distance.argmax(axis=1)[:, None]
        good &= np.take_along_axis(self["clusterZernikeMVA"], isolated, axis=1)[:, 0] > 0.6
        t, dt99 = self["clusterTiming"], self["clusterErrorTiming"]
        mean = np.sum(t / dt99**2, axis=1) / np.sum(1 / dt99**2, axis=1)
        return good & (np.max(np.abs(t - mean[:, None]) / dt99, axis=1) < 10)

    def masses2(self) -> tuple[Array, Array]:
        """m^2 of the pair and of the recoil, shape (k, 3): column i with photon i as recoil."""
        diphoton, recoil = [], []
        cm = SUPERKEKB.to_cm(self.p4)
        for i in range(3):
            a, b = (self.p4[:, j] for j in range(3) if j != i)
            pair = a + b
            diphoton.append(pair[:, 0] ** 2 - np.sum(pair[:, 1:] ** 2, axis=1))
            recoil.append(SUPERKEKB.s - 2 * SUPERKEKB.sqrt_s * cm[:, i, 0])
        return np.stack(diphoton, axis=1), np.stack(recoil, axis=1)


def simulate(
    process: str,
    n: int,
    use: Callable[[Particles, DetectedEvents, Array], Any],
    *,
    seed: int = 11,
    mass: float | None = None,
    isr: bool = True,
    weight: bool = False,
    detector: str | dict[str, Any] = "phase2-2018",
) -> list[Any]:
    """Events of a process through the detector, batch by batch into ``use``."""
    results = []
    for first in range(0, n, BATCH):
        events = generate(
            process, min(BATCH, n - first), seed=seed, mass=mass, isr=isr, first=first
        )
        particles = Particles.of(events)
        seen = detect(
            particles.p4,
            particles.pdg,
            particles.stable,
            particles.offsets,
            seed=seed,
            first=first,
            beams=SUPERKEKB,
            detector=Detector.parse(detector),
            purpose=process,
            lost_tracks="weight" if weight else "simulate",
        )
        results.append(use(particles, seen, events.weight * seen.weight))
    return results


BARREL = np.array([37.3, 123.7]) * DEGREE
CDC = np.array([17.0, 150.0]) * DEGREE


def cross_sections(_: float) -> Results:
    beams = Beams.symmetric(ROOT_S)
    for mass, target in {0.5: 0.1176, 1: 0.1152, 3: 0.0921, 5: 0.0555, 8: 0.00930}.items():
        value, error = cross_section("signal", beams=beams, mass=mass)
        yield Result(f"sigma(gamma a), m = {mass} [pb]", value, target, f"± {error:.1g}")
        events = generate("signal", 2**20, seed=4, beams=beams, mass=mass, isr=False, weighted=True)
        cosine = events.p4[:, 0, 3] / events.p4[:, 0, 0]
        yield Result("    <cos^2 theta*>", np.average(cosine**2, weights=events.weight), 0.4)
    barrel = {"theta_min": 30 * DEGREE, "theta_max": 150 * DEGREE}
    value, error = cross_section("ggg", beams=beams, energy_min=0.5, **barrel)
    yield Result("sigma(ggg), E* > 0.5, 30-150 degrees [pb]", value, 44.50, f"± {error:.2g}")
    value, error = cross_section("ee", beams=beams, theta_min=15 * DEGREE, theta_max=165 * DEGREE)
    yield Result("sigma(ee), 15-165 degrees [nb]", value / 1000, 124.5, f"± {error / 1000:.2g}")
    for name, target in (("pi0g", 2.43), ("etag", 0.96), ("etaprimeg", 0.03)):
        value, error = cross_section(name, beams=beams)
        yield Result(f"sigma({name}) [pb]", value, target, f"± {error:.2g} (normalised to it)")


#: events per process and whether lost tracks are a weight
YIELDS = {
    "ggg": (2_000_000, False),
    "gg": (3_000_000, False),
    "eeg": (2_000_000, True),
    "ee": (3_000_000, True),
    "pi0g": (200_000, False),
    "etag": (100_000, False),
    "etaprimeg": (50_000, False),
}


def yields(scale: float) -> Results:
    totals = {0.65: 0.0, 1.0: 0.0}
    variances = {0.65: 0.0, 1.0: 0.0}
    for process, (full, by_weight) in YIELDS.items():
        n = int(full * scale)
        cuts = generation_cuts(process)
        sigma, _ = cross_section_with_cuts(
            process, cuts=cuts, beams=SUPERKEKB, isr=True, mass=None, coupling=1e-3
        )

        def count(particles: Particles, seen: DetectedEvents, weight: Array) -> Array:
            found = []
            for energy in totals:
                triples = Triples(particles, seen, energy, BARREL)
                kept = weight[triples.event[triples.final()]]
                found += [kept.sum(), np.sum(kept**2)]
            return np.array(found)

        sums = np.sum(simulate(process, n, count, weight=by_weight), axis=0)
        factor = 3 * sigma * LUMINOSITY / n
        for k, energy in enumerate(totals):
            expected, variance = factor * sums[2 * k], factor**2 * sums[2 * k + 1]
            totals[energy] += expected
            variances[energy] += variance
            remark = f"± {math.sqrt(variance):.1f}"
            yield Result(f"    {process}, E > {energy}", expected, remark=remark)
    for energy, target in ((0.65, 15225.0), (1.0, 11156.0)):
        remark = f"± {math.sqrt(variances[energy]):.0f}"
        yield Result(
            f"candidates at 445/pb, E > {energy}, all backgrounds", totals[energy], target, remark
        )
    yield Result("    their ratio", totals[1.0] / totals[0.65], 0.733)
    factors = 15777 / totals[0.65], 11625 / totals[1.0]
    yield Result("    data/prediction E > 1.0 over E > 0.65", factors[1] / factors[0], 1.0)


def sensitivity(scale: float) -> Results:
    """Changes of the yield of three photons; the expectations are sizes, not targets."""
    n = int(1_000_000 * scale)

    def count(particles: Particles, seen: DetectedEvents, weight: Array) -> Array:
        both = (Triples(particles, seen, energy, BARREL) for energy in (0.65, 1.0))
        return np.array([weight[triples.event[triples.final()]].sum() for triples in both])

    def scaled(factor: float) -> dict[str, Any]:
        names = ("energy_stochastic", "energy_constant", "energy_noise")
        values = Detector().calorimeter.model_dump()
        return {"calorimeter": {name: factor * values[name] for name in names}}

    def yields_of(detector: dict[str, Any], isr: bool) -> Array:
        cuts = generation_cuts("ggg")
        sigma, _ = cross_section_with_cuts(
            "ggg", cuts=cuts, beams=SUPERKEKB, isr=isr, mass=None, coupling=1e-3
        )
        counted = simulate("ggg", n, count, detector=detector, isr=isr)
        return sigma * np.asarray(np.sum(counted, axis=0))

    nominal = yields_of({}, True)
    tail = {"calorimeter": {"energy_tail_alpha": 0.6, "energy_tail_n": 3.0}}
    for name, detector, isr, expected in (
        ("energy resolution x 0.7", scaled(0.7), True, 1.01),
        ("energy resolution x 1.4", scaled(1.4), True, 0.97),
        ("heavier tail, alpha = 0.6, n = 3", tail, True, 0.85),
    ):
        changed = yields_of(detector, isr) / nominal
        yield Result(
            name, changed[0], expected, f"ratio of the two sets x {changed[1] / changed[0]:.4f}"
        )
    changed = nominal / yields_of({}, False)
    yield Result(
        "radiation", changed[0], 0.92, f"ratio of the two sets x {changed[1] / changed[0]:.4f}"
    )


def knee(scale: float) -> Results:
    n = int(6_000_000 * scale)
    edges = np.arange(5.0, 33.01, 0.25)

    def fill(particles: Particles, seen: DetectedEvents, weight: Array) -> Array:
        spectra = []
        for energy in (0.65, 1.0):
            triples = Triples(particles, seen, energy, BARREL)
            kept = triples.final()
            mass2 = triples.masses2()[0][kept]
            weights = np.repeat(weight[triples.event[kept]], 3)
            spectra.append(np.histogram(mass2.ravel(), edges, weights=weights)[0])
        return np.array(spectra)

    spectra = np.sum(simulate("ggg", n, fill), axis=0)
    centres = 0.5 * (edges[:-1] + edges[1:])
    for spectrum, ranges, target in (
        (spectra[0], ((8, 12), (15, 22)), 13.0),
        (spectra[1], ((13, 18), (23, 30)), 20.0),
    ):
        lines = []
        for low, high in ranges:
            use = (centres > low) & (centres < high)
            error = np.sqrt(np.maximum(spectrum[use], 1))
            lines.append(np.polyfit(centres[use], spectrum[use], 1, w=1 / error))
        crossing = (lines[1][1] - lines[0][1]) / (lines[0][0] - lines[1][0])
        yield Result(f"knee of dN/dm^2, lines over {ranges} [GeV^2]", crossing, target)


def efficiency(scale: float) -> Results:
    n = int(200_000 * scale)

    def count(particles: Particles, seen: DetectedEvents, weight: Array) -> float:
        triples = Triples(particles, seen, 0.1, CDC)
        ratio = triples.mass3() / SUPERKEKB.sqrt_s
        return float(weight[triples.event[(ratio >= 0.80) & (ratio <= 1.05)]].sum())

    for mass, target in ((0.5, 68.9), (3.0, 65.8), (9.3, 67.9)):
        born, _ = cross_section("signal", mass=mass)
        radiated, _ = cross_section("signal", mass=mass, isr=True)
        selected = 100 * sum(simulate("signal", n, count, mass=mass)) / n
        remark = f"± {selected / math.sqrt(n * selected / 100):.2g}; x sigma_ISR/sigma_Born: "
        yield Result(
            f"loose efficiency, m = {mass} [%]",
            selected,
            target,
            remark + f"{selected * radiated / born:.2f}",
        )


def crossing(scale: float) -> Results:
    from scipy.optimize import minimize

    def negative_log_likelihood(x: Array, values: Array) -> float:
        mean, sigma, alpha, power = x
        if sigma <= 0 or alpha <= 0.05 or power <= 1.01:
            return 1e30
        t = (values - mean) / sigma
        core = math.sqrt(math.pi / 2) * (1 + math.erf(alpha / math.sqrt(2)))
        tail = power / alpha / (power - 1) * math.exp(-0.5 * alpha**2)
        log_tail = -0.5 * alpha**2 - power * np.log(
            np.maximum(1 - alpha / power * (alpha + t), 1e-12)
        )
        log_density = np.where(t > -alpha, -0.5 * t * t, log_tail)
        return float(-np.sum(log_density) + values.size * math.log(sigma * (core + tail)))

    def width(values: Array, side: float) -> float:
        values = side * values
        middle = np.median(values)
        spread = 0.5 * np.diff(np.quantile(values, [0.16, 0.84]))[0]
        values = values[np.abs(values - middle) < 8 * spread]
        best = minimize(
            negative_log_likelihood,
            [middle, spread, 1.2, 5.0],
            args=(values,),
            method="Nelder-Mead",
            options={"maxiter": 2000, "xatol": 1e-4, "fatol": 1e-3},
        )
        return float(best.x[1])

    masses = np.array([5.0, 5.5, 6.0, 6.5, 7.0, 7.5])
    logs = []
    for mass in masses:
        energy = 1.0 if mass < 4 else 0.65

        def matched(
            particles: Particles, seen: DetectedEvents, _: Array, energy: float = energy
        ) -> Array:
            triples = Triples(particles, seen, energy, BARREL)
            kept = triples.final() & np.all(triples["truth"] >= 0, axis=1)
            kept &= np.sum(triples.mother == 9000006, axis=1) == 2
            diphoton, recoil = triples.masses2()
            right = (triples.mother != 9000006) & kept[:, None]
            return np.stack([diphoton[right], recoil[right]])

        n = int(100_000 * scale)
        values = np.concatenate(simulate("signal", n, matched, mass=mass, isr=False), axis=1)
        # the recoil mass has its tail on the high side: energies are measured too low
        sigmas = width(values[0], 1.0), width(values[1], -1.0)
        yield Result(f"    sigma(m^2) of the pair, m = {mass} [GeV^2]", sigmas[0])
        yield Result(f"    sigma(m^2) of the recoil, m = {mass} [GeV^2]", sigmas[1])
        logs.append(math.log(sigmas[0] / sigmas[1]))
    slope, offset = np.polyfit(masses, logs, 1)
    yield Result("mass where the widths cross [GeV]", -offset / slope, 6.6)


def speed(scale: float) -> Results:
    def rate(action: Callable[[], Any], n: int) -> float:
        best = math.inf
        action()  # compile, integrate, warm up
        for _ in range(3):
            start = time.process_time()  # one thread; other users of the machine do not count
            action()
            best = min(best, time.process_time() - start)
        return n / best

    for process, target, size in (("ggg", 2e5, 200_000), ("eeg", 3e4, 50_000)):
        n = int(size * max(scale, 0.2))
        value = rate(lambda p=process, m=n: generate(p, m, seed=1), n)  # type: ignore[misc]
        yield Result(f"{process} unweighted, with radiation [events/s]", value, target)
    events = generate("ggg", BATCH, seed=1)
    particles = Particles.of(events)
    detector = Detector()
    detected = rate(
        lambda: detect(
            particles.p4,
            particles.pdg,
            particles.stable,
            particles.offsets,
            seed=1,
            first=0,
            beams=SUPERKEKB,
            detector=detector,
        ),
        BATCH,
    )
    yield Result("detector [events/s]", detected, 4e5)
    n = 4 * BATCH
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ggg.root"
        everything = rate(lambda: write_sample(path, "ggg", n, seed=1), n)
    generated = rate(lambda: generate("ggg", BATCH, seed=1), BATCH)
    writing = 1 / (1 / everything - 1 / detected - 1 / generated)
    yield Result("writing, incl. digest and conversion [events/s]", writing, detected / 3)
    yield Result("    generated, detected and written [events/s]", everything)


BENCHMARKS = {
    "cross-sections": cross_sections,
    "yields": yields,
    "sensitivity": sensitivity,
    "knee": knee,
    "efficiency": efficiency,
    "crossing": crossing,
    "speed": speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("name", nargs="*", choices=[*BENCHMARKS, []], help="what to measure")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    arguments = parser.parse_args()
    print(f"{'quantity':58s} {'measured':>11s} {'target':>11s} {'ratio':>8s}")
    for name in arguments.name or BENCHMARKS:
        for result in BENCHMARKS[name](0.1 if arguments.quick else 1.0):
            print(result, flush=True)


if __name__ == "__main__":
    main()
