"""What the stages of one run share: settings, folder, progress and the manifest."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from alp_coffea.config import (
    Analysis,
    Blinding,
    Catalogue,
    TheoryTable,
)
from alp_coffea.errors import InputError
from alp_coffea.events.accounting import without_home
from alp_coffea.events.ledger import IdentityCheck
from alp_coffea.execution import Cluster, Status
from alp_coffea.execution.running import ExecutorName
from alp_coffea.files import write_json
from alp_coffea.physics.beams import Beams
from alp_coffea.physics.production import Production, Strahlung, Tabulated, Unspecified
from alp_coffea.results import Run

Stage = Literal["process", "model", "scan", "report"]
STAGES: Final[tuple[Stage, ...]] = ("process", "model", "scan", "report")


class Progress(Protocol):
    """What is told how far a run is, such as ``alp_coffea.execution.progress.display``."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` of a stage is done."""

    def processing(self, status: Status) -> None:
        """The same in more detail, while files are processed."""


@dataclass(frozen=True)
class Options:
    """How an analysis is run, apart from what it computes."""

    executor: ExecutorName = "iterative"
    workers: int | None = None
    chunksize: int = 250_000
    limit_files: int | None = None
    limit_chunks: int | None = None
    allow_missing: bool = False
    #: Take lost files of unknown size to be as large as the others of their sample.
    estimate_missing: bool = False
    unblind: bool = False
    fresh: bool = False
    cluster: Cluster | None = None
    #: Signals added to the data before the scan, such as ``mass=3.0,sigma=0.5`` (GeV, pb).
    inject: tuple[str, ...] = ()
    seed: int = 0
    #: Keep converged points of the last scan if nothing but its range has changed.
    resume_scan: bool = False
    command: str = ""


@dataclass
class Job:
    """What the stages of one run share."""

    path: Path
    analysis: Analysis
    catalogue: Catalogue
    out: Path
    options: Options
    progress: Progress | None
    identities: IdentityCheck | None = None

    @property
    def beams(self) -> Beams:
        return Beams(**self.catalogue.beams.model_dump())

    def report(self, stage: str) -> Callable[[int, int], None]:
        """Progress callback of one stage."""

        def update(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(stage, done, total)

        return update

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Record when a stage ran in the manifest."""
        start = _now()
        yield
        manifest = json.loads((self.out / "manifest.json").read_text("utf-8"))
        manifest["stages"][stage] = {
            "start": start,
            "end": _now(),
            "command": self.options.command,
            "configuration_hash": content_hash(self.analysis.model_dump(mode="json")),
            "injected": list(self.options.inject) if stage == "scan" else [],
        }
        # what the newest stage used: earlier ones that depend on it are refused when it differs
        manifest["configuration"]["analysis"] = self.analysis.model_dump(mode="json")
        manifest["configuration_hash"] = content_hash(self.analysis.model_dump(mode="json"))
        manifest["complete"] = manifest["input_complete"] and all(
            done in manifest["stages"] for done in STAGES
        )
        write_json(without_home(manifest), self.out / "manifest.json")

    @property
    def production(self) -> Production:
        """What turns cross sections into couplings."""
        theory = self.analysis.theory
        if theory == "strahlung":
            return Strahlung(self.beams.sqrt_s)
        if isinstance(theory, TheoryTable):
            return Tabulated.read(theory.table, coupling=theory.coupling)
        return Unspecified()

    @property
    def blinding(self) -> Blinding:
        """What may be seen of data, after the option that unblinds."""
        return Blinding() if self.options.unblind else self.analysis.blinding

    @property
    def fingerprint(self) -> str:
        """Hash of everything the histograms depend on, except the files' contents."""
        return content_hash(
            {
                "catalogue": self.catalogue.model_dump(mode="json"),
                "processor": self.analysis.processor,
                "options": self.analysis.options,
                "limits": [self.options.limit_files, self.options.limit_chunks],
                "blinding": self.blinding.model_dump(mode="json"),
                "luminosity": self.analysis.luminosity,
                "theory": self.analysis.model_dump(mode="json")["theory"],
            }
        )

    def processed(self) -> Run:
        """The output folder, after checking that its histograms belong to this configuration."""
        run = Run(self.out)
        if "process" not in run.manifest["stages"]:
            raise InputError(
                f"{self.out}: the 'process' stage did not finish, so its histograms may be those "
                "of an earlier run; run it again"
            )
        if run.manifest["process_hash"] != self.fingerprint:
            raise InputError(
                f"{self.out}: the histograms were made with another catalogue, processor or "
                "options; run the 'process' stage again or choose another output folder"
            )
        return run


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def content_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
