"""Make ``lowest.txt`` and ``pinned.txt``: ``uvx --from uv python requirements/compile.py``.

``lowest.txt`` has every dependency of pyproject.toml at exactly its floor, and what those need;
``pinned.txt`` has the newest versions of the day, for every platform. A floor that does not exist
or that another dependency does not allow makes uv say so.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"
LOWEST = [f"--extra={name}" for name in ("test", "dask", "lhe", "hepdata")]
OPTIONS = ["--quiet", "--no-header", "--no-annotate", "--python-version", "3.11"]


def floors() -> list[str]:
    """Every ``name>=version`` of the project and its extras as ``name==version``."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    everything = [*project["dependencies"], *(name for extra in extras.values() for name in extra)]
    lowest = (text.split(",")[0] for text in everything if ">=" in text)
    return [text.replace(">=", "==") for text in lowest]


def compile_set(name: str, *options: str, constraints: str = "") -> None:
    command = ["uv", "pip", "compile", str(PROJECT), "-o", str(FOLDER / name), *OPTIONS, *options]
    subprocess.run([*command, "--constraints", "-"], input=constraints, text=True, check=True)


if __name__ == "__main__":
    compile_set("pinned.txt", "--universal", "--extra", "dev", "--upgrade")
    compile_set("lowest.txt", *LOWEST, "--upgrade", constraints="\n".join(floors()))
    sys.stdout.write("requirements written\n")
