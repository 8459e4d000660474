"""Events and histograms in a few lines, without configuration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml
from coffea.processor import ProcessorABC

import alp_coffea
from alp_coffea.config import load_catalogue
from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.errors import (
    ConfigurationError,
    EmptyFileError,
    MissingFileError,
    MissingTreeError,
    UnreadableFileError,
)
from alp_coffea.pipeline import run_analysis
from alp_coffea.simulation import simulate

SAMPLE = {
    "name": "signal",
    "kind": "signal",
    "mass": 3.0,
    "files": ["x"],
    "simulate": {"process": "signal", "seed": 4, "events": 200},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same events in every layout and container."""
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "c.yaml").write_text(yaml.safe_dump({"samples": [SAMPLE]}), "utf-8")
    made = {}
    for name, how in {
        "ttree": {},
        "rntuple": {"container": "rntuple"},
        "parquet": {"container": "parquet"},
        "lists": {"layout": "event_trees"},
        "rows": {"layout": "candidates"},
    }.items():
        catalogue = load_catalogue(simulate(folder / "c.yaml", folder / name, **how))
        made[name] = Path(catalogue.samples[0].files[0])
    return made


def test_the_top_level_has_what_is_promised() -> None:
    for name in ("open_events", "run_analysis", "load", "process", "scan", "Beams"):
        assert callable(getattr(alp_coffea, name)), name
        assert name in alp_coffea.__all__
    assert alp_coffea.theory.cross_section(0.0, 1e-3, sqrt_s=10.58) > 0
    assert callable(alp_coffea.plots.limits)
    with pytest.raises(AttributeError, match="no attribute 'open_event'"):
        alp_coffea.open_event  # noqa: B018


@pytest.mark.parametrize("container", ["ttree", "rntuple", "parquet", "lists"])
def test_events_of_any_container_are_the_same(inputs: dict[str, Path], container: str) -> None:
    with uproot.open(inputs["ttree"]) as file:
        energies = file["events"]["gamma_E"].array()
    events = alp_coffea.open_events(inputs[container])
    assert len(events) == 200
    assert ak.all(events.Photon.E == energies)
    photons = events.Photon
    np.testing.assert_allclose(ak.flatten(photons.p4.E), ak.flatten(energies), rtol=1e-12)
    np.testing.assert_allclose(ak.flatten(photons.p4.mass), 0.0, atol=1e-6)
    beams = alp_coffea.Beams(electron_energy=7.004, positron_energy=4.002, crossing_angle=0.083)
    recoil = photons.recoil_mass2(beams)
    np.testing.assert_allclose(
        ak.flatten(recoil),
        ak.flatten(beams.sqrt_s**2 - 2 * beams.sqrt_s * photons.E_cm(beams)),
        rtol=1e-9,
        atol=1e-9,
    )
    assert len(alp_coffea.open_events(inputs[container], limit=7)) == 7
    assert len(alp_coffea.open_events(inputs[container], 10**6)) == 200


def test_candidate_rows_and_caches(inputs: dict[str, Path], tmp_path: Path) -> None:
    memory = alp_coffea.open_events(inputs["rows"])
    cached = alp_coffea.open_events(inputs["rows"], cache=tmp_path)
    assert ak.all(memory.Photon.E == cached.Photon.E)
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    whole = alp_coffea.open_events(inputs["ttree"])
    there = np.isin(ak.to_numpy(whole.event), ak.to_numpy(memory.event))
    assert there.sum() == len(memory)
    # candidates hold some of the photons of their event
    assert ak.all(ak.num(memory.Photon) <= ak.num(whole.Photon[there]))


def test_what_cannot_be_opened_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        alp_coffea.open_events(tmp_path / "gone.root")
    (tmp_path / "text.root").write_text("hello", "utf-8")
    with pytest.raises(UnreadableFileError, match=r"text\.root is not a ROOT file"):
        alp_coffea.open_events(tmp_path / "text.root")
    with pytest.raises(MissingTreeError, match="no tree 'evnts'; did you mean 'events'"):
        alp_coffea.open_events(inputs["ttree"], tree="evnts")
    with pytest.raises(ConfigurationError, match="limit = 0"):
        alp_coffea.open_events(inputs["ttree"], 0)
    with pytest.raises(ConfigurationError, match="at least one file"):
        alp_coffea.open_events([])
    with uproot.recreate(tmp_path / "other.root") as file:
        file.mktree("x", {"y": float}).extend({"y": np.ones(1)})
        file.mktree("events2", {"gamma_E": float})
    with pytest.raises(MissingTreeError, match="choose one with 'tree'.*x, events2"):
        alp_coffea.open_events(tmp_path / "other.root")
    with pytest.raises(EmptyFileError, match="'events2' has no entries"):
        alp_coffea.open_events(tmp_path / "other.root", tree="events2")


# --- process -------------------------------------------------------------------------------------


class Count(ProcessorABC):
    uses = ("Photon.E",)

    def process(self, events: ak.Array) -> dict[str, Any]:
        photons = int(ak.sum(ak.num(events.Photon)))
        return {events.metadata["dataset"]: {"counts": {"photons": photons}}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator


def test_a_processor_runs_on_bare_files(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photons = ak.sum(ak.num(alp_coffea.open_events(inputs["ttree"]).Photon))
    monkeypatch.chdir(inputs["lists"].parent)
    for files in (inputs["ttree"], [inputs["parquet"]], inputs["lists"].name):
        result = alp_coffea.process(Count(), files)
        assert result.counts == {"data": {"photons": photons}}
        assert [row["read"] for row in result.ledger] == [200]
    with pytest.raises(ConfigurationError, match="'options' are for a processor given by name"):
        alp_coffea.process(Count(), inputs["ttree"], options={"x": 1})
    with pytest.raises(ConfigurationError, match="'signl' is no sample; there are: signal"):
        alp_coffea.process(Count(), {"signal": inputs["ttree"]}, masses={"signl": 3.0})
    with pytest.raises(MissingFileError, match="no file matches"):
        alp_coffea.process(Count(), tmp_path / "*.root")


def test_it_gives_what_a_run_gives(inputs: dict[str, Path], tmp_path: Path) -> None:
    settings = {
        "catalogue": str(inputs["ttree"].parent / "catalogue.yaml"),
        "processor": "strahlung",
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    run = run_analysis(tmp_path / "a.yaml", tmp_path / "out", stages=("process",))
    direct = alp_coffea.process(
        "strahlung",
        {"signal": inputs["ttree"]},
        masses={"signal": 3.0},
        event_weight="weight",
        folder=tmp_path / "kept",
    )
    assert set(direct.histograms) == set(run.histograms)
    assert all(direct.histograms[name] == h for name, h in run.histograms.items())
    assert direct.cutflow["signal"].steps("low_mass") == run.cutflow["signal"].steps("low_mass")
    assert (tmp_path / "kept" / "checkpoints").is_dir()


def test_lists_in_separate_files_are_joined(inputs: dict[str, Path], tmp_path: Path) -> None:
    with uproot.open(inputs["lists"]) as file:
        names = [n for n in file.keys(cycle=False) if isinstance(file[n], uproot.TTree)]
        first = file[names[0]].arrays(["__experiment__", "__run__", "__event__"], library="np")
    for name, prefix in (("gammas", "clusterE"), ("tracks", "dr")):
        values = ak.Array([[float(k), 1.0] for k in range(200)])
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            types = {key: column.dtype for key, column in first.items()}
            file.mktree(name, types | {prefix: "var * float64"})
            file[name].extend(first | {prefix: values})
    both = alp_coffea.open_events([tmp_path / "gammas.root", tmp_path / "tracks.root"])
    assert {"Photon", "Track"} <= set(both.fields)
    assert ak.all(both.Photon.clusterE == both.Track.dr)
    settings = ConversionSettings(trees={"gammas": "Photon"}, fields={"Photon.E": "clusterE"})
    alone = alp_coffea.open_events(tmp_path / "gammas.root", settings=settings)
    assert "Track" not in alone.fields
    assert ak.all(alone.Photon.E == both.Photon.clusterE)
