from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.merges import TYPES, File, MergedLake, day, files, new_folder, of_all

DAYS = 3
RANGES = st.tuples(st.integers(0, DAYS - 1), st.integers(0, DAYS - 1)).map(sorted)


@settings(max_examples=150, deadline=None)
@given(put=st.sampled_from(TYPES).flatmap(lambda record: files(record, DAYS)), asked=RANGES)
def test_the_days_asked_for_become_a_file_each_that_holds_every_row_once(
    put: list[File], asked: list[int]
) -> None:
    """Feature: campaign-workers, Rule: Daily Merge

    Whatever files a day's records are split into: sizes, programs, codecs, sync markers, blocks,
    writers. fastavro reads both sides. The files of other days are left as they are.
    """
    first, last = asked
    record = put[0].record
    due = [file for file in put if day(first) <= file.day <= day(last)]
    with new_folder() as folder:
        lake = MergedLake(folder)
        data = lake.put(put)
        assert lake.merge("daily", record, first=first, last=last).exit_code == 0
        assert lake.rows(record) == of_all(due)
        stems = {f"{record}_{file.day.replace('-', '_')}" for file in due}
        assert set(lake.files(record)) == {f"{stem}.avro" for stem in stems}
        left = {file.key: data[file.key] for file in put if file not in due}
        assert lake.under("fragments") == left
        assert statistics(lake) == expected_statistics(due)


def statistics(lake: MergedLake) -> dict[str, Any]:
    """Return the document's merge statistics, by file prefix."""
    receipts = [json.loads(data) for data in lake.under("receipts").values()]
    return {r["statistics"]["filePrefix"]: r["statistics"]["count"] for r in receipts}


def expected_statistics(due: list[File]) -> dict[str, Any]:
    prefixes = {f"{file.record}/{file.day.replace('-', '/')}": file.day for file in due}
    by_day = {d: [file for file in due if file.day == d] for d in prefixes.values()}
    return {
        prefix: {"records": sum(len(file.rows) for file in by_day[d]), "files": len(by_day[d])}
        for prefix, d in prefixes.items()
    }


def test_a_second_merge_of_the_same_days_writes_nothing() -> None:
    with new_folder() as folder:
        lake = MergedLake(folder)
        lake.put(File(t, day(n), "part", tuple(range(9))) for t in TYPES for n in range(DAYS))
        lake.publish("reviews", day(0), [File("candidate", "", "unit", (7, 8))])
        for kind in ("daily", "monthly"):
            assert {month.status for month in lake.merge(kind).months} == {"merged"}
            before = lake.tree()
            again = lake.merge(kind)
            assert ({month.status for month in again.months}, again.exit_code) == ({"unchanged"}, 0)
            assert lake.tree() == before
