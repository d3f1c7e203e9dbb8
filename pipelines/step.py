"""The one step that runs kernels: any chain of them, on any batch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.typehints import with_input_types, with_output_types

from pipelines import tally
from pipelines.batch import Batch
from pipelines.context import RunContext
from pipelines.failure import FAILURES, Failure, Lookback, caught
from pipelines.tally import TALLIES, Tally
from transforms.kernel import Kernel, Split, UnitContext, concat_rejections
from transforms.verdict import DUPLICATE_CODE

PASSED = "passed"
REJECTED = "rejected"

_PROGRESS = logging.getLogger("muster.progress")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chain made of one batch of ``read`` rows."""

    read: int
    split: Split
    stages: Tally


def run_chain(kernels: Sequence[Kernel], frame: pl.DataFrame, context: UnitContext) -> Outcome:
    """Run kernels one after another: each gets what the one before it let pass (property 9)."""
    read = frame.height
    stages: Tally = Counter()
    rejected = []
    for kernel in kernels:
        started = time.perf_counter()
        split = kernel(frame, context)
        seconds = time.perf_counter() - started
        counts = (frame.height, split.passed.height, split.rejected.height)
        stages.update(tally.of_stage(kernel.name, *counts, seconds))
        rejected.append(split.rejected)
        frame = split.passed
    return Outcome(read, Split(frame, concat_rejections(rejected)), stages)


def balance_of(outcome: Outcome) -> Tally:
    """Count what was read, written, deduplicated and rejected in one batch."""
    duplicate = pl.col("reasonCode") == DUPLICATE_CODE
    rejected = outcome.split.rejected
    counts: Tally = Counter(
        {
            tally.READ: outcome.read,
            tally.WRITTEN: outcome.split.passed.height,
            tally.DEDUPLICATED: rejected.filter(duplicate).height,
        }
    )
    return counts + tally.of_rejections(rejected.filter(~duplicate))


@with_input_types(Batch)
@with_output_types(Batch, rejected=Batch, tallies=tuple[str, Any], failures=Failure)
class RunKernels(beam.DoFn):
    """Runs a chain of kernels on each batch; tags rejections, tallies and failures.

    ``build`` makes the chain in the worker, ``build_evidence`` the one for rows of the look-back.
    ``count`` turns the outcome of a batch into what is counted for its unit. ``lookback`` says whom
    a failing batch fails beside its unit. ``reading`` says which time the source is being read, for
    whoever shows progress.
    """

    def __init__(
        self,
        build: Callable[[], Sequence[Kernel]],
        build_evidence: Callable[[], Sequence[Kernel]],
        context: RunContext,
        count: Callable[[Outcome], Tally],
        lookback: Lookback,
        reading: int,
    ) -> None:
        self._build, self._build_evidence = build, build_evidence
        self._context, self._count = context, count
        self._lookback, self._reading = lookback, reading
        self._evidence: Sequence[Kernel] | None = None

    def setup(self) -> None:
        """Build the chain: open models, load lookups and features."""
        self._kernels = self._build()

    def process(self, element: Batch) -> Iterator[object]:
        """Yield the batch with the rows that passed, and the rest under its tags."""
        try:
            context = self._context.unit(element.unit)
            outcome = run_chain(self._chain(element), element.frame, context)
            counted = self._count(outcome)
        except Exception as error:  # noqa: BLE001
            for failure in self._lookback.fail(caught(element.unit, "transform", error)):
                yield beam.pvalue.TaggedOutput(FAILURES, failure)
            return
        yield element.with_frame(outcome.split.passed)
        yield beam.pvalue.TaggedOutput(REJECTED, element.with_frame(outcome.split.rejected))
        if element.emit:
            yield beam.pvalue.TaggedOutput(TALLIES, (element.unit, counted))
            told = {"unit": element.unit, "rows": outcome.read, "pass_": self._reading}
            _PROGRESS.info("batch", extra=told)

    def _chain(self, batch: Batch) -> Sequence[Kernel]:
        if batch.emit:
            return self._kernels
        if self._evidence is None:
            self._evidence = self._build_evidence()
        return self._evidence
