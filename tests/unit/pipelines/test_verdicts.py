from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import apache_beam as beam
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import Capacity, Dedupe
from pipelines.batch import Batch
from pipelines.verdicts import Decide, Thin, by_part, day_number, judged
from transforms.kernel import ROW
from transforms.verdict import VERDICT

UNITS = ("2017-03-02", "2017-03-03")
EVIDENCE = "2017-03-01"
HOURS, PER_CUSTOMER = 20, 2


@dataclass(frozen=True)
class Row:
    unit: str
    split: int
    row: int
    customer: str
    subject: str
    time: datetime
    order: int
    score: float | None
    band: str | None

    @property
    def emit(self) -> bool:
        return self.unit != EVIDENCE

    @property
    def place(self) -> tuple[Any, ...]:
        return (self.time, self.order, self.unit, self.split, self.row)


def slow(rows: Sequence[Row]) -> dict[tuple[str, int, int], int]:
    """Judge every row by comparing it with every other."""
    told: dict[tuple[str, int, int], int] = {}
    for row in rows:
        before = [
            other
            for other in rows
            if (other.customer, other.subject) == (row.customer, row.subject)
            and other.place < row.place
        ]
        repeated = any(row.time - other.time <= timedelta(hours=HOURS) for other in before)
        told[row.unit, row.split, row.row] = 1 if repeated and row.emit else 0
    for row in rows:
        if told[row.unit, row.split, row.row] or not row.emit or row.band is None:
            continue
        better = [
            other
            for other in rows
            if other.emit
            and other.band is not None
            and told[other.unit, other.split, other.row] != 1
            and (other.customer, other.unit) == (row.customer, row.unit)
            and _rank(other) < _rank(row)
        ]
        if len(better) >= PER_CUSTOMER:
            told[row.unit, row.split, row.row] = 2
    return told


def _rank(row: Row) -> tuple[Any, ...]:
    return (-row.score if row.score is not None else float("inf"), row.subject, row.place)


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    rows = []
    for unit in (EVIDENCE, *UNITS):
        for split in range(draw(st.integers(1, 2))):
            for number in range(draw(st.integers(0, 7))):
                second = draw(st.sampled_from([0, 1, 6 * 3600, 12 * 3600, 20 * 3600, 86399]))
                time = datetime.fromisoformat(unit).replace(tzinfo=UTC) + timedelta(0, second)
                score = draw(st.sampled_from([None, 0.0, 0.5, 1.0]))
                rows.append(
                    Row(
                        unit,
                        split,
                        number + 3 * draw(st.just(split)),
                        draw(st.sampled_from("ab")),
                        draw(st.sampled_from("xyz")),
                        time,
                        draw(st.integers(0, 1)),
                        score,
                        draw(st.sampled_from(["low", "low", None])),
                    )
                )
    return rows


def batch(rows: Sequence[Row], unit: str, split: int) -> Batch:
    emit = unit != EVIDENCE
    frame = pl.DataFrame(
        {
            "customerId": [row.customer for row in rows],
            "subjectId": [row.subject for row in rows],
            "eventDate": [row.time for row in rows],
            "basket": [row.order for row in rows],
            ROW: [row.row for row in rows],
            **(
                {"score.worth": [row.score for row in rows], "band": [row.band for row in rows]}
                if emit
                else {}
            ),
        },
        schema_overrides={
            "customerId": pl.String,
            "subjectId": pl.String,
            "eventDate": pl.Datetime("ms", "UTC"),
            "basket": pl.Int32,
            ROW: pl.UInt32,
            "score.worth": pl.Float64,
            "band": pl.String,
        },
    )
    return Batch(unit, split, emit, last=False, frame=frame)


def batches(rows: Sequence[Row], size: int) -> list[Batch]:
    made = []
    for unit, split in dict.fromkeys((row.unit, row.split) for row in rows):
        mine = [row for row in rows if (row.unit, row.split) == (unit, split)]
        made += [batch(mine[at : at + size], unit, split) for at in range(0, len(mine), size)] or [
            batch([], unit, split)
        ]
    return made


ENTRY = {
    (unit, split): 10 * n + split for n, unit in enumerate((EVIDENCE, *UNITS)) for split in range(2)
}
DECIDE = Decide(
    Dedupe(window_hours=HOURS), Capacity(per_customer=PER_CUSTOMER, score="worth"), UNITS
)


def decided(made: Sequence[Batch], shards: int) -> dict[int, list[pl.DataFrame]]:
    thin = Thin(ENTRY, ("basket",), "worth", banded=True, shards=shards)
    by_shard: dict[int, list[pl.DataFrame]] = {}
    for each in reversed(made):  # a shuffle gives no order
        for shard, rows in thin(each):
            assert 0 <= shard < shards
            by_shard.setdefault(shard, []).append(rows)
    found: dict[int, list[pl.DataFrame]] = {}
    for shard, frames in by_shard.items():
        for told in DECIDE.process((shard, frames)):
            assert not isinstance(told, beam.pvalue.TaggedOutput), told.value
            entry, losers = told  # type: ignore[misc]
            found.setdefault(entry, []).append(losers)
    return found


@settings(max_examples=300, deadline=None)
@given(tables(), st.integers(1, 5), st.sampled_from([1, 2, 16]))
def test_rows_are_judged_as_the_slow_oracle_does(rows: list[Row], size: int, shards: int) -> None:
    made = batches(rows, size)
    losers = decided(made, shards)
    found: dict[tuple[str, int, int], int] = {}
    for each in made:
        if each.emit:
            known = judged(each, by_part(losers.get(ENTRY[each.unit, each.split], [])))
            assert known.frame.schema[VERDICT] == pl.UInt8
            assert known.frame.drop(VERDICT).equals(each.frame)
            for row, verdict in known.frame.select(ROW, VERDICT).iter_rows():
                found[each.unit, each.split, row] = verdict
    assert found == {key: told for key, told in slow(rows).items() if key[0] != EVIDENCE}


@given(tables())
@settings(max_examples=50, deadline=None)
def test_a_customer_is_in_one_shard_alone(rows: list[Row]) -> None:
    thin = Thin(ENTRY, ("basket",), "worth", banded=True, shards=7)
    shards: dict[str, set[int]] = {}
    count = 0
    for each in batches(rows, 2):
        for shard, frame in thin(each):
            count += frame.height
            for customer in frame["customerId"]:
                shards.setdefault(customer, set()).add(shard)
    assert count == len(rows)
    assert all(len(found) == 1 for found in shards.values())


def row(number: int, **changes: Any) -> Row:
    at = datetime(2017, 3, 2, 1, tzinfo=UTC)
    said = {"customer": "a", "subject": "x", "time": at, "order": 0, "score": 0.5, "band": "low"}
    return Row("2017-03-02", 0, number, **{**said, **changes})


def test_verdicts_find_their_rows_behind_a_gap() -> None:
    """Where a stretch is damaged, the rows behind it keep their numbers."""
    rows = [row(5), row(6, subject="y"), row(7)]
    losers = by_part(decided([batch(rows, "2017-03-02", 0)], 1)[ENTRY["2017-03-02", 0]])
    whole = judged(batch(rows, "2017-03-02", 0), losers)
    assert whole.frame[VERDICT].to_list() == [0, 0, 1]
    assert judged(batch(rows[2:], "2017-03-02", 0), losers).frame[VERDICT].to_list() == [1]
    assert judged(batch(rows[:2], "2017-03-02", 0), losers).frame[VERDICT].to_list() == [0, 0]


def test_a_batch_without_rows_or_losers_keeps_everything() -> None:
    assert by_part([]) == {}
    empty = judged(batch([], "2017-03-02", 0), {})
    assert empty.frame.schema[VERDICT] == pl.UInt8
    kept = judged(batch([row(0)], "2017-03-02", 0), {})
    assert kept.frame[VERDICT].to_list() == [0]
    thin = Thin(ENTRY, (), None, banded=False, shards=1)
    assert list(thin(batch([], "2017-03-02", 0))) == []


def test_without_bands_and_scores_every_row_may_become_a_candidate() -> None:
    thin = Thin(ENTRY, ("basket",), None, banded=False, shards=1)
    ((_, frame),) = thin(batch([row(0, band=None)], "2017-03-02", 0))
    assert frame.select("score", "ranked", "emit").rows() == [(None, True, True)]
    assert frame.schema["order.0"] == pl.Int64


def test_frames_that_do_not_fit_fail_every_unit() -> None:
    odd = pl.DataFrame({"customerId": [1]})
    told = list(DECIDE.process((0, [odd])))
    assert all(isinstance(each, beam.pvalue.TaggedOutput) for each in told)
    failures = [each.value for each in told]  # type: ignore[attr-defined]
    assert [(f.unit, f.stage) for f in failures] == [(unit, "dedupe") for unit in UNITS]


def test_days_are_numbered_from_1970() -> None:
    assert day_number("1970-01-01") == 0
    assert day_number("2017-03-02") == (date(2017, 3, 2) - date(1970, 1, 1)).days
