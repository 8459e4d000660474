"""Blinded, unblinded and incomplete runs of the whole chain on a small simulated input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from alp_coffea.errors import ConfigurationError
from alp_coffea.pipeline import Options, run_analysis
from alp_coffea.results import Run
from alp_coffea.stats.scan import BANDS


@pytest.fixture
def analysis(small_input: Path, tmp_path: Path) -> Any:
    def write(**changes: Any) -> Path:
        content = yaml.safe_load((small_input / "analysis.yaml").read_text("utf-8"))
        content["catalogue"] = str(small_input / "input" / "catalogue.yaml")
        content["scan"]["background_choices"] = "nominal"
        path = tmp_path / "analysis.yaml"
        path.write_text(yaml.safe_dump(content | changes), "utf-8")
        return path

    return write


def spectrum(run: Run, kind: str) -> np.ndarray:
    histogram = run.scaled("mass", kind)
    assert histogram is not None
    return np.asarray(histogram.values(flow=True))


def test_a_fraction_and_its_complement_make_the_data(analysis: Any, tmp_path: Path) -> None:
    def process(policy: str, **options: Any) -> Run:
        path = analysis(blinding={"policy": policy, "fraction": 0.3, "seed": 5})
        out = tmp_path / f"{policy}{len(options)}"
        return run_analysis(path, out, stages=("process",), options=Options(**options))

    part, rest = process("fraction"), process("exclude_fraction")
    everything = process("none")
    assert part.luminosity == pytest.approx(0.3 * 445)
    assert rest.luminosity == pytest.approx(0.7 * 445)
    np.testing.assert_array_equal(
        spectrum(part, "data") + spectrum(rest, "data"), spectrum(everything, "data")
    )
    events = spectrum(part, "data").sum() / spectrum(everything, "data").sum()
    assert events == pytest.approx(0.3, abs=0.04)
    np.testing.assert_allclose(
        spectrum(part, "background"), 0.3 * spectrum(everything, "background")
    )
    np.testing.assert_array_equal(
        part.histograms["ggg/mass"].values(), everything.histograms["ggg/mass"].values()
    )
    # the same events whatever the chunk
    np.testing.assert_array_equal(
        spectrum(process("fraction", chunksize=1000), "data"), spectrum(part, "data")
    )
    assert part.manifest["blinding"]["policy"] == "fraction"
    assert part.manifest["input_complete"]


def test_fully_blinded_data_reach_nothing(analysis: Any, tmp_path: Path) -> None:
    path = analysis(blinding={"policy": "full"})
    run = run_analysis(path, tmp_path / "out", stages=("process", "model", "scan", "report"))
    assert not [name for name in run.histograms if name.startswith("pseudo_data")]
    assert "pseudo_data" not in run.cutflow
    (row,) = [row for row in run.ledger if row["sample"] == "pseudo_data"]
    assert (row["status"], row["read"], row["selected"]) == ("blinded", 0, None)
    assert run.luminosity == 445
    assert set(run.scan["status"]) == {"blinded"}
    for column in ("sigma_obs", "g_obs", "z_local", "p_local", "yield", "n_data"):
        assert np.isnan(run.scan[column]).all()
    bands = np.array([run.scan[f"sigma_{band}"] for band in BANDS])
    assert np.all(np.diff(bands, axis=0) > 0)
    assert (run.folder / "report.html").is_file()
    assert {"limits_g", "efficiency"} <= {p.stem for p in (run.folder / "plots").glob("*.png")}

    seen = run_analysis(
        path, tmp_path / "seen", stages=("process", "model", "scan"), options=Options(unblind=True)
    )
    assert seen.manifest["blinding"]["unblinded"]
    assert set(seen.scan["status"]) == {"ok"}
    # what was expected without the data agrees with what is expected with them
    np.testing.assert_allclose(run.scan["sigma_exp"], seen.scan["sigma_exp"], rtol=0.1)


def test_sideband_data_stay_outside_the_signal_region(analysis: Any, tmp_path: Path) -> None:
    path = analysis(blinding={"policy": "sideband"})
    run = run_analysis(path, tmp_path / "out", stages=("process",))
    assert spectrum(run, "data").sum() == 0
    assert run.histograms["pseudo_data/three_photon_mass"].sum(flow=True).value == 0
    steps = run.cutflow["pseudo_data"].steps("low_mass")
    mass_cut = next(step for step in steps if step.cut == "three_photon_mass")
    assert mass_cut.events == 0
    assert spectrum(run, "background").sum() > 0


def test_a_processor_without_sideband_is_named(analysis: Any, tmp_path: Path) -> None:
    processor = tmp_path / "plain.py"
    processor.write_text(
        "from coffea.processor import ProcessorABC\n\n\n"
        "class Plain(ProcessorABC):\n"
        "    def process(self, events):\n        return {}\n\n"
        "    def postprocess(self, accumulator):\n        return accumulator\n",
        "utf-8",
    )
    path = analysis(blinding={"policy": "sideband"}, processor=str(processor))
    with pytest.raises(ConfigurationError, match="processor 'Plain' defines no sideband"):
        run_analysis(path, tmp_path / "out", stages=("process",))


def test_data_may_be_scaled_to_a_projection(analysis: Any, tmp_path: Path) -> None:
    path = analysis(blinding={"policy": "fraction", "fraction": 0.5}, luminosity=890)
    run = run_analysis(path, tmp_path / "out", stages=("process",))
    assert run.luminosity == pytest.approx(445)
