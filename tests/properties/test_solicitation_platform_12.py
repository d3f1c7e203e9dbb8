from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.stored import (
    candidates,
    distinct,
    frame_of,
    item_of_record,
    key_of_record,
    new_store,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(candidates(), min_size=1, max_size=6).map(distinct), st.booleans())
def test_what_is_stored_comes_back_as_it_was(records: list[dict[str, Any]], by_unit: bool) -> None:
    """Feature: solicitation-platform, Property 12: Storage round-trip consistency

    Put as items, or applied as a unit that was read back from the lake: the same item.
    """
    with new_store() as store:
        if by_unit:
            store.apply("unit", frame_of(records))
        else:
            store.put_batch(item_of_record(record) for record in records)
        for record in records:
            expected = {**item_of_record(record), "units": ["unit"] if by_unit else []}
            assert store.get(key_of_record(record)) == expected
