"""Making a unit visible: one record in the ledger, then what follows from it.

1. Fragments lie in the lake under their final names; nothing names them yet.
2. ``publish``: the balance is checked, and a ``published`` record names them. From here the unit
   is visible, and its former output is not.
3. ``finish``: the store takes the unit's candidates, fragments of former attempts are removed, who
   waits for the unit is told, and a ``succeeded`` record says so.

A run that dies before 2 leaves nothing that counts. One that dies between 2 and 3 leaves a record
that says all that is still to be done: whoever takes the unit over does it, reading no row.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from pipelines import tally
from pipelines.balance import balance_document, check_balance
from pipelines.context import RunContext
from pipelines.errors import (
    InputMoved,
    ObjectNotFound,
    StoreBehind,
    TooMuchQuarantined,
)
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.sinks.store import CandidateStore
from pipelines.sinks.stores import open_store
from pipelines.tally import Tally
from schemas.codec import Decoder, decode_file
from schemas.container import read_header
from schemas.registry import record_type


@dataclass(frozen=True, slots=True)
class Promise:
    """What a plan says of a unit: its inputs by name as [version, rows, size]; of its own, the sum.

    ``rows`` is None where nobody knows them before they are read.
    """

    inputs: Mapping[str, Sequence[object]]
    rows: int | None = None
    size: int = 0


#: (lake, record type, key) -> the bytes of a fragment, wherever they are by now.
Recover = Callable[[Lake, str, str], bytes]


@dataclass(frozen=True, slots=True)
class Publication:
    """Where units become visible, what a unit must keep to, and who holds it.

    ``leases`` are the ``leased`` records of the run's units, by day, ``promises`` what was planned
    of them; ``about`` is what each published record says of the settings and the code;
    ``triggers`` names whom to tell of a unit that is done; ``recover`` reads fragments that were
    merged since, and so are not where they were written.
    """

    lake: LakeSettings
    store_url: str | None
    ranked_by: str
    quarantine_threshold: float
    context: RunContext
    leases: Mapping[str, Record]
    promises: Mapping[str, Promise]
    about: Mapping[str, Any]
    triggers: tuple[str, ...] = ()
    recover: Recover | None = None


class Publisher:
    """An open lake, its ledger and the store beside it."""

    def __init__(self, to: Publication) -> None:
        self._to = to
        self.lake = Lake(to.lake)
        self.ledger = Ledger(self.lake.storage)
        self._store: CandidateStore | None = None
        if to.store_url is not None:
            self._store = open_store(to.store_url, write=True, ranked_by=to.ranked_by)

    def publish(self, unit: str, counted: Tally, receipts: Sequence[Receipt]) -> Record:
        """Check a unit and make it visible; returns its ``published`` record.

        Raises:
            Unbalanced: rows went missing or came twice.
            TooMuchQuarantined: more of the source is damaged than the program accepts.
            InputMoved: other rows were read than were planned.
            Fenced: another run has taken the unit over.
        """
        lease, promise = self._to.leases[unit], self._to.promises[unit]
        check_balance(unit, counted, receipts)
        self._check_quarantine(unit, counted)
        if promise.rows is not None and counted[tally.READ] != promise.rows:
            raise InputMoved(unit, "rows of the day", promise.rows, counted[tally.READ])
        before = self.ledger.publication(lease)
        document = {"balance": balance_document(counted), "fragments": _documents(receipts)}
        changed = before is None or any(before.details[k] != v for k, v in document.items())
        details = {
            **document,
            "changed": changed,
            "replaces": lease.publication,
            "inputs": {name: list(said) for name, said in promise.inputs.items()},
            "inputBytes": promise.size,
            "executionId": self._to.context.execution_id(unit),
            **self._to.about,
            "counted": tally.document(counted),
        }
        return self.ledger.go_on(lease, "published", details)

    def finish(self, record: Record, started: float | None = None) -> Record:
        """Bring store and lake up to what is published; returns the ``succeeded`` record.

        ``record`` is the unit's latest, of an attempt of this run; ``started`` is when publishing
        began, by ``time.perf_counter``. Doing it again changes nothing.

        Raises:
            StoreError: the store refused, or cannot be reached.
            Fenced: another run has taken the unit over.
        """
        started = time.perf_counter() if started is None else started
        published = self.ledger.publication(record)
        assert published is not None, "only what is published is finished"
        receipts = receipts_of(published)
        self._load(published, receipts)
        day = record.unit.rpartition("/")[2]
        folder = f"{self._to.context.program_id}/{day}"
        keep = {receipt.key for receipt in receipts}
        self.lake.tidy(folder, keep, lambda: self.ledger.check_last(record, "succeeded"))
        self._trigger(published)
        details = {
            "balance": published.details["balance"],
            "fragments": published.details["fragments"],
            "changed": published.details["changed"],
            "publishedAttempt": published.attempt,
            "publishSeconds": round(time.perf_counter() - started, 6),
            "seconds": round(self._share_of_time(self._to.leases.get(day, record)), 3),
            "inputBytes": published.details["inputBytes"],
        }
        # What is complete now is what was published, whatever the attempt that completes it is for.
        return self.ledger.append(
            record,
            "succeeded",
            unit=record.unit,
            run=record.run,
            fingerprint=published.fingerprint,
            plan=published.plan,
            details=details,
        )

    def _share_of_time(self, lease: Record) -> float:
        """Return a unit's share of the time since its wave was leased, in seconds."""
        since = datetime.fromisoformat(lease.at)
        return (self.ledger.clock() - since).total_seconds() / max(1, len(self._to.leases))

    def _trigger(self, published: Record) -> None:
        """Tell who waits for the unit, once for each content: by an object to watch for.

        Source: solicitation-platform, property 27.
        """
        said = {name: published.details[name] for name in ("balance", "executionId", "fragments")}
        text = json.dumps({"unit": published.unit, **said}, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        for name in self._to.triggers:
            key = f"triggers/{name}/{published.unit}-{digest}.json"
            self.lake.storage.create(key, text.encode())

    def fail(self, record: Record, error: str, details: Mapping[str, Any]) -> Record:
        """Say that an attempt ended without what it was to make."""
        return self.ledger.go_on(record, "failed", {"error": error, **details})

    def _check_quarantine(self, unit: str, counted: Tally) -> None:
        quarantined, read = counted[tally.QUARANTINED], counted[tally.READ]
        if quarantined > self._to.quarantine_threshold * read:
            raise TooMuchQuarantined(
                unit, self._to.quarantine_threshold, quarantined / read, quarantined
            )

    def _load(self, published: Record, receipts: Sequence[Receipt]) -> None:
        """Bring the store up to the unit's candidates, as the lake holds them."""
        if self._store is None:
            return
        self._store.apply(
            published.unit,
            self._candidates(receipts),
            attempt=published.attempt,
            replaces=self._replaced(published, self._store),
            others=self._candidates_of,
        )

    def _replaced(self, published: Record, store: CandidateStore) -> pl.DataFrame | None:
        """Return the candidates that the store is to take back, if it has them still.

        Their fragments are removed once it has not, so that then there is nothing to read.
        """
        replaced = published.details["replaces"]
        if replaced is None:
            return None
        noted = store.applied(published.unit).get(published.unit)
        if noted is None or noted >= published.attempt:
            return None
        try:
            return self._candidates(receipts_of(self.ledger.record(published.unit, replaced)))
        except ObjectNotFound as error:
            raise StoreBehind(published.unit, noted, published.attempt) from error

    def _candidates_of(self, unit: str) -> pl.DataFrame:
        """Return another unit's candidates as the store took them: it may be behind the ledger."""
        assert self._store is not None, "only a store asks"
        attempt = self._store.applied(unit).get(unit)
        for record in reversed(self.ledger.history(unit)):
            if record.event == "published" and record.attempt == attempt:
                return self._candidates(receipts_of(record))
        return self._candidates(())

    def _candidates(self, receipts: Iterable[Receipt]) -> pl.DataFrame:
        keys = [receipt.key for receipt in receipts if receipt.record_type == "candidate"]
        if not keys:
            header = self.lake.encoder(record_type("candidate")).header
            return Decoder(read_header(memoryview(header))).empty(None)
        return pl.concat(decode_file(self._read("candidate", key)) for key in keys)

    def _read(self, record: str, key: str) -> bytes:
        if self._to.recover is None:
            return self.lake.storage.read(key)
        return self._to.recover(self.lake, record, key)

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()


def receipts_of(published: Record) -> tuple[Receipt, ...]:
    """Return the fragments that a ``published`` record names."""
    return tuple(Receipt(**said) for said in published.details["fragments"])


def _documents(receipts: Iterable[Receipt]) -> list[dict[str, Any]]:
    return [asdict(receipt) for receipt in receipts]
