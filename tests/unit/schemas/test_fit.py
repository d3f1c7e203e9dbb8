from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from schemas.errors import SchemaMismatch
from schemas.fit import fit
from schemas.registry import define

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "n", "type": ["null", "long"]},
        {
            "name": "tags",
            "type": ["null", {"type": "array", "items": "string"}],
        },
        {
            "name": "point",
            "type": [
                "null",
                {"type": "record", "name": "p", "fields": [{"name": "x", "type": "int"}]},
            ],
        },
        {"name": "counts", "type": {"type": "map", "values": "int"}},
        {"name": "kind", "type": ["null", {"type": "enum", "name": "k", "symbols": ["B", "A"]}]},
    ],
}
WANTED = define(SCHEMA).arrow
ROWS: dict[str, list[Any]] = {
    "id": ["a", "b"],
    "n": [1, None],
    "tags": [["x"], None],
    "point": [{"x": 1}, None],
    "counts": [[("k", 1)], []],
    "kind": ["A", None],
}
LOOSE = {
    "id": pa.large_string(),
    "n": pa.int64(),
    "tags": pa.large_list(pa.string_view()),
    "point": pa.struct([("x", pa.int32())]),
    "counts": pa.map_(pa.large_string(), pa.int32()),
    "kind": pa.string(),
}


def table(**changes: pa.Array) -> pa.Table:
    columns = {n: pa.array(v, LOOSE[n]) for n, v in ROWS.items()} | changes
    return pa.table(columns)


def refused(given: pa.Table) -> tuple[str, ...]:
    with pytest.raises(SchemaMismatch) as raised:
        fit(given, WANTED, "r")
    return raised.value.differences


def test_loose_types_become_exact_in_the_order_of_the_schema() -> None:
    given = table().select(["kind", "id", "counts", "point", "n", "tags"])
    fitted = fit(given, WANTED, "r")
    assert fitted.schema.equals(WANTED, check_metadata=True)
    assert fitted.to_pydict() == ROWS


def test_chunks_slices_and_nulls_without_a_type_fit() -> None:
    chunked = pa.concat_tables(
        [table(), table(n=pa.nulls(2), tags=pa.nulls(2)).cast(table().schema)]
    )
    expected = [*ROWS["tags"], None, None]
    assert fit(chunked, WANTED, "r")["tags"].to_pylist() == expected
    assert fit(chunked.slice(1, 2), WANTED, "r")["tags"].to_pylist() == expected[1:3]
    assert fit(table(kind=pa.nulls(2)), WANTED, "r")["kind"].to_pylist() == [None, None]


def test_every_difference_is_named_at_once() -> None:
    given = pa.table(
        {
            "id": pa.array([1]),
            "n": pa.array([1], pa.int32()),
            "tags": pa.array([[1]]),
            "point": pa.array([{"x": "a", "y": 1}]),
            "counts": pa.array([[(1, "a")]], pa.map_(pa.int32(), pa.string())),
            "more": pa.array([1]),
        }
    )
    assert refused(given) == (
        "id: expected string, found int64",
        "n: expected int64, found int32",
        "tags[]: expected string, found int64",
        "point.x: expected int32, found string",
        "point.y: expected nothing, found it",
        "counts: expected string keys, found int32",
        "counts{}: expected int32, found string",
        f"kind: expected {WANTED.field('kind').type}, found nothing",
        "more: expected nothing, found it",
    )


def test_a_column_found_twice_is_refused() -> None:
    given = table()
    twice = given.append_column("id", given["id"])
    assert refused(twice) == ("id: found twice",)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("id", ["a", None], "id: required, found 1 nulls"),
        ("tags", [["x", None], None], "tags[]: required, found 1 nulls"),
        ("point", [{"x": None}, None], "point.x: required, found 1 nulls"),
        ("counts", [[("k", None)], [("l", None)]], "counts{}: required, found 2 nulls"),
        ("counts", [[], None], "counts: required, found 1 nulls"),
    ],
)
def test_nulls_in_required_fields_are_refused(name: str, values: list[Any], message: str) -> None:
    assert refused(table(**{name: pa.array(values, LOOSE[name])})) == (message,)


def test_nulls_outside_a_slice_do_not_count() -> None:
    counts = pa.array([[("k", None)], [("k", 1)], [("l", 2)]], LOOSE["counts"])
    assert fit(table(counts=counts.slice(1)), WANTED, "r")["counts"].to_pylist() == [
        [("k", 1)],
        [("l", 2)],
    ]


def test_an_unknown_symbol_is_refused() -> None:
    given = table(kind=pa.array(["A", "Z"]))
    assert refused(given) == ("kind: expected one of ['B', 'A'], found 'Z'",)


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["A", "B", "C"]), pl.String])
def test_any_kind_of_text_column_fits_an_enum(kind: Any) -> None:
    texts = pl.Series(["B", "A"], dtype=kind).to_arrow()
    column = fit(table(kind=texts), WANTED, "r")["kind"].combine_chunks()
    assert column.to_pylist() == ["B", "A"]
    assert column.dictionary.to_pylist() == ["B", "A"]
    assert column.indices.to_pylist() == [0, 1]


def test_times_fit_when_nothing_is_cut_off() -> None:
    kind = {"type": "int", "logicalType": "time-millis"}
    wanted = define({"type": "record", "name": "t", "fields": [{"name": "t", "type": kind}]}).arrow
    exact = pa.table({"t": pa.array([5_000_000], pa.time64("ns"))})
    assert fit(exact, wanted, "t")["t"].cast(pa.int32()).to_pylist() == [5]
    finer = pa.table({"t": pa.array([5_000_001], pa.time64("ns"))})
    with pytest.raises(SchemaMismatch, match="would lose data"):
        fit(finer, wanted, "t")


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_timestamps_of_another_unit_or_zone_are_refused(unit: str) -> None:
    kind = {"type": "long", "logicalType": "timestamp-millis"}
    wanted = define({"type": "record", "name": "t", "fields": [{"name": "t", "type": kind}]}).arrow
    for found in (pa.timestamp(unit, "UTC"), pa.timestamp("ms"), pa.timestamp("ms", "Europe/Rome")):
        with pytest.raises(SchemaMismatch, match=r"t: expected timestamp\[ms, tz=UTC\], found"):
            fit(pa.table({"t": pa.array([1], found)}), wanted, "t")


def test_bytes_of_another_length_do_not_fit_fixed() -> None:
    kind = {"type": "fixed", "name": "f", "size": 3}
    wanted = define({"type": "record", "name": "t", "fields": [{"name": "t", "type": kind}]}).arrow
    assert fit(pa.table({"t": [b"abc"]}), wanted, "t")["t"].to_pylist() == [b"abc"]
    with pytest.raises(SchemaMismatch, match="t: "):
        fit(pa.table({"t": [b"abcd"]}), wanted, "t")


def test_nulls_under_a_null_parent_fit_whatever_the_layout() -> None:
    inner = {"type": "record", "name": "p", "fields": [{"name": "b", "type": "bytes"}]}
    schema = {"type": "record", "name": "r", "fields": [{"name": "p", "type": ["null", inner]}]}
    given = pl.DataFrame({"p": [{"b": b"x"}, None]}).to_arrow()
    assert given["p"].combine_chunks().field("b").null_count == 1
    assert fit(given, define(schema).arrow, "r")["p"].to_pylist() == [{"b": b"x"}, None]
