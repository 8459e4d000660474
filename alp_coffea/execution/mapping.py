"""A function of one argument for each of many arguments, on an engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alp_coffea.errors import UnreadableFileError
from alp_coffea.execution.engines import Engine, WorkerLostError


def for_each(
    engine: Engine, function: Callable[[Any], Any], arguments: Sequence[Any]
) -> Iterator[tuple[int, Any]]:
    """Index of each argument with what became of it, a value or an exception, as they come.

    A task during which a worker died is tried again alone; if that dies, too, its outcome is an
    UnreadableFileError.
    """
    prepared = engine.prepare(function)
    waiting = deque(range(len(arguments)))
    suspects: deque[int] = deque()
    under_way: dict[object, int] = {}
    while waiting or suspects or under_way:
        capacity = engine.capacity
        while waiting and len(under_way) < capacity:
            number = waiting.popleft()
            under_way[engine.submit(prepared, arguments[number])] = number
        alone = not under_way
        if alone:
            number = suspects.popleft()
            under_way[engine.submit(prepared, arguments[number])] = number
        for handle, outcome in engine.outcomes():
            number = under_way.pop(handle)
            if not isinstance(outcome, WorkerLostError):
                yield number, outcome
            elif alone:
                yield number, UnreadableFileError(f"the worker died of it, twice ({outcome})")
            else:
                suspects.append(number)
