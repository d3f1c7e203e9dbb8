from __future__ import annotations

import json
import re
from typing import Any

import pytest

from schemas import athena
from schemas.athena import (
    Projection,
    column_type,
    create_table,
    partition_statements,
    projection_statement,
)
from schemas.errors import UnsupportedSchema
from schemas.registry import RecordType, define, record_type, record_types

LAKE = "s3://bucket/lake/merged/candidate"


def logical(base: str, name: str, **more: int) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def record(name: str, fields: dict[str, Any], doc: str = "") -> dict[str, Any]:
    listed = [{"name": n, "type": t} for n, t in fields.items()]
    return {"type": "record", "name": name, "doc": doc, "fields": listed}


def columns(statement: str) -> dict[str, str]:
    """Return the columns of a statement, as it says them."""
    inner = statement[statement.index("(\n") + 2 : statement.index("\n)\n")]
    pairs = (re.fullmatch(r"  `(\w+)` (.*?),?", line) for line in inner.splitlines())
    return {match[1]: match[2] for match in pairs if match}


def literal(statement: str, key: str) -> str:
    """Return a property's value, read as Hive reads a string: a backslash escapes."""
    found = re.search(rf"'{re.escape(key)}' = '((?:[^'\\]|\\.)*)'", statement)
    assert found is not None
    return re.sub(r"\\(.)", r"\1", found[1])


EVERY_TYPE: dict[str, tuple[Any, str]] = {
    "flag": ("boolean", "boolean"),
    "small": ("int", "int"),
    "large": ("long", "bigint"),
    "single": ("float", "float"),
    "double": ("double", "double"),
    "text": ("string", "string"),
    "raw": ("bytes", "binary"),
    "three": (fixed("Three", 3), "binary"),
    "day": (logical("int", "date"), "date"),
    "clock": (logical("int", "time-millis"), "int"),
    "microClock": (logical("long", "time-micros"), "bigint"),
    "millis": (logical("long", "timestamp-millis"), "timestamp"),
    "micros": (logical("long", "timestamp-micros"), "bigint"),
    "nanos": (logical("long", "timestamp-nanos"), "bigint"),
    "localMillis": (logical("long", "local-timestamp-millis"), "bigint"),
    "localMicros": (logical("long", "local-timestamp-micros"), "bigint"),
    "localNanos": (logical("long", "local-timestamp-nanos"), "bigint"),
    "money": (logical("bytes", "decimal", precision=20, scale=3), "decimal(20,3)"),
    "whole": (logical("bytes", "decimal", precision=5), "decimal(5,0)"),
    "coin": (fixed("Coin", 8, logicalType="decimal", precision=9, scale=2), "binary"),
    "uid": (logical("string", "uuid"), "string"),
    "unknown": (logical("string", "nobody-knows"), "string"),
    "kind": ({"type": "enum", "name": "Kind", "symbols": ["B", "A"]}, "string"),
    "list": ({"type": "array", "items": ["null", "string"]}, "array<string>"),
    "deep": ({"type": "array", "items": {"type": "array", "items": "int"}}, "array<array<int>>"),
    "byName": ({"type": "map", "values": ["null", "long"]}, "map<string,bigint>"),
    "point": (record("Point", {"X": "int", "end": "string"}), "struct<`x`:int,`end`:string>"),
    "points": ({"type": "map", "values": "Point"}, "map<string,struct<`x`:int,`end`:string>>"),
    "kinds": ({"type": "array", "items": "Kind"}, "array<string>"),
}


def every_type(kind: Any = lambda t: t) -> RecordType:
    return define(record("Every", {n: kind(t) for n, (t, _) in EVERY_TYPE.items()}))


@pytest.mark.parametrize(
    "kind",
    [lambda t: t, lambda t: ["null", t], lambda t: [t, "null"]],
    ids=["plain", "null", "last"],
)
def test_every_avro_type_has_its_column(kind: Any) -> None:
    found = columns(create_table(every_type(kind), LAKE))
    assert found == {name.lower(): expected for name, (_, expected) in EVERY_TYPE.items()}


@pytest.mark.parametrize("registered", record_types(), ids=lambda r: f"{r.name}{r.version}")
@pytest.mark.parametrize("projection", [None, Projection()], ids=["catalog", "projection"])
def test_every_registered_type_has_a_table(
    registered: RecordType, projection: Projection | None
) -> None:
    statement = create_table(registered, LAKE, projection=projection)
    assert statement.startswith(
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{registered.name.lower()}` ("
    )
    expected = [field["name"].lower() for field in registered.schema["fields"]]
    assert list(columns(statement)) == expected
    assert json.loads(literal(statement, "avro.schema.literal")) == registered.schema


def test_a_table_says_where_it_is_and_how_it_is_read() -> None:
    statement = create_table(record_type("candidate"), LAKE, database="Lake", table="Old_Candidate")
    assert statement.startswith("CREATE EXTERNAL TABLE IF NOT EXISTS `lake`.`old_candidate` (")
    after = statement[statement.index("\n)\n") + 3 :]
    lines = [line for line in after.splitlines() if not line.startswith("WITH SERDEPROPERTIES")]
    assert lines == [
        "PARTITIONED BY (`month` string)",
        "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.avro.AvroSerDe'",
        "STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat'",
        "OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat'",
        f"LOCATION '{LAKE}/'",
    ]


def test_quotes_and_backslashes_of_a_schema_survive_every_parser() -> None:
    doc = "it's a \"quoted\" \\ text; -- 'twice'\n\t${x} `y`"
    made = define(record("told", {"text": "string"}, doc))
    statement = create_table(made, "s3://bucket/it's")
    said = literal(statement, "avro.schema.literal")
    assert json.loads(said)["doc"] == doc
    # Some parsers know no escaped quote, and Hive knows no doubled one.
    assert "'" not in said
    assert statement.endswith(r"LOCATION 's3://bucket/it\'s/'")


def test_a_column_may_not_have_the_name_of_the_partition() -> None:
    by_month = define(record("r", {"Month": "int"}))
    with pytest.raises(UnsupportedSchema, match="month: is the partition column"):
        create_table(by_month, LAKE)
    create_table(by_month, LAKE, projection=Projection())
    by_generation = define(record("r", {"generation": "int"}))
    with pytest.raises(UnsupportedSchema, match="generation: is the partition column"):
        create_table(by_generation, LAKE, projection=Projection())
    create_table(by_generation, LAKE)


def test_names_that_differ_in_case_alone_are_refused_at_any_depth() -> None:
    inner = {"type": "array", "items": ["null", record("I", {"x": "int", "X": "int"})]}
    made = define(record("r", {"a": "int", "A": "int", "in": {"type": "map", "values": inner}}))
    with pytest.raises(UnsupportedSchema) as caught:
        create_table(made, LAKE)
    assert caught.value.problems == (
        "a: names that differ in case alone",
        "in.x: names that differ in case alone",
    )


def test_a_month_is_added_and_then_pointed_to_its_folder() -> None:
    folders = {"2017-04": f"{LAKE}/2017-04/g000001-b", "2017-03": f"{LAKE}/2017-03/g000002-a/"}
    march, april = (
        f"'{LAKE}/2017-03/g000002-a/'",
        f"'{LAKE}/2017-04/g000001-b/'",
    )
    assert partition_statements("Candidate", folders, database="lake") == (
        "ALTER TABLE `lake`.`candidate` ADD IF NOT EXISTS "
        f"PARTITION (`month` = '2017-03') LOCATION {march}",
        f"ALTER TABLE `lake`.`candidate` PARTITION (`month` = '2017-03') SET LOCATION {march}",
        "ALTER TABLE `lake`.`candidate` ADD IF NOT EXISTS "
        f"PARTITION (`month` = '2017-04') LOCATION {april}",
        f"ALTER TABLE `lake`.`candidate` PARTITION (`month` = '2017-04') SET LOCATION {april}",
    )
    assert partition_statements("candidate", {}) == ()


def test_a_projecting_table_lists_its_generations() -> None:
    projection = Projection(("2017-04/g000001-b", "2017-03/g000002-a"))
    statement = create_table(record_type("rejection"), LAKE, projection=projection)
    assert "PARTITIONED BY (`generation` string)" in statement
    assert literal(statement, "projection.enabled") == "true"
    assert literal(statement, "projection.generation.type") == "enum"
    assert literal(statement, athena.VALUES) == "2017-03/g000002-a,2017-04/g000001-b"
    # Athena wants a slash behind each placeholder.
    assert literal(statement, athena.TEMPLATE) == f"{LAKE}/${{generation}}/"


def test_a_projection_is_switched_month_by_month() -> None:
    nothing = Projection.of("none")
    assert nothing == Projection()
    assert nothing.current("2017-03") is None
    first = nothing.switched("2017-03", "g000001-a")
    both = first.switched("2017-04", "g000001-b")
    again = Projection.of(both.values).switched("2017-03", "g000002-c")
    assert again.values == "2017-03/g000002-c,2017-04/g000001-b"
    assert again.current("2017-03") == "2017-03/g000002-c"
    assert projection_statement("Candidate", again, database="lake") == (
        "ALTER TABLE `lake`.`candidate` SET TBLPROPERTIES "
        "('projection.generation.values' = '2017-03/g000002-c,2017-04/g000001-b')"
    )


def test_a_union_is_its_branch() -> None:
    assert column_type(["string", "null"]) == "string"
