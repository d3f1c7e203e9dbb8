from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import LinearModel
from transforms.errors import MissingFeature
from transforms.features import FeatureJoin
from transforms.kernel import UnitContext
from transforms.scoring import FallbackScore, Health, Score

DAY = date(2017, 3, 2)
CONTEXT = UnitContext("p", "2017-03-02", "x", datetime(2017, 3, 2, 23, 59, 59, 999000, UTC))
MODEL = LinearModel(model_id="m", type="linear", coefficients={"a": 1.0}, fallback_score=0.0)
NAMES = ("a", "b", "c", "d")
CUSTOMERS = ("u", "v", "w")

names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)
# What the store knows of each customer on the day before, the day itself and the day after.
store = st.dictionaries(
    st.tuples(st.sampled_from(CUSTOMERS), st.sampled_from([1, 2, 3])),
    st.fixed_dictionaries(dict.fromkeys(NAMES, st.none() | st.integers(-9, 9))),
)


@dataclass
class Recorder:
    """A provider that remembers what it was given."""

    required_features: tuple[str, ...]
    model_id: str = "m"
    model_version: str = "1"
    given: list[dict[str, float]] = field(default_factory=list)

    def score_batch(self, frame: pl.DataFrame) -> pl.Series:
        self.given += frame.to_dicts()
        return pl.Series([0.5] * frame.height)

    def health_check(self) -> Health:
        return Health(healthy=True)

    def get_fallback_score(self) -> FallbackScore:
        return FallbackScore(0.0, 0.0)


@settings(max_examples=150, deadline=None)
@given(store, names, names, st.lists(st.sampled_from([*CUSTOMERS, "unknown"]), max_size=8))
def test_features_are_all_there_before_a_model_is_asked(
    store: dict[tuple[str, int], dict[str, int | None]],
    retrieved: tuple[str, ...],
    required: tuple[str, ...],
    customers: list[str],
) -> None:
    """Feature: solicitation-platform, Property 8: Feature retrieval completeness"""
    rows = [
        (who, DAY.replace(day=day), *(known[name] for name in NAMES))
        for (who, day), known in store.items()
    ]
    schema = {"customerId": pl.String, "date": pl.Date, **dict.fromkeys(NAMES, pl.Int64)}
    features = pl.DataFrame(rows, schema, orient="row")
    frame = pl.DataFrame(
        {"customerId": pl.Series(customers, dtype=pl.String), "subjectId": ["s"] * len(customers)},
        schema_overrides={"subjectId": pl.String},
    )
    recorder = Recorder(required)
    joined = FeatureJoin(features, retrieved)(frame, CONTEXT).passed

    if set(required) - set(retrieved):
        with pytest.raises(MissingFeature):
            Score(recorder, MODEL)(joined, CONTEXT)
        assert recorder.given == []
        return
    scored = Score(recorder, MODEL)(joined, CONTEXT).passed
    known = [store.get((who, DAY.day)) or dict.fromkeys(NAMES) for who in customers]
    complete = [all(of[name] is not None for name in required) for of in known]
    assert recorder.given == [
        {name: of[name] for name in required}
        for of, whole in zip(known, complete, strict=True)
        if whole
    ]
    expected = ["model" if whole else "fallback" for whole in complete]
    assert scored["scoreSource.m"].to_list() == expected
