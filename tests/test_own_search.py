"""A search of one's own on the same spine: another processor, one mass definition, any signal."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from alp_coffea.errors import ConfigurationError
from alp_coffea.pipeline import run_analysis

PROCESSOR = '''
import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from alp_coffea.events.histograms import mass_histogram
from alp_coffea.events.selection import Cutflow, Selection


class Pairs(ProcessorABC):
    """X -> gamma gamma at rest."""

    uses = ("Photon.E", "Photon.theta", "Photon.phi")

    def process(self, events):
        origin = "true" if events.metadata["kind"] == "signal" else "other"
        cutflow = Cutflow()
        selection = Selection(cutflow, "all", weight=np.ones(len(events)))
        selection.cut("barrel", ak.to_numpy(ak.all(abs(events.Photon.theta - 1.57) < 0.8, axis=1)))
        photons = events.Photon[selection.mask]
        mass = ak.to_numpy((photons.p4[:, 0] + photons.p4[:, 1]).mass)
        histogram = mass_histogram(["all"], [origin], ["diphoton"])
        where = {"energy_set": "all", "definition": "diphoton", "origin": origin}
        histogram.fill(**where, mass=mass, weight=1.0)
        output = {"histograms": {"mass": histogram}, "cutflow": cutflow, "selected": len(mass)}
        return {events.metadata["dataset"]: output}

    def postprocess(self, accumulator):
        return accumulator
'''
MASSES = (2.5, 3.0, 3.5, 4.0, 4.5)
LUMINOSITY, SIGMA = 100.0, 4.0  # 1/pb, pb
ANALYSIS = {
    "catalogue": "samples.yaml",
    "processor": "pairs.py",
    "scan": {
        "low": 2.6,
        "high": 4.4,
        "step": 1.0,
        "definitions": ["diphoton"],
        "energy_sets": ["all"],
        "windows": {"diphoton": [{"order": 3, "left": 15, "right": 15}]},
        "background_choices": "nominal",
    },
}


def write(path: Path, mass: np.ndarray, rng: np.random.Generator, first: int) -> None:
    n = len(mass)
    theta, phi = np.arccos(rng.uniform(-1, 1, n)), rng.uniform(-np.pi, np.pi, n)
    columns = {
        "E": mass[:, None] / 2 * rng.normal(1, 0.02, (n, 2)),
        "theta": np.stack([theta, np.pi - theta], axis=1),
        "phi": np.stack([phi, phi + np.pi], axis=1),
    }
    gamma = ak.zip({name: ak.from_regular(ak.Array(value)) for name, value in columns.items()})
    identity = {
        "__experiment__": np.full(n, 1, "i4"),
        "__run__": np.full(n, 1, "i4"),
        "__event__": np.arange(first, first + n, dtype="u4"),
    }
    with uproot.recreate(path) as file:
        file.mktree("events", {"gamma": gamma.type} | {k: v.dtype for k, v in identity.items()})
        file["events"].extend({"gamma": gamma} | identity)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(5)
    signal = np.full(rng.poisson(SIGMA * LUMINOSITY), 3.5)
    write(folder / "data.root", np.append(1 + rng.exponential(2.5, 20_000), signal), rng, 0)
    write(folder / "background.root", 1 + rng.exponential(2.5, 100_000), rng, 10**6)
    for number, mass in enumerate(MASSES):
        write(folder / f"signal_{mass:.4f}.root", np.full(4000, mass), rng, 10**7 * (number + 1))
    (folder / "pairs.py").write_text(PROCESSOR)
    samples = [
        {"name": "data", "kind": "data", "files": ["data.root"], "luminosity": LUMINOSITY},
        {"name": "background", "kind": "background", "files": ["background.root"]}
        | {"luminosity": 5 * LUMINOSITY},
        {"name": "signal_{mass}", "kind": "signal", "masses": list(MASSES)}
        | {"files": ["signal_{mass}.root"], "generated_events": 4000}
        | {"cross_section": {"value": 2.0, "source": "toy"}, "coupling": 1e-3},
    ]
    (folder / "samples.yaml").write_text(yaml.safe_dump({"samples": samples}))
    return folder


def analysis(folder: Path, theory: object) -> Path:
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(ANALYSIS | {"theory": theory}))
    return path


def test_cross_sections_come_back_without_any_theory(folder: Path, tmp_path: Path) -> None:
    run = run_analysis(analysis(folder, "none"), tmp_path / "out")
    assert set(run.scan["status"]) == {"ok"}
    best = run.scan.rows[int(np.argmax(run.scan["z_local"]))]
    assert best["z_local"] > 8
    assert best["mass"] == pytest.approx(3.5, abs=0.03)
    assert abs(best["sigma_hat"] - SIGMA) < 3 * best["sigma_hat_error"]
    # isotropic decays, the polar angle cut on both sides
    assert best["efficiency"] == pytest.approx(np.sin(0.8), abs=0.03)
    assert np.isnan(run.scan["g_exp"]).all()
    assert (run.folder / "report.html").stat().st_size > 10_000


def test_a_table_turns_cross_sections_into_couplings(folder: Path, tmp_path: Path) -> None:
    (folder / "theory.txt").write_text("".join(f"{m} 2.0\n" for m in (2.0, 5.0)))
    path = analysis(folder, {"table": "theory.txt", "coupling": 1e-3})
    run = run_analysis(path, tmp_path / "out", stages=["process", "model", "scan"])
    expected = 1e-3 * np.sqrt(run.scan["sigma_obs"] / 2.0)
    np.testing.assert_allclose(run.scan["g_obs"], expected, rtol=1e-12)


def test_a_table_that_ends_before_the_signal_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "short.txt").write_text("2.0 1.0\n4.0 1.0\n")
    path = analysis(folder, {"table": "short.txt"})
    with pytest.raises(ConfigurationError, match=r"no cross section at 4.5 GeV.*signal_4.5000"):
        run_analysis(path, tmp_path / "out", stages=["process", "model"])
