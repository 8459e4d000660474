"""From the histograms of the signal to its model."""

from __future__ import annotations

import math
from typing import Any, Final

from alp_coffea.errors import ConfigurationError
from alp_coffea.pipeline.job import Job
from alp_coffea.results import Run
from alp_coffea.stats.signal import SignalSample, fit_signal

#: Smallest simulated mass [GeV] that is fitted in a definition: the recoil mass means nothing for
#: light ALPs (R0 sec. 7.2.1).
LOWEST_MASS: Final = {"recoil": 3.0}


def model(job: Job) -> None:
    """Fit the peaks of all signal samples and write ``signal_model.json``."""
    run = job.processed()
    samples = signal_samples(job, run)
    if not samples:
        raise ConfigurationError(f"{job.path}: the catalogue has no signal sample to model")
    names = list(samples[0].histogram.axes["definition"])
    model = fit_signal(
        samples,
        sqrt_s=job.beams.sqrt_s,
        definitions={name: LOWEST_MASS.get(name, 0.0) for name in names},
        shape=job.analysis.signal.shape,
        interpolation=job.analysis.signal.interpolation,
        progress=job.report("model"),
    )
    model.save(job.out / "signal_model.json")


def signal_samples(job: Job, run: Run) -> list[SignalSample]:
    """One sample per mass; those of several campaigns added, each scaled to its data."""
    rows: dict[float, list[dict[str, Any]]] = {}
    for row in run.samples.values():
        if row["kind"] == "signal" and row["covered_luminosity"]:
            rows.setdefault(row["mass"], []).append(row)
    samples: list[SignalSample] = []
    for mass, alike in rows.items():
        histograms = [run.histograms[f"{row['name']}/mass"] for row in alike]
        luminosity = alike[0]["covered_luminosity"]
        if len(alike) > 1 or alike[0]["campaign"]:
            names = ", ".join(row["name"] for row in alike)
            if len({row["coupling"] for row in alike}) > 1:
                raise ConfigurationError(f"signal samples {names} have different couplings")
            campaigns = sorted(row["campaign"] for row in alike)
            if campaigns != sorted(run.manifest["campaigns"]):
                raise ConfigurationError(
                    f"signal samples {names} at {mass:g} GeV: every campaign with data "
                    f"({', '.join(run.manifest['campaigns'])}) needs exactly one"
                )
            histograms = [h * row["scale"] for h, row in zip(histograms, alike, strict=True)]
            luminosity = run.luminosity
        samples.append(
            SignalSample(
                mass, _reference(job, alike[0]), luminosity, sum(histograms[1:], histograms[0])
            )
        )
    return samples


def _reference(job: Job, sample: dict[str, Any]) -> float:
    """Cross section [pb] of a signal sample that efficiencies and limits refer to."""
    if job.analysis.theory == "none":
        own: dict[str, float] = sample["cross_section"]
        return own["value"] * own["branching_fraction"]
    expected = job.production.cross_section(sample["mass"], sample["coupling"])
    if not math.isfinite(expected):
        raise ConfigurationError(
            f"{job.path}: the table of 'theory' has no cross section at {sample['mass']:g} GeV, "
            f"the mass of sample '{sample['name']}'"
        )
    return expected
