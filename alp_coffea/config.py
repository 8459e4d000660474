"""Analysis and catalogue files as typed, validated models.

Both are YAML. Unknown keys are errors with a suggestion; every message names the file and the
key. A *catalogue* says which samples exist, an *analysis* what is done with them. Energies in
GeV, cross sections in pb, luminosities in 1/pb.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from alp_coffea.errors import ConfigurationError, suggest

Definition = Literal["diphoton", "recoil"]
EnergySet = Literal["low_mass", "high_mass"]
Kind = Literal["data", "background", "signal"]

DEFINITIONS: tuple[str, ...] = get_args(Definition)
ENERGY_SETS: tuple[str, ...] = get_args(EnergySet)

Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# --- beams -------------------------------------------------------------------------------------


class BeamSettings(_Model):
    """Beam energies [GeV] and full crossing angle [rad]; the defaults are SuperKEKB's."""

    electron_energy: PositiveFloat = 7.004
    positron_energy: PositiveFloat = 4.002
    crossing_angle: Annotated[float, Field(ge=0, lt=math.pi)] = 0.083


# --- catalogue ---------------------------------------------------------------------------------


class CrossSection(_Model):
    """A cross section [pb], its uncertainty [pb] and where it comes from."""

    value: PositiveFloat
    error: Annotated[float, Field(ge=0)] = 0.0
    source: str


class GeneratorCuts(_Model):
    """Lab-frame cuts on every generated final particle: energy [GeV], polar angle [degrees]."""

    energy_min: Annotated[float, Field(ge=0)] | None = None
    theta_min: Annotated[float, Field(ge=0, le=180)] | None = None
    theta_max: Annotated[float, Field(ge=0, le=180)] | None = None


class Simulate(_Model):
    """How the embedded Monte Carlo makes a sample; exactly one of ``events``, ``luminosity``.

    ``luminosity`` [1/pb] times the generated cross section is the number of events, or the mean
    of a Poisson distribution with ``poisson``. Without ``cuts`` the process's defaults hold.
    ``detector`` is the name of documented settings, or values to change: ``{base: run1,
    calorimeter: {efficiency: 0.97}}``. With ``lost_tracks: weight`` every track is lost and the
    event weight has the probability of that.
    """

    process: str
    seed: int = 1
    events: PositiveInt | None = None
    luminosity: PositiveFloat | None = None
    poisson: bool = False
    isr: bool = True
    detector: str | dict[str, Any] = "phase2-2018"
    lost_tracks: Literal["simulate", "weight"] = "simulate"
    cuts: GeneratorCuts = GeneratorCuts()

    @model_validator(mode="after")
    def _one_size(self) -> Simulate:
        if (self.events is None) == (self.luminosity is None):
            raise ValueError("give exactly one of 'events' and 'luminosity'")
        return self


class Sample(_Model):
    """One sample of a catalogue.

    The luminosity that a simulated sample corresponds to is either given (``luminosity``) or
    follows from ``generated_events / cross_section``; for data ``luminosity`` is the recorded
    one. A signal's cross section holds at ``coupling`` [1/GeV].
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
    kind: Kind
    files: tuple[str, ...] = ()
    tree: str = "events"
    mass: Annotated[float, Field(gt=0)] | None = None
    coupling: PositiveFloat = 1e-3
    cross_section: CrossSection | None = None
    generated_events: PositiveInt | None = None
    luminosity: PositiveFloat | None = None
    event_weight: str | None = None
    synthetic: bool = False
    simulate: Simulate | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Sample:
        if (self.kind == "signal") != (self.mass is not None):
            raise ValueError("'mass' is needed by signal samples, and only by them")
        if not self.files:
            raise ValueError("'files' is empty; give at least one path or glob")
        if self.simulate is None:
            if self.kind == "data" and self.luminosity is None:
                raise ValueError("data need their recorded 'luminosity' in 1/pb")
            if self.kind == "background" and self.equivalent_luminosity is None:
                raise ValueError(
                    "a background needs 'luminosity', or 'cross_section' and 'generated_events'"
                )
            if self.kind == "signal" and (
                self.cross_section is None or self.generated_events is None
            ):
                raise ValueError("a signal needs 'cross_section' and 'generated_events'")
        return self

    @property
    def equivalent_luminosity(self) -> float | None:
        """Luminosity the whole sample corresponds to [1/pb], None when not known yet."""
        if self.luminosity is not None:
            return self.luminosity
        if self.cross_section is None or self.generated_events is None:
            return None
        return self.generated_events / self.cross_section.value


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
            copy["files"] = [str(f).replace("{mass}", f"{mass:.4f}") for f in _as_list(files)]
            if isinstance(rest.get("simulate"), dict) and isinstance(
                rest["simulate"].get("seed", 1), int
            ):
                # one random stream per mass point, or all masses would share fluctuations
                seed = rest["simulate"].get("seed", 1) + number
                copy["simulate"] = {**rest["simulate"], "seed": seed}
            expanded.append(copy)
    return expanded


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Catalogue(_Model):
    """The samples of a campaign and the beams they were made with."""

    description: str = ""
    beams: BeamSettings = BeamSettings()
    samples: Annotated[tuple[Sample, ...], BeforeValidator(_expand_masses), Field(min_length=1)]

    @model_validator(mode="after")
    def _unique_names(self) -> Catalogue:
        names = [sample.name for sample in self.samples]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sample names appear more than once: {', '.join(twice)}")
        return self

    def of_kind(self, kind: Kind) -> tuple[Sample, ...]:
        """Samples of one kind, in the catalogue's order."""
        return tuple(sample for sample in self.samples if sample.kind == kind)


# --- analysis ----------------------------------------------------------------------------------


class Window(_Model):
    """Fit window from ``above`` [GeV] on: ``-left``..``+right`` widths, polynomial ``order``."""

    above: Annotated[float, Field(ge=0)] = 0.0
    order: Annotated[int, Field(ge=0, le=9)]
    left: PositiveFloat
    right: PositiveFloat


class YieldUncertainty(_Model):
    """Relative efficiency uncertainty from ``above`` [GeV] on."""

    above: Annotated[float, Field(ge=0)] = 0.0
    value: Fraction


class Nuisances(_Model):
    """Relative uncertainties that enter the fit with Gaussian constraints (R0 sec. 7.5)."""

    luminosity: Fraction = 0.007
    efficiency: tuple[YieldUncertainty, ...] = (
        YieldUncertainty(above=0.0, value=0.053),
        YieldUncertainty(above=4.0, value=0.045),
    )
    width: Fraction = 0.0


class Windows(_Model):
    """Windows per mass definition; the defaults are R0 tables 7.1 and 7.2."""

    diphoton: Annotated[tuple[Window, ...], Field(min_length=1)] = (
        Window(above=0.0, order=2, left=20, right=30),
        Window(above=0.5, order=4, left=20, right=30),
    )
    recoil: Annotated[tuple[Window, ...], Field(min_length=1)] = (
        Window(above=0.0, order=5, left=25, right=25),
    )


class Scan(_Model):
    """The mass scan: where, with which windows, and at which confidence level."""

    low: PositiveFloat = 0.2
    high: PositiveFloat = 9.7
    step: PositiveFloat = 0.5
    transition: PositiveFloat = 6.85
    energy_set_switch: PositiveFloat = 4.0
    windows: Windows = Windows()
    nuisances: Nuisances = Nuisances()
    background_choices: Literal["nominal", "nine"] = "nine"
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    excluded: tuple[tuple[float, float], ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Scan:
        if self.low >= self.high:
            raise ValueError(f"'low' = {self.low} GeV must be below 'high' = {self.high} GeV")
        for low, high in self.excluded:
            if low >= high:
                raise ValueError(f"'excluded' region [{low}, {high}] GeV is not ordered")
        return self

    def definition(self, mass: float) -> Definition:
        """Mass definition used at a mass hypothesis [GeV]."""
        return "diphoton" if mass < self.transition else "recoil"

    def energy_set(self, mass: float) -> EnergySet:
        """Photon-energy set used at a mass hypothesis [GeV]."""
        return "low_mass" if mass < self.energy_set_switch else "high_mass"

    def window(self, mass: float, definition: Definition) -> Window:
        """Window settings at a mass hypothesis [GeV]."""
        rows: tuple[Window, ...] = getattr(self.windows, definition)
        return _row_at(rows, mass)


class Analysis(_Model):
    """What is done with a catalogue."""

    title: str = ""
    catalogue: str
    processor: str
    options: dict[str, Any] = {}
    luminosity: PositiveFloat | None = None
    scan: Scan = Scan()
    published_limits: tuple[str, ...] = ()


Row = TypeVar("Row", Window, YieldUncertainty)


def _row_at(rows: tuple[Row, ...], mass: float) -> Row:
    """Last row whose ``above`` is not beyond the mass; the first row when all are."""
    ordered = sorted(rows, key=lambda row: row.above)
    return [row for row in ordered if row.above <= mass or row is ordered[0]][-1]


def efficiency_uncertainty(nuisances: Nuisances, mass: float) -> float:
    """Relative efficiency uncertainty at a mass hypothesis [GeV]; 0 without rows."""
    return _row_at(nuisances.efficiency, mass).value if nuisances.efficiency else 0.0


# --- reading -----------------------------------------------------------------------------------

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def load_catalogue(path: str | Path) -> Catalogue:
    """Read a catalogue; file globs become absolute, relative to the catalogue's folder.

    Raises ConfigurationError naming the file and the key.
    """
    path = Path(path)
    catalogue = _load(path, Catalogue)
    base = path.resolve().parent
    samples = tuple(
        sample.model_copy(
            update={
                "files": tuple(_absolute(expand_variables(f, path), base) for f in sample.files)
            }
        )
        for sample in catalogue.samples
    )
    return catalogue.model_copy(update={"samples": samples})


def load_analysis(path: str | Path) -> Analysis:
    """Read an analysis file; paths in it become absolute, relative to its folder.

    Raises ConfigurationError naming the file and the key.
    """
    path = Path(path)
    analysis = _load(path, Analysis)
    base = path.resolve().parent
    return analysis.model_copy(
        update={
            "catalogue": _absolute(expand_variables(analysis.catalogue, path), base),
            "published_limits": tuple(
                _absolute(expand_variables(p, path), base) for p in analysis.published_limits
            ),
        }
    )


def dump_catalogue(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue that :func:`load_catalogue` reads back."""
    content = catalogue.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")


def expand_variables(text: str, where: Path) -> str:
    """Replace ``${NAME}`` by environment variables; an unset one is a ConfigurationError."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigurationError(
                f"{where}: '{text}' uses ${{{name}}}, which is not set in the environment; "
                f"export {name}=... first"
            )
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)


def _absolute(path: str, base: Path) -> str:
    return path if "://" in path or Path(path).is_absolute() else str(base / path)


def _load(path: Path, model: type[AnyModel]) -> AnyModel:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        near = suggest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise ConfigurationError(f"{path}: no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as text: {error}") from error
    return parse(text, model, where=str(path))


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a repeated key silently win; here it is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen and key_node.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} is given twice", key_node.start_mark
                )
            if isinstance(key_node.value, str):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def parse(text: str, model: type[AnyModel], *, where: str) -> AnyModel:
    """Validate YAML text against a model; ``where`` names it in messages.

    Raises ConfigurationError listing every problem with its key.
    """
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{where}: expected a mapping with the keys {', '.join(model.model_fields)}, "
            f"got {type(content).__name__}"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, model, content, where)) from None


def _explain(error: ValidationError, model: type[BaseModel], content: Any, where: str) -> str:
    lines = []
    for problem in error.errors():
        location = ".".join(str(part) for part in problem["loc"]) or "file"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            allowed = _fields_at(model, problem["loc"][:-1])
            key = str(problem["loc"][-1])
            message = f"unknown key{suggest(key, allowed)}"
            if allowed:
                message += f" (allowed: {', '.join(sorted(allowed))})"
        elif problem["type"] != "missing" and not isinstance(problem["input"], dict | list):
            message += f" (got {problem['input']!r})"
        name = _sample_name(content, problem["loc"])
        lines.append(f"{where}: {location}{name}: {message}")
    return "\n".join(lines)


def _sample_name(content: Any, location: tuple[int | str, ...]) -> str:
    """`` ('ggg')`` when the location lies in a named sample, else nothing."""
    if len(location) >= 2 and location[0] == "samples" and isinstance(location[1], int):
        try:
            return f" ('{_expand_masses(content['samples'])[location[1]]['name']}')"
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    return ""


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the (nested) model at a validation location."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            continue
        if current is None or part not in current.model_fields:
            return []
        current = _model_in(current.model_fields[part].annotation)
    return list(current.model_fields) if current is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
