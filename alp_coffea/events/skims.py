"""Selected events as parquet: for training, unbinned studies and event listings.

Each chunk writes one file, whose name depends only on the input file and the range of entries: a
chunk that is repeated replaces its own file. The processor's output lists what was written;
:func:`write_index` turns that into ``index.json``, which decides what belongs to the skim.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import awkward as ak
import numpy as np
import pyarrow
import pyarrow.parquet
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from alp_coffea.errors import InputError, MissingFieldError
from alp_coffea.events.schema import IDENTITY, canonical_branch
from alp_coffea.files import atomic, write_json
from alp_coffea.yaml_models import Model, expand_variables, parse

INDEX: Final = "index.json"
#: Prefix of columns with one value per photon or candidate of the triple.
TRIPLE: Final = "triple_"


class SkimSettings(Model):
    """What is written and where.

    ``folder`` must be the same place on all workers; ``${VARIABLE}`` is expanded. ``columns`` are
    canonical fields such as ``Photon.E`` or ``run``, ``truth_columns`` those that only simulation
    has. Event identity and the columns of the triple are always there.
    """

    folder: str
    selection: Literal["final", "loose", "preselection"] = "final"
    columns: Annotated[tuple[str, ...], Field()] = ()
    truth_columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> SkimSettings | None:
        """From the option of an analysis file; raises ConfigurationError naming the key."""
        if settings is None:
            return None
        parsed = parse(yaml.safe_dump(dict(settings)), cls, where="processor option 'skim'")
        folder = Path(expand_variables(parsed.folder, Path("processor option 'skim'")))
        return parsed.model_copy(update={"folder": str(folder.absolute())})


def write_chunk(
    settings: SkimSettings,
    events: ak.Array,
    position: NDArray[np.integer],
    triple: Mapping[str, ArrayLike],
    *,
    prefix: str = TRIPLE,
) -> list[dict[str, Any]]:
    """Write the chosen events of a chunk; returns its line of the index.

    Parameters
    ----------
    position
        Events to write, positions in the chunk (n,).
    triple
        Columns of the chosen events by name, (n,) or (n, 3).
    prefix
        Of the names of these in the file.

    Raises
    ------
    MissingFieldError
        If the events have no such column.
    """
    metadata = events.metadata
    is_data = metadata["kind"] == "data"
    wanted = (*IDENTITY, *settings.columns, *(() if is_data else settings.truth_columns))
    columns = {canonical_branch(name): _column(events, name)[position] for name in wanted}
    columns |= {prefix + name: ak.Array(np.asarray(values)) for name, values in triple.items()}
    path = Path(settings.folder) / metadata["dataset"] / _name(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({n: ak.to_arrow(c, extensionarray=False) for n, c in columns.items()})
    with atomic(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
    return [
        {
            "file": f"{metadata['dataset']}/{path.name}",
            "sample": metadata["dataset"],
            "source": metadata["filename"],
            "start": int(metadata["entrystart"]),
            "stop": int(metadata["entrystop"]),
            "rows": len(position),
        }
    ]


def _column(events: ak.Array, name: str) -> ak.Array:
    collection, dot, field = name.partition(".")
    owner, part = (events[collection], field) if dot else (events, collection)
    if part not in owner.fields:
        raise MissingFieldError(
            f"skim: the events of sample '{events.metadata['dataset']}' have no '{name}' (branch "
            f"'{canonical_branch(name)}'); columns that only simulation has are 'truth_columns'"
        )
    return ak.materialize(owner[part])


def _name(metadata: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(str(metadata["filename"]).encode()).hexdigest()[:12]
    stem = Path(metadata["filename"]).stem
    return f"{stem}_{digest}_{metadata['entrystart']}_{metadata['entrystop']}.parquet"


def write_index(
    folder: Path | str,
    lines: Iterable[Mapping[str, Any]],
    features: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, int]:
    """Write ``index.json`` from the lines of all chunks; returns the rows of each sample.

    ``features`` are the columns that a classifier should learn from, with their ranges.

    Raises InputError if a file is missing or has other rows than were written.
    """
    folder = Path(folder)
    ordered = sorted(lines, key=lambda line: (line["sample"], line["source"], line["start"]))
    rows: dict[str, int] = {}
    for line in ordered:
        path = folder / line["file"]
        found = pyarrow.parquet.read_metadata(path).num_rows if path.is_file() else None
        if found != line["rows"]:
            raise InputError(
                f"skim {path} should have {line['rows']} rows and "
                + ("is missing" if found is None else f"has {found}")
                + "; process again with --fresh"
            )
        rows[line["sample"]] = rows.get(line["sample"], 0) + line["rows"]
    content: dict[str, Any] = {"format": "alp_coffea skim 1", "rows": rows, "files": ordered}
    if features is not None:
        content["features"] = {name: list(span) for name, span in features.items()}
    write_json(content, folder / INDEX)
    return rows


def read_features(folder: Path | str) -> dict[str, tuple[float, float]]:
    """Columns of a skim that a classifier should learn from, with their ranges.

    Raises InputError if the folder has no index, or its processor named no such columns.
    """
    features = _index(folder).get("features")
    if not features:
        raise InputError(
            f"{Path(folder) / INDEX}: names no features; the processor that wrote the skim needs "
            "an attribute 'features', ranges by column, as processors/fusion.py has"
        )
    return {name: (float(low), float(high)) for name, (low, high) in features.items()}


def _index(folder: Path | str) -> dict[str, Any]:
    path = Path(folder) / INDEX
    if not path.is_file():
        raise InputError(f"{path} does not exist: no finished skim")
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def read_skim(folder: Path | str, sample: str, columns: Sequence[str] | None = None) -> ak.Array:
    """Events of one sample of a skim, columns by their names in the files.

    Raises InputError if the folder has no index or no such sample.
    """
    path, content = Path(folder) / INDEX, _index(folder)
    files = [line["file"] for line in content["files"] if line["sample"] == sample]
    if not files:
        raise InputError(f"{path}: no sample '{sample}' (has {', '.join(content['rows'])})")
    wanted = None if columns is None else list(columns)
    tables = [pyarrow.parquet.read_table(Path(folder) / f, columns=wanted) for f in files]
    return ak.from_arrow(pyarrow.concat_tables(tables))
