from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from transforms.score_cache import SCORE_SCHEMA, ScoreCache, score_rows

NOON = datetime(2017, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEYS = pl.DataFrame({"customerId": ["b", "a", "a"], "subjectId": ["1", "2", "1"]})


def scores(*rows: tuple[str, str, str, float, float, datetime]) -> pl.DataFrame:
    return pl.DataFrame(rows, SCORE_SCHEMA, orient="row")


def test_an_empty_cache_knows_nothing() -> None:
    found = ScoreCache().lookup(KEYS, "m", NOON, DAY)
    assert found.rows() == [(None, None)] * 3
    assert found.schema == {"value": pl.Float64, "confidence": pl.Float64}


def test_finds_the_score_of_that_customer_subject_and_model() -> None:
    cache = ScoreCache().updated(
        scores(("a", "1", "m", 0.5, 0.9, NOON), ("b", "1", "other", 0.7, 0.8, NOON))
    )
    assert cache.lookup(KEYS, "m", NOON, DAY).rows() == [(None, None), (None, None), (0.5, 0.9)]


@pytest.mark.parametrize(
    ("age", "known"),
    [
        (timedelta(milliseconds=-1), False),
        (timedelta(0), True),
        (DAY, True),
        (DAY + timedelta(milliseconds=1), False),
    ],
)
def test_a_score_counts_from_its_time_until_it_expires(age: timedelta, known: bool) -> None:
    cache = ScoreCache().updated(scores(("a", "1", "m", 0.5, 0.9, NOON - age)))
    assert (cache.lookup(KEYS, "m", NOON, DAY)["value"][2] is not None) == known


def test_the_newest_score_that_is_not_of_the_future_counts() -> None:
    cache = ScoreCache().updated(
        scores(
            ("a", "1", "m", 0.2, 0.2, NOON - DAY / 2),
            ("a", "1", "m", 0.3, 0.3, NOON + DAY / 2),
            ("a", "1", "m", 0.1, 0.1, NOON - DAY),
        )
    )
    assert cache.lookup(KEYS, "m", NOON, DAY).row(2) == (0.2, 0.2)
    assert cache.lookup(KEYS, "m", NOON - DAY / 2, DAY).row(2) == (0.2, 0.2)
    assert cache.lookup(KEYS, "m", NOON - DAY, DAY).row(2) == (0.1, 0.1)


def test_an_update_leaves_the_old_cache_as_it_was() -> None:
    old = ScoreCache().updated(scores(("a", "1", "m", 0.5, 0.9, NOON)))
    new = old.updated(scores(("a", "1", "m", 0.6, 0.8, NOON)))
    assert old.lookup(KEYS, "m", NOON, DAY).row(2) == (0.5, 0.9)
    assert new.lookup(KEYS, "m", NOON, DAY).row(2) == (0.6, 0.8)
    assert new.scores.height == 1


def test_only_a_models_own_scores_are_kept() -> None:
    scored = KEYS.with_columns(
        pl.Series("score.m", [0.1, 0.2, 0.3]),
        pl.Series("confidence.m", [1.0, 0.5, 0.0]),
        pl.Series("scoreSource.m", ["model", "cache", "fallback"]),
    )
    assert score_rows(scored, "m", NOON).equals(scores(("b", "1", "m", 0.1, 1.0, NOON)))
