from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.merges import MONTH, TYPES, File, MergedLake, day, files, new_folder, of_all

DAYS = 3
#: What arrives before each daily merge, by the number of its arrival, and the days then merged.
RANGES = st.tuples(st.integers(0, DAYS - 1), st.integers(0, DAYS - 1)).map(sorted)
STEPS = st.lists(st.tuples(st.integers(0, 2), RANGES), max_size=4)


@settings(max_examples=100, deadline=None)
@given(
    put=st.sampled_from(TYPES).flatmap(
        lambda record: files(record, DAYS, schemas=("current", "current", "older"))
    ),
    arrivals=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    steps=STEPS,
)
def test_a_month_ends_in_the_same_file_whatever_was_merged_before_it(
    put: list[File], arrivals: list[int], steps: list[tuple[int, list[int]]]
) -> None:
    """Feature: campaign-workers, Rule: Monthly Merge

    Days are merged in any order and any grouping, maybe several times, and files arrive in between;
    the month's single file has the bytes that it has when everything is merged at once. fastavro
    finds in it every row of every file once.
    """
    record = put[0].record
    with new_folder() as folder:
        lake = MergedLake(folder / "by-day", schema_policy="resolve")
        for arrival in range(3):
            lake.put(file for file, at in zip(put, arrivals, strict=False) if at == arrival)
            for _, (first, last) in (step for step in steps if step[0] == arrival):
                done = lake.merge("daily", record, first=first, last=last, force=True)
                assert done.exit_code == 0
        assert lake.merge("monthly", record).exit_code == 0
        at_once = MergedLake(folder / "at-once", schema_policy="resolve")
        at_once.put(put)
        assert at_once.merge("monthly", record).exit_code == 0
        assert list(lake.files(record)) == [f"{record}_{MONTH.replace('-', '_')}.avro"]
        assert lake.rows(record) == at_once.rows(record) == of_all(put)
        assert lake.files(record) == at_once.files(record)
        assert lake.under("fragments") == {}


def test_without_duplicates_a_month_has_the_same_hashes_by_day_and_at_once() -> None:
    numbers = [(1, 2, 3, 2), (3, 4), (), (5, 1, 5, 6), (6, 7)]
    put = [
        File("codeAssignment", day(n % DAYS), f"part-{n}", rows, sync=n % 3, ours=n % 2 == 0)
        for n, rows in enumerate(numbers)
    ]
    late = File("codeAssignment", day(0), "a-late-one", (7, 2, 8), codec="deflate")
    with new_folder() as folder:
        by_day, at_once = MergedLake(folder / "by-day"), MergedLake(folder / "at-once")
        by_day.put(put)
        assert by_day.merge("daily", "codeAssignment", dedupe=True).exit_code == 0
        by_day.put([late])
        late_too = by_day.merge("daily", "codeAssignment", dedupe=True, force=True)
        assert late_too.exit_code == 0
        assert by_day.merge("monthly", "codeAssignment", dedupe=True).exit_code == 0
        at_once.put([*put, late])
        assert at_once.merge("monthly", "codeAssignment", dedupe=True).exit_code == 0
        distinct = replace(late, rows=tuple(range(1, 9))).of
        assert by_day.rows("codeAssignment") == at_once.rows("codeAssignment") == distinct
