from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from schemas.arrow import SYMBOLS, arrow_schema, frame_types
from schemas.errors import UnsupportedSchema
from schemas.plain import reduce


def record(*types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{i}", "type": each} for i, each in enumerate(types)]
    return {"type": "record", "name": "r", "fields": fields}


def logical(base: str, name: str, **more: int) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


ENUM = {"type": "enum", "name": "e", "symbols": ["B", "A"]}
POINT = {"type": "record", "name": "p", "fields": [{"name": "x", "type": ["null", "int"]}]}


@pytest.mark.parametrize(
    ("avro", "arrow"),
    [
        ("boolean", pa.bool_()),
        ("int", pa.int32()),
        ("long", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("string", pa.string()),
        ("bytes", pa.binary()),
        ({"type": "string"}, pa.string()),
        ({"type": "fixed", "name": "x", "size": 3}, pa.binary(3)),
        (logical("string", "uuid"), pa.string()),
        (logical("int", "date"), pa.date32()),
        (logical("int", "time-millis"), pa.time32("ms")),
        (logical("long", "time-micros"), pa.time64("us")),
        (logical("long", "timestamp-millis"), pa.timestamp("ms", "UTC")),
        (logical("long", "timestamp-micros"), pa.timestamp("us", "UTC")),
        (logical("long", "local-timestamp-millis"), pa.timestamp("ms")),
        (logical("long", "date"), pa.int64()),
        (logical("int", "made-up"), pa.int32()),
        (logical("bytes", "decimal", precision=10, scale=2), pa.decimal128(10, 2)),
        (logical("bytes", "decimal", precision=10), pa.decimal128(10, 0)),
        (ENUM, pa.dictionary(pa.int32(), pa.string())),
        (POINT, pa.struct([pa.field("x", pa.int32())])),
        ({"type": "array", "items": "int"}, pa.list_(pa.field("item", pa.int32(), nullable=False))),
        ({"type": "array", "items": ["null", "int"]}, pa.list_(pa.int32())),
        (
            {"type": "map", "values": "int"},
            pa.map_(pa.string(), pa.field("value", pa.int32(), nullable=False)),
        ),
    ],
)
def test_types_and_nullability(avro: Any, arrow: pa.DataType) -> None:
    found = arrow_schema(record(avro, ["null", "int"]))
    assert found.field("f0").type == arrow
    assert [f.nullable for f in found] == [False, True]


def test_unions_are_read_in_either_order() -> None:
    schema = record(["null", "string"], ["string", "null"])
    assert [f.nullable for f in arrow_schema(schema)] == [True, True]
    assert reduce(schema).unwritable == ("f1: union [string, null] with null last",)


def test_enums_carry_their_symbols_wherever_they_are() -> None:
    found = arrow_schema(record(ENUM, {"type": "array", "items": ["null", "e"]}))
    assert found.field("f0").metadata == {SYMBOLS: b'["B", "A"]'}
    assert found.field("f1").type.value_field.metadata == {SYMBOLS: b'["B", "A"]'}


def test_a_name_used_twice_is_written_out_under_distinct_names() -> None:
    fields = reduce(record(POINT, ["null", "p"])).schema["fields"]
    first, second = fields[0]["type"], fields[1]["type"][1]
    assert first["fields"] == second["fields"]
    assert first["name"] != second["name"]


def test_everything_unreadable_is_named_at_once() -> None:
    node = {
        "name": "node",
        "type": "record",
        "fields": [{"name": "next", "type": ["null", "node"]}],
    }
    schema = record(
        ["null", "string", "long"],
        ["string"],
        "null",
        {"type": "array", "items": {"type": "record", "name": "empty", "fields": []}},
        {"type": "map", "values": ["int", "long"]},
        node,
        {"type": "fixed", "name": "d", "size": 12, "logicalType": "duration"},
        logical("bytes", "decimal", precision=39, scale=2),
        {"type": "fixed", "name": "nothing", "size": 0},
    )
    with pytest.raises(UnsupportedSchema) as raised:
        arrow_schema(schema)
    assert raised.value.problems == (
        "f0: union [null, string, long]",
        "f1: union [string]",
        "f2: null alone",
        "f3[]: empty record 'empty'",
        "f4{}: union [int, long]",
        "f5.next: recursive record 'node'",
        "f6: duration",
        "f7: decimal(39, 2)",
        "f8: fixed(0)",
    )
    assert "record 'r' is not supported: f0: union" in str(raised.value)


def test_a_decimal_on_fixed_can_be_read_only() -> None:
    schema = record(
        {"type": "fixed", "name": "d", "size": 6} | logical("fixed", "decimal", precision=9)
    )
    assert arrow_schema(schema).field("f0").type == pa.decimal128(9, 0)
    assert reduce(schema).unwritable == ("f0: decimal on fixed(6)",)


def test_defaults_and_aliases_are_kept_for_resolution_only() -> None:
    schema = record("int")
    schema["fields"][0] |= {"default": 1, "aliases": ["old"], "doc": "gone"}
    assert reduce(schema).schema["fields"] == [{"name": "f0", "type": "int"}]
    kept = reduce(schema, resolving=True).schema["fields"]
    assert kept == [{"name": "f0", "type": "int", "default": 1, "aliases": ["old"]}]


def test_frames_have_strings_for_enums() -> None:
    nested = {"type": "map", "values": {"type": "array", "items": "e"}}
    found = frame_types(arrow_schema(record(ENUM, nested, POINT)))
    assert found == {
        "f0": pl.String(),
        "f1": pl.Map(pl.String, pl.List(pl.String)),
        "f2": pl.Struct({"x": pl.Int32}),
    }
