from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.backfill.plan import MODES
from jobs.backfill.reasons import Known, State, changes, judge
from pipelines.ledger.record import Event, Record
from pipelines.ledger.runs import RunInfo
from pipelines.sources.inputs import Input

NOW = {"orders/1": Input("orders/1", "a", 10)}
DETAILS: dict[str, Any] = {
    "settings": "s",
    "code": "c",
    "inputs": {"orders/1": ["a", 10, None]},
}
HOLDER = RunInfo("busy", "here/", (7, 0.0), "t0", "t9")


def record(event: Event, *, made: bool = True, completed: bool = True, **said: Any) -> Record:
    """The latest record of a unit; ``made`` says that there is an output."""
    fresh: dict[str, Any] = {"fingerprint": "f", "plan": "p", "details": {}, **said}
    return Record(
        "solicit/reviews/2017-03-01",
        9,
        event,
        2,
        "r",
        "t",
        publication=3 if made else None,
        completed=completed,
        **fresh,
    )


def known(last: Record | None = None, published: Record | None = None, **changes_: Any) -> Known:
    said: dict[str, Any] = {
        "holder": None,
        "fingerprint": "f",
        "inputs": NOW,
        "settings": "s",
        "code": "c",
        "late": False,
        "stored": True,
        "explain": lambda kind, fingerprint: [],
        **changes_,
    }
    return Known(last, published, **said)


OUTPUT = record("published", details=DETAILS)
LATE = {"orders/1": Input("orders/1", "b", 12)}
GROWN: dict[str, Any] = {"fingerprint": "g", "inputs": LATE, "late": True}
OTHER: dict[str, Any] = {"fingerprint": "g", "settings": "t"}

#: What is known, the state that it is called, and the modes in which it is made.
TABLE: dict[str, tuple[Known, State, str]] = {
    "never tried": (known(), "missing", "missing all"),
    "failed, no output": (known(record("failed", made=False)), "failed", "missing failed all"),
    "cancelled, no output": (
        known(record("cancelled", made=False)),
        "failed",
        "missing failed all",
    ),
    "left, no output": (known(record("leased", made=False)), "failed", "missing failed all"),
    "held, no output": (
        known(record("leased", made=False), holder=HOLDER),
        "failed",
        "missing failed all",
    ),
    "made": (known(record("succeeded"), OUTPUT), "done", "all"),
    "made, then failed": (known(record("failed"), OUTPUT), "failed", "failed all"),
    "made, then cancelled": (known(record("cancelled"), OUTPUT), "failed", "failed all"),
    "made, then left": (known(record("planned"), OUTPUT), "failed", "failed all"),
    "made, not in the store": (
        known(record("succeeded"), OUTPUT, stored=False),
        "missing",
        "missing all",
    ),
    "published, then left": (
        known(replace(OUTPUT, completed=False), OUTPUT),
        "failed",
        "missing failed stale all",
    ),
    "published, then failed": (
        known(record("failed", completed=False), OUTPUT),
        "failed",
        "missing failed stale all",
    ),
    "published of other settings, then left": (
        known(record("leased", completed=False), OUTPUT, **OTHER),
        "failed",
        "missing failed stale all",
    ),
    "of other settings": (known(record("succeeded"), OUTPUT, **OTHER), "stale", "stale all"),
    "of other settings, then failed": (
        known(record("failed"), OUTPUT, **OTHER),
        "stale",
        "failed stale all",
    ),
    "late data": (known(record("succeeded"), OUTPUT, **GROWN), "stale", "missing stale all"),
    "late data, not looked for": (
        known(record("succeeded"), OUTPUT, **{**GROWN, "late": False}),
        "stale",
        "stale all",
    ),
    "rows that went away": (
        known(
            record("succeeded"),
            OUTPUT,
            **{**GROWN, "inputs": {"orders/1": Input("orders/1", "b", 9)}},
        ),
        "stale",
        "stale all",
    ),
    "other settings within the days of late data": (
        known(record("succeeded"), OUTPUT, late=True, **OTHER),
        "stale",
        "stale all",
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", TABLE)
def test_what_is_made_and_what_its_state_is_called(case: str, mode: Any) -> None:
    given, state, modes = TABLE[case]
    verdict = judge(given, mode)
    assert (verdict.make, verdict.state) == (mode in modes.split(), state)
    assert verdict.why


@pytest.mark.parametrize(
    ("last", "said", "why"),
    [
        (None, {}, "never made"),
        (record("failed", made=False, details={"error": "no table"}), {}, "failed: no table"),
        (record("cancelled", made=False), {}, "cancelled"),
        (record("planned", made=False), {}, "left by a run that is gone"),
        (record("leased", made=False), {"holder": HOLDER}, "held by run busy (process 7 on here)"),
    ],
)
def test_a_unit_without_output_says_how_its_latest_attempt_ended(
    last: Record | None, said: dict[str, Any], why: str
) -> None:
    assert judge(known(last, **said), "missing").why == why


def test_what_is_published_and_not_completed_says_what_came_between() -> None:
    failed = record("failed", completed=False, details={"error": "the store is full"})
    why = "published, not completed: failed: the store is full"
    assert judge(known(failed, OUTPUT), "stale").why == why


@pytest.mark.parametrize(
    ("case", "mode", "why"),
    [
        ("made", "missing", "up to date"),
        ("made", "all", "asked for"),
        ("made, then cancelled", "failed", "made, but the latest attempt: cancelled"),
        ("made, not in the store", "missing", "the store does not hold it"),
        ("late data", "missing", "late data: orders/1: 10 rows, now 12 rows"),
        (
            "late data",
            "stale",
            "inputs changed: orders/1: expected 10 rows, version a, found 12 rows, version b",
        ),
        ("of other settings", "missing", "settings changed"),
    ],
)
def test_the_reason_is_told(case: str, mode: Any, why: str) -> None:
    assert judge(TABLE[case][0], mode).why == why


def test_a_stale_unit_names_settings_code_and_inputs() -> None:
    lines = {
        ("settings", "s"): ["program.ttl: expected 30, found 60"],
        ("code", "c"): [f"transforms.m{n} changed" for n in range(5)],
    }
    moved = known(
        record("succeeded"),
        OUTPUT,
        fingerprint="g",
        settings="t",
        code="d",
        inputs={},
        explain=lambda kind, fingerprint: lines[kind, fingerprint],
    )
    assert changes(moved) == (
        "settings changed: program.ttl: expected 30, found 60; "
        "code changed: transforms.m0 changed; transforms.m1 changed; transforms.m2 changed "
        "and 2 more; "
        "inputs changed: orders/1: expected 10 rows, version a, found none"
    )


@pytest.mark.parametrize(("resumed", "make"), [("p", False), ("q", True), (None, True)])
def test_what_an_interrupted_plan_of_all_has_made_is_not_made_again(
    resumed: str | None, make: bool
) -> None:
    assert judge(TABLE["made"][0], "all", resumed).make is make
    assert judge(TABLE["made, then failed"][0], "all", resumed).make
    assert judge(TABLE["of other settings"][0], "all", resumed).make
