"""One file per sample: generate, detect, write, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ConfigurationError
from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.simulation.columns import Particles, build
from alp_coffea.simulation.detector import LostTracks, detect
from alp_coffea.simulation.generator import (
    cross_section_with_cuts,
    generate_with_cuts,
    generation_cuts,
)
from alp_coffea.simulation.sampling import Cuts, Frame
from alp_coffea.simulation.settings import Detector
from alp_coffea.simulation.writer import ContentDigest, RootTreeWriter

Kind = Literal["mc", "data"]
Container = Literal["root"]

#: events per batch: baskets of about a megabyte
_BATCH: Final = 32_768
#: pseudo-data are spread over runs of this many events
_EVENTS_PER_RUN: Final = 1000


@dataclass(frozen=True)
class SampleRecord:
    """What :func:`write_sample` wrote.

    ``cross_section`` and its error [pb] are those of the generated events, that is inside the
    generator ``cuts`` and with radiation as generated; ``digest`` identifies the content.
    """

    path: Path
    events: int
    cross_section: float
    cross_section_error: float
    digest: str
    cuts: Cuts


def write_sample(
    path: str | Path,
    process: str,
    n: int,
    *,
    seed: int,
    mass: float | None = None,
    coupling: float = 1e-3,
    beams: Beams = SUPERKEKB,
    isr: bool = True,
    detector: Detector | str = "phase2-2018",
    energy_min: float | None = None,
    theta_min: float | None = None,
    theta_max: float | None = None,
    frame: Frame | None = None,
    sqrt_s_min: float | None = None,
    lost_tracks: LostTracks = "simulate",
    experiment: int = 0,
    run: int = 1,
    production: int = 0,
    kind: Kind = "mc",
    container: Container = "root",
    progress: Callable[[int], None] | None = None,
) -> SampleRecord:
    """Simulate ``n`` events of a process into one canonical ntuple.

    One entry per generated event, also when nothing was reconstructed. The values depend on the
    arguments only, never on batches or machine.

    Parameters
    ----------
    process, mass, coupling, beams, isr
        As :func:`alp_coffea.simulation.generate`, also the cuts ``energy_min`` ... and their
        defaults (signal: none; backgrounds: nothing a three-photon selection could keep is lost).
    detector
        Settings or the name of documented settings.
    lost_tracks
        ``"simulate"``: each track of the generated charged particles is lost with the probability
        of the settings; ``"weight"``: all are lost and the event weight has that probability per
        track (R0 section 4.3.2).
    experiment, run, production
        Identity of the events. Simulated events are numbered within one run; pseudo-data
        (``kind="data"``) start a new run every 1000 events and carry no truth.
    progress
        Called with the number of events written since the last call.

    Raises PhysicsError as :func:`alp_coffea.simulation.generate`, ConfigurationError for unknown
    detector settings, kind or container.
    """
    if kind not in ("mc", "data"):
        raise ConfigurationError(f"write_sample: kind = '{kind}' must be 'mc' or 'data'")
    if container != "root":
        raise ConfigurationError(f"write_sample: container = '{container}' must be 'root'")
    settings = Detector.named(detector) if isinstance(detector, str) else detector
    cuts = generation_cuts(
        process,
        beams=beams,
        energy_min=energy_min,
        theta_min=theta_min,
        theta_max=theta_max,
        frame=frame,
        sqrt_s_min=sqrt_s_min,
    )
    physics: dict[str, Any] = {"beams": beams, "isr": isr, "mass": mass, "coupling": coupling}
    sigma, error = cross_section_with_cuts(process, cuts=cuts, **physics)
    purpose = process if mass is None else f"{process} {float(mass)!r}"
    digest = ContentDigest()
    path = Path(path)
    with RootTreeWriter(path) as writer:
        for first in range(0, max(n, 1), _BATCH):
            count = min(_BATCH, n - first)
            events = generate_with_cuts(
                process, count, seed=seed, first=first, cuts=cuts, **physics
            )
            particles = Particles.of(events)
            detected = detect(
                particles.p4,
                particles.pdg,
                particles.stable,
                particles.offsets,
                seed=seed,
                first=first,
                beams=beams,
                detector=settings,
                purpose=purpose,
                lost_tracks=lost_tracks,
            )
            identity = _identity(first, count, experiment, run, production, kind)
            table = build(
                particles,
                detected,
                {**identity, "weight": events.weight * detected.weight},
                beams,
                truth=kind == "mc",
            )
            digest.update(table)
            writer.write(table)
            if progress is not None:
                progress(count)
        metadata = {
            "synthetic": True,
            "generator": "alp_coffea",
            "process": process,
            "mass": mass,
            "coupling": coupling if mass is not None else None,
            "seed": seed,
            "events": n,
            "isr": isr,
            "cross_section_pb": sigma,
            "cross_section_error_pb": error,
            "kind": kind,
            "cuts": vars(cuts),
            "beams": _beam_parameters(beams),
            "detector": settings.model_dump(),
        }
        writer.finish(metadata, digest.hexdigest())
    return SampleRecord(path, n, sigma, error, digest.hexdigest(), cuts)


def _beam_parameters(beams: Beams) -> dict[str, float]:
    """The three numbers that define the beams."""
    return {
        "electron_energy": beams.electron_energy,
        "positron_energy": beams.positron_energy,
        "crossing_angle": beams.crossing_angle,
    }


def _identity(
    first: int, count: int, experiment: int, run: int, production: int, kind: Kind
) -> dict[str, NDArray[np.generic]]:
    number = np.arange(first, first + count)
    runs = run + number // _EVENTS_PER_RUN if kind == "data" else np.full(count, run)
    event = number % _EVENTS_PER_RUN + 1 if kind == "data" else number + 1
    return {
        "__experiment__": np.full(count, experiment, np.int32),
        "__run__": runs.astype(np.int32),
        "__event__": event.astype(np.int32),
        "__production__": np.full(count, production, np.int32),
    }
