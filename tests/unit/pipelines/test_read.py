from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import polars as pl
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipelines.batch import Batch
from pipelines.errors import MisplacedRows
from pipelines.failure import FAILURES, Lookback
from pipelines.read import BATCHES, DAMAGED, ENTRIES, VERDICTS, ReadDecided, ReadEntries
from pipelines.sources.entry import Damaged, Entry, Part
from pipelines.tally import TALLIES
from pipelines.verdicts import day_number
from schemas.container import Damage
from transforms.kernel import ROW
from transforms.verdict import VERDICT

DAYS = ("2017-03-01", "2017-03-02", "2017-03-03")


@dataclass
class Scripted:
    """A source whose days hold what they are told: heights of batches, damage, or an error.

    A connection that has seen an error is of no use afterwards, as with PostgreSQL.
    """

    days: dict[str, Sequence[int | Damage | Exception]]
    opened: int = 0
    closed: int = 0
    spoilt: bool = field(default=False, repr=False)

    def plan(self, emit: Sequence[str], evidence: Sequence[str]) -> tuple[Entry, ...]:
        parts = tuple(Part(day, 0, day in emit) for day in sorted({*emit, *evidence}))
        return (Entry(0, "table", parts),)

    def open(self) -> Scripted:
        self.opened += 1
        self.spoilt = False
        return self

    def preview(self, entries: Sequence[Entry]) -> None:
        return None

    def read(self, entry: Entry) -> Iterator[Batch | Damaged]:
        for part in entry.parts:
            row = 0
            script = self.days[part.unit]
            for number, each in enumerate(script):
                if isinstance(each, Exception) or self.spoilt:
                    self.spoilt = True
                    raise each if isinstance(each, Exception) else ValueError("of no use")
                if isinstance(each, Damage):
                    yield Damaged(part.unit, part.split, part.emit, "s", each, b"")
                    continue
                rows = pl.Series(ROW, range(row, row + each), pl.UInt32)
                row += each
                last = number == len(script) - 1
                yield Batch(part.unit, 0, part.emit, last, rows.to_frame())

    def close(self) -> None:
        self.closed += 1


def read(source: Scripted, days: Sequence[str] = DAYS, lookback: int = 0) -> dict[str, list[Any]]:
    step = ReadEntries(source, Lookback(DAYS, lookback), "read")
    found: dict[str, list[Any]] = {BATCHES: [], DAMAGED: [], TALLIES: [], FAILURES: []}
    for entry in source.plan(days, ()):
        for each in step.process(entry):
            tagged = isinstance(each, beam.pvalue.TaggedOutput)
            found[each.tag if tagged else BATCHES].append(each.value if tagged else each)
    step.teardown()
    step.teardown()
    assert source.opened == source.closed
    return found


def failed(found: dict[str, list[Any]]) -> list[str]:
    return [failure.unit for failure in found[FAILURES]]


def whole(found: dict[str, list[Any]]) -> list[str]:
    return [batch.unit for batch in found[BATCHES] if batch.last]


def test_every_day_comes_with_its_batches_and_counts() -> None:
    found = read(Scripted({DAYS[0]: [2, 1], DAYS[1]: [0], DAYS[2]: [3]}))
    assert [(b.unit, b.frame.height) for b in found[BATCHES]] == [
        (DAYS[0], 2),
        (DAYS[0], 1),
        (DAYS[1], 0),
        (DAYS[2], 3),
    ]
    assert sum(tally["stage", "read", "in"] for _, tally in found[TALLIES]) == 6
    assert failed(found) == []


@pytest.mark.parametrize("script", [[ValueError("broken")], [2, ValueError("broken")]])
@pytest.mark.parametrize("bad", DAYS)
def test_a_day_that_cannot_be_read_fails_alone(bad: str, script: list[Any]) -> None:
    days: dict[str, Any] = {day: [2, 1] for day in DAYS}
    found = read(Scripted({**days, bad: script}))
    assert failed(found) == [bad]
    assert found[FAILURES][0].message == "broken"
    assert whole(found) == [day for day in DAYS if day != bad]


def test_every_day_fails_when_nothing_can_be_read() -> None:
    days: dict[str, Any] = {day: [ValueError("broken")] for day in DAYS}
    assert failed(read(Scripted(days))) == list(DAYS)


def test_a_source_that_does_not_open_fails_every_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Scripted) -> Scripted:
        raise ConnectionError("refused")

    monkeypatch.setattr(Scripted, "open", refused)
    found = read(Scripted({}))
    assert [(f.unit, f.error) for f in found[FAILURES]] == [
        (day, "ConnectionError") for day in DAYS
    ]


def test_rows_out_of_place_fail_every_day_of_their_read() -> None:
    """Also a day that seemed to be whole: its rows may be those that came too late."""
    found = read(Scripted({DAYS[0]: [2], DAYS[1]: [1, MisplacedRows("s", "a", "b")], DAYS[2]: [1]}))
    assert failed(found) == list(DAYS)


@pytest.mark.parametrize(("days", "told"), [(0, DAYS[:1]), (1, DAYS[:2]), (7, DAYS)])
def test_a_day_that_fails_takes_those_along_that_look_back_on_it(
    days: int, told: tuple[str, ...]
) -> None:
    source = Scripted({DAYS[0]: [ValueError("broken")], DAYS[1]: [1], DAYS[2]: [1]})
    found = read(source, lookback=days)
    assert failed(found) == list(told)
    assert all("look-back needs 2017-03-01" in f.message for f in found[FAILURES][1:])


def test_damage_has_its_own_output() -> None:
    damage = Damage(0, 4, 2, "spoilt")
    found = read(Scripted({DAYS[0]: [1, damage, 1]}), DAYS[:1])
    assert [each.damage for each in found[DAMAGED]] == [damage]
    assert [batch.frame.height for batch in found[BATCHES]] == [1, 1]
    assert failed(found) == []


def test_rows_come_again_with_their_verdicts() -> None:
    step = ReadDecided(Scripted({DAYS[0]: [2, 2]}), Lookback(DAYS, 0), "read")
    (entry,) = Scripted({}).plan(DAYS[:1], ())
    losers = pl.DataFrame(
        {"unit": [day_number(DAYS[0])] * 2, "split": [0, 0], ROW: [3, 0], "verdict": [2, 1]},
        schema={"unit": pl.Int32, "split": pl.UInt32, ROW: pl.UInt32, "verdict": pl.UInt8},
    )
    grouped: dict[str, Any] = {ENTRIES: [entry], VERDICTS: [losers[:1], losers[1:]]}
    found = [each for each in step.process((0, grouped)) if isinstance(each, Batch)]
    assert [batch.frame[VERDICT].to_list() for batch in found] == [[1, 0], [0, 2]]


def test_the_step_runs_in_a_pipeline(pipeline: Any) -> None:
    source = Scripted({DAYS[0]: [2], DAYS[1]: [ValueError("broken")], DAYS[2]: [3]})
    step = ReadEntries(source, Lookback(DAYS, 0), "read")
    outputs = beam.ParDo(step).with_outputs(DAMAGED, TALLIES, FAILURES, main=BATCHES)
    found = pipeline | beam.Create(source.plan(DAYS, ())) | outputs
    heights = found[BATCHES] | beam.Map(lambda batch: (batch.unit, batch.frame.height))
    assert_that(heights, equal_to([(DAYS[0], 2), (DAYS[2], 3)]), label="batches")
    units = found[FAILURES] | "failed" >> beam.Map(lambda failure: failure.unit)
    assert_that(units, equal_to([DAYS[1]]), label="failures")
