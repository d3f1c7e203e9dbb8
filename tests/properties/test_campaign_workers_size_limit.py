from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.merges import TYPES, File, MergedLake, files, new_folder, of_all

MANY = st.integers(0, 250).map(lambda count: tuple(range(count)))
#: The settings want a limit of one and a half targets at least; what goes into a file whole may
#: have so much, and then come the file's own header and what a block lies across a cut.
ROOM = 3_000
LIMITS = st.tuples(
    st.integers(3_000, 12_000), st.sampled_from([Fraction(3, 2), Fraction(2), Fraction(5)])
)


@settings(max_examples=100, deadline=None)
@given(
    put=st.sampled_from(TYPES).flatmap(lambda record: files(record, 2, rows=MANY)),
    sizes=LIMITS,
    oversize=st.sampled_from(["split", "reject"]),
    by_day=st.booleans(),
    codec=st.sampled_from([None, "null"]),
)
def test_no_merged_file_is_above_the_limit(
    put: list[File], sizes: tuple[int, Fraction], oversize: Any, by_day: bool, codec: str | None
) -> None:
    """Feature: campaign-workers, Rule: Size Limit

    What would be larger, also because it grows when its codec changes, is split between blocks, and
    no row is lost by it; or it is refused, as the document has it, and then nothing has changed.
    """
    target, limit = sizes[0], int(sizes[0] * sizes[1]) + ROOM
    record = put[0].record
    with new_folder() as folder:
        lake = MergedLake(folder, target_bytes=target, limit_bytes=limit, oversize=oversize)
        data = lake.put(put)
        if oversize == "reject" and sum(map(len, data.values())) > limit:
            before = lake.tree()
            done = lake.merge("monthly", record)
            assert (done.months[0].status, done.exit_code) == ("bad", 1)
            assert f"the limit is {limit:,}" in (done.months[0].why or "")
            assert lake.tree() == before
            return
        if by_day and oversize == "split":  # a day's file, grown, may be too much for its month
            lake.merge("daily", record, codec=codec)
        done = lake.merge("monthly", record, codec=codec)
        assert done.exit_code == 0
        assert max(map(len, lake.files(record).values())) <= limit
        assert lake.rows(record) == of_all(put)
        assert lake.under("fragments") == {}
