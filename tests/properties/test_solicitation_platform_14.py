from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import VersionConflict
from tests.properties.stored import candidates, item_of_record, key_of_record, new_store


@settings(max_examples=100, deadline=None)
@given(candidates(), st.lists(st.integers(0, 2), max_size=5), st.integers(0, 3))
def test_of_two_updates_from_one_version_one_conflicts(
    record: dict[str, Any], stale: list[int], earlier: int
) -> None:
    """Feature: solicitation-platform, Property 14: Optimistic locking conflict detection

    Two writers read the same version, after any number of earlier updates; whoever comes second
    is refused with both versions named, and changes nothing. So is any version but the current.
    """
    key = key_of_record(record)
    with new_store() as store:
        store.put(item_of_record(record))
        for version in range(1, earlier + 1):
            item = store.get(key)
            assert item is not None
            store.update(item, expected_version=version)
        seen = store.get(key)
        assert seen is not None
        version = seen["metadata"]["version"]
        first = {**seen, "attributes": {**seen["attributes"], "orderValue": 1.0}}
        second = {**seen, "attributes": {**seen["attributes"], "orderValue": 2.0}}
        stored = store.update(first, expected_version=version)
        assert stored["metadata"]["version"] == version + 1
        for behind in (0, *stale):
            expected = version - behind
            with pytest.raises(VersionConflict, match=f"{expected}.*{version + 1}"):
                store.update(second, expected_version=expected)
        assert store.get(key) == stored
