"""Speed and accuracy of the fit engine, next to other tools on the same workspaces.

    python benchmarks/engine.py [--json FILE] [--parts speed peers toys] [--peer-points N] ...

Times are CPU seconds of one thread; the best of several repetitions for the engine, the mean over
points for the peers. Set OMP_NUM_THREADS=1. ROOT and cabinetry take part when installed.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_peers
import numpy as np
from iminuit import Minuit

from alp_coffea.stats import engine, shapes
from alp_coffea.stats.engine import point_fits
from alp_coffea.stats.engine.results import Status, is_ok

_HERE = str(Path(__file__).parent)
POINTS = 489
LEVEL = 0.95


def window(
    mass: float,
    *,
    events: float,
    scale: float = 1.0,
    high: float = 20.0,
    bins: int = 100,
    order: int = 4,
    staterror: float = 0.0,
    shapesys: float = 0.0,
    data: np.ndarray | None = None,
) -> dict[str, Any]:
    """A Crystal Ball peak on a Bernstein background, 50 sigma wide, with three nuisances."""
    width = 0.02 + 0.01 * mass
    edges = mass + width * np.linspace(-20.0, 30.0, bins + 1)
    peak, wide, narrow = (
        scale * shapes.crystal_ball(edges, mass, factor * width, 1.2, 4.0)
        for factor in (1.0, 1.05, 0.95)
    )
    templates = events * shapes.bernstein(edges, order)
    truth = np.exp(-0.8 * np.linspace(0.0, 1.0, order + 1))
    background = truth @ templates
    samples: list[dict[str, Any]] = [
        {
            "name": "signal",
            "data": peak.tolist(),
            "modifiers": [
                {"name": "sigma", "type": "normfactor", "data": None},
                {"name": "efficiency", "type": "normsys", "data": {"hi": 1.053, "lo": 0.947}},
                {"name": "luminosity", "type": "normsys", "data": {"hi": 1.007, "lo": 0.993}},
                {
                    "name": "width",
                    "type": "histosys",
                    "data": {"hi_data": wide.tolist(), "lo_data": narrow.tolist()},
                },
            ],
        }
    ]
    for k, template in enumerate(templates):
        own: list[dict[str, Any]] = [{"name": f"b{k}", "type": "normfactor", "data": None}]
        if staterror:
            error = (staterror * background / np.sqrt(order + 1.0)).tolist()
            own.append({"name": "mc", "type": "staterror", "data": error})
        if shapesys and k == 0:
            own.append(
                {"name": "shape", "type": "shapesys", "data": (shapesys * template).tolist()}
            )
        samples.append({"name": f"background{k}", "data": template.tolist(), "modifiers": own})
    settings = [{"name": "sigma", "bounds": [[0.0, high]], "inits": [1.0]}]
    settings += [
        {"name": f"b{k}", "bounds": [[0.0, 1000.0]], "inits": [1.0]} for k in range(order + 1)
    ]
    return {
        "channels": [{"name": "window", "samples": samples}],
        "observations": [
            {"name": "window", "data": (background if data is None else data).tolist()}
        ],
        "measurements": [{"name": "scan", "config": {"poi": "sigma", "parameters": settings}}],
        "version": "1.0.0",
    }


def scan_windows(rng: np.random.Generator, **options: Any) -> list[dict[str, Any]]:
    """The windows of a mass scan with Poisson data, signal normalised to its expected limit."""
    masses = np.linspace(0.2, 9.7, POINTS)
    events = 600.0 + 8000.0 * np.exp(-masses)
    plain = [window(m, events=n, high=1e9) for m, n in zip(masses, events, strict=True)]
    limits = engine.compile(plain, poi="sigma").limits(LEVEL, observed=False).expected[:, 2]
    made = []
    for m, n, limit in zip(masses, events, limits, strict=True):
        asimov = window(m, events=n, **options)["observations"][0]["data"]
        data = rng.poisson(asimov).astype(float)
        made.append(window(m, events=n, scale=float(limit), data=data, **options))
    return made


def best_of(call: Callable[[], Any], repetitions: int) -> float:
    """Smallest CPU time of a call."""
    best = np.inf
    for _ in range(repetitions):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return float(best)


def kernel_seconds(compiled: engine.Engine, repetitions: int = 9) -> float:
    """All fits and limits of a scan, without packaging the results."""
    (group,) = compiled.groups
    rows = np.arange(group.size)
    return best_of(
        lambda: point_fits.scan(group, rows, group.observed, LEVEL, observed=True, expected=True),
        repetitions,
    )


def first_call() -> dict[str, float]:
    """Seconds of the first compile and scan in a fresh process, without and with its cache.

    CPU times of the process itself and of the one that helps it compile; for comparison those
    of a cached function that does nothing, which are numba's own.
    """
    code = (
        "import resource, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from alp_coffea.stats import engine\nimport engine as benchmark\n"
        "w = benchmark.window(3.0, events=3000.0)\n"
        "t, c = time.perf_counter(), time.process_time()\n"
        "engine.compile(w, poi='sigma').scan()\n"
        "r = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(time.perf_counter() - t, time.process_time() - c, r.ru_utime + r.ru_stime)\n"
    )
    nothing = (
        "import time\nfrom numba import njit\n"
        "@njit(cache=True)\ndef f(x):\n    return x\n"
        "t, c = time.perf_counter(), time.process_time()\n"
        "f(1.0)\nprint(time.perf_counter() - t, time.process_time() - c, 0.0)\n"
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "nothing.py"
        empty.write_text(nothing)
        runs = [
            ("cold first scan", [sys.executable, "-W", "ignore", "-c", code, _HERE]),
            ("later first scan", [sys.executable, "-W", "ignore", "-c", code, _HERE]),
            ("", [sys.executable, str(empty)]),
            ("numba's own start", [sys.executable, str(empty)]),
        ]
        for name, command in runs:
            done = subprocess.run(
                command,
                env={**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "cache")},
                capture_output=True,
                text=True,
                check=True,
            )
            if name:
                values = map(float, done.stdout.split())
                for kind, value in zip(("wall", "CPU", "CPU of the helper"), values, strict=True):
                    found[f"{name}, {kind} [s]"] = value
    return found


def against_peers(
    workspaces: list[dict[str, Any]], scan: engine.EngineScan, count: int
) -> dict[str, Any]:
    """Seconds per point and relative differences of limits, per peer."""
    chosen = np.linspace(0, len(workspaces) - 1, count).astype(int)
    report: dict[str, Any] = {}
    for name, peer in engine_peers.available().items():
        seconds, observed, expected, failures = [], [], [], 0
        for i in chosen:
            try:
                obs, exp, spent = peer(workspaces[i])
            except Exception as error:  # a peer's failure is a result
                failures += 1
                report.setdefault("errors", []).append(f"{name}: {type(error).__name__}")
                continue
            seconds.append(spent)
            observed.append(abs(obs / scan.limits.observed[i] - 1.0))
            expected.append(np.max(np.abs(exp / scan.limits.expected[i] - 1.0)))
        report[name] = {
            "seconds per point": float(np.mean(seconds)) if seconds else None,
            "failures": failures,
            "largest difference, observed": float(np.max(observed)) if seconds else None,
            "largest difference, expected": float(np.max(expected)) if seconds else None,
        }
    return report


class Reference:
    """-2 ln L of a window written independently, minimised by iminuit over the signed domain."""

    def __init__(self, spec: dict[str, Any]) -> None:
        samples = spec["channels"][0]["samples"]
        self.signal = np.array(samples[0]["data"])
        shift = samples[0]["modifiers"][3]["data"]
        self.up = np.array(shift["hi_data"]) - self.signal
        self.down = self.signal - np.array(shift["lo_data"])
        self.basis = np.array([s["data"] for s in samples[1:]])

    @staticmethod
    @functools.cache
    def _polynomial(lo: float, hi: float) -> np.ndarray:
        """Interpolation code 4: match value, slope and curvature of the exponentials at +-1."""
        k = np.arange(1, 7)
        rows, wanted = [], []
        for end, factor, slope in ((1.0, hi, np.log(hi)), (-1.0, lo, -np.log(lo))):
            rows += [end**k, k * end ** (k - 1), k * (k - 1) * end ** (k - 2)]
            wanted += [factor - 1.0, slope * factor, slope**2 * factor]
        return np.linalg.solve(np.array(rows), np.array(wanted))

    @classmethod
    def _factor(cls, alpha: float, lo: float, hi: float) -> tuple[float, float]:
        """Value and slope of a normsys."""
        if abs(alpha) >= 1.0:
            power = np.log(hi) if alpha > 0.0 else -np.log(lo)
            return float(np.exp(alpha * power)), float(power * np.exp(alpha * power))
        powers, k = alpha ** np.arange(7), np.arange(1, 7)
        c = cls._polynomial(lo, hi)
        return float(1.0 + c @ powers[1:]), float((c * k) @ powers[:-1])

    def _rates(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected counts (bins,) and their derivatives (parameters, bins)."""
        sigma, eff, lumi, a = x[:4]
        weight, slope = a, 1.0 if a > 0.0 else 0.0
        other, other_slope = 0.0, 1.0 - slope
        if abs(a) <= 1.0:
            even = a * a * (a * a * (3.0 * a * a - 10.0) + 15.0) / 16.0
            odd = a * (a * a * (18.0 * a * a - 40.0) + 30.0) / 16.0
            weight, other = a / 2 + even, a / 2 - even
            slope, other_slope = 0.5 + odd, 0.5 - odd
        elif a < 0.0:
            weight, other = 0.0, a
        shape = self.signal + weight * self.up + other * self.down
        (e, e1), (n, n1) = self._factor(eff, 0.947, 1.053), self._factor(lumi, 0.993, 1.007)
        derivatives = [
            e * n * shape,
            sigma * e1 * n * shape,
            sigma * e * n1 * shape,
            sigma * e * n * (slope * self.up + other_slope * self.down),
        ]
        return sigma * e * n * shape + x[4:] @ self.basis, np.vstack([derivatives, self.basis])

    def deviance(self, data: np.ndarray, x: np.ndarray) -> float:
        """-2 ln L relative to the saturated model; large outside the domain."""
        nu, _ = self._rates(x)
        if np.any(nu < 0.0) or np.any((nu == 0.0) & (data > 0.0)):
            return 1e10
        seen = data > 0.0
        total = np.sum(nu - data) + np.sum(data[seen] * np.log(data[seen] / nu[seen]))
        return float(2.0 * total + np.sum(x[1:4] ** 2))

    def gradient(self, data: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Derivatives of the deviance."""
        nu, derivatives = self._rates(x)
        slope = 2.0 * (derivatives @ (1.0 - data / np.maximum(nu, 1e-9)))
        slope[1:4] += 2.0 * x[1:4]
        return slope

    def minimum(self, data: np.ndarray, start: np.ndarray, errors: np.ndarray) -> float:
        """Smallest deviance that Minuit finds from ``start``."""
        minuit = Minuit(
            lambda x: self.deviance(data, x), start, grad=lambda x: self.gradient(data, x)
        )
        minuit.errordef, minuit.strategy, minuit.tol = 1.0, 1, 1e-6
        minuit.errors = errors
        minuit.limits = [(None, None)] + [(-5.0, 5.0)] * 3 + [(0.0, 1e3)] * len(self.basis)
        minuit.simplex(ncall=300)
        minuit.migrad(ncall=4000)
        return float(minuit.fval)


TOY_SETS = {  # events in a window, signal events per unit
    "every bin >= 0.5": [(2000.0, 1.0), (2000.0, 1e-4), (2000.0, 1e4), (150.0, 1.0)],
    "sparse": [(60.0, 1.0), (60.0, 1e-4), (60.0, 1e4), (100.0, 1.0)],
}


def toy_campaign(toys: int, references: int, rng: np.random.Generator) -> dict[str, Any]:
    """Failures among ``toys`` fits (null and signed count as two), and against iminuit."""
    report: dict[str, Any] = {}
    masses = np.linspace(0.3, 9.5, 10)
    for name, settings in TOY_SETS.items():
        total = failed = edge = compared_edge = lost = close = 0
        worst_kkt, unflagged, compared, worst = 0.0, 0, 0, -np.inf
        smallest = np.inf
        per_set = max(1, toys // (2 * len(TOY_SETS) * len(settings) * masses.size))
        for events, scale in settings:
            specs = [window(m, events=events, scale=scale, high=1e12) for m in masses]
            compiled = engine.compile(specs, poi="sigma")
            truth = np.array([s["observations"][0]["data"] for s in specs])
            smallest = min(smallest, float(truth.min()))
            for chunk in np.array_split(np.arange(per_set), max(1, per_set // 400)):
                data = rng.poisson(truth, size=(chunk.size, *truth.shape)).astype(float)
                fits = compiled.fit_toys(data)
                ok = is_ok(fits.status)
                total += 2 * ok.size
                failed += int(np.sum(~ok))
                edge += int(np.sum((fits.status & int(Status.AT_EDGE)) > 0))
                unflagged += int(np.sum(ok & ~(fits.kkt < 1e-6)))
                worst_kkt = max(worst_kkt, float(fits.kkt[ok].max()))
            for _ in range(references // (len(TOY_SETS) * len(settings))):
                point = int(rng.integers(masses.size))
                row = rng.poisson(truth[point]).astype(float)
                all_rows = truth.copy()
                all_rows[point] = row
                fits = compiled.fit_toys(all_rows[np.newaxis])
                reference = Reference(specs[point])
                error = float(fits.poi_error[0, point])
                error = error if np.isfinite(error) and error > 0.0 else 1.0 / scale
                start = np.concatenate(
                    [[0.0, 0.0, 0.0, 0.0], np.full(5, max(row.sum(), 1) / events)]
                )
                found = reference.minimum(
                    row, start, np.array([error, 1.0, 1.0, 1.0, *([0.1] * 5)])
                )
                excess = 0.5 * (float(fits.deviance[0, point]) - found)
                worst = max(worst, excess)
                lost += excess > 1e-6
                close += abs(excess) < 1e-4
                compared_edge += (int(fits.status[0, point]) & int(Status.AT_EDGE)) > 0
                compared += 1
        report[name] = {
            "fits": total,
            "smallest expectation of a bin": smallest,
            "toys": total // 2,
            "flagged: not converged, or without a domain": failed,
            "unflagged: ok with a KKT residual above 1e-6": unflagged,
            "noted: signed fits whose minimum lies on the edge of the domain": edge,
            "share flagged": failed / total,
            "share of signed fits noted": edge / (total // 2),
            "largest KKT residual of ok fits": worst_kkt,
            "fits compared with iminuit": compared,
            "largest NLL excess over iminuit": worst,
            "compared fits at the edge": compared_edge,
            "iminuit better by more than 1e-6": lost,
            "iminuit within 1e-4": close,
        }
    return report


def speed(report: dict[str, Any], rng: np.random.Generator) -> None:
    """First call, scan, toys and bin factors."""
    report.update(first_call())
    workspaces = scan_windows(rng)
    compiled = engine.compile(workspaces, poi="sigma")
    report["points not ok"] = int(np.sum(~compiled.scan(LEVEL).ok))
    report["scan kernel [ms]"] = 1e3 * kernel_seconds(compiled)
    report["workspaces to results [ms]"] = 1e3 * best_of(
        lambda: engine.compile(workspaces, poi="sigma").scan(LEVEL), 3
    )
    truth = np.array([w["observations"][0]["data"] for w in workspaces])
    toys = rng.poisson(truth, size=(8, *truth.shape)).astype(float)
    report["full-scan toy [ms]"] = 1e3 * best_of(lambda: compiled.fit_toys(toys), 7) / len(toys)
    for name, extra in (("staterror", {"staterror": 0.03}), ("shapesys", {"shapesys": 0.1})):
        other = engine.compile(scan_windows(rng, **extra), poi="sigma")
        report[f"{name}: time relative to without"] = (
            1e3 * kernel_seconds(other, 5) / report["scan kernel [ms]"]
        )


def peers(report: dict[str, Any], rng: np.random.Generator, points: int, checks: int) -> None:
    """Agreement with pyhf, and limits and times of the peers."""
    workspaces = scan_windows(rng)
    compiled = engine.compile(workspaces, poi="sigma")
    scan = compiled.scan(LEVEL)
    seconds = kernel_seconds(compiled) / POINTS
    report["pyhf at our minima and limits"] = str(compiled.check(checks, 1))
    report["peers"] = against_peers(workspaces, scan, points)
    for numbers in report["peers"].values():
        if isinstance(numbers, dict) and numbers["seconds per point"]:
            numbers["speed-up"] = numbers["seconds per point"] / seconds


def main() -> None:
    """Run the wanted parts, print the numbers and write them after each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--parts", nargs="+", default=["speed", "peers", "toys"])
    parser.add_argument("--peer-points", type=int, default=6)
    parser.add_argument("--check-points", type=int, default=20)
    parser.add_argument("--toys", type=int, default=1_000_000, help="toy fits in the campaign")
    parser.add_argument("--references", type=int, default=2000, help="toys compared with iminuit")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
    }
    for part in options.parts:
        rng = np.random.default_rng(2018)
        if part == "speed":
            speed(report, rng)
        elif part == "peers":
            peers(report, rng, options.peer_points, options.check_points)
        elif part == "toys":
            report["toy campaign"] = toy_campaign(options.toys, options.references, rng)
        else:
            parser.error(f"unknown part '{part}'; there are speed, peers and toys")
        text = json.dumps(report, indent=2) + "\n"
        if options.json:
            options.json.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
