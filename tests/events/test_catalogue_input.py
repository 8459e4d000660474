"""Foreign layouts, friends, URLs and damage, as a catalogue meets them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory
from coffea.processor import ProcessorABC
from foreign import candidate_rows, list_tree, make_events, take, write_lists, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ntuples import canonical, catalogue, write_parquet, write_root

from alp_coffea.errors import (
    AlpCoffeaError,
    ConfigurationError,
    EmptyFileError,
    InputError,
    JoinError,
    MissingFieldError,
    MissingFileError,
    MissingTreeError,
    UnreadableFileError,
    WrongTypeError,
)
from alp_coffea.events.datasets import FileRecord, open_catalogue
from alp_coffea.events.ledger import check_identities
from alp_coffea.events.schema import AlpSchema
from alp_coffea.execution import process_files, tasks


class Energies(ProcessorABC):
    """Sums of photon energies and track momenta."""

    uses = ("Photon.E", "Track.p")

    def process(self, events: ak.Array) -> dict[str, Any]:
        return {
            events.metadata["dataset"]: {
                "photons": float(ak.sum(events.Photon.E)),
                "tracks": float(ak.sum(events.Track.p)),
                "selected": len(events),
            }
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage stays: reading again after a pause does not help."""
    monkeypatch.setattr(tasks, "PAUSES", ())


def opened(folder: Path, *files: str, **changes: Any) -> list[FileRecord]:
    return open_catalogue(catalogue(folder, *files, **changes), cache=folder / "cache")


def analysed(folder: Path, *files: str, **changes: Any) -> dict[str, Any]:
    made = catalogue(folder, *files, **changes)
    records = open_catalogue(made, cache=folder / "cache")
    check_identities(records, made.samples)
    result: dict[str, Any] = process_files(Energies(), records, made)["data"]
    return result


# --- other layouts -------------------------------------------------------------------------------


def test_list_trees_are_converted_on_the_way(tmp_path: Path) -> None:
    event = make_events(500)
    write_lists(tmp_path / "a.root", event)
    result = analysed(tmp_path, "a.root")
    assert result["photons"] == pytest.approx(float(ak.sum(event["photons"]["E"])))
    assert result["tracks"] == pytest.approx(float(ak.sum(event["tracks"]["p"])))
    (record,) = opened(tmp_path, "a.root")
    assert record.conversion is not None
    assert record.conversion["layout"] == "event_based"
    assert record.conversion["sources"][0]["path"] == str(tmp_path / "a.root")
    assert (record.expected, record.is_parquet) == (500, True)
    # converted once
    before = Path(record.path).stat().st_mtime_ns
    (again,) = opened(tmp_path, "a.root")
    assert again.path == record.path
    assert Path(again.path).stat().st_mtime_ns == before


def test_friends_are_joined(tmp_path: Path) -> None:
    event = make_events(300)
    for name, holds in (("run1_photons", "photons"), ("run1_tracks", "tracks")):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            list_tree(file, holds, event[holds], event["identity"])
    friends = ["{folder}/run1_tracks.root"]
    result = analysed(tmp_path, "run1_photons.root", friends=friends)
    assert result["tracks"] == pytest.approx(float(ak.sum(event["tracks"]["p"])))
    with pytest.raises(MissingFileError, match="sample 'data': .*run1_track.root: no such file"):
        opened(tmp_path, "run1_photons.root", friends="{folder}/run1_track.root")
    with pytest.raises(ConfigurationError, match="only {stem} and {folder} can be filled in"):
        opened(tmp_path, "run1_photons.root", friends="{stme}.root")


def test_friends_of_canonical_files_are_refused(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(10)))
    with pytest.raises(ConfigurationError, match=r"a\.root has the canonical layout.*'friends'"):
        opened(tmp_path, "a.root", friends="{folder}/{stem}_tracks.root")


def test_candidate_rows_say_that_processed_events_are_unknown(tmp_path: Path) -> None:
    event = make_events(200, minimum=3)
    write_rows(tmp_path / "rows.root", candidate_rows(event))
    (record,) = opened(tmp_path, "rows.root")
    assert record.conversion is not None
    assert record.conversion["processed_events_known"] is False
    assert record.expected == 200


def test_a_column_map_of_the_catalogue_is_used(tmp_path: Path) -> None:
    event = make_events(50, minimum=3)
    rows = candidate_rows(event, rename=lambda slot, variable: f"my{slot}_{variable}")
    write_rows(tmp_path / "rows.root", rows)
    with pytest.raises(InputError, match="sample 'data'"):
        opened(tmp_path, "rows.root")
    conversion = {"fields": {"Photon.*": ["my{i}_*"]}}
    (record,) = opened(tmp_path, "rows.root", conversion=conversion)
    assert {"gamma_E", "gamma_theta"} <= record.branches


def test_wrong_settings_stop_even_when_losses_are_allowed(tmp_path: Path) -> None:
    write_lists(tmp_path / "a.root", make_events(20))
    made = catalogue(tmp_path, "a.root", conversion={"trees": {"photons": "Candidates"}})
    with pytest.raises(ConfigurationError, match="sample 'data'"):
        open_catalogue(made, cache=tmp_path / "cache", allow_missing=True)


def test_without_a_cache_foreign_files_are_only_named(tmp_path: Path) -> None:
    write_lists(tmp_path / "a.root", make_events(20))
    (record,) = open_catalogue(catalogue(tmp_path, "a.root"))
    assert (record.status, record.reason) == (
        "pending",
        "in basf2's own layout: to be converted",
    )


def test_copies_of_foreign_files_are_refused(tmp_path: Path) -> None:
    write_lists(tmp_path / "a.root", make_events(20))
    (tmp_path / "b.root").write_bytes((tmp_path / "a.root").read_bytes())
    with pytest.raises(ConfigurationError, match=r"b\.root .* is a copy of .*a\.root"):
        opened(tmp_path, "*.root")


# --- URLs ----------------------------------------------------------------------------------------


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """A file server that can send parts of a file, as storage servers do."""

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file() or "Range" not in self.headers:
            super().do_GET()
            return
        content = path.read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split(",")[0].split("-")
        start = int(first) if first else len(content) - int(last)
        stop = min(int(last) + 1 if first and last else len(content), len(content))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(_Ranges, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # aiohttp's sessions live to the end
def test_urls_are_read_like_files(tmp_path: Path, server: str) -> None:
    columns = canonical(np.arange(500))
    write_root(tmp_path / "a.root", columns)
    write_parquet(tmp_path / "a.parquet", columns)
    local = analysed(tmp_path, "a.root")
    for name in ("a.root", "a.parquet"):
        (record,) = opened(tmp_path, f"{server}/{name}")
        assert (record.expected, record.size) == (500, (tmp_path / name).stat().st_size)
        assert analysed(tmp_path, f"{server}/{name}") == local
    with pytest.raises(InputError, match="sample 'data': http.*gone.root"):
        opened(tmp_path, f"{server}/gone.root")
    (record,) = opened(tmp_path, f"{server}/*.root")
    assert record.path == f"{server}/a.root"


def test_a_protocol_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="sample 'data': nonsense://x/a.root"):
        opened(tmp_path, "nonsense://x/a.root")


# --- damage --------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    columns = canonical(rng.permutation(20_000))
    columns["gamma_E"] = ak.unflatten(rng.random(40_000), np.full(20_000, 2))
    return write_root(tmp_path / "damaged.root", columns)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("container", ["root", "parquet"])
def test_a_cut_file_is_named(tmp_path: Path, whole: Path, fraction: float, container: str) -> None:
    path = whole
    if container == "parquet":
        path = write_parquet(tmp_path / "damaged.parquet", canonical(np.arange(20_000)))
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(UnreadableFileError, match=r"sample 'data': .*damaged\.\w+.*copy"):
        opened(tmp_path, path.name)


def basket_start(path: Path, branch: str) -> int:
    with uproot.open(path) as file:
        key = file[f"events/{branch}"].basket_key(0)
        return int(key.fSeekKey + key.fKeylen)


def test_zeroed_bytes_in_a_basket_name_the_entries(tmp_path: Path, whole: Path) -> None:
    start = basket_start(whole, "gamma_E") + 2000
    content = bytearray(whole.read_bytes())
    content[start : start + 300] = bytes(300)
    whole.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.root: entries 0 to 20000 not read"):
        analysed(tmp_path, "damaged.root")


def test_zeroed_bytes_in_an_identity_name_the_branch(tmp_path: Path, whole: Path) -> None:
    start = basket_start(whole, "__event__") + 200
    content = bytearray(whole.read_bytes())
    content[start : start + 300] = bytes(300)
    whole.write_bytes(content)
    with pytest.raises(
        UnreadableFileError, match=r"damaged\.root: tree 'events', branches __experiment__"
    ):
        analysed(tmp_path, "damaged.root")


def test_a_wrong_number_of_entries_is_noticed(tmp_path: Path, whole: Path) -> None:
    """Metadata are not compressed: another number there is no error in itself."""
    entries = np.array([20_000], dtype=">i8").tobytes()
    content = bytearray(whole.read_bytes())
    place = content.index(entries)  # of the tree; those of its branches follow
    content[place : place + 8] = np.array([19_000], dtype=">i8").tobytes()
    whole.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"has 19000 entries, its branch '\w+' 20000"):
        opened(tmp_path, "damaged.root")


def test_branches_that_come_back_short_are_noticed(tmp_path: Path) -> None:
    """uproot returns what it finds: here, fewer entries of one branch than there are."""
    path = write_root(tmp_path / "damaged.root", canonical(np.arange(321)))
    original = path.read_bytes()
    baskets = np.array([0, 321], dtype=">i8").tobytes()  # first entries of each basket
    places = [n for n in range(len(original)) if original.startswith(baskets, n)]
    assert len(places) >= 8
    refused = 0
    for place in places:
        content = bytearray(original)
        content[place : place + 16] = np.array([0, 300], dtype=">i8").tobytes()
        path.write_bytes(content)
        try:
            result = analysed(tmp_path, "damaged.root")
        except InputError as error:
            assert "damaged.root" in str(error)
            refused += 1
        else:  # a branch that nobody reads
            assert (result["selected"], result["tracks"]) == (321, 642)
    assert refused >= 5


@given(damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=3))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_damage_gives_events_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[float, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("random")
    path = write_root(folder / "a.root", canonical(np.arange(200)))
    content = bytearray(path.read_bytes())
    for place, junk in damage:
        start = min(int(place * len(content)), len(content) - len(junk))
        content[start : start + len(junk)] = junk
    path.write_bytes(content)
    try:
        result = analysed(folder, "a.root")
    except AlpCoffeaError as error:
        assert str(error)
    else:
        assert result["selected"] == 200


def test_a_text_file_named_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.root").write_text("E,theta\n1,2\n", "utf-8")
    (tmp_path / "a.parquet").write_text("E,theta\n1,2\n", "utf-8")
    with pytest.raises(UnreadableFileError, match=r"a\.root is not a ROOT file: it starts with"):
        opened(tmp_path, "a.root")
    with pytest.raises(UnreadableFileError, match=r"a\.parquet cannot be read"):
        opened(tmp_path, "a.parquet")


def test_missing_branches_are_named_with_their_neighbours(tmp_path: Path) -> None:
    columns = canonical(np.arange(10))
    columns["gamma_e"] = columns.pop("gamma_E")
    write_root(tmp_path / "a.root", columns)
    with pytest.raises(
        MissingFieldError,
        match=r"a\.root: tree 'events' lacks what processor 'Energies' reads:\n"
        r"  Photon\.E \(branch 'gamma_E'; did you mean 'gamma_e'\?\)",
    ):
        analysed(tmp_path, "a.root")


def test_a_wrong_tree_is_named(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(10)), tree="evt")
    with pytest.raises(MissingTreeError, match="no tree 'events'.*The file has: evt"):
        opened(tmp_path, "a.root")


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    columns = canonical(np.arange(10))
    columns["gamma_E"] = np.ones(10)  # one number per event, no list
    write_root(tmp_path / "a.root", columns)
    with pytest.raises(WrongTypeError, match=r"a\.root: tree 'events', branch 'gamma_E' is"):
        analysed(tmp_path, "a.root")


def test_string_columns_are_named_in_parquet_and_left_alone_in_root(tmp_path: Path) -> None:
    columns = canonical(np.arange(10))
    text = ak.Array(["x"] * 10)
    write_parquet(tmp_path / "a.parquet", columns | {"decay": text})
    with pytest.raises(WrongTypeError, match=r"a\.parquet: column 'decay' is '\w*string'"):
        opened(tmp_path, "a.parquet")
    with uproot.recreate(tmp_path / "a.root") as file:
        types = {
            n: v.type.content if isinstance(v, ak.Array) else v.dtype for n, v in columns.items()
        }
        file.mktree("events", types | {"decay": "string"}).extend(columns | {"decay": text})
    assert analysed(tmp_path, "a.root")["selected"] == 10


def test_joined_trees_that_differ_are_named(tmp_path: Path) -> None:
    event = make_events(100)
    other = take(event, np.r_[np.arange(50), np.arange(99, 49, -1)])
    write_lists(tmp_path / "order.root", event, other)
    with pytest.raises(JoinError, match=r"sample 'data': .*order\.root"):
        opened(tmp_path, "order.root")
    assert opened(tmp_path, "order.root", conversion={"join": "identity"})[0].expected == 100
    write_lists(tmp_path / "fewer.root", event, take(event, np.arange(60)))
    with pytest.raises(JoinError, match=r"sample 'data': .*fewer\.root"):
        opened(tmp_path, "fewer.root")


def test_empty_lists_are_named(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        event = make_events(3)
        none = take(event, np.arange(0))
        list_tree(file, "photons", none["photons"], none["identity"])
    with pytest.raises(EmptyFileError, match=r"sample 'data': .*a\.root"):
        opened(tmp_path, "a.root")


# --- random branches -----------------------------------------------------------------------------

names = st.sampled_from(["__run__", "__event__", "gamma_E", "gamma_", "track_p", "E", "mc_PDG"])
columns = st.dictionaries(
    names | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
    st.sampled_from(["scalar", "jagged", "flag", "string"]),
    min_size=1,
    max_size=5,
)


@given(columns)
@settings(max_examples=60, deadline=None)
def test_random_branches_make_events_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, kinds: dict[str, str]
) -> None:
    values = {
        "scalar": np.arange(4.0),
        "jagged": ak.Array([[1.0], [], [2.0, 3.0], []]),
        "flag": np.array([True, False, True, True]),
        "string": ["a", "b", "c", "d"],
    }
    folder = tmp_path_factory.mktemp("branches")
    path = folder / "a.parquet"
    ak.to_parquet(ak.Array({name: values[kind] for name, kind in kinds.items()}), path)
    try:
        analysed(folder, "a.parquet")
    except AlpCoffeaError as error:
        assert "a.parquet" in str(error)
    if "string" not in kinds.values():
        events = NanoEventsFactory.from_parquet(str(path), schemaclass=AlpSchema).events()
        assert len(events) == 4
