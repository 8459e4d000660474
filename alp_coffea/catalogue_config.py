"""Catalogue files: which samples exist, where their files are and how they are normalised.

Energies in GeV, cross sections in pb, luminosities in 1/pb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import TypedDict

from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.errors import ConfigurationError
from alp_coffea.tables import catalogue_table
from alp_coffea.yaml_models import Model, absolute, as_tuple, expand_variables, load

Kind = Literal["data", "background", "signal"]


# --- beams -------------------------------------------------------------------------------------


class BeamSettings(Model):
    """Beam energies [GeV] and full crossing angle [rad]; the defaults are SuperKEKB's."""

    electron_energy: PositiveFloat = 7.004
    positron_energy: PositiveFloat = 4.002
    crossing_angle: Annotated[float, Field(ge=0, lt=math.pi)] = 0.083


# --- catalogue ---------------------------------------------------------------------------------


class CrossSection(Model):
    """A cross section [pb], its uncertainty [pb] and where it comes from.

    ``branching_fraction`` is that of the decay which was simulated, if ``value`` is before it.
    """

    value: PositiveFloat
    error: Annotated[float, Field(ge=0)] = 0.0
    branching_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    source: str


class PublishedNumber(Model):
    """A published number, for comparison: what it is, with its uncertainty and source."""

    quantity: str
    value: float
    error: Annotated[float, Field(ge=0)] | None = None
    unit: str = ""
    source: str


class EventWeight(TypedDict, total=False):
    """What an event counts: the product of the rules given.

    ``branch`` holds the generator's weight. ``per_track`` is the probability with which a track
    is lost: the event counts as one in which all its tracks were, and the processor sees none.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    branch: str
    per_track: Annotated[float, Field(gt=0, le=1)]


class GeneratorCuts(Model):
    """Lab-frame cuts on every generated final particle: energy [GeV], polar angle [degrees]."""

    energy_min: Annotated[float, Field(ge=0)] | None = None
    theta_min: Annotated[float, Field(ge=0, le=180)] | None = None
    theta_max: Annotated[float, Field(ge=0, le=180)] | None = None


class Simulate(Model):
    """How the embedded Monte Carlo makes a sample; exactly one of ``events``, ``luminosity``.

    ``luminosity`` [1/pb] times the generated cross section is the number of events, or the mean
    of a Poisson distribution with ``poisson``. Without ``cuts`` the process's defaults hold.
    ``detector`` is the name of documented settings, or values to change: ``{base: run1,
    calorimeter: {efficiency: 0.97}}``. With ``lost_tracks: weight`` every track is lost and the
    event weight has the probability of that; with ``conversions: weight`` exactly one photon
    converts to two tracks, with ``beam_photons: weight`` every event gets an energetic cluster of
    the beam background in time. With ``inside`` that share of the events is made inside ``cuts``
    and the others in all of phase space, and their weights undo it.
    """

    process: str
    seed: int = 1
    events: PositiveInt | None = None
    luminosity: PositiveFloat | None = None
    poisson: bool = False
    isr: bool = True
    detector: str | dict[str, Any] = "phase2-2018"
    lost_tracks: Literal["simulate", "weight"] = "simulate"
    conversions: Literal["simulate", "weight"] = "simulate"
    beam_photons: Literal["simulate", "weight"] = "simulate"
    cuts: GeneratorCuts = GeneratorCuts()
    inside: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Simulate:
        if (self.events is None) == (self.luminosity is None):
            raise ValueError("give exactly one of 'events' and 'luminosity'")
        if self.inside is not None and self.cuts == GeneratorCuts():
            raise ValueError("'inside' is the share of events inside 'cuts'; give some")
        return self


class Sample(Model):
    """One sample of a catalogue.

    The luminosity that a simulated sample corresponds to is either given (``luminosity`` of one
    of ``streams`` copies) or follows from ``generated_events / cross_section``; for data it is
    the recorded one, given as a number or by run in a ``luminosity_table`` (CSV with columns
    experiment, run, luminosity), restricted to ``good_runs`` (CSV with experiment, run). A
    signal's cross section holds at ``coupling`` [1/GeV]; without one it is the Born cross
    section at the beams' energy. Simulation is scaled to the data of the
    same ``campaign``, or to all data if it names none. Figures call it by its ``label``, in
    which ``$...$`` is mathematics.

    ``file_entries`` (CSV with file, entries and, for data with a table, experiment and run) says
    how many events each file should have: what is lost with a file that cannot be read.
    ``friends`` are paths with ``{folder}`` and ``{stem}`` of each file, holding other particle
    lists of the same events; ``conversion`` says how files in basf2's own layouts are read.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
    kind: Kind
    files: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    friends: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    tree: str = "events"
    conversion: ConversionSettings = ConversionSettings()
    campaign: str = ""
    label: str = ""
    mass: Annotated[float, Field(gt=0)] | None = None
    coupling: PositiveFloat = 1e-3
    cross_section: CrossSection | None = None
    generated_events: PositiveInt | None = None
    luminosity: PositiveFloat | None = None
    streams: PositiveFloat | None = None
    luminosity_table: str | None = None
    good_runs: str | None = None
    file_entries: str | None = None
    event_weight: str | EventWeight | None = None
    allow_duplicate_events: bool = False
    synthetic: bool = False
    simulate: Simulate | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Sample:
        if (self.kind == "signal") != (self.mass is not None):
            raise ValueError("'mass' is needed by signal samples, and only by them")
        if not self.files:
            raise ValueError("'files' is empty; give at least one path or glob")
        if self.simulate is None:
            self._check_normalisation()
        return self

    def _check_normalisation(self) -> None:
        if self.kind == "data":
            if (self.luminosity is None) == (self.luminosity_table is None):
                raise ValueError(
                    "data need their recorded 'luminosity' in 1/pb, or a 'luminosity_table'"
                )
            if self.good_runs is not None and self.luminosity_table is None:
                raise ValueError(
                    "'good_runs' needs a 'luminosity_table', or the luminosity that is left "
                    "would be unknown"
                )
            if self.event_weight is not None and not self.synthetic:
                raise ValueError("data have no 'event_weight'")
        elif self.luminosity_table is not None or self.good_runs is not None:
            raise ValueError("'luminosity_table' and 'good_runs' are for data")
        if self.streams is not None and (self.kind == "data" or self.luminosity is None):
            raise ValueError("'streams' multiplies the 'luminosity' of a simulated sample")
        if self.kind == "background" and self.equivalent_luminosity is None:
            raise ValueError(
                "a background needs 'luminosity', or 'cross_section' and 'generated_events'"
            )
        if self.kind == "signal" and self.luminosity is None and self.generated_events is None:
            raise ValueError("a signal needs 'generated_events'")

    @property
    def equivalent_luminosity(self) -> float | None:
        """Luminosity the whole sample corresponds to [1/pb], None when not given."""
        if self.luminosity is not None:
            return self.luminosity * (self.streams or 1.0)
        if self.cross_section is None or self.generated_events is None:
            return None
        sigma = self.cross_section.value * self.cross_section.branching_fraction
        return self.generated_events / sigma


def _expand_masses(samples: Any) -> Any:
    """Turn one entry with ``masses: [...]`` and ``{mass}`` placeholders into one per mass."""
    if not isinstance(samples, list):
        return samples
    expanded: list[Any] = []
    for entry in samples:
        if not (isinstance(entry, dict) and "masses" in entry):
            expanded.append(entry)
            continue
        masses = entry["masses"]
        if not (isinstance(masses, list) and all(isinstance(m, int | float) for m in masses)):
            raise ValueError(f"'masses' must be a list of numbers in GeV, got {masses!r}")
        rest = {key: value for key, value in entry.items() if key != "masses"}
        if "mass" in rest or "{mass}" not in str(rest.get("name")):
            raise ValueError("an entry with 'masses' has no 'mass' and needs '{mass}' in its name")
        for number, mass in enumerate(masses):
            copy = dict(rest)
            copy["mass"] = float(mass)
            copy["name"] = rest["name"].replace("{mass}", f"{mass:.4f}")
            files = rest.get("files", [])
            listed = files if isinstance(files, list) else [files]
            copy["files"] = [str(f).replace("{mass}", f"{mass:.4f}") for f in listed]
            if isinstance(rest.get("simulate"), dict) and isinstance(
                rest["simulate"].get("seed", 1), int
            ):
                # one random stream per mass point, or all masses would share fluctuations
                seed = rest["simulate"].get("seed", 1) + number
                copy["simulate"] = {**rest["simulate"], "seed": seed}
            expanded.append(copy)
    return expanded


class Catalogue(Model):
    """The samples of one campaign or several, and the beams they were made with."""

    description: str = ""
    beams: BeamSettings = BeamSettings()
    samples: Annotated[tuple[Sample, ...], Field(min_length=1)]
    published: tuple[PublishedNumber, ...] = ()

    @classmethod
    def prepare(cls, content: dict[Any, Any]) -> dict[Any, Any]:
        """Expand entries with ``masses``."""
        if "samples" in content:
            return {**content, "samples": _expand_masses(content["samples"])}
        return content

    @model_validator(mode="after")
    def _unique_names(self) -> Catalogue:
        names = [sample.name for sample in self.samples]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sample names appear more than once: {', '.join(twice)}")
        return self

    def _repr_html_(self) -> str:
        """Its samples as a table, for notebooks."""
        return catalogue_table(self.samples, caption=self.description or "Samples")

    def of_kind(self, kind: Kind) -> tuple[Sample, ...]:
        """Samples of one kind, in the catalogue's order."""
        return tuple(sample for sample in self.samples if sample.kind == kind)


def load_catalogue(path: str | Path) -> Catalogue:
    """Read a catalogue; paths in it become absolute, relative to its folder.

    Raises ConfigurationError naming the file and the key.
    """
    path = Path(path)
    catalogue = load(path, Catalogue)
    base = path.resolve().parent

    def located(name: str) -> str:
        return absolute(expand_variables(name, path), base)

    samples = tuple(
        sample.model_copy(
            update={
                "files": tuple(located(name) for name in sample.files),
                # {folder} is absolute already
                "friends": tuple(expand_variables(name, path) for name in sample.friends),
                "luminosity_table": sample.luminosity_table and located(sample.luminosity_table),
                "good_runs": sample.good_runs and located(sample.good_runs),
                "file_entries": sample.file_entries and located(sample.file_entries),
            }
        )
        for sample in catalogue.samples
    )
    return catalogue.model_copy(update={"samples": samples})


def load_catalogues(paths: Sequence[str | Path]) -> Catalogue:
    """Read one catalogue, or the catalogues of several campaigns as one.

    Of several, samples are renamed ``campaign.name``, the campaign being the file's name unless
    the sample names one.

    Raises ConfigurationError as :func:`load_catalogue`, and if the beams differ.
    """
    read = [(Path(path), load_catalogue(path)) for path in paths]
    if len(read) == 1:
        return read[0][1]
    (first, start), *others = read
    for path, catalogue in others:
        if catalogue.beams != start.beams:
            raise ConfigurationError(
                f"{path}: its beams are not those of {first}; one analysis has one sqrt(s). "
                "Analyse the campaigns one by one"
            )
    samples = tuple(
        sample.model_copy(
            update={
                "campaign": sample.campaign or path.stem,
                "name": f"{sample.campaign or path.stem}.{sample.name}",
            }
        )
        for path, catalogue in read
        for sample in catalogue.samples
    )
    content = start.model_copy(
        update={
            "description": "; ".join(c.description for _, c in read if c.description),
            "samples": samples,
            "published": tuple(number for _, c in read for number in c.published),
        }
    )
    # model_copy checks nothing, and names may be equal now
    return Catalogue.model_validate(content.model_dump(exclude_unset=True))


def dump_catalogue(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue that :func:`load_catalogue` reads back."""
    content = catalogue.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
