"""Canonical files for an analysis: canonical input as it is, foreign input through a cache.

The cache is a folder of converted files named by the content they were made of, so a second run
converts nothing, and a changed source, setting or converter version is converted anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from loky import ProcessPoolExecutor

from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.errors import AlpCoffeaError, ConfigurationError
from alp_coffea.events.conversion.convert import ConversionReport, convert_cached
from alp_coffea.events.opening import is_parquet, open_root, open_tree, tree_info, tree_names

#: Called with (files done, files in all).
Progress = Callable[[int, int], None]


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
    workers: int = 1,
    progress: Progress | None = None,
) -> list[CanonicalFile]:
    """Make every file readable by a processor, converting foreign ones in parallel.

    Parameters
    ----------
    groups
        Files with their friends, see :func:`friend_groups`.
    folder
        Cache; it must be visible where the files are processed.
    workers
        Local processes.

    Returns
    -------
    One entry per group, in its order. Errors of single files are returned, not raised, so that
    the caller decides whether a run goes on without them.
    """
    settings = settings or ConversionSettings()
    results: dict[int, CanonicalFile] = {}

    def finish(number: int, result: CanonicalFile) -> None:
        results[number] = result
        if progress is not None:
            progress(len(results), len(groups))

    if workers == 1 or len(groups) == 1:
        for number, group in enumerate(groups):
            finish(number, _canonical_file(tuple(group), folder, settings))
    else:
        with ProcessPoolExecutor(max_workers=min(workers, len(groups))) as pool:
            futures = {
                pool.submit(_canonical_file, tuple(group), folder, settings): number
                for number, group in enumerate(groups)
            }
            for future in as_completed(futures):
                finish(futures[future], future.result())
    return [results[number] for number in range(len(groups))]


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
    group: tuple[str, ...], folder: str | Path, settings: ConversionSettings
) -> CanonicalFile:
    try:
        if len(group) == 1 and not is_foreign(group[0]):
            return CanonicalFile(group, group[0])
        path, report = convert_cached(group, folder, settings)
    except AlpCoffeaError as error:
        return CanonicalFile(group, "", error=error)
    return CanonicalFile(group, str(path), report)
