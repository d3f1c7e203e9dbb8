"""The step that publishes units, each for itself; what became of it stands in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.typehints import with_input_types, with_output_types

from pipelines import tally
from pipelines.balance import balance_document
from pipelines.errors import Fenced, PipelineError
from pipelines.failure import Failure, caught
from pipelines.ledger.record import Record
from pipelines.publisher import Publication, Publisher
from pipelines.tally import Tally
from pipelines.telling import tell_unit

TALLIED, RECEIVED, FAILED, PLANNED = "tallied", "received", "failed", "planned"

_LOG = logging.getLogger("muster.pipeline")


class UnitFailed(PipelineError):
    """Something before the publication failed."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self.transient = all(failure.transient for failure in failures)
        told = sorted({f"{f.stage}: {f.message}" for f in failures})
        more = f" (and {len(told) - 1} more, see the log)" if len(told) > 1 else ""
        super().__init__(told[0] + more)


@with_input_types(tuple[str, Any])
@with_output_types(str)
class PublishUnits(beam.DoFn):
    """Publishes units one by one; a unit that fails, or was taken over, stops no other."""

    def __init__(self, publication: Publication) -> None:
        self._to = publication
        self._publisher: Publisher | None = None

    def setup(self) -> None:
        """Open lake, ledger and store."""
        self._publisher = Publisher(self._to)

    def process(self, element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[str]:
        """Publish one unit, or say why not."""
        assert self._publisher is not None, "setup comes first"
        unit, grouped = element
        counted = tally.add(grouped[TALLIED])
        receipts = sorted(grouped[RECEIVED], key=lambda receipt: str(receipt.key))
        record = self._to.leases[unit]
        started = time.perf_counter()
        try:
            failures = list(grouped[FAILED])
            if failures:
                raise UnitFailed(failures)
            record = self._publisher.publish(unit, counted, receipts)
            record = self._publisher.finish(record, started)
        except Fenced as fenced:
            _LOG.warning("unit taken over", extra={"unit": unit, "error": str(fenced)})
            tell_unit(unit, "failed", str(fenced), balance_document(counted))
            yield unit
            return
        except Exception as error:  # noqa: BLE001
            record = self._fail(self._publisher, unit, record, counted, error)
        changed = record.details.get("changed", True)
        status = "failed" if record.event == "failed" else "published" if changed else "unchanged"
        tell_unit(unit, status, record.details.get("error"), balance_document(counted))
        yield unit

    def _fail(
        self, publisher: Publisher, unit: str, record: Record, counted: Tally, error: Exception
    ) -> Record:
        told = error if isinstance(error, UnitFailed) else caught(unit, "publish", error)
        details = {
            "transient": told.transient,
            "balance": balance_document(counted),
            "counted": tally.document(counted),
        }
        try:
            return publisher.fail(record, str(error), details)
        except Fenced as fenced:
            _LOG.warning("unit taken over", extra={"unit": unit, "error": str(fenced)})
            return replace(record, event="failed", details={"error": str(fenced)})

    def teardown(self) -> None:
        """Close the store."""
        if self._publisher is not None:
            self._publisher.close()
