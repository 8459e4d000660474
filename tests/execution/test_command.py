"""The options of ``alp-coffea run`` that say where and how, on the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import inputs
import pytest
import yaml

from alp_coffea.__main__ import main


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    """An analysis of four small files with a slow processor."""
    source = inputs.PROCESSOR.replace(
        '"sum": ', '"cutflow": Cutflow(),\n                "sum": '
    ).replace("import hist\n", "import hist\nfrom alp_coffea.events.selection import Cutflow\n")
    (tmp_path / "filler.py").write_text(source, "utf-8")
    inputs.small_catalogue(tmp_path)
    content = {
        "title": "small",
        "catalogue": "catalogue.yaml",
        "processor": "filler.py",
        "options": {"pause": 0.1},
        "scan": {"low": 1.0, "high": 2.0, "step": 1.0},
    }
    path = tmp_path / "analysis.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def command(analysis: Path, *options: str) -> list[str]:
    out = str(analysis.parent / "out")
    run = ["run", str(analysis), "-o", out, "--stages", "process", "--chunksize", "100"]
    return [*run, "--executor", "iterative", *options]


def test_sigterm_ends_with_130_and_the_same_command_goes_on(
    analysis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = analysis.parent / "out" / "checkpoints"
    with subprocess.Popen(
        [sys.executable, "-m", "alp_coffea", *command(analysis)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        while not any(p.stat().st_size for p in checkpoints.glob("*.index")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; run it again to go on" in errors
    assert main(command(analysis)) == 0
    text = capsys.readouterr().err
    assert "of them from checkpoints" in text
    assert "0 entries lost" in text
    manifest = json.loads((analysis.parent / "out" / "manifest.json").read_text("utf-8"))
    assert [(row["read"], row["status"]) for row in manifest["ledger"]] == [(1000, "done")] * 4
    assert main(command(analysis, "--fresh", "--progress", "quiet", "--limit-chunks", "1")) == 3
    text = capsys.readouterr().err
    assert "checkpoints" not in text
    assert "f1.root: left out by the limit on chunks" in text


def test_lost_entries_end_with_3_and_are_named(
    analysis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (analysis.parent / "filler.py").read_text("utf-8")
    broken = source.replace("if (numbers == self.at).any():", "if (numbers == 1234).any():")
    broken = broken.replace("self.meet()", "raise OSError('the disk of file 2 is broken')")
    (analysis.parent / "filler.py").write_text(broken, "utf-8")
    assert main(command(analysis)) == 3
    assert "f1.root: entries 234 to 235 not read: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tls-ca", "ca.pem"], "give --scheduler tls://"),
        (["--scheduler", "tcp://a:1", "--cluster", "slurm"], "not allowed with"),
        (["--resume", "--fresh"], "not allowed with"),
        (["--cluster", "slrum"], "invalid choice: 'slrum'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    analysis: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(command(analysis, *options))
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
