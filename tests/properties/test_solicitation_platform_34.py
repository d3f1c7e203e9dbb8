from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import Experiment, Treatment
from transforms.kernel import UnitContext
from transforms.treatments import AssignTreatment

MASK = 2**64 - 1
P1, P2, P3 = 11400714785074694791, 14029467366897019727, 1609587929392839161
P4, P5 = 9650029242287828579, 2870177450012600261

experiments = st.builds(
    lambda name, salt, weights: Experiment(
        experiment_id=name,
        salt=salt,
        treatments=tuple(Treatment(treatment_id=f"t{i}", weight=w) for i, w in enumerate(weights)),
    ),
    st.sampled_from(["tone", "price"]),
    st.text(min_size=1, max_size=40),
    st.lists(st.integers(1, 100), min_size=2, max_size=5),
)
requests = st.lists(
    st.lists(st.text(max_size=12) | st.sampled_from(["fan-1", "fan-2"]), max_size=10),
    min_size=1,
    max_size=4,
)
contexts = st.builds(
    lambda day, run: UnitContext(
        "p", f"2017-03-{day:02}", run, datetime(2017, 3, day, 23, 59, 59, 999000, UTC)
    ),
    st.integers(1, 31),
    st.text(max_size=5),
)


def rotated(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & MASK


def lane(value: int, word: int) -> int:
    return rotated(value + word * P2 & MASK, 31) * P1 & MASK


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, after its specification."""
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) & ~7, 8)]
    stripes = len(data) // 32 * 4
    value = P5
    if stripes:
        lanes = [P1 + P2 & MASK, P2, 0, -P1 & MASK]
        for i, word in enumerate(words[:stripes]):
            lanes[i % 4] = lane(lanes[i % 4], word)
        value = sum(rotated(v, by) for v, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for each in lanes:
            value = ((value ^ lane(0, each)) * P1 + P4) & MASK
    value = value + len(data) & MASK
    for word in words[stripes:]:
        value = rotated(value ^ lane(0, word), 27) * P1 + P4 & MASK
    rest = data[len(data) & ~7 :]
    if len(rest) >= 4:
        half = int.from_bytes(rest[:4], "little")
        value = rotated(value ^ half * P1 & MASK, 23) * P2 + P3 & MASK
        rest = rest[4:]
    for byte in rest:
        value = rotated(value ^ byte * P5 & MASK, 11) * P1 & MASK
    value = (value ^ value >> 33) * P2 & MASK
    value = (value ^ value >> 29) * P3 & MASK
    return value ^ value >> 32


def by_hand(customer: str, experiment: Experiment) -> str:
    """The arm whose share of all 64-bit numbers holds the customer's hash."""
    place = xxh64(f"{experiment.salt}|{customer}".encode())
    total = sum(arm.weight for arm in experiment.treatments)
    end = 0
    for arm in experiment.treatments:
        end += arm.weight
        if place < end * 2**64 // total:
            return arm.treatment_id
    raise AssertionError("shares do not add up")


@settings(max_examples=200, deadline=None)
@given(experiments, requests, contexts, contexts)
def test_a_customer_stays_in_the_same_treatment(
    experiment: Experiment, requests: list[list[str]], first: Any, second: Any
) -> None:
    """Feature: solicitation-platform, Property 34: Deterministic treatment assignment"""
    column = f"treatment.{experiment.experiment_id}"
    for customers in requests:
        frame = pl.DataFrame({"customerId": pl.Series(customers, dtype=pl.String)})
        for context in (first, second):
            assigned = AssignTreatment((experiment,))(frame, context).passed[column]
            assert assigned.to_list() == [by_hand(c, experiment) for c in customers]
