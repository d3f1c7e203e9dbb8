from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.results import Balance, Histogram, Rejected, RunResult, StageCount, UnitResult

SANE = Rejected("TRUST", "quantity-sane", "QUANTITY_OUT_OF_RANGE", 3)
KNOWN = Rejected("ELIGIBILITY", "known-household", "UNKNOWN_HOUSEHOLD", 2)
BALANCE = Balance(read=11, written=4, deduplicated=1, quarantined=1, rejected=(SANE, KNOWN))


def run(*units: UnitResult, seconds: float = 0.0) -> RunResult:
    return RunResult("run-7", "solicit", "reviews", "local", "4f0c", "0.1.0", units, seconds)


def test_a_balance_accounts_for_every_row() -> None:
    assert BALANCE.balanced
    assert (BALANCE.difference, BALANCE.rejected_total) == (0, 5)


@pytest.mark.parametrize("line", ["written", "deduplicated", "quarantined"])
def test_a_row_too_many_or_too_few_shows(line: str) -> None:
    more = replace(BALANCE, **{line: getattr(BALANCE, line) + 1})
    assert (more.balanced, more.difference) == (False, -1)
    fewer = replace(BALANCE, rejected=(SANE,))
    assert (fewer.balanced, fewer.difference) == (False, 2)


def test_rejected_by_code_is_sorted_sums_filters_and_leaves_out_zeros() -> None:
    again = Rejected("QUALITY", "other", "UNKNOWN_HOUSEHOLD", 5)
    none = Rejected("QUALITY", "none", "AAA", 0)
    counts = Balance(rejected=(KNOWN, SANE, again, none)).rejected_by_code()
    assert list(counts.items()) == [("QUANTITY_OUT_OF_RANGE", 3), ("UNKNOWN_HOUSEHOLD", 7)]


counts = st.integers(0, 50)
rejected = st.builds(
    Rejected, st.just("TRUST"), st.sampled_from("ab"), st.sampled_from("XY"), counts
)
balances = st.builds(
    Balance, counts, counts, counts, counts, st.lists(rejected, max_size=4).map(tuple)
)


@given(st.lists(balances, max_size=5))
def test_adding_balances_adds_every_line(parts: list[Balance]) -> None:
    total = reduce(Balance.__add__, parts, Balance())
    assert total.read == sum(part.read for part in parts)
    assert total.difference == sum(part.difference for part in parts)
    for code in "XY":
        want = sum(part.rejected_by_code().get(code, 0) for part in parts)
        assert total.rejected_by_code().get(code, 0) == want
    keys = [(line.filter_id, line.reason_code) for line in total.rejected]
    assert len(keys) == len(set(keys))


def test_the_document_has_exactly_the_keys_that_were_promised() -> None:
    failed = UnitResult("2017-03-06", "failed", Balance(read=3), error="no such table")
    document = run(UnitResult("2017-03-05", "published", BALANCE), failed).document()
    assert json.loads(json.dumps(document)) == {
        "run_id": "run-7",
        "units": [
            {
                "partition": "2017-03-05",
                "read": 11,
                "written": 4,
                "deduplicated": 1,
                "quarantined": 1,
                "rejected": {"QUANTITY_OUT_OF_RANGE": 3, "UNKNOWN_HOUSEHOLD": 2},
            },
            {
                "partition": "2017-03-06",
                "read": 3,
                "written": 0,
                "deduplicated": 0,
                "quarantined": 0,
                "rejected": {},
                "status": "failed",
                "error": "no such table",
            },
        ],
    }


def test_seconds_never_reach_the_document() -> None:
    slow = UnitResult(
        "2017-03-05", "unchanged", BALANCE, stages=(StageCount("conform", 11, 10, 1, 9.5),)
    )
    fast = replace(slow, stages=())
    assert run(slow, seconds=100.0).document() == run(fast).document()


def test_success_is_every_unit_visible() -> None:
    day = UnitResult("2017-03-05", "published")
    assert run(day, replace(day, status="unchanged")).succeeded
    assert not run(day, replace(day, status="skipped")).succeeded
    broken = replace(day, status="failed")
    assert run(day, broken).failed == (broken,)


def test_stages_and_histograms_add_up_over_units() -> None:
    units = [
        UnitResult(
            day,
            "published",
            Balance(read=10, written=10),
            stages=(StageCount("conform", 10, 9, 1, 0.5), StageCount("band", 9, 9, 0, 0.25)),
            histograms=(Histogram("band", labels, (4, 6)),),
        )
        for day, labels in (("2017-03-05", ("low", "mid")), ("2017-03-06", ("mid", "high")))
    ]
    result = run(*units, seconds=4.0)
    assert result.stages == (
        StageCount("conform", 20, 18, 2, 1.0),
        StageCount("band", 18, 18, 0, 0.5),
    )
    assert result.histograms == (Histogram("band", ("low", "mid", "high"), (4, 10, 6)),)
    assert (result.total.read, result.rows_per_second, units[0].seconds) == (20, 5.0, 0.75)
    assert run().rows_per_second == 0.0


def test_a_histogram_has_a_count_a_bucket() -> None:
    with pytest.raises(ValueError, match=r"'score.value': 1 counts for 2 buckets"):
        Histogram.between("score.value", (0.0, 0.5, 1.0), (7,))
