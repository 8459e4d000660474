"""Canonical files for an analysis: canonical input as it is, foreign input through a cache.

The cache is a folder of converted files named by the content they were made of, so a second run
converts nothing, and a changed source, setting or converter version is converted anew.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.errors import AlpCoffeaError, ConfigurationError, UnreadableFileError
from alp_coffea.events.conversion.convert import ConversionReport, convert_cached
from alp_coffea.events.opening import is_parquet, open_root, open_tree, tree_info, tree_names

#: Called with (files done, files in all).
Progress = Callable[[int, int], None]
#: Calls a function with each of many arguments, wherever that is; gives the index of each with
#: its result or exception, as they come.
ForEach = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[tuple[int, Any]]]


@dataclass(frozen=True)
class CanonicalFile:
    """Where the events of one input file (with its friends) can be read.

    ``path`` is the input itself when it is canonical (``report`` None), a file of the cache when
    it was converted, and empty when that failed with ``error``.
    """

    sources: tuple[str, ...]
    path: str
    report: ConversionReport | None = None
    error: AlpCoffeaError | None = None


def friend_groups(paths: Sequence[str], templates: Sequence[str]) -> list[tuple[str, ...]]:
    """Each file with its friend files, which hold other particle lists of the same events.

    A template is a path with ``{stem}`` (file name without ending) and ``{folder}`` of the main
    file: ``{folder}/{stem}_tracks.root``. Raises ConfigurationError for other placeholders.
    """
    groups = []
    for path in paths:
        parts = {"stem": Path(path).stem, "folder": str(Path(path).parent)}
        try:
            friends = tuple(template.format(**parts) for template in templates)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigurationError(
                f"friend files {list(templates)}: only {{stem}} and {{folder}} can be filled in "
                f"({type(error).__name__}: {error})"
            ) from error
        groups.append((path, *friends))
    return groups


def canonical_files(
    groups: Sequence[Sequence[str]],
    folder: str | Path,
    settings: ConversionSettings | None = None,
    *,
    for_each: ForEach | None = None,
    progress: Progress | None = None,
) -> list[CanonicalFile]:
    """Make every file readable by a processor, converting foreign ones.

    Parameters
    ----------
    groups
        Files with their friends, see :func:`friend_groups`.
    folder
        Cache; it must be visible where files are converted and processed.
    for_each
        Where to convert, one file per call; one after the other in this process by default.

    Returns
    -------
    One entry per group, in its order. Errors of single files are returned, not raised, so that
    the caller decides whether a run goes on without them.
    """
    settings = settings or ConversionSettings()
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # by this workers know the folder from another one of that name on their own disk
    mark = folder / f".visible-{uuid.uuid4().hex}"
    mark.touch()
    results: dict[int, CanonicalFile] = {}
    try:
        function = partial(_canonical_file, mark=mark, settings=settings)
        arguments = [tuple(group) for group in groups]
        for number, outcome in (for_each or _one_by_one)(function, arguments):
            if isinstance(outcome, UnreadableFileError):  # of the worker
                problem = UnreadableFileError(f"{arguments[number][0]}: {outcome}")
                results[number] = CanonicalFile(arguments[number], "", error=problem)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                results[number] = outcome
            if progress is not None:
                progress(len(results), len(groups))
    finally:
        mark.unlink(missing_ok=True)
    return [results[number] for number in range(len(groups))]


def _one_by_one(
    function: Callable[[Any], Any], arguments: Sequence[Any]
) -> Iterable[tuple[int, Any]]:
    for number, argument in enumerate(arguments):
        yield number, function(argument)


def is_foreign(path: str) -> bool:
    """Whether a file holds one of basf2's own layouts and no canonical tree.

    Raises MissingFileError or UnreadableFileError.
    """
    if is_parquet(path):
        return False
    with open_root(path) as directory:
        layouts = {
            tree_info(open_tree(directory, name, path), name, path).layout
            for name in tree_names(directory, path)
        }
    return "canonical" not in layouts and bool(layouts & {"event_based", "candidates"})


def _canonical_file(
    group: tuple[str, ...], *, mark: Path, settings: ConversionSettings
) -> CanonicalFile:
    if not mark.is_file():
        raise ConfigurationError(
            f"worker {os.getpid()} on {socket.gethostname()} cannot see the folder {mark.parent}, "
            "where files are converted to; workers need the output folder on a filesystem that "
            "they share with the submitting machine. Choose another output folder"
        )
    try:
        if len(group) == 1 and not is_foreign(group[0]):
            return CanonicalFile(group, group[0])
        path, report = convert_cached(group, mark.parent, settings)
    except AlpCoffeaError as error:
        return CanonicalFile(group, "", error=error)
    return CanonicalFile(group, str(path), report)
