"""Scores that were computed before, kept for the day when a model fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

_TIME = pl.Datetime("ms", "UTC")

#: One row a score: whose it is, what it says and when it was computed.
SCORE_SCHEMA = pl.Schema(
    [
        ("customerId", pl.String()),
        ("subjectId", pl.String()),
        ("modelId", pl.String()),
        ("value", pl.Float64()),
        ("confidence", pl.Float64()),
        ("timestamp", _TIME),
    ]
)

_OWNER = ("customerId", "subjectId")
_ENTRY = (*_OWNER, "modelId", "timestamp")


def score_rows(scored: pl.DataFrame, model_id: str, timestamp: datetime) -> pl.DataFrame:
    """Return the scores that ``model_id`` itself gave in ``scored``, one row each (SCORE_SCHEMA).

    Input: ``customerId``, ``subjectId``, ``score.<id>``, ``confidence.<id>``, ``scoreSource.<id>``
    as ``Score`` leaves them. Cached and fallback scores are left out: they are not news. Rows keep
    their order.
    """
    return scored.filter(pl.col(f"scoreSource.{model_id}") == "model").select(
        "customerId",
        "subjectId",
        modelId=pl.lit(model_id),
        value=pl.col(f"score.{model_id}"),
        confidence=pl.col(f"confidence.{model_id}"),
        timestamp=pl.lit(timestamp, _TIME),
    )


@dataclass(frozen=True, eq=False)
class ScoreCache:
    """An immutable table of scores (SCORE_SCHEMA), asked as of a given time.

    Source: solicitation-platform, property 6.
    """

    scores: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SCORE_SCHEMA))

    def updated(self, scores: pl.DataFrame) -> ScoreCache:
        """Return a cache that also holds ``scores``; on the same key and time they win."""
        both = pl.concat([self.scores, scores.select(SCORE_SCHEMA.names()).cast(SCORE_SCHEMA)])
        return ScoreCache(both.unique(_ENTRY, keep="last", maintain_order=True))

    def lookup(
        self, keys: pl.DataFrame, model_id: str, as_of: datetime, ttl: timedelta
    ) -> pl.DataFrame:
        """Return ``value`` and ``confidence`` (Float64, null where unknown) for each of ``keys``.

        Input: ``customerId`` and ``subjectId`` (String). A score counts from its timestamp until
        ``ttl`` later, both included; of several the newest. Rows keep their order and number.
        """
        fresh = pl.col("timestamp").is_between(pl.lit(as_of - ttl, _TIME), pl.lit(as_of, _TIME))
        newest = (
            self.scores.filter(pl.col("modelId") == model_id, fresh)
            .sort("timestamp", maintain_order=True)
            .unique(_OWNER, keep="last", maintain_order=True)
        )
        return (
            keys.select(_OWNER)
            .join(newest, on=_OWNER, how="left", maintain_order="left")
            .select("value", "confidence")
        )
