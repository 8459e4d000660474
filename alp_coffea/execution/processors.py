"""Finding a processor by name or path and making it travel to workers by value."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
from coffea.processor import ProcessorABC

from alp_coffea.builtin import builtin_folder
from alp_coffea.errors import ConfigurationError, ProcessorError, suggest
from alp_coffea.execution.fingerprints import PROCESSOR_PREFIX, own_modules
from alp_coffea.physics.beams import Beams


def load_processor(
    name: str, options: dict[str, Any], *, beams: Beams, base: Path | None = None
) -> ProcessorABC:
    """Make the processor of a built-in name (``strahlung``) or a path to a Python file.

    A relative path is taken from ``base`` (the analysis file's folder). The file defines one
    ``ProcessorABC`` subclass; ``options`` become its keyword arguments, and ``beams`` if it takes
    an argument of that name.

    Raises
    ------
    ProcessorError
        If there is no such processor, its file fails, or it defines no processor or several.
    ConfigurationError
        If an option is unknown.
    """
    module = _load_module(_find(name, base))
    classes = [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, ProcessorABC)
        and member.__module__ == module.__name__
    ]
    if len(classes) != 1:
        found = ", ".join(c.__name__ for c in classes) or "none"
        raise ProcessorError(
            f"{module.__file__}: expected exactly one ProcessorABC subclass, found {found}"
        )
    parameters = inspect.signature(classes[0]).parameters
    allowed = [parameter for parameter in parameters if parameter != "beams"]
    for option in options:
        if option not in allowed:
            raise ConfigurationError(
                f"processor '{name}': unknown option '{option}'{suggest(option, allowed)} "
                f"(allowed: {', '.join(allowed) or 'none'})"
            )
    return classes[0](**options, **({"beams": beams} if "beams" in parameters else {}))


def _find(name: str, base: Path | None) -> Path:
    if name.endswith(".py"):
        path = Path(name) if base is None else base / name
        if not path.is_file():
            raise ProcessorError(f"processor file {path} does not exist")
        return path
    folder = builtin_folder("processors")
    path = folder / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
        raise ProcessorError(
            f"no built-in processor '{name}'{suggest(name, known)} (known: {', '.join(known)}). "
            "Give the path of a .py file to use your own"
        )
    return path


def _load_module(path: Path) -> ModuleType:
    # The name must be unique per file: two users' files may share a stem.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"{PROCESSOR_PREFIX}{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProcessorError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file can raise anything; it is named and passed on
        del sys.modules[name]
        raise ProcessorError(f"{path} fails on import: {type(error).__name__}: {error}") from error
    # workers have the package but not this file, nor modules of the user's that it imports:
    # send the classes and functions themselves
    for own in own_modules(module):
        cloudpickle.register_pickle_by_value(own)
    return module
