"""Files: layouts, containers, identity, truth, digest, and the way back through the readers."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory

from alp_coffea.errors import ConfigurationError, PhysicsError
from alp_coffea.events.conversion.convert import convert
from alp_coffea.events.schema import AlpSchema
from alp_coffea.physics.beams import SUPERKEKB
from alp_coffea.simulation import Detector, samples, write_sample
from alp_coffea.simulation.columns import PHOTON_FIELDS, TRACK_FIELDS

IDENTITY = ["__experiment__", "__run__", "__event__", "__production__"]


def tree(path: Path, name: str = "events"):
    return uproot.open(path)[name]


def test_canonical_tree(tmp_path: Path) -> None:
    path = tmp_path / "signal.root"
    record = write_sample(path, "signal", 1000, seed=1, mass=1.0, production=7)
    assert record.events == tree(path).num_entries == 1000
    types = tree(path).typenames()
    assert [types[name] for name in IDENTITY] == ["int32_t"] * 4
    assert types["weight"] == "double"
    expected = [f"gamma_{name}" for name in PHOTON_FIELDS]
    expected += [f"track_{name}" for name in TRACK_FIELDS]
    expected += ["gamma_mcPDG", "gamma_genMotherPDG", "gamma_isSignal", "gamma_mcE", "track_mcPDG"]
    expected += [f"mc_{name}" for name in ("PDG", "E", "theta", "phi", "genMotherPDG")]
    assert all(types[name] == "double[]" for name in expected)
    counters = ["n_gamma", "n_track", "n_mc"]
    assert set(types) == {*expected, *IDENTITY, "weight", *counters}
    arrays = tree(path).arrays()
    for counter in counters:
        some = counter.replace("n_", "") + ("_PDG" if counter == "n_mc" else "_theta")
        assert ak.all(arrays[counter] == ak.num(arrays[some]))
    assert ak.all(arrays["__production__"] == 7)
    assert ak.all(arrays["weight"] == 1)
    phi = ak.flatten(arrays["gamma_phi"])
    assert ak.all((phi > -np.pi) & (phi <= np.pi))


def test_truth_fields(tmp_path: Path) -> None:
    write_sample(tmp_path / "s.root", "signal", 4000, seed=1, mass=3.0)
    a = tree(tmp_path / "s.root").arrays()
    mother, signal = a["gamma_genMotherPDG"], a["gamma_isSignal"]
    matched = ~np.isnan(a["gamma_mcPDG"])
    assert set(ak.flatten(mother[matched]).to_list()) == {55.0, 9000006.0}
    assert ak.all(np.isnan(mother[~matched]) & np.isnan(signal[~matched]))
    assert ak.all(signal[matched] == 1)
    ratio = ak.flatten((a["gamma_E"] / a["gamma_mcE"])[matched])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    assert set(ak.flatten(a["mc_PDG"]).to_list()) == {22.0, 9000006.0}
    recoil = a["mc_genMotherPDG"] == 55
    alp = a["mc_PDG"] == 9000006
    assert ak.all(ak.sum(recoil & ~alp, axis=1) == 1)
    assert ak.all(ak.sum(a["mc_genMotherPDG"] == 9000006, axis=1) == 2)
    total = ak.sum(a["mc_E"][~alp], axis=1)
    assert ak.max(total) == pytest.approx(float(SUPERKEKB.momentum[0]), rel=1e-9)
    write_sample(tmp_path / "e.root", "eeg", 2000, seed=1, lost_tracks="weight")
    a = tree(tmp_path / "e.root").arrays()
    lost = np.abs(a["gamma_mcPDG"]) == 11
    assert ak.sum(lost) > 1000
    assert ak.all(a["gamma_isSignal"][lost] == 0)
    assert set(np.round(ak.to_numpy(a["weight"]), 9)) <= {1.0, 0.025, 0.000625}


def test_pseudo_data_have_unique_identity_and_no_truth(tmp_path: Path) -> None:
    path = tmp_path / "data.root"
    write_sample(path, "ggg", 2500, seed=1, kind="data", experiment=12, run=40)
    found = tree(path)
    names = found.keys()
    assert not [n for n in names if n.startswith("mc_") or "mc" in n or "Signal" in n or "gen" in n]
    identity = found.arrays(IDENTITY, library="np")
    rows = np.stack([identity[name] for name in IDENTITY], axis=1)
    assert len(np.unique(rows, axis=0)) == 2500
    assert sorted(set(identity["__run__"])) == [40, 41, 42]
    information = json.loads(str(uproot.open(path)["simulation"]))
    assert information["synthetic"] is True
    assert information["kind"] == "data"


def test_same_arguments_same_content_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"seed": 5, "detector": "run1", "lost_tracks": "simulate"}
    first = write_sample(tmp_path / "a.root", "mumug", 700, **options)
    monkeypatch.setattr(samples, "_BATCH", 97)
    again = write_sample(tmp_path / "b.root", "mumug", 700, **options)
    assert again.digest == first.digest
    one, two = (tree(tmp_path / name).arrays() for name in ("a.root", "b.root"))
    for name in one.fields:
        left, right = (ak.to_numpy(ak.flatten(x[name], axis=None)) for x in (one, two))
        np.testing.assert_array_equal(left, right)
    other = write_sample(tmp_path / "c.root", "mumug", 700, **{**options, "seed": 6})
    assert other.digest != first.digest


def test_containers_hold_the_same(tmp_path: Path) -> None:
    options = {"seed": 2, "mass": 1.0}
    records = {
        container: write_sample(tmp_path / container, "signal", 500, container=container, **options)
        for container in ("root", "rntuple", "parquet")
    }
    assert len({record.digest for record in records.values()}) == 1
    reference = tree(tmp_path / "root").arrays()
    ntuple = tree(tmp_path / "rntuple").arrays()
    parquet = ak.from_parquet(tmp_path / "parquet")
    names = [name for name in reference.fields if not name.startswith("n_")]
    for other in (ntuple, parquet):
        assert set(other.fields) == set(names)
        for name in names:
            assert ak.array_equal(
                reference[name], other[name], equal_nan=True, check_parameters=False
            )
    metadata = pyarrow.parquet.ParquetFile(tmp_path / "parquet").metadata.metadata
    assert metadata[b"content_digest"].decode() == records["root"].digest
    assert str(uproot.open(tmp_path / "rntuple")["content_digest"]) == records["root"].digest
    assert json.loads(metadata[b"simulation"])["process"] == "signal"


def read(path: Path, parquet: bool = False) -> ak.Array:
    factory = NanoEventsFactory.from_parquet if parquet else NanoEventsFactory.from_root
    source = str(path) if parquet else {str(path): "events"}
    return factory(source, schemaclass=AlpSchema, mode="virtual").events()


def test_readers_understand_every_container(tmp_path: Path) -> None:
    energies = []
    for container in ("root", "rntuple", "parquet"):
        path = tmp_path / f"{container}.{container}"
        write_sample(path, "signal", 300, seed=2, mass=1.0, container=container)
        events = read(path, container == "parquet")
        assert len(events) == 300
        assert ak.all(events.event == np.arange(1, 301))
        energies.append(ak.to_numpy(ak.flatten(events.Photon.E)))
    np.testing.assert_array_equal(energies[0], energies[1])
    np.testing.assert_array_equal(energies[0], energies[2])


@pytest.mark.parametrize("layout", ["event_trees", "candidates"])
def test_foreign_layouts_convert_back(tmp_path: Path, layout: str) -> None:
    """The converter finds the same photons; candidate rows keep those of the candidates."""
    options = {"seed": 3, "mass": 2.0}
    write_sample(tmp_path / "c.root", "signal", 400, **options)
    write_sample(tmp_path / "f.root", "signal", 400, layout=layout, **options)
    convert([tmp_path / "f.root"], tmp_path / "back.parquet")
    original, back = read(tmp_path / "c.root"), read(tmp_path / "back.parquet", True)
    index = ak.to_numpy(back.event) - 1
    assert len(back) == 400 if layout == "event_trees" else 100 < len(back) < 400
    photons = ak.materialize(original.Photon.E)[index]
    found = ak.materialize(back.Photon.E)
    if layout == "event_trees":
        assert ak.array_equal(found, photons, check_parameters=False)
        np.testing.assert_array_equal(
            ak.flatten(back.Track.p), ak.flatten(ak.materialize(original.Track.p)[index])
        )
    else:
        assert ak.all(ak.num(found) >= 3)
        pairs = ak.cartesian([found, photons], nested=True)
        assert ak.all(ak.any(pairs["0"] == pairs["1"], axis=-1))


def test_event_trees(tmp_path: Path) -> None:
    options = {"seed": 3, "lost_tracks": "simulate"}
    write_sample(tmp_path / "c.root", "eeg", 400, **options)
    write_sample(tmp_path / "f.root", "eeg", 400, layout="event_trees", **options)
    canonical = tree(tmp_path / "c.root").arrays()
    for prefix, name in (("gamma", "photons"), ("track", "tracks"), ("mc", "mcparticles")):
        foreign = tree(tmp_path / "f.root", name)
        assert foreign.num_entries == 400
        types = foreign.typenames()
        assert types["__weight__"] == "float"
        assert types["__ncandidates__"] == types["__event__"] == "int32_t"
        arrays = foreign.arrays()
        for field in ("theta", "phi"):
            assert ak.array_equal(
                arrays[field], canonical[f"{prefix}_{field}"], check_parameters=False
            )
        assert ak.all(arrays["__ncandidates__"] == canonical[f"n_{prefix}"])


def test_candidate_rows(tmp_path: Path) -> None:
    write_sample(tmp_path / "c.root", "signal", 800, seed=3, mass=2.0)
    write_sample(tmp_path / "r.root", "signal", 800, seed=3, mass=2.0, layout="candidates")
    rows = tree(tmp_path / "r.root", "variables").arrays()
    assert tree(tmp_path / "r.root", "variables").typenames()["__event__"] == "uint32_t"
    canonical = tree(tmp_path / "c.root").arrays()
    by_event = {int(e): i for i, e in enumerate(canonical["__event__"])}
    event = ak.to_numpy(rows["__event__"])
    expected = 0
    sqrt_s = SUPERKEKB.sqrt_s
    for i in range(800):
        e, t, p = (ak.to_numpy(canonical[f"gamma_{name}"][i]) for name in ("E", "theta", "phi"))
        p4 = np.stack(
            [e, e * np.sin(t) * np.cos(p), e * np.sin(t) * np.sin(p), e * np.cos(t)], axis=1
        )
        inside = (e >= 0.1) & (t >= 0.296706) & (t <= 2.61799)
        for a in range(len(e)):
            for b in range(a + 1, len(e)):
                for recoil in range(len(e)):
                    if recoil in (a, b) or not (inside[a] and inside[b] and e[recoil] >= 0.1):
                        continue
                    total = p4[a] + p4[b] + p4[recoil]
                    mass = np.sqrt(total[0] ** 2 - total[1:] @ total[1:])
                    expected += 0.8 * sqrt_s <= mass <= 1.05 * sqrt_s
    assert len(rows) == expected > 1000
    # candidates are numbered within their event
    sizes = np.unique(event, return_counts=True)[1]
    np.testing.assert_array_equal(
        rows["__candidate__"], np.concatenate([np.arange(size) for size in sizes])
    )
    np.testing.assert_array_equal(rows["__ncandidates__"], np.repeat(sizes, sizes))
    index = [by_event[int(e)] for e in event]
    photons = canonical["gamma_E"][index]
    for slot in ("ALP_gamma0", "ALP_gamma1", "recoil"):
        assert ak.all(ak.any(photons == rows[f"{slot}_E"], axis=1))


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.root"
    with pytest.raises(KeyboardInterrupt):
        write_sample(path, "mumu", 10, seed=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_BATCH", 64)
    seen: list[int] = []
    write_sample(tmp_path / "a.root", "mumu", 150, seed=1, progress=seen.append)
    assert seen == [64, 64, 22]


def test_record_has_the_cross_section_of_the_generated_region(tmp_path: Path) -> None:
    cuts = {"energy_min": 0.5, "theta_min": 0.7, "theta_max": 2.1}
    narrow = write_sample(tmp_path / "a.root", "ggg", 10, seed=1, **cuts)
    wide = write_sample(tmp_path / "b.root", "ggg", 10, seed=1)
    assert 0 < narrow.cross_section_error < 0.01 * narrow.cross_section < 0.01 * wide.cross_section
    assert narrow.cuts is not None
    assert narrow.cuts.energy_min == 0.5


def test_no_events_is_an_empty_tree(tmp_path: Path) -> None:
    write_sample(tmp_path / "a.root", "mumu", 0, seed=1)
    assert tree(tmp_path / "a.root").num_entries == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "background"}, "kind = 'background' must be one of 'mc', 'data'"),
        ({"layout": "flat"}, "layout = 'flat'"),
        ({"container": "hdf5"}, "container = 'hdf5'"),
        ({"layout": "candidates", "container": "parquet"}, "container must be 'root'"),
        ({"lost_tracks": "all"}, "lost_tracks = 'all'"),
        ({"detector": "phase3"}, "detector settings 'phase3' do not exist"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        write_sample(tmp_path / "a.root", "mumu", 1, seed=1, **options)
    assert list(tmp_path.iterdir()) == []


def test_physics_mistakes_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(PhysicsError, match="needs mass"):
        write_sample(tmp_path / "a.root", "signal", 1, seed=1, detector=Detector())
    assert list(tmp_path.iterdir()) == []


def test_pseudo_data_of_a_weighted_process_are_thinned(tmp_path: Path) -> None:
    record = write_sample(tmp_path / "a.root", "etag", 20_000, seed=1, kind="data")
    found = tree(tmp_path / "a.root")
    assert record.events == 20_000
    error = np.sqrt(20_000 * 0.394 * 0.606)
    assert found.num_entries == pytest.approx(20_000 * 0.394, abs=4 * error)
    assert ak.all(found.arrays(["weight"])["weight"] == 1)


CATALOGUE = """
description: two small samples
samples:
  - name: data
    kind: data
    files: [data.root]
    luminosity: 2
    simulate: {process: ggg, seed: 4, luminosity: 2, poisson: true}
  - name: bhabha
    kind: background
    files: [bhabha.root]
    simulate:
      process: eeg
      events: 200
      lost_tracks: weight
      detector: {base: run1, tracker: {loss: 0.05}}
      cuts: {energy_min: 0.5, theta_min: 40, theta_max: 120}
  - name: "alp_{mass}"
    kind: signal
    masses: [1.0, 2.0]
    files: ["alp_{mass}.root"]
    simulate: {process: signal, events: 100}
"""


@pytest.mark.parametrize(
    ("layout", "container"),
    [
        ("canonical", "root"),
        pytest.param("canonical", "parquet", marks=pytest.mark.slow),
        pytest.param("event_trees", "root", marks=pytest.mark.slow),
    ],
)
def test_catalogue(tmp_path: Path, layout: str, container: str) -> None:
    from alp_coffea.config import load_catalogue
    from alp_coffea.simulation.catalogue import simulate

    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    out = tmp_path / "out"
    path = simulate(tmp_path / "catalogue.yaml", out, layout=layout, container=container)
    made = {sample.name: sample for sample in load_catalogue(path).samples}
    extension = "parquet" if container == "parquet" else "root"
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["catalogue.yaml", *(f"{name}.{extension}" for name in made)]
    )
    assert all(sample.synthetic for sample in made.values())
    bhabha = made["bhabha"]
    assert bhabha.generated_events == 200
    assert bhabha.cross_section is not None
    if (layout, container) == ("canonical", "root"):
        weights = tree(out / "bhabha.root").arrays(["weight"])["weight"]
        lost = np.round(ak.to_numpy(weights), 9)
        assert set(lost) <= {0.0025, 0.05}  # one electron may be too soft to be seen
        assert (lost == 0.0025).mean() > 0.9
        # sigma = 226 pb: 453 +- 21 events
        assert 350 < tree(out / "data.root").num_entries < 560


def test_samples_that_would_share_events_are_refused(tmp_path: Path) -> None:
    from alp_coffea.simulation import simulate

    text = CATALOGUE.replace("process: eeg", "process: ggg").replace("seed: 4", "seed: 1")
    (tmp_path / "catalogue.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match="'data' and 'bhabha'.*different seeds"):
        simulate(tmp_path / "catalogue.yaml", tmp_path / "out")
