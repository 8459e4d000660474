"""The options of ``alp-coffea run`` that say where and how, on the real command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import inputs
import psutil
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


def command(analysis: Path, *options: str, executor: str = "iterative") -> list[str]:
    out = str(analysis.parent / "out")
    run = ["run", str(analysis), "-o", out, "--stages", "process", "--chunksize", "100"]
    return [*run, "--executor", executor, "--workers", "2", *options]


FARMS = [
    "iterative",
    pytest.param("futures", marks=pytest.mark.slow),
    pytest.param("dask", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("executor", FARMS)
def test_sigterm_ends_with_130_and_the_same_command_goes_on(
    analysis: Path, executor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = analysis.parent / "out" / "checkpoints"
    with subprocess.Popen(
        [sys.executable, "-m", "alp_coffea", *command(analysis, executor=executor)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        while not any(p.stat().st_size for p in checkpoints.glob("*.index")):
            assert process.poll() is None
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; run it again to go on" in errors
    assert "Traceback" not in errors
    # and no worker is left behind
    assert bool(workers) == (executor != "iterative")
    assert not psutil.wait_procs(workers, timeout=20)[1]
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


@pytest.mark.parametrize("executor", FARMS)
def test_a_mistake_in_every_chunk_is_said_once(analysis: Path, executor: str) -> None:
    source = (analysis.parent / "filler.py").read_text("utf-8")
    broken = source.replace("time.sleep(self.pause)", "self.mistake = {}['not there']")
    assert broken != source
    (analysis.parent / "filler.py").write_text(broken, "utf-8")
    line = broken.splitlines().index("        self.mistake = {}['not there']") + 1
    done = subprocess.run(
        [sys.executable, "-m", "alp_coffea", *command(analysis, executor=executor)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("not there") == 1
    assert "Traceback" not in done.stderr
    said = rf"f\d.root, tree 'events', entries \d+ to \d+ .*KeyError at filler.py:{line}: "
    assert re.search(said, done.stderr)


def test_a_truncated_and_a_missing_file_end_with_3_before_anything_runs(
    analysis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = analysis.parent / "f1.root"
    path.write_bytes(path.read_bytes()[:-2000])
    (analysis.parent / "f2.root").unlink()
    assert main(command(analysis)) == 3
    assert "no file matches" in (text := capsys.readouterr().err)
    assert "f2.root" in text
    # going on without them is exit code 3, too, and they are named
    assert main(command(analysis, "--allow-missing", "--estimate-missing")) == 3
    text = capsys.readouterr().err
    for name in ("f1.root", "f2.root"):
        assert re.search(rf"not read: .*{name}: ", text)
    assert "2,000 of 2,000 events" in text
    # back again: only they are computed
    inputs.write_events(path, 1000, 1000)
    inputs.write_events(analysis.parent / "f2.root", 2000, 1000)
    assert main(command(analysis)) == 0
    assert "4,000 of 4,000 events" in (text := capsys.readouterr().err)
    assert "2,000 of them from checkpoints" in text


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
