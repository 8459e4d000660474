"""Results survive being written down, to the last bit."""

from __future__ import annotations

import math
import pickle
from typing import Any

import hist
import numpy as np
import pytest
from coffea.processor import column_accumulator, defaultdict_accumulator, set_accumulator
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.errors import ProcessorError
from alp_coffea.events.selection import Cutflow, Selection
from alp_coffea.execution.encoding import decode, encode, restored, unpacked

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(plain)
def test_plain_data_come_back_equal_and_of_the_same_type(value: Any) -> None:
    assert decode(encode(value)) == value
    assert repr(decode(encode(value))) == repr(value)


STORAGES = [
    hist.storage.Double(),
    hist.storage.Int64(),
    hist.storage.AtomicInt64(),
    hist.storage.Unlimited(),
    hist.storage.Weight(),
    hist.storage.Mean(),
    hist.storage.WeightedMean(),
]


def filled(storage: hist.storage.Storage, categories: list[str], seed: int) -> hist.Hist:
    histogram = hist.Hist(
        hist.axis.StrCategory([], name="category", growth=True, label="a label"),
        hist.axis.IntCategory([3, 5], name="code"),
        hist.axis.Regular(40, 1, 100, name="x", transform=hist.axis.transform.log),
        hist.axis.Variable([0, 1, 5], name="y", overflow=False),
        hist.axis.Boolean(name="flag"),
        storage=storage,
    )
    random = np.random.default_rng(seed)
    kind = type(storage).__name__
    options: dict[str, Any] = {}
    if "Mean" in kind:
        options["sample"] = random.normal(size=7)
    if kind in ("Double", "Weight", "WeightedMean", "Unlimited"):
        options["weight"] = random.normal(size=7)
    for category in categories:
        histogram.fill(
            category=category,
            code=random.integers(2, 7, size=7),
            x=random.uniform(0, 120, size=7),
            y=random.uniform(-1, 7, size=7),
            flag=random.integers(0, 2, size=7).astype(bool),
            **options,
        )
    return histogram


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: type(s).__name__)
def test_every_storage_and_axis_comes_back_exactly(storage: hist.storage.Storage) -> None:
    before = filled(storage, ["b", "a"], seed=1)
    after = decode(encode({"h": before}))["h"]
    assert type(after) is hist.Hist
    assert after == before
    assert np.asarray(after.view(True)).tobytes() == np.asarray(before.view(True)).tobytes()
    assert [axis.name for axis in after.axes] == [axis.name for axis in before.axes]
    assert after.axes[0].label == "a label"
    # whether variances mean anything is remembered too
    assert (after.variances() is None) == (before.variances() is None)
    # and both grow and add alike
    other = filled(storage, ["c", "a"], seed=2)
    assert after + other == before + other


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("categories", [["b", "a"], ["a", "b"], ["c"]])
def test_stored_histograms_add_as_histograms_do(
    storage: hist.storage.Storage, categories: list[str]
) -> None:
    one, two = filled(storage, ["b", "a"], seed=1), filled(storage, categories, seed=2)
    three = filled(storage, ["a", "d"], seed=3)
    before = encode([one])
    first, second, third = (unpacked(encode([h]))[0] for h in (one, two, three))
    total = first + second
    total += third
    expected = one + two + three
    after = total.histogram()
    assert after == expected
    bits = (np.asarray(h.view(True)).tobytes() for h in (after, expected))
    assert next(bits) == next(bits)
    # and down to disk and back without being put together
    assert decode(encode({"h": total}))["h"] == expected
    assert encode([first]) == before  # what was added to is untouched


def test_counts_are_their_own_variances_in_one_chunk_or_many() -> None:
    def counts() -> hist.Hist:
        return hist.Hist(hist.axis.Regular(3, 0, 3, name="x")).fill([0.5, 0.6, 1.5])

    total = unpacked(encode([counts()]))[0] + unpacked(encode([counts()]))[0]
    (after,) = restored([total])
    assert after.variances().tolist() == [4, 2, 0]
    weighted = counts().fill([0.5], weight=0.3)
    total += unpacked(encode([weighted]))[0]
    assert total.histogram().variances() is None


def test_nan_negative_zero_and_large_sparse_arrays_keep_their_bits() -> None:
    array = np.zeros((1000, 3))
    array[5, 1], array[999, 2], array[7, 0] = math.nan, -0.0, 1e-300
    data = encode({"a": array})
    assert len(data) < 500
    assert decode(data)["a"].tobytes() == array.tobytes()
    assert decode(data)["a"].flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype="i2").reshape(3, 4).T,
        np.array([], dtype="f4"),
        np.array(["ab", "c"]),
        np.array([1 + 2j]),
        np.zeros((0, 5)),
        np.full(3000, 7, dtype="u8"),
    ],
)
def test_arrays_keep_dtype_shape_and_content(array: np.ndarray) -> None:
    after = decode(encode([array]))[0]
    assert (after.dtype, after.shape) == (array.dtype, array.shape)
    assert np.array_equal(after, array)


def test_accumulators_and_cutflows() -> None:
    cutflow = Cutflow()
    Selection(cutflow, "flow", weight=[0.1, 0.2]).cut("cut", np.array([True, False]))
    counts = defaultdict_accumulator(int)
    counts["a"] += 2
    value = {
        "cutflow": cutflow,
        "counts": counts,
        "runs": set_accumulator([3, 1]),
        "columns": column_accumulator(np.array([1.0, 2.0])),
        "tuple": (1, "a", None),
        "scalar": np.float32(0.1),
        ("a", 1): {1.5, "x"},
        "complex": 1j,
    }
    after = decode(encode(value))
    assert list(after["cutflow"]) == list(cutflow)
    assert after["counts"] == {"a": 2}
    assert after["runs"] == {1, 3}
    assert (after["columns"] + after["columns"]).value.tolist() == [1.0, 2.0, 1.0, 2.0]
    assert after["tuple"] == (1, "a", None)
    assert type(after["scalar"]) is np.float32
    assert after["scalar"] == value["scalar"]
    assert after["a", 1] == {1.5, "x"}
    assert after["complex"] == 1j


def test_equal_results_are_equal_bytes_whatever_order_a_set_has() -> None:
    names = [f"name {i}" for i in range(50)]
    assert encode(set(names)) == encode(dict.fromkeys(reversed(names)).keys())


def test_what_cannot_be_written_down_is_named_with_its_place() -> None:
    with pytest.raises(ProcessorError, match=r"result\['a'\]\[1\] is a builtins.object"):
        encode({"a": [1, object()]})
    with pytest.raises(ProcessorError, match=r"result\['a'\] is an array of object"):
        encode({"a": np.array([object()])})


def test_it_is_no_pickle() -> None:
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(encode({"a": 1}))
