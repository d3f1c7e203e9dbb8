from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.batch import Batch
from pipelines.sources.cut import cut
from pipelines.sources.entry import Part
from transforms.kernel import ROW

PART = Part("2017-03-01", 2, emit=True)
EMPTY = pl.DataFrame(schema={"n": pl.Int64})


def cut_up(heights: list[int], rows: int) -> list[Batch]:
    total, frames = 0, []
    for height in heights:
        frames.append(pl.DataFrame({"n": range(total, total + height)}, EMPTY.schema))
        total += height
    return list(cut(PART, frames, rows, EMPTY))


def told(batches: list[Batch]) -> list[tuple[bool, list[int], list[int]]]:
    return [(b.last, b.frame["n"].to_list(), b.frame[ROW].to_list()) for b in batches]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 8))
def test_the_cut_depends_on_the_rows_alone(heights: list[int], rows: int) -> None:
    total = sum(heights)
    batches = told(cut_up(heights, rows))
    assert batches == told(cut_up([total], rows))
    assert batches == told(cut_up([1] * total, rows))
    starts = range(0, max(total, 1), rows)
    expected = [list(range(start, min(start + rows, total))) for start in starts]
    assert batches == [(part is expected[-1], part, part) for part in expected]


@pytest.mark.parametrize("heights", [[], [0], [0, 0]])
def test_no_rows_make_one_last_batch_without_rows(heights: list[int]) -> None:
    (batch,) = cut_up(heights, 3)
    assert batch.last
    assert batch.frame.schema == {"n": pl.Int64, ROW: pl.UInt32}
    assert (batch.unit, batch.split, batch.emit) == ("2017-03-01", 2, True)


def test_rows_that_fill_their_batches_end_with_a_full_one() -> None:
    assert [b.frame.height for b in cut_up([4, 2], 3)] == [3, 3]
