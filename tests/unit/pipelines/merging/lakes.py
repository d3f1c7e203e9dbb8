"""Small lakes for the tests of merging: what programs put there, and what readers find."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pyarrow as pa

from pipelines.lake import Lake, LakeSettings
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record
from pipelines.merging.parts import Fragment, Merged, MergedFile, Output, Piece, Segment
from pipelines.merging.write import WriteMerged
from schemas.codec import Encoder
from schemas.registry import RecordType, record_type

CODES = record_type("codeAssignment")
DAY, NEXT_DAY, MONTH = "2017-03-01", "2017-03-02", "2017-03"
PLACE = f"merged/{CODES.name}/{MONTH}/g000001-ab"
#: A sync marker of somebody else's.
FOREIGN = bytes(range(50, 66))
LIMIT = 1 << 30

Rows = list[dict[str, Any]]


def rows(numbers: Iterable[int], dedupe: str = "") -> Rows:
    """Return a row for each number, as Avro readers give it."""
    start = datetime(2017, 3, 1, tzinfo=UTC)
    return [
        {
            "type": "codeAssignment",
            "date": {"created": start + timedelta(milliseconds=n)},
            "campaignId": f"campaign-{n % 3}",
            "categoryId": None if n % 2 else f"category-{n}",
            "globalUserId": f"user-{n}",
            "memberId": None,
            "marketId": "US",
            "code": f"code-{n}",
            "dedupeHash": dedupe or f"{n:064x}",
        }
        for n in numbers
    ]


def foreign(
    some: Rows,
    codec: str = "null",
    schema: Any = CODES.schema,
    sync: bytes = FOREIGN,
    block_bytes: int = 500,
) -> bytes:
    """Return a file as another program writes it."""
    out = io.BytesIO()
    fastavro.writer(
        out, dict(schema), some, codec=codec, sync_interval=block_bytes, sync_marker=sync
    )
    return out.getvalue()


def read(data: bytes) -> Rows:
    """Return a file's rows, by a reader that shares no code with what is tested."""
    return list(fastavro.reader(io.BytesIO(data)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class SmallLake:
    """A lake with the files of one record type."""

    settings: LakeSettings
    record: RecordType = CODES

    @property
    def lake(self) -> Lake:
        return Lake(self.settings)

    @property
    def sync(self) -> bytes:
        """The marker of all files that are written here."""
        return self.lake.encoder(self.record).sync

    def own(self, some: Rows, block_rows: int = 3) -> bytes:
        """Return a file as runs write it: by the lake's codec, with its marker."""
        encoder = Encoder(self.record, self.settings.codec, sync=self.sync, block_rows=block_rows)
        table = pa.Table.from_pylist(some, schema=self.record.arrow)
        return encoder.header + encoder.encode(table)

    def put(
        self, name: str, data: bytes, day: str = DAY, records: int | None = None, sha: bool = False
    ) -> Fragment:
        """Put a fragment there; of what was landed, neither the rows nor the SHA-256 are known."""
        key = f"fragments/{self.record.name}/landed/{day}/{name}.avro"
        self.lake.storage.write(key, [data])
        found = self.lake.storage.look(key)
        assert found is not None
        known = hashlib.sha256(data).hexdigest() if sha else None
        return Fragment(key, "landed", day, found.size, found.etag, known, records)

    def writer(self, **changes: Any) -> WriteMerged:
        """Return what writes outputs; schemas resolve unless said otherwise."""
        place = f"merged/{self.record.name}/{MONTH}/g000001-ab"
        codec = self.settings.codec
        made = WriteMerged(self.settings, self.record.name, place, codec, "resolve", LIMIT)
        return replace(made, **changes)

    def merge(self, sources: Sequence[Fragment | Piece], **changes: Any) -> Merged:
        """Write one output, of which nothing but its sources can be wrong."""
        pieces = tuple(s if isinstance(s, Piece) else Piece(fragment=s) for s in sources)
        merged = self.writer(**changes)(Output("out", "daily", pieces))
        if merged.error is not None:
            raise merged.error
        return merged

    def data(self, file: MergedFile) -> bytes:
        return self.lake.storage.read(file.key)

    def rows(self, merged: Merged) -> Rows:
        """Return the rows of all files in order."""
        return [row for file, _ in merged.files for row in read(self.data(file))]


def pieces_of(file: MergedFile, *, same: bool = True) -> tuple[Piece, ...]:
    """Return a merged file as sources of the next."""
    return tuple(Piece(file=file, segment=segment, same=same) for segment in file.segments)


def segment(fragment: str, day: str, length: int = 100, **changes: Any) -> Segment:
    """Return a segment of which only its place in the order matters."""
    made = Segment(fragment, day, length + 50, "", None, 0, 50, length, 1, "0", "whole")
    return replace(made, **changes)


def problems(merged: Merged) -> dict[str, str]:
    """Return what is said of the bad sources, by their names."""
    return {p.key.rpartition("/")[2].removesuffix(".avro"): p.what for p in merged.problems}


def said(*fragments: Fragment) -> list[dict[str, Any]]:
    """Return fragments as a unit's ``published`` record names them."""
    return [
        {
            "record_type": f.key.split("/")[1],
            "key": f.key,
            "rows": f.records,
            "size": f.size,
            "sha256": f.sha256,
        }
        for f in fragments
    ]


def append(ledger: Ledger, unit: str, *events: Event, run: str = "r", **details: Any) -> Record:
    """Add records of a unit; ``details`` are those of each that makes or keeps it visible."""
    last = ledger.last(unit)
    for event in events:
        given = details if event in ("published", "succeeded") else {}
        last = ledger.append(
            last, event, unit=unit, run=run, fingerprint="f", plan="p", details=given
        )
    assert last is not None, "at least one event"
    return last
