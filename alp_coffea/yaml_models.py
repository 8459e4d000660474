"""Reading YAML files into typed, validated models.

Unknown keys are errors with a suggestion, a repeated key is one too, and every message names the
file and the key.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import is_typeddict

from alp_coffea.errors import ConfigurationError, suggest


class Model(BaseModel):
    """Base of all models: frozen, without unknown keys, infinities or NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def prepare(cls, content: dict[Any, Any]) -> dict[Any, Any]:
        """Content as it is validated, after abbreviations are written out."""
        return content


AnyModel = TypeVar("AnyModel", bound=Model)


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


def as_tuple(value: Any) -> Any:
    """A single text where a list of them is expected."""
    return (value,) if isinstance(value, str) else value


def absolute(path: str, base: Path) -> str:
    """A path relative to ``base``, unless it is absolute or a URL."""
    return path if "://" in path or Path(path).is_absolute() else str(base / path)


def load(path: Path, model: type[AnyModel]) -> AnyModel:
    """Read a YAML file into a model; raises ConfigurationError naming the file and the key."""
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
        content = model.prepare(content)
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, model, content, where)) from None
    except ConfigurationError as error:  # from settings with checks of their own
        raise ConfigurationError(f"{where}: {error}") from None
    except ValueError as error:  # of prepare
        raise ConfigurationError(f"{where}: {error}") from None


def _explain(error: ValidationError, model: type[BaseModel], content: Any, where: str) -> str:
    lines = []
    problems = error.errors()
    for problem in problems:
        inside = any(
            other["loc"][: len(problem["loc"])] == problem["loc"]
            for other in problems
            if other is not problem
        )
        if problem["type"] == "too_short" and inside:
            continue  # what is wrong with the items says it all
        location = ".".join(str(part) for part in problem["loc"]) or "file"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
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
    """`` ('ggg')`` when the location lies in a named entry of a list, else nothing."""
    if len(location) >= 2 and isinstance(location[1], int):
        try:
            name = content[location[0]][location[1]]["name"]
        except (KeyError, IndexError, TypeError):
            return ""
        return f" ('{name}')" if isinstance(name, str) else ""
    return ""


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the (nested) model at a validation location."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        types = _types(current)
        if part in types:
            current = _model_in(types[part])
        elif not isinstance(current, type) or part != current.__name__:  # which of a union
            return []
    return list(_types(current))


def _types(model: Any) -> dict[str, Any]:
    """Types of the keys of a model, dataclass or typed dictionary."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    if dataclasses.is_dataclass(model):
        hints = get_type_hints(model)
        return {field.name: hints[field.name] for field in dataclasses.fields(model)}
    return get_type_hints(model) if is_typeddict(model) else {}


def _model_in(annotation: Any) -> Any:
    """The model, dataclass or typed dictionary in a type, None if there is none."""
    if _types(annotation):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
