"""Scores of events from an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alp_coffea.errors import (
    ConfigurationError,
    InputError,
    MissingFieldError,
    UnreadableFileError,
)
from alp_coffea.yaml_models import expand_variables

#: Input and output of the network, and the key of its metadata.
INPUT: Final = "features"
OUTPUT: Final = "score"
METADATA: Final = "alp_coffea"
#: Events evaluated at once. The last ones are padded to as many: matrix products of other sizes
#: round differently, and a score must not depend on the chunk that its event is in.
BATCH: Final = 1024


@dataclass(frozen=True)
class Classifier:
    """A trained network: ``content`` of its ONNX file and the ``features`` it takes, in order.

    Plain data, so that it travels to workers and checkpoints notice another one.
    """

    content: bytes
    features: tuple[str, ...]

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """From a file of ``alp-coffea train``; ``${VARIABLE}`` in its name is expanded.

        Raises UnreadableFileError if it is no such file, ConfigurationError without onnxruntime.
        """
        path = expand_variables(str(path), Path("classifier"))
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UnreadableFileError(f"classifier {path}: cannot be read: {error}") from error
        try:
            found = _session(content).get_modelmeta().custom_metadata_map
            features = json.loads(found[METADATA])["features"]
        except ConfigurationError:
            raise
        except Exception as error:  # onnxruntime raises a dozen kinds; the file is named
            raise UnreadableFileError(
                f"classifier {path}: not an ONNX file written by 'alp-coffea train' "
                f"({type(error).__name__}: {str(error)[:200]})"
            ) from error
        return cls(content, tuple(features))

    def score(self, columns: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """Scores (n,) in [0, 1], 1 for signal; NaN where a feature is NaN.

        ``columns`` has every feature (n,), perhaps among others, in the units of training.

        Raises MissingFieldError without one of them, InputError for unequal lengths.
        """
        missing = [name for name in self.features if name not in columns]
        if missing:
            raise MissingFieldError(
                f"classifier: no column for its features {', '.join(missing)}; it was trained for "
                "another processor"
            )
        arrays = [np.asarray(columns[name], dtype=np.float32) for name in self.features]
        if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
            raise InputError("classifier: features need one value per event each")
        values = np.stack(arrays, axis=1)
        padded = np.zeros((-(-len(values) // BATCH) * BATCH, len(arrays)), dtype=np.float32)
        padded[: len(values)] = values
        session = _session(self.content)
        scores = [
            session.run([OUTPUT], {INPUT: padded[first : first + BATCH]})[0][:, 0]
            for first in range(0, len(padded), BATCH)
        ]
        score = np.concatenate([*scores, np.empty(0)])[: len(values)].astype(np.float64)
        return np.where(np.isfinite(values).all(axis=1), score, np.nan)


@lru_cache(maxsize=4)
def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            "a classifier needs onnxruntime; install alp-coffea[learning]"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # jobs have one core each
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
