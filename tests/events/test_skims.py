"""Skims hold the selected events, once, with all that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from ntuples import catalogue, write_root

from alp_coffea.config import Blinding, load_catalogue
from alp_coffea.errors import ConfigurationError, InputError, MissingFieldError
from alp_coffea.events.datasets import open_catalogue
from alp_coffea.events.skims import SkimSettings, read_skim, write_index
from alp_coffea.execution import load_processor, process_files
from alp_coffea.physics import SUPERKEKB

SAMPLES = ("signal_3.0000", "pseudo_data")


def skim(
    small_input: Path, folder: Path, chunksize: int = 3000, **settings: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    catalogue = load_catalogue(small_input / "input" / "catalogue.yaml")
    records = [r for r in open_catalogue(catalogue) if r.sample in SAMPLES]
    options = {"skim": {"folder": str(folder), **settings}}
    processor = load_processor("strahlung", options, beams=SUPERKEKB)
    output = process_files(processor, records, catalogue, chunksize=chunksize)
    write_index(folder, [line for part in output.values() for line in part["skim"]])
    return output, {record.sample: record for record in records}


def test_rows_are_the_selected_events_with_their_columns(small_input: Path, tmp_path: Path) -> None:
    output, records = skim(
        small_input, tmp_path, columns=["Photon.E"], truth_columns=["Photon.mcE"]
    )
    for sample, record in records.items():
        events = read_skim(tmp_path, sample)
        assert len(events) == output[sample]["selected"] == record.selected > 100
        with uproot.open(record.path) as file:
            source = file["events"].arrays(["__run__", "__event__", "gamma_E"])
        energies = {(row["__run__"], row["__event__"]): row["gamma_E"] for row in source.to_list()}
        for row in events.to_list():
            assert row["gamma_E"] == energies[row["__run__"], row["__event__"]]
        assert ("gamma_mcE" in events.fields) == (sample == "signal_3.0000")
        # in both energy sets or only in the one with the lower threshold
        assert ak.all(events["triple_E"][:, 2] >= 0.65)
        histogram = output[sample]["histograms"]["mass"].project("energy_set", "definition", "mass")
        spectrum = histogram[{"energy_set": "high_mass", "definition": "diphoton"}]
        masses = ak.to_numpy(ak.flatten(events["triple_diphoton_mass"]))
        np.testing.assert_array_equal(
            np.histogram(masses, spectrum.axes[0].edges)[0], spectrum.values()
        )


def test_chunks_do_not_matter(small_input: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    skim(small_input, one, chunksize=1000)
    skim(small_input, two, chunksize=100_000)
    for sample in SAMPLES:
        assert ak.to_list(read_skim(one, sample)) == ak.to_list(read_skim(two, sample))


def test_only_indexed_files_belong_to_the_skim(small_input: Path, tmp_path: Path) -> None:
    first, _ = skim(small_input, tmp_path, chunksize=1000)
    # other chunks: the files of the first run stay, and count no more
    second, _ = skim(small_input, tmp_path, chunksize=3000)
    for sample in SAMPLES:
        assert len(read_skim(tmp_path, sample)) == first[sample]["selected"]
    index = json.loads((tmp_path / "index.json").read_text("utf-8"))
    assert index["rows"] == {s: second[s]["selected"] for s in SAMPLES}


def test_looser_selections_hold_the_final_one(small_input: Path, tmp_path: Path) -> None:
    identities = {}
    for selection in ("final", "loose", "preselection"):
        output, _ = skim(small_input, tmp_path / selection, selection=selection)
        events = read_skim(tmp_path / selection, "signal_3.0000", ["__event__"])
        identities[selection] = set(ak.to_list(events["__event__"]))
        if selection == "preselection":
            steps = output["signal_3.0000"]["cutflow"].steps("preselection")
            assert steps[-1].events == len(identities[selection])
    assert identities["final"] < identities["loose"]
    assert len(identities["final"] - identities["preselection"]) < 0.01 * len(identities["final"])


def back_to_back_with_a_late_cluster(folder: Path) -> Path:
    """One event of data: three photons of the signal region, and a later, harder cluster."""
    energies, directions = SUPERKEKB.sqrt_s / 3, np.array([0.4, 0.4 + 2.0944, 0.4 - 2.0944])
    # a plane of three photons across the beam in the centre-of-mass frame
    momenta = [[1.0, np.cos(phi), np.sin(phi), 0.0] for phi in directions]
    lab = SUPERKEKB.to_lab(np.array(momenta) * energies)
    theta = np.arctan2(np.hypot(lab[:, 1], lab[:, 2]), lab[:, 3])
    gamma = {
        "E": [*lab[:, 0], 4.5],
        "theta": [*theta, 1.2],
        "phi": [*np.arctan2(lab[:, 2], lab[:, 1]), 0.45],
        "clusterNHits": [9.0] * 4,
        "clusterZernikeMVA": [1.0] * 4,
        "clusterTiming": [0.0, 0.0, 0.0, 500.0],
        "clusterErrorTiming": [5.0] * 4,
    }
    columns: dict[str, Any] = {
        f"__{name}__": np.ones(1, np.int32) for name in ("experiment", "run", "event", "production")
    }
    columns |= {f"gamma_{name}": ak.Array([values]) for name, values in gamma.items()}
    columns |= {
        f"track_{name}": ak.values_astype(ak.Array([[]]), np.float64)
        for name in ("dr", "dz", "nCDCHits", "theta")
    }
    return write_root(folder / "late.root", columns)


@pytest.mark.parametrize("policy", ["none", "sideband"])
def test_a_skim_of_blinded_data_holds_no_triple_of_the_signal_region(
    tmp_path: Path, policy: Any
) -> None:
    # the three most energetic photons are outside the window, those that are in time inside
    made = catalogue(tmp_path, str(back_to_back_with_a_late_cluster(tmp_path)))
    options = {"skim": {"folder": str(tmp_path / "skim"), "selection": "preselection"}}
    processor = load_processor("strahlung", options, beams=SUPERKEKB)
    output = process_files(processor, open_catalogue(made), made, blinding=Blinding(policy=policy))[
        "data"
    ]
    steps = {step.cut: step.events for step in output["cutflow"].steps("loose")}
    write_index(tmp_path / "skim", output["skim"])
    mass = ak.to_numpy(read_skim(tmp_path / "skim", "data")["triple_three_photon_mass"])
    inside = (mass > 0.88 * SUPERKEKB.sqrt_s) & (mass < 1.03 * SUPERKEKB.sqrt_s)
    if policy == "none":
        assert (steps["three_photons"], inside.tolist()) == (1, [True])
        assert output["cutflow"].steps("high_mass")[-1].events == 0
    else:
        assert len(mass) == 0


def test_what_is_missing_is_named(small_input: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="colums: unknown key; did you mean 'columns'"):
        SkimSettings.of({"folder": "x", "colums": []})
    with pytest.raises(InputError, match="no finished skim"):
        read_skim(tmp_path, "ggg")
    output, _ = skim(small_input, tmp_path)
    with pytest.raises(InputError, match=r"no sample 'ggg' \(has pseudo_data, signal_3.0000\)"):
        read_skim(tmp_path, "ggg")
    line = output["signal_3.0000"]["skim"][0]
    (tmp_path / line["file"]).unlink()
    with pytest.raises(InputError, match="is missing; process again with --fresh"):
        write_index(tmp_path, output["signal_3.0000"]["skim"])
    with pytest.raises(MissingFieldError, match="no 'Photon.nothing'.* are 'truth_columns'"):
        skim(small_input, tmp_path, truth_columns=["Photon.nothing"])
