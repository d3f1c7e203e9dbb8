from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import polars as pl
import pytest
from apache_beam.coders.typecoders import registry
from apache_beam.testing.util import assert_that, equal_to
from polars.testing import assert_frame_equal

from pipelines import batch as module
from pipelines.batch import Batch, BatchCoder, FrameCoder

FRAME = pl.DataFrame(
    {
        "n": pl.Series([1, None, 3], dtype=pl.UInt32),
        "text": ["a", "ø" * 50, None],
        "at": [datetime(2017, 3, 1, tzinfo=UTC), None, None],
        "list": [["x"], [], None],
        "struct": [{"a": 1.5, "b": None}] * 3,
        "flag": [True, False, None],
        "kind": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
    }
)
FRAMES = [FRAME, FRAME.clear(), FRAME.select("text"), FRAME[1:2], pl.DataFrame()]


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_cross_a_worker_boundary_unchanged(frame: pl.DataFrame) -> None:
    coder = FrameCoder()
    assert_frame_equal(coder.decode(coder.encode(frame)), frame)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(("emit", "last"), [(True, False), (False, True)])
def test_batches_cross_a_worker_boundary_unchanged(
    frame: pl.DataFrame, emit: bool, last: bool
) -> None:
    coder = BatchCoder()
    made = Batch("2017-03-01", 7, emit, last, frame)
    back = coder.decode(coder.encode(made))
    assert (back.unit, back.split, back.emit, back.last) == ("2017-03-01", 7, emit, last)
    assert_frame_equal(back.frame, frame)


def test_a_size_is_estimated_without_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> bytes:
        raise AssertionError("encoded")

    monkeypatch.setattr(module, "frame_to_bytes", refused)
    made = Batch("2017-03-01", 0, emit=True, last=True, frame=FRAME)
    assert BatchCoder().estimate_size(made) == FRAME.estimated_size()
    assert FrameCoder().estimate_size(FRAME) == FRAME.estimated_size()


def test_the_coders_are_those_that_pipelines_use() -> None:
    assert isinstance(registry.get_coder(Batch), BatchCoder)
    assert type(registry.get_coder(pl.DataFrame)) is FrameCoder
    assert BatchCoder().to_type_hint() is Batch
    assert FrameCoder().to_type_hint() is pl.DataFrame
    assert not BatchCoder().is_deterministic()


def test_a_batch_with_other_rows_keeps_its_place() -> None:
    made = Batch("2017-03-01", 3, emit=False, last=True, frame=FRAME)
    assert made.with_frame(FRAME.head(1)).frame.height == 1
    assert made.with_frame(FRAME.head(1)).with_frame(FRAME) == made


def test_frames_come_through_a_shuffle(pipeline: Any) -> None:
    keyed = [(n % 2, FRAME.head(n)) for n in range(4)]
    heights = (
        pipeline
        | beam.Create(keyed).with_output_types(tuple[int, pl.DataFrame])
        | beam.GroupByKey()
        | beam.MapTuple(lambda key, frames: (key, sum(f.height for f in frames)))
    )
    assert_that(heights, equal_to([(0, 2), (1, 4)]))
