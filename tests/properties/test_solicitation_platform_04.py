from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.stored import (
    START,
    candidates,
    frame_of,
    item_of_record,
    key_of_record,
    new_store,
)


@settings(max_examples=100, deadline=None)
@given(candidates(), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=6))
def test_versions_rise_and_times_never_fall(
    record: dict[str, Any], steps: list[tuple[bool, int]]
) -> None:
    """Feature: solicitation-platform, Property 4: Version monotonicity

    A candidate is changed by updates and by units, older ones and newer ones, in any order.
    """
    key = key_of_record(record)
    with new_store() as store:
        store.put(item_of_record(record))
        before = store.get(key)
        assert before is not None
        for number, (by_unit, day) in enumerate(steps):
            at = START + timedelta(days=day)
            if by_unit:
                metadata = {**record["metadata"], "createdAt": at, "updatedAt": at}
                store.apply(f"unit-{number}", frame_of([{**record, "metadata": metadata}]))
            else:
                stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                metadata = {**before["metadata"], "updatedAt": stamp}
                version = before["metadata"]["version"]
                store.update({**before, "metadata": metadata}, expected_version=version)
            after = store.get(key)
            assert after is not None
            assert after["metadata"]["version"] > before["metadata"]["version"]
            assert after["metadata"]["updatedAt"] >= before["metadata"]["updatedAt"]
            before = after
