"""Two campaigns in one analysis, and what a run covers, through the whole chain."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml
from conftest import SMALL_CATALOGUE

from alp_coffea.config import load_catalogue
from alp_coffea.errors import ConfigurationError
from alp_coffea.pipeline import Options, run_analysis
from alp_coffea.results import Run
from alp_coffea.simulation import simulate


@pytest.fixture(scope="module")
def late_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with other numbers of events and a third of the luminosity."""
    content: dict[str, Any] = copy.deepcopy(SMALL_CATALOGUE)
    data, background, signal = content["samples"]
    data["luminosity"] = data["simulate"]["luminosity"] = 150
    background["simulate"]["luminosity"] = 1500
    signal["simulate"]["events"] = 3000
    folder = tmp_path_factory.mktemp("late")
    (folder / "late.yaml").write_text(yaml.safe_dump(content), "utf-8")
    simulate(folder / "late.yaml", folder, workers=2, seed=50)
    return folder / "catalogue.yaml"


def analysis(folder: Path, *catalogues: Path, **changes: Any) -> Path:
    content = {
        "catalogue": [str(path) for path in catalogues],
        "processor": "strahlung",
        "scan": {"low": 2.5, "high": 4.6, "step": 12.0, "background_choices": "nominal"},
    }
    path = folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content | changes), "utf-8")
    return path


@pytest.mark.slow
def test_campaigns_add_up(small_input: Path, late_input: Path, tmp_path: Path) -> None:
    early_input = tmp_path / "early.yaml"
    content = yaml.safe_load((small_input / "input" / "catalogue.yaml").read_text("utf-8"))
    for sample in content["samples"]:
        sample["files"] = [str(small_input / "input" / name) for name in sample["files"]]
    early_input.write_text(yaml.safe_dump(content), "utf-8")

    def run(name: str, *catalogues: Path) -> Run:
        folder = tmp_path / name
        folder.mkdir()
        path = analysis(folder, *catalogues)
        return run_analysis(path, folder / "out", stages=("process", "model", "scan"))

    early, late = run("early", early_input), run("late", late_input)
    both = run("both", early_input, late_input)
    assert both.manifest["campaigns"] == {"early": 445, "catalogue": 150}
    assert both.luminosity == 595
    for kind in ("data", "background"):
        parts = [campaign.scaled("mass", kind) for campaign in (early, late)]
        total = both.scaled("mass", kind)
        assert total is not None
        np.testing.assert_allclose(
            total.values(flow=True), sum(part.values(flow=True) for part in parts if part)
        )
    # the efficiency at a simulated mass is the mean weighted with luminosity
    expected = (
        445 * early.signal_model.efficiency(3.0, "diphoton", "low_mass")
        + 150 * late.signal_model.efficiency(3.0, "diphoton", "low_mass")
    ) / 595
    assert both.signal_model.efficiency(3.0, "diphoton", "low_mass") == pytest.approx(
        expected, rel=1e-3
    )
    assert set(both.scan["status"]) == {"ok"}
    ratio = both.scan["sigma_exp"] / early.scan["sigma_exp"]
    assert np.median(ratio) == pytest.approx(np.sqrt(445 / 595), rel=0.1)


def test_every_campaign_needs_its_signals(small_input: Path, tmp_path: Path) -> None:
    content = load_catalogue(small_input / "input" / "catalogue.yaml").model_dump(
        mode="json", exclude_defaults=True, exclude_none=True
    )
    for sample in content["samples"]:
        sample["campaign"] = "early"
    content["samples"].append(
        {
            "name": "late",
            "kind": "data",
            "campaign": "late",
            "files": [str(small_input / "input" / "signal_2.0000.root")],
            "luminosity": 10,
        }
    )
    content["samples"] = [s for s in content["samples"] if s["name"] != "signal_2.0000"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content), "utf-8")
    path = analysis(tmp_path, tmp_path / "c.yaml")
    with pytest.raises(ConfigurationError, match="every campaign with data .*needs exactly one"):
        run_analysis(path, tmp_path / "out", stages=("process", "model"))


def test_a_lost_file_scales_yields_limits_and_manifest(small_input: Path, tmp_path: Path) -> None:
    """Data in two files, one of them lost: half the luminosity wherever it is used."""
    content = load_catalogue(small_input / "input" / "catalogue.yaml").model_dump(
        mode="json", exclude_defaults=True, exclude_none=True
    )
    data = content["samples"][0]
    assert data["kind"] == "data"
    broken = tmp_path / "broken.root"
    with uproot.open(data["files"][0]) as file:
        entries = file["events"].num_entries
    broken.write_bytes(Path(data["files"][0]).read_bytes()[:100_000])
    data["files"].append(str(broken))
    (tmp_path / "list.csv").write_text(f"file,entries\n{broken},{entries}\n", "utf-8")
    data["file_entries"] = str(tmp_path / "list.csv")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content), "utf-8")
    run = run_analysis(
        analysis(tmp_path, tmp_path / "c.yaml"),
        tmp_path / "out",
        options=Options(allow_missing=True),
    )
    assert run.luminosity == pytest.approx(445 / 2)
    assert run.samples["pseudo_data"]["covered_luminosity"] == run.luminosity
    # every figure and the report say it
    text = (run.folder / "report.html").read_text("utf-8")
    assert "222.5" in text
    assert "445 pb" not in text
    assert not run.manifest["input_complete"]
    identities = run.manifest["identities"]
    read = [row["expected"] for row in run.ledger if row["status"] == "done"]
    assert identities["events"] == sum(read)
    assert identities["exact"]
    background = run.samples["ggg"]
    assert background["scale"] == pytest.approx(445 / 2 / background["covered_luminosity"])
    assert set(run.scan["luminosity"]) == {445 / 2}
    np.testing.assert_allclose(
        run.scan["yield"], run.scan["sigma_hat"] * run.scan["efficiency"] * 445 / 2
    )
