from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import AlreadyExists, StoreError, UnitChanged
from pipelines.sinks.store import CandidateStore
from tests.properties.stored import (
    candidates,
    distinct,
    everything,
    frame_of,
    item_of_record,
    new_store,
)


def _write(store: CandidateStore, fault: str, records: list[dict[str, Any]], bad: int) -> None:
    """Write the batch; the record at ``bad`` is the one that cannot be written."""
    items = [item_of_record(record) for record in records]
    if fault == "no number":
        items[bad] = {
            **items[bad],
            "attributes": {**items[bad]["attributes"], "orderValue": float("nan")},
        }
    if fault == "another unit's content":
        store.apply("unit", frame_of(records))
    else:
        store.put_batch(items)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(candidates(), min_size=2, max_size=8).map(distinct).filter(lambda r: len(r) > 1),
    st.integers(0, 7),
    st.sampled_from(["there already", "no number", "another unit's content"]),
)
def test_a_batch_is_written_whole_or_not_at_all(
    records: list[dict[str, Any]], position: int, fault: str
) -> None:
    """Feature: solicitation-platform, Property 15: Batch write atomicity

    Wherever in the batch the fault is, nothing of it is written; without the fault all of it is.
    """
    bad = position % len(records)
    items = [item_of_record(record) for record in records]
    with new_store() as store:
        if fault == "there already":
            store.put(items[bad])
        if fault == "another unit's content":
            store.apply("unit", frame_of(records[:bad] + records[bad + 1 :]))
        before = everything(store)
        with pytest.raises(StoreError) as caught:
            _write(store, fault, records, bad)
        kinds = {"there already": AlreadyExists, "another unit's content": UnitChanged}
        assert isinstance(caught.value, kinds.get(fault, StoreError))
        assert everything(store) == before
    with new_store() as store:
        assert store.put_batch(items) == len(items)
        assert len(everything(store)) == len(items)
