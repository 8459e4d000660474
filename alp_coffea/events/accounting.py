"""What was read of every file and sample, and the luminosities that follow, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alp_coffea.catalogue_config import Catalogue, Sample
from alp_coffea.config import Blinding
from alp_coffea.events.datasets import FileRecord
from alp_coffea.events.luminosity import Coverage, Luminosities, coverage
from alp_coffea.events.weights import scale
from alp_coffea.physics.production import Production


def account(
    catalogue: Catalogue,
    records: Sequence[FileRecord],
    blinding: Blinding,
    *,
    projected: float | None,
    production: Production,
) -> dict[str, Any]:
    """The part of a manifest that says what was read.

    Parameters
    ----------
    projected
        Luminosity [1/pb] used instead of the recorded one, see ``Luminosities``.
    production
        Cross section of signals that do not say theirs.

    Returns
    -------
    ``luminosity`` that yields and limits refer to, ``campaigns`` by name, ``samples`` with what
    is covered and the ``scale`` to the luminosity, the ``ledger`` with one row per file, and
    whether the ``input_complete``.
    """
    covered = {
        sample.name: coverage(sample, records, production=production)
        for sample in catalogue.samples
    }
    luminosities = Luminosities.of(catalogue, covered, blinding, projected=projected)
    return {
        "luminosity": luminosities.total,
        "campaigns": dict(luminosities.by_campaign),
        "samples": [
            _sample_row(sample, covered[sample.name], luminosities) for sample in catalogue.samples
        ],
        "ledger": [_ledger_row(record) for record in records],
        "input_complete": all(
            record.status == "blinded"
            or (record.status == "done" and record.read == record.expected)
            for record in records
        ),
    }


def without_home(content: Any) -> Any:
    """Plain data without the name of the user's home folder in any of its texts."""
    home = str(Path.home())
    if home == "/":
        return content
    if isinstance(content, str):
        return re.sub(rf"{re.escape(home)}(?![\w.-])", "~", content)
    if isinstance(content, Mapping):
        return {key: without_home(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_home(value) for value in content]
    return content


def _ledger_row(record: FileRecord) -> dict[str, Any]:
    row = {**record.to_json(), "path": without_home(record.path)}
    if record.conversion is not None:
        sources = record.conversion["sources"]
        row["conversion"] = {
            **record.conversion,
            "sources": [{**source, "path": without_home(source["path"])} for source in sources],
        }
    return row


def _sample_row(sample: Sample, covered: Coverage, luminosities: Luminosities) -> dict[str, Any]:
    return {
        "name": sample.name,
        "kind": sample.kind,
        "campaign": sample.campaign,
        "label": sample.label,
        "mass": sample.mass,
        "coupling": sample.coupling if sample.kind == "signal" else None,
        "cross_section": sample.cross_section and sample.cross_section.model_dump(mode="json"),
        "luminosity": covered.recorded,
        "covered_fraction": covered.fraction,
        "covered_luminosity": covered.covered,
        "covered_uncertainty": covered.uncertainty,
        "runs": covered.runs,
        "note": "; ".join(covered.notes),
        "scale": scale(luminosities.of_sample(sample), covered.covered),
        "synthetic": sample.synthetic,
    }
