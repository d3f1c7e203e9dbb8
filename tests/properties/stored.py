"""Candidates and stores for the properties of storage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

from pipelines.sinks.store import CandidateStore
from pipelines.sinks.store_keys import CandidateKey
from pipelines.sinks.stores import open_store
from schemas.codec import decode_file, encode_file
from schemas.registry import record_type

RECORD = record_type("candidate")
START = datetime(2017, 3, 1, tzinfo=UTC)
PROGRAMS, CHANNELS = ("reviews", "polls"), ("email", "in-app", "push")

moments = st.integers(0, 40 * 24 * 60).map(lambda m: START + timedelta(minutes=m, milliseconds=m))
ids = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
models = st.fixed_dictionaries(
    {
        "value": st.integers(0, 1_000_000).map(lambda n: n / 1_000_000),
        "confidence": st.floats(0, 1),
        "timestamp": moments,
        "metadata": st.none() | st.dictionaries(ids, ids, max_size=2).map(lambda d: [*d.items()]),
    }
)


@st.composite
def candidates(draw: st.DrawFn, customers: st.SearchStrategy[str] = ids) -> dict[str, Any]:
    """A candidate as a record of the lake: datetimes, and maps as lists of pairs."""
    created = draw(moments)
    scores = draw(st.dictionaries(st.sampled_from(["response", "value"]), models))
    channels = draw(st.dictionaries(st.sampled_from(CHANNELS), st.booleans()))
    return {
        "customerId": draw(customers),
        "context": [
            {"type": "marketplace", "id": draw(st.sampled_from(["US", "GB"]))},
            {"type": "program", "id": draw(st.sampled_from(PROGRAMS))},
            *draw(
                st.lists(
                    st.fixed_dictionaries({"type": st.just("vertical"), "id": ids}), max_size=1
                )
            ),
        ],
        "subject": {
            "type": draw(st.sampled_from(["product", "video"])),
            "id": draw(ids),
            "metadata": draw(st.none() | st.just([("k", "v")])),
        },
        "scores": [(name, {"modelId": name, **score}) for name, score in scores.items()],
        "attributes": {
            "eventDate": draw(moments),
            "deliveryDate": draw(st.none() | moments),
            "timingWindow": draw(st.none() | ids),
            "orderValue": draw(st.none() | st.floats(-1e9, 1e9)),
            "mediaEligible": draw(st.none() | st.booleans()),
            "channelEligibility": [*channels.items()],
        },
        "metadata": {
            "createdAt": created,
            "updatedAt": created,
            "expiresAt": created + timedelta(days=30),
            "version": 1,
            "sourceConnectorId": draw(ids),
            "workflowExecutionId": draw(ids),
            "band": draw(st.none() | st.just("high")),
            "treatments": draw(st.none() | st.just([("wording", "plain")])),
        },
        "rejectionHistory": None,
    }


def frame_of(records: list[dict[str, Any]]) -> pl.DataFrame:
    """Return records as a run reads them back from the lake."""
    table = pa.Table.from_pylist(records, schema=RECORD.arrow)
    return decode_file(encode_file(table, RECORD, "snappy", sync=bytes(16)))


def key_of_record(record: dict[str, Any]) -> CandidateKey:
    context = {each["type"]: each["id"] for each in record["context"]}
    subject = record["subject"]
    return CandidateKey(
        record["customerId"],
        context["program"],
        context["marketplace"],
        subject["type"],
        subject["id"],
    )


def distinct(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last record of each key."""
    return list({key_of_record(record): record for record in records}.values())


def iso(moment: datetime | None) -> str | None:
    return (
        None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def item_of_record(record: dict[str, Any]) -> Any:
    """Return what a store must say of a record that no unit proposed, written out independently."""

    def value(given: Any) -> Any:
        if isinstance(given, datetime):
            return iso(given)
        if isinstance(given, dict):
            return {name: value(inner) for name, inner in given.items()}
        if isinstance(given, list) and given and isinstance(given[0], tuple):
            return {name: value(inner) for name, inner in given}
        return [value(inner) for inner in given] if isinstance(given, list) else given

    key = key_of_record(record)
    item = {name: value(record[name]) for name in ("context", "subject", "attributes", "metadata")}
    item["attributes"]["channelEligibility"] = dict(record["attributes"]["channelEligibility"])
    scores = {
        name: {**value(score), "metadata": pairs(score["metadata"])}
        for name, score in record["scores"]
    }
    return {
        "PK": key.pk,
        "SK": key.sk,
        **item,
        "scores": scores,
        "rejectionHistory": None,
        "ttl": int(record["metadata"]["expiresAt"].timestamp()),
        "units": [],
    }


def pairs(given: list[tuple[str, str]] | None) -> dict[str, str] | None:
    return None if given is None else dict(given)


@contextmanager
def new_store() -> Iterator[CandidateStore]:
    """Open a new store for writing, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "candidates.sqlite")
        with open_store(f"sqlite:///{path}", write=True) as store:
            yield store


def everything(store: CandidateStore) -> list[Any]:
    """Return every item of a store, in order."""
    days = [START.date() + timedelta(days=n) for n in range(-1, 45)]
    items = [item for program in PROGRAMS for day in days for item in store.export(program, day)]
    return sorted(
        {(item["PK"], item["SK"]): item for item in items}.values(),
        key=lambda item: (item["PK"], item["SK"]),
    )
