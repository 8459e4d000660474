"""The small analysis on a real Slurm, through dask-jobqueue."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from alp_coffea.storage import load_histograms

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


def test_an_analysis_on_slurm_gives_what_one_process_gives(
    small_input: Path, tmp_path: Path, slurm: dict[str, str]
) -> None:
    settings = {
        "cores": 1,
        "processes": 1,
        "memory": "2GB",
        "walltime": "00:20:00",
        "log-directory": str(tmp_path / "logs"),
        "local-directory": str(tmp_path / "scratch"),
    }
    (tmp_path / "jobqueue.yaml").write_text(yaml.safe_dump({"jobqueue": {"slurm": settings}}))
    environment = {**slurm, "DASK_CONFIG": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def run(out: Path, *options: str) -> str:
        command = ["run", str(small_input / "analysis.yaml"), "-o", str(out)]
        command += ["--stages", "process", "--chunksize", "5000", *options]
        done = subprocess.run(
            [sys.executable, "-m", "alp_coffea", *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    report = run(tmp_path / "slurm", "--cluster", "slurm", "--workers", "2")
    assert "0 entries lost" in report
    jobs = list((tmp_path / "logs").glob("*.out"))
    assert jobs, "no job has run"
    run(tmp_path / "here", "--executor", "iterative")
    ours, theirs = (load_histograms(tmp_path / n / "histograms.zip") for n in ("slurm", "here"))
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours)
