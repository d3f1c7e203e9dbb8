from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import StorageFailed
from pipelines.storage import Storage
from tests.properties.merges import MONTH, TYPES, File, MergedLake, files, new_folder, of_all

#: What is wrong with a type: its files, its catalog's entry, or the place of its merged files.
Wrong = Literal["files", "catalog", "place"]
WRONGS = st.dictionaries(
    st.sampled_from(TYPES), st.sampled_from(["files", "catalog", "place"]), min_size=1
)


@settings(max_examples=100, deadline=None)
@given(
    put=st.tuples(*(files(record, 2, most=3) for record in TYPES)),
    wrong=WRONGS,
    kind=st.sampled_from(["daily", "monthly"]),
)
def test_what_is_wrong_with_a_type_is_its_own(
    put: tuple[list[File], ...], wrong: dict[str, Wrong], kind: Any
) -> None:
    """Feature: campaign-workers, Rule: Record Type Isolation

    All types are merged together; those with which something is wrong fail, their files stay, and
    every other type becomes what it becomes alone. Once it is mended, a type is merged as well.
    """
    of = dict(zip(TYPES, put, strict=True))
    with new_folder() as folder:
        lake, alone = MergedLake(folder / "all"), MergedLake(folder / "alone")
        data = {record: lake.put(some) for record, some in of.items()}
        with broken(lake, of, wrong):
            done = lake.merge(kind)
        status = {month.record_type: month.status for month in done.months}
        assert status == {r: "failed" if r in wrong else "merged" for r in TYPES}
        assert done.exit_code == 1
        for record, some in of.items():
            left = lake.under(f"fragments/{record}")
            if record in wrong:
                assert left.keys() == data[record].keys()
                continue
            alone.put(some)
            alone.merge(kind, record)
            assert left == {}
            assert lake.rows(record) == of_all(some)
            for top in ("merged", "archive", "pointers"):
                assert lake.under(f"{top}/{record}") == alone.under(f"{top}/{record}")
        for record in wrong:
            lake.put(of[record])
        assert lake.merge(kind).exit_code == 0
        assert all(lake.rows(record) == of_all(some) for record, some in of.items())


@contextmanager
def broken(lake: MergedLake, of: dict[str, list[File]], wrong: dict[str, Wrong]) -> Iterator[None]:
    """Break types in their ways; what is not of their files is mended at the end."""
    strangers = [f"pointers/{r}/{MONTH}/000001.json" for r, w in wrong.items() if w == "catalog"]
    for key in strangers:
        lake.storage.write(key, [b"{}"])
    for record in (record for record, what in wrong.items() if what == "files"):
        for file in of[record]:
            lake.storage.write(file.key, [file.data(lake.lake)[:-17]])
    refused = tuple(f"merged/{r}/" for r, w in wrong.items() if w == "place")
    with pytest.MonkeyPatch.context() as patch:
        writer = Storage.writer

        def refusing(self: Storage, key: str) -> Any:
            if refused and key.startswith(refused):
                raise StorageFailed(self.root, key, "refused")
            return writer(self, key)

        patch.setattr(Storage, "writer", refusing)
        yield
    lake.storage.delete(strangers)
