"""Corrections of energies and weights: closed forms, reproducibility, and messages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from alp_coffea.errors import ConfigurationError
from alp_coffea.events.candidates import Acceptance, FlatPhotons, PhotonTriples
from alp_coffea.events.corrections import Corrections, EnergyTable, Variation, shifted_weights

RNG = np.random.default_rng(3)
COUNTS = RNG.integers(0, 6, 4000)
FLAT = {
    "E": RNG.uniform(0.2, 6.0, COUNTS.sum()),
    "theta": RNG.uniform(0.4, 2.5, COUNTS.sum()),
    "phi": RNG.uniform(-3, 3, COUNTS.sum()),
}
SMEARING = {"energy": [0.5, 5.0], "value": [0.02, 0.0]}


def chunk(kind: str, start: int = 0, stop: int | None = None, weight: str | None = None) -> Any:
    photons = ak.zip({name: ak.unflatten(values, COUNTS) for name, values in FLAT.items()})
    n = len(COUNTS)
    events = ak.zip(
        {
            "Photon": photons,
            "experiment": np.full(n, 3),
            "run": np.arange(n) // 100,
            "event": np.arange(n),
            "production": np.zeros(n, dtype=int),
            "weight": RNG.uniform(size=n) if weight else np.ones(n),
        },
        depth_limit=1,
    )[start:stop]
    events.attrs["metadata"] = {"kind": kind, "dataset": kind, "event_weight": weight, "mass": None}
    return _WithMetadata(events)


class _WithMetadata:
    """What a chunk of NanoEvents looks like to the corrections."""

    def __init__(self, events: ak.Array) -> None:
        self.events, self.metadata = events, events.attrs["metadata"]

    def __getitem__(self, name: str) -> ak.Array:
        return self.events[name]

    def __len__(self) -> int:
        return len(self.events)


def corrected(events: Any, **settings: Any) -> np.ndarray:
    corrections = Corrections.of(settings)
    return np.asarray(corrections.energies(FlatPhotons(events["Photon"]), events).E)


def test_nothing_is_corrected_by_default() -> None:
    for kind in ("data", "background"):
        np.testing.assert_array_equal(corrected(chunk(kind)), FLAT["E"])


def test_bias_is_for_data_and_follows_the_table() -> None:
    bias = {"energy": [1.0, 3.0], "value": [0.005, 0.001]}
    expected = FLAT["E"] * (1 + np.interp(FLAT["E"], [1.0, 3.0], [0.005, 0.001]))
    np.testing.assert_allclose(corrected(chunk("data"), energy_bias=bias), expected, rtol=1e-15)
    np.testing.assert_array_equal(corrected(chunk("signal"), energy_bias=bias), FLAT["E"])


def test_smearing_is_for_simulation_and_has_the_width_of_the_table() -> None:
    np.testing.assert_array_equal(corrected(chunk("data"), energy_smearing=SMEARING), FLAT["E"])
    ours = corrected(chunk("background"), energy_smearing=SMEARING)
    width = np.interp(FLAT["E"], [0.5, 5.0], [0.02, 0.0])
    moved = width > 0
    pull = (ours / FLAT["E"] - 1)[moved] / width[moved]
    n = moved.sum()
    assert abs(pull.mean()) < 4 / math.sqrt(n)
    assert pull.std() == pytest.approx(1, abs=4 / math.sqrt(2 * n))
    np.testing.assert_array_equal(ours[~moved], FLAT["E"][~moved])


def test_smearing_depends_on_seed_and_event_only() -> None:
    whole = corrected(chunk("background"), energy_smearing=SMEARING, seed=1)
    parts = [
        corrected(chunk("background", a, b), energy_smearing=SMEARING, seed=1)
        for a, b in ((0, 1), (1, 1700), (1700, None))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    other = corrected(chunk("background"), energy_smearing=SMEARING, seed=2)
    assert not np.isclose(whole, other, rtol=1e-9).any(where=FLAT["E"] < 4.9)


def test_everything_downstream_follows_the_energies() -> None:
    photons = FlatPhotons(chunk("data")["Photon"])
    scaled = photons.replaced(E=photons.E * 1.1)
    acceptance = Acceptance(0.1, (0.3, 2.6))
    before = PhotonTriples.choose(photons, acceptance)
    after = PhotonTriples.choose(scaled, acceptance)
    np.testing.assert_allclose(after.three_photon_mass, 1.1 * before.three_photon_mass, rtol=1e-14)
    # a threshold in the spectrum: scaled photons cross it
    tight = Acceptance(1.0, (0.3, 2.6))
    assert len(PhotonTriples.choose(scaled, tight)) > len(PhotonTriples.choose(photons, tight))


def test_photon_efficiency_weighs_events_with_three_photons() -> None:
    events = chunk("background", weight="weight")
    photons = FlatPhotons(events["Photon"])
    triples = PhotonTriples.choose(photons, Acceptance(0.1, (0.3, 2.6)))
    corrections = Corrections.of(
        {
            "photon_efficiency": {"energy": [1.0], "value": [-0.02]},
            "photon_efficiency_error": {"energy": [1.0], "value": [0.01]},
        }
    )
    weights = corrections.weights(events, triples)
    generator = ak.to_numpy(events["weight"])
    has_triple = triples.in_chunk
    expected = generator * np.where(has_triple, 0.98**3, 1.0)
    np.testing.assert_allclose(weights.weight(), expected, rtol=1e-14)
    shifted = shifted_weights(weights)
    assert list(shifted) == ["photon_efficiency_down", "photon_efficiency_up"]
    up = generator * np.where(has_triple, 0.99**3, 1.0)
    np.testing.assert_allclose(shifted["photon_efficiency_up"], up, rtol=1e-14)
    down = generator * np.where(has_triple, 0.97**3, 1.0)
    np.testing.assert_allclose(shifted["photon_efficiency_down"], down, rtol=1e-14)


def test_tables_are_constant_beyond_their_ends() -> None:
    table = EnergyTable(energy=(1.0, 2.0), value=(0.1, 0.3))
    np.testing.assert_allclose(table([0.5, 1.0, 1.5, 2.0, 9.0]), [0.1, 0.1, 0.2, 0.3, 0.3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"energy_bia": None}, "energy_bia: unknown key; did you mean 'energy_bias'"),
        ({"energy_bias": {"energy": [1.0], "value": [0.1, 0.2]}}, "1 energies but 2 values"),
        ({"energy_bias": {"energy": [2.0, 1.0], "value": [0.1, 0.2]}}, "energies must increase"),
        ({"energy_bias": {"file": "no_such.json", "name": "x"}}, "no_such.json cannot be read"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Corrections.of(settings)


def correction_file(folder: Path, inputs: list[str]) -> Path:
    path = folder / "bias.json"
    content = {
        "schema_version": 2,
        "corrections": [
            {
                "name": "bias",
                "version": 1,
                "inputs": [{"name": name, "type": "real"} for name in inputs],
                "output": {"name": "shift", "type": "real"},
                "data": {
                    "nodetype": "formula",
                    "expression": "0.004/x",
                    "parser": "TFormula",
                    "variables": inputs[:1],
                },
            }
        ],
    }
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_a_correctionlib_file_is_evaluated_at_the_energies(tmp_path: Path) -> None:
    path = correction_file(tmp_path, ["energy"])
    ours = corrected(chunk("data"), energy_bias={"file": str(path), "name": "bias"})
    np.testing.assert_allclose(ours, FLAT["E"] + 0.004, rtol=1e-12)
    with pytest.raises(ConfigurationError, match="no correction 'bia'; did you mean 'bias'"):
        Corrections.of({"energy_bias": {"file": str(path), "name": "bia"}})
    broken = tmp_path / "broken.json"
    broken.write_text("{}", "utf-8")
    with pytest.raises(ConfigurationError, match="broken.json is no correctionlib JSON"):
        Corrections.of({"energy_bias": {"file": str(broken), "name": "bias"}})
    two = correction_file(tmp_path, ["energy", "theta"])
    with pytest.raises(ConfigurationError, match="takes energy, theta; the photon energy must be"):
        Corrections.of({"energy_bias": {"file": str(two), "name": "bias"}})


def test_variation_names() -> None:
    variation = Variation("photon_theta", "down", "weight")
    assert (variation.name, variation.sign, variation.correlated) == ("photon_theta_down", -1, True)
