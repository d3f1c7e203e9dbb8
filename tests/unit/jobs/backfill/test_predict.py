from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.environment import Estimates
from conf.load import load_prices
from jobs.backfill.plan import Predicted
from jobs.backfill.predict import SAMPLE, Rates, nearest, predict, rates, usage
from jobs.backfill.work import UnitInputs
from pipelines.ledger.record import Event, Record
from pipelines.sources.inputs import Input
from tests.properties.works import day

FREE, BILLED = load_prices("local"), load_prices("aws-us-east-1")
RATES = Rates(0.1, 30.0, 2.5, 1000.0, None, "a test")
MIB = 1 << 20


def record(event: Event = "succeeded", read: int = 100, **details: Any) -> Record:
    said = {
        "balance": {"read": read, "written": read // 10},
        "fragments": [{"size": 10 * read}, {"size": read}],
        "seconds": read / 50,
        "inputBytes": 200 * read,
        **details,
    }
    return Record("solicit/reviews/2017-03-01", 4, event, 1, "r", "t", "f", "p", 3, details=said)


def reads(*inputs: Input, **roles: tuple[Input, ...]) -> UnitInputs:
    return UnitInputs({"reads": inputs, **roles})


def predicted(inputs: UnitInputs, of: Rates = RATES, **said: Any) -> Predicted:
    return predict(inputs, of, FREE, **{"read_again": False, "split_bytes": 64 * MIB, **said})


def test_without_a_unit_that_was_made_the_environment_estimates() -> None:
    said = Estimates(rows_per_second=7, written_share=0.5, bytes_per_row=3)
    others = (record("failed"), record("published"), record("planned"), record(read=0))
    for records in ((), others):
        found = rates(records, said)
        assert (found.written_per_row, found.bytes_per_row, found.rows_per_second) == (0.5, 3, 7)
        assert found.rows_per_byte is None
        assert "no unit of this program has been made yet" in found.basis


def test_rates_are_those_of_all_rows_together() -> None:
    found = rates([record(read=100), record(read=300, fragments=[]), record("failed")], Estimates())
    assert found == Rates(
        written_per_row=0.1,
        bytes_per_row=1100 / 400,
        fragments=1.0,
        rows_per_second=50.0,
        rows_per_byte=1 / 200,
        basis="2 units of this program that were made before",
    )


def test_times_and_sizes_that_nobody_took_down_are_not_divided_by() -> None:
    found = rates([record(seconds=0.0, inputBytes=0)], Estimates(rows_per_second=9))
    assert (found.rows_per_second, found.rows_per_byte) == (9, None)


def test_rows_of_a_table_are_known() -> None:
    assert predicted(reads(Input("t/1", "a", 990), Input("t/2", "b", 10))) == Predicted(
        rows=1000, written=100, bytes=30_000, puts=4 + 3, gets=3, write_units=600, seconds=1.0
    )


def test_rows_of_files_are_judged_by_their_bytes() -> None:
    file = reads(Input("a.avro", "e", None, 50_000))
    assert predicted(file).rows == 500
    known = Rates(0.1, 30.0, 2.5, 1000.0, 0.02, "a test")
    assert predicted(file, known).rows == 1000
    mixed = reads(Input("a.avro", "e", None, 50_000), Input("b.avro", "e", 3, 100))
    assert predicted(mixed).rows == 501


@pytest.mark.parametrize(
    ("sizes", "again", "gets"),
    [
        ([0], False, 3 + 3),
        ([64 * MIB], False, 3 + 3),
        ([64 * MIB + 1], False, 6 + 3),
        ([1, 129 * MIB], False, 12 + 3),
        ([1, 129 * MIB], True, 24 + 3),
        ([], True, 3),
    ],
)
def test_a_file_is_asked_for_three_times_a_range(sizes: list[int], again: bool, gets: int) -> None:
    files = [Input(f"{n}.avro", "e", None, size) for n, size in enumerate(sizes)]
    assert predicted(reads(*files), read_again=again).gets == gets


def test_only_a_units_own_rows_count() -> None:
    other = Input("t/0", "a", 10_000)
    assert predicted(reads(Input("t/1", "a", 10), lookback=(other,), lookups=(other,))).rows == 10


def test_what_is_predicted_is_priced() -> None:
    inputs = reads(Input("a.avro", "e", None, 50_000_000))
    found = predict(inputs, RATES, BILLED, read_again=False, split_bytes=64 * MIB)
    assert found.usd == BILLED.price(usage(found, 50_000_000))
    assert found.usd == pytest.approx(
        7 * 0.005 / 1e3
        + 6 * 0.0004 / 1e3
        + 300_000 * 0.625 / 1e6
        + 500 * 0.151476 / 3600
        + 50_000_000 * 5 / 2**40,
        abs=1e-6,
    )


def test_a_day_without_rows_costs_its_records_alone() -> None:
    nothing = predicted(reads())
    assert (nothing.rows, nothing.written, nothing.bytes, nothing.seconds) == (0, 0, 0, 0.0)
    assert nothing.puts == 7


@given(st.sets(st.integers(0, 99).map(day)), st.sets(st.integers(0, 99).map(day)))
def test_the_sample_is_the_latest_before_the_last_that_is_wanted(
    known: set[str], wanted: set[str]
) -> None:
    found = nearest(list(known), wanted)
    before = {day for day in known if wanted and day <= max(wanted)}
    assert found == sorted(before or known)[-SAMPLE:]


def test_the_sample_is_no_larger_than_it_may_be() -> None:
    known = [day(n) for n in range(100)]
    assert nearest(known, [day(59)]) == known[60 - SAMPLE : 60]
    assert nearest(known[80:], [day(1)]) == known[80:]
