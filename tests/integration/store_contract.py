"""What every candidate store must do.

A store's own test file subclasses ``StoreContract`` and says how it is opened: ``open_store`` opens
the same store each time, empty at first. A store passes when it passes all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from pipelines.errors import AlreadyExists, InvalidCursor, UnitChanged, VersionConflict
from pipelines.sinks.store import ApplyReceipt, CandidateStore
from pipelines.sinks.store_keys import CandidateKey
from tests.properties.stored import frame_of, item_of_record

Open = Callable[..., CandidateStore]
DAY_ONE = datetime(2017, 3, 1, 23, 59, 59, 999_000, UTC)


def record(
    customer: str = "7",
    subject: str = "A",
    *,
    day: int = 1,
    score: float = 0.5,
    channels: tuple[str, ...] = ("email",),
    program: str = "reviews",
) -> dict[str, Any]:
    """A candidate that a unit of that day proposes."""
    at = DAY_ONE + timedelta(days=day - 1)
    response = {"modelId": "response", "value": score, "confidence": 1.0, "timestamp": at}
    return {
        "customerId": customer,
        "context": [{"type": "marketplace", "id": "US"}, {"type": "program", "id": program}],
        "subject": {"type": "product", "id": subject, "metadata": None},
        "scores": [("response", {**response, "metadata": None})],
        "attributes": {
            "eventDate": at - timedelta(hours=3),
            "deliveryDate": None,
            "timingWindow": None,
            "orderValue": 2.5,
            "mediaEligible": None,
            "channelEligibility": [(name, name in channels) for name in ("email", "in-app")],
        },
        "metadata": {
            "createdAt": at,
            "updatedAt": at,
            "expiresAt": at + timedelta(days=30),
            "version": 1,
            "sourceConnectorId": "transactions",
            "workflowExecutionId": f"solicit/reviews/{at.date()}/0",
            "band": "high",
            "treatments": None,
        },
        "rejectionHistory": None,
    }


KEY = CandidateKey("7", "reviews", "US", "product", "A")


def keys(items: Any) -> list[str]:
    return [f"{item['PK'].split('#')[1]}/{item['SK'].split('#')[2]}" for item in items]


class StoreContract:
    """The contract. Subclasses define the fixture ``open_store``."""

    def test_an_empty_store_answers_with_nothing(self, open_store: Open) -> None:
        with open_store() as store:
            assert store.get(KEY) is None
            assert store.by_customer("7").items == []
            assert store.by_channel("reviews", "email").items == []
            assert store.by_date("reviews", date(2017, 3, 1)).items == []
            assert list(store.export("reviews", date(2017, 3, 1))) == []
            assert store.delete(KEY) is False

    def test_what_a_unit_proposes_is_there_when_the_store_is_opened_again(
        self, open_store: Open
    ) -> None:
        with open_store() as store:
            assert store.apply("u1", frame_of([record()])) == ApplyReceipt(written=1)
        with open_store() as store:
            assert store.get(KEY) == {**item_of_record(record()), "units": ["u1"]}

    def test_a_unit_without_candidates_leaves_the_store_empty(self, open_store: Open) -> None:
        with open_store() as store:
            assert store.apply("u1", frame_of([])) == ApplyReceipt()

    def test_a_unit_again_changes_nothing(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record(), record(subject="B")]))
            before = store.by_customer("7").items
            again = store.apply("u1", frame_of([record(subject="B"), record()]))
            assert again == ApplyReceipt(unchanged=2)
            assert store.by_customer("7").items == before

    def test_a_unit_with_other_content_is_refused_whole(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record()]))
            before = store.by_customer("7").items
            with pytest.raises(UnitChanged, match="u1"):
                store.apply("u1", frame_of([record(score=0.9), record(subject="B")]))
            assert store.by_customer("7").items == before

    @pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
    def test_units_in_any_order_and_repeated_make_the_same_items(
        self, open_store: Open, order: tuple[int, ...]
    ) -> None:
        with open_store() as store:
            for day in (*order, order[0]):
                proposed = [
                    record(day=day, score=day / 10),
                    record(subject=f"of day {day}", day=day),
                ]
                store.apply(f"u{day}", frame_of(proposed))
            item = store.get(KEY)
            assert item is not None
            assert item["scores"]["response"]["value"] == 0.3
            assert item["metadata"]["version"] == 3
            assert item["metadata"]["createdAt"] == "2017-03-03T23:59:59.999Z"
            assert item["metadata"]["updatedAt"] == "2017-03-03T23:59:59.999Z"
            assert item["ttl"] == int((DAY_ONE + timedelta(days=32)).timestamp())
            assert item["units"] == ["u1", "u2", "u3"]

    def test_put_refuses_what_is_there(self, open_store: Open) -> None:
        with open_store() as store:
            store.put(item_of_record(record()))
            with pytest.raises(AlreadyExists):
                store.put(item_of_record(record(score=0.9)))
            assert store.get(KEY) == item_of_record(record())

    def test_put_batch_is_all_or_nothing(self, open_store: Open) -> None:
        with open_store() as store:
            store.put(item_of_record(record(subject="B")))
            batch = [item_of_record(record(subject=s)) for s in ("A", "B", "C")]
            with pytest.raises(AlreadyExists):
                store.put_batch(batch)
            assert keys(store.by_customer("7").items) == ["7/B"]

    def test_updates_are_conditional_on_the_version(self, open_store: Open) -> None:
        with open_store() as store:
            store.put(item_of_record(record()))
            changed: Any = item_of_record(record(score=0.75))
            stored = store.update(changed, expected_version=1)
            assert stored["metadata"]["version"] == 2
            with pytest.raises(VersionConflict, match=r"1.*2"):
                store.update(changed, expected_version=1)
            assert store.get(KEY) == stored

    def test_updating_what_is_not_there_is_a_conflict(self, open_store: Open) -> None:
        with open_store() as store, pytest.raises(VersionConflict):
            store.update(item_of_record(record()), expected_version=1)

    def test_an_update_never_goes_back_in_time(self, open_store: Open) -> None:
        with open_store() as store:
            store.put(item_of_record(record(day=5)))
            stored = store.update(item_of_record(record(day=2)), expected_version=1)
            assert stored["metadata"]["updatedAt"] == "2017-03-05T23:59:59.999Z"

    def test_the_channel_index_is_best_first_and_follows_updates(self, open_store: Open) -> None:
        scores = {"A": 0.09, "B": 0.1, "C": 1.0, "D": 0.000001, "E": 0.5}
        with open_store() as store:
            both = ("email", "in-app")
            records = [record(subject=s, score=v, channels=both) for s, v in scores.items()]
            store.apply("u1", frame_of([*records, record(subject="F", channels=())]))
            found = store.by_channel("reviews", "in-app").items
            assert keys(found) == ["7/C", "7/E", "7/B", "7/A", "7/D"]
            store.update(
                item_of_record(record(subject="D", score=0.99, channels=("email",))),
                expected_version=1,
            )
            assert keys(store.by_channel("reviews", "email").items)[:2] == ["7/C", "7/D"]
            assert "7/D" not in keys(store.by_channel("reviews", "in-app").items)

    def test_programs_customers_and_dates_do_not_mix(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record("7"), record("77"), record("7#", "A")]))
            store.apply("u2", frame_of([record("7", "B", day=2, program="polls")]))
            assert keys(store.by_customer("7").items) == ["7/B", "7/A"]
            assert keys(store.by_customer("7", program="reviews").items) == ["7/A"]
            assert len(store.by_channel("polls", "email").items) == 1
            assert len(store.by_date("reviews", date(2017, 3, 1)).items) == 3
            assert store.by_date("reviews", date(2017, 3, 2)).items == []

    def test_pages_follow_each_other_without_gap_or_repeat(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record(str(n), score=0.5) for n in range(7)]))
            found, cursor = [], None
            while True:
                page = store.by_channel("reviews", "email", limit=3, cursor=cursor)
                found += keys(page.items)
                cursor = page.cursor
                if cursor is None:
                    break
            assert sorted(found) == [f"{n}/A" for n in range(7)]
            first = store.by_channel("reviews", "email", limit=3).cursor
            with pytest.raises(InvalidCursor):
                store.by_date("reviews", date(2017, 3, 1), cursor=first)

    def test_a_refreshed_candidate_is_under_its_newest_date(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record()]))
            store.apply("u9", frame_of([record(day=9)]))
            assert store.by_date("reviews", date(2017, 3, 1)).items == []
            assert keys(store.by_date("reviews", date(2017, 3, 9)).items) == ["7/A"]
            assert keys(store.export("reviews", date(2017, 3, 9))) == ["7/A"]

    def test_what_has_expired_is_hidden_on_request_and_purged_on_demand(
        self, open_store: Open
    ) -> None:
        expiry = DAY_ONE + timedelta(days=30)
        with open_store() as store:
            store.apply("u1", frame_of([record(), record(subject="B", day=2)]))
            before, after = expiry - timedelta(seconds=1), expiry
            assert len(store.by_customer("7", as_of=before).items) == 2
            assert keys(store.by_customer("7", as_of=after).items) == ["7/B"]
            assert store.get(KEY, as_of=after) is None
            assert store.purge_expired(after) == 1
            assert keys(store.by_customer("7").items) == ["7/B"]

    def test_deleting_removes_from_every_index(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record()]))
            assert store.delete(KEY) is True
            assert store.get(KEY) is None
            assert store.by_channel("reviews", "email").items == []
            assert store.by_date("reviews", date(2017, 3, 1)).items == []
