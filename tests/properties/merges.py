"""Lakes in memory with fragments of any records, merged by the real job and read by fastavro."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import fastavro
import pyarrow as pa
from hypothesis import strategies as st

from conf.environment import Environment
from jobs.backfill.apply import Options, apply
from jobs.backfill.plan import Request
from jobs.backfill.planning import make_plan
from jobs.merges.application import MergeOutcome
from jobs.merges.job import MergeJob
from jobs.merges.options import MergeOptions
from jobs.merges.results import MonthResult, results
from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.files import FileCatalog
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.ledger.ledger import Ledger
from pipelines.merging.engines import LocalEngine
from pipelines.merging.parts import Kind
from schemas.codec import Encoder
from schemas.registry import record_type
from tests.properties.works import day, environment, new_folder

__all__ = [
    "MONTH",
    "TYPES",
    "File",
    "MergedLake",
    "Rows",
    "day",
    "files",
    "new_folder",
    "of_all",
    "rows_of",
]

MONTH = "2017-03"
TYPES = ("registration", "codeAssignment", "candidate")
CODECS = ("snappy", "zstandard", "deflate", "null")

Row = dict[str, Any]
Rows = Counter[str]
_START = datetime(2017, 3, 1, tzinfo=UTC)


# --- rows: any number stands for one --------------------------------------------------------------


def _registration(n: int) -> Row:
    return {
        "customerId": f"c{n}",
        "subjectId": "s" * (n % 40),
        "marketplace": "US",
        "eventDate": _START + timedelta(milliseconds=n),
        "orderValue": n / 8,
        "quantity": n - 20,
        "email": None if n % 3 else f"{n}@example.com",
        "phone": f"+{n}" if n % 2 else None,
        "city": "Zürich",
        "country": "",
        "optIn": n % 2 == 0,
        "score": 1.0,
    }


def _code_assignment(n: int) -> Row:
    return {
        "type": "codeAssignment",
        "date": {"created": _START + timedelta(seconds=n)},
        "campaignId": "12345",
        "categoryId": f"{n}" if n % 2 else None,
        "globalUserId": f"u{n}",
        "memberId": None,
        "marketId": None,
        "code": f"C{n:08d}",
        "dedupeHash": f"{n:064x}",
    }


def _candidate(n: int) -> Row:
    at = _START + timedelta(minutes=n)
    score = {"modelId": "m", "value": n / 4, "confidence": 0.5, "timestamp": at, "metadata": None}
    return {
        "customerId": f"c{n}",
        "context": [{"type": "marketplace", "id": f"{i}"} for i in range(n % 3)],
        "subject": {"type": "product", "id": f"p{n}", "metadata": {"k": "v"} if n % 2 else None},
        "scores": {"m": score} if n % 5 else {},
        "attributes": {
            "eventDate": at,
            "deliveryDate": None,
            "timingWindow": None,
            "orderValue": float(n),
            "mediaEligible": n % 2 == 0,
            "channelEligibility": {"email": True, "push": n % 2 == 0},
        },
        "metadata": {
            "createdAt": at,
            "updatedAt": at,
            "expiresAt": at + timedelta(days=30),
            "version": 1,
            "sourceConnectorId": "s",
            "workflowExecutionId": "w",
            "band": None,
            "treatments": None,
        },
        "rejectionHistory": None,
    }


def _rejection(n: int) -> Row:
    return {
        "programId": "reviews",
        "marketplace": None if n % 2 else "US",
        "customerId": f"c{n}",
        "subjectType": "product",
        "subjectId": f"p{n}",
        "sourceSplit": 0,
        "sourceRow": n,
        "filterId": "f",
        "filterType": "BUSINESS_RULE",
        "reason": "r",
        "reasonCode": "R",
        "timestamp": _START,
        "workflowExecutionId": "w",
    }


_ROWS: Mapping[str, Callable[[int], Row]] = {
    "registration": _registration,
    "codeAssignment": _code_assignment,
    "candidate": _candidate,
    "rejection": _rejection,
}
#: A field of each type that has a default: files of an older schema do not have it.
_NEWER = {"registration": "phone", "codeAssignment": "categoryId", "candidate": "rejectionHistory",
          "rejection": "marketplace"}  # fmt: skip
#: A field of each type that has none: files without it cannot be read as the type.
_NEEDED = {"registration": "city", "codeAssignment": "code", "candidate": "subject",
           "rejection": "reason"}  # fmt: skip


# --- files ----------------------------------------------------------------------------------------

Schema = Literal["current", "older", "unlike"]


@dataclass(frozen=True)
class File:
    """A fragment: ``rows`` by their numbers, ``block`` of them in a block.

    ``sync`` is the number of its sync marker, 0 for the lake's own. Without ``ours`` fastavro
    writes it, which blocks by bytes.
    """

    record: str
    day: str
    name: str
    rows: tuple[int, ...]
    program: str = "site"
    codec: str = "snappy"
    sync: int = 0
    block: int = 3
    ours: bool = True
    schema: Schema = "current"

    @property
    def key(self) -> str:
        return f"fragments/{self.record}/{self.program}/{self.day}/{self.name}.avro"

    @property
    def archived(self) -> str:
        return self.key.replace("fragments", "archive", 1)

    @property
    def of(self) -> Rows:
        """Its rows, as they must be in a merged file."""
        newer = _NEWER[self.record] if self.schema == "older" else None
        made = (_ROWS[self.record](n) for n in self.rows)
        return Counter(_text({**row, newer: None} if newer else row) for row in made)

    def data(self, lake: Lake) -> bytes:
        """Return its bytes."""
        sync = self._sync(lake)
        rows = [_ROWS[self.record](n) for n in self.rows]
        if self.ours and self.schema == "current":
            encoder = Encoder(
                record_type(self.record), self.codec, sync=sync, block_rows=self.block
            )
            table = pa.Table.from_pylist(rows, schema=encoder.record_type.arrow)
            return encoder.header + encoder.encode(table)
        out = io.BytesIO()
        fastavro.writer(
            out,
            _schema(self.record, self.schema),
            rows,
            self.codec,
            90 * self.block,
            sync_marker=sync,
        )
        return out.getvalue()

    def _sync(self, lake: Lake) -> bytes:
        if self.sync == 0:
            return lake.encoder(record_type(self.record)).sync
        return bytes(range(self.sync, self.sync + 16))


@cache
def _schema(record: str, which: Schema) -> Any:
    schema = record_type(record).schema
    without = {"current": None, "older": _NEWER[record], "unlike": _NEEDED[record]}[which]
    fields = [f for f in schema["fields"] if f["name"] != without]
    return fastavro.parse_schema({**schema, "fields": fields})


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def rows_of(data: bytes) -> Rows:
    """Return the rows of a file, as fastavro reads them."""
    return Counter(map(_text, fastavro.reader(io.BytesIO(data))))


def of_all(files: Iterable[File]) -> Rows:
    """Return the rows of all files together."""
    return sum((file.of for file in files), Counter())


#: Numbers of rows; the same row may come again.
_FEW = st.lists(st.integers(0, 60), max_size=12).map(tuple)


@st.composite
def files(
    draw: st.DrawFn,
    record: str,
    days: int = 3,
    *,
    most: int = 6,
    codecs: Sequence[str] = CODECS,
    rows: st.SearchStrategy[tuple[int, ...]] = _FEW,
    schemas: Sequence[Schema] = ("current",),
) -> list[File]:
    """Draw some fragments of a record type, of the first days of the month."""
    drawn = draw(
        st.lists(
            st.builds(
                File,
                record=st.just(record),
                day=st.integers(0, days - 1).map(day),
                name=st.just(""),
                rows=rows,
                program=st.sampled_from(["site", "app"]),
                codec=st.sampled_from(codecs),
                sync=st.integers(0, 2),
                block=st.integers(1, 5),
                ours=st.booleans(),
                schema=st.sampled_from(schemas),
            ),
            min_size=1,
            max_size=most,
        )
    )
    return [replace(file, name=f"part-{n}") for n, file in enumerate(drawn)]


# --- the lake -------------------------------------------------------------------------------------


class MergedLake:
    """A lake below a folder, in the local environment; ``merges`` changes its settings."""

    def __init__(self, out: Path, **merges: Any) -> None:
        local = environment(out, retries=1)
        self.out = out
        self.environment: Environment = local.model_copy(
            update={"merges": local.merges.model_copy(update=merges)}
        )
        self.root = Path(self.environment.lake.root)
        said = self.environment.lake
        self.lake = Lake(LakeSettings(said.root, said.codec, said.sync_key))
        self.storage = self.lake.storage

    def put(self, files: Iterable[File]) -> dict[str, bytes]:
        """Put files where another program would; returns their bytes by key."""
        put = {file.key: file.data(self.lake) for file in files}
        for key, data in put.items():
            self.storage.write(key, [data])
        return put

    def publish(self, program: str, day: str, files: Iterable[File]) -> list[Receipt]:
        """Publish a unit of these files, as a run does; one made anew replaces what was there."""
        receipts = [self._written(program, day, file) for file in files]
        ledger, unit = Ledger(self.storage), f"solicit/{program}/{day}"
        last = ledger.last(unit)
        run = f"run-{last.seq if last else 0}"
        record = ledger.append(last, "planned", unit=unit, run=run, fingerprint="f", plan="p")
        said = {"fragments": [asdict(receipt) for receipt in receipts]}
        for event, details in (("leased", {}), ("published", said)):
            record = ledger.go_on(record, event, details)
        self.lake.tidy(f"{program}/{day}", {receipt.key for receipt in receipts}, lambda: None)
        ledger.go_on(record, "succeeded", said)
        return receipts

    def _written(self, program: str, day: str, file: File) -> Receipt:
        data = file.data(self.lake)
        digest = hashlib.sha256(data).hexdigest()
        named = replace(file, program=program, day=day, name=f"{file.name}-{digest[:16]}")
        self.storage.write(named.key, [data])
        return Receipt(file.record, named.key, len(file.rows), len(data), digest)

    def merge(
        self,
        kind: Kind,
        *types: str,
        first: int = 0,
        last: int = 30,
        **options: Any,
    ) -> MergeOutcome:
        """Merge days by their numbers, or the month, by the job itself."""
        asked = MergeOptions(kind, **options)
        days = tuple(map(day, range(first, last + 1)))
        request = Request(
            "merge", types or TYPES, "local", str(self.out), days[0], days[-1],
            options=asked.document(),
        )  # fmt: skip
        with LocalEngine(2) as engine:

            @cache
            def load(name: str) -> MergeJob:
                record = record_type(name)
                return MergeJob(record, self.environment, self.out, asked, days, engine)

            plan = make_plan(request, load)
            applied = apply(plan, load, Options(sleep=lambda _: None))
            ledger = Ledger(self.storage)
            months: list[MonthResult] = []
            for part in plan.programs:
                months += results(load(part.asked), ledger, part, applied.run, applied.lost)
        return MergeOutcome(tuple(months), applied, dict(plan.refused))

    def pointer(self, record: str) -> Pointer | None:
        return FileCatalog(self.storage).pointer(record, MONTH)

    def files(self, record: str) -> dict[str, bytes]:
        """Return what readers find: the current files' bytes, by name."""
        found = self.pointer(record)
        return {k.rpartition("/")[2]: self.storage.read(k) for k in found.files} if found else {}

    def rows(self, record: str) -> Rows:
        """Return the rows that readers see."""
        return sum(map(rows_of, self.files(record).values()), Counter())

    def bodies(self, record: str) -> bytes:
        """Return the current files' bytes one after the other, without their headers."""
        length = len(self.lake.encoder(record_type(record)).header)
        return b"".join(data[length:] for _, data in sorted(self.files(record).items()))

    def under(self, top: str) -> dict[str, bytes]:
        """Return every object below a folder by its key."""
        return {found.key: self.storage.read(found.key) for found in self.storage.list(top)}

    def tree(self) -> dict[str, bytes]:
        """Return every object of the lake, those of its ledger too."""
        return self.under("")
