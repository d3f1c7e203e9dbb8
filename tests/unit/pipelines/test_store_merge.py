"""What a store holds depends on which units were applied, not on their order nor how often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UnitChanged
from pipelines.sinks.store import ApplyReceipt
from tests.properties.stored import (
    START,
    candidates,
    everything,
    frame_of,
    key_of_record,
    new_store,
)

Unit = tuple[str, list[dict[str, Any]]]


def _at(record: dict[str, Any], customer: str, day: int) -> dict[str, Any]:
    """Give a record one of few keys and one of few times, so that units meet."""
    created = START + timedelta(days=day)
    times = {"createdAt": created, "expiresAt": created + timedelta(days=30)}
    return {
        **record,
        "customerId": customer,
        "context": [{"type": "marketplace", "id": "US"}, {"type": "program", "id": "reviews"}],
        "subject": {"type": "product", "id": "A", "metadata": None},
        "metadata": {**record["metadata"], **times, "updatedAt": created},
    }


rows = st.builds(_at, candidates(), st.sampled_from("ab"), st.integers(0, 2))
units = st.lists(st.lists(rows, max_size=3), min_size=1, max_size=4).map(
    lambda contents: [(f"unit-{n}", content) for n, content in enumerate(contents)]
)


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Unit], list[Unit]]:
    """Units, and the same units in some order with some of them repeated."""
    given_units = draw(units)
    repeated = draw(st.lists(st.sampled_from(given_units), max_size=3))
    return given_units, draw(st.permutations(given_units + repeated))


def _oracle(given_units: list[Unit]) -> dict[str, tuple[int, str, list[str]]]:
    """Say of each customer's item: version, ``createdAt`` and units, by the rule as written."""
    proposals: dict[str, dict[str, Any]] = {}
    for unit, content in given_units:
        for row in content:
            times = proposals.setdefault(row["customerId"], {})
            times[unit] = max(times.get(unit, START), row["metadata"]["createdAt"])
    return {
        customer: (len(times), max(times.values()).date().isoformat(), sorted(times))
        for customer, times in proposals.items()
    }


@settings(max_examples=60, deadline=None)
@given(orders())
def test_any_order_and_any_repeats_make_the_same_items(
    case: tuple[list[Unit], list[Unit]],
) -> None:
    once, shuffled = case
    with new_store() as store:
        for unit, content in once:
            store.apply(unit, frame_of(content))
        expected = everything(store)
        ranked = store.by_channel("reviews", "email").items
    with new_store() as store:
        applied: set[str] = set()
        for unit, content in shuffled:
            before = everything(store)
            receipt = store.apply(unit, frame_of(content[::-1]))
            counts = (receipt.written, receipt.refreshed, receipt.unchanged, receipt.superseded)
            assert sum(counts) == len(content)
            if unit in applied:
                assert receipt == ApplyReceipt(unchanged=len(content))
                assert everything(store) == before
            applied.add(unit)
        found = everything(store)
        assert found == expected
        assert store.by_channel("reviews", "email").items == ranked
    summary = {
        item["PK"].split("#")[1]: (
            item["metadata"]["version"],
            item["metadata"]["createdAt"][:10],
            item["units"],
        )
        for item in found
    }
    assert summary == _oracle(once)


def _row(customer: str, day: int = 0, value: float = 1.0) -> dict[str, Any]:
    base: dict[str, Any] = {
        "scores": [],
        "attributes": {
            "eventDate": START,
            "deliveryDate": None,
            "timingWindow": None,
            "orderValue": value,
            "mediaEligible": None,
            "channelEligibility": [],
        },
        "metadata": {
            "version": 1,
            "sourceConnectorId": "s",
            "workflowExecutionId": "w",
            "band": None,
            "treatments": None,
        },
        "rejectionHistory": None,
    }
    return _at(base, customer, day)


def test_a_receipt_says_what_became_of_each_candidate() -> None:
    with new_store() as store:
        assert store.apply("b", frame_of([_row("1", 2), _row("2", 2)])) == ApplyReceipt(written=2)
        older = store.apply("a", frame_of([_row("1", 1), _row("3", 1), _row("3", 1, 2.0)]))
        assert older == ApplyReceipt(written=1, superseded=2)
        newer = store.apply("c", frame_of([_row("2", 3), _row("4", 3)]))
        assert newer == ApplyReceipt(written=1, refreshed=1)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([_row("1"), _row("2", value=5.0)], r"CUSTOMER#2#.*expected content \w+, found \w+;"),
        ([_row("1")], r"CUSTOMER#2#.*expected content \w+, found no candidate"),
        ([_row("1"), _row("2"), _row("3")], r"CUSTOMER#3#.*expected content no candidate"),
        ([_row("1"), _row("1"), _row("2")], "expected other repetitions"),
    ],
)
def test_a_changed_unit_is_refused_with_one_key_that_differs(
    rows: list[dict[str, Any]], said: str
) -> None:
    with new_store() as store:
        store.apply("unit", frame_of([_row("1"), _row("2")]))
        store.apply("newer", frame_of([_row("2", 9)]))
        before = everything(store)
        with pytest.raises(UnitChanged, match=f"unit unit was applied before.*{said}"):
            store.apply("unit", frame_of(rows))
        assert everything(store) == before


def test_what_differs_is_not_looked_for_in_what_was_deleted() -> None:
    with new_store() as store:
        store.apply("unit", frame_of([_row("1"), _row("2")]))
        store.delete(key_of_record(_row("1")))
        with pytest.raises(UnitChanged, match="CUSTOMER#2#"):
            store.apply("unit", frame_of([_row("1"), _row("2", value=5.0)]))


def test_a_deleted_candidate_comes_back_only_by_a_new_unit() -> None:
    with new_store() as store:
        store.apply("one", frame_of([_row("1")]))
        (item,) = everything(store)
        store.purge_expired(START + timedelta(days=365))
        assert store.apply("one", frame_of([_row("1")])) == ApplyReceipt(unchanged=1)
        assert everything(store) == []
        assert store.apply("two", frame_of([_row("1", 1)])).written == 1
        assert [(i["PK"], i["units"]) for i in everything(store)] == [(item["PK"], ["two"])]
