"""The demonstration on a real Slurm, through dask-jobqueue."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from farm import assert_same, configure, run

pytestmark = pytest.mark.slow

#: Set where this test must run, so that a missing Slurm is a failure there.
REQUIRED = "ALP_COFFEA_REQUIRE_SLURM"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment in which Slurm's commands work."""
    missing = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("being root")
    if missing:
        reason = f"needs {', '.join(missing)}: apt-get install slurm-wlm munge, see docs/batch.md"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    # not below a folder that only root may enter: munged runs as another user
    folder = Path("/tmp") / f"slurm-{os.getpid()}"
    script = Path(__file__).with_name("start_slurm.sh")
    subprocess.run([script, folder], check=True, timeout=120)
    try:
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([script, "--stop", folder], check=True, timeout=60)
        shutil.rmtree(folder)


def test_the_demonstration_on_slurm_gives_what_one_process_gives(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    environment = configure(tmp_path, slurm, "slurm")
    farm, here = tmp_path / "slurm", tmp_path / "here"
    chunks = ["--stages", "process", "--chunksize", "50000"]
    options = ["--cluster", "slurm", "--workers", "2", *chunks]
    report = run(environment, "--demo", "-o", str(farm), *options)
    assert "0 entries lost" in report
    assert re.search(r"process: on dask scheduler tcp://.*, dashboard http://", report)
    jobs = list((tmp_path / "logs").glob("*.out"))
    assert jobs, "no job has run"
    catalogue = ["--catalogue", str(farm / "input" / "catalogue.yaml")]
    run(environment, "demo", *catalogue, "-o", str(here), "--executor", "iterative", *chunks)
    assert_same(farm, here)
    manifest = json.loads((farm / "manifest.json").read_text("utf-8"))
    assert len(manifest["ledger"]) > 10
    assert all(row["read"] == row["expected"] > 0 for row in manifest["ledger"])


def test_pbs_commands_on_slurm_run_an_analysis(
    small_input: Path, tmp_path: Path, slurm: dict[str, str]
) -> None:
    if shutil.which("qsub") is None:
        pytest.skip("needs apt-get install slurm-wlm-torque: PBS's commands for Slurm")
    # Torque's way to ask for resources, not PBS Pro's
    environment = configure(tmp_path, slurm, "pbs", **{"resource-spec": "nodes=1:ppn=1,mem=2gb"})
    chunks = ["--stages", "process", "--chunksize", "5000"]
    analysis = str(small_input / "analysis.yaml")
    options = ["--cluster", "pbs", "--workers", "1", *chunks]
    report = run(environment, analysis, "-o", str(tmp_path / "pbs"), *options)
    assert "0 entries lost" in report
    run(environment, analysis, "-o", str(tmp_path / "here"), "--executor", "iterative", *chunks)
    assert_same(tmp_path / "pbs", tmp_path / "here")
