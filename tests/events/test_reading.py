"""What processors see: blinding, good runs and lost tracks, through the real execution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from coffea.processor import ProcessorABC
from ntuples import canonical, catalogue, write_parquet, write_root

from alp_coffea.config import Blinding
from alp_coffea.errors import ConfigurationError, MissingFieldError
from alp_coffea.events.blinding import hides_signal_region, luminosity_fraction, visible
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.reading import Reading
from alp_coffea.events.weights import event_weight
from alp_coffea.execution import process_files

EVENTS = 4000


class Collector(ProcessorABC):
    """Says which events it saw, what they weigh and how many tracks they have."""

    uses = ("Photon.E",)

    def process(self, events: ak.Array) -> dict[str, Any]:
        return {
            events.metadata["dataset"]: {
                "seen": set(zip(events.run.tolist(), events.event.tolist(), strict=True)),
                "weight": float(event_weight(events).sum()),
                "tracks": int(ak.sum(ak.num(events.Track))),
                "energy": float(ak.sum(events.Photon.E)),
                "selected": len(events),
            }
        }

    def sideband(self, events: ak.Array) -> ak.Array:
        return events.event % 2 == 0

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator


def seen(made: Any, blinding: Blinding | None = None, **options: Any) -> dict[str, Any]:
    records = open_catalogue(made)
    output = process_files(Collector(), records, made, blinding=blinding, **options)
    assert all(record.read == record.expected for record in records)
    result: dict[str, Any] = output["data"]
    assert result["selected"] == sum(record.selected or 0 for record in records)
    return result


def test_a_fraction_is_the_same_events_in_any_file_chunk_and_container(tmp_path: Path) -> None:
    columns = canonical(np.arange(EVENTS), run=np.arange(EVENTS) // 100)
    write_root(tmp_path / "whole.root", columns)
    write_parquet(tmp_path / "whole.parquet", columns)
    for name, part in {"a": slice(0, 1500), "b": slice(1500, None)}.items():
        write_root(tmp_path / f"part_{name}.root", {k: v[part] for k, v in columns.items()})
    blinding = Blinding(policy="fraction")
    reference = seen(catalogue(tmp_path, "whole.root"), blinding)
    assert len(reference["seen"]) == pytest.approx(0.1 * EVENTS, abs=5 * np.sqrt(0.09 * EVENTS))
    for files, chunksize in (("whole.parquet", 10**6), ("part_*.root", 700), ("whole.root", 333)):
        again = seen(catalogue(tmp_path, files), blinding, chunksize=chunksize)
        assert again["seen"] == reference["seen"]
        assert again["energy"] == reference["energy"]
    rest = seen(catalogue(tmp_path, "whole.root"), Blinding(policy="exclude_fraction"))
    everything = seen(catalogue(tmp_path, "whole.root"))
    assert rest["seen"] == everything["seen"] - reference["seen"]
    assert rest["energy"] + reference["energy"] == pytest.approx(everything["energy"])
    other = seen(catalogue(tmp_path, "whole.root"), Blinding(policy="fraction", seed=1))
    assert other["seen"] != reference["seen"]


def test_signed_and_unsigned_event_numbers_are_blinded_alike(tmp_path: Path) -> None:
    numbers = np.arange(2**31 - 500, 2**31 + 500).astype(np.uint32)
    chosen = []
    for name, stored in {"new": numbers, "old": numbers.astype(np.int32)}.items():
        write_root(tmp_path / f"{name}.root", canonical(stored))
        made = catalogue(tmp_path, f"{name}.root")
        result = seen(made, Blinding(policy="fraction", fraction=0.5))
        chosen.append({event % 2**32 for _, event in result["seen"]})
    assert chosen[0] == chosen[1]


def test_events_are_chosen_without_bias() -> None:
    n = 200_000
    events = ak.Array(
        {"experiment": np.full(n, 3), "run": np.arange(n) // 1000, "event": np.arange(n)}
    )
    mask = visible(events, Blinding(policy="fraction", fraction=0.1), None)
    per_run = mask.reshape(-1, 1000).sum(axis=1)
    assert mask.mean() == pytest.approx(0.1, abs=5 * np.sqrt(0.09 / n))
    assert per_run.var() == pytest.approx(90, rel=0.5)
    # neighbours are independent
    both = (mask[1:] & mask[:-1]).mean()
    assert both == pytest.approx(0.01, abs=5 * np.sqrt(0.01 / n))


def test_only_data_are_blinded(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(100)))
    simulated = catalogue(tmp_path, "a.root", kind="background")
    assert len(seen(simulated, Blinding(policy="fraction"))["seen"]) == 100
    assert Reading.of(simulated.samples[0], Blinding(policy="full")).blinding is None


def test_a_sideband_is_what_the_processor_says(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(100)))
    made = catalogue(tmp_path, "a.root")
    result = seen(made, Blinding(policy="sideband"))
    assert result["seen"] == {(1, event) for event in range(0, 100, 2)}

    class Without(ProcessorABC):
        process = Collector.process
        postprocess = Collector.postprocess

    with pytest.raises(ConfigurationError, match="processor 'Without' defines no sideband"):
        process_files(Without(), open_catalogue(made), made, blinding=Blinding(policy="sideband"))


def test_blinding_needs_the_identity(tmp_path: Path) -> None:
    columns = canonical(np.arange(100))
    del columns["__run__"]
    write_root(tmp_path / "a.root", columns)
    with pytest.raises(MissingFieldError, match="no branch '__run__'; blinding and good runs"):
        seen(catalogue(tmp_path, "a.root"), Blinding(policy="fraction"))


def test_luminosity_fractions() -> None:
    shares = {
        policy: luminosity_fraction(Blinding(policy=policy, fraction=0.25))
        for policy in ("none", "fraction", "exclude_fraction", "sideband", "full")
    }
    assert shares == {
        "none": 1,
        "fraction": 0.25,
        "exclude_fraction": 0.75,
        "sideband": 1,
        "full": 1,
    }
    hidden = [policy for policy in shares if hides_signal_region(Blinding(policy=policy))]
    assert hidden == ["sideband", "full"]
    assert not visible(ak.Array({"event": [1, 2]}), Blinding(policy="full"), None).any()


def test_only_good_runs_are_seen(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(300), run=np.arange(300) // 100))
    (tmp_path / "good.csv").write_text("experiment,run\n7,0\n7,2\n8,1\n", "utf-8")
    (tmp_path / "lumi.csv").write_text("experiment,run,luminosity\n7,0,1\n7,1,1\n7,2,1\n", "utf-8")
    made = catalogue(
        tmp_path, "a.root", luminosity=None, luminosity_table="lumi.csv", good_runs="good.csv"
    )
    result = seen(made, chunksize=130)
    assert {run for run, _ in result["seen"]} == {0, 2}
    assert len(result["seen"]) == 200
    half = seen(made, Blinding(policy="fraction", fraction=0.5))
    assert half["seen"] < result["seen"]


@pytest.mark.parametrize(
    ("rule", "weight", "tracks"),
    [
        (None, 100.0, 300),
        ("weight", 50.0, 300),
        ({"branch": "weight"}, 50.0, 300),
        ({"per_track": 0.025}, 100 * 0.025**3, 0),
        ({"per_track": 0.025, "branch": "weight"}, 50 * 0.025**3, 0),
    ],
)
def test_event_weights(tmp_path: Path, rule: Any, weight: float, tracks: int) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(100), tracks=3))
    made = catalogue(tmp_path, "a.root", kind="background", event_weight=rule)
    result = seen(made, chunksize=30)
    assert result["weight"] == pytest.approx(weight, rel=1e-12)
    assert result["tracks"] == tracks


def test_lost_tracks_need_tracks(tmp_path: Path) -> None:
    columns = canonical(np.arange(10))
    del columns["track_p"]
    write_root(tmp_path / "a.root", columns)
    made = catalogue(tmp_path, "a.root", kind="background", event_weight={"per_track": 0.025})
    with pytest.raises(MissingFieldError, match="counts tracks, but the file has no branch"):
        seen(made)


def test_a_missing_weight_branch_is_named(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(10)))
    rule = {"per_track": 0.025, "branch": "wieght"}
    made = catalogue(tmp_path, "a.root", kind="background", event_weight=rule)
    with pytest.raises(MissingFieldError, match="branch 'wieght'; did you mean 'weight'"):
        seen(made)


def test_rules_are_part_of_what_checkpoints_are_keyed_by(tmp_path: Path) -> None:
    write_root(tmp_path / "a.root", canonical(np.arange(100)))
    made = catalogue(tmp_path, "a.root")
    folder = tmp_path / "checkpoints"
    first = seen(made, Blinding(policy="fraction"), checkpoints=folder)
    second = seen(made, Blinding(policy="exclude_fraction"), checkpoints=folder)
    assert first["seen"].isdisjoint(second["seen"])
    assert len(first["seen"] | second["seen"]) == 100
