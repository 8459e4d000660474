"""The photon-fusion search in numbers: efficiency, resolution, classifier and limits of a run.

    python benchmarks/fusion_search.py OUT [--card card.json] [--strahlung RUN] [--figure FILE]

OUT is the output folder of analyses/fusion.yaml. Prints a table by mass and the quantities that
docs/fusion.md quotes. --strahlung is the output folder of a search for e+e- -> gamma a, for a
figure of both limits at 569/fb.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import alp_coffea
from alp_coffea import plots, theory
from alp_coffea.plots.arrays import interruptions
from alp_coffea.results import Run

#: Light pairs [GeV]: what strahlung with internal conversion looks like.
LIGHT = 1.5
#: Luminosity that R1 scales to [1/pb].
TARGET = 569_000.0


def half_width(run: Run, sample: str, definition: str, energy_set: str) -> float:
    """Half of the shortest interval with 68.27 % of the true candidates [GeV]."""
    where = {"energy_set": energy_set, "definition": definition, "origin": "true"}
    spectrum = run.histograms[f"{sample}/mass"][where]
    edges = spectrum.axes[0].edges
    total = np.concatenate([[0.0], np.cumsum(spectrum.values())])
    total /= total[-1]
    start = np.linspace(0, 1 - 0.6827, 400)
    return float(
        np.min(np.interp(start + 0.6827, total, edges) - np.interp(start, total, edges)) / 2
    )


def by_mass(run: Run) -> None:
    print(
        "mass  reconstructed selected  m(ee)<1.5  width/MeV fit  before  gain | two one- one+ zero"
    )
    model = run.signal_model
    for name, row in run.samples.items():
        if row["kind"] != "signal":
            continue
        flows = {flow: run.cutflow[name].steps(flow) for flow in run.cutflow[name].flows()}
        sigma = row["cross_section"]["value"]
        # the number of events; their weights have a mean of one only on average
        generated = row["covered_luminosity"] * sigma
        pair = run.histograms[f"{name}/dilepton_mass"]["reconstruction", :]
        light = pair[: complex(0, LIGHT) : sum].value / pair.sum().value
        fit, before = (half_width(run, name, d, "selection") for d in ("fit", "diphoton"))
        tags = run.histograms[f"{name}/acceptance"]
        shares = [tags[tag].value / generated for tag in tags.axes[0]][:4]
        last = {flow: steps[-1].weighted / generated for flow, steps in flows.items()}
        mass = row["mass"]
        print(
            f"{mass:5.2f}  {last['reconstruction']:9.3%} {last['selection']:11.3%} {light:9.3f}"
            f" {1e3 * float(model.width(mass, 'fit', 'selection')):10.1f} {1e3 * fit:6.1f}"
            f" {1e3 * before:7.1f} {before / fit:5.2f} | "
            + " ".join(f"{share:.2%}" for share in shares)
            + f"  sigma = {sigma:.4g} pb"
        )


def backgrounds(run: Run) -> None:
    for name, row in run.samples.items():
        if row["kind"] == "background":
            text = ", ".join(
                f"{step.cut} {step.weighted * row['scale']:.4g}"
                for step in run.cutflow[name].steps("selection")
            )
            print(f"{name}: {text} (expected at {run.luminosity / 1e3:g}/fb)")


def limits(run: Run, strahlung: Path | None, figure: Path | None) -> None:
    scan = run.scan
    good = np.isfinite(scan["g_exp"])
    print(f"{good.sum()} of {len(scan)} hypotheses; status {sorted(set(scan['status']))[:3]}")
    scaled = theory.scale_coupling_limit(
        scan["g_exp"], luminosity_from=run.luminosity, luminosity_to=TARGET
    )
    for mass in (0.3, 0.5, 1.2, 2, 3, 4, 5, 6, 7, 8, 9):
        i = int(np.argmin(np.where(good, np.abs(scan["mass"] - mass), np.inf)))
        print(
            f"{scan['mass'][i]:.3f} GeV: sigma < {1e3 * scan['sigma_exp'][i]:.3g} fb, g < "
            f"{scan['g_exp'][i]:.3g}/GeV, at {TARGET / 1e3:g}/fb {scaled[i]:.3g}/GeV"
        )
    if figure is None:
        return
    mass, coupling = scan["mass"][good], scaled[good]
    gaps = interruptions(mass)
    mass, coupling = np.insert(mass, gaps, mass[gaps]), np.insert(coupling, gaps, np.nan)
    curves = [(f"Scaled to {TARGET / 1e3:g} fb$^{{-1}}$", mass, coupling)]
    if strahlung is not None:
        other = alp_coffea.load(strahlung)
        fine = np.isfinite(other.scan["g_exp"])
        coupling = theory.scale_coupling_limit(
            other.scan["g_exp"], luminosity_from=other.luminosity, luminosity_to=TARGET
        )
        label = rf"$\gamma a$, scaled to {TARGET / 1e3:g} fb$^{{-1}}$"
        curves.append((label, other.scan["mass"][fine], coupling[fine]))
    plots.save(plots.limits(scan, "g", published=curves), figure.parent, figure.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--card", type=Path, help="model card of the classifier")
    parser.add_argument("--strahlung", type=Path, help="output folder of the other search")
    parser.add_argument("--figure", type=Path, help="name of the figure to write, no extension")
    options = parser.parse_args()
    run = alp_coffea.load(options.out)
    by_mass(run)
    backgrounds(run)
    if options.card is not None:
        card = json.loads(options.card.read_text("utf-8"))
        print(
            f"classifier: area {card['auc']:.4f}, {card['cpu_seconds']:.0f} CPU s, "
            f"{card['epochs']} epochs, best {card['best_epoch']}"
        )
    limits(run, options.strahlung, options.figure)


if __name__ == "__main__":
    main()
