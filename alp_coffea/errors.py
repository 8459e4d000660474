"""Named exceptions shared by the library and the command line.

Every message says what is wrong, where, the offending value, what would be allowed and what to
do. ``exit_code`` is what the command line returns when the exception ends a run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class AlpCoffeaError(Exception):
    """Base class of everything this package raises on purpose."""

    exit_code: ClassVar[int] = 2


class ConfigurationError(AlpCoffeaError):
    """An analysis or catalogue file, or a command-line option, is wrong."""


class PhysicsError(AlpCoffeaError, ValueError):
    """A physical quantity is outside its allowed range, or an array has the wrong shape."""


class InputError(AlpCoffeaError):
    """Input data cannot be used: missing, truncated, empty or of the wrong form."""

    exit_code: ClassVar[int] = 3


class MissingFileError(InputError):
    """A file or glob of a catalogue does not exist."""


class UnreadableFileError(InputError):
    """A file exists but cannot be opened or decoded."""


class MissingTreeError(InputError):
    """A file has no tree of the given name."""


class MissingFieldError(InputError, AttributeError):
    """A processor asked for a branch that the file does not have."""


class WrongTypeError(InputError):
    """A column holds something other than the numbers it should."""


class JoinError(InputError):
    """Trees that should be joined do not have the same events."""


class DuplicateEventError(InputError):
    """One event identity appears more than once."""


class EmptyFileError(InputError):
    """A tree without entries."""


class UncountedFileError(InputError):
    """It is not known how many events a lost file had, so the luminosity that is left is not."""


class IncompleteRunError(InputError):
    """Fewer entries were processed than the catalogue promises."""


class ModelError(AlpCoffeaError):
    """A statistical model cannot be built or uses an unsupported feature."""


class ProcessorError(AlpCoffeaError):
    """A processor cannot be found, or failed on a chunk."""


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed name, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
