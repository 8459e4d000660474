"""Published exclusion curves from text files that the user names; none are shipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alp_coffea.errors import UnreadableFileError

Array = NDArray[np.float64]


def published_curves(paths: Iterable[Path | str]) -> list[tuple[str, Array, Array]]:
    """Name, mass [GeV] and coupling [1/GeV] of every curve in files and folders of them.

    Of a folder all ``*.txt`` are read. Raises UnreadableFileError for a folder without any, or
    naming the file and line.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not found:
            raise UnreadableFileError(f"{path}: no *.txt files with limits in this folder")
        files += found
    return [(file.stem, *published_limits(file)) for file in files]


def published_limits(path: Path | str) -> tuple[Array, Array]:
    """Mass [GeV] and coupling [1/GeV] of a published curve, shape (n,) each.

    Text in the AxionLimits form: comments with ``#``, then mass [eV] and coupling [1/GeV] per
    line. Rows with a coupling of 1 or more only close a contour and are left out.

    Raises UnreadableFileError naming the file and line.
    """
    path = Path(path)
    mass: list[float] = []
    coupling: list[float] = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        words: Sequence[str] = line.split("#")[0].split()
        if not words:
            continue
        try:
            m, g = (float(word) for word in words[:2])
        except ValueError:
            raise UnreadableFileError(
                f"{path}, line {number}: expected 'mass [eV] coupling [1/GeV]', got {line!r}"
            ) from None
        if g < 1:
            mass.append(m * 1e-9)
            coupling.append(g)
    return np.array(mass), np.array(coupling)
