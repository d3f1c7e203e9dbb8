from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sinks.store import Page
from tests.properties.stored import (
    CHANNELS,
    PROGRAMS,
    candidates,
    distinct,
    frame_of,
    key_of_record,
    new_store,
)

FEW = st.sampled_from(["a", "a#b", "b", "ab", "a%", "$"])


def _pages(query: Callable[[str | None], Page]) -> list[tuple[str, str]]:
    """Return the keys of all pages, following the cursors."""
    keys, cursor = [], None
    while True:
        page = query(cursor)
        keys += [(item["PK"], item["SK"]) for item in page.items]
        cursor = page.cursor
        if cursor is None:
            return keys


def _score(record: dict[str, Any]) -> float:
    return float(dict(record["scores"]).get("response", {"value": 0.0})["value"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(candidates(FEW), max_size=12).map(distinct),
    st.sampled_from(PROGRAMS),
    st.sampled_from(CHANNELS),
    FEW,
    st.none() | st.sampled_from(["US", "GB"]),
    st.integers(1, 4),
)
def test_queries_find_what_matches_and_nothing_else(
    records: list[dict[str, Any]],
    program: str,
    channel: str,
    customer: str,
    marketplace: str | None,
    limit: int,
) -> None:
    """Feature: solicitation-platform, Property 13: Query filtering correctness"""
    with new_store() as store:
        store.apply("unit", frame_of(records))
        by_channel = _pages(
            lambda cursor: store.by_channel(program, channel, limit=limit, cursor=cursor)
        )
        by_customer = _pages(
            lambda cursor: store.by_customer(
                customer, program=program, marketplace=marketplace, limit=limit, cursor=cursor
            )
        )
    keys = {(key_of_record(r).pk, key_of_record(r).sk): r for r in records}
    eligible = {
        k
        for k, r in keys.items()
        if key_of_record(r).program_id == program
        and dict(r["attributes"]["channelEligibility"]).get(channel)
    }
    assert len(by_channel) == len(set(by_channel))
    assert set(by_channel) == eligible
    scores = [_score(keys[key]) for key in by_channel]
    assert scores == sorted(scores, reverse=True)
    assert by_customer == sorted(
        k
        for k, r in keys.items()
        if r["customerId"] == customer
        and key_of_record(r).program_id == program
        and marketplace in (None, key_of_record(r).marketplace_id)
    )
