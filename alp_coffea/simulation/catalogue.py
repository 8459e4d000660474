"""Simulating the samples of a catalogue into files, and the catalogue that describes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import loky
import numpy as np

from alp_coffea.config import (
    BeamSettings,
    Catalogue,
    CrossSection,
    Sample,
    dump_catalogue,
    load_catalogue,
)
from alp_coffea.errors import ConfigurationError
from alp_coffea.physics.beams import Beams
from alp_coffea.rng import purpose_key
from alp_coffea.simulation.foreign import LIST_TREES, ROWS_TREE
from alp_coffea.simulation.generator import PROCESSES, cross_section_with_cuts, generation_cuts
from alp_coffea.simulation.samples import Container, Layout, write_sample
from alp_coffea.simulation.settings import Detector
from alp_coffea.simulation.writer import TREE

#: Called with (samples done, samples in all).
Progress = Callable[[int, int], None]

#: The tree that has the photons, by layout.
_TREES = {"canonical": TREE, "event_trees": LIST_TREES["gamma"], "candidates": ROWS_TREE}

#: Experiment number of all simulated events; basf2 uses 1003 for early phase 3 simulation.
_EXPERIMENT = 1003


def simulate(
    catalogue: Catalogue | Path | str,
    out: Path | str,
    *,
    workers: int = 1,
    seed: int = 0,
    layout: Layout = "canonical",
    container: Container = "root",
    progress: Progress | None = None,
) -> Path:
    """Make every sample of a catalogue that has a ``simulate`` block.

    Parameters
    ----------
    catalogue
        What to make.
    out
        Folder for the files, one per sample, and the ``catalogue.yaml`` that describes them with
        the generated numbers of events and cross sections.
    workers
        Local processes; files do not depend on it.
    seed
        Added to the seed of every sample: another independent copy of the catalogue.
    layout, container
        As :func:`alp_coffea.simulation.write_sample`; files are named after their sample, with
        the extension of the container.

    Returns
    -------
    Path of the written catalogue.

    Raises
    ------
    ConfigurationError
        If nothing is to be simulated, a process is unknown, or two samples would hold the same
        events.
    PhysicsError
        If a process cannot be generated with the settings.
    """
    if not isinstance(catalogue, Catalogue):
        catalogue = load_catalogue(catalogue)
    described = [sample for sample in catalogue.samples if sample.simulate is not None]
    if not described:
        raise ConfigurationError("no sample of the catalogue has a 'simulate' block")
    for sample in described:
        if sample.simulate is not None and sample.simulate.process not in PROCESSES:
            raise ConfigurationError(
                f"sample '{sample.name}': unknown process '{sample.simulate.process}' "
                f"(known: {', '.join(PROCESSES)})"
            )
    _check_independence(described)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Sample] = {}
    pool = loky.ProcessPoolExecutor(max_workers=workers)
    try:
        jobs = {
            pool.submit(
                _make, sample, catalogue.beams, folder, seed, number, layout, container
            ): sample.name
            for number, sample in enumerate(described)
        }
        if progress is not None:
            progress(0, len(jobs))
        for job in as_completed(jobs):
            made[jobs[job]] = job.result()
            if progress is not None:
                progress(len(made), len(jobs))
    except BaseException:
        # also on Ctrl-C: leave no worker behind
        pool.shutdown(wait=True, kill_workers=True)
        raise
    pool.shutdown(wait=True)
    samples = tuple(made.get(sample.name, sample) for sample in catalogue.samples)
    path = folder / "catalogue.yaml"
    dump_catalogue(catalogue.model_copy(update={"samples": samples}), path)
    return path


def _check_independence(samples: list[Sample]) -> None:
    """Process, mass and seed determine the events; cuts only select among them."""
    owners: dict[tuple[str, float | None, int], str] = {}
    for sample in samples:
        how = sample.simulate
        assert how is not None
        other = owners.setdefault((how.process, sample.mass, how.seed), sample.name)
        if other != sample.name:
            raise ConfigurationError(
                f"samples '{other}' and '{sample.name}' are both process '{how.process}' with "
                f"seed {how.seed}, so they would share events; give them different seeds"
            )


def _make(
    sample: Sample,
    beams: BeamSettings,
    folder: Path,
    seed: int,
    number: int,
    layout: Layout,
    container: Container,
) -> Sample:
    """Write one sample and return its description; runs in a worker."""
    how = sample.simulate
    assert how is not None
    physics: dict[str, Any] = {
        "beams": Beams(**beams.model_dump()),
        "isr": how.isr,
        "mass": sample.mass,
        "coupling": sample.coupling,
    }
    cuts: dict[str, Any] = {
        "energy_min": how.cuts.energy_min,
        "theta_min": _radians(how.cuts.theta_min),
        "theta_max": _radians(how.cuts.theta_max),
    }
    if any(cut is not None for cut in cuts.values()):
        cuts["frame"] = "lab"
    if how.events is not None:
        events = how.events
    else:
        complete = generation_cuts(
            how.process, beams=physics["beams"], **(cuts if how.inside is None else {})
        )
        sigma, _ = cross_section_with_cuts(how.process, cuts=complete, **physics)
        events = _number(sigma * (how.luminosity or 0.0), how.poisson, how.seed + seed)
    record = write_sample(
        folder / f"{sample.name}.{'parquet' if container == 'parquet' else 'root'}",
        how.process,
        events,
        seed=how.seed + seed,
        detector=Detector.parse(how.detector),
        inside=how.inside,
        lost_tracks=how.lost_tracks,
        conversions=how.conversions,
        beam_photons=how.beam_photons,
        experiment=_EXPERIMENT,
        production=number,
        kind="data" if sample.kind == "data" else "mc",
        layout=layout,
        container=container,
        **physics,
        **cuts,
    )
    update: dict[str, Any] = {
        "files": (record.path.name,),
        "simulate": None,
        "tree": _TREES[layout],
        "synthetic": True,
        "event_weight": "weight",
    }
    if sample.kind == "data":
        update["luminosity"] = how.luminosity
    else:
        update |= {
            "generated_events": record.events,
            "cross_section": CrossSection(
                value=record.cross_section,
                error=record.cross_section_error,
                source=f"alp_coffea simulation, process {how.process}, "
                + ("after generator cuts" if how.inside is None else "all of phase space"),
            ),
        }
    return sample.model_copy(update=update)


def _radians(degrees: float | None) -> float | None:
    return None if degrees is None else math.radians(degrees)


def _number(mean: float, poisson: bool, seed: int) -> int:
    if not poisson:
        return max(round(mean), 1)
    generator = np.random.Generator(np.random.Philox(int(purpose_key(seed, "number of events"))))
    return max(int(generator.poisson(mean)), 1)
