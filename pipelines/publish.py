"""The step that publishes units, each for itself; what became of it stands in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
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

TALLIED, RECEIVED, FAILED, PLANNED = "tallied", "received", "failed", "planned"

_PROGRESS = logging.getLogger("muster.progress")
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

    def setup(self) -> None:
        """Open lake, ledger and store."""
        self._publisher = Publisher(self._to)

    def process(self, element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[str]:
        """Publish one unit, or say why not."""
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
            record = self._publisher.finish(record, time.perf_counter() - started)
        except Fenced as fenced:
            _LOG.warning("unit taken over", extra={"unit": unit, "error": str(fenced)})
            _tell(unit, "failed", counted, str(fenced))
            yield unit
            return
        except Exception as error:  # noqa: BLE001
            record = self._fail(unit, record, counted, error)
        changed = record.details.get("changed", True)
        status = "failed" if record.event == "failed" else "published" if changed else "unchanged"
        _tell(unit, status, counted, record.details.get("error"))
        yield unit

    def _fail(self, unit: str, record: Record, counted: Tally, error: Exception) -> Record:
        known = isinstance(error, UnitFailed)
        failure = None if known else caught(unit, "publish", error)
        details = {
            "transient": error.transient if isinstance(error, UnitFailed) else failure.transient,  # type: ignore[union-attr]
            "balance": balance_document(counted),
            "counted": tally.document(counted),
        }
        try:
            return self._publisher.fail(record, str(error), details)
        except Fenced as fenced:
            _LOG.warning("unit taken over", extra={"unit": unit, "error": str(fenced)})
            return record

    def teardown(self) -> None:
        """Close the store."""
        self._publisher.close()


def _tell(unit: str, status: str, counted: Tally, error: str | None) -> None:
    """Tell whoever shows progress."""
    balance = balance_document(counted)
    rejected = {line["reasonCode"]: line["count"] for line in balance["rejected"]}
    told = {"unit": unit, "status": status, "error": error}
    _PROGRESS.info("unit", extra={**told, "balance": {**balance, "rejected": rejected}})
