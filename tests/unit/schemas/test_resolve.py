from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import fastavro
import polars as pl
import pytest

from schemas.codec import Decoder, decode_file, encode_file, read_header
from schemas.errors import SchemaMismatch
from schemas.registry import define
from schemas.resolve import Resolver, resolve


def record(**types: Any) -> dict[str, Any]:
    fields = [
        {"name": name, **each}
        if isinstance(each, dict) and "fields" not in each and "default" in each
        else {"name": name, "type": each}
        for name, each in types.items()
    ]
    return {"type": "record", "name": "r", "fields": fields}


def named(name: str, **types: Any) -> dict[str, Any]:
    return record(**types) | {"name": name}


def enum(*symbols: str, **more: str) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def written(schema: dict[str, Any], rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, rows)
    return out.getvalue()


WRITER = record(
    a="int",
    old=["null", "string"],
    gone="long",
    r=["null", named("q", x="int", u="string")],
    l={"type": "array", "items": ["null", "float"]},
    m={"type": "map", "values": named("v", x="int")},
    e=["null", enum("A", "Z")],
)
READER = record(
    m={"type": "map", "values": named("v", x="double", y={"type": "string", "default": "Q"})},
    a=["null", "long"],
    renamed={"type": ["null", "string"], "aliases": ["older", "old"], "default": None},
    r=["null", named("q", u="bytes", x=["null", "long"], n={"type": "int", "default": 7})],
    l={"type": "array", "items": ["null", "double"]},
    e=["null", enum("D", "A", default="D")],
)
ROWS = [
    {
        "a": i,
        "old": None if i % 2 else f"o{i}",
        "gone": i,
        "r": None if i % 3 == 0 else {"x": i, "u": "ü"},
        "l": [None, 0.5][: i % 3],
        "m": {"k": {"x": i}} if i % 2 else {},
        "e": [None, "A", "Z"][i % 3],
    }
    for i in range(10)
]


def test_an_older_file_reads_as_another_implementation_reads_it() -> None:
    data = written(WRITER, ROWS)
    expected = list(fastavro.reader(io.BytesIO(data), reader_schema=READER))
    assert resolve(decode_file(data), WRITER, define(READER)).to_dicts() == expected


def test_the_result_has_the_types_of_the_reader() -> None:
    reader = define(READER)
    found = resolve(decode_file(written(WRITER, ROWS)), WRITER, reader)
    data = encode_file(found.to_arrow(), reader, sync=bytes(16))
    assert found.schema == Decoder(read_header(data)).empty().schema
    assert decode_file(data).equals(found)
    none = resolve(decode_file(written(WRITER, [])), WRITER, reader)
    assert none.equals(found.head(0))


def test_frames_may_be_cut_anywhere() -> None:
    whole = decode_file(written(WRITER, ROWS))
    resolver = Resolver(WRITER, define(READER))
    expected = resolver.apply(whole)
    for cut in range(whole.height + 1):
        parts = [resolver.apply(whole[:cut]), resolver.apply(whole[cut:])]
        assert pl.concat(parts).equals(expected)


def test_only_what_is_needed_is_decoded() -> None:
    reader = define(READER)
    resolver = Resolver(WRITER, reader, ["renamed", "a"])
    assert resolver.needs == ("old", "a")
    found = resolver.apply(decode_file(written(WRITER, ROWS), resolver.needs))
    assert found.equals(resolve(decode_file(written(WRITER, ROWS)), WRITER, reader)["renamed", "a"])
    with pytest.raises(SchemaMismatch, match="zz: not in the record"):
        Resolver(WRITER, reader, ["zz"])


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [
        ("bytes", "\u00ff\u0000", b"\xff\x00"),
        ({"type": "fixed", "name": "f", "size": 2}, "ab", b"ab"),
        ("double", 2, 2.0),
        (["null", "string"], None, None),
        (["string", "null"], "x", "x"),
        (enum("A", "B"), "B", "B"),
        ({"type": "array", "items": "int"}, [1, 2], [1, 2]),
        ({"type": "map", "values": "bytes"}, {"k": "\u00fe"}, {"k": b"\xfe"}),
        (named("p", z={"type": "int", "default": 3}, w="int"), {"w": 4}, {"z": 3, "w": 4}),
        ({"type": "int", "logicalType": "date"}, 1, dt.date(1970, 1, 2)),
        (
            {"type": "long", "logicalType": "local-timestamp-millis"},
            5,
            dt.datetime(1970, 1, 1, 0, 0, 0, 5000),
        ),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
            "\u00ff\u0085",
            Decimal("-1.23"),
        ),
    ],
)
def test_added_fields_take_their_default(kind: Any, default: Any, value: Any) -> None:
    reader = define(
        {"type": "record", "name": "r", "fields": [{"name": "x", "type": kind, "default": default}]}
    )
    resolver = Resolver(record(other="int"), reader)
    assert resolver.needs == ("other",)
    assert resolver.apply(pl.DataFrame({"other": [1, 2]}))["x"].to_list() == [value, value]


def test_a_bare_number_takes_on_a_logical_type() -> None:
    reader = define(record(t={"type": "long", "logicalType": "timestamp-millis"}, d="long"))
    writer = record(t="int", d={"type": "int", "logicalType": "date"})
    found = resolve(pl.DataFrame({"t": [5], "d": [dt.date(1970, 1, 3)]}), writer, reader)
    assert found.rows() == [(dt.datetime(1970, 1, 1, 0, 0, 0, 5000, dt.UTC), 2)]


def test_every_difference_is_named_at_once() -> None:
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    writer = record(
        a="long", r=named("q", x="string"), l={"type": "array", "items": "double"},
        e="string", t=millis, d=decimal, f={"type": "fixed", "name": "f", "size": 2},
    )  # fmt: skip
    reader = record(
        a="int", r=named("q", x="int", y="int"), l={"type": "array", "items": "float"},
        e=enum("A"), t=micros, d=decimal | {"scale": 3},
        f={"type": "fixed", "name": "f", "size": 3}, new="string",
    )  # fmt: skip
    with pytest.raises(SchemaMismatch) as raised:
        Resolver(writer, define(reader))
    assert raised.value.differences == (
        "a: wrote long, wanted int",
        "r.x: wrote string, wanted int",
        "r.y: not written, and has no default",
        "l[]: wrote double, wanted float",
        "e: wrote string, wanted enum",
        "t: wrote timestamp-millis, wanted timestamp-micros",
        "d: wrote decimal(9, 2), wanted decimal(9, 3)",
        "f: wrote fixed(2), wanted fixed(3)",
        "new: not written, and has no default",
    )


def test_values_that_do_not_resolve_are_refused() -> None:
    cases = [
        (["null", "int"], "int", [1, None], "x: required, found 1 nulls"),
        (enum("A", "Z"), enum("A"), ["A", "Z"], r"x: symbols \['Z'\] are unknown"),
        ("bytes", "string", [b"\xff"], "UTF8|UTF-8"),
    ]
    for writer, reader, values, message in cases:
        resolver = Resolver(record(x=writer), define(record(x=reader)))
        good = resolver.apply(pl.DataFrame({"x": values[:1]}).head(0 if writer == "bytes" else 1))
        assert good.columns == ["x"]
        with pytest.raises(SchemaMismatch, match=message):
            resolver.apply(pl.DataFrame({"x": values}))
