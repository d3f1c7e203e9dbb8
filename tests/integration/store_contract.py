"""What every candidate store must do.

A store's own test file subclasses ``StoreContract`` and says how it is opened: ``open_store`` opens
the same store each time, empty at first. A store passes when it passes all of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any

import polars as pl
import pytest

from pipelines.errors import (
    AlreadyExists,
    InvalidCursor,
    Superseded,
    UnitChanged,
    VersionConflict,
)
from pipelines.sinks.store import ApplyReceipt, CandidateStore
from pipelines.sinks.store_keys import CandidateKey
from tests.properties.stored import frame_of, item_of_record

Open = Callable[..., CandidateStore]
Records = list[dict[str, Any]]
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


def shown(store: CandidateStore) -> dict[str, Any]:
    """Return all items of customer 7 by key, without what tells how they came about."""
    return {keys([item])[0]: timeless(item) for item in store.by_customer("7").items}


def timeless(item: Any) -> dict[str, Any]:
    counted = ("version", "updatedAt")
    metadata = {k: v for k, v in item["metadata"].items() if k not in counted}
    return {**item, "metadata": metadata}


def proposed(one: dict[str, Any], *units: str) -> dict[str, Any]:
    """Return what ``shown`` says of a record that these units proposed."""
    return timeless({**item_of_record(one), "units": list(units)})


def never(unit: str) -> pl.DataFrame:
    raise AssertionError(f"nothing of {unit} is needed")


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

    def test_a_higher_attempt_replaces_what_its_unit_proposed(self, open_store: Open) -> None:
        old = [record(), record(subject="B"), record(subject="C", channels=("in-app",))]
        new = [old[0], record(subject="B", score=0.9, channels=("in-app",)), record(subject="D")]
        with open_store() as store:
            store.apply("u1", frame_of(old))
            receipt = store.apply(
                "u1", frame_of(new), attempt=2, replaces=frame_of(old), others=never
            )
            assert receipt == ApplyReceipt(written=1, refreshed=1, unchanged=1, withdrawn=1)
        with open_store() as store:
            found = store.by_customer("7").items
            assert [i["metadata"]["version"] for i in found] == [1, 2, 1]
            assert list(shown(store).values()) == [proposed(each, "u1") for each in new]
            assert keys(store.by_channel("reviews", "in-app").items) == ["7/B"]
            assert keys(store.by_channel("reviews", "email").items) == ["7/D", "7/A"]

    def test_the_same_replacement_again_changes_nothing(self, open_store: Open) -> None:
        old, new = frame_of([record()]), frame_of([record(score=0.9), record(subject="B")])
        with open_store() as store:
            store.apply("u1", old)
            store.apply("u1", new, attempt=2, replaces=old)
            before = store.by_customer("7").items
            again = store.apply("u1", new, attempt=2, replaces=old)
            assert again == ApplyReceipt(unchanged=2)
            assert store.by_customer("7").items == before

    def test_a_replacement_by_equal_content_notes_its_attempt_only(self, open_store: Open) -> None:
        content = frame_of([record(), record(subject="B")])
        with open_store() as store:
            store.apply("u1", content)
            before = store.by_customer("7").items
            receipt = store.apply("u1", content, attempt=3, replaces=content)
            assert receipt == ApplyReceipt(unchanged=2)
            assert store.by_customer("7").items == before
            assert store.applied("u1") == {"u1": 3}

    def test_a_lower_attempt_is_fenced_off_whatever_it_brings(self, open_store: Open) -> None:
        old, new = frame_of([record()]), frame_of([record(score=0.9)])
        with open_store() as store:
            store.apply("u1", new, attempt=4)
            before = store.by_customer("7").items
            for content in (old, new):
                with pytest.raises(Superseded, match=r"u1: expected attempt 4 .*found attempt 3"):
                    store.apply("u1", content, attempt=3, replaces=new)
            assert store.by_customer("7").items == before
            assert store.applied("u1") == {"u1": 4}

    def test_a_unit_that_is_not_known_has_nothing_to_replace(self, open_store: Open) -> None:
        with open_store() as store:
            other = frame_of([record(subject="B")])
            receipt = store.apply(
                "u1", frame_of([record()]), attempt=7, replaces=other, others=never
            )
            assert receipt == ApplyReceipt(written=1)
            assert store.applied("") == {"u1": 7}

    def test_a_unit_may_lose_all_and_gain_some(self, open_store: Open) -> None:
        some, nothing = frame_of([record()]), frame_of([])
        with open_store() as store:
            store.apply("u1", some)
            receipt = store.apply("u1", nothing, attempt=2, replaces=some)
            assert receipt == ApplyReceipt(withdrawn=1)
            assert store.get(KEY) is None
            assert store.by_channel("reviews", "email").items == []
            assert store.apply("u1", some, attempt=3, replaces=nothing) == ApplyReceipt(written=1)

    def test_what_is_not_shown_is_replaced_unseen(self, open_store: Open) -> None:
        old, new, later = record(), record(score=0.9), record(day=2)
        with open_store() as store:
            store.apply("u1", frame_of([old]))
            store.apply("u2", frame_of([later]))
            before = store.get(KEY)
            receipt = store.apply(
                "u1", frame_of([new]), attempt=2, replaces=frame_of([old]), others=never
            )
            assert receipt == ApplyReceipt(superseded=1)
            assert store.get(KEY) == before
            store.apply(
                "u2",
                frame_of([]),
                attempt=2,
                replaces=frame_of([later]),
                others=lambda unit: {"u1": frame_of([new])}[unit],
            )
            assert shown(store) == {"7/A": proposed(new, "u1")}

    def test_what_is_not_shown_is_withdrawn_from_the_units(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record()]))
            store.apply("u2", frame_of([record(day=2)]))
            old, nothing = frame_of([record()]), frame_of([])
            receipt = store.apply("u1", nothing, attempt=2, replaces=old, others=never)
            assert receipt == ApplyReceipt(withdrawn=1)
            assert shown(store) == {"7/A": proposed(record(day=2), "u2")}
            item = store.get(KEY)
            assert item is not None
            assert item["metadata"]["version"] == 3

    def test_the_newest_that_remains_comes_back_and_time_does_not(self, open_store: Open) -> None:
        contents = {
            "u1": [record(day=1), record(subject="B", day=1)],
            "u2": [record(day=2, channels=("in-app",)), record(subject="B", day=2)],
            "u3": [record(day=3), record(subject="B", day=3), record(subject="C", day=3)],
        }
        asked: list[str] = []

        def others(unit: str) -> pl.DataFrame:
            asked.append(unit)
            # What to read back is what the store has noted: it can be asked meanwhile.
            assert store.applied("u") == {"u1": 1, "u2": 1, "u3": 1}
            return frame_of(contents[unit])

        with open_store() as store:
            for unit, content in contents.items():
                store.apply(unit, frame_of(content))
            old = frame_of(contents["u3"])
            receipt = store.apply("u3", frame_of([]), attempt=2, replaces=old, others=others)
            assert receipt == ApplyReceipt(withdrawn=3)
            assert asked == ["u2"]
            first, second = contents["u2"]
            expected = {"7/A": proposed(first, "u1", "u2"), "7/B": proposed(second, "u1", "u2")}
            assert shown(store) == expected
            for item in store.by_customer("7").items:
                assert item["metadata"]["version"] == 4
                assert item["metadata"]["updatedAt"] == "2017-03-03T23:59:59.999Z"
            assert keys(store.by_channel("reviews", "in-app").items) == ["7/A"]
            assert keys(store.by_channel("reviews", "email").items) == ["7/B"]
            assert keys(store.by_date("reviews", date(2017, 3, 2)).items) == ["7/A", "7/B"]
            assert store.by_date("reviews", date(2017, 3, 3)).items == []
            assert keys(store.export("reviews", date(2017, 3, 3))) == ["7/A", "7/B"]

    def test_a_proposal_may_become_newer_or_older_than_another(self, open_store: Open) -> None:
        first, second = frame_of([record(day=1)]), frame_of([record(day=2)])
        third = frame_of([record(day=3)])
        with open_store() as store:
            store.apply("u1", first)
            store.apply("u2", second)
            newer = store.apply("u1", third, attempt=2, replaces=first, others=never)
            assert newer == ApplyReceipt(refreshed=1)
            assert shown(store) == {"7/A": proposed(record(day=3), "u1", "u2")}
            older = store.apply("u1", first, attempt=3, replaces=third, others=lambda unit: second)
            assert older == ApplyReceipt(superseded=1)
            assert shown(store) == {"7/A": proposed(record(day=2), "u1", "u2")}

    @pytest.mark.parametrize(
        ("attempt", "replaces", "others", "said"),
        [
            (2, None, {}, r"u2 was applied before.*7.*#A: expected content \w+, found no cand"),
            (1, [record(day=2)], {}, "u2 was applied before with other content"),
            (
                2,
                [record(day=2, score=0.1)],
                {},
                r"u2 .*to be replaced.*#A: expected content \w+, f",
            ),
            (2, [record(day=2)], None, "unit u2: .*those of unit u1 come back"),
            (2, [record(day=2)], {"u1": []}, r"u1 .*to be restored.*#A: expected content"),
        ],
    )
    def test_what_is_not_as_noted_is_refused_whole(
        self,
        open_store: Open,
        attempt: int,
        replaces: Records | None,
        others: dict[str, Records] | None,
        said: str,
    ) -> None:
        old = None if replaces is None else frame_of(replaces)
        read = None if others is None else lambda unit: frame_of(others[unit])
        with open_store() as store:
            store.apply("u1", frame_of([record()]))
            store.apply("u2", frame_of([record(day=2)]))
            before = store.by_customer("7").items
            new = frame_of([record(subject="B", day=2)])
            with pytest.raises(UnitChanged, match=f"{said}.*nothing was changed"):
                store.apply("u2", new, attempt=attempt, replaces=old, others=read)
            assert store.by_customer("7").items == before
            assert store.applied("") == {"u1": 1, "u2": 1}

    def test_a_lake_that_fails_meanwhile_leaves_all_as_it_was(self, open_store: Open) -> None:
        with open_store() as store:
            store.apply("u1", frame_of([record()]))
            store.apply("u2", frame_of([record(day=2), record(subject="B", day=2)]))
            before = store.by_customer("7").items
            old = frame_of([record(day=2), record(subject="B", day=2)])
            with pytest.raises(AssertionError, match="nothing of u1"):
                store.apply("u2", frame_of([]), attempt=2, replaces=old, others=never)
            assert store.by_customer("7").items == before

    def test_replacing_does_not_bring_back_what_was_deleted(self, open_store: Open) -> None:
        old = frame_of([record(), record(subject="B")])
        new = frame_of([record(score=0.9), record(subject="B", score=0.9)])
        with open_store() as store:
            store.apply("u1", old)
            store.delete(KEY)
            receipt = store.apply("u1", new, attempt=2, replaces=old)
            assert receipt == ApplyReceipt(refreshed=1, superseded=1)
            assert list(shown(store)) == ["7/B"]
            # What another unit proposed afterwards is that unit's alone.
            store.apply("u2", frame_of([record(day=2)]))
            store.apply("u1", old, attempt=3, replaces=new)
            assert shown(store)["7/A"] == proposed(record(day=2), "u2")
            assert store.apply("u1", frame_of([]), attempt=4, replaces=old).withdrawn == 1
            assert shown(store) == {"7/A": proposed(record(day=2), "u2")}

    def test_an_update_lasts_as_long_as_the_proposal_it_changed(self, open_store: Open) -> None:
        old = [record(subject=each) for each in "ABC"]
        new = [record(subject="A"), record(subject="B", score=0.9)]
        with open_store() as store:
            store.apply("u1", frame_of(old))
            for each in "ABC":
                changed: Any = item_of_record(record(subject=each, score=0.25))
                store.update(changed, expected_version=1)
            receipt = store.apply("u1", frame_of(new), attempt=2, replaces=frame_of(old))
            assert receipt == ApplyReceipt(refreshed=1, unchanged=1, withdrawn=1)
            untouched = proposed(record(subject="A", score=0.25), "u1")
            assert shown(store) == {"7/A": untouched, "7/B": proposed(new[1], "u1")}
            versions = [item["metadata"]["version"] for item in store.by_customer("7").items]
            assert versions == [2, 3]

    def test_what_was_put_by_hand_is_withdrawn_by_no_unit(self, open_store: Open) -> None:
        by_hand = record(day=5)
        with open_store() as store:
            store.put(item_of_record(by_hand))
            old = frame_of([record()])
            store.apply("u1", old)
            store.apply("u1", frame_of([]), attempt=2, replaces=old, others=never)
            assert shown(store) == {"7/A": proposed(by_hand)}

    @pytest.mark.parametrize("day", [1, 3, 5])
    def test_a_unit_comes_to_what_was_put_in_its_name(self, open_store: Open, day: int) -> None:
        by_hand: Any = {**item_of_record(record(day=3, score=0.25)), "units": ["u1"]}
        with open_store() as store:
            store.put(by_hand)
            old = record(day=day, score=0.75)
            store.apply("u1", frame_of([old]))
            newest = old if day >= 3 else record(day=3, score=0.25)
            assert shown(store) == {"7/A": proposed(newest, "u1")}
            # Ranked by what is shown, not by what is older.
            store.apply("u2", frame_of([record(subject="B", score=0.5)]))
            first = "7/A" if day >= 3 else "7/B"
            assert keys(store.by_channel("reviews", "email").items)[0] == first
            new = record(day=day, score=0.1)
            store.apply("u1", frame_of([new]), attempt=2, replaces=frame_of([old]))
            assert shown(store)["7/A"] == proposed(new, "u1")

    def test_units_are_found_by_the_beginning_of_their_names(self, open_store: Open) -> None:
        names = ["a/%/1", "a/_/1", "a/b/1", "a/b/2", "a/b", "a/c/1", "a/b\U0010ffff", "á/b/1"]
        with open_store() as store:
            for attempt, name in enumerate(names, 1):
                store.apply(name, frame_of([]), attempt=attempt)
            for prefix in ("", "a/%", "a/_/", "a/b", "a/b/", "a/b\U0010ffff", "A/b", "á", "z"):
                found = store.applied(prefix)
                expected = {n: names.index(n) + 1 for n in sorted(names) if n.startswith(prefix)}
                assert found == expected
                assert list(found) == list(expected)

    @pytest.mark.parametrize("seed", range(25))
    def test_whatever_happened_the_newest_of_what_is_proposed_is_shown(
        self, open_store: Open, seed: int
    ) -> None:
        chance = random.Random(seed)
        now: dict[str, Records] = {}
        attempts: dict[str, int] = {}
        seen: dict[str, Any] = {}
        with open_store() as store:
            for _ in range(15):
                unit, content = f"u{chance.randrange(4)}", _content(chance)
                attempts[unit] = attempts.get(unit, 0) + 1
                receipt = store.apply(
                    unit,
                    frame_of(content),
                    attempt=attempts[unit],
                    replaces=frame_of(now.get(unit, [])),
                    others=lambda other: frame_of(now[other]),
                )
                assert _accounted(receipt) == len(content)
                now[unit] = content
                assert shown(store) == _newest(now)
                _check_indexes(store)
                seen = _check_progress(store, seen)


def _content(chance: random.Random) -> Records:
    """A unit's candidates: a few keys, few times, and sometimes a key twice."""
    rows = [(chance.choice("ABC"), chance.randrange(1, 5)) for _ in range(chance.randrange(5))]
    return [
        record(
            subject=subject,
            day=day,
            score=chance.choice((0.25, 0.5, 0.75)),
            channels=chance.choice(((), ("email",), ("email", "in-app"))),
        )
        for subject, day in dict.fromkeys(rows)
    ]


def _newest(now: dict[str, Records]) -> dict[str, Any]:
    """Say what is shown, by the rule as written: the oracle."""
    proposals: dict[str, dict[str, dict[str, Any]]] = {}
    for unit, content in now.items():
        for each in sorted(content, key=_created):
            proposals.setdefault(f"7/{each['subject']['id']}", {})[unit] = each
    return {
        key: proposed(max(of.items(), key=lambda i: (_created(i[1]), i[0]))[1], *sorted(of))
        for key, of in proposals.items()
    }


def _created(one: dict[str, Any]) -> datetime:
    at: datetime = one["metadata"]["createdAt"]
    return at


def _accounted(receipt: ApplyReceipt) -> int:
    return receipt.written + receipt.refreshed + receipt.unchanged + receipt.superseded


def _check_indexes(store: CandidateStore) -> None:
    """Check that the indexes find what the items say."""
    items = store.by_customer("7").items
    for channel in ("email", "in-app"):
        expected = [i for i in items if i["attributes"]["channelEligibility"][channel]]
        found = store.by_channel("reviews", channel).items
        assert sorted(keys(found)) == sorted(keys(expected))
        ranks = [item["scores"]["response"]["value"] for item in found]
        assert ranks == sorted(ranks, reverse=True)
    for day in (date(2017, 3, n) for n in range(1, 6)):
        created = [i for i in items if i["metadata"]["createdAt"][:10] == str(day)]
        updated = [i for i in items if i["metadata"]["updatedAt"][:10] == str(day)]
        assert keys(store.by_date("reviews", day).items) == keys(created)
        assert set(keys(store.export("reviews", day))) == set(keys([*created, *updated]))


def _check_progress(store: CandidateStore, before: dict[str, Any]) -> dict[str, Any]:
    """Check property 4 against what was seen before, and return what is seen now."""
    after = {keys([item])[0]: item for item in store.by_customer("7").items}
    for key in before.keys() & after.keys():
        old, new = before[key]["metadata"], after[key]["metadata"]
        assert new["updatedAt"] >= old["updatedAt"]
        # Another unit's equal proposal may have come in its place: a change that is not seen.
        differs = timeless(before[key]) != timeless(after[key])
        assert new["version"] - old["version"] in ((1,) if differs else (0, 1))
    return after
