"""Making a generation visible: one record in the ledger, then what follows from it.

| state of the document | record | what has happened |
|---|---|---|
| FRAGMENTED | planned | the month is taken for a run |
| QUERYING | leased | its fragments are looked up |
| CONSOLIDATING | progressed | merged files are being written, below a new location |
| MERGED | published | they are verified, and the record names their receipts |
| ARCHIVED | succeeded | readers were switched to them, and the sources are in the archive |

A run that dies before MERGED leaves files that nothing names. One that dies between MERGED and
ARCHIVED leaves a record that says all that is still to be done: whoever takes the month over does
it, reading no row.

Source: campaign-workers, "Merge States".
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.catalogs.catalog import Catalog, Pointer
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record
from pipelines.merging.archive import archive
from pipelines.merging.generation import (
    File,
    Place,
    remove_strays,
    write_receipts,
)
from pipelines.merging.parts import Problem
from pipelines.merging.receipts import read_receipt, sources_of
from pipelines.storage import Storage

#: The document's states by the ledger's events.
STATES: Mapping[Event, str] = {
    "planned": "FRAGMENTED",
    "leased": "QUERYING",
    "progressed": "CONSOLIDATING",
    "published": "MERGED",
    "succeeded": "ARCHIVED",
}


#: What of a ``published`` record the ``succeeded`` one says again, for those who read the latest.
_KEPT = (
    *("kind", "generation", "location", "receipts", "made", "files", "records", "bytes", "days"),
    *("problems", "bad", "deferred", "balance", "fragments", "changed", "inputBytes", "seconds"),
)


class MergePublisher:
    """A lake, its ledger and the catalog that readers ask."""

    def __init__(self, storage: Storage, ledger: Ledger, catalog: Catalog) -> None:
        self._storage, self._ledger, self._catalog = storage, ledger, catalog

    def consolidate(self, lease: Record, place: Place) -> Record:
        """Say that files are being written; raises Fenced when another run has the month."""
        details = {"state": STATES["progressed"], "location": place.location}
        return self._ledger.go_on(lease, "progressed", details)

    def publish(
        self,
        record: Record,
        place: Place,
        carried: Sequence[File],
        made: Sequence[File],
        problems: Sequence[Problem],
        details: Mapping[str, Any],
    ) -> Record:
        """Write the receipts, and make the generation the current one.

        Raises:
            Fenced: another run has taken the month over.
        """
        about = {"generation": place.number, "location": place.location}
        files = [file for file, _ in (*carried, *made)]
        new = write_receipts(self._storage, made, problems, about)
        old = write_receipts(self._storage, carried, (), about)
        remove_strays(
            self._storage, place, files, lambda: self._ledger.check_last(record, "published")
        )
        return self._ledger.go_on(
            record,
            "published",
            {
                **details,
                **about,
                "state": STATES["published"],
                "receipts": sorted([*old, *new]),
                "made": new,
                "files": len(files),
                "records": sum(file.records for file in files),
                "bytes": sum(file.size for file in files),
                "problems": list(map(asdict, problems)),
                "fragments": [],
                "changed": True,
            },
        )

    def finish(self, record: Record) -> Record:
        """Switch readers to what is published, and archive its sources; returns ``succeeded``.

        ``record`` is the month's latest, of an attempt of this run. Doing it again changes nothing.

        Raises:
            CatalogFailed: readers cannot be switched.
            NotVerified: a source's copy in the archive is not whole.
            Fenced: another run has taken the month over.
        """
        started = time.perf_counter()
        published = self._ledger.publication(record)
        assert published is not None, "only what is published is finished"
        said = published.details
        _, record_type, month = record.unit.split("/")
        files = _files(said)
        self._ledger.check_last(record, "published")
        self._catalog.switch(
            Pointer(record_type, month, said["generation"], said["location"], files)
        )
        receipts = (read_receipt(self._storage, key) for key in said["made"])
        done = archive(self._storage, [s for each in receipts for s in sources_of(each)])
        details = {
            **{name: said[name] for name in _KEPT},
            "state": STATES["succeeded"],
            "left": list(done.left),
            "vanished": list(done.vanished),
            "publishedAttempt": published.attempt,
            "publishSeconds": round(time.perf_counter() - started, 6),
        }
        return self._ledger.append(
            record,
            "succeeded",
            unit=record.unit,
            run=record.run,
            fingerprint=published.fingerprint,
            plan=published.plan,
            details=details,
        )

    def fail(self, record: Record, error: str, details: Mapping[str, Any]) -> Record:
        """Say that an attempt ended without a new generation."""
        return self._ledger.go_on(record, "failed", {"error": error, **details})

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _files(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a generation's files, by its receipts."""
    names = (key.rpartition("/")[2].removesuffix(".json") for key in said["receipts"])
    return tuple(sorted(f"{said['location']}/{name}.avro" for name in names))


def balance_of(made: Sequence[File]) -> dict[str, Any]:
    """Return the balance of merged files: rows of all sources, and what became of them."""
    read = sum(source.records for _, sources in made for source in sources)
    dropped = sum(source.duplicates for _, sources in made for source in sources)
    written = sum(file.records for file, _ in made)
    return {
        "read": read,
        "written": written,
        "deduplicated": dropped,
        "quarantined": 0,
        "rejected": [],
    }
