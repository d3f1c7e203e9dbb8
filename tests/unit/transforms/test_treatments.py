from __future__ import annotations

import pickle
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conf.program import Experiment, Treatment
from transforms.errors import ColumnTaken
from transforms.kernel import UnitContext
from transforms.treatments import AssignTreatment, treatment_of

CONTEXT = UnitContext("p", "2017-03-02", "x", datetime(2017, 3, 2, 23, 59, 59, 999000, UTC))


def experiment(
    name: str = "tone", salt: str = "2017", *, enabled: bool = True, **weights: int
) -> Experiment:
    arms = weights or {"plain": 1, "warm": 1}
    return Experiment(
        experiment_id=name,
        enabled=enabled,
        salt=salt,
        treatments=tuple(Treatment(treatment_id=arm, weight=arms[arm]) for arm in arms),
    )


def customers(*ids: str | None) -> pl.DataFrame:
    return pl.DataFrame({"customerId": pl.Series(ids, dtype=pl.String)})


def many(count: int) -> pl.Series:
    return pl.select(pl.format("C{}", pl.int_range(count))).to_series()


def test_assignments_are_pinned() -> None:
    """An upgrade that moves a customer to another treatment would spoil running experiments."""
    ids = ["", "1", "2", "1234567", "fan-0001", "Zoë", "顧客", "a|b", "x" * 40]
    thirds = experiment(salt="pinned", a=1, b=1, c=1)
    pinned = ["c", "b", "c", "b", "c", "b", "c", "a", "c"]
    assert treatment_of(pl.Series(ids), thirds).to_list() == pinned


def test_adds_a_column_for_each_enabled_experiment_and_rejects_nothing() -> None:
    kernel = AssignTreatment(
        (experiment(), experiment("off", enabled=False), experiment("price", low=9, high=1))
    )
    split = kernel(customers("a", "b"), CONTEXT)
    assert split.passed.columns == ["customerId", "treatment.tone", "treatment.price"]
    assert split.passed.schema["treatment.price"] == pl.String
    assert split.rejected.is_empty()


def test_a_customer_without_id_has_no_treatment() -> None:
    assert treatment_of(customers(None)["customerId"], experiment()).to_list() == [None]


def test_without_experiments_nothing_changes() -> None:
    frame = customers("a")
    assert_frame_equal(AssignTreatment(())(frame, CONTEXT).passed, frame)


def test_an_empty_frame_gets_the_columns() -> None:
    passed = AssignTreatment((experiment(),))(customers(), CONTEXT).passed
    assert passed.schema == {"customerId": pl.String, "treatment.tone": pl.String}


@pytest.mark.parametrize(
    "weights",
    [{"a": 1, "b": 1}, {"a": 1, "b": 9}, {"a": 70, "b": 20, "c": 10}, {"a": 1, "b": 10**12}],
)
def test_treatments_get_their_shares(weights: dict[str, int]) -> None:
    count = 200_000
    found = treatment_of(many(count), experiment(**weights)).value_counts()
    shares = {arm: n / count for arm, n in found.rows()}
    for arm, weight in weights.items():
        # Five standard deviations of a fair draw.
        expected = weight / sum(weights.values())
        tolerance = 5 * (expected * (1 - expected) / count) ** 0.5
        assert shares.get(arm, 0.0) == pytest.approx(expected, abs=tolerance)


def test_experiments_with_other_salts_are_independent() -> None:
    count = 100_000
    first = treatment_of(many(count), experiment(salt="one"))
    second = treatment_of(many(count), experiment(salt="two"))
    assert (first == second).mean() == pytest.approx(0.5, abs=5 * 0.5 / count**0.5)


def test_more_weight_for_the_first_arm_moves_customers_to_it_alone() -> None:
    before = treatment_of(many(10_000), experiment(a=1, b=1))
    after = treatment_of(many(10_000), experiment(a=3, b=1))
    assert after.filter(before == "a").unique().to_list() == ["a"]


def test_a_column_of_the_source_is_never_overwritten() -> None:
    with pytest.raises(ColumnTaken, match=r"treatment\.tone"):
        AssignTreatment((experiment(),))(
            customers("a").with_columns(pl.lit("x").alias("treatment.tone")), CONTEXT
        )


def test_survives_pickling() -> None:
    kernel = AssignTreatment((experiment(),))
    assert pickle.loads(pickle.dumps(kernel)) == kernel


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=20), st.integers(0, 20))
def test_is_indifferent_to_how_rows_are_cut(ids: list[str], cut: int) -> None:
    kernel = AssignTreatment((experiment(), experiment("price", a=1, b=2, c=3)))
    frame = customers(*ids)
    parts = [kernel(frame[:cut], CONTEXT).passed, kernel(frame[cut:], CONTEXT).passed]
    assert_frame_equal(kernel(frame, CONTEXT).passed, pl.concat(parts))
