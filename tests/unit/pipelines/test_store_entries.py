"""Entries of a store: the expressions over frames and the scalar form hold each other."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InvalidItem
from pipelines.sinks.store_entries import entry_of_item, item_of
from pipelines.sinks.store_frame import difference, entry_frame, newest, unit_digest
from tests.properties.stored import candidates, distinct, frame_of, item_of_record

EXPIRES = datetime(2017, 4, 1, 0, 0, 0, 999_000, UTC)


def record(**changes: Any) -> dict[str, Any]:
    """A candidate of one customer; ``changes`` replace whole columns."""
    created = EXPIRES - timedelta(days=30)
    score = {"modelId": "m", "value": 0.25, "confidence": 1.0, "timestamp": created}
    base = {
        "customerId": "7#",
        "context": [{"type": "marketplace", "id": "US"}, {"type": "program", "id": "a%b"}],
        "subject": {"type": "product", "id": "A", "metadata": [("z", "1"), ("a", "2")]},
        "scores": [("response", {**score, "metadata": None})],
        "attributes": {
            "eventDate": created,
            "deliveryDate": None,
            "timingWindow": None,
            "orderValue": 2.5,
            "mediaEligible": None,
            "channelEligibility": [("push", False), ("in#app", True), ("email", True)],
        },
        "metadata": {
            "createdAt": created,
            "updatedAt": created,
            "expiresAt": EXPIRES,
            "version": 1,
            "sourceConnectorId": "s",
            "workflowExecutionId": "w",
            "band": None,
            "treatments": None,
        },
        "rejectionHistory": None,
    }
    return {**base, **changes}


@settings(max_examples=60, deadline=None)
@given(st.lists(candidates(), max_size=5).map(distinct))
def test_a_frame_and_its_items_give_the_same_entries(records: list[dict[str, Any]]) -> None:
    of_frame = list(newest(entry_frame(frame_of(records), "response")))
    of_items = [entry_of_item(item_of_record(each), "response") for each in records]
    # Numbers may be spelt 1e-7 or 1e-07: contents are compared as what they mean.
    assert [{**e._asdict(), "content": json.loads(e.content), "digest": ""} for e in of_frame] == [
        {**e._asdict(), "content": json.loads(e.content), "digest": ""}
        for e in sorted(of_items, key=lambda e: (e.pk, e.sk))
    ]


def test_an_entry_holds_the_keys_of_every_index() -> None:
    (entry,) = newest(entry_frame(frame_of([record()]), "response"))
    assert entry.pk == "CUSTOMER#7%23#PROGRAM#a%25b#MARKETPLACE#US"
    assert entry.date_pk == entry.updated_pk == "PROGRAM#a%25b#DATE#2017-03-02"
    assert entry.date_sk == "CREATED#2017-03-02T00:00:00.999Z#CUSTOMER#7%23"
    assert entry.score_sk == "SCORE#0.250000#CUSTOMER#7%23"
    assert entry.channel_prefix == "PROGRAM#a%25b#CHANNEL#"
    assert entry.channels == ["email", "in%23app"]
    assert entry.ttl == math.floor(EXPIRES.timestamp())


def test_content_is_canonical_json() -> None:
    (entry,) = newest(entry_frame(frame_of([record()]), "response"))
    again = json.dumps(json.loads(entry.content), sort_keys=True, separators=(",", ":"))
    assert entry.content == again
    assert '"subject":{"id":"A","metadata":{"a":"2","z":"1"},"type":"product"}' in entry.content
    assert "version" not in entry.content
    assert "updatedAt" not in entry.content


def test_without_the_ranking_score_a_candidate_ranks_last() -> None:
    (entry,) = newest(entry_frame(frame_of([record()]), "value"))
    assert entry.score_sk == "SCORE#0.000000#CUSTOMER#7%23"


def test_rows_of_one_key_merge_into_the_newest_whatever_their_order() -> None:
    later = {**record()["attributes"], "eventDate": EXPIRES}
    rows = [record(attributes=later), record(), record(customerId="8")]
    for order in (rows, rows[::-1]):
        entries = entry_frame(frame_of(order), "response")
        assert entries.height == 3
        kept = list(newest(entries))
        assert len(kept) == 2
        assert '"eventDate":"2017-04-01T00:00:00.999Z"' in kept[0].content


def test_the_digest_of_a_unit_sees_content_and_repeats_but_no_order() -> None:
    def digest(*records: dict[str, Any]) -> str:
        return unit_digest(entry_frame(frame_of(list(records)), "response"))

    one, two = record(), record(customerId="8")
    assert digest(one, two) == digest(two, one)
    other = record(customerId="8", rejectionHistory=[])
    assert len({digest(one), digest(one, two), digest(one, one), digest(one, other)}) == 4


def test_contents_differ_by_what_each_key_holds() -> None:
    def of(*customers: str, source: str = "s") -> list[dict[str, Any]]:
        metadata = {**record()["metadata"], "sourceConnectorId": source}
        return [record(customerId=each, metadata=metadata) for each in customers]

    old = entry_frame(frame_of([*of("1", "1", "2", "3"), *of("5")]), "response")
    new = entry_frame(frame_of([*of("4", "1"), *of("3", "2", source="t"), *of("0")]), "response")
    found = difference(old, new)
    customers = {
        name: [pk.split("#")[1] for pk in getattr(found, name)["pk"]]
        for name in ("added", "changed", "withdrawn")
    }
    assert customers == {"added": ["0", "4"], "changed": ["2", "3"], "withdrawn": ["5"]}
    assert found.kept == 1
    assert [*map(repr, newest(found.changed))] == [
        repr(each) for each in newest(new) if each.pk in set(found.changed["pk"])
    ]


def _scored(**changes: float) -> list[tuple[str, dict[str, Any]]]:
    ((name, score),) = record()["scores"]
    return [(name, {**score, **changes})]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"context": [{"type": "program", "id": "r"}]}, "a context of type"),
        ({"context": []}, "a context of type"),
        ({"scores": _scored(value=1.5)}, "a ranking score in 0..1"),
        ({"scores": _scored(value=-0.1)}, "a ranking score in 0..1"),
        ({"scores": _scored(value=math.nan)}, "finite numbers"),
        ({"scores": _scored(confidence=math.inf)}, "finite numbers"),
        ({"attributes": {**record()["attributes"], "orderValue": -math.inf}}, "finite numbers"),
    ],
)
def test_a_row_that_cannot_be_stored_is_named(changes: dict[str, Any], expected: str) -> None:
    frame = frame_of([record(customerId="8"), record(**changes)])
    with pytest.raises(InvalidItem, match=f"customer '7#'.*expected {expected}"):
        entry_frame(frame, "response")


def test_a_frame_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidItem, match=r"found none named .*'context'"):
        entry_frame(pl.DataFrame({"customerId": ["7"]}), "response")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"PK": "CUSTOMER#8#PROGRAM#a%25b#MARKETPLACE#GB"}, "expected context and subject"),
        ({"SK": "SUBJECT#video#A"}, "expected context and subject"),
        ({"SK": "SUBJECT"}, "expected PK"),
        ({"ttl": 5}, "expected the ttl of"),
        ({"scores": {"response": {"value": 2.0}}}, "ranking score in 0..1"),
        ({"scores": {"value": {"value": math.nan}}}, "not a candidate: ValueError"),
        ({"metadata": {}}, "not a candidate: KeyError"),
    ],
)
def test_an_item_that_contradicts_itself_is_refused(changes: dict[str, Any], expected: str) -> None:
    item: Any = {**item_of_record(record()), **changes}
    with pytest.raises(InvalidItem, match=expected):
        entry_of_item(item, "response")


def test_an_item_comes_back_with_what_the_store_counts() -> None:
    entry = entry_of_item(item_of_record(record()), "response")
    updated = entry.updated("a%b", "2017-03-09T00:00:00.000Z", 4)
    assert updated.updated_pk == "PROGRAM#a%25b#DATE#2017-03-09"
    item = item_of(
        updated.pk, updated.sk, updated.content, updated.updated_at, 4, updated.ttl, ["u2", "u1"]
    )
    expected = item_of_record(record())
    expected["metadata"] |= {"version": 4, "updatedAt": "2017-03-09T00:00:00.000Z"}
    assert item == {**expected, "units": ["u1", "u2"]}
    assert list(item["metadata"]) == sorted(item["metadata"])
