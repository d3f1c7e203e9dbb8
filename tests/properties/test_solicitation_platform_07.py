from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import LinearModel
from transforms.kernel import UnitContext
from transforms.score_cache import SCORE_SCHEMA, ScoreCache
from transforms.scoring import FallbackScore, Health, Score

NOW = datetime(2017, 3, 2, 23, 59, 59, 999000, UTC)
CONTEXT = UnitContext("p", "2017-03-02", "x", NOW)
TTL = timedelta(hours=10)

# Per row: its feature, what the model would say of it, and the hours since it was last scored.
rows = st.lists(
    st.tuples(
        st.sampled_from([1.0, 2.0, None, math.nan, math.inf]),
        st.sampled_from([0.0, 0.25, 1.0, None, math.nan, -math.inf, -0.25, 1.5]),
        st.none() | st.integers(-3, 15),
    ),
    max_size=15,
)


@dataclass
class Failing:
    """Gives the answers of the rows it is asked for, or raises."""

    answers: dict[float, float | None]
    raises: bool
    model_id: str = "m"
    model_version: str = "1"
    required_features: tuple[str, ...] = ("x", "id")

    def score_batch(self, frame: pl.DataFrame) -> pl.Series:
        if self.raises:
            raise TimeoutError("endpoint")
        return pl.Series([self.answers[i] for i in frame["id"]], dtype=pl.Float64)

    def health_check(self) -> Health:
        return Health(healthy=not self.raises)

    def get_fallback_score(self) -> FallbackScore:
        return FallbackScore(0.5, 0.125)


@dataclass
class Listener(logging.Handler):
    """Keeps what was logged."""

    records: list[logging.LogRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@settings(max_examples=200, deadline=None)
@given(rows, st.booleans(), st.booleans())
def test_a_failure_falls_back_and_is_logged(
    rows: list[tuple[float | None, float | None, int | None]], raises: bool, has_cache: bool
) -> None:
    """Feature: solicitation-platform, Property 7: Scoring fallback correctness"""
    frame = pl.DataFrame(
        {
            "customerId": pl.Series([f"c{i}" for i in range(len(rows))], dtype=pl.String),
            "subjectId": pl.Series(["s"] * len(rows), dtype=pl.String),
            "x": pl.Series([x for x, _, _ in rows], dtype=pl.Float64),
            "id": pl.Series(range(len(rows)), dtype=pl.Float64),
        }
    )
    cached = [
        (f"c{i}", "s", "m", i / 100, 0.75, NOW - timedelta(hours=age))
        for i, (_, _, age) in enumerate(rows)
        if age is not None
    ]
    provider = Failing({float(i): answer for i, (_, answer, _) in enumerate(rows)}, raises)
    model = LinearModel(model_id="m", type="linear", coefficients={"x": 1}, fallback_score=0.5)
    cache = ScoreCache().updated(pl.DataFrame(cached, SCORE_SCHEMA, orient="row"))

    logger, listener = logging.getLogger("muster.scoring"), Listener()
    logger.addHandler(listener)
    try:
        kernel = Score(provider, model, cache if has_cache else None, TTL)
        scored = kernel(frame, CONTEXT).passed
    finally:
        logger.removeHandler(listener)

    expected = []
    for i, (x, answer, age) in enumerate(rows):
        has_feature = x is not None and math.isfinite(x)
        answered = answer is not None and 0.0 <= answer <= 1.0
        if has_feature and answered and not raises:
            expected.append((answer, 1.0, "model"))
        elif has_cache and age is not None and 0 <= age <= 10:
            expected.append((i / 100, 0.75, "cache"))
        else:
            expected.append((0.5, 0.125, "fallback"))
    assert scored.select("score.m", "confidence.m", "scoreSource.m").rows() == expected

    sources = [source for _, _, source in expected]
    logged = [(r.rows_from_cache, r.rows_from_fallback) for r in listener.records]
    failures = (sources.count("cache"), sources.count("fallback"))
    assert logged == ([failures] if any(failures) else [])
