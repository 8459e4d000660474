"""The command line: help at once, exit codes, and errors that name what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from alp_coffea.__main__ import main
from alp_coffea.errors import ConfigurationError


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run the command in its own process; exit code and everything it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "alp_coffea", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["simulate"]])
def test_help_answers_without_heavy_imports(command: list[str]) -> None:
    code = (
        "import sys; from alp_coffea.__main__ import main\n"
        f"try: main({[*command, '--help']!r})\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'numpy', 'awkward', 'numba', 'coffea', 'uproot', 'pydantic', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: alp-coffea" in done.stdout


def test_version_is_the_package_version() -> None:
    import alp_coffea

    assert run("--version") == (0, f"{alp_coffea.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run", "demo", "-o", "x", "--chunksiz", "10"],
            "unknown argument --chunksiz; did you mea",
        ),
        (
            ["run", "demo", "-o", "x", "--stages", "scam"],
            "unknown stage 'scam'; did you mean 'scan",
        ),
        (["run", "demo", "-o", "x", "--chunksize", "0"], "'0' is not a positive whole number"),
        (["run", "demo", "-o", "x", "--executor", "fast"], "invalid choice: 'fast'"),
        (["rnu"], "invalid choice: 'rnu'"),
    ],
)
def test_usage_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "give an ANALYSIS file, or --demo"),
        (["run", "demo"], "give an output folder with -o OUT"),
        (["run", "dmo", "-o", "x"], "no built-in analysis 'dmo'; did you mean 'demo'"),
        (["run", "gone.yaml", "-o", "x"], "gone.yaml: no such file"),
        (["run", "gone.yaml", "-o", "x", "--inject", "mass=3"], "expected mass=MASS,sigma=SIGMA"),
        (["run", "demo", "-o", "x"], "described, not made yet; run 'alp-coffea simulate"),
    ],
)
def test_configuration_errors(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_recorded_command_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also ``python -m alp_coffea.run``, whose arguments lack the ``run``."""
    seen: list[str] = []

    def stop(*_: Any, options: Any, **__: Any) -> None:
        seen.append(options.command)
        raise ConfigurationError("enough")

    monkeypatch.setattr("alp_coffea.pipeline.run_analysis", stop)
    monkeypatch.setattr(sys, "argv", ["run.py", "demo", "-o", "x y"])
    assert main(["run", *sys.argv[1:]]) == 2
    assert seen == ["alp-coffea run demo -o 'x y'"]


@pytest.fixture
def analysis(small_input: Path, tmp_path: Path) -> Any:
    """Write variants of the small analysis and catalogue."""

    def write(changes: dict[str, Any] | None = None, **sample_changes: Any) -> Path:
        catalogue = yaml.safe_load((small_input / "input" / "catalogue.yaml").read_text("utf-8"))
        for sample in catalogue["samples"]:
            sample["files"] = [str(small_input / "input" / f) for f in sample["files"]]
        catalogue["samples"][1] |= sample_changes
        (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(catalogue), "utf-8")
        settings = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
        settings |= {"catalogue": "catalogue.yaml"} | (changes or {})
        path = tmp_path / "analysis.yaml"
        path.write_text(yaml.safe_dump(settings), "utf-8")
        return path

    return write


def test_an_unknown_key_exits_2_without_a_traceback(analysis: Any, tmp_path: Path) -> None:
    code, said = run("run", analysis({"procesor": "x"}), "-o", tmp_path / "out")
    assert code == 2
    assert "analysis.yaml: procesor: unknown key; did you mean 'processor'" in said
    assert "Traceback" not in said
    code, said = run("run", "-v", analysis({"procesor": "x"}), "-o", tmp_path / "out")
    assert (code, "Traceback" in said) == (2, True)


def test_bad_input_exits_3_and_is_named(
    analysis: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.root"
    text.write_text("hello", "utf-8")
    empty = tmp_path / "empty.root"
    empty.touch()
    cases = {
        ("gone.root",): "sample 'ggg': no file matches",
        (str(text),): "text.root is not a ROOT file",
        (str(empty),): "empty.root is not a ROOT file",
    }
    for files, message in cases.items():
        capsys.readouterr()
        code = main(["run", str(analysis(files=list(files))), "-o", str(tmp_path / "out")])
        assert code == 3
        assert message in capsys.readouterr().err
    code, said = run("run", analysis(tree="evnts"), "-o", tmp_path / "out")
    assert code == 3
    assert "no tree 'evnts'; did you mean 'events'" in said
    code, said = run("run", analysis(event_weight="wieght"), "-o", tmp_path / "out")
    assert code == 3
    assert "wieght (branch 'wieght'; did you mean 'weight'?)" in said


def test_allowed_losses_scale_the_luminosity(
    analysis: Any, small_input: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from alp_coffea import load

    broken = tmp_path / "broken.root"
    whole = (small_input / "input" / "ggg.root").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    files = [str(small_input / "input" / "ggg.root"), str(broken)]
    path = analysis(files=files, generated_events=400_000)
    out = tmp_path / "out"
    command = ["run", str(path), "-o", str(out), "--stages", "process"]
    assert main(command) == 3
    capsys.readouterr()
    assert main([*command, "--allow-missing"]) == 3
    said = capsys.readouterr().err
    assert "the luminosity that is left is unknown" in said
    assert "file_entries" in said
    assert main([*command, "--allow-missing", "--estimate-missing"]) == 3  # done, but incomplete
    assert "the luminosity is an estimate" in capsys.readouterr().err
    estimated = load(out)
    assert estimated.samples["ggg"]["covered_fraction"] == 0.5
    assert estimated.samples["ggg"]["covered_uncertainty"] > 0
    entries = estimated.ledger[1]["expected"]
    (tmp_path / "list.csv").write_text(f"file,entries\nbroken.root,{entries // 4}\n", "utf-8")
    path = analysis(files=files, generated_events=400_000, file_entries="list.csv")
    assert main([*command, "--allow-missing"]) == 3
    result = load(out)
    assert result.samples["ggg"]["covered_fraction"] == pytest.approx(0.8, rel=1e-3)
    assert result.samples["ggg"]["covered_uncertainty"] is None
    assert not result.manifest["input_complete"]
    lost = [row for row in result.ledger if row["status"] == "unusable"]
    assert [Path(row["path"]).name for row in lost] == ["broken.root"]
    assert "truncated" in lost[0]["reason"]


def test_a_scan_beyond_the_simulated_masses_is_refused_at_once(
    analysis: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["run", str(analysis({"scan": {"low": 2.5, "high": 6.0}})), "-o", str(out)]) == 2
    assert "signal is simulated from 2 to 5 GeV" in capsys.readouterr().err
    assert not (out / "manifest.json").exists()


def test_dry_run_reads_nothing(
    analysis: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["run", str(analysis()), "-o", str(out), "--dry-run"]) == 0
    assert "nothing was processed" in capsys.readouterr().out
    assert not out.exists()


def test_interrupt_exits_130(
    analysis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import alp_coffea.pipeline

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(alp_coffea.pipeline, "run_analysis", interrupted)
    assert main(["run", str(analysis()), "-o", str(tmp_path / "out")]) == 130


def test_module_entry_points_agree() -> None:
    one = subprocess.run(
        [sys.executable, "-m", "alp_coffea.run", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    code, two = run("run", "--help")
    assert code == 0
    assert one.stdout == two
    assert os.fspath(Path.home()) not in two
