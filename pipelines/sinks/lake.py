"""Writing batches to the lake as fragments: encoded behind the pipeline, cut by unit and split."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.typehints import with_input_types, with_output_types
from apache_beam.utils.windowed_value import WindowedValue

from pipelines import tally
from pipelines.batch import Batch
from pipelines.context import RunContext
from pipelines.failure import FAILURES, Failure, caught
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.tally import TALLIES
from schemas.codec import Encoder
from schemas.registry import RecordType
from transforms.kernel import UnitContext

RECEIPTS = "receipts"
#: A fragment is closed after the batch that brings it to this many rows.
FRAGMENT_ROWS = 1 << 20

ToTable = Callable[[pl.DataFrame, UnitContext, int], pa.Table]


@dataclass(slots=True)
class _Open:
    """A fragment under way: its blocks are being encoded, in order."""

    part: int = 0
    rows: int = 0
    blocks: list[Future[bytes]] = field(default_factory=list)


@with_input_types(Batch)
@with_output_types(tuple[str, Receipt], tallies=tuple[str, Any], failures=Failure)
class WriteFragments(beam.DoFn):
    """Writes the batches of each unit and split, in order, as fragments of one record type.

    ``to_table`` turns a frame into the record's Arrow table. It runs in the encoding threads, as
    does the writing, so that the next entry is being read meanwhile. A fragment's rows depend on
    the batches of its split alone, never on how the runner bundled them.
    """

    def __init__(
        self,
        settings: LakeSettings,
        record: RecordType,
        to_table: ToTable,
        context: RunContext,
        threads: int,
    ) -> None:
        self._settings, self._record, self._to_table = settings, record, to_table
        self._context, self._threads = context, threads

    def setup(self) -> None:
        """Open the lake and the encoding threads."""
        self._lake = Lake(self._settings)
        self._encoder: Encoder = self._lake.encoder(self._record)
        self._pool = ThreadPoolExecutor(self._threads)

    def start_bundle(self) -> None:
        """Forget splits whose last batch never came: their unit has failed."""
        self._open: dict[tuple[str, int], _Open] = {}
        self._busy: deque[Future[bytes]] = deque()
        self._closing: deque[tuple[str, Future[Receipt]]] = deque()

    def process(self, element: Batch) -> Iterator[object]:
        """Take a batch; yield (unit, receipt) for fragments that are written by now."""
        started, rows = time.perf_counter(), element.frame.height
        self._take(element)
        yield from self._written(waiting=self._threads)
        stage = f"write {self._record.name}s"
        counted = tally.of_stage(stage, rows, rows, 0, time.perf_counter() - started)
        yield beam.pvalue.TaggedOutput(TALLIES, (element.unit, counted))

    def finish_bundle(self) -> Iterator[object]:
        """Yield the receipts of all fragments that are still being written."""
        for found in self._written(waiting=0):
            if isinstance(found, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(found.tag, _at_end(found.value))
            else:
                yield _at_end(found)

    def _take(self, batch: Batch) -> None:
        fragment = self._open.setdefault((batch.unit, batch.split), _Open())
        if batch.frame.height:
            fragment.blocks.append(self._submit(batch))
            fragment.rows += batch.frame.height
        if batch.last:
            del self._open[batch.unit, batch.split]
        elif fragment.rows >= FRAGMENT_ROWS:
            self._open[batch.unit, batch.split] = _Open(part=fragment.part + 1)
        else:
            return
        if fragment.rows:
            written = self._pool.submit(self._write, batch.unit, batch.split, fragment)
            self._closing.append((batch.unit, written))

    def _submit(self, batch: Batch) -> Future[bytes]:
        """Encode behind, but never more than a few batches behind: memory stays bounded."""
        while len(self._busy) > self._threads:
            wait([self._busy.popleft()])
        future = self._pool.submit(self._encode, batch)
        self._busy.append(future)
        return future

    def _encode(self, batch: Batch) -> bytes:
        context = self._context.unit(batch.unit)
        return self._encoder.encode(self._to_table(batch.frame, context, batch.split))

    def _write(self, unit: str, split: int, fragment: _Open) -> Receipt:
        return self._lake.write_fragment(
            self._record,
            f"{self._context.program_id}/{unit}",
            f"{split:05d}-{fragment.part:03d}",
            [block.result() for block in fragment.blocks],
            fragment.rows,
        )

    def _written(self, waiting: int) -> Iterator[object]:
        """Yield what came of the oldest fragments until at most ``waiting`` are under way."""
        while len(self._closing) > waiting or (self._closing and self._closing[0][1].done()):
            unit, written = self._closing.popleft()
            try:
                yield unit, written.result()
            except Exception as error:  # noqa: BLE001
                yield beam.pvalue.TaggedOutput(FAILURES, caught(unit, "write", error))

    def teardown(self) -> None:
        """Stop the encoding threads."""
        self._pool.shutdown(cancel_futures=True)


def _at_end(value: object) -> WindowedValue:
    return WindowedValue(value, GlobalWindow().max_timestamp(), (GlobalWindow(),))
