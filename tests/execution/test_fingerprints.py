"""What a result depends on is found in the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import alp_coffea
from alp_coffea.execution import fingerprints

ROOT = Path(alp_coffea.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "_builtin" not in path.parts)


def imports(tree: ast.Module) -> list[str]:
    """Import statements, written alike."""
    kinds = (ast.Import, ast.ImportFrom)
    nodes = (node for node in fingerprints._statements(tree) if isinstance(node, kinds))
    return sorted(map(ast.unparse, nodes))


def test_the_short_way_sees_every_import_of_every_module_of_ours() -> None:
    assert len(MODULES) > 50
    for path in MODULES:
        text = path.read_bytes()
        short = fingerprints._tree(text, "alp_coffea.any")
        assert imports(short) == imports(ast.parse(text)), path


@pytest.mark.parametrize(
    "text",
    [
        "from alp_coffea import errors, rng",
        "from alp_coffea import (\n    errors,  # (why)\n    rng,\n)",
        '"""\nfrom here on it is prose\n"""\nif True:\n    from alp_coffea import errors, rng',
        "import alp_coffea.errors, alp_coffea.rng as numbers  # two",
        "def f():\n    import alp_coffea.errors; import alp_coffea.rng",
    ],
)
@pytest.mark.parametrize("module", ["alp_coffea.of_ours", "of_the_user"])
def test_imports_are_seen_however_they_are_written(text: str, module: str) -> None:
    found = fingerprints._imports(text.encode(), module)
    assert {"alp_coffea.errors", "alp_coffea.rng"} <= set(found)
