from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conf.program import Bands, Tier
from transforms.bands import Band
from transforms.errors import ColumnTaken, MissingScore
from transforms.kernel import REJECTION_SCHEMA, UnitContext, concat_rejections

CONTEXT = UnitContext("p", "2017-03-02", "x", datetime(2017, 3, 2, 23, 59, 59, 999000, UTC))
TIERS = (("low", 0.22), ("medium", 0.80), ("high", 0.95))
BAND = Band(
    Bands(score="response", tiers=tuple(Tier(name=name, at_least=low) for name, low in TIERS))
)


def scored(*scores: float | None) -> pl.DataFrame:
    rows = pl.int_range(len(scores), dtype=pl.UInt32, eager=True)
    ids = [f"c{row}" for row in rows]
    return pl.DataFrame(
        {"_row": rows, "customerId": ids, "score.response": scores},
        schema_overrides={"score.response": pl.Float64, "customerId": pl.String},
    )


@pytest.mark.parametrize(
    ("score", "band"),
    [
        (0.22, "low"),
        (math.nextafter(0.80, 0), "low"),
        (0.80, "medium"),
        (math.nextafter(0.95, 0), "medium"),
        (0.95, "high"),
        (1.0, "high"),
    ],
)
def test_tiers_are_half_open_and_the_last_includes_one(score: float, band: str) -> None:
    split = BAND(scored(score), CONTEXT)
    assert split.passed["band"].to_list() == [band]
    assert split.rejected.is_empty()


@pytest.mark.parametrize(
    ("score", "code", "reason"),
    [
        (0.0, "BAND_BELOW_LOWEST", "score response is below 0.22, where low begins"),
        (math.nextafter(0.22, 0), "BAND_BELOW_LOWEST", "score response is below 0.22"),
        (None, "BAND_SCORE_INVALID", "score response is no number from 0 to 1"),
        (math.nan, "BAND_SCORE_INVALID", "score response is no number"),
        (-math.nan, "BAND_SCORE_INVALID", "score response is no number"),
        (math.inf, "BAND_SCORE_INVALID", "score response is no number"),
        (-0.001, "BAND_SCORE_INVALID", "score response is no number"),
        (math.nextafter(1.0, 2), "BAND_SCORE_INVALID", "score response is no number"),
    ],
)
def test_what_has_no_tier_is_rejected(score: float | None, code: str, reason: str) -> None:
    split = BAND(scored(0.5, score, 0.9), CONTEXT)
    assert split.passed["customerId"].to_list() == ["c0", "c2"]
    (rejected,) = split.rejected.to_dicts()
    assert rejected["_row"] == 1
    assert rejected["customerId"] == "c1"
    assert (rejected["filterId"], rejected["filterType"]) == ("band", "QUALITY")
    assert rejected["reasonCode"] == code
    assert rejected["reason"].startswith(reason)
    assert split.rejected.schema == REJECTION_SCHEMA


def test_a_single_tier_from_zero_takes_every_score() -> None:
    all_of_them = Band(Bands(score="response", tiers=(Tier(name="any", at_least=0.0),)))
    split = all_of_them(scored(0.0, -0.0, 0.5, 1.0), CONTEXT)
    assert split.passed["band"].to_list() == ["any"] * 4


def test_the_score_must_be_there() -> None:
    with pytest.raises(MissingScore, match=r"expected column 'score.response', found \['_row'"):
        BAND(scored(0.5).drop("score.response"), CONTEXT)


def test_a_column_of_the_source_is_never_overwritten() -> None:
    with pytest.raises(ColumnTaken, match="band"):
        BAND(scored(0.5).with_columns(band=pl.lit("rock")), CONTEXT)


def test_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(BAND)) == BAND


scores = st.lists(
    st.none() | st.floats(-0.5, 1.5) | st.sampled_from([0.22, 0.8, 0.95, 1.0, math.nan, math.inf]),
    max_size=20,
)


@settings(max_examples=100, deadline=None)
@given(scores, st.integers(0, 20))
def test_is_indifferent_to_how_rows_are_cut_and_loses_none(
    values: list[float | None], cut: int
) -> None:
    frame = scored(*values)
    whole, head, tail = (BAND(part, CONTEXT) for part in (frame, frame[:cut], frame[cut:]))
    assert_frame_equal(whole.passed, pl.concat([head.passed, tail.passed]))
    assert_frame_equal(whole.rejected, concat_rejections([head.rejected, tail.rejected]))
    rows = [*whole.passed["_row"], *whole.rejected["_row"]]
    assert sorted(rows) == list(range(len(values)))
    assert whole.passed["_row"].is_sorted()


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 1.0))
def test_agrees_with_a_walk_down_the_tiers(score: float) -> None:
    expected = next((name for name, low in reversed(TIERS) if score >= low), None)
    passed = BAND(scored(score), CONTEXT).passed
    assert passed["band"].to_list() == ([expected] if expected else [])
