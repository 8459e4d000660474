"""basf2's other layouts into the canonical one, as parquet.

Processors read one layout (``events.schema``). :func:`convert` makes it from

- trees with one particle list each (``VariablesToEventBasedTree``), in one file or several,
  joined on event identity;
- rows of candidates (``VariablesToNtuple``), regrouped into events by a column map.

Identity becomes int32/int64, every other number float64. Files are read in ranges of entries, so
memory is bounded by one row group; the result appears under its name only when complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet

from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.errors import (
    ConfigurationError,
    EmptyFileError,
    MissingFieldError,
    MissingTreeError,
    suggest,
)
from alp_coffea.events.conversion import candidate_rows, event_trees
from alp_coffea.events.conversion.canonical_writer import CONVERSION_KEY, Writer
from alp_coffea.events.conversion.joining import Identity
from alp_coffea.events.conversion.sources import OpenTree, guess_collection
from alp_coffea.events.opening import (
    file_identity,
    open_root,
    open_tree,
    readable,
    tree_info,
    tree_names,
)
from alp_coffea.files import atomic

#: Part of every digest: raise it when the same input gives different output.
VERSION: Final = 1


@dataclass(frozen=True)
class SourceTree:
    """One tree that was converted."""

    path: str
    tree: str
    collection: str
    entries: int
    identity: str


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did; stored in the parquet file and in :attr:`to_json`.

    Attributes
    ----------
    layout
        ``event_based`` or ``candidates``.
    sources
        Trees that were read, with their entries and the identity of their files.
    events
        Entries of the result.
    rows
        Entries of the (first) source tree.
    columns
        Canonical branch to the columns it was made of.
    truncated_events
        Events whose list was longer than what was written (basf2's ``maxCandidates``), or that
        have fewer rows than ``__ncandidates__``.
    processed_events_known
        False for candidate rows, which exist only for events with a candidate: the number of
        generated or processed events must come from the catalogue.
    unused
        Columns that were left out.
    notes
        Everything else worth knowing, in words.
    """

    layout: str
    sources: tuple[SourceTree, ...]
    events: int
    rows: int
    columns: Mapping[str, tuple[str, ...]]
    truncated_events: int
    processed_events_known: bool
    unused: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConversionReport:
        """Inverse of :meth:`to_json`."""
        fields = dict(data)
        fields["sources"] = tuple(SourceTree(**source) for source in data["sources"])
        fields["columns"] = {name: tuple(used) for name, used in data["columns"].items()}
        fields["unused"], fields["notes"] = tuple(data["unused"]), tuple(data["notes"])
        return cls(**fields)


def convert(
    paths: Sequence[str | Path],
    output: str | Path,
    settings: ConversionSettings | None = None,
    *,
    step: int = 100_000,
) -> ConversionReport:
    """Convert one campaign file, or several files whose trees are joined, to canonical parquet.

    Parameters
    ----------
    paths
        ROOT files of the same events (friend files); one for candidate rows.
    output
        Parquet file to write; replaced atomically.
    step
        Entries read at a time; each becomes a row group.

    Raises
    ------
    InputError
        A subclass naming file, tree and columns: missing or damaged file, missing tree or field,
        wrong type, no entries, trees that do not match.
    ConfigurationError
        If the settings fit no tree, or leave open which tree is which collection.
    """
    settings = settings or ConversionSettings()
    with ExitStack() as stack:
        trees = _open(stack, [str(path) for path in paths], settings)
        return _convert(trees, Path(output), settings, step, _digest(trees, settings))


def convert_cached(
    paths: Sequence[str | Path],
    folder: str | Path,
    settings: ConversionSettings | None = None,
    *,
    step: int = 100_000,
) -> tuple[Path, ConversionReport]:
    """Like :func:`convert`, into a file of ``folder`` named by its content; done only once.

    The name carries a digest of the identities of the sources, the settings and the converter's
    version, so a changed input is converted anew. Safe to call from several processes.
    """
    settings = settings or ConversionSettings()
    with ExitStack() as stack:
        trees = _open(stack, [str(path) for path in paths], settings)
        target = _target(trees, Path(folder), settings)
        if target.is_file():
            return target, read_report(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target, _convert(trees, target, settings, step, _digest(trees, settings))


def foresee(
    paths: Sequence[str], folder: Path, settings: ConversionSettings
) -> tuple[Path, frozenset[str]]:
    """Where :func:`convert_cached` would put its result, and which branches that would have.

    Only headers are read. Raises what :func:`convert` raises because of them.
    """
    with ExitStack() as stack:
        trees = _open(stack, paths, settings)
        if trees[0].collection == "Candidates":
            branches = candidate_rows.branches(trees[0], settings.fields)
        else:
            branches = event_trees.branches(trees, settings.fields)
        return _target(trees, folder, settings), branches


def _target(trees: Sequence[OpenTree], folder: Path, settings: ConversionSettings) -> Path:
    return folder / f"{Path(trees[0].path).stem}-{_digest(trees, settings)[:16]}.parquet"


def count_events(path: str, settings: ConversionSettings) -> dict[tuple[int, int], int]:
    """Events of one foreign file by (experiment, run), from their identities alone.

    Raises what :func:`convert` raises where these cannot be read.
    """
    with ExitStack() as stack:
        trees = _open(stack, [path], settings)
        parts = [opened.identities(0, opened.info.entries) for opened in trees]
    # an event has a row per candidate, or an entry in each tree
    identity = Identity.concatenate(parts)
    distinct = identity[np.unique(identity.keys(), return_index=True)[1]]
    numbers = np.stack([distinct.experiment, distinct.run], axis=1)
    runs, counts = np.unique(numbers, axis=0, return_counts=True)
    return {(int(e), int(r)): int(n) for (e, r), n in zip(runs, counts, strict=True)}


def read_report(path: str | Path) -> ConversionReport:
    """The report stored in a converted file.

    Raises MissingFieldError if the file was not made by :func:`convert`.
    """
    with readable(str(path)):
        metadata = pyarrow.parquet.read_metadata(path).metadata or {}
    if CONVERSION_KEY not in metadata:
        raise MissingFieldError(f"{path} carries no conversion report; it was not converted here")
    return ConversionReport.from_json(json.loads(metadata[CONVERSION_KEY]))


def _open(stack: ExitStack, paths: Sequence[str], settings: ConversionSettings) -> list[OpenTree]:
    """The trees to convert, each with its collection."""
    found: list[OpenTree] = []
    skipped: list[str] = []
    names: list[str] = []
    unseen = set(settings.trees)
    for path in paths:
        directory = stack.enter_context(open_root(path))
        identity = file_identity(directory, path)
        for name in tree_names(directory, path):
            names.append(name)
            # "file.root:tree" tells trees of one name in several files apart
            keys = [key for key in (f"{Path(path).name}:{name}", name) if key in settings.trees]
            if settings.trees and not keys:
                continue
            unseen -= set(keys)
            tree = open_tree(directory, name, path)
            info = tree_info(tree, name, path)
            if info.layout == "unknown":
                if keys:
                    raise MissingFieldError(
                        f"{path}: tree '{name}' has no event identity (branches "
                        "'__experiment__', '__run__', '__event__'), so its entries cannot be "
                        f"told apart. It has: {', '.join(list(info.columns)[:12])}"
                    )
                skipped.append(f"'{name}'")
                continue
            if info.layout == "canonical":
                raise ConfigurationError(
                    f"{path}: tree '{name}' already has the canonical layout; use it as it is"
                )
            holds = settings.trees[keys[0]] if keys else ""
            found.append(OpenTree(path, tree, info, identity, holds))
    if unseen:
        first = min(unseen)
        raise MissingTreeError(
            f"{', '.join(paths)}: no tree '{first}'{suggest(first, names)} The settings name it "
            f"for '{settings.trees[first]}'; there are: {', '.join(names) or 'none'}"
        )
    if not found:
        raise MissingTreeError(
            f"{', '.join(paths)}: no tree with event identity (branches '__experiment__', "
            f"'__run__', '__event__'); trees without: {', '.join(skipped) or 'none'}"
        )
    return _with_collections(found)


def _with_collections(trees: list[OpenTree]) -> list[OpenTree]:
    names = ", ".join(opened.where for opened in trees)
    rows = [opened for opened in trees if opened.info.layout == "candidates"]
    if rows and len(trees) > 1:
        raise ConfigurationError(
            f"several trees, among them candidate rows ({names}); choose one with 'trees', "
            "for example {" + rows[0].info.name + ": Candidates}"
        )
    if rows:
        if rows[0].collection not in ("", "Candidates"):
            raise ConfigurationError(
                f"{rows[0].where} holds candidate rows, not a list of '{rows[0].collection}'; "
                "map its columns with 'fields'"
            )
        return [rows[0].into("Candidates")]
    for opened in trees:
        if opened.collection == "Candidates":
            raise ConfigurationError(
                f"{opened.where} holds one particle list per event, not candidate rows; say with "
                "'trees' which: Photon, Track, Truth or Event"
            )
    decided = [opened.into(opened.collection or guess_collection(opened)) for opened in trees]
    if all(opened.collection == "Event" for opened in decided):
        raise MissingFieldError(
            f"{names}: only numbers per event, no list of photons or tracks to convert; give the "
            "file that has them, too"
        )
    # particle lists first: they decide the order of events
    decided.sort(key=lambda opened: opened.collection == "Event")
    used: dict[str, OpenTree] = {}
    for opened in decided:
        if opened.collection != "Event" and opened.collection in used:
            raise ConfigurationError(
                f"{used[opened.collection].where} and {opened.where} would both become "
                f"'{opened.collection}'; say which is which with 'trees' ({names})"
            )
        used[opened.collection] = opened
    return decided


def _digest(trees: Sequence[OpenTree], settings: ConversionSettings) -> str:
    content = {
        "version": VERSION,
        "settings": asdict(settings),
        "sources": [(t.identity, t.info.name, t.collection, t.info.entries) for t in trees],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _convert(
    trees: Sequence[OpenTree], output: Path, settings: ConversionSettings, step: int, digest: str
) -> ConversionReport:
    if step < 1:
        raise ConfigurationError(f"step = {step} must be at least 1 entry")
    for opened in trees:
        if opened.info.entries == 0 and opened.collection != "Event":
            raise EmptyFileError(f"{opened.where} has no entries")
    candidates = trees[0].collection == "Candidates"
    with (
        atomic(output) as temporary,
        Writer(temporary, digest, settings.missing_value, settings.degrees) as writer,
    ):
        if candidates:
            facts = candidate_rows.convert_rows(trees[0], settings.fields, writer, step)
        else:
            facts = event_trees.convert_trees(
                trees, settings.fields, writer, step, strict=settings.join == "strict"
            )
        writer.check_units(trees[0].where)
        report = ConversionReport(
            layout="candidates" if candidates else "event_based",
            sources=tuple(
                SourceTree(t.path, t.info.name, t.collection, t.info.entries, t.identity)
                for t in trees
            ),
            events=writer.events,
            rows=trees[0].info.entries,
            columns=facts.columns,
            truncated_events=facts.truncated_events,
            processed_events_known=not candidates,
            unused=facts.unused,
            notes=(*facts.notes, *writer.notes()),
        )
        writer.finish(json.dumps(report.to_json(), sort_keys=True))
    return report
