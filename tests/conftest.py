"""Small simulated inputs shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import settings

# a shared machine can pause any test: speed is measured in benchmarks/, not by deadlines
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

CUTS = {"energy_min": 0.45, "theta_min": 34.0, "theta_max": 127.0}

#: Few samples, few events: enough for every stage to run in seconds.
SMALL_CATALOGUE = {
    "samples": [
        {
            "name": "pseudo_data",
            "kind": "data",
            "files": ["pseudo_data.root"],
            "luminosity": 445,
            "simulate": {
                "process": "ggg",
                "seed": 7,
                "luminosity": 445,
                "poisson": True,
                "cuts": CUTS,
            },
        },
        {
            "name": "ggg",
            "kind": "background",
            "files": ["ggg.root"],
            "simulate": {"process": "ggg", "seed": 8, "luminosity": 4450, "cuts": CUTS},
        },
        {
            "name": "signal_{mass}",
            "kind": "signal",
            "masses": [2.0, 3.0, 3.5, 4.5, 5.0],
            "files": ["signal_{mass}.root"],
            "simulate": {"process": "signal", "seed": 100, "events": 8000},
        },
    ],
}

SMALL_ANALYSIS = {
    "title": "small",
    "catalogue": "input/catalogue.yaml",
    "processor": "strahlung",
    "scan": {"low": 2.5, "high": 4.6, "step": 6.0},
}


@pytest.fixture(scope="session")
def small_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``input/catalogue.yaml``, its files, and ``analysis.yaml``."""
    from alp_coffea.simulation import simulate

    folder = tmp_path_factory.mktemp("small")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL_CATALOGUE), "utf-8")
    (folder / "analysis.yaml").write_text(yaml.safe_dump(SMALL_ANALYSIS), "utf-8")
    simulate(folder / "small.yaml", folder / "input", workers=2)
    return folder
