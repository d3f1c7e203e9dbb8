"""Making a unit visible: balance checked, store loaded, then one create-only put."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import apache_beam as beam
import polars as pl
from apache_beam.typehints import with_input_types, with_output_types

from pipelines import tally
from pipelines.context import RunContext
from pipelines.errors import PipelineError, PublishedOtherwise, TooMuchQuarantined, Unbalanced
from pipelines.failure import Failure, caught
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.sinks.store import CandidateStore
from pipelines.sinks.stores import open_store
from pipelines.storage import Storage
from pipelines.tally import Tally
from schemas.codec import decode_file

TALLIED, RECEIVED, FAILED, PLANNED = "tallied", "received", "failed", "planned"
RECORD_TYPES = ("candidate", "rejection", "quarantine")

_PROGRESS = logging.getLogger("muster.progress")

Status = Literal["published", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class Publication:
    """Where units become visible, and what a unit must keep to."""

    lake: LakeSettings
    store_url: str | None
    ranked_by: str
    outcomes: str
    quarantine_threshold: float
    context: RunContext


class UnitFailed(PipelineError):
    """Something before the publication failed."""


def balance_document(counted: Tally) -> dict[str, Any]:
    """Return the balance of a tally as JSON: no seconds in it, so it is the same on every rerun."""
    rejected = sorted((k[1:], n) for k, n in counted.items() if k[0] == tally.REJECTED)
    return {
        "read": counted[tally.READ],
        "written": counted[tally.WRITTEN],
        "deduplicated": counted[tally.DEDUPLICATED],
        "quarantined": counted[tally.QUARANTINED],
        "rejected": [
            {"filterType": kind, "filterId": name, "reasonCode": code, "count": count}
            for (kind, name, code), count in rejected
        ],
    }


def check_balance(unit: str, counted: Tally, receipts: Iterable[Receipt]) -> None:
    """Check that every row read is accounted for, and that the lake holds what was counted.

    Raises:
        Unbalanced: rows went missing or came twice.
    """
    balance = balance_document(counted)
    turned_away = sum(line["count"] for line in balance["rejected"]) + balance["deduplicated"]
    accounted = balance["written"] + turned_away + balance["quarantined"]
    if accounted != balance["read"]:
        raise Unbalanced(unit, balance["read"], accounted)
    in_lake = dict.fromkeys(RECORD_TYPES, 0)
    for receipt in receipts:
        in_lake[receipt.record_type] += receipt.rows
    expected = (balance["written"], turned_away)
    if (in_lake["candidate"], in_lake["rejection"]) != expected:
        raise Unbalanced(unit, sum(expected), in_lake["candidate"] + in_lake["rejection"])


@with_input_types(tuple[str, Any])
@with_output_types(str)
class PublishUnits(beam.DoFn):
    """Publishes units one by one; what happened is written to ``outcomes`` and logged."""

    def __init__(self, publication: Publication) -> None:
        self._to = publication
        self._store: CandidateStore | None = None

    def setup(self) -> None:
        """Open lake, store and the folder of outcomes."""
        self._lake = Lake(self._to.lake)
        self._outcomes = Storage(self._to.outcomes)
        if self._to.store_url is not None:
            self._store = open_store(self._to.store_url, write=True, ranked_by=self._to.ranked_by)

    def process(self, element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[str]:
        """Publish one unit, or say why not."""
        unit, grouped = element
        counted = tally.add(grouped[TALLIED])
        receipts = sorted(grouped[RECEIVED], key=lambda receipt: str(receipt.key))
        error: str | None = None
        status: Status = "failed"
        started = time.perf_counter()
        try:
            _no_failures(grouped[FAILED])
            status = self._publish(unit, counted, receipts)
        except UnitFailed as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001
            error = caught(unit, "publish", failure).message
        rows, seconds = counted[tally.WRITTEN], time.perf_counter() - started
        spent = tally.of_stage("publish", rows, rows, 0, seconds)
        self._tell(unit, status, error, counted + spent, receipts)
        yield unit

    def _publish(self, unit: str, counted: Tally, receipts: Sequence[Receipt]) -> Status:
        check_balance(unit, counted, receipts)
        self._check_quarantine(unit, counted)
        key = f"units/{self._to.context.unit_name(unit)}.json"
        marker = _json(self._document(unit, counted, receipts))
        if not self._is_new(unit, key, marker):
            self._load(unit, receipts)
            return "unchanged"
        folder = f"{self._to.context.program_id}/{unit}"
        self._lake.remove_strays(folder, RECORD_TYPES, {receipt.key for receipt in receipts})
        self._load(unit, receipts)
        if self._lake.storage.create(key, marker) or not self._is_new(unit, key, marker):
            return "published"
        raise PublishedOtherwise(unit, key, "another run published it meanwhile")

    def _check_quarantine(self, unit: str, counted: Tally) -> None:
        quarantined, read = counted[tally.QUARANTINED], counted[tally.READ]
        if quarantined > self._to.quarantine_threshold * read:
            raise TooMuchQuarantined(
                unit, self._to.quarantine_threshold, quarantined / read, quarantined
            )

    def _is_new(self, unit: str, key: str, marker: bytes) -> bool:
        """Say whether the unit has no marker yet; one with other content is an error."""
        if not any(found.key == key for found in self._lake.storage.list(key.rpartition("/")[0])):
            return True
        there = self._lake.storage.read(key)
        if there != marker:
            raise PublishedOtherwise(unit, key, _difference(there, marker))
        return False

    def _document(
        self, unit: str, counted: Tally, receipts: Sequence[Receipt]
    ) -> dict[str, object]:
        context = self._to.context
        return {
            "job": context.job,
            "program": context.program_id,
            "unit": unit,
            "executionId": context.execution_id(unit),
            "configFingerprint": context.config_fingerprint,
            "codeVersion": context.code_version,
            "balance": balance_document(counted),
            "fragments": [asdict(receipt) for receipt in receipts],
        }

    def _load(self, unit: str, receipts: Sequence[Receipt]) -> None:
        """Bring the store up to the unit's candidates, as the lake holds them."""
        if self._store is None:
            return
        frames = [
            decode_file(self._lake.storage.read(receipt.key))
            for receipt in receipts
            if receipt.record_type == "candidate"
        ]
        if frames:
            self._store.apply(self._to.context.unit_name(unit), pl.concat(frames))

    def _tell(
        self,
        unit: str,
        status: Status,
        error: str | None,
        counted: Tally,
        receipts: Sequence[Receipt],
    ) -> None:
        document = {
            "unit": unit,
            "status": status,
            "error": error,
            "balance": balance_document(counted),
            "counted": sorted([*key, count] for key, count in counted.items()),
            "fragments": len(receipts),
            "bytes": sum(receipt.size for receipt in receipts),
        }
        self._outcomes.write(f"{unit}.json", [_json(document)])
        balance = balance_document(counted)
        rejected = {line["reasonCode"]: line["count"] for line in balance["rejected"]}
        told = {"unit": unit, "status": status, "error": error}
        _PROGRESS.info("unit", extra={**told, "balance": {**balance, "rejected": rejected}})

    def teardown(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()


def _no_failures(failures: Iterable[Failure]) -> None:
    """Raise the first failure of a unit, with a count of the others."""
    told = sorted({f"{f.stage}: {f.message}" for f in failures})
    if told:
        more = f" (and {len(told) - 1} more, see the log)" if len(told) > 1 else ""
        raise UnitFailed(told[0] + more)


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _difference(there: bytes, here: bytes) -> str:
    """Name the first field in which two markers differ."""
    expected, found = json.loads(there), json.loads(here)
    fields = [name for name in expected if expected[name] != found.get(name)]
    name = next((n for n in ("configFingerprint", "codeVersion", "balance") if n in fields), None)
    name = name or (fields[0] if fields else "content")
    return f"{name} was {expected.get(name)!r}, is now {found.get(name)!r}"
