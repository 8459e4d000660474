"""One wrapper that turns failed broadcasting into a named error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from alp_coffea.errors import PhysicsError

P = ParamSpec("P")
R = TypeVar("R")


def elementwise(function: Callable[P, R]) -> Callable[P, R]:
    """Raise PhysicsError, naming the function, where arguments do not broadcast.

    numpy and awkward both raise ValueError with the shapes in its message.
    """

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except PhysicsError:
            raise
        except ValueError as error:
            raise PhysicsError(
                f"{function.__name__}: the arguments must be numbers or arrays of shapes that "
                f"broadcast: {error}"
            ) from error

    return checked
