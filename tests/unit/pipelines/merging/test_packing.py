from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.merging.packing import pack, parts


@dataclass(frozen=True)
class Of:
    """Something of a size; ``at`` tells it from others of the same."""

    at: int
    size: int


sizes = st.lists(st.integers(0, 300), max_size=40)


def items(some: list[int]) -> list[Of]:
    return [Of(at, size) for at, size in enumerate(some)]


@given(some=sizes, target=st.integers(1, 400))
def test_order_is_kept_and_nothing_is_lost(some: list[int], target: int) -> None:
    runs = pack(items(some), target)
    assert [each for run in runs for each in run] == items(some)
    assert all(runs)


@given(some=sizes, target=st.integers(1, 400))
def test_no_run_is_larger_than_it_is_said(some: list[int], target: int) -> None:
    """One and a half times the target, and half an item at each end."""
    for run in pack(items(some), target):
        edges = (run[0].size + run[-1].size) / 2 if len(run) > 1 else run[0].size
        assert sum(each.size for each in run) <= 1.5 * target + edges


@given(some=st.lists(st.integers(1, 50), min_size=1, max_size=60), target=st.integers(100, 400))
def test_runs_of_small_items_are_about_equal(some: list[int], target: int) -> None:
    found = [sum(each.size for each in run) for run in pack(items(some), target)]
    assert len(found) == parts(sum(some), target)
    assert max(found) - min(found) <= 2 * 50


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        ([], []),
        ([0, 0], [[0, 0]]),
        ([150], [[150]]),
        ([100, 50], [[100, 50]]),
        ([100, 51], [[100], [51]]),
        ([500, 1, 1], [[500], [1, 1]]),
        ([1, 1, 500], [[1, 1], [500]]),
        ([90] * 6, [[90], [90], [90, 90], [90], [90]]),
    ],
)
def test_small_cases(some: list[int], expected: list[list[int]]) -> None:
    assert [[each.size for each in run] for run in pack(items(some), 100)] == expected
