"""Searching for bad entries: every one is found, few tasks are spent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.execution.bisection import Bisection


def search(start: int, stop: int, bad: set[int]) -> tuple[list[tuple[int, int]], set[int], int]:
    """Blamed ranges, entries that were processed, and the number of trials."""
    bisection = Bisection(start, stop)
    good: set[int] = set()
    trials = 0
    while parts := bisection.next_parts():
        for part in parts:
            trials += 1
            entries = set(range(*part))
            works = not entries & bad
            if works:
                assert not entries & good  # nothing twice
                good |= entries
            bisection.book(part, works)
    return bisection.bad(), good, trials


@given(st.integers(0, 1000), st.integers(1, 2000), st.data())
def test_every_entry_is_either_processed_or_blamed(start: int, length: int, data: st.Data) -> None:
    stop = start + length
    bad = data.draw(st.sets(st.integers(start, stop - 1), min_size=1, max_size=5))
    blamed, good, _ = search(start, stop, bad)
    entries = [n for part in blamed for n in range(*part)]
    assert len(entries) == len(set(entries))
    assert set(entries) | good == set(range(start, stop))
    assert not set(entries) & good
    assert bad <= set(entries)


def edges(bad: range) -> tuple[list[tuple[int, int]], int]:
    """Blamed ranges of a chunk of 250 000 entries, and the number of trials."""
    bisection = Bisection(0, 250_000)
    trials = 0
    while parts := bisection.next_parts():
        for start, stop in parts:
            trials += 1
            bisection.book((start, stop), start >= bad.stop or stop <= bad.start)
    return bisection.bad(), trials


@given(st.integers(0, 249_999))
def test_a_single_bad_entry_is_found_exactly(bad: int) -> None:
    blamed, trials = edges(range(bad, bad + 1))
    assert blamed == [(bad, bad + 1)]
    assert trials <= 2 * 18  # 2^18 > 250 000


@given(st.integers(0, 200_000), st.integers(1, 50_000))
def test_the_edges_of_a_damaged_basket_are_found_exactly(first: int, length: int) -> None:
    blamed, trials = edges(range(first, first + length))
    assert blamed == [(first, first + length)]
    assert trials < 100


def test_a_chunk_without_a_readable_entry_costs_few_trials() -> None:
    blamed, trials = edges(range(250_000))
    assert blamed == [(0, 250_000)]
    assert trials < 100
