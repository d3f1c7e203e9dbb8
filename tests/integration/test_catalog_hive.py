"""Tables as the printed statements make them, read by Spark's Hive support, and switched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.athena import athena
from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.files import FileCatalog
from pipelines.storage import Storage
from schemas.athena import column_type, create_table
from schemas.plain import reduce
from schemas.registry import RecordType, record_types
from tests.integration.merged_lake import EVERY, MAYBE, Generation, write_generation

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DATABASE, PREFIX = "muster", "lake_"
MARCH, APRIL = "2017-03", "2017-04"
_SCRIPT = Path(__file__).with_name("hive_script.py")
_SECONDS = 300


def run_script(folder: Path, work: dict[str, Any]) -> dict[str, Any]:
    """Run Spark in a process of its own, and end all that it started."""
    (folder / "work.json").write_text(json.dumps(work))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(_SCRIPT), str(folder)],
            cwd=folder,
            env=kept | {"SPARK_LOCAL_IP": "127.0.0.1", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
    assert code == 0, (folder / "log").read_text(errors="replace")[-6000:]
    seen: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return seen


def told(pointer: Pointer) -> dict[str, Any]:
    return {
        "record_type": pointer.record_type,
        "month": pointer.month,
        "generation": pointer.generation,
        "location": pointer.location,
    }


def printed(out: Path, name: str) -> list[str]:
    """Return the statements of ``muster athena ddl`` for a lake below ``out``."""
    asked = ["ddl", "--type", name, "--database", DATABASE, "--out", str(out), "--partitions"]
    result = CliRunner().invoke(athena, [*asked, "--json"])
    assert result.exit_code == 0, result.output
    statements: list[str] = json.loads(result.output)["statements"]
    return statements


class Lake:
    """What was written, and what Spark saw of it."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(str(folder / "lake"))
        self.registered = {
            record.name: write_generation(self.storage, record, MARCH, 1, 12)
            for record in record_types()
        }
        self.every = (
            write_generation(self.storage, EVERY, MARCH, 1, 20),
            write_generation(self.storage, EVERY, APRIL, 1, 7),
            write_generation(self.storage, EVERY, MARCH, 2, 11),
        )
        self.maybe = write_generation(self.storage, MAYBE, MARCH, 1, 20)
        catalog = FileCatalog(self.storage)
        for each in self.registered.values():
            catalog.switch(each.pointer)
        made = [
            create_table(
                record,
                f"file://{folder}/lake/merged/{record.name}",
                database=DATABASE,
                table=PREFIX + record.name,
            )
            for record in (EVERY, MAYBE)
        ]
        work = {
            "root": str(folder / "lake"),
            "database": DATABASE,
            "prefix": PREFIX,
            "statements": [*made, *(s for name in self.registered for s in printed(folder, name))],
            "printed": {name: self._order(name) for name in self.registered},
            "tables": {
                "every": [told(p) for p in self.steps(self.every)],
                "maybe": [told(self.maybe.pointer)],
            },
        }
        self.seen = run_script(folder, work)

    def _order(self, name: str) -> str:
        """Rows are written to two files in turn: their order is that of a column of theirs."""
        rows = self.registered[name].rows
        return next(
            column
            for column in rows[0]
            if not isinstance(rows[0][column], (dict, list))
            and len({row[column] for row in rows}) == len(rows)
        )

    def steps(self, written: Sequence[Generation]) -> list[Pointer]:
        """March, April, March's next, both of March's again, and another one of its number."""
        first, april, second = (each.pointer for each in written)
        location = f"{second.location}f"
        strange = Pointer(second.record_type, MARCH, 2, location, ())
        return [first, april, second, first, second, strange]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("hive"))


def rows_of(month: str, generation: Generation) -> list[dict[str, Any]]:
    return [{**row, "month": month} for row in generation.rows]


def sums(generation: Generation) -> list[float]:
    rows = generation.rows
    return [len(rows), sum(row["micros"] for row in rows), sum(row["double"] for row in rows)]


def test_every_column_of_every_avro_type_is_read_as_it_was_written(lake: Lake) -> None:
    seen = lake.seen["tables"]["every"][0]
    assert seen["rows"] == rows_of(MARCH, lake.every[0])
    assert seen["sums"] == {MARCH: sums(lake.every[0])}


@pytest.mark.parametrize("record", [EVERY, MAYBE, *record_types()], ids=lambda record: record.name)
def test_the_columns_are_those_that_hives_reader_finds_in_the_schema(
    lake: Lake, record: RecordType
) -> None:
    prefix = "" if record.name in lake.registered else PREFIX
    expected = {
        field["name"].lower(): column_type(field["type"]).replace("`", "")
        for field in reduce(record.schema).schema["fields"]
    }
    found = lake.seen["types"][prefix + record.name.lower()]
    assert found == {**expected, "month": "string"}


def test_nulls_are_read_as_they_were_written(lake: Lake) -> None:
    seen = lake.seen["tables"]["maybe"][0]
    assert seen["rows"] == rows_of(MARCH, lake.maybe)
    # A third of all values are null: each column has been null and not null.
    for column in lake.maybe.rows[0]:
        values = {row[column] is None for row in lake.maybe.rows}
        assert values == ({False} if column == "id" else {True, False})


@pytest.mark.parametrize("name", [record.name for record in record_types()])
def test_the_printed_statements_make_the_table_of_every_registered_type(
    lake: Lake, name: str
) -> None:
    order = lake._order(name)
    expected = sorted(lake.registered[name].rows, key=lambda row: row[order])
    assert lake.seen["printed"][name] == [{**row, "month": MARCH} for row in expected]


def test_readers_see_one_generation_of_a_month_and_then_the_next_one_only(lake: Lake) -> None:
    march, april, later = lake.every
    looks = lake.seen["tables"]["every"]
    both = rows_of(APRIL, april)
    assert looks[0]["rows"] == rows_of(MARCH, march)
    assert looks[1]["rows"] == rows_of(MARCH, march) + both
    assert looks[2]["rows"] == rows_of(MARCH, later) + both
    assert looks[2]["sums"] == {MARCH: sums(later), APRIL: sums(april)}


def test_a_switch_can_be_done_again_and_never_goes_back(lake: Lake) -> None:
    looks = lake.seen["tables"]["every"]
    later = lake.every[2].pointer.location
    assert [look["before"] for look in looks] == [
        None,
        None,
        lake.every[0].pointer.location,
        later,
        later,
        later,
    ]
    for look in looks[3:]:
        assert look["current"] == later
        assert look["rows"] == looks[2]["rows"]
    assert [look["refused"] for look in looks[:5]] == [None] * 5


def test_two_generations_of_one_number_are_refused(lake: Lake) -> None:
    refused = lake.seen["tables"]["every"][5]["refused"]
    assert refused.startswith("catalog Hive: generation 2 of every 2017-03: expected ")


def test_tables_that_are_not_there_or_another_lakes_are_refused(lake: Lake) -> None:
    absent, elsewhere = lake.seen["failures"]["absent"], lake.seen["failures"]["elsewhere"]
    assert absent.startswith("catalog Hive: table muster.nothing_every: ")
    assert "TABLE_OR_VIEW_NOT_FOUND" in absent
    assert "expected a generation below s3://elsewhere/lake/merged/every/, found" in elsewhere
