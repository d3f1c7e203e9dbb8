from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.load import load_program
from conf.program import Dedupe
from jobs.days import days_before
from pipelines.solicit import lookback_days
from tests.properties.works import day, days
from transforms.keyed import DUPLICATE, verdicts

PROGRAM = load_program("product-reviews")
HOUR = 3_600_000
DAY = 24 * HOUR
DAYS = days(7)
THIN = {
    "customerId": pl.String,
    "subjectId": pl.String,
    "eventDate": pl.Int64,
    "order.0": pl.Int64,
    "unit": pl.Int32,
    "entry": pl.UInt32,
    "split": pl.UInt32,
    "_row": pl.UInt32,
    "score": pl.Float64,
    "emit": pl.Boolean,
    "ranked": pl.Boolean,
}

Event = dict[str, Any]
Place = tuple[int, int, int]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Event]]:
    """A window in hours and events, many of them just within it after another, or just not."""
    window = draw(st.integers(1, 80))
    hours = st.integers(0, len(DAYS) * 24 - 1).map(lambda hour: hour * HOUR)
    later = st.sampled_from([-1, 0, 1]).map(lambda off: window * HOUR + off)
    found: list[Event] = []
    for _ in range(draw(st.integers(0, 25))):
        time, follows = draw(hours), draw(st.booleans())
        if found and follows:
            time = draw(st.sampled_from(found))["eventDate"] + draw(later)
        found.append(
            {
                "customerId": draw(st.sampled_from(["a", "b"])),
                "subjectId": draw(st.sampled_from(["s", "t"])),
                "eventDate": min(time, len(DAYS) * DAY - 1),
                "order.0": draw(st.integers(0, 2)),
                "split": draw(st.integers(0, 1)),
            }
        )
    return window, numbered(found)


def numbered(found: Sequence[Event]) -> list[Event]:
    return [
        {**event, "unit": event["eventDate"] // DAY, "_row": n} for n, event in enumerate(found)
    ]


def place(event: Event) -> Place:
    return event["unit"], event["split"], event["_row"]


def chains(found: Sequence[Event], window: int) -> list[list[Place]]:
    """Return events of one customer and subject, each at most the window after the one before."""

    def order(event: Event) -> tuple[Any, ...]:
        names = ("customerId", "subjectId", "eventDate", "order.0", "unit", "split", "_row")
        return tuple(event[name] for name in names)

    linked: list[list[Place]] = []
    for _, same in groupby(sorted(found, key=order), key=lambda event: order(event)[:2]):
        last = None
        for event in same:
            if last is None or event["eventDate"] - last > window * HOUR:
                linked.append([])
            linked[-1].append(place(event))
            last = event["eventDate"]
    return linked


def losers(found: Iterable[Event], dedupe: Dedupe, emit: Sequence[int]) -> set[Place]:
    """Return the events of days ``emit`` that are turned away; the others are evidence."""
    rows = [
        {**event, "entry": 0, "score": None, "ranked": True, "emit": event["unit"] in emit}
        for event in found
    ]
    lost = verdicts(pl.DataFrame(rows, schema=THIN), dedupe, None)
    assert set(lost["verdict"]) <= {DUPLICATE}
    return {*lost.select("unit", "split", "_row").iter_rows()}


def losers_of_wave(found: Sequence[Event], dedupe: Dedupe, wave: Sequence[int]) -> set[Place]:
    """Decide some days as a run of their own does: by their rows and those of the look-back."""
    back = lookback_days(PROGRAM.model_copy(update={"dedupe": dedupe}))
    seen = {d for unit in wave for d in (*days_before(day(unit), back), day(unit))}
    return losers((e for e in found if day(e["unit"]) in seen), dedupe, wave)


@settings(max_examples=200, deadline=None)
@given(
    histories(),
    st.lists(st.integers(0, 3), min_size=len(DAYS), max_size=len(DAYS)),
    st.permutations(range(4)),
)
def test_of_events_within_the_window_of_one_another_the_first_becomes_a_candidate(
    history: tuple[int, list[Event]], wave_of: list[int], order: list[int]
) -> None:
    """Feature: solicitation-platform, Property 29: Event deduplication within window

    Of each chain of events exactly one survives, and it is the same whether the days are decided at
    once or in waves, whichever comes first, as backfills do.
    """
    window, found = history
    dedupe = Dedupe(window_hours=window)
    everyone = {place(event) for event in found}
    linked = chains(found, window)
    at_once = losers(found, dedupe, range(len(DAYS)))
    in_waves: set[Place] = set()
    for number in order:
        wave = [unit for unit in range(len(DAYS)) if wave_of[unit] == number]
        if wave:
            in_waves |= losers_of_wave(found, dedupe, wave)
    for lost in (at_once, in_waves):
        survivors = everyone - lost
        assert [[p for p in chain if p in survivors] for chain in linked] == [
            [c[0]] for c in linked
        ]
