"""Settings of a conversion of foreign ntuples: a typed object, from Python or from YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from alp_coffea.errors import ConfigurationError, suggest

#: What a tree can hold: a collection of the canonical layout, event-level numbers, or rows of
#: candidates.
TREE_CONTENTS: Final = ("Photon", "Track", "Truth", "Event", "Candidates")


@dataclass(frozen=True)
class ConversionSettings:
    """How foreign files are to be read.

    Attributes
    ----------
    trees
        Tree name to what it holds: ``Photon``, ``Track``, ``Truth``, ``Event`` (event-level
        numbers) or ``Candidates`` (one row per candidate). ``file.root:tree`` tells trees of one
        name in several files apart. Empty: all trees with event identity, contents guessed from
        their names and columns.
    fields
        Column map, see ``alp_coffea.events.conversion.columns``. Empty: common naming conventions.
    join
        ``strict`` demands that joined trees have the same events in the same order;
        ``identity`` matches them by identity, an event absent from a tree having no objects
        there.
    missing_value
        A number that stands for "missing" (old releases: -999) and becomes NaN.
    degrees
        Canonical fields, such as ``Photon.phi``, that are stored in degrees and become rad.

    Raises
    ------
    ConfigurationError
        If a value is not one of those.
    """

    trees: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    join: Literal["strict", "identity"] = "strict"
    missing_value: float | None = None
    degrees: Sequence[str] = ()

    #: Lets a pydantic model hold these settings and refuse unknown keys.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for tree, content in _mapping("trees", self.trees).items():
            if content not in TREE_CONTENTS:
                raise ConfigurationError(
                    f"trees: '{tree}: {content}' names no collection"
                    f"{suggest(str(content), TREE_CONTENTS)} (allowed: {', '.join(TREE_CONTENTS)})"
                )
        for name, templates in _mapping("fields", self.fields).items():
            if not (isinstance(templates, str) or _is_names(templates)):
                raise ConfigurationError(
                    f"fields: '{name}: {templates!r}' must be a column name or a list of them"
                )
        if self.join not in ("strict", "identity"):
            raise ConfigurationError(
                f"join: '{self.join}' must be 'strict' or 'identity'"
                f"{suggest(str(self.join), ('strict', 'identity'))}"
            )
        if not (self.missing_value is None or _is_number(self.missing_value)):
            raise ConfigurationError(
                f"missing_value: {self.missing_value!r} must be a number, such as -999"
            )
        if not _is_names(self.degrees) or not all("." in name for name in self.degrees):
            raise ConfigurationError(
                f"degrees: {self.degrees!r} must be a list of fields such as Photon.phi"
            )


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{key}: expected a mapping of names, got {value!r}")
    return value


def _is_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def load_settings(path: str | Path) -> ConversionSettings:
    """Read settings from a YAML file with the keys of :class:`ConversionSettings`.

    Raises ConfigurationError naming the file and the key.
    """
    import yaml

    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        near = suggest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise ConfigurationError(f"{path}: no such file{near}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as text: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    allowed = [item.name for item in fields(ConversionSettings)]
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected a mapping with the keys {', '.join(allowed)}")
    for key in content:
        if key not in allowed:
            raise ConfigurationError(
                f"{path}: unknown key '{key}'{suggest(str(key), allowed)} "
                f"(allowed: {', '.join(allowed)})"
            )
    try:
        return ConversionSettings(**content)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
