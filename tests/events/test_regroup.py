from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.events.conversion.columns import recognise, resolve
from alp_coffea.events.conversion.regroup import distinct_objects, event_starts


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    width=st.integers(1, 4),
    values=st.integers(1, 6),
)
def test_distinct_objects_against_dictionaries(seed, rows, width, values):
    rng = np.random.default_rng(seed)
    event = np.sort(rng.integers(0, 8, rows))
    pool = np.append(rng.normal(size=values), np.nan)
    key = rng.integers(0, len(pool), (2, width, rows))
    slots = {"E": list(pool[key[0]]), "theta": list(pool[key[1]])}
    starts = event_starts([event])
    got = distinct_objects(starts, slots, key=("E", "theta"))

    expected, counts = [], []
    for number in dict.fromkeys(event.tolist()):
        seen = {}
        for row in np.flatnonzero(event == number):
            for slot in range(width):
                seen.setdefault((key[0, slot, row], key[1, slot, row]))
        expected += list(seen)
        counts.append(len(seen))
    assert got.counts.tolist() == counts
    np.testing.assert_array_equal(got.columns["E"], pool[[e for e, _ in expected]])
    np.testing.assert_array_equal(got.columns["theta"], pool[[t for _, t in expected]])


def test_disagreeing_copies_are_found():
    slots = {"id": [np.array([1.0, 1.0])], "E": [np.array([2.0, 3.0])], "x": [np.ones(2)]}
    one = distinct_objects(np.array([0]), slots, key=["id"], same=["x", "E"])
    assert (one.differing, one.counts.tolist()) == ("E", [1])
    two = distinct_objects(np.array([0, 1]), slots, key=["id"], same=["x", "E"])
    assert (two.differing, two.counts.tolist()) == (None, [1, 1])


def test_event_starts():
    assert event_starts([np.array([1, 1, 2, 2, 1]), np.array([0, 0, 0, 1, 1])]).tolist() == [
        0, 2, 3, 4,
    ]  # fmt: skip
    assert event_starts([np.empty(0)]).tolist() == []


DAUGHTERS = [f"daughter__bo0__cm__spdaughter__bo{i}__cm__sp{{}}__bc__bc" for i in (0, 1)]
PHOTON = ("E", "theta", "phi", "clusterTiming")


@pytest.mark.parametrize(
    ("columns", "slots"),
    [
        (
            [f"{p}_{v}" for p in ("ALP_gamma1", "ALP_gamma2", "recoil") for v in PHOTON],
            ("ALP_gamma1_E", "ALP_gamma2_E", "recoil_E"),
        ),
        # stray columns make no object
        (
            [f"gamma{i}_{v}" for i in range(3) for v in PHOTON]
            + ["gamma0_gamma1_angle", "gamma7_count"],
            ("gamma0_E", "gamma1_E", "gamma2_E"),
        ),
        # the composite daughter also has E, theta and phi
        (
            [template.format(v) for template in DAUGHTERS for v in PHOTON]
            + [f"daughter__bo{i}__cm__sp{v}__bc" for i in (0, 1) for v in ("E", "theta", "phi")],
            (
                DAUGHTERS[0].format("E"),
                DAUGHTERS[1].format("E"),
                "daughter__bo1__cm__spE__bc",
            ),
        ),
        # ten or more objects are ordered by number
        (
            [f"gamma{i}_{v}" for i in range(11) for v in PHOTON],
            tuple(f"gamma{i}_E" for i in range(11)),
        ),
    ],
)  # fmt: skip
def test_conventions(columns, slots):
    fields = recognise(columns)
    assert resolve(fields, columns, where="f").collections["Photon"]["E"] == slots


def test_tracks_of_candidates():
    columns = [f"{lepton}_{v}" for lepton in ("ep", "em") for v in ("p", "theta", "phi", "dr")]
    columns += [f"ALP_gamma{i}_{v}" for i in (0, 1) for v in PHOTON]
    resolved = resolve(recognise(columns), columns, where="f").collections
    assert resolved["Track"]["dr"] == ("ep_dr", "em_dr")
    assert resolved["Photon"]["E"] == ("ALP_gamma0_E", "ALP_gamma1_E")


def test_nothing_recognised():
    assert recognise(["x", "jet_pt", "__event__"]) == {}


def test_wide_ntuples_are_recognised_quickly():
    columns = [f"gamma{i}_v{n}" for i in range(3) for n in range(1000)]
    columns += [f"gamma{i}_{v}" for i in range(3) for v in PHOTON]
    start = time.process_time()
    assert recognise(columns) == {"Photon.*": ("gamma{i}_*",)}
    assert time.process_time() - start < 3
