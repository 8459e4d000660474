"""The canonical layout as collections, from TTree and parquet."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory

from alp_coffea.events.schema import AlpSchema
from alp_coffea.physics import SUPERKEKB


@pytest.fixture
def table() -> dict[str, ak.Array]:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 5, 200)
    total = int(counts.sum())

    def jagged(values: np.ndarray) -> ak.Array:
        return ak.unflatten(values, counts)

    return {
        "__experiment__": np.full(200, 3, "i4"),
        "__run__": np.arange(200, dtype="i4") // 50,
        "__event__": np.arange(200, dtype="i4"),
        "__production__": np.zeros(200, "i4"),
        "weight": np.ones(200),
        "gamma": ak.zip(
            {
                "E": jagged(rng.uniform(0.1, 7, total)),
                "theta": jagged(rng.uniform(0.3, 2.6, total)),
                "phi": jagged(rng.uniform(-3, 3, total)),
            }
        ),
    }


def open_root(table: dict[str, ak.Array], folder: Path) -> ak.Array:
    path = folder / "x.root"
    with uproot.recreate(path) as file:
        types = {k: v.dtype if isinstance(v, np.ndarray) else v.type for k, v in table.items()}
        file.mktree("events", types, counter_name=lambda c: f"n_{c}")
        file["events"].extend(table)
    source = {str(path): "events"}
    return NanoEventsFactory.from_root(source, schemaclass=AlpSchema, mode="virtual").events()


def open_parquet(table: dict[str, ak.Array], folder: Path) -> ak.Array:
    path = folder / "x.parquet"
    flat = {name: column for name, column in table.items() if name != "gamma"}
    flat |= {f"gamma_{name}": table["gamma"][name] for name in table["gamma"].fields}
    ak.to_parquet(ak.zip(flat, depth_limit=1), path)
    return NanoEventsFactory.from_parquet(str(path), schemaclass=AlpSchema, mode="virtual").events()


@pytest.mark.parametrize("opener", [open_root, open_parquet])
def test_collections_and_identity(opener, table: dict[str, ak.Array], tmp_path: Path) -> None:
    events = opener(table, tmp_path)
    assert events.Photon.fields == ["E", "theta", "phi"]
    assert ak.all(events.Photon.E == table["gamma"].E)
    assert ak.all(events.run == table["__run__"])
    assert {"experiment", "event", "production", "weight"} <= set(events.fields)


def test_photon_behaviour(table: dict[str, ak.Array], tmp_path: Path) -> None:
    photons = open_root(table, tmp_path).Photon
    assert ak.all(abs(photons.p4.E - photons.E) < 1e-12)
    assert ak.all(abs(photons.p4.theta - photons.theta) < 1e-12)
    s, sqrt_s = SUPERKEKB.s, SUPERKEKB.sqrt_s
    expected = s - 2 * sqrt_s * photons.E_cm(SUPERKEKB)
    assert ak.all(abs(photons.recoil_mass2(SUPERKEKB) - expected) < 1e-10)
    # the boost and rotation of every photon, done with vector's own four-vectors
    p4 = ak.flatten(photons.p4)
    lab = np.stack([ak.to_numpy(x) for x in (p4.E, p4.px, p4.py, p4.pz)], axis=-1)
    assert np.allclose(ak.flatten(photons.E_cm(SUPERKEKB)), SUPERKEKB.to_cm(lab)[:, 0], rtol=1e-12)
