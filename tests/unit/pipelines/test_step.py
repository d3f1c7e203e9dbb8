from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.testing.util import assert_that, equal_to

from pipelines.batch import Batch
from pipelines.context import RunContext
from pipelines.failure import FAILURES, Lookback
from pipelines.step import PASSED, REJECTED, RunKernels, balance_of, run_chain
from pipelines.tally import TALLIES
from transforms.kernel import ROW, Kernel, Split, UnitContext, rejections

DAYS = ("2017-03-01", "2017-03-02")


@dataclass(frozen=True)
class Below:
    """Rejects rows below a number; knows what it saw."""

    limit: int
    code: str = "TOO_LOW"

    @property
    def name(self) -> str:
        return f"below {self.limit}"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:
        if frame["n"].max() == 99:
            raise ValueError("99 is too much")
        low = pl.col("n") < self.limit
        lost = rejections(
            frame.filter(low),
            filter_id="f",
            filter_type="QUALITY",
            reason=context.unit,
            reason_code=self.code,
        )
        return Split(frame.filter(~low), lost)


def frame(*values: int) -> pl.DataFrame:
    rows = pl.Series(ROW, range(len(values)), pl.UInt32)
    return pl.DataFrame({"n": pl.Series(values, dtype=pl.Int64)}).with_columns(rows)


def batch(*values: int, unit: str = DAYS[0], emit: bool = True) -> Batch:
    return Batch(unit, 0, emit, last=True, frame=frame(*values))


def test_each_kernel_gets_what_the_one_before_it_let_pass(unit_context: UnitContext) -> None:
    outcome = run_chain([Below(2), Below(1, "NEVER"), Below(4)], frame(5, 3, 1, 4, 0), unit_context)
    assert outcome.split.passed["n"].to_list() == [5, 4]
    rejected = outcome.split.rejected.select(ROW, "reasonCode").rows()
    assert rejected == [(1, "TOO_LOW"), (2, "TOO_LOW"), (4, "TOO_LOW")]
    stages = {key[1:]: n for key, n in outcome.stages.items() if key[-1] != "microseconds"}
    assert stages["below 2", "in"] == 5
    assert stages["below 2", "rejected"] == 2
    assert stages["below 1", "in"] == stages["below 1", "passed"] == 3
    assert stages["below 4", "passed"] == 2


def test_a_chain_of_no_kernel_lets_everything_pass(unit_context: UnitContext) -> None:
    outcome = run_chain([], frame(1, 2), unit_context)
    assert outcome.split.passed.height == 2
    assert outcome.split.rejected.is_empty()


def test_duplicates_are_counted_apart(unit_context: UnitContext) -> None:
    kernels = [Below(1, "DUPLICATE_IN_WINDOW"), Below(2)]
    counted = balance_of(run_chain(kernels, frame(0, 1, 2), unit_context))
    assert counted["read",] == 3
    assert (counted["written",], counted["deduplicated",]) == (1, 1)
    assert counted["rejected", "QUALITY", "f", "TOO_LOW"] == 1


def build() -> list[Kernel]:
    return [Below(2)]


def build_evidence() -> list[Kernel]:
    return [Below(7)]


def run(pipeline: Any, context: RunContext, batches: list[Batch]) -> Any:
    step = RunKernels(build, build_evidence, context, balance_of, Lookback(DAYS, 0), 2)
    outputs = beam.ParDo(step).with_outputs(REJECTED, TALLIES, FAILURES, main=PASSED)
    return pipeline | beam.Create(batches) | outputs


def test_the_step_splits_counts_and_tells(pipeline: Any, context: RunContext) -> None:
    found = run(pipeline, context, [batch(1, 2, 3), batch(99, unit=DAYS[1]), batch(5, emit=False)])
    for tag, expected in ((PASSED, [(True, 2), (False, 0)]), (REJECTED, [(True, 1), (False, 1)])):
        rows = found[tag] | f"rows {tag}" >> beam.Map(lambda b: (b.emit, b.frame.height))
        assert_that(rows, equal_to(expected), label=tag)
    counted = found[TALLIES] | "count" >> beam.Map(lambda each: (each[0], each[1]["read",]))
    assert_that(counted, equal_to([(DAYS[0], 3)]), label="tallies")
    failed = found[FAILURES] | "fail" >> beam.Map(lambda f: (f.unit, f.stage, f.message))
    assert_that(failed, equal_to([(DAYS[1], "transform", "99 is too much")]), label="failures")
