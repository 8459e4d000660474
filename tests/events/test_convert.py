from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory
from foreign import candidate_rows, list_tree, make_events, take, write_lists, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alp_coffea.conversion_settings import ConversionSettings as Settings
from alp_coffea.conversion_settings import load_settings
from alp_coffea.errors import (
    AlpCoffeaError,
    ConfigurationError,
    DuplicateEventError,
    EmptyFileError,
    JoinError,
    MissingFieldError,
    MissingFileError,
    MissingTreeError,
    PhysicsError,
    UnreadableFileError,
    WrongTypeError,
)
from alp_coffea.events.conversion.convert import convert, convert_cached, read_report
from alp_coffea.events.opening import readable
from alp_coffea.events.schema import AlpSchema
from alp_coffea.inspection import inspect_file

IDENTITY = ("__experiment__", "__run__", "__event__", "__production__")


def converted(paths, tmp_path, settings=None, **options):
    output = tmp_path / "out.parquet"
    report = convert(paths if isinstance(paths, list) else [paths], output, settings, **options)
    return ak.from_parquet(output), report


def assert_same(array, expected):
    assert ak.to_list(ak.num(array)) == ak.to_list(ak.num(expected))
    np.testing.assert_array_equal(
        ak.to_numpy(ak.flatten(array)), ak.to_numpy(ak.flatten(expected)).astype(float)
    )


# --- one list per tree


@pytest.mark.parametrize("step", [7, 100, 100_000])
def test_lists_come_back_exactly(tmp_path, step):
    event = make_events(300)
    got, report = converted(write_lists(tmp_path / "f.root", event), tmp_path, step=step)
    for name in IDENTITY:
        np.testing.assert_array_equal(got[name], event["identity"][name])
    for name, values in event["photons"].items():
        assert_same(got[f"gamma_{name}"], values)
    for name, values in event["tracks"].items():
        assert_same(got[f"track_{name}"], values)
    np.testing.assert_array_equal(got.Ecms, event["Ecms"])
    assert (report.layout, report.events, report.rows) == ("event_based", 300, 300)
    assert report.columns["gamma_E"] == ("E",)
    assert report.processed_events_known
    assert report.notes == ()


def test_lists_in_separate_files(tmp_path):
    event = make_events(50)
    for name, columns in (("a", event["photons"]), ("b", event["tracks"])):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            list_tree(file, "tree", columns, event["identity"])
    got, report = converted([tmp_path / "a.root", tmp_path / "b.root"], tmp_path)
    assert_same(got.gamma_E, event["photons"]["E"])
    assert_same(got.track_dr, event["tracks"]["dr"])
    assert [source.collection for source in report.sources] == ["Photon", "Track"]


def test_coffea_reads_the_result_as_collections(tmp_path):
    event = make_events(40)
    converted(write_lists(tmp_path / "f.root", event), tmp_path)
    events = NanoEventsFactory.from_parquet(
        tmp_path / "out.parquet", schemaclass=AlpSchema, metadata={"dataset": "d"}
    ).events()
    assert_same(events.Photon.clusterTiming, event["photons"]["clusterTiming"])
    assert_same(ak.sort(events.Track.p), ak.sort(event["tracks"]["p"]))
    np.testing.assert_array_equal(events.event, event["identity"]["__event__"])


def test_tiny_baskets(tmp_path):
    event = make_events(200)
    with uproot.recreate(tmp_path / "f.root") as file:
        content = {**event["identity"], "gamma": ak.zip(event["photons"])}
        types = {name: value.dtype for name, value in event["identity"].items()}
        tree = file.mktree(
            "photons",
            {**types, "gamma": content["gamma"].type.content},
            counter_name=lambda _: "__ncandidates__",
            field_name=lambda _, inner: inner,
        )
        for entry in range(200):
            tree.extend({name: value[entry : entry + 1] for name, value in content.items()})
    got, _ = converted(tmp_path / "f.root", tmp_path, step=33)
    assert_same(got.gamma_E, event["photons"]["E"])


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_arrays_of_every_type_become_float64(tmp_path, dtype):
    event = make_events(30)
    event["photons"] = {
        name: ak.values_astype(values > 1 if dtype is np.bool_ else values, dtype)
        for name, values in event["photons"].items()
    }
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    assert got.gamma_isSignal.type.content.content.primitive == "float64"
    assert_same(got.gamma_isSignal, event["photons"]["isSignal"])
    assert_same(got.gamma_E, event["photons"]["E"])


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_event_numbers_of_every_type(tmp_path, dtype):
    event = make_events(5)
    numbers = np.array([1, 5, 2**31 - 1, 2**31 + 7, 2**32 - 1])
    if dtype is np.int32:  # what a release with signed counters wrote
        event["identity"]["__event__"] = numbers.astype(np.uint32).view(np.int32)
    else:
        event["identity"]["__event__"] = numbers.astype(dtype)
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    np.testing.assert_array_equal(got["__event__"], numbers)


def test_missing_production_becomes_zero(tmp_path):
    event = make_events(5)
    del event["identity"]["__production__"]
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    assert ak.all(got["__production__"] == 0)


def test_event_variables_as_identity(tmp_path):
    event = make_events(5)
    old = ("expNum", "runNum", "evtNum", "productionIdentifier")
    event["identity"] = {
        name: values.astype(float)
        for name, values in zip(old, event["identity"].values(), strict=True)
    }
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    np.testing.assert_array_equal(got["__run__"], event["identity"]["runNum"])


def test_nan_stays_nan(tmp_path):
    event = make_events(20)
    event["photons"]["minC2TDist"] = event["photons"]["E"] * np.nan
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    assert np.isnan(ak.flatten(got.gamma_minC2TDist)).to_numpy().all()


def test_old_missing_values_are_reported_and_replaced_on_request(tmp_path):
    event = make_events(30)
    timing = event["photons"]["clusterTiming"]
    event["photons"]["clusterTiming"] = ak.where(timing > 0, timing, -999.0)
    path = write_lists(tmp_path / "f.root", event)
    got, report = converted(path, tmp_path)
    count = int(ak.sum(got.gamma_clusterTiming == -999))
    assert len(report.notes) == 1
    assert report.notes[0].startswith(f"Photon.clusterTiming is exactly -999 in {count} places")
    got, report = converted(path, tmp_path, Settings(missing_value=-999))
    assert np.isnan(ak.flatten(got.gamma_clusterTiming)).to_numpy().sum() == count
    assert report.notes == ()


def test_degrees_are_refused_and_converted_on_request(tmp_path):
    event = make_events(30)
    radians = event["photons"]["phi"]
    event["photons"]["phi"] = np.degrees(radians)
    path = write_lists(tmp_path / "f.root", event)
    with pytest.raises(PhysicsError, match=r"Photon\.phi is beyond 2 pi .* in degrees"):
        converted(path, tmp_path)
    got, _ = converted(path, tmp_path, Settings(degrees=("Photon.phi",)))
    np.testing.assert_allclose(ak.flatten(got.gamma_phi), ak.flatten(radians), rtol=1e-14)


def test_a_few_impossible_angles_pass(tmp_path):
    event = make_events(30)
    theta = ak.flatten(event["photons"]["theta"]).to_numpy()
    theta[::5] = 50.0
    event["photons"]["theta"] = ak.unflatten(theta, ak.num(event["photons"]["E"]))
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    assert_same(got.gamma_theta, event["photons"]["theta"])


def test_truncation_at_max_candidates_is_reported(tmp_path):
    event = make_events(50)
    counts = ak.to_numpy(ak.num(event["photons"]["E"]))
    promised = counts + np.where(np.arange(50) % 10 == 0, 3, 0)
    path = write_lists(tmp_path / "f.root", event, ncandidates=promised)
    _, report = converted(path, tmp_path, step=9)
    assert report.truncated_events == 5
    assert "maxCandidates" in report.notes[0]


def test_lists_beyond_the_default_limit_are_reported(tmp_path):
    event = make_events(3, minimum=101)
    _, report = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    assert "3 lists hold more than 100 objects" in report.notes[0]


def test_mangled_columns_keep_their_branch_name(tmp_path):
    event = make_events(5)
    event["photons"]["useCMSFrame__boE__bc"] = event["photons"]["E"]
    got, _ = converted(write_lists(tmp_path / "f.root", event), tmp_path)
    assert_same(got["gamma_useCMSFrame__boE__bc"], event["photons"]["E"])


def test_aliases_of_a_list_tree_are_renamed(tmp_path):
    event = make_events(20)
    event["photons"] = {f"alp_{name}": values for name, values in event["photons"].items()}
    path = write_lists(tmp_path / "f.root", event)
    got, _ = converted(path, tmp_path, Settings(fields={"Photon.*": "alp_*", "energy": "Ecms"}))
    assert_same(got.gamma_E, event["photons"]["alp_E"])
    assert "gamma_alp_E" not in got.fields
    np.testing.assert_array_equal(got.energy, event["Ecms"])


# --- joining


def test_trees_in_other_order(tmp_path):
    event = make_events(80)
    order = np.random.default_rng(2).permutation(80)
    path = write_lists(tmp_path / "f.root", event, tracks=take(event, order))
    with pytest.raises(JoinError, match=r"'photons' and .*'tracks' .* different order.*identity"):
        converted(path, tmp_path)
    got, report = converted(path, tmp_path, Settings(join="identity"), step=17)
    assert_same(got.gamma_E, event["photons"]["E"])
    assert_same(got.track_dr, event["tracks"]["dr"])
    assert report.notes == ()


def test_unmatched_events(tmp_path):
    event = make_events(60)
    photons, tracks = np.arange(0, 50), np.arange(10, 60)
    path = write_lists(tmp_path / "f.root", take(event, photons), tracks=take(event, tracks))
    with pytest.raises(JoinError, match="10 only in the first, 10 only in the second"):
        converted(path, tmp_path)
    got, report = converted(path, tmp_path, Settings(join="identity"), step=13)
    assert len(got) == 60
    np.testing.assert_array_equal(got["__event__"], event["identity"]["__event__"])
    assert_same(got.gamma_E[:50], event["photons"]["E"][:50])
    assert ak.all(ak.num(got.gamma_E[50:]) == 0)
    assert_same(got.track_dr[10:], event["tracks"]["dr"][10:])
    assert ak.all(ak.num(got.track_dr[:10]) == 0)
    assert np.isnan(got.Ecms[50:]).to_numpy().all()
    assert len([note for note in report.notes if "lacks 10 events" in note]) == 2


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_joining_any_subsets_in_any_order(seed, step):
    rng = np.random.default_rng(seed)
    event = make_events(25, seed=seed)
    one, two = (rng.permutation(25)[: rng.integers(1, 26)] for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        path = write_lists(Path(folder) / "f.root", take(event, one), tracks=take(event, two))
        got, _ = converted(path, Path(folder), Settings(join="identity"), step=step)
    number = ak.to_numpy(got["__event__"])
    np.testing.assert_array_equal(number, [*(one + 1), *(n + 1 for n in two if n not in one)])
    for collection, prefix, have in (
        ("photons", "gamma_theta", one),
        ("tracks", "track_theta", two),
    ):
        expected = [
            event[collection]["theta"][n - 1].to_list() if n - 1 in have else [] for n in number
        ]
        assert got[prefix].to_list() == expected


def test_duplicate_events_cannot_be_joined(tmp_path):
    event = make_events(20)
    twice = take(event, np.append(np.arange(20), 7))
    path = write_lists(tmp_path / "f.root", event, tracks=twice)
    with pytest.raises(DuplicateEventError, match=r"'tracks': experiment 1003, .*event 8,"):
        converted(path, tmp_path, Settings(join="identity"))


# --- which tree is what


def test_unclear_and_repeated_collections(tmp_path):
    event = make_events(5)
    with uproot.recreate(tmp_path / "f.root") as file:
        list_tree(file, "one", {"E": event["photons"]["E"]}, event["identity"])
        list_tree(file, "two", event["tracks"], event["identity"])
    with pytest.raises(ConfigurationError, match=r"'one': cannot tell .*\{one: Photon\}"):
        converted(tmp_path / "f.root", tmp_path)
    with pytest.raises(ConfigurationError, match=r"'one' and .*'two' would both become 'Track'"):
        converted(tmp_path / "f.root", tmp_path, Settings(trees={"one": "Track", "two": "Track"}))
    got, _ = converted(tmp_path / "f.root", tmp_path, Settings(trees={"one": "Photon"}))
    assert_same(got.gamma_E, event["photons"]["E"])
    assert "track_p" not in got.fields


def test_trees_in_folders_and_of_one_name(tmp_path):
    event = make_events(20)
    for name, columns in (("a", event["tracks"]), ("b", event["tracks"])):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            list_tree(file, "dir/tree", columns, event["identity"])
    paths = [tmp_path / "a.root", tmp_path / "b.root"]
    trees = {"a.root:dir/tree": "Photon", "b.root:dir/tree": "Track"}
    got, report = converted(paths, tmp_path, Settings(trees=trees))
    assert_same(got.gamma_dr, event["tracks"]["dr"])
    assert_same(got.track_dr, event["tracks"]["dr"])
    assert [source.tree for source in report.sources] == ["dir/tree", "dir/tree"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trees: {x: Photons}", "'x: Photons' names no collection; did you mean 'Photon'"),
        ("trees: [x]", "trees: expected a mapping"),
        ("fields: {Photon.E: 3}", "'Photon.E: 3' must be a column name or a list"),
        ("join: identify", "'identify' must be .*did you mean 'identity'"),
        ("missing_value: none", "missing_value: 'none' must be a number"),
        ("degrees: [phi]", "degrees: .* such as Photon.phi"),
        ("degres: [Photon.phi]", "unknown key 'degres'; did you mean 'degrees'"),
        ("- 1", "expected a mapping with the keys trees"),
        ("a: [", "not valid YAML"),
    ],
)
def test_settings_are_checked(tmp_path, text, message):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"map\.yaml: .*{message}"):
        load_settings(tmp_path / "map.yaml")


def test_settings_from_yaml(tmp_path):
    (tmp_path / "map.yaml").write_text(
        "trees: {variables: Candidates}\n"
        "fields: {'Photon.*': ['ALP_gamma{i}_*', 'recoil_*'], Track.dr: []}\n"
        "join: identity\nmissing_value: -999\ndegrees: [Photon.phi]\n"
    )
    assert load_settings(tmp_path / "map.yaml") == Settings(
        trees={"variables": "Candidates"},
        fields={"Photon.*": ["ALP_gamma{i}_*", "recoil_*"], "Track.dr": []},
        join="identity",
        missing_value=-999,
        degrees=["Photon.phi"],
    )
    with pytest.raises(ConfigurationError, match=r"no such file; did you mean 'map\.yaml'"):
        load_settings(tmp_path / "mop.yaml")


def test_column_map_for_a_missing_tree(tmp_path):
    event = make_events(5)
    with uproot.recreate(tmp_path / "f.root") as file:
        list_tree(file, "photons", event["photons"], event["identity"])
    with pytest.raises(ConfigurationError, match=r"'Track\.dr' needs a tree of 'Track'"):
        converted(tmp_path / "f.root", tmp_path, Settings(fields={"Track.dr": "dr"}))
    got, _ = converted(tmp_path / "f.root", tmp_path, Settings(fields={"Track.dr": []}))
    assert ak.all(ak.num(got.track_dr) == 0)


# --- candidate rows

CONVENTIONS = {
    "aliases": lambda slot, name: f"ALP_gamma{slot + 1}_{name}" if slot < 2 else f"recoil_{name}",
    "underscores": lambda slot, name: f"alp_gamma_{slot}_{name}" if slot < 2 else f"gamma_{name}",
    "numbered": lambda slot, name: f"gamma{slot}_{name}",
    "daughters": lambda slot, name: (
        f"daughter__bo0__cm__spdaughter__bo{slot}__cm__sp{name}__bc__bc"
        if slot < 2
        else f"daughter__bo1__cm__sp{name}__bc"
    ),
    "daughters, no blanks": lambda slot, name: (
        f"daughter__bo1__cmdaughter__bo{slot}__cm{name}__bc__bc"
        if slot < 2
        else f"daughter__bo0__cm{name}__bc"
    ),
    "flat daughters": lambda slot, name: f"daughter__bo{slot}__cm__sp{name}__bc",
}


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("step", [5, 64, 100_000])
def test_candidate_rows_become_events(tmp_path, convention, step):
    event = make_events(60, minimum=1)
    path = write_rows(tmp_path / "f.root", candidate_rows(event, CONVENTIONS[convention]))
    got, report = converted(path, tmp_path, step=step)
    expected = take(event, np.flatnonzero(ak.num(event["photons"]["E"]) >= 3))
    for name in IDENTITY:
        np.testing.assert_array_equal(got[name], expected["identity"][name])
    order, reference = ak.argsort(got.gamma_E), ak.argsort(expected["photons"]["E"])
    for name, values in expected["photons"].items():
        assert_same(got[f"gamma_{name}"][order], values[reference])
    np.testing.assert_array_equal(got.Ecms, expected["Ecms"])
    assert not report.processed_events_known
    assert "ALP_M" in report.unused
    assert any("must come from the catalogue" in note for note in report.notes)


def test_column_map_with_overrides_events_and_no_tracks(tmp_path):
    event = make_events(40, minimum=3)
    columns = candidate_rows(event, lambda slot, name: f"ph{'abc'[slot]}__{name}")
    columns["generatorWeight"] = columns["Ecms"] / 10
    path = write_rows(tmp_path / "f.root", columns)
    with pytest.raises(MissingFieldError, match=r"no photons recognised.*Photon\.\*"):
        converted(path, tmp_path)
    slots = ["pha__*", "phb__*", "phc__*"]
    fields = {
        "Photon.*": slots,
        "Photon.E": [slot.replace("*", "clusterE") for slot in slots],
        "Track.dr": [],
        "weight": "generatorWeight",
    }
    got, report = converted(path, tmp_path, Settings(fields=fields))
    assert_same(ak.sort(got.gamma_E), ak.sort(event["photons"]["clusterE"]))
    assert ak.all(ak.num(got.track_dr) == 0)
    np.testing.assert_array_equal(got.weight, event["Ecms"] / 10)
    assert report.columns["gamma_E"] == ("pha__clusterE", "phb__clusterE", "phc__clusterE")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"Photon.E": "gama{i}_E"}, MissingFieldError, r"'gama\{i\}_E'.* did you mean 'gamma0_E'"),
        ({"Photons.E": "gamma{i}_E"}, ConfigurationError, "'Photons.E' .*did you mean 'Photon'"),
        ({"Photon.*": "gamma{i}_E"}, ConfigurationError, r"needs a '\*' on both sides"),
        (
            {"Photon.E": "gamma{i}_E", "Photon.theta": "gamma0_theta"},
            MissingFieldError,
            r"different numbers of objects per row \(E: 3, theta: 1\)",
        ),
        ({"Photon.E": "gamma{i}_E"}, MissingFieldError, "cannot be told apart.*clusterE"),
        ({"weight": "gamma{i}_E"}, ConfigurationError, "event-level 'weight' needs exactly one"),
        ({"weight": "ALP_M"}, WrongTypeError, "'ALP_M' differs between candidates"),
        ({"weight": "wait"}, MissingFieldError, "no column matches 'wait'"),
    ],
)
def test_wrong_column_maps(tmp_path, fields, error, message):
    path = write_rows(
        tmp_path / "f.root", candidate_rows(make_events(10, minimum=3), CONVENTIONS["numbered"])
    )
    with pytest.raises(error, match=message) as caught:
        converted(path, tmp_path, Settings(fields=fields))
    assert str(path) in str(caught.value)


def test_values_changed_by_a_fit_are_refused(tmp_path):
    columns = candidate_rows(make_events(20, minimum=3), CONVENTIONS["numbered"])
    columns["gamma0_E"] = columns["gamma0_E"] * 1.001
    path = write_rows(tmp_path / "f.root", columns)
    with pytest.raises(WrongTypeError, match=r"Photon\.E of one object .*fit of the candidate"):
        converted(path, tmp_path)


def test_photons_with_nan_are_kept_once(tmp_path):
    event = make_events(20, minimum=3)
    flat = ak.flatten(event["photons"]["E"]).to_numpy().copy()
    flat[::7] = np.nan
    event["photons"]["E"] = ak.unflatten(flat, ak.num(event["photons"]["E"]))
    path = write_rows(tmp_path / "f.root", candidate_rows(event, CONVENTIONS["numbered"]))
    got, _ = converted(path, tmp_path)
    assert ak.num(got.gamma_E).to_list() == ak.num(event["photons"]["E"]).to_list()
    assert np.isnan(ak.flatten(got.gamma_E)).to_numpy().sum() == np.isnan(flat).sum()


def test_missing_rows_are_reported(tmp_path):
    columns = candidate_rows(make_events(30, minimum=4), CONVENTIONS["numbered"])
    best = columns["__candidate__"] == 0
    path = write_rows(tmp_path / "f.root", {name: v[best] for name, v in columns.items()})
    got, report = converted(path, tmp_path)
    assert ak.all(ak.num(got.gamma_E) == 3)
    assert report.truncated_events == 30
    assert any("fewer rows than __ncandidates__" in note for note in report.notes)


def test_repeated_rows_and_shuffled_rows(tmp_path):
    columns = candidate_rows(make_events(30, minimum=3), CONVENTIONS["numbered"])
    rows = len(columns["Ecms"])
    twice = {name: np.repeat(values, 2) for name, values in columns.items()}
    with pytest.raises(DuplicateEventError, match=r"candidate 0 of experiment .* is there twice"):
        converted(write_rows(tmp_path / "a.root", twice), tmp_path)
    merged = {name: np.concatenate([values, values]) for name, values in columns.items()}
    with pytest.raises(DuplicateEventError, match="appears in two separate groups"):
        converted(write_rows(tmp_path / "b.root", merged), tmp_path, step=20)
    order = np.random.default_rng(1).permutation(rows)
    shuffled = {name: values[order] for name, values in columns.items()}
    with pytest.raises(DuplicateEventError, match="sort the rows"):
        converted(write_rows(tmp_path / "c.root", shuffled), tmp_path)
    assert not (tmp_path / "out.parquet").exists()


def test_rows_without_candidate_numbers_in_other_order(tmp_path):
    # __candidate__ need not rise within an event
    columns = candidate_rows(make_events(20, minimum=3), CONVENTIONS["numbered"])
    key = columns["__event__"].astype(np.int64) * 100_000 - columns["__candidate__"]
    order = np.argsort(key)
    path = write_rows(tmp_path / "f.root", {name: v[order] for name, v in columns.items()})
    got, _ = converted(path, tmp_path)
    assert len(got) == 20


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.bool_])
def test_flags_of_every_type(tmp_path, kind):
    event = make_events(20, minimum=3)
    columns = candidate_rows(event, CONVENTIONS["numbered"])
    for slot in range(3):
        columns[f"gamma{slot}_isSignal"] = columns[f"gamma{slot}_isSignal"].astype(kind)
    got, _ = converted(write_rows(tmp_path / "f.root", columns), tmp_path)
    assert ak.sum(got.gamma_isSignal) == ak.sum(event["photons"]["isSignal"])


def test_sampling_weights_are_reported(tmp_path):
    columns = candidate_rows(make_events(20, minimum=3), CONVENTIONS["numbered"])
    columns["__weight__"] = np.full(len(columns["Ecms"]), 10.0)
    got, report = converted(write_rows(tmp_path / "f.root", columns), tmp_path)
    assert ak.all(got["__weight__"] == 10)
    assert any("wrote a sample of the events" in note for note in report.notes)


# --- damage


@pytest.fixture
def damaged(tmp_path):
    return write_lists(tmp_path / "damaged.root", make_events(20_000))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_cut_file(damaged, tmp_path, fraction):
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises((UnreadableFileError, MissingTreeError), match=r"damaged\.root"):
        converted(damaged, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.root"]


def test_zeroed_bytes_inside_a_basket(damaged, tmp_path):
    with uproot.open(damaged) as file:
        branch = file["photons"]["clusterTiming"]
        seek, length = int(branch.member("fBasketSeek")[0]), int(branch.member("fBasketBytes")[0])
    content = bytearray(damaged.read_bytes())
    content[seek + length // 2 : seek + length - 20] = bytes(length - 20 - length // 2)
    damaged.write_bytes(content)
    with pytest.raises(
        UnreadableFileError,
        match=r"damaged\.root: tree 'photons', branch 'clusterTiming', entries 0-20000",
    ):
        converted(damaged, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.root"]


def test_wrong_tree(damaged, tmp_path):
    with pytest.raises(MissingTreeError, match=r"no tree 'photon'; did you mean 'photons'"):
        converted(damaged, tmp_path, Settings(trees={"photon": "Photon"}))


def test_text_file_named_root(tmp_path):
    (tmp_path / "f.root").write_text("mass,limit\n")
    with pytest.raises(UnreadableFileError, match="not a ROOT file: it starts with b'mass'"):
        converted(tmp_path / "f.root", tmp_path)


def test_missing_file_and_folder(tmp_path, damaged):
    with pytest.raises(MissingFileError, match=r"no such file; did you mean 'damaged\.root'"):
        converted(tmp_path / "damagd.root", tmp_path)
    with pytest.raises(UnreadableFileError, match="is a folder"):
        converted(tmp_path, tmp_path)


@pytest.fixture
def ordinary_user():
    """Root may read everything: become nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_unreadable_permission(ordinary_user):
    with tempfile.NamedTemporaryFile(suffix=".root") as file:
        Path(file.name).chmod(0)
        with pytest.raises(UnreadableFileError, match="permission denied"):
            convert([file.name], "out.parquet")


def test_permission_error_of_a_reader_is_named():
    with (
        pytest.raises(UnreadableFileError, match=r"f\.root: permission denied"),
        readable("f.root"),
    ):
        raise PermissionError(13, "Permission denied")


def test_no_entries(tmp_path):
    path = write_lists(tmp_path / "f.root", take(make_events(5), slice(0, 0)))
    with pytest.raises(EmptyFileError, match="'photons' has no entries"):
        converted(path, tmp_path)
    rows = {k: v[:0] for k, v in candidate_rows(make_events(5, minimum=3)).items()}
    with pytest.raises(EmptyFileError, match="'variables' has no entries"):
        converted(write_rows(tmp_path / "g.root", rows), tmp_path)


def test_string_columns(tmp_path):
    event = make_events(10, minimum=3)
    columns = candidate_rows(event, CONVENTIONS["numbered"])
    rows = len(columns["Ecms"])
    columns["__MCDecayString__"] = ak.Array(["a -> b"] * rows)
    columns["comment"] = ak.Array(["x"] * rows)
    with uproot.recreate(tmp_path / "f.root") as file:
        types = {k: "string" if isinstance(v, ak.Array) else v.dtype for k, v in columns.items()}
        file.mktree("variables", types).extend(columns)
    got, report = converted(tmp_path / "f.root", tmp_path)
    assert len(got) == 10
    assert "comment" in report.unused
    with pytest.raises(WrongTypeError, match=r"branch 'comment' is 'char\*'"):
        converted(tmp_path / "f.root", tmp_path, Settings(fields={"weight": "comment"}))


def test_trees_that_cannot_be_converted(tmp_path):
    with uproot.recreate(tmp_path / "f.root") as file:
        file.mktree("numbers", {"x": float}).extend({"x": np.ones(3)})
    with pytest.raises(MissingTreeError, match="no tree with event identity.*'numbers'"):
        converted(tmp_path / "f.root", tmp_path)
    with pytest.raises(MissingFieldError, match=r"'numbers' has no event identity.* x"):
        converted(tmp_path / "f.root", tmp_path, Settings(trees={"numbers": "Photon"}))


def test_identity_must_be_whole_numbers(tmp_path):
    event = make_events(5)
    event["identity"]["__run__"] = event["identity"]["__run__"] + 0.5
    with pytest.raises(WrongTypeError, match=r"'__run__' holds numbers that are not integers"):
        converted(write_lists(tmp_path / "f.root", event), tmp_path)
    event = make_events(5)
    del event["identity"]["__run__"]
    with pytest.raises(MissingFieldError, match="no branch '__run__'"):
        converted(write_lists(tmp_path / "g.root", event), tmp_path)


def test_canonical_files_are_not_converted(tmp_path):
    event = make_events(5)
    event["photons"] = {f"gamma_{name}": v for name, v in event["photons"].items()}
    with pytest.raises(ConfigurationError, match="already has the canonical layout"):
        converted(write_lists(tmp_path / "f.root", event), tmp_path)


def test_lists_of_different_length_in_one_tree(tmp_path):
    event = make_events(5, minimum=1)
    with uproot.recreate(tmp_path / "f.root") as file:
        tree = file.mktree(
            "photons",
            {
                **{k: v.dtype for k, v in event["identity"].items()},
                "E": "var * float64",
                "dr": "var * float64",
            },
        )
        tree.extend(
            {**event["identity"], "E": event["photons"]["E"], "dr": event["photons"]["E"][:, :0]}
        )
    with pytest.raises(WrongTypeError, match="'E' and 'dr' have lists of different length"):
        converted(tmp_path / "f.root", tmp_path)


@given(damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_damage_gives_events_or_a_named_error(damage):
    with tempfile.TemporaryDirectory() as folder:
        path = write_lists(Path(folder) / "f.root", make_events(30))
        content = bytearray(path.read_bytes())
        for place, junk in damage:
            start = int(place * (len(content) - len(junk)))
            content[start : start + len(junk)] = junk
        path.write_bytes(content)
        report = None
        try:
            inspect_file(path, {})
            report = convert([path], Path(folder) / "out.parquet")
        except AlpCoffeaError as error:
            assert str(path) in str(error)
        assert (Path(folder) / "out.parquet").exists() == (report is not None)


NAMES = st.sampled_from(
    ["__experiment__", "__run__", "__event__", "__production__", "__candidate__",
     "__ncandidates__", "__weight__", "E", "theta", "phi", "gamma0_E", "gamma0_theta",
     "gamma0_phi", "gamma1_E", "ALP_gamma1_E", "recoil_E", "dr", "evtNum", "x", "gamma_E"]
)  # fmt: skip
TYPES = st.sampled_from(
    ["float64", "int32", "uint32", "bool", "float32", "string", "var * float64"]
)


@given(branches=st.dictionaries(NAMES, TYPES, max_size=12), entries=st.integers(0, 4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_branches_give_events_or_a_named_error(branches, entries):
    content = {}
    for name, kind in branches.items():
        if kind == "string":
            content[name] = ak.Array(["a"] * 5)[:entries]
        elif kind.startswith("var"):
            content[name] = ak.Array([[1.0, 2.0]] * 5)[:entries]
        else:
            content[name] = np.ones(entries, kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.root"
        with uproot.recreate(path) as file:
            tree = file.mktree("photons", {"filler": "float64", **branches})
            tree.extend({"filler": np.ones(entries), **content})
        inspect_file(path, {})
        try:
            report = convert([path], Path(folder) / "out.parquet")
        except AlpCoffeaError as error:
            assert str(path) in str(error)
            assert not (Path(folder) / "out.parquet").exists()
        else:
            assert pq.ParquetFile(Path(folder) / "out.parquet").metadata.num_rows == report.events


# --- report and cache


def test_report_is_stored_in_the_file(tmp_path):
    event = make_events(30, minimum=3)
    path = write_rows(tmp_path / "f.root", candidate_rows(event, CONVENTIONS["aliases"]))
    _, report = converted(path, tmp_path)
    assert read_report(tmp_path / "out.parquet") == report
    assert json.loads(json.dumps(report.to_json()))["rows"] == report.rows
    assert report.sources[0].entries == report.rows
    pq.write_table(pq.read_table(tmp_path / "out.parquet").drop(["Ecms"]), tmp_path / "p.parquet")
    ak.to_parquet(ak.Array({"x": [1]}), tmp_path / "q.parquet")
    with pytest.raises(MissingFieldError, match="no conversion report"):
        read_report(tmp_path / "q.parquet")


def test_cache_is_keyed_by_input_and_settings(tmp_path):
    source = write_lists(tmp_path / "f.root", make_events(20, seed=1))
    folder = tmp_path / "cache"
    first, report = convert_cached([source], folder)
    stamp = first.stat().st_mtime_ns
    again, same = convert_cached([source], folder)
    assert (again, same, again.stat().st_mtime_ns) == (first, report, stamp)
    other, _ = convert_cached([source], folder, Settings(missing_value=-999))
    assert other != first
    write_lists(source, make_events(20, seed=2))
    changed, _ = convert_cached([source], folder)
    assert changed not in (first, other)
    assert len(list(folder.iterdir())) == 3


def test_result_does_not_depend_on_the_step(tmp_path):
    path = write_rows(
        tmp_path / "f.root", candidate_rows(make_events(200), CONVENTIONS["numbered"])
    )
    one, _ = converted(path, tmp_path, step=3)
    two, _ = converted(path, tmp_path, step=1_000_000)
    assert one.to_list() == two.to_list()


def test_impossible_step(tmp_path):
    with pytest.raises(ConfigurationError, match="step = 0"):
        converted(write_lists(tmp_path / "f.root", make_events(2)), tmp_path, step=0)
