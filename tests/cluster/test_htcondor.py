"""A small analysis on a real HTCondor, where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from farm import assert_same, configure, run

pytestmark = pytest.mark.slow


def test_an_analysis_on_htcondor_gives_what_one_process_gives(
    small_input: Path, tmp_path: Path
) -> None:
    status = ["condor_status", "-af", "Name"]
    if shutil.which(status[0]) is None or not subprocess.run(status, capture_output=True).stdout:
        pytest.skip("needs an HTCondor pool, for example Debian's minicondor (12 has none)")
    if os.geteuid() == 0:
        pytest.skip("HTCondor runs no jobs for root")
    # HTCondor starts jobs without the environment of the submitter and without wall time
    extra = {"getenv": "PYTHONPATH, HOME"}
    environment = configure(
        tmp_path, os.environ, "htcondor", disk="1GB", **{"job-extra-directives": extra}
    )
    chunks = ["--stages", "process", "--chunksize", "5000"]
    analysis = str(small_input / "analysis.yaml")
    options = ["--cluster", "htcondor", "--workers", "2", *chunks]
    report = run(environment, analysis, "-o", str(tmp_path / "condor"), *options)
    assert "0 entries lost" in report
    assert list((tmp_path / "logs").glob("*.log")), "no job has run"
    run(environment, analysis, "-o", str(tmp_path / "here"), "--executor", "iterative", *chunks)
    assert_same(tmp_path / "condor", tmp_path / "here")
