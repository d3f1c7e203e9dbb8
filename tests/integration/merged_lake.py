"""Merged files for tests of catalogs: rows of any record type, and what readers make of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipelines.catalogs.catalog import Pointer
from pipelines.storage import Storage
from schemas.codec import encode_file
from schemas.plain import reduce
from schemas.registry import RecordType, define

SYNC = bytes(range(16))
_EPOCH = dt.datetime(1970, 1, 1)
Rows = list[dict[str, Any]]


def _logical(base: str, name: str, **more: int) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


def _record(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    listed = [{"name": n, "type": t} for n, t in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


_INNER = {"X": "int", "timestamp": ["null", _logical("long", "timestamp-millis")]}
_FIELDS: dict[str, Any] = {
    "flag": "boolean",
    "small": "int",
    "large": "long",
    "single": "float",
    "double": "double",
    "text": "string",
    "raw": "bytes",
    "three": {"type": "fixed", "name": "Three", "size": 3},
    "day": _logical("int", "date"),
    "clock": _logical("int", "time-millis"),
    "microClock": _logical("long", "time-micros"),
    "millis": _logical("long", "timestamp-millis"),
    "micros": _logical("long", "timestamp-micros"),
    "localMillis": _logical("long", "local-timestamp-millis"),
    "localMicros": _logical("long", "local-timestamp-micros"),
    "money": _logical("bytes", "decimal", precision=20, scale=3),
    "kind": {"type": "enum", "name": "Kind", "symbols": ["B", "A", "C"]},
    "uid": _logical("string", "uuid"),
    "list": {"type": "array", "items": ["null", "string"]},
    "deep": {"type": "array", "items": {"type": "array", "items": "int"}},
    "byName": {"type": "map", "values": ["null", "long"]},
    "point": _record("Point", _INNER),
    "points": {"type": "map", "values": "Point"},
    "order": {"type": "array", "items": ["null", _record("Item", {"end": "string"})]},
}

#: A field of every Avro type that files are written with; ``id`` orders the rows.
EVERY = define(
    _record("every", {"id": "long", **_FIELDS})
    | {"doc": "it's \"all\" \\ types; 'twice'", "namespace": "a.b"}
)
#: The same, where everything may be null.
MAYBE = define(_record("maybe", {"id": "long", **{n: ["null", t] for n, t in _FIELDS.items()}}))


@dataclass(frozen=True)
class Generation:
    """A generation as it is written: its pointer and its rows."""

    pointer: Pointer
    rows: Rows


def write_generation(
    storage: Storage, record: RecordType, month: str, number: int, rows: int, files: int = 2
) -> Generation:
    """Write a generation; its rows differ from those of every other number."""
    plain = reduce(record.schema).schema
    made = [_value(plain, number * 1000 + i) for i in range(rows)]
    location = f"merged/{record.name}/{month}/g{number:06d}-{number:04x}"
    keys = tuple(f"{location}/{i:05d}.avro" for i in range(files))
    for at, key in enumerate(keys):
        table = pa.Table.from_pylist(made[at::files], schema=_writable(record.arrow))
        storage.write(key, [encode_file(table, record, sync=SYNC)])
    pointer = Pointer(record.name, month, number, location, keys)
    return Generation(pointer, [_read(plain, row) for row in made])


def _writable(arrow: pa.Schema) -> pa.Schema:
    """Rows of Python cannot be made into dictionaries within lists: symbols go as strings."""

    def plain(field: pa.Field) -> pa.Field:
        return field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field

    return pa.schema([plain(field) for field in arrow])


def _value(plain: Any, seed: int) -> Any:
    """Return a value of the type as the wire has it, decimals apart."""
    if isinstance(plain, list):
        branch = next(each for each in plain if each != "null")
        return None if seed % 3 == 0 else _value(branch, seed)
    kind = plain if isinstance(plain, str) else plain["type"]
    match kind:
        case "record":
            fields = enumerate(plain["fields"])
            made = {f["name"]: _value(f["type"], seed + at) for at, f in fields}
            return made | ({"id": seed} if plain["fields"][0]["name"] == "id" else {})
        case "array":
            return [_value(plain["items"], seed + at) for at in range(seed % 4)]
        case "map":
            return {f"k'{at}": _value(plain["values"], seed + at) for at in range(seed % 3)}
        case "enum":
            return plain["symbols"][seed % len(plain["symbols"])]
        case "fixed":
            return bytes((seed + at) % 256 for at in range(plain["size"]))
        case _:
            return _primitive(kind, plain, seed)


def _primitive(kind: str, plain: Any, seed: int) -> Any:
    logical = plain.get("logicalType") if isinstance(plain, dict) else None
    match logical or kind:
        case "decimal":
            return Decimal(seed * 7919 - 10_000_000).scaleb(-plain["scale"])
        case "time-millis":
            return seed * 86_399 % 86_400_000
        case "time-micros":
            return seed * 86_399_999 % 86_400_000_000
        case "date":
            return seed * 5 - 4000
        case "timestamp-millis" | "local-timestamp-millis":
            return 1_488_326_400_000 + seed * 86_400_001
        case "long" if logical is None:
            return (seed - 1500) * 2**50
        case "long" | "timestamp-micros" | "local-timestamp-micros":
            return 1_488_326_400_000_001 + seed
        case "int":
            return seed - 1500
        case "boolean":
            return seed % 2 == 0
        case "float" | "double":
            return seed / 4
        case "bytes":
            return bytes(at * 51 % 256 for at in range(seed % 5))
        case _:
            return "ü'✓\\\n"[seed % 5 :] + str(seed)


def _read(plain: Any, value: Any) -> Any:
    """Return what a reader by Hive's rules makes of a value, as JSON has it."""
    if value is None:
        return None
    if isinstance(plain, list):
        return _read(next(each for each in plain if each != "null"), value)
    match value:
        case bytes():
            return value.hex()
        case Decimal():
            return str(value)
        case list():
            return [_read(plain["items"], each) for each in value]
        case dict() if plain["type"] == "map":
            return {key: _read(plain["values"], each) for key, each in value.items()}
        case dict():
            return {f["name"].lower(): _read(f["type"], value[f["name"]]) for f in plain["fields"]}
    match plain.get("logicalType") if isinstance(plain, dict) else None:
        case "date":
            return (_EPOCH + dt.timedelta(days=value)).date().isoformat()
        case "timestamp-millis":
            moment = _EPOCH + dt.timedelta(milliseconds=value)
            return moment.isoformat(timespec="milliseconds")
    return value
