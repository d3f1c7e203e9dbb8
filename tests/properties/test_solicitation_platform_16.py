from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.stored import (
    PROGRAMS,
    START,
    candidates,
    distinct,
    frame_of,
    item_of_record,
    key_of_record,
    new_store,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(candidates(), max_size=8).map(distinct),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 40)), max_size=4),
    st.sampled_from(PROGRAMS),
    st.integers(0, 41),
)
def test_the_export_of_a_day_is_what_was_created_or_updated_that_day(
    records: list[dict[str, Any]], updates: list[tuple[int, int]], program: str, day: int
) -> None:
    """Feature: solicitation-platform, Property 16: Data warehouse export completeness"""
    wanted = (START + timedelta(days=day)).date()
    with new_store() as store:
        store.apply("unit", frame_of(records))
        for number, later in updates if records else []:
            item = store.get(key_of_record(records[number % len(records)]))
            assert item is not None
            at = (START + timedelta(days=later)).isoformat(timespec="milliseconds")
            metadata = {**item["metadata"], "updatedAt": at.replace("+00:00", "Z")}
            version = item["metadata"]["version"]
            store.update({**item, "metadata": metadata}, expected_version=version)
        found = list(store.export(program, wanted))
        expected = []
        for record in records:
            item = store.get(key_of_record(record))
            assert item is not None
            days = {item["metadata"][name][:10] for name in ("createdAt", "updatedAt")}
            if key_of_record(record).program_id == program and wanted.isoformat() in days:
                expected.append(item)
    assert found == sorted(expected, key=lambda item: (item["PK"], item["SK"]))
    assert all(item_of_record(r)["metadata"]["createdAt"] for r in records)
