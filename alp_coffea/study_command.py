"""The subcommand ``alp-coffea study``: is the model of a run right? Tables and figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alp_coffea.files import write_table

if TYPE_CHECKING:
    from alp_coffea.run_studies import Study

OK = 0


def add_study(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``alp-coffea study``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder of a run")
    parser.add_argument("which", nargs="+", choices=tuple(_STUDIES), metavar="STUDY",
                        help=", ".join(_STUDIES))  # fmt: skip
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth mass only")
    parser.add_argument("--mass", type=float, default=3.0, help="of single-mass figures [GeV]")
    parser.add_argument("--toys", type=int, default=1000, help="of the whole scan, or of each cell")
    parser.add_argument("--threads", type=int, default=1, help="for toys")
    parser.add_argument("--seed", type=int, default=0, help="of toys")
    parser.add_argument("--length", type=float, default=30.0, help="of accepted decays [cm]")
    parser.add_argument("--luminosity", type=float, default=50_000.0, help="to project to [1/pb]")


def study_command(arguments: argparse.Namespace) -> int:
    """Write ``studies/*.csv`` and figures; print what matters."""
    from rich.console import Console

    from alp_coffea.results import load
    from alp_coffea.run_studies import Study

    study = Study.of(load(arguments.out), every=arguments.every)
    console = Console(highlight=False, soft_wrap=True)
    (study.run.folder / "studies").mkdir(exist_ok=True)
    for name in arguments.which:
        for line in _STUDIES[name](study, arguments):
            console.print(f"{name}: {line}")
    console.print(f"tables in {study.run.folder / 'studies'}")
    return OK


def _write(study: Study, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    write_table(rows, study.run.folder / "studies" / f"{name}.csv")


def _save(study: Study, figure: Any, name: str) -> None:
    from alp_coffea import plots

    plots.save(figure, study.run.folder / "studies", name)


def _synthetic(study: Study) -> bool:
    return bool(study.run.manifest["synthetic"])


def _orders(study: Study, _: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.plots import model_checks as figures
    from alp_coffea.run_studies import flat
    from alp_coffea.stats.orders import combinations, sufficient_order

    fits = study.orders()
    _write(study, "orders", (flat(fit, reduced=fit.reduced) for fit in fits))
    lines = []
    regions = {
        (fit.definition, study.settings.window(fit.mass, fit.definition)): None for fit in fits
    }
    for definition, row in regions:
        own = [
            f for f in fits
            if f.definition == definition and study.settings.window(f.mass, f.definition) == row
        ]  # fmt: skip
        best, *_others = combinations(own)
        lines.append(
            f"{definition} from {row.above:g} GeV: chi2/ndf closest to one with order "
            f"{best.order}, -{best.left:g}/+{best.right:g} widths (mean {best.mean:.2f}); "
            f"settings have order {row.order}, -{row.left:g}/+{row.right:g}"
        )
    nominal = [
        f for f in fits
        if f.left == study.settings.window(f.mass, f.definition).left
    ]  # fmt: skip
    by_mass: dict[float, list[Any]] = {}
    for fit in nominal:
        by_mass.setdefault(fit.mass, []).append(fit)
    chosen = [sufficient_order(by_mass[mass]) for mass in sorted(by_mass)]
    lines.append(f"F-test stops at order {np.median(chosen):g} (median over masses)")
    _save(study, figures.orders(nominal, chosen, synthetic=_synthetic(study)), "orders")
    return lines


def _basis(study: Study, _: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.run_studies import flat

    rows = study.bases()
    _write(study, "basis", (flat(row) for row in rows))
    price = np.array([row.delta_nll for row in rows])
    ratio = np.array([row.expected[1] / row.expected[0] for row in rows])
    spurious = np.array([row.spurious_z for row in rows])
    rms = np.sqrt(np.nanmean(spurious**2, axis=0))
    return [
        (
            "non-negative coefficients cost more than 0.5 in -ln L at "
            f"{np.mean(price > 0.5):.1%} of masses (largest {price.max():.2f})"
        ),
        f"spurious signal rms {rms[0]:.2f} non-negative, {rms[1]:.2f} free",
        (
            f"expected limit free over non-negative: median {np.median(ratio):.3f}, "
            f"largest {ratio.max():.3f}"
        ),
    ]


def _impacts(study: Study, arguments: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.plots import model_checks as figures
    from alp_coffea.run_studies import flat

    found, effects = study.impacts(), study.systematic_effects()
    if study.blinded:  # the data are simulation then: nothing observed
        effects = [_hidden(effect) for effect in effects]
    _write(
        study,
        "impacts",
        (
            {"mass": r.mass, "definition": r.definition, "sigma": r.sigma_hat,
             "sigma_error": r.sigma_error, "rank": n, **flat(impact), "status": r.status}
            for r in found for n, impact in enumerate(r.impacts, 1)
        ),
    )  # fmt: skip
    _write(study, "systematics", (flat(effect) for effect in effects))
    synthetic = _synthetic(study)
    shown = min(found, key=lambda ranking: abs(ranking.mass - arguments.mass))
    _save(study, figures.ranking(shown, synthetic=synthetic), "impacts")
    _save(study, figures.systematics(effects, synthetic=synthetic), "systematics")
    if not study.blinded:
        matrix = study.correlations(arguments.mass)
        _save(study, figures.correlation_matrix(matrix, synthetic=synthetic), "correlations")
        names = matrix.names
        _write(
            study,
            "correlations",
            ({"parameter": name, **dict(zip(names, row, strict=True))}
             for name, row in zip(names, matrix.matrix.tolist(), strict=True)),
        )  # fmt: skip
    ratio = np.array([effect.expected[0] / effect.expected[1] for effect in effects])
    first = [ranking.impacts[0].name for ranking in found if ranking.impacts]
    most = max(set(first), key=first.count) if first else "none"
    return [
        f"largest impact: {most} at {first.count(most)} of {len(found)} masses",
        (
            "systematics weaken expected limits by "
            f"{100 * np.nanmedian(ratio - 1):.2f} % (median), {100 * np.nanmax(ratio - 1):.2f} % "
            "at most"
        ),
    ]


def _hidden(effect: Any) -> Any:
    from dataclasses import replace

    import numpy as np

    return replace(effect, observed=(np.nan, np.nan))


def _signal(study: Study, _: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.run_studies import flat

    rows = study.held_out()
    _write(study, "signal", (flat(row) for row in rows))
    reduced = np.array([row.chi2 / row.ndf for row in rows])
    own = np.array([row.own_chi2 / row.own_ndf for row in rows])
    shift = np.abs(np.array([row.limit_ratio for row in rows]) - 1)
    worst = rows[int(np.argmax(reduced))]
    return [
        *repr(study.model).splitlines()[:1],
        (
            f"masses left out: chi2/ndf {np.median(reduced):.2f} (median; own fits "
            f"{np.median(own):.2f}), largest {reduced.max():.2f} at {worst.mass:g} GeV"
        ),
        (
            f"limits move by {100 * np.nanmedian(shift):.2f} % (median), "
            f"{100 * np.nanmax(shift):.2f} % at most"
        ),
    ]


def _coupling(study: Study, arguments: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.plots import model_checks as figures
    from alp_coffea.stats.lifetime import coupling_limit, exclusion_plane, limit_curve

    scan, length = study.run.scan, arguments.length
    mass, column = scan["mass"], "exp" if study.blinded else "obs"
    sigma = scan[f"sigma_{column}"]
    dressed = coupling_limit(sigma, mass, length=length, sqrt_s=scan.sqrt_s)
    projected = study.projection(arguments.luminosity)
    _write(
        study,
        "coupling",
        ({"mass": m, f"g_{column}": g, f"g_{column}_lifetime": d, "g_exp_scaled": a,
          "g_exp_scanned": b}
         for m, g, d, a, b in zip(mass, scan[f"g_{column}"], dressed, projected.scaled,
                                  projected.scanned, strict=True)),
    )  # fmt: skip
    plane = exclusion_plane(
        limit_curve(mass, sigma),
        np.geomspace(0.05, 10.5, 500),
        np.geomspace(1e-6, 0.1, 400),
        length=length,
        sqrt_s=scan.sqrt_s,
    )
    figure = figures.exclusion_plane(
        plane, mass, dressed, scan[f"g_{column}"], length=length, synthetic=_synthetic(study)
    )
    _save(study, figure, "exclusion_plane")
    change = np.nanmax(dressed / scan[f"g_{column}"])
    ratio = projected.scanned / projected.scaled
    return [
        f"decays within {length:g} cm: limits on g weaker by a factor of at most {change:.4f}",
        (
            f"at {arguments.luminosity:g}/pb: scanned again over L^(-1/4): median "
            f"{np.nanmedian(ratio):.3f}, {np.nanmin(ratio):.3f} to {np.nanmax(ratio):.3f}"
        ),
    ]


def _bias(study: Study, arguments: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.plots.studies import BIAS, pulls

    found = study.bias(arguments.toys, seed=arguments.seed)
    _write(
        study,
        "bias",
        (
            {"mass": mass, "injected": strength, "expected_limit": found.expected[i],
             "fitted": found.fitted[i, j], "likelihood_mean": found.likelihood_mean[i, j],
             "likelihood_width": found.likelihood_width[i, j],
             "classical_mean": found.classical_mean[i, j],
             "classical_width": found.classical_width[i, j],
             "background_per_sigma": found.background_per_sigma[i], "failed": found.failed[i, j]}
            for i, mass in enumerate(found.masses) for j, strength in enumerate(found.injected)
        ),
    )  # fmt: skip
    _save(study, pulls(found, synthetic=_synthetic(study)), "bias")
    used = found.background_per_sigma >= _GAUSSIAN
    mean, width = found.likelihood_mean[used], found.likelihood_width[used]
    off = np.abs(mean) > BIAS + 2 * width / np.sqrt(found.toys)
    slope, offset = found.linearity
    where = ", ".join(f"{mass:.2f}" for mass in found.masses[used][off.any(axis=1)])
    return [
        (
            f"pulls of {mean.size} cells with {_GAUSSIAN} background events per width or more: "
            f"mean {mean.mean():.3f} ({mean.min():.3f} to {mean.max():.3f}), "
            f"width {width.mean():.3f} ({width.min():.3f} to {width.max():.3f})"
        ),
        f"cells beyond {BIAS:g} and two statistical errors: {off.sum()}"
        + (f", at {where} GeV" if where else ""),
        (
            f"fitted against injected cross sections: slope {slope[used].min():.3f} to "
            f"{slope[used].max():.3f}, without a signal {offset[used].min():.3f} to "
            f"{offset[used].max():.3f} expected limits"
        ),
    ]


#: Background events in a peak width below which pulls are not Gaussian.
_GAUSSIAN: Final = 10


def _coverage(study: Study, arguments: argparse.Namespace) -> list[str]:
    import numpy as np

    found = study.coverage(arguments.toys, seed=arguments.seed)
    _write(
        study,
        "coverage",
        (
            {"mass": mass, "strength": strength, "cls": found.cls[i, j],
             "cls_expectation": found.cls_expectation[i, j], "cl_sb": found.cl_sb[i, j],
             "error": found.error[i, j], "failed": found.failed[i, j]}
            for i, mass in enumerate(found.masses) for j, strength in enumerate(found.strengths)
        ),
    )  # fmt: skip
    off = found.cls - found.cls_expectation
    return [
        (
            f"CLs limits, coverage minus its closed form: {off.min():+.4f} to {off.max():+.4f}, "
            f"statistical errors up to {found.error.max():.4f}"
        ),
        (
            f"CL_s+b limits: {found.cl_sb.min():.4f} to {found.cl_sb.max():.4f}, mean "
            f"{np.mean(found.cl_sb):.4f}"
        ),
    ]


#: Significances whose up-crossings are counted: the lower more often, the higher nearer to what
#: is extrapolated to.
_LEVELS: Final = (0.5, 2.0)


def _interval(name: str, found: Any) -> dict[str, float]:
    return {f"p_{name}": found.p, f"p_{name}_low": found.low, f"p_{name}_high": found.high}


def _global(study: Study, arguments: argparse.Namespace) -> list[str]:
    import numpy as np

    from alp_coffea.execution.progress import display
    from alp_coffea.plots import model_checks as figures
    from alp_coffea.stats.significance import from_toys, from_up_crossings

    with display() as progress:
        toys = study.toys(
            arguments.toys,
            seed=arguments.seed,
            threads=arguments.threads,
            progress=lambda done, total: progress("toys", done, total),
        )
    z = np.arange(1.5, 4.51, 0.25)
    by_toys = [from_toys(x, toys.maxima) for x in z]
    count = {level: toys.crossings(level) for level in _LEVELS}
    estimates = {
        level: [from_up_crossings(x, count[level], level, scans=len(toys.z)) for x in z]
        for level in _LEVELS
    }
    rows = []
    for i, x in enumerate(z.tolist()):
        row = {"z": x, **_interval("toys", by_toys[i])}
        for level, found in estimates.items():
            row |= _interval(f"crossings_{level:g}", found[i])
        rows.append(row)
    _write(study, "global", rows)
    level = _LEVELS[-1]
    estimate = estimates[level]
    errors = [
        np.array([[g.p - g.low for g in some], [g.high - g.p for g in some]])
        for some in (by_toys, estimate)
    ]
    figure = figures.global_significance(
        z, [g.p for g in by_toys], errors[0], [g.p for g in estimate], errors[1],
        synthetic=_synthetic(study),
    )  # fmt: skip
    _save(study, figure, "global")
    each = ", ".join(f"{count[level] / len(toys.z):.3g} of {level:g}" for level in _LEVELS)
    lines = [f"{len(toys.z)} toys, up-crossings: {each}; {toys.failed} failed fits"]
    excess = None if study.blinded else study.run.scan.largest_excess()
    if excess is not None:
        likely = from_toys(excess.z, toys.maxima)
        lines.append(
            f"largest excess, Z = {excess.z:.2f} at {excess.mass:.3f} GeV: global p {likely.p:.3g} "
            f"({likely.low:.3g} to {likely.high:.3g}) by toys"
        )
    return lines


_STUDIES: Final[dict[str, Callable[[Any, argparse.Namespace], list[str]]]] = {
    "orders": _orders,
    "basis": _basis,
    "impacts": _impacts,
    "signal": _signal,
    "coupling": _coupling,
    "bias": _bias,
    "coverage": _coverage,
    "global": _global,
}
