from __future__ import annotations

from jobs.funnel import Step, funnel
from jobs.results import Balance, Rejected, RunResult, UnitResult

SANE = Rejected("TRUST", "quantity-sane", "QUANTITY_OUT_OF_RANGE", 3)
MISSING = Rejected("QUALITY", "conform", "REQUIRED_FIELD_MISSING", 1)
DATE = Rejected("QUALITY", "conform", "DATE_OUT_OF_RANGE", 2)
CAPACITY = Rejected("CAPACITY", "customer-capacity", "CUSTOMER_CAPACITY", 5)
CHAIN = ("conform", "quantity-sane", "known-product", "dedupe", "customer-capacity")


def steps(balance: Balance, chain: tuple[str, ...] = ()) -> tuple[Step, ...]:
    units = (UnitResult("2017-03-05", "published", balance),)
    result = RunResult("r", "solicit", "reviews", "local", "4f", "0.1.0", units, chain=chain)
    found = funnel(result)
    assert (found[-1].left if found else balance.read) == balance.written
    return found


def test_steps_follow_the_chain_and_each_gets_what_the_one_before_left() -> None:
    balance = Balance(20, 5, 4, 0, (CAPACITY, DATE, SANE, MISSING))
    found = steps(balance, CHAIN)
    assert [(s.name, s.came, s.away, s.left) for s in found] == [
        ("conform", 20, 3, 17),
        ("quantity-sane", 17, 3, 14),
        ("known-product", 14, 0, 14),
        ("dedupe", 14, 4, 10),
        ("customer-capacity", 10, 5, 5),
    ]
    assert found[0].reasons == (("DATE_OUT_OF_RANGE", 2), ("REQUIRED_FIELD_MISSING", 1))
    assert (found[1].kind, found[3].kind) == ("trust", "duplicates")


def test_what_the_chain_does_not_name_is_shown_with_capacity_last() -> None:
    found = steps(Balance(20, 6, 6, 0, (CAPACITY, SANE)))
    assert [s.name for s in found] == ["quantity-sane", "dedupe", "customer-capacity"]
    assert steps(Balance(3, 0, 0, 0, (SANE,)), ("conform",))[1].name == "quantity-sane"


def test_unreadable_rows_leave_first_and_lost_ones_last() -> None:
    found = steps(Balance(20, 10, 0, 2, (SANE,)))
    assert [(s.name, s.away) for s in found] == [
        ("quarantine", 2),
        ("quantity-sane", 3),
        ("not accounted for", 5),
    ]


def test_a_run_that_read_nothing_has_no_steps() -> None:
    assert steps(Balance()) == ()
