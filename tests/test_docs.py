"""What the documentation shows works: examples in docstrings, README and docs, and the site."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

import alp_coffea
from alp_coffea.__main__ import _parser, main
from alp_coffea.config import Analysis, Catalogue, parse
from alp_coffea.pipeline import Options, run_analysis

sys.path.append(str(Path(__file__).parent / "plots"))
from browser import EXECUTABLE, Browser

ROOT = Path(__file__).parents[1]
PACKAGE = Path(alp_coffea.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: .+ -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page that are meant to be run."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [text for skipped, name, text in found if name == language and not skipped]


def modules_with_examples() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_builtin" not in path.parts and ">>> " in path.read_text("utf-8"):
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


# --- pages ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be: with a finished ``out/demo`` of many masses."""
    folder = tmp_path_factory.mktemp("reader")
    settings = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
    settings["catalogue"] = str(small_input / "input" / "catalogue.yaml")
    settings["scan"] |= {"step": 0.25, "background_choices": "nominal"}
    (folder / "analysis.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    run = run_analysis(
        folder / "analysis.yaml",
        folder / "out" / "demo",
        stages=("process", "model", "scan"),
        options=Options(executor="iterative"),
    )
    assert len(run.scan) > 100
    (folder / "workspaces.zip").write_bytes(
        (run.folder / "workspaces" / "workspaces.zip").read_bytes()
    )
    return folder


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.name != "tutorial.md" and blocks(p, "python")],
    ids=lambda p: p.name,
)
def test_python_on_a_page_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for number, text in enumerate(blocks(page, "python"), 1):
        exec(compile(text, f"{page.name}, block {number}", "exec"), names)


def test_yaml_of_the_readme_is_valid() -> None:
    catalogue, analysis = blocks(ROOT / "README.md", "yaml")
    masses = [s.mass for s in parse(catalogue, Catalogue, where="README").of_kind("signal")]
    assert masses == sorted(masses)
    assert parse(analysis, Analysis, where="README").processor == "strahlung"


@pytest.mark.parametrize("page", ["blinding", "systematics", "projections", "your_own_processor"])
def test_analysis_files_of_the_how_tos_are_valid(page: str) -> None:
    texts = blocks(ROOT / "docs" / f"{page}.md", "yaml")
    assert texts
    for text in texts:
        whole = {"catalogue": "samples.yaml", "processor": "strahlung"} | yaml.safe_load(text)
        parse(yaml.safe_dump(whole), Analysis, where=page)


def test_the_processor_of_the_how_to_counts_pairs(small_input: Path, tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs" / "your_own_processor.md", "python")
    (tmp_path / "pairs.py").write_text(text, "utf-8")
    settings = {
        "catalogue": str(small_input / "input" / "catalogue.yaml"),
        "processor": "pairs.py",
        "options": {"energy_min": 0.4},
    }
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    options = Options(executor="iterative", limit_chunks=1)
    run = run_analysis(
        tmp_path / "search.yaml", tmp_path / "out", stages=("process",), options=options
    )
    passed = run.cutflow["ggg"].steps("all")[-1]
    assert passed.cut == "two_photons"
    filled = run.histograms["ggg/mass"].sum(flow=True).value
    assert 0 < passed.events == filled


@pytest.mark.slow
def test_the_tutorial_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = []
    names: dict[str, object] = {}
    for _, language, text in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text("utf-8")):
        if language == "yaml":
            name = text.splitlines()[0].removeprefix("# file: ")
            Path(name).write_text(text, "utf-8")
        elif language == "python":
            exec(compile(text, "tutorial.md", "exec"), names)
        else:
            for line in text.splitlines():
                if line.startswith("alp-coffea") and "--version" not in line:
                    assert main(shlex.split(line)[1:]) == 0, line
                    ran.append(line.split()[1])
    assert ran == ["simulate", "inspect", "check", "run", "run", "export", "export"]
    assert (tmp_path / "out" / "search" / "report.html").is_file()


# --- the site ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return site


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"', text)
        loaded += re.findall(
            r'<link[^>]* rel="(?:stylesheet|preload|icon)"[^>]* href="([^"]+)"', text
        )
        assert loaded
        assert not [url for url in loaded if url.startswith(("http", "//"))], page
        assert not re.findall(r":(?:func|class|meth|mod):", text), page


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_pages_work_in_a_browser(site: Path, tmp_path: Path) -> None:
    """Served from this machine: no error, and no request to any other."""
    if EXECUTABLE is None:
        pytest.skip("no Chromium")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    with server, Browser(tmp_path / "profile") as browser:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        for page in ("index", "tutorial", "api/stats", "glossary"):
            for width in (1200, 390):
                browser.open(f"{here}/{page}.html", width=width)
                assert browser.js("document.documentElement.scrollWidth") <= width, page
        server.shutdown()
    assert not [p for p in browser.problems if not p.startswith(f"request to {here}")]


def test_every_command_is_in_the_documentation() -> None:
    _, commands = _parser()
    page = (ROOT / "docs" / "output_folder.md").read_text("utf-8")
    assert set(re.findall(r"^\| `alp-coffea (\w+) ", page, re.MULTILINE)) == set(commands)


def test_the_picture_of_the_rooms_is_that_of_the_import_contract() -> None:
    rooms = runpy.run_path(str(ROOT / "docs" / "rooms.py"))
    drawn = (ROOT / "docs" / "images" / "rooms.svg").read_text("utf-8")
    assert drawn == rooms["picture"](rooms["layers"]()), "run python docs/rooms.py"
    named = {room for layer in rooms["layers"]() for room in layer}
    assert named <= set(rooms["PURPOSE"])
    # and every module of the package has its place in it
    present = {
        p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert present - {"__init__"} <= named


# --- starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [(["-c", "import alp_coffea"], 0.2), (["-m", "alp_coffea", "--help"], 0.5)],
)
def test_starting_takes_no_time(arguments: list[str], seconds: float) -> None:
    """CPU time of the whole process, interpreter included: a busy machine does not count."""

    def cpu() -> float:
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        return sum(
            getattr(after, name) - getattr(before, name)
            for name in ("children_user", "children_system")
        )

    cpu()  # writes the compiled modules
    assert min(cpu() for _ in range(3)) < seconds
