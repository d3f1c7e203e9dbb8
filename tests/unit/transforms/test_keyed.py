from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import Capacity, Dedupe
from transforms import keyed
from transforms.keyed import DUPLICATE, OVER_CAPACITY, VERDICT_SCHEMA

HOUR = 3_600_000
DEDUPE = Dedupe(window_hours=2)
CAPACITY = Capacity(per_customer=2, score="response")
THIN = {
    "customerId": pl.String,
    "subjectId": pl.String,
    "eventDate": pl.Int64,
    "order.0": pl.Int64,
    "unit": pl.Int32,
    "entry": pl.UInt32,
    "split": pl.UInt32,
    "_row": pl.UInt32,
    "score": pl.Float64,
    "emit": pl.Boolean,
    "ranked": pl.Boolean,
}


def thin(*rows: dict[str, Any], **same: Any) -> pl.DataFrame:
    """Rows that differ from a plain one; ``_row`` counts them where they do not say."""
    plain: dict[str, Any] = {
        "customerId": "c",
        "subjectId": "s",
        "eventDate": 0,
        "order.0": 0,
        "unit": 0,
        "entry": 0,
        "split": 0,
        "score": 0.5,
        "emit": True,
        "ranked": True,
    }
    full = [{**plain, "_row": row, **same, **given} for row, given in enumerate(rows)]
    return pl.DataFrame(full, schema=THIN)


def at(*times: int) -> list[dict[str, Any]]:
    return [{"eventDate": time} for time in times]


def repeated(frame: pl.DataFrame) -> list[bool]:
    return keyed.duplicates(frame, DEDUPE.window_hours).to_list()


def late(frame: pl.DataFrame) -> list[bool]:
    return keyed.over_capacity(frame, CAPACITY.per_customer).to_list()


def test_the_window_includes_its_end() -> None:
    assert repeated(thin(*at(0, 2 * HOUR, 4 * HOUR + 1))) == [False, True, False]


def test_a_duplicate_hides_the_next_one_too() -> None:
    assert repeated(thin(*at(0, HOUR, 2 * HOUR, 3 * HOUR))) == [False, True, True, True]


def test_the_first_in_order_stays_wherever_it_lies_in_the_frame() -> None:
    assert repeated(thin(*at(HOUR, 2 * HOUR, 0))) == [True, True, False]


@pytest.mark.parametrize("tie", ["order.0", "unit", "split", "_row"])
def test_ties_in_time_are_broken_in_turn(tie: str) -> None:
    assert repeated(thin({tie: 2}, {tie: 1}, {tie: 3})) == [True, False, True]


def test_order_columns_come_in_the_order_of_their_numbers() -> None:
    frame = thin({"order.0": 1}, {"order.0": 1}).with_columns(
        pl.Series("order.10", ["a", "b"]), pl.Series("order.2", ["b", "a"])
    )
    assert repeated(frame) == [True, False]


def test_another_customer_or_subject_is_no_duplicate() -> None:
    rows = [{"customerId": c, "subjectId": s} for c in ("c", "d") for s in ("s", "t")]
    assert repeated(thin(*rows)) == [False] * 4


def test_time_may_be_a_datetime() -> None:
    frame = thin(*at(0, 2 * HOUR, 4 * HOUR + 1))
    dated = frame.with_columns(pl.col("eventDate").cast(pl.Datetime("ms", "UTC")))
    assert dated["eventDate"][0] == datetime(1970, 1, 1, tzinfo=UTC)
    assert repeated(dated) == repeated(frame)


def test_the_best_scores_stay() -> None:
    scores = [{"score": s, "subjectId": str(i)} for i, s in enumerate([0.1, 0.9, None, 0.5])]
    assert late(thin(*scores)) == [True, False, True, False]


def test_no_score_comes_last_and_not_a_number_is_none() -> None:
    scores = [float("nan"), None, 0.0]
    frame = thin(*[{"score": s, "subjectId": str(i)} for i, s in enumerate(scores)])
    assert late(frame) == [False, True, False]


def test_ties_go_to_the_lower_subject_as_text() -> None:
    subjects = ["é", "9", "10", "Z"]
    assert late(thin(*[{"subjectId": s} for s in subjects])) == [True, False, False, True]


@pytest.mark.parametrize("tie", ["eventDate", "order.0", "split", "_row"])
def test_ties_of_score_and_subject_go_to_the_earlier_row(tie: str) -> None:
    assert late(thin({tie: 3}, {tie: 1}, {tie: 2})) == [True, False, False]


def test_each_unit_and_customer_has_its_own_room() -> None:
    rows = [{"customerId": c, "unit": u} for c in "cd" for u in (0, 1) for _ in range(2)]
    assert late(thin(*rows)) == [False] * 8


@pytest.mark.parametrize("flag", ["emit", "ranked"])
def test_only_rows_that_may_become_candidates_take_room(flag: str) -> None:
    assert late(thin({flag: False}, {}, {}, {flag: False})) == [False] * 4


def test_duplicates_take_no_room_and_are_called_duplicates() -> None:
    subjects = ["s", "s", "t", "u"]
    frame = thin(*[{"subjectId": s, "score": 1 - i / 10} for i, s in enumerate(subjects)])
    found = keyed.verdicts(frame, DEDUPE, CAPACITY)
    assert found.select("_row", "verdict").rows() == [(1, DUPLICATE), (3, OVER_CAPACITY)]
    assert found.schema == VERDICT_SCHEMA


def test_evidence_makes_duplicates_but_gets_no_verdict() -> None:
    frame = thin(*at(0, 1, 2)).with_columns(emit=pl.Series([False, False, True]))
    assert keyed.verdicts(frame, DEDUPE, CAPACITY).select("_row").rows() == [(2,)]


@pytest.mark.parametrize(
    ("dedupe", "capacity", "expected"),
    [
        (None, None, []),
        (DEDUPE, None, [(1, 1), (2, 1)]),
        (None, CAPACITY, [(2, 2)]),
        (DEDUPE, CAPACITY, [(1, 1), (2, 1)]),
    ],
)
def test_a_rule_that_is_not_set_turns_nothing_away(
    dedupe: Dedupe | None, capacity: Capacity | None, expected: list[tuple[int, int]]
) -> None:
    found = keyed.verdicts(thin({}, {}, {}), dedupe, capacity)
    assert found.select("_row", "verdict").rows() == expected
    assert found.schema == VERDICT_SCHEMA


def test_no_rows_have_no_verdicts() -> None:
    found = keyed.verdicts(thin(), DEDUPE, CAPACITY)
    assert found.is_empty()
    assert found.schema == VERDICT_SCHEMA


def test_verdicts_are_sorted_by_their_place() -> None:
    places = [(1, 1, 1, 0), (1, 1, 0, 5), (1, 0, 1, 3), (0, 1, 1, 9), (1, 1, 0, 3)]
    names = ("entry", "unit", "split", "_row")
    rows = [dict(zip(names, place, strict=True)) for place in places]
    found = keyed.verdicts(thin({"eventDate": -1, "emit": False}, *rows), DEDUPE, None)
    assert found.drop("verdict").rows() == sorted(places)


Row = dict[str, Any]


def slow_verdicts(rows: Sequence[Row]) -> list[tuple[int, int, int, int, int]]:
    """The two rules, row by row."""

    def order(row: Row) -> tuple[Any, ...]:
        return tuple(row[c] for c in ("eventDate", "order.0", "unit", "split", "_row"))

    verdict = {}
    last: dict[tuple[str, str], int] = {}
    for row in sorted(rows, key=order):
        key = (row["customerId"], row["subjectId"])
        if key in last and row["eventDate"] - last[key] <= DEDUPE.window_hours * HOUR:
            verdict[place(row)] = 1
        last[key] = row["eventDate"]

    def rank(row: Row) -> tuple[Any, ...]:
        unknown = row["score"] is None
        return (unknown, 0 if unknown else -row["score"], row["subjectId"], *order(row))

    def room(row: Row) -> tuple[str, int]:
        return row["customerId"], row["unit"]

    takers = [r for r in rows if r["emit"] and r["ranked"] and place(r) not in verdict]
    for _, group in groupby(sorted(takers, key=room), key=room):
        for row in sorted(group, key=rank)[CAPACITY.per_customer :]:
            verdict[place(row)] = 2
    return sorted((*place(r), verdict[place(r)]) for r in rows if r["emit"] and place(r) in verdict)


def place(row: Row) -> tuple[int, int, int, int]:
    return row["entry"], row["unit"], row["split"], row["_row"]


texts = st.sampled_from(["", "a", "b", "ab", "é", "Z", "10", "9"])
some_rows = st.lists(
    st.fixed_dictionaries(
        {
            # Few of them, so that many rows vie for the same room.
            "customerId": st.sampled_from(["a", "b"]),
            "subjectId": texts,
            "eventDate": st.sampled_from([-HOUR, 0, 1, HOUR, 2 * HOUR, 2 * HOUR + 1, 5 * HOUR]),
            "order.0": st.integers(-1, 1),
            "unit": st.integers(-1, 1),
            "entry": st.integers(0, 1),
            "split": st.integers(0, 1),
            "score": st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0]),
            "emit": st.booleans() | st.just(True),
            "ranked": st.booleans() | st.just(True),
        }
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(some_rows, st.randoms(use_true_random=False), st.booleans())
def test_agrees_with_the_rules_row_by_row_in_any_order(
    rows: list[Row], shuffler: Any, collide: bool
) -> None:
    numbered = [{**row, "_row": number} for number, row in enumerate(rows)]
    expected = slow_verdicts(numbered)
    shuffler.shuffle(numbered)
    frame = pl.DataFrame(numbered, schema=THIN)
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            few = pl.Series([7], dtype=pl.UInt64)
            patch.setattr(keyed, "_hashes", lambda thin, keys: few.new_from_index(0, thin.height))
        assert keyed.verdicts(frame, DEDUPE, CAPACITY).rows() == expected


def test_keys_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_hash(thin: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
        return pl.repeat(7, thin.height, dtype=pl.UInt64, eager=True)

    monkeypatch.setattr(keyed, "_hashes", one_hash)
    frame = thin(*[{"customerId": f"c{i % 3}", "eventDate": i} for i in range(6)])
    assert repeated(frame) == [False, False, False, True, True, True]
    assert late(frame) == [False] * 6
