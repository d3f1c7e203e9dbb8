from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.merges import TYPES, File, MergedLake, files, new_folder, of_all

SCHEMAS = ("current", "older", "unlike")
PUT = st.sampled_from(TYPES).flatmap(lambda record: files(record, 2, schemas=SCHEMAS))


@settings(max_examples=100, deadline=None)
@given(
    put=PUT,
    strangers=st.sets(st.integers(0, 5), max_size=2),
    resolve=st.booleans(),
    kind=st.sampled_from(["daily", "monthly"]),
)
def test_only_files_of_the_current_schema_are_merged_and_the_others_are_named(
    put: list[File], strangers: set[int], resolve: bool, kind: str
) -> None:
    """Feature: campaign-workers, Rule: Schema Validation

    An older schema is refused, or, where that is asked for, resolved; one that lacks what the
    record type needs, and that of another type, are always refused. What is refused stays where it
    is, and is named in every receipt and by the exit status.
    """
    record = put[0].record
    other = TYPES[(TYPES.index(record) + 1) % len(TYPES)]
    with new_folder() as folder:
        lake = MergedLake(folder, schema_policy="resolve" if resolve else "current-only")
        data = lake.put(put)
        for file in (put[n] for n in strangers if n < len(put)):
            data[file.key] = replace(file, record=other, schema="current").data(lake.lake)
            lake.storage.write(file.key, [data[file.key]])
        accepted = {"current", "older"} if resolve else {"current"}
        good = [f for n, f in enumerate(put) if n not in strangers and f.schema in accepted]
        bad = {file.key for file in put} - {file.key for file in good}
        done = lake.merge(kind, record)
        assert lake.rows(record) == of_all(good)
        assert lake.under("fragments") == {key: data[key] for key in bad}
        assert {problem["key"] for problem in done.months[0].problems} == bad
        assert done.exit_code == (1 if bad else 0)
        told = "\n".join(done.complaints())
        assert all(key in told for key in bad)
        receipts = [json.loads(said) for said in lake.under("receipts").values()]
        assert all({p["key"] for p in said["problems"]} == bad for said in receipts)
