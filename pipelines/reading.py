"""Reading the rows of a run: once, or twice where rows are compared with each other.

```
entries -> read key columns -> conform, filters, score -> thin rows -> shards -> verdicts
entries + verdicts -> read all columns, each row with its verdict
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import PCollection

from conf.program import Capacity, Dedupe
from pipelines.batch import Batch
from pipelines.chain import Purpose
from pipelines.context import RunContext
from pipelines.counting import CountWork
from pipelines.failure import FAILURES, Failure, Lookback
from pipelines.read import BATCHES, DAMAGED, ENTRIES, VERDICTS, ReadDecided, ReadEntries
from pipelines.sources.entry import Damaged, Entry, Source
from pipelines.step import PASSED, REJECTED, Outcome, RunKernels
from pipelines.tally import FIRST_PASS, TALLIES, Tally
from pipelines.verdicts import Decide, Thin
from transforms.kernel import Kernel

#: Beam gives a ParDo with several outputs no type.
Step = Any


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read, what decides which rows lose, and how far back a row is compared.

    ``keys`` is the source cut down to the columns that deciding needs; ``chain`` gives the kernels
    of each pass, built in the worker.
    """

    source: Source
    keys: Source
    entries: tuple[Entry, ...]
    lookback: Lookback
    context: RunContext
    chain: Callable[[Purpose], Callable[[], Sequence[Kernel]]]
    dedupe: Dedupe | None
    capacity: Capacity | None
    order_by: tuple[str, ...]
    banded: bool
    shards: int


@dataclass(frozen=True, slots=True)
class Read:
    """What came of reading: rows, damage, and the tallies and failures up to there."""

    batches: PCollection[Batch]
    damaged: PCollection[Damaged]
    tallies: tuple[PCollection[tuple[str, Tally]], ...]
    failures: tuple[PCollection[Failure], ...]


def read(pipeline: beam.Pipeline, reading: Reading) -> Read:
    """Read every row that is to be decided, with its verdict where rules compare rows."""
    if reading.dedupe is None and reading.capacity is None:
        return _once(pipeline, "output", reading, reading.source, reading.entries, "read")
    return _judged(pipeline, reading)


def kernels(reading: Reading, purpose: Purpose, count: Callable[[Outcome], Tally]) -> Step:
    """Return the step that runs the chain of one pass; rows of the look-back run their own."""
    chains = (reading.chain(purpose), reading.chain(Purpose.EVIDENCE))
    # The second time, each row has its verdict: what fails concerns no other day.
    decided = purpose is Purpose.OUTPUT
    lookback = replace(reading.lookback, days=0) if decided else reading.lookback
    step = RunKernels(*chains, reading.context, count, lookback, 2 if decided else 1)
    return beam.ParDo(step).with_outputs(REJECTED, TALLIES, FAILURES, main=PASSED)


def _judged(pipeline: beam.Pipeline, reading: Reading) -> Read:
    """Find the rows that lose, then read again and give every row its verdict."""
    emitting = [entry for entry in reading.entries if entry.emits]
    rows = _once(pipeline, "keys", reading, reading.keys, reading.entries, FIRST_PASS)
    known = rows.batches | "judge" >> kernels(reading, Purpose.DECIDE, CountWork())
    rules = Decide(reading.dedupe, reading.capacity, reading.lookback.units)
    verdicts = (
        known[PASSED]
        | "thin rows" >> _thin(reading)
        | "by customer" >> beam.GroupByKey()
        | "compare" >> beam.ParDo(rules).with_outputs(FAILURES, main=BATCHES)
    )
    keyed = [(entry.index, entry) for entry in emitting]
    again = (
        {ENTRIES: pipeline | "entries again" >> beam.Create(keyed), VERDICTS: verdicts[BATCHES]}
        | "by entry" >> beam.CoGroupByKey()
        | "read again" >> _reader(ReadDecided, reading, reading.source, "read")
    )
    tallies = (*rows.tallies, known[TALLIES], again[TALLIES])
    failed = (known[FAILURES], verdicts[FAILURES], again[FAILURES])
    return Read(again[BATCHES], again[DAMAGED], tallies, (*rows.failures, *failed))


def _once(
    pipeline: beam.Pipeline,
    name: str,
    reading: Reading,
    source: Source,
    entries: Sequence[Entry],
    stage: str,
) -> Read:
    found = (
        pipeline
        | f"entries {name}" >> beam.Create(entries)
        | f"read {name}" >> _reader(ReadEntries, reading, source, stage)
    )
    return Read(found[BATCHES], found[DAMAGED], (found[TALLIES],), (found[FAILURES],))


def _reader(kind: type[ReadEntries], reading: Reading, source: Source, stage: str) -> Step:
    reader = kind(source, reading.lookback, stage)
    return beam.ParDo(reader).with_outputs(DAMAGED, TALLIES, FAILURES, main=BATCHES)


def _thin(reading: Reading) -> Step:
    thin = Thin(
        {(part.unit, part.split): entry.index for entry in reading.entries for part in entry.parts},
        reading.order_by,
        reading.capacity.score if reading.capacity else None,
        banded=reading.banded and reading.capacity is not None,
        shards=reading.shards,
    )
    return beam.FlatMap(thin).with_output_types(tuple[int, pl.DataFrame])
