"""Scoring: a provider's numbers where it has them, a cached or configured score where not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import polars as pl

from conf.program import AnyModel, ScoringModel
from transforms.errors import ColumnTaken, FeatureNotNumeric, MissingFeature, ScoresMalformed
from transforms.kernel import Split, UnitContext, nothing_rejected
from transforms.score_cache import ScoreCache

#: Scores are rounded to this many decimals, so that the last bits of a sum decide nothing.
DECIMALS = 6

_log = logging.getLogger("muster.scoring")


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a provider can score, and what it says when it cannot."""

    healthy: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FallbackScore:
    """What is said of a row that no model and no cache can score."""

    value: float
    confidence: float


class Provider(Protocol):
    """A model that scores frames (the document's ScoringProvider).

    Each row's score depends on that row's features alone, never on its neighbours in the frame.
    """

    @property
    def model_id(self) -> str:
        """The id under which scores are kept."""
        ...

    @property
    def model_version(self) -> str:
        """The model's own version."""
        ...

    @property
    def required_features(self) -> tuple[str, ...]:
        """Names of the columns that the model reads."""
        ...

    def score_batch(self, frame: pl.DataFrame) -> pl.Series:
        """Return a Float64 a row, in order; ``frame`` holds finite Float64 features only."""
        ...

    def health_check(self) -> Health:
        """Say whether the model can score now."""
        ...

    def get_fallback_score(self) -> FallbackScore:
        """Return the configured score for rows that the model cannot score."""
        ...


def fallback_of(model: ScoringModel) -> FallbackScore:
    """Return the score that ``model``'s configuration gives for rows it cannot score."""
    return FallbackScore(model.fallback_score, model.fallback_confidence)


@dataclass(frozen=True, eq=False)
class Score:
    """Scores every row with one model; rejects nothing.

    Input: the provider's required features (numbers or Booleans, null where unknown), and
    ``customerId`` and ``subjectId`` (String) when there is a cache. Output, never null:
    ``score.<id>`` (Float64, 0..1, six decimals), ``confidence.<id>`` (Float64, 0..1) and
    ``scoreSource.<id>`` (String): ``model``; or, where a feature is null or not finite, where the
    model gave no number from 0 to 1, and in all rows of the frame when the provider raised,
    ``cache`` (a score at most ``ttl`` old at the unit's logical time) or ``fallback`` (the
    configured one). Failures are logged once a frame, with counts. Rows keep their
    order and number.

    Raises ``MissingFeature`` or ``FeatureNotNumeric`` before anything is scored, and
    ``ColumnTaken`` when the model's columns are there already.

    Source: solicitation-platform, properties 5, 7 and 8.
    """

    provider: Provider
    model: AnyModel
    cache: ScoreCache | None = None
    ttl: timedelta = timedelta(0)

    @property
    def name(self) -> str:
        """The stage's name."""
        return f"score:{self.provider.model_id}"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:
        """Score the rows of ``frame``."""
        self._check(frame)
        features = frame.select(pl.col(self.provider.required_features).cast(pl.Float64))
        usable = features.select(
            usable=pl.all_horizontal(pl.all().is_finite().fill_null(False))
        ).to_series()
        values, error = self._ask(features, usable)
        scored = self._fill(frame, values, context)
        if values.null_count():
            self._warn(context, scored, int((~usable).sum()), error)
        return Split(frame.hstack(scored), nothing_rejected())

    def _check(self, frame: pl.DataFrame) -> None:
        """Refuse a frame without the model's features, before anything is scored."""
        missing = [f for f in self.provider.required_features if f not in frame.columns]
        if missing:
            raise MissingFeature(self.name, missing, frame.columns)
        for feature in self.provider.required_features:
            dtype = frame.schema[feature]
            if not (dtype.is_numeric() or dtype == pl.Boolean):
                raise FeatureNotNumeric(self.name, feature, dtype)
        taken = [column for column in self._columns if column in frame.columns]
        if taken:
            raise ColumnTaken(self.name, taken)

    @property
    def _columns(self) -> tuple[str, str, str]:
        """Names of the columns that are added: score, confidence, source."""
        model_id = self.provider.model_id
        return f"score.{model_id}", f"confidence.{model_id}", f"scoreSource.{model_id}"

    def _ask(self, features: pl.DataFrame, usable: pl.Series) -> tuple[pl.Series, str]:
        """Return the model's valid scores, null elsewhere, and the error of a provider that raised.

        The error is its type's name alone: messages may quote what was scored.
        """
        nothing = pl.repeat(None, features.height, dtype=pl.Float64, eager=True)
        if not usable.any():
            return nothing, ""
        try:
            if usable.all():
                return _valid_scores(self.provider, features), ""
            answers = _valid_scores(self.provider, features.filter(usable))
            return nothing.scatter(usable.arg_true(), answers), ""
        except Exception as error:  # noqa: BLE001  Whatever a model raises, its rows fall back.
            return nothing, type(error).__name__

    def _fill(self, frame: pl.DataFrame, values: pl.Series, context: UnitContext) -> pl.DataFrame:
        """Return score, confidence and source: the model's where it has one, a substitute else."""
        score, confidence, source = self._columns
        fallback = self.provider.get_fallback_score()
        table = self._cached(frame, values, context).with_columns(own=values)
        own, cached = pl.col("own").is_not_null(), pl.col("value").is_not_null()
        return table.select(
            pl.coalesce("own", "value", pl.lit(fallback.value, pl.Float64)).alias(score),
            pl.when(own)
            .then(pl.lit(self.model.confidence, pl.Float64))
            .when(cached)
            .then("confidence")
            .otherwise(pl.lit(fallback.confidence, pl.Float64))
            .alias(confidence),
            pl.when(own)
            .then(pl.lit("model"))
            .when(cached)
            .then(pl.lit("cache"))
            .otherwise(pl.lit("fallback"))
            .alias(source),
        )

    def _cached(self, frame: pl.DataFrame, values: pl.Series, context: UnitContext) -> pl.DataFrame:
        """Return ``value`` and ``confidence`` of the cache, null where none is needed or known."""
        if self.cache is not None and values.null_count():
            model_id = self.provider.model_id
            return self.cache.lookup(frame, model_id, context.logical_time, self.ttl)
        nothing = pl.repeat(None, frame.height, dtype=pl.Float64, eager=True)
        return pl.DataFrame({"value": nothing, "confidence": nothing})

    def _warn(self, context: UnitContext, scored: pl.DataFrame, unusable: int, error: str) -> None:
        """Log what the model could not score, in numbers."""
        sources = scored.get_column(self._columns[2])
        cached, fallback = int((sources == "cache").sum()), int((sources == "fallback").sum())
        counts = {
            "rows": scored.height,
            "rows_without_features": unusable,
            "rows_from_cache": cached,
            "rows_from_fallback": fallback,
        }
        _log.warning(
            "model '%s' did not score %d of %d rows",
            self.provider.model_id,
            cached + fallback,
            scored.height,
            extra={
                "model_id": self.provider.model_id,
                "model_version": self.provider.model_version,
                "unit": context.unit,
                "provider_error": error or None,
                **counts,
            },
        )


def _valid_scores(provider: Provider, features: pl.DataFrame) -> pl.Series:
    """Return the provider's scores, rounded; null where it gave no number from 0 to 1."""
    answers = provider.score_batch(features)
    if len(answers) != features.height:
        raise ScoresMalformed(
            provider.model_id, f"{features.height} scores", f"{len(answers)} scores"
        )
    answer = pl.col("answer").cast(pl.Float64)
    # NaN is no number from 0 to 1 for is_between either: polars orders it above everything.
    return (
        pl.DataFrame({"answer": answers})
        .select(pl.when(answer.is_between(0.0, 1.0)).then(answer.round(DECIMALS)))
        .to_series()
    )
