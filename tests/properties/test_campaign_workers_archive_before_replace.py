from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import StorageFailed
from pipelines.storage import Storage
from tests.properties.merges import TYPES, File, MergedLake, files, new_folder, of_all


@settings(max_examples=100, deadline=None)
@given(
    put=st.sampled_from(TYPES).flatmap(lambda record: files(record, 2)),
    kind=st.sampled_from(["daily", "monthly"]),
    failing=st.integers(0, 24),
)
def test_a_source_is_in_the_archive_byte_for_byte_before_it_is_gone(
    put: list[File], kind: Any, failing: int
) -> None:
    """Feature: campaign-workers, Rule: Archive Before Replace

    At every removal its source is in the archive and its rows are in a file that readers see, also
    when the storage refuses from some step on; the next merge archives what is left.
    """
    record = put[0].record
    with new_folder() as folder:
        lake = MergedLake(folder)
        data = lake.put(put)
        archived = {file.archived: data[file.key] for file in put}
        with watched(lake, put, failing):
            lake.merge(kind, record)
        there = {**lake.under("archive"), **archived_names(lake.under("fragments"))}
        assert there == archived
        with watched(lake, put):
            assert lake.merge(kind, record).exit_code == 0
        assert lake.under("archive") == archived
        assert lake.under("fragments") == {}
        assert lake.rows(record) == of_all(put)


def archived_names(fragments: dict[str, bytes]) -> dict[str, bytes]:
    return {key.replace("fragments", "archive", 1): data for key, data in fragments.items()}


@contextmanager
def watched(lake: MergedLake, put: list[File], failing: int | None = None) -> Iterator[None]:
    """Check every removal of a fragment; from step ``failing`` on the storage refuses.

    It refuses data only: a ledger that cannot be written to ends the process, which is tested by
    killing it.
    """
    data = {file.key: file.data(lake.lake) for file in put}
    everything = of_all(put)
    steps = iter(range(1_000))
    actual = {name: getattr(Storage, name) for name in ("write", "copy", "delete", "writer")}

    def step(key: str) -> None:
        if not key.startswith("_ledger") and failing is not None and next(steps) >= failing:
            raise StorageFailed(lake.storage.root, key, "refused")

    def write(self: Storage, key: str, parts: Any) -> None:
        step(key)
        actual["write"](self, key, parts)

    def writer(self: Storage, key: str) -> Any:
        step(key)
        return actual["writer"](self, key)

    def copy(self: Storage, source: str, target: str) -> None:
        step(target)
        actual["copy"](self, source, target)

    def delete(self: Storage, keys: Iterable[str]) -> None:
        for key in keys:
            step(key)
            if key in data:
                assert self.read(key.replace("fragments", "archive", 1)) == data[key]
                assert lake.rows(put[0].record) == everything
            actual["delete"](self, [key])

    with pytest.MonkeyPatch.context() as patch:
        for name, method in (
            ("write", write), ("writer", writer), ("copy", copy), ("delete", delete),
        ):  # fmt: skip
            patch.setattr(Storage, name, method)
        yield
