"""Skims hold the selected events, once, with all that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from alp_coffea.config import load_catalogue
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
