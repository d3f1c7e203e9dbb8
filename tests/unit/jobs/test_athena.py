from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.athena import athena
from jobs.cli import _Muster
from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.files import FileCatalog
from pipelines.ledger.ledger import Ledger
from pipelines.storage import Storage
from schemas.athena import Projection, create_table, partition_statements
from schemas.registry import record_type

CANDIDATE = record_type("candidate")


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ddl(*arguments: str) -> Result:
    group = _Muster("muster", commands={"athena": athena})
    return CliRunner().invoke(group, ["athena", "ddl", *arguments])


def pointer(month: str, number: int) -> Pointer:
    location = f"merged/candidate/{month}/g{number:06d}-a"
    return Pointer("candidate", month, number, location, (f"{location}/0.avro",))


def pointed(out: Path) -> None:
    catalog = FileCatalog(Storage(str(out / "demo" / "lake")))
    for month, number in (("2017-03", 1), ("2017-04", 1), ("2017-03", 2)):
        catalog.switch(pointer(month, number))


def test_the_table_is_that_of_the_environments_lake(out: Path) -> None:
    result = ddl("--type", "candidate", "--out", "demo")
    assert result.exit_code == 0
    location = f"file://{out}/demo/lake/merged/candidate/"
    assert result.output == f"{create_table(CANDIDATE, location)};\n"
    assert list(out.iterdir()) == []


def test_database_and_table_may_be_named(out: Path) -> None:
    result = ddl("--type", "candidate", "--database", "D", "--table", "T", "--json")
    told = json.loads(result.output)
    location = f"file://{out}/out/lake/merged/candidate/"
    assert told == {
        "database": "D",
        "table": "t",
        "location": location,
        "statements": [create_table(CANDIDATE, location, database="D", table="T")],
    }


def test_the_partitions_are_those_that_the_pointer_files_name(out: Path) -> None:
    pointed(out)
    result = ddl("--type", "candidate", "--out", "demo", "--partitions", "--database", "d")
    lake = f"file://{out}/demo/lake"
    location = f"{lake}/merged/candidate/"
    folders = {
        "2017-03": f"{location}2017-03/g000002-a",
        "2017-04": f"{location}2017-04/g000001-a",
    }
    statements = [
        create_table(CANDIDATE, location, database="d"),
        *partition_statements("candidate", folders, database="d"),
    ]
    assert result.output == "\n\n".join(f"{each};" for each in statements) + "\n"


def test_the_partitions_are_those_that_merges_published_whatever_catalog_there_is(
    out: Path,
) -> None:
    """Glue and Hive have no pointer files: a table that is made anew is pointed by this."""
    ledger = Ledger(Storage(str(out / "demo" / "lake")))
    last = None
    for event in ("planned", "leased", "progressed", "published", "failed"):
        last = ledger.append(
            last,
            event,
            unit="merge/candidate/2017-05",
            run="r",
            fingerprint="f",
            plan="p",
            details={"location": f"merged/candidate/2017-05/g000001-{event}"},
        )
    pointed(out)
    said = json.loads(ddl("--type", "candidate", "--out", "demo", "--partitions", "--json").output)
    ends = [s.rstrip("/'").rpartition("/")[2] for s in said["statements"] if "SET LOCATION" in s]
    assert ends == ["g000002-a", "g000001-a", "g000001-published"]


def test_a_projecting_table_lists_its_partitions_itself(out: Path) -> None:
    pointed(out)
    result = ddl("--type", "candidate", "--out", "demo", "--partitions", "--projection", "--json")
    told = json.loads(result.output)
    projection = Projection(("2017-03/g000002-a", "2017-04/g000001-a"))
    assert told["statements"] == [create_table(CANDIDATE, told["location"], projection=projection)]


@pytest.mark.parametrize("projection", [False, True])
def test_the_names_are_those_that_the_environments_catalog_looks_for(
    out: Path, projection: bool
) -> None:
    environment = out / "aws.yaml"
    environment.write_text(
        "name: aws\nwarehouse: {url: 'duckdb://'}\nlake: {root: 's3://bucket/lake'}\nstore: null\n"
        "catalog: {kind: glue, database: muster, tablePrefix: lake_, "
        f"projection: {str(projection).lower()}}}\n"
    )
    result = ddl("--type", "candidate", "--env", str(environment), "--json")
    told = json.loads(result.output)
    assert (told["database"], told["table"]) == ("muster", "lake_candidate")
    assert told["location"] == "s3://bucket/lake/merged/candidate/"
    (statement,) = told["statements"]
    assert ("projection.enabled" in statement) is projection


def test_an_unknown_record_type_is_refused_with_those_that_are_known(out: Path) -> None:
    result = ddl("--type", "candidates")
    assert result.exit_code == 1
    assert result.output.startswith("muster: record type 'candidates' is not registered; known: ")
    assert "candidate v1" in result.output


def test_the_help_of_each_command_has_an_example() -> None:
    for path in (["athena"], ["athena", "ddl"]):
        group = _Muster("muster", commands={"athena": athena})
        result = CliRunner().invoke(group, [*path, "--help"])
        assert result.exit_code == 0
        assert f"muster {' '.join(path)}" in result.output.partition("Example:")[2]
