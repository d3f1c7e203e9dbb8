"""The step that reads planned entries: batches out, damage and failures beside them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.typehints import with_input_types, with_output_types

from pipelines import tally
from pipelines.batch import Batch
from pipelines.errors import MisplacedRows
from pipelines.failure import FAILURES, Failure, Lookback, caught
from pipelines.sources.entry import Damaged, Entry, Reader, Source
from pipelines.tally import TALLIES
from pipelines.verdicts import by_part, judged

BATCHES = "batches"
DAMAGED = "damaged"
ENTRIES = "entries"
VERDICTS = "verdicts"


@with_input_types(Entry)
@with_output_types(Batch, damaged=Damaged, tallies=tuple[str, Any], failures=Failure)
class ReadEntries(beam.DoFn):
    """Reads one entry at a time; a failing one fails the units that need it, and no other.

    ``stage`` is the name under which the seconds of reading are counted.
    """

    def __init__(self, source: Source, lookback: Lookback, stage: str) -> None:
        self._source, self._lookback, self._stage = source, lookback, stage
        self._reader: Reader | None = None

    def process(self, element: Entry) -> Iterator[object]:
        """Yield the entry's batches; damage, tallies and failures under their own tags."""
        yield from self.read(element)

    def read(self, entry: Entry) -> Iterator[object]:
        """Read one entry; when it fails, its days one by one, so that only the bad ones fail.

        Rows out of place fail every day of the entry: one that seemed complete may lack them.
        """
        begun: dict[tuple[str, int], bool] = {}
        try:
            started = time.perf_counter()
            for found in self._open().read(entry):
                begun[found.unit, found.split] = isinstance(found, Batch) and found.last
                yield from self._outputs(found, time.perf_counter() - started)
                started = time.perf_counter()
        except MisplacedRows as error:
            for part in entry.parts:
                yield from self._failures(part.unit, error)
        except Exception as error:  # noqa: BLE001
            # A connection may be of no use after an error: what follows opens another.
            self.teardown()
            for part in entry.parts:
                complete = begun.get((part.unit, part.split))
                if complete is None and len(entry.parts) > 1:
                    yield from self.read(replace(entry, parts=(part,)))
                elif not complete:
                    yield from self._failures(part.unit, error)

    def _outputs(self, found: Batch | Damaged, seconds: float) -> Iterator[object]:
        if isinstance(found, Damaged):
            yield beam.pvalue.TaggedOutput(DAMAGED, found)
            return
        yield found
        if found.emit:
            rows = found.frame.height
            counted = tally.of_stage(self._stage, rows, rows, 0, seconds)
            yield beam.pvalue.TaggedOutput(TALLIES, (found.unit, counted))

    def _open(self) -> Reader:
        if self._reader is None:
            self._reader = self._source.open()
        return self._reader

    def _failures(self, day: str, error: Exception) -> Iterator[object]:
        for failure in self._lookback.fail(caught(day, "read", error)):
            yield beam.pvalue.TaggedOutput(FAILURES, failure)

    def teardown(self) -> None:
        """Close the source."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


@with_input_types(tuple[int, Any])
@with_output_types(Batch, damaged=Damaged, tallies=tuple[str, Any], failures=Failure)
class ReadDecided(ReadEntries):
    """Reads an entry again, with the verdicts on its rows in the column ``_verdict``."""

    def process(  # type: ignore[override]
        self, element: tuple[int, dict[str, Iterable[object]]]
    ) -> Iterator[object]:
        """Yield the entry's batches with the verdict on each row."""
        _, grouped = element
        self._losers = by_part([f for f in grouped[VERDICTS] if isinstance(f, pl.DataFrame)])
        for entry in grouped[ENTRIES]:
            assert isinstance(entry, Entry)
            yield from self.read(entry)

    def _outputs(self, found: Batch | Damaged, seconds: float) -> Iterator[object]:
        known = judged(found, self._losers) if isinstance(found, Batch) else found
        yield from super()._outputs(known, seconds)
