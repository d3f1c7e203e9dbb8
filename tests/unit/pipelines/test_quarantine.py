from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipelines.context import RunContext
from pipelines.failure import FAILURES, Failure
from pipelines.lake import LakeSettings
from pipelines.sinks.quarantine import WriteQuarantine
from pipelines.sources.entry import Damaged
from pipelines.storage import Storage
from pipelines.tally import QUARANTINED, READ, TALLIES
from schemas.container import Damage
from schemas.registry import record_type

DAY = "2017-03-01"


def damaged(offset: int = 7, rows: int = 3, *, emit: bool = True) -> Damaged:
    damage = Damage(offset, 2, rows, "no sync marker")
    return Damaged(DAY, 1, emit, "s3://in/a.avro", damage, b"\x00\xff")


def sink(lake: LakeSettings, context: RunContext) -> WriteQuarantine:
    made = WriteQuarantine(lake, record_type("quarantine"), context)
    made.setup()
    return made


def test_damage_is_kept_as_it_was(lake: LakeSettings, context: RunContext) -> None:
    (_, receipt), told = sink(lake, context).process(damaged())  # type: ignore[misc]
    with Path(lake.root, receipt.key).open("rb") as file:
        (record,) = fastavro.reader(file)
    assert {name: record[name] for name in ("source", "byteOffset", "byteLength", "rows")} == {
        "source": "s3://in/a.avro",
        "byteOffset": 7,
        "byteLength": 2,
        "rows": 3,
    }
    assert (record["error"], record["content"]) == ("no sync marker", b"\x00\xff")
    assert record["workflowExecutionId"] == context.execution_id(DAY)
    assert told.value == (DAY, {READ: 3, QUARANTINED: 3})  # type: ignore[union-attr]


def test_damage_of_a_look_back_counts_with_its_own_unit(
    lake: LakeSettings, context: RunContext
) -> None:
    assert list(sink(lake, context).process(damaged(emit=False))) == []
    assert not Path(lake.root, "fragments").exists()


def test_two_stretches_of_one_file_are_two_records(lake: LakeSettings, context: RunContext) -> None:
    made = sink(lake, context)
    keys = {next(iter(made.process(damaged(offset))))[1].key for offset in (1, 2, 1)}  # type: ignore[index]
    assert len(keys) == 2


def test_what_cannot_be_kept_fails_the_unit(
    lake: LakeSettings, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sink(lake, context)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Storage, "write", full)
    (told,) = made.process(damaged())
    assert told.value == Failure(DAY, "quarantine", "OSError", "disk full")  # type: ignore[attr-defined]


def test_the_step_runs_in_a_pipeline(
    lake: LakeSettings, context: RunContext, pipeline: Any
) -> None:
    step = WriteQuarantine(lake, record_type("quarantine"), context)
    found = (
        pipeline
        | beam.Create([damaged(), damaged(90), damaged(emit=False)])
        | beam.ParDo(step).with_outputs(TALLIES, FAILURES, main="receipts")
    )
    rows = found["receipts"] | beam.Map(lambda each: each[1].rows)
    assert_that(rows, equal_to([1, 1]), label="receipts")
    counted = found[TALLIES] | "count" >> beam.Map(lambda each: each[1][QUARANTINED])
    assert_that(counted, equal_to([3, 3]), label="tallies")
    assert_that(found[FAILURES], equal_to([]), label="failures")
