"""The simulation writes the same events in all three layouts: converting must undo it."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

from alp_coffea.conversion_settings import ConversionSettings
from alp_coffea.events.conversion.convert import convert
from alp_coffea.inspection import inspect_file
from alp_coffea.simulation import write_sample

EVENTS = 400


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    for layout in ("canonical", "event_trees", "candidates"):
        write_sample(folder / f"{layout}.root", "signal", EVENTS, seed=4, mass=2.0, layout=layout)
    return folder


@pytest.fixture(scope="module")
def canonical(written):
    with uproot.open(written / "canonical.root") as file:
        return file["events"].arrays()


def same(got, expected):
    assert ak.num(got).to_list() == ak.num(expected).to_list()
    np.testing.assert_array_equal(
        ak.flatten(got).to_numpy(), ak.flatten(expected).to_numpy().astype(float)
    )


def test_list_trees_are_the_canonical_events(written, canonical):
    convert([written / "event_trees.root"], written / "a.parquet")
    got = ak.from_parquet(written / "a.parquet")
    compared = 0
    for name in canonical.fields:
        if name.startswith("n_"):
            continue  # counters
        if canonical[name].ndim == 1:
            np.testing.assert_array_equal(got[name], canonical[name])
        else:
            same(got[name], canonical[name])
        compared += 1
    assert compared > 20


def test_candidate_rows_are_the_photons_of_their_events(written, canonical):
    report = convert([written / "candidates.root"], written / "b.parquet")
    got = ak.from_parquet(written / "b.parquet")
    assert 0.4 * EVENTS < len(got) < EVENTS
    assert report.columns["gamma_E"] == ("ALP_gamma0_E", "ALP_gamma1_E", "recoil_E")
    original = canonical[np.isin(canonical["__event__"], got["__event__"])]
    for name in ("__event__", "__run__", "__experiment__", "__production__", "weight"):
        np.testing.assert_array_equal(got[name], original[name])
    # photons in a candidate are photons of the event, all their columns together
    fields = [name for name in canonical.fields if name.startswith("gamma_")]
    for new, old in zip(got[fields].to_list(), original[fields].to_list(), strict=True):
        photons = {tuple(str(old[f][i]) for f in fields) for i in range(len(old["gamma_E"]))}
        found = [tuple(str(float(new[f][i])) for f in fields) for i in range(len(new["gamma_E"]))]
        known = {tuple(str(float(v)) for v in photon) for photon in photons}
        assert len(set(found)) == len(found) >= 3
        assert set(found) <= known


def test_inspection_finds_what_the_processor_needs(written):
    for layout in ("canonical", "event_trees"):
        (one,) = inspect_file(written / f"{layout}.root").inputs
        assert one.missing["strahlung"] == ()
    (rows,) = inspect_file(written / "candidates.root").inputs
    lacking = {item.field for item in rows.missing["strahlung"]}
    assert lacking == {"Track.dr", "Track.dz", "Track.nCDCHits"}
    declared = ConversionSettings(fields={field: [] for field in lacking})
    convert([written / "candidates.root"], written / "c.parquet", declared)
    (converted,) = inspect_file(written / "c.parquet").inputs
    assert converted.missing["strahlung"] == ()
