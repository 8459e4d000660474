"""Which figures a run gets: from an output folder to files in ``plots/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hist
import loky
import numpy as np
from numpy.typing import NDArray

from alp_coffea import plots
from alp_coffea.config import Scan
from alp_coffea.events.selection import Cutflow
from alp_coffea.results import Run

#: A published curve: name, masses [GeV], couplings [1/GeV].
Published = tuple[str, NDArray[np.float64], NDArray[np.float64]]

#: Window fits shown as files; the report can show every one.
WINDOWS = 6
#: What a variable counts, by the beginning of its name, and what its ending says.
_COUNTED = {
    "photon_": "Photons",
    "cluster_": "Photons",
    "delta_": "Candidates",
    "three_photon_": "Events",
    "zernike_": "Events",
    "timing_": "Events",
}
_NOTES = {"_n_minus_1": "N−1", "_sideband": "sideband", "_loose": "loose selection"}
#: Figures that a worker draws before it reports back: loading results takes as long as three.
BATCH = 16


def write_figures(
    folder: Path,
    settings: Scan,
    published: Sequence[Published] = (),
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draw every figure that the stages run so far allow into ``folder/plots``, as PDF and PNG.

    Returns the PNG files, most important first. ``workers`` local processes share the drawing.
    """
    target = folder / "plots"
    target.mkdir(exist_ok=True)
    for old in (*target.glob("*.png"), *target.glob("*.pdf")):
        old.unlink()
    names = [name for name, _ in _figures(Run(folder), settings, published)]
    batches = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    draw = partial(_draw, folder, settings, published)
    done = 0
    if progress is not None:
        progress(0, len(names))
    with loky.ProcessPoolExecutor(max_workers=workers) as pool:
        for batch in pool.map(draw, batches) if workers > 1 else map(draw, batches):
            done += len(batch)
            if progress is not None:
                progress(done, len(names))
    return [target / f"{name}.png" for name in names]


def _draw(
    folder: Path, settings: Scan, published: Sequence[Published], names: Sequence[str]
) -> Sequence[str]:
    """Draw the named figures; a worker loads the results itself, which are large to send."""
    for name, draw in _figures(Run(folder), settings, published):
        if name in names:
            plots.save(draw(), folder / "plots", name)
    return names


def _figures(
    run: Run, settings: Scan, published: Sequence[Published]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names and drawing functions, most important first."""
    if (run.folder / "scan.json").exists():
        if np.isfinite(run.scan["g_exp"]).any():
            yield "limits_g", lambda: plots.limits(run.scan, "g", published=published)
        yield "limits_sigma", lambda: plots.limits(run.scan, "sigma")
        yield "significance", lambda: plots.significance(run.scan)
        if np.isfinite(run.scan["g_exp"]).any():
            yield "regimes", partial(_regimes, run)
        for mass in _example_masses(run):
            yield f"window_{mass:.4f}", partial(_window, run, mass)
    if (run.folder / "signal_model.json").exists():
        model = run.signal_model
        yield "signal_interpolation", lambda: plots.interpolation(model)
        switch = settings.energy_set_switch if len(settings.energy_sets) > 1 else None
        yield "efficiency", lambda: plots.efficiency(model, switch=switch)
        if len(settings.definitions) > 1:
            yield "resolution", lambda: plots.resolution(model, transition=settings.transition)
        yield from _peaks(run, settings)
    yield from _spectra(run)


def _regimes(run: Run) -> Any:
    """Where the limits are in the plane of mass and coupling."""
    curves = [
        (name, run.scan["mass"], run.scan[column])
        for name, column in (("Expected limit", "g_exp"), ("Observed limit", "g_obs"))
        if np.isfinite(run.scan[column]).any()
    ]
    return plots.regimes(
        sqrt_s=run.scan.sqrt_s,
        curves=curves,
        synthetic=run.scan.synthetic,
        injected=run.scan.meta.get("injected") or (),
    )


def _window(run: Run, mass: float) -> Any:
    fit = run.window_fit(mass)
    return plots.window(
        fit.mass,
        fit.definition,
        fit.edges,
        fit.data,
        fit.background,
        fit.signal,
        synthetic=fit.synthetic,
        z_local=fit.z_local,
        sigma_hat=fit.sigma_hat,
        luminosity=run.luminosity,
        injected=run.scan.meta.get("injected") or (),
    )


def _example_masses(run: Run) -> list[float]:
    """Some masses over the range, and the one of the largest local significance."""
    good = [row for row in run.scan if row["status"] == "ok"]
    if not good:
        return []
    positions = np.linspace(0, len(good) - 1, WINDOWS).astype(int)
    top = max(range(len(good)), key=lambda i: good[i]["z_local"])
    return [good[i]["mass"] for i in sorted({*positions.tolist(), top})]


def _peaks(run: Run, settings: Scan) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Peak fits at a light, a middle and a heavy simulated mass, as the scan uses them."""
    by_mass = {row["mass"]: row["name"] for row in run.samples.values() if row["kind"] == "signal"}
    used = [
        fit
        for fit in run.signal_model.fits
        if fit.definition == settings.definition(fit.mass)
        and fit.energy_set == settings.energy_set(fit.mass)
    ]
    for position in np.linspace(0.1, 0.9, 3):
        if not used:
            return
        fit = used[int(position * (len(used) - 1))]
        histogram = run.histograms[f"{by_mass[fit.mass]}/mass"]
        name = f"peak_{fit.definition}_{fit.mass:g}"
        yield name, partial(plots.peak, histogram, fit)


def sample_label(run: Run, sample: str) -> str:
    """How figures call a sample: as its catalogue says, or by a signal's mass, or by its name.

    Samples that would be called the same, such as those of two campaigns, also show their names.
    """
    label = _own_label(run.samples[sample])
    shared = sum(_own_label(row) == label for row in run.samples.values()) > 1
    return f"{label} ({sample})" if shared else label


def _own_label(row: Mapping[str, Any]) -> str:
    if row.get("label"):
        return str(row["label"])
    name: str = row["name"].replace("_", " ")
    return name if row["mass"] is None else rf"$m_a$ = {row['mass']:g} GeV"


def _few_cutflows(run: Run) -> dict[str, Cutflow]:
    """Data, backgrounds and a few of the signal masses; all of them are in the tables."""
    kinds = {name: row["kind"] for name, row in run.samples.items()}
    signals = {name: flow for name, flow in run.cutflow.items() if kinds[name] == "signal"}
    others = {name: flow for name, flow in run.cutflow.items() if kinds[name] != "signal"}
    return {sample_label(run, name): flow for name, flow in (others | _some(signals)).items()}


def _some(signals: Mapping[str, Any]) -> dict[str, Any]:
    """A light, a middle and a heavy one of many signal samples."""
    names = list(signals)
    chosen = {names[int(share * (len(names) - 1))]: None for share in (0.1, 0.5, 0.9) if names}
    return {name: signals[name] for name in chosen}


def _of_kind(run: Run, name: str, kind: str) -> dict[str, hist.Hist]:
    """Histogram ``name`` of every sample of a kind, not scaled."""
    return {
        sample["name"]: run.histograms[f"{sample['name']}/{name}"]
        for sample in run.samples.values()
        if sample["kind"] == kind and f"{sample['name']}/{name}" in run.histograms
    }


def _spectra(run: Run) -> Iterator[tuple[str, Callable[[], Any]]]:
    common: dict[str, Any] = {
        "synthetic": run.manifest["synthetic"],
        "luminosity": run.luminosity,
    }
    axes = {name.partition("/")[2]: h.axes for name, h in run.histograms.items()}
    background = run.scaled("mass", "background")
    if background is not None:
        for definition in background.axes["definition"]:
            draw = partial(plots.masses, run.scaled("mass", "data"), background)
            yield f"mass_{definition}", partial(draw, definition=definition, **common)
    for name in sorted(axes):
        kind = {
            "per": next(
                (what for start, what in _COUNTED.items() if name.startswith(start)), "Entries"
            ),
            "note": next((note for end, note in _NOTES.items() if name.endswith(end)), ""),
        }
        if axes[name].name in (("energy_set", "x"), ("x",)):
            parts = {
                sample_label(run, sample): histogram * run.samples[sample]["scale"]
                for sample, histogram in _of_kind(run, name, "background").items()
            }
            signals = {
                sample_label(run, sample): histogram
                for sample, histogram in _some(_of_kind(run, name, "signal")).items()
            }
            if not parts:
                continue
            draw = partial(plots.variable, run.scaled(name, "data"), parts, signals=signals)
        elif axes[name].name in (("x", "y"), ("energy_set", "x", "y")):
            found = (run.scaled(name, sort) for sort in ("background", "data"))
            shown = next((histogram for histogram in found if histogram is not None), None)
            if shown is None:
                continue
            draw = partial(plots.plane, shown)
        else:
            continue
        if "energy_set" not in axes[name].name:
            yield name, partial(draw, energy_set=None, **kind, **common)
            continue
        for energy_set in axes[name]["energy_set"]:
            yield f"{name}_{energy_set}", partial(draw, energy_set=energy_set, **kind, **common)
    for flow in dict.fromkeys(name for cuts in run.cutflow.values() for name in cuts.flows()):
        draw = partial(plots.cutflow, _few_cutflows(run), flow)
        yield f"cutflow_{flow}", partial(draw, synthetic=common["synthetic"])
        by_mass = {
            float(row["mass"]): run.cutflow[name]
            for name, row in run.samples.items()
            if row["mass"] is not None and name in run.cutflow
        }
        if len(by_mass) > 1:
            yield f"efficiency_steps_{flow}", partial(plots.efficiency_steps, by_mass, flow)
