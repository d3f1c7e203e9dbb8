from __future__ import annotations

import math

import polars as pl
import pytest

from conf.program import LinearModel
from transforms.linear import LinearProvider
from transforms.scoring import FallbackScore, Health


def provider(**coefficients: float) -> LinearProvider:
    return LinearProvider(
        LinearModel(
            model_id="value",
            model_version="7",
            type="linear",
            intercept=0.25,
            coefficients=coefficients,
            fallback_score=0.1,
            fallback_confidence=0.2,
        )
    )


@pytest.mark.parametrize(
    ("x", "y", "score"),
    [(1.0, 0.0, 0.75), (0.0, 1.0, 0.0), (0.5, 0.5, 0.25), (10.0, 0.0, 1.0), (1e308, 0.0, 1.0)],
)
def test_is_the_weighted_sum_cut_to_the_unit_interval(x: float, y: float, score: float) -> None:
    answer = provider(x=0.5, y=-0.5).score_batch(pl.DataFrame({"y": [y], "x": [x]}))
    assert answer.to_list() == pytest.approx([score])
    assert answer.dtype == pl.Float64


def test_infinities_that_cancel_are_no_score() -> None:
    answer = provider(x=1e10, y=-1e10).score_batch(pl.DataFrame({"x": [1e308], "y": [1e308]}))
    assert math.isnan(answer[0])


def test_says_what_it_is() -> None:
    linear = provider(y=1.0, x=2.0)
    assert (linear.model_id, linear.model_version) == ("value", "7")
    assert linear.required_features == ("y", "x")
    assert linear.health_check() == Health(healthy=True)
    assert linear.get_fallback_score() == FallbackScore(0.1, 0.2)
