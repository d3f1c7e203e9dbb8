"""Avro schemas as Arrow schemas with exactly the same nullability."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import types

from schemas.plain import reduce

#: Metadata of a field by which an encoder knows the symbols of an enum, and their order.
SYMBOLS = b"avro.enum.symbols"

_PRIMITIVE = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}
_LOGICAL = {
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "timestamp-nanos": pa.timestamp("ns", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "local-timestamp-nanos": pa.timestamp("ns"),
}


def arrow_schema(schema: Any) -> pa.Schema:
    """Return the Arrow schema of a record: nullable where the Avro type is a union with null.

    An enum is a dictionary of int32 and string whose field carries the symbols; a UUID kept as
    text is a string. Raises what ``reduce`` raises.

    >>> print(arrow_schema({"type": "record", "name": "r", "fields": [
    ...     {"name": "id", "type": "string"},
    ...     {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    ... ]}))
    id: string not null
    at: timestamp[ms, tz=UTC]
    """
    return pa.schema([_field(f["name"], f["type"]) for f in reduce(schema).schema["fields"]])


def _field(name: str, plain: Any) -> pa.Field:
    kind = arrow_type(plain)
    value = next(b for b in plain if b != "null") if isinstance(plain, list) else plain
    metadata = {SYMBOLS: json.dumps(value["symbols"])} if types.is_dictionary(kind) else None
    return pa.field(name, kind, nullable=isinstance(plain, list), metadata=metadata)


def arrow_type(plain: Any) -> pa.DataType:
    """Return the Arrow type of a reduced schema; for a union with null, of its other branch."""
    if isinstance(plain, list):
        plain = next(branch for branch in plain if branch != "null")
    if isinstance(plain, str):
        return _PRIMITIVE[plain]
    logical = plain.get("logicalType")
    if logical == "decimal":
        return pa.decimal128(plain["precision"], plain["scale"])
    if logical is not None:
        return _LOGICAL[logical]
    match plain["type"]:
        case "record":
            return pa.struct([_field(f["name"], f["type"]) for f in plain["fields"]])
        case "array":
            return pa.list_(_field("item", plain["items"]))
        case "map":
            return pa.map_(pa.string(), _field("value", plain["values"]))
        case "enum":
            return pa.dictionary(pa.int32(), pa.string())
        case _:
            return pa.binary(plain["size"])


def frame_types(arrow: pa.Schema) -> pl.Schema:
    """Return the types that a decoded frame has: those of Arrow, with strings for enums."""
    fields = [pa.field(f.name, _without_enums(f.type)) for f in arrow]
    empty = pl.from_arrow(pa.schema(fields).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.schema


def _without_enums(kind: pa.DataType) -> pa.DataType:
    if types.is_dictionary(kind):
        return pa.string()
    if types.is_struct(kind):
        return pa.struct([pa.field(f.name, _without_enums(f.type)) for f in kind])
    if types.is_map(kind):
        return pa.map_(pa.string(), _without_enums(kind.item_type))
    if types.is_list(kind):
        return pa.list_(_without_enums(kind.value_type))
    return kind
