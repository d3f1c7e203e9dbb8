from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipelines import tally
from pipelines.counting import CountOutput, CountWork
from pipelines.step import Outcome
from transforms.kernel import Split

COUNTS = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), st.integers(-5, 5), max_size=4
).map(Counter)


@given(st.lists(COUNTS, max_size=5), st.randoms())
def test_tallies_add_up_in_any_order(tallies: list[Any], random: Any) -> None:
    shuffled = random.sample(tallies, len(tallies))
    total = tally.add(tallies)
    assert total == tally.add(shuffled)
    assert all(total[key] == sum(each[key] for each in tallies) for key in total)


def test_a_stage_counts_rows_and_microseconds() -> None:
    assert tally.of_stage("filters", 5, 3, 2, 0.25) == {
        ("stage", "filters", "in"): 5,
        ("stage", "filters", "passed"): 3,
        ("stage", "filters", "rejected"): 2,
        ("stage", "filters", "microseconds"): 250_000,
    }


def test_rejections_are_counted_by_filter_and_code(
    rejected: Callable[[list[tuple[int, str]]], pl.DataFrame],
) -> None:
    assert tally.of_rejections(rejected([(0, "A"), (1, "B"), (2, "A")])) == {
        ("rejected", "QUALITY", "worth-it", "A"): 2,
        ("rejected", "QUALITY", "worth-it", "B"): 1,
    }
    assert tally.of_rejections(rejected([])) == {}


def test_scores_are_counted_by_twentieths_and_one_is_in_the_last() -> None:
    frame = pl.DataFrame({"score.m": [0.0, 0.049, 0.05, 0.5, 0.99, 1.0]})
    assert tally.of_scores(frame, ["m"]) == {
        ("score", "m", "0"): 2,
        ("score", "m", "1"): 1,
        ("score", "m", "10"): 1,
        ("score", "m", "19"): 2,
    }
    assert tally.of_scores(frame.clear(), ["m"]) == {}


def test_labels_are_counted_by_value() -> None:
    frame = pl.DataFrame({"band": ["high", "low", "high", None]})
    assert tally.of_labels(frame, ["band"]) == {
        ("label", "band", "None"): 1,
        ("label", "band", "high"): 2,
        ("label", "band", "low"): 1,
    }


def outcome(rejected: Any) -> Outcome:
    passed = pl.DataFrame({"score.worth": [0.5, 0.5]})
    stages = tally.of_stage("filters", 4, 2, 2, 0.5) + tally.of_stage("score:worth", 2, 2, 0, 0.25)
    lost = rejected([(2, "TOO_CHEAP"), (3, "DUPLICATE_IN_WINDOW")])
    return Outcome(4, Split(passed, lost), stages)


def test_an_output_is_counted_in_balance(program: Any, rejected: Any) -> None:
    counted = CountOutput(program())(outcome(rejected))
    assert counted[tally.READ] == 4
    assert (counted[tally.WRITTEN], counted[tally.DEDUPLICATED]) == (2, 1)
    assert counted["rejected", "QUALITY", "worth-it", "TOO_CHEAP"] == 1
    assert counted["score", "worth", "10"] == 2
    assert counted["stage", "filters", "in"] == 4


def test_the_first_pass_counts_its_seconds_and_no_row(rejected: Any) -> None:
    assert CountWork()(outcome(rejected)) == {("stage", "first pass", "microseconds"): 750_000}
