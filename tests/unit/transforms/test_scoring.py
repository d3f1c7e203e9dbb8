from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conf.program import LinearModel
from transforms.errors import ColumnTaken, FeatureNotNumeric, MissingFeature
from transforms.kernel import UnitContext
from transforms.linear import LinearProvider
from transforms.score_cache import SCORE_SCHEMA, ScoreCache
from transforms.scoring import FallbackScore, Health, Score

NOW = datetime(2017, 3, 2, 23, 59, 59, 999000, UTC)
CONTEXT = UnitContext("p", "2017-03-02", "x", NOW)
MODEL = LinearModel(
    model_id="m",
    type="linear",
    coefficients={"x": 0.5, "y": 0.25},
    confidence=0.9,
    fallback_score=0.05,
    fallback_confidence=0.1,
)
SCORE = Score(LinearProvider(MODEL), MODEL)


@dataclass
class Scripted:
    """A provider whose answer is written in the test."""

    answer: Callable[[pl.DataFrame], pl.Series]
    model_id: str = "m"
    model_version: str = "3"
    required_features: tuple[str, ...] = ("x", "y")

    def score_batch(self, frame: pl.DataFrame) -> pl.Series:
        return self.answer(frame)

    def health_check(self) -> Health:
        return Health(healthy=True)

    def get_fallback_score(self) -> FallbackScore:
        return FallbackScore(0.05, 0.1)


def rows(*features: tuple[float | None, float | None]) -> pl.DataFrame:
    ids = pl.int_range(len(features), dtype=pl.UInt32, eager=True)
    x, y = zip(*features, strict=True) if features else ((), ())
    return pl.DataFrame(
        {
            "_row": ids,
            "customerId": [f"c{i}" for i in ids],
            "subjectId": ["s"] * len(features),
            "x": pl.Series(x, dtype=pl.Float64),
            "y": pl.Series(y, dtype=pl.Float64),
        },
        schema_overrides={"customerId": pl.String, "subjectId": pl.String},
    )


def cache(*entries: tuple[str, float, timedelta]) -> ScoreCache:
    scores = [(who, "s", "m", value, 0.7, NOW - age) for who, value, age in entries]
    return ScoreCache().updated(pl.DataFrame(scores, SCORE_SCHEMA, orient="row"))


def outcome(kernel: Score, frame: pl.DataFrame) -> list[tuple[float, float, str]]:
    return kernel(frame, CONTEXT).passed.select("score.m", "confidence.m", "scoreSource.m").rows()


def refuse(frame: pl.DataFrame) -> pl.Series:
    raise ConnectionError("customer c0 said no")


def test_scores_every_row_and_rejects_none() -> None:
    frame = rows((1.0, 1.0), (0.0, 0.123456789), (2.0, 2.0))
    split = SCORE(frame, CONTEXT)
    assert_frame_equal(split.passed.select(frame.columns), frame)
    assert split.rejected.is_empty()
    assert outcome(SCORE, frame) == [
        (0.75, 0.9, "model"),
        (0.030864, 0.9, "model"),
        (1.0, 0.9, "model"),
    ]
    assert SCORE.name == "score:m"


@pytest.mark.parametrize("feature", [None, math.nan, math.inf, -math.inf])
def test_a_row_without_its_features_falls_back_alone(feature: float | None) -> None:
    frame = rows((1.0, 1.0), (1.0, feature), (0.0, 1.0))
    assert outcome(SCORE, frame) == [
        (0.75, 0.9, "model"),
        (0.05, 0.1, "fallback"),
        (0.25, 0.9, "model"),
    ]


def test_the_provider_is_asked_for_complete_rows_alone() -> None:
    asked = []

    def answer(frame: pl.DataFrame) -> pl.Series:
        asked.append(frame)
        return pl.Series([0.5] * frame.height)

    frame = rows((1.0, None), (2.0, 3.0), (None, None), (4.0, 5.0))
    Score(Scripted(answer), MODEL)(frame, CONTEXT)
    Score(Scripted(answer), MODEL)(rows((1.0, None)), CONTEXT)
    Score(Scripted(answer), MODEL)(rows(), CONTEXT)
    assert [frame.rows() for frame in asked] == [[(2.0, 3.0), (4.0, 5.0)]]


@pytest.mark.parametrize("answer", [None, math.nan, math.inf, -math.inf, -1e-9, 1.0000001])
def test_an_answer_that_is_no_score_falls_back_alone(answer: float | None) -> None:
    provider = Scripted(lambda frame: pl.Series([0.5, answer, 0.25], dtype=pl.Float64))
    frame = rows((1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    assert outcome(Score(provider, MODEL), frame) == [
        (0.5, 0.9, "model"),
        (0.05, 0.1, "fallback"),
        (0.25, 0.9, "model"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        refuse,
        lambda frame: pl.Series([0.5]),
        lambda frame: pl.Series(["high"] * frame.height),
        lambda frame: None,
    ],
    ids=["raises", "too few", "text", "nothing"],
)
def test_a_provider_that_fails_fails_no_run(answer: Callable[[pl.DataFrame], pl.Series]) -> None:
    kernel = Score(Scripted(answer), MODEL, cache(("c1", 0.4, timedelta(1))), timedelta(2))
    assert outcome(kernel, rows((1.0, 1.0), (1.0, 1.0))) == [
        (0.05, 0.1, "fallback"),
        (0.4, 0.7, "cache"),
    ]


def test_a_cached_score_stands_in_until_it_expires_and_only_when_needed() -> None:
    old = timedelta(days=2)
    kept = cache(("c0", 0.3, old), ("c1", 0.3, old), ("c2", 0.3, old + timedelta(seconds=1)))
    kernel = Score(LinearProvider(MODEL), MODEL, kept, old)
    frame = rows((1.0, 1.0), (None, 1.0), (None, 1.0))
    assert outcome(kernel, frame) == [
        (0.75, 0.9, "model"),
        (0.3, 0.7, "cache"),
        (0.05, 0.1, "fallback"),
    ]


def test_failures_are_logged_once_a_frame_in_numbers(caplog: pytest.LogCaptureFixture) -> None:
    kept = cache(("c1", 0.3, timedelta(0)))
    with caplog.at_level(logging.WARNING, "muster.scoring"):
        Score(Scripted(refuse), MODEL, kept, timedelta(1))(
            rows((1.0, 1.0), (1.0, 1.0), (None, 1.0)), CONTEXT
        )
        Score(LinearProvider(MODEL), MODEL)(rows((1.0, None)), CONTEXT)
        Score(LinearProvider(MODEL), MODEL)(rows((1.0, 1.0)), CONTEXT)
    found = [
        [
            getattr(record, key)
            for key in (
                "model_id",
                "unit",
                "provider_error",
                "rows",
                "rows_without_features",
                "rows_from_cache",
                "rows_from_fallback",
            )
        ]
        for record in caplog.records
    ]
    assert found == [
        ["m", "2017-03-02", "ConnectionError", 3, 1, 1, 2],
        ["m", "2017-03-02", None, 1, 1, 0, 1],
    ]
    assert "c0" not in caplog.text


def test_a_missing_feature_stops_the_run_before_anything_is_scored() -> None:
    def never(frame: pl.DataFrame) -> pl.Series:
        pytest.fail("was asked")

    with pytest.raises(MissingFeature, match=r"score:m: expected feature columns \['y'\], found"):
        Score(Scripted(never), MODEL)(rows((1.0, 1.0)).drop("y"), CONTEXT)


def test_text_is_no_feature() -> None:
    with pytest.raises(FeatureNotNumeric, match="score:m: expected numbers in feature 'y'"):
        SCORE(rows((1.0, 1.0)).with_columns(y=pl.lit("1")), CONTEXT)


def test_numbers_of_every_kind_are_features() -> None:
    frame = rows((1.0, 1.0)).with_columns(x=pl.lit(True), y=pl.lit(2, pl.UInt8))
    assert outcome(SCORE, frame) == [(1.0, 0.9, "model")]


def test_a_column_of_the_source_is_never_overwritten() -> None:
    with pytest.raises(ColumnTaken, match=r"score\.m"):
        SCORE(SCORE(rows((1.0, 1.0)), CONTEXT).passed, CONTEXT)


def test_an_empty_frame_gets_typed_columns() -> None:
    schema = SCORE(rows(), CONTEXT).passed.schema
    assert schema["score.m"] == schema["confidence.m"] == pl.Float64
    assert schema["scoreSource.m"] == pl.String


features = st.none() | st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, 1e308])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(features, features), max_size=20), st.integers(0, 20))
def test_is_indifferent_to_how_rows_are_cut(
    values: list[tuple[float | None, float | None]], cut: int
) -> None:
    kept = cache(*[(f"c{i}", i / 20, timedelta(i)) for i in range(0, 20, 2)])
    kernel = Score(LinearProvider(MODEL), MODEL, kept, timedelta(12))
    frame = rows(*values)
    parts = [kernel(frame[:cut], CONTEXT).passed, kernel(frame[cut:], CONTEXT).passed]
    assert_frame_equal(kernel(frame, CONTEXT).passed, pl.concat(parts), check_exact=True)
