"""One file per sample: generate, detect, write, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import ConfigurationError
from alp_coffea.physics.beams import SUPERKEKB, Beams
from alp_coffea.rng import purpose_key, uniforms
from alp_coffea.simulation.columns import Particles, Table, build
from alp_coffea.simulation.detector import BeamPhotons, Conversions, LostTracks, detect
from alp_coffea.simulation.foreign import CandidatesWriter, EventTreesWriter
from alp_coffea.simulation.generator import (
    cross_section_with_cuts,
    generate_mixture,
    generate_with_cuts,
    generation_cuts,
)
from alp_coffea.simulation.lhe import read_lhe
from alp_coffea.simulation.sampling import Cuts, Frame
from alp_coffea.simulation.settings import Detector
from alp_coffea.simulation.writer import (
    ContentDigest,
    ParquetWriter,
    RNTupleWriter,
    TreeWriter,
    Writer,
)

Kind = Literal["mc", "data"]
Container = Literal["root", "rntuple", "parquet"]
Layout = Literal["canonical", "event_trees", "candidates"]

#: events per batch: baskets of about a megabyte
_BATCH: Final = 32_768
#: pseudo-data are spread over runs of this many events
_EVENTS_PER_RUN: Final = 1000


@dataclass(frozen=True)
class SampleRecord:
    """What was written.

    ``events`` is the number of generated events, which is that of the entries except for candidate
    rows and for pseudo-data of weighted processes. ``cross_section`` and its error [pb] are those
    of the generated events, that is inside the generator ``cuts`` (None for LHE files) and with
    radiation as generated; ``digest`` identifies the content, whatever the layout and container.
    """

    path: Path
    events: int
    cross_section: float
    cross_section_error: float
    digest: str
    cuts: Cuts | None


@dataclass(frozen=True)
class _Output:
    """How a sample is detected, identified and stored."""

    path: Path
    seed: int
    purpose: str
    beams: Beams
    detector: Detector
    lost_tracks: LostTracks
    conversions: Conversions
    beam_photons: BeamPhotons
    experiment: int
    run: int
    production: int
    kind: Kind
    layout: Layout
    container: Container
    progress: Callable[[int], None] | None


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
    inside: float | None = None,
    lost_tracks: LostTracks = "simulate",
    conversions: Conversions = "simulate",
    beam_photons: BeamPhotons = "simulate",
    experiment: int = 0,
    run: int = 1,
    production: int = 0,
    kind: Kind = "mc",
    layout: Layout = "canonical",
    container: Container = "root",
    progress: Callable[[int], None] | None = None,
) -> SampleRecord:
    """Simulate ``n`` events of a process into one ntuple.

    One entry per generated event, also when nothing was reconstructed (except for candidate
    rows). The values depend on the arguments only, never on batches, layout or machine. The file
    appears under its name when it is complete.

    Parameters
    ----------
    process, mass, coupling, beams, isr
        As :func:`alp_coffea.simulation.generate`, also the cuts ``energy_min`` ... and their
        defaults (signal: none; backgrounds: nothing a three-photon selection could keep is lost).
    detector
        Settings or the name of documented settings.
    inside
        Share of the events that is made inside the cuts; the others are made in all of phase
        space, and weights undo it: the sample is one without cuts, with more events where a
        selection looks. Only for processes that are finite without cuts.
    lost_tracks
        ``"simulate"``: each track of the generated charged particles is lost with the probability
        of the settings; ``"weight"``: all are lost and the event weight has that probability per
        track (R0 section 4.3.2).
    conversions
        ``"simulate"``: photons convert with the probability of the settings; ``"weight"``: in
        every event exactly one converts where its tracks are found, and the event weight has the
        probability of that.
    beam_photons
        ``"simulate"``: clusters of the beam background as in the settings; ``"weight"``: every
        event has one more that is energetic and in time, and the event weight has the expected
        number of those.
    experiment, run, production
        Identity of the events. Simulated events are numbered within one run; pseudo-data
        (``kind="data"``) start a new run every 1000 events and carry no truth. Pseudo-data have no
        weights either: an event of weight w < 1 is kept with probability w.
    layout
        ``"canonical"``, or what basf2 writes: ``"event_trees"`` (``VariablesToEventBasedTree``)
        or ``"candidates"`` (``VariablesToNtuple``).
    container
        ``"root"`` (TTree), ``"rntuple"`` or ``"parquet"``; the last two only for the canonical
        layout.
    progress
        Called with the number of events written since the last call.

    Raises PhysicsError as :func:`alp_coffea.simulation.generate`, ConfigurationError for unknown
    detector settings, kind, layout or container.
    """
    purpose = process if mass is None else f"{process} {float(mass)!r}"
    output = _Output(
        Path(path), seed, purpose, beams, _detector(detector), lost_tracks, conversions,
        beam_photons, experiment, run, production, kind, layout, container, progress,
    )  # fmt: skip
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
    counted = cuts if inside is None else generation_cuts(process, beams=beams)
    sigma, error = cross_section_with_cuts(process, cuts=counted, **physics)

    def batches() -> Iterable[tuple[Particles, NDArray[np.float64]]]:
        for first in range(0, max(n, 1), _BATCH):
            of_batch = {"seed": seed, "first": first, "cuts": cuts, **physics}
            count = min(_BATCH, n - first)
            if inside is None:
                events = generate_with_cuts(process, count, **of_batch)
            else:
                events = generate_mixture(process, count, inside=inside, **of_batch)
            yield Particles.of(events), events.weight

    metadata = {
        "generator": "alp_coffea",
        "process": process,
        "mass": mass,
        "coupling": None if mass is None else coupling,
        "isr": isr,
        "cuts": asdict(cuts),
        "inside": inside,
        "cross_section_pb": sigma,
        "cross_section_error_pb": error,
    }
    digest = _write(output, batches(), metadata)
    return SampleRecord(output.path, n, sigma, error, digest, counted)


def write_lhe_sample(
    path: str | Path,
    lhe: str | Path,
    *,
    seed: int,
    beams: Beams = SUPERKEKB,
    detector: Detector | str = "phase2-2018",
    lost_tracks: LostTracks = "simulate",
    conversions: Conversions = "simulate",
    beam_photons: BeamPhotons = "simulate",
    experiment: int = 0,
    run: int = 1,
    production: int = 0,
    kind: Kind = "mc",
    layout: Layout = "canonical",
    container: Container = "root",
    progress: Callable[[int], None] | None = None,
) -> SampleRecord:
    """Put the events of an LHE file through the detector into one ntuple.

    Parameters as :func:`write_sample`; the cross section is the file's. Event weights are the
    file's, normalised to a mean of one.

    Raises what :func:`alp_coffea.simulation.read_lhe` raises, and ConfigurationError as
    :func:`write_sample`.
    """
    output = _Output(
        Path(path), seed, "lhe", beams, _detector(detector), lost_tracks, conversions,
        beam_photons, experiment, run, production, kind, layout, container, progress,
    )  # fmt: skip
    events = read_lhe(lhe, beams=beams, seed=seed)

    def batches() -> Iterable[tuple[Particles, NDArray[np.float64]]]:
        for first in range(0, len(events), _BATCH):
            last = min(first + _BATCH, len(events))
            yield events.particles.between(first, last), events.weight[first:last]

    metadata = {
        "generator": "LHE",
        "file": Path(lhe).name,
        "cross_section_pb": events.cross_section,
        "cross_section_error_pb": events.cross_section_error,
    }
    digest = _write(output, batches(), metadata)
    return SampleRecord(
        output.path, len(events), events.cross_section, events.cross_section_error, digest, None
    )


def _detector(detector: Detector | str) -> Detector:
    return detector if isinstance(detector, Detector) else Detector.named(detector)


def _write(
    output: _Output,
    batches: Iterable[tuple[Particles, NDArray[np.float64]]],
    metadata: dict[str, Any],
) -> str:
    """Detect and write batches; returns the content digest."""
    digest = ContentDigest()
    first = 0
    partial = output.path.with_name(f".{output.path.name}.part")
    try:
        with _writer(replace(output, path=partial)) as writer:
            for particles, weight in batches:
                detected = detect(
                    particles.p4,
                    particles.pdg,
                    particles.stable,
                    particles.offsets,
                    seed=output.seed,
                    first=first,
                    beams=output.beams,
                    detector=output.detector,
                    purpose=output.purpose,
                    lost_tracks=output.lost_tracks,
                    conversions=output.conversions,
                    beam_photons=output.beam_photons,
                )
                event = _identity(output, first, weight.size)
                event["weight"] = weight * detected.weight
                table = build(particles, detected, event, output.beams, truth=output.kind == "mc")
                if output.kind == "data":
                    table = _unweighted(table, output, first)
                digest.update(table)
                writer.write(table)
                first += weight.size
                if output.progress is not None:
                    output.progress(weight.size)
            metadata |= {
                "synthetic": True,
                "events": first,
                "seed": output.seed,
                "kind": output.kind,
                "beams": asdict(output.beams),
                "detector": output.detector.model_dump(),
                "lost_tracks": output.lost_tracks,
                "conversions": output.conversions,
                "beam_photons": output.beam_photons,
            }
            writer.finish(metadata, digest.hexdigest())
        partial.replace(output.path)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()


def _unweighted(table: Table, output: _Output, first: int) -> Table:
    """Keep events with the probability that their weight is; all weights become one."""
    weight = table.event["weight"]
    if (weight >= 1.0).all():
        kept = table
    else:
        key = purpose_key(output.seed, f"unweight {output.purpose}")
        kept = table.select(uniforms(key, np.arange(first, first + weight.size)) < weight)
    kept.event["weight"] = np.ones(kept.event["weight"].size)
    return kept


def _writer(output: _Output) -> Writer:
    for name, value, allowed in (
        ("kind", output.kind, get_args(Kind)),
        ("layout", output.layout, get_args(Layout)),
        ("container", output.container, get_args(Container)),
        ("lost_tracks", output.lost_tracks, get_args(LostTracks)),
        ("conversions", output.conversions, get_args(Conversions)),
        ("beam_photons", output.beam_photons, get_args(BeamPhotons)),
    ):
        if value not in allowed:
            raise ConfigurationError(
                f"{name} = '{value}' must be one of {', '.join(map(repr, allowed))}"
            )
    if output.layout == "canonical":
        if output.container == "parquet":
            return ParquetWriter(output.path)
        return (TreeWriter if output.container == "root" else RNTupleWriter)(output.path)
    if output.container != "root":
        raise ConfigurationError(
            f"layout = '{output.layout}' is written by basf2 as TTrees only: container must be "
            f"'root', not '{output.container}'"
        )
    if output.layout == "event_trees":
        return EventTreesWriter(output.path, output.beams)
    return CandidatesWriter(output.path, output.beams)


def _identity(output: _Output, first: int, count: int) -> dict[str, NDArray[Any]]:
    number = np.arange(first, first + count)
    run, event = np.full(count, output.run), number + 1
    if output.kind == "data":
        run, event = output.run + number // _EVENTS_PER_RUN, number % _EVENTS_PER_RUN + 1
    return {
        "__experiment__": np.full(count, output.experiment, np.int32),
        "__run__": run.astype(np.int32),
        "__event__": event.astype(np.int32),
        "__production__": np.full(count, output.production, np.int32),
    }
