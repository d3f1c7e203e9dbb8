"""Keeping what could not be read, as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints import with_input_types, with_output_types

from pipelines import tally
from pipelines.context import RunContext
from pipelines.failure import FAILURES, Failure, caught
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.sources.entry import Damaged
from pipelines.tally import TALLIES
from schemas.registry import RecordType


@with_input_types(Damaged)
@with_output_types(tuple[str, Receipt], tallies=tuple[str, Any], failures=Failure)
class WriteQuarantine(beam.DoFn):
    """Writes each damaged stretch as a quarantine record of its own, and counts its rows."""

    def __init__(self, settings: LakeSettings, record: RecordType, context: RunContext) -> None:
        self._settings, self._record, self._context = settings, record, context

    def setup(self) -> None:
        """Open the lake."""
        self._lake = Lake(self._settings)

    def process(self, element: Damaged) -> Iterator[object]:
        """Yield the receipt and the count; damage in a look-back counts with its own unit."""
        if not element.emit:
            return
        try:
            receipt = self._write(element)
        except Exception as error:  # noqa: BLE001
            yield beam.pvalue.TaggedOutput(FAILURES, caught(element.unit, "quarantine", error))
            return
        rows = element.damage.rows
        yield element.unit, receipt
        yield beam.pvalue.TaggedOutput(
            TALLIES, (element.unit, Counter({tally.READ: rows, tally.QUARANTINED: rows}))
        )

    def _write(self, element: Damaged) -> Receipt:
        context, damage = self._context.unit(element.unit), element.damage
        table = pa.Table.from_pylist(
            [
                {
                    "source": element.source,
                    "byteOffset": damage.offset,
                    "byteLength": damage.length,
                    "rows": damage.rows,
                    "error": damage.error,
                    "content": element.content,
                    "timestamp": context.logical_time,
                    "workflowExecutionId": context.execution_id,
                }
            ],
            schema=self._record.arrow,
        )
        return self._lake.write_fragment(
            self._record,
            f"{self._context.program_id}/{element.unit}",
            f"{element.split:05d}-{damage.offset:012d}",
            [self._lake.encoder(self._record).encode(table)],
            1,
        )
