from __future__ import annotations

import pickle
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conf.program import Channel
from transforms.channels import ChannelEligibility, columns_read
from transforms.errors import ExpressionRefused, NotBoolean, UnknownColumn
from transforms.kernel import UnitContext

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
ROWS = pl.DataFrame({"score.response": [0.1, 0.9, None], "orderValue": [1.0, None, 3.0]})
SCORED = Channel(channel_id="email", channel_type="EMAIL", eligible='"score.response" >= 0.5')
ALWAYS = Channel(channel_id="in-app", channel_type="IN_APP")
OFF = Channel(channel_id="sms", channel_type="SMS", enabled=False, eligible="phone IS NOT NULL")


def test_adds_a_column_a_channel_where_null_and_disabled_are_false() -> None:
    split = ChannelEligibility((SCORED, ALWAYS, OFF))(ROWS, CONTEXT)
    assert split.rejected.is_empty()
    assert_frame_equal(split.passed.select(ROWS.columns), ROWS)
    assert split.passed.select(pl.all().exclude(ROWS.columns)).to_dict(as_series=False) == {
        "channel.email": [False, True, False],
        "channel.in-app": [True, True, True],
        "channel.sms": [False, False, False],
    }


def test_columns_read_are_those_of_enabled_channels() -> None:
    assert columns_read((SCORED, ALWAYS, OFF)) == ("score.response",)


@pytest.mark.parametrize(
    ("eligible", "error"),
    [
        ("missing > 1", UnknownColumn),
        ("orderValue + 1", NotBoolean),
        ("orderValue = MAX(orderValue)", ExpressionRefused),
    ],
)
def test_what_cannot_say_yes_or_no_is_refused(eligible: str, error: type[Exception]) -> None:
    channel = Channel(channel_id="email", channel_type="EMAIL", eligible=eligible)
    with pytest.raises(error, match="channel 'email'"):
        ChannelEligibility((channel,))(ROWS, CONTEXT)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8), st.integers(0, 8))
def test_cutting_frames_changes_nothing(scores: list[Any], cut: int) -> None:
    frame = pl.DataFrame({"score.response": pl.Series(scores, dtype=pl.Float64)})
    kernel = ChannelEligibility((SCORED, ALWAYS, OFF))
    copy = pickle.loads(pickle.dumps(kernel))
    parts = [copy(frame[:cut], CONTEXT).passed, copy(frame[cut:], CONTEXT).passed]
    assert_frame_equal(kernel(frame, CONTEXT).passed, pl.concat(parts))
