"""The linear scoring provider: coefficients from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from conf.program import LinearModel
from transforms.scoring import FallbackScore, Health, fallback_of


@dataclass(frozen=True, slots=True)
class LinearProvider:
    """``intercept + sum(coefficient * feature)`` in the configuration's order, cut to 0..1.

    Input: the features (Float64, finite). Output: one Float64 a row; NaN where the sum has none,
    as with two infinite terms of unlike sign.
    """

    model: LinearModel

    @property
    def model_id(self) -> str:
        """The configured id."""
        return self.model.model_id

    @property
    def model_version(self) -> str:
        """The configured version."""
        return self.model.model_version

    @property
    def required_features(self) -> tuple[str, ...]:
        """The coefficients' names."""
        return self.model.features

    def score_batch(self, frame: pl.DataFrame) -> pl.Series:
        """Return the weighted sum of each row."""
        total = pl.lit(self.model.intercept, pl.Float64)
        for feature, coefficient in self.model.coefficients.items():
            total = total + pl.col(feature) * coefficient
        return frame.select(score=total.clip(0.0, 1.0)).to_series()

    def health_check(self) -> Health:
        """Arithmetic is always well."""
        return Health(healthy=True)

    def get_fallback_score(self) -> FallbackScore:
        """Return the configured fallback."""
        return fallback_of(self.model)
