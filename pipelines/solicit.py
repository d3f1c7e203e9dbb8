"""The main pipeline: rows of a source in, candidates and rejections in the lake, units published.

```
read -> conform, filters, drop losers, score, band, treatment, channels
     -> fragments of candidates, of rejections, of what is damaged -> publish, a unit at a time
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.pvalue import PCollection

from conf.program import Program
from pipelines.chain import Chain, Purpose
from pipelines.counting import CountOutput
from pipelines.failure import FAILURES, Failure, Lookback
from pipelines.publish import FAILED, PLANNED, RECEIVED, TALLIED, PublishUnits
from pipelines.publisher import Publication
from pipelines.reading import Reading, Step, kernels, read
from pipelines.sinks.lake import RECEIPTS, ToTable, WriteFragments
from pipelines.sinks.quarantine import WriteQuarantine
from pipelines.sources.entry import Entry, Source
from pipelines.step import PASSED, REJECTED
from pipelines.tables import CandidateTable, RejectionTable
from pipelines.tally import TALLIES
from schemas.registry import record_type


@dataclass(frozen=True, slots=True)
class Solicitation:
    """One pipeline run: the units it decides, and all that it needs to know to do so."""

    source: Source
    keys: Source
    entries: tuple[Entry, ...]
    units: tuple[str, ...]
    chain: Chain
    publication: Publication
    shards: int
    threads: int

    @property
    def program(self) -> Program:
        """The program that decides."""
        return self.chain.program

    def reading(self) -> Reading:
        """Return how the run's rows are read."""
        return Reading(
            self.source,
            self.keys,
            self.entries,
            Lookback(self.units, lookback_days(self.program)),
            self.publication.context,
            lambda purpose: replace(self.chain, purpose=purpose),
            self.program.dedupe,
            self.program.capacity,
            self.chain.connector.order_by,
            self.program.bands is not None,
            self.shards,
        )


def lookback_days(program: Program) -> int:
    """Return how many days before a unit its rows may be duplicates of: the window, rounded up."""
    return -(-program.dedupe.window_hours // 24) if program.dedupe else 0


def build(pipeline: beam.Pipeline, run: Solicitation) -> PCollection[str]:
    """Add the whole run to ``pipeline``; the result is the units that were dealt with."""
    reading = run.reading()
    rows = read(pipeline, reading)
    decided = rows.batches | "decide" >> kernels(reading, Purpose.OUTPUT, CountOutput(run.program))
    tables: dict[str, tuple[str, ToTable]] = {
        PASSED: ("candidate", CandidateTable(run.program, run.chain.connector)),
        REJECTED: ("rejection", RejectionTable()),
    }
    written = [
        decided[tag] | f"write {name}" >> _fragments(run, name, table)
        for tag, (name, table) in tables.items()
    ]
    quarantined = rows.damaged | "quarantine" >> _quarantine(run)
    outputs = (decided, quarantined, *written)
    tallies = (*rows.tallies, *(part[TALLIES] for part in outputs))
    failures = (*rows.failures, *(part[FAILURES] for part in outputs))
    receipts = [part[RECEIPTS] for part in (quarantined, *written)]
    published: PCollection[str] = (
        {
            PLANNED: pipeline | "units" >> beam.Create([(unit, unit) for unit in run.units]),
            TALLIED: tallies | "tallies" >> beam.Flatten(),
            RECEIVED: receipts | "receipts" >> beam.Flatten(),
            FAILED: failures | "failures" >> beam.Flatten() | "by failed unit" >> _by_unit(),
        }
        | "by unit" >> beam.CoGroupByKey()
        | "publish" >> beam.ParDo(PublishUnits(run.publication))
    )
    return published


def _by_unit() -> Step:
    return beam.Map(lambda failure: (failure.unit, failure)).with_output_types(tuple[str, Failure])


def _fragments(run: Solicitation, name: str, to_table: ToTable) -> Step:
    to = run.publication
    sink = WriteFragments(to.lake, record_type(name), to_table, to.context, run.threads)
    return beam.ParDo(sink).with_outputs(TALLIES, FAILURES, main=RECEIPTS)


def _quarantine(run: Solicitation) -> Step:
    to = run.publication
    sink = WriteQuarantine(to.lake, record_type("quarantine"), to.context)
    return beam.ParDo(sink).with_outputs(TALLIES, FAILURES, main=RECEIPTS)
