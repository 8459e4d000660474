"""Small canonical files and catalogues for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
import yaml

from alp_coffea.config import Catalogue, load_catalogue


def canonical(
    event: Any, *, run: Any = 1, experiment: Any = 7, production: Any = 0, tracks: int = 2
) -> dict[str, Any]:
    """Columns of canonical events with the given identity; numbers follow from it."""
    event = np.atleast_1d(np.asarray(event))
    n = len(event)
    identity = {"experiment": experiment, "run": run, "production": production}
    columns: dict[str, Any] = {
        f"__{name}__": np.broadcast_to(np.asarray(value, dtype=np.int32), (n,)).copy()
        for name, value in identity.items()
    }
    columns["__event__"] = event
    columns["weight"] = np.full(n, 0.5)
    columns["gamma_E"] = ak.unflatten(np.arange(2.0 * n), np.full(n, 2))
    columns["gamma_theta"] = ak.unflatten(np.ones(2 * n), np.full(n, 2))
    columns["track_p"] = ak.unflatten(np.ones(tracks * n), np.full(n, tracks))
    return columns


def write_root(path: Path, columns: dict[str, Any], tree: str = "events") -> Path:
    types = {
        name: "var * float64" if isinstance(values, ak.Array) else values.dtype
        for name, values in columns.items()
    }
    with uproot.recreate(path) as file:
        file.mktree(tree, types)
        file[tree].extend(columns)
    return path


def write_parquet(path: Path, columns: dict[str, Any], row_group: int = 1000) -> Path:
    ak.to_parquet(ak.Array(columns), path, row_group_size=row_group)
    return path


def catalogue(folder: Path, *files: str, **changes: Any) -> Catalogue:
    """A catalogue of one sample, data unless said otherwise."""
    entry = {"name": "data", "kind": "data", "files": list(files), "luminosity": 100.0} | changes
    path = folder / "catalogue.yaml"
    entry = {key: value for key, value in entry.items() if value is not None}
    path.write_text(yaml.safe_dump({"samples": [entry]}), "utf-8")
    return load_catalogue(path)
