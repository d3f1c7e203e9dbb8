"""Rows that a decoder appends to what it decodes, to see that it stayed in step with the bytes.

A container tells how many rows and how many bytes a block has, and the decoder only counts rows:
where they leave bytes over, it waits for them for ever; where they take too few or too many, rows
are invented. Rows of known values at the end come out as they went in only if every row before
them took exactly its bytes.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro

#: How many rows are appended: two different ones in this order.
PATTERN = (0, 1, 1, 0, 1, 0)

_PRIMITIVE: dict[str, tuple[Any, Any]] = {
    "boolean": (True, False),
    "int": (1_193_046, -7_654_321),
    "long": (81_985_529_216, -7_654_321_000),
    "float": (0.15625, -2.5e6),
    "double": (0.15625, -2.5e60),
    "string": ("witness \u2713", ""),
    "bytes": (b"\x01\x57\xf3", b"\xfe\x00\x01\x02"),
}
#: Values within a day, in milliseconds.
_TIME_OF_DAY = (45_296_789, 3_601_002)


def witness_bytes(schema: dict[str, Any]) -> bytes:
    """Return the rows of PATTERN as a reduced schema puts them on the wire."""
    written = BytesIO()
    for which in PATTERN:
        fastavro.schemaless_writer(written, schema, _value(schema, which))
    return written.getvalue()


def _value(schema: Any, which: int) -> Any:
    if isinstance(schema, list):
        return None if which else _value(next(b for b in schema if b != "null"), which)
    if isinstance(schema, str):
        return _PRIMITIVE[schema][which]
    match schema["type"]:
        case "record":
            return {f["name"]: _value(f["type"], which) for f in schema["fields"]}
        case "array":
            return [_value(schema["items"], 0)] * which
        case "map":
            return {"witness": _value(schema["values"], 0)} if which else {}
        case "enum":
            return schema["symbols"][-which]
        case "fixed":
            return bytes([which]) * schema["size"]
    if schema.get("logicalType") == "decimal":
        return bytes([which])
    if schema.get("logicalType", "").startswith("time-"):
        return _TIME_OF_DAY[which]
    return _PRIMITIVE[schema["type"]][which]
