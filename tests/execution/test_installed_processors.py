"""Processors of an installed wheel lie among the libraries, and travel to workers all the same."""

from __future__ import annotations

import subprocess
import sys

import cloudpickle
import pytest

from alp_coffea.builtin import builtin_folder
from alp_coffea.execution import fingerprints, load_processor
from alp_coffea.physics.beams import SUPERKEKB


def test_builtin_processor_of_a_wheel_is_sent_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = (*fingerprints._installed_folders(), str(builtin_folder("processors")))
    monkeypatch.setattr(fingerprints, "_installed_folders", lambda: folders)
    processor = load_processor("trigger", {}, beams=SUPERKEKB)
    module = sys.modules[type(processor).__module__]
    assert fingerprints.installed(str(module.__file__))
    assert fingerprints.own_modules(module) == [module]
    # a process that has never loaded the file can unpack it
    code = "import cloudpickle, sys; print(type(cloudpickle.load(sys.stdin.buffer)).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps(processor), capture_output=True
    )
    assert done.stdout.decode().strip() == type(processor).__name__, done.stderr.decode()
