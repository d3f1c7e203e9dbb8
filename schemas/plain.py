"""An Avro schema reduced to what decides the bytes on the wire.

Named types are written out where they are used, under names that are unique, so that any column
can be read without the others. What decides nothing (documentation, aliases, defaults, unknown
logical types) is left out. What the decoder would get wrong, or crash on, is refused here by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import fastavro.schema

from schemas.errors import InvalidSchema, UnsupportedSchema

PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes"})

#: Logical types that Arrow has a type for, by the Avro type that they annotate.
LOGICAL_TYPES = {
    "int": ("date", "time-millis"),
    "long": (
        "time-micros",
        "timestamp-millis",
        "timestamp-micros",
        "timestamp-nanos",
        "local-timestamp-millis",
        "local-timestamp-micros",
        "local-timestamp-nanos",
    ),
}

_RESOLVED = frozenset({"aliases", "default"})

#: Digits that a 128-bit decimal holds.
MAX_PRECISION = 38


@dataclass(frozen=True, slots=True)
class Plain:
    """A reduced schema and, by field path, what of it can be read but not written."""

    schema: dict[str, Any]
    unwritable: tuple[str, ...]


def reduce(schema: Any, *, resolving: bool = False) -> Plain:
    """Reduce a parsed JSON schema; ``resolving`` keeps the defaults and aliases of fields.

    Raises InvalidSchema for what is not an Avro schema, UnsupportedSchema with every field that
    cannot be read: unions other than of null and one type, recursive and empty records, null
    alone, durations and decimals of more than 38 digits.
    """
    named: dict[str, Any] = {}
    try:
        parsed = fastavro.schema.parse_schema(schema, named, _force=True)
    except (fastavro.schema.SchemaParseException, KeyError, TypeError, ValueError) as error:
        raise InvalidSchema(f"not an Avro schema: {error!r}") from error
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise UnsupportedSchema(str(schema)[:60], ["a file's schema must be a record"])
    walk = _Walk(named, _RESOLVED if resolving else frozenset())
    plain = walk.type(parsed, "")
    if walk.unreadable:
        raise UnsupportedSchema(parsed["name"], walk.unreadable)
    return Plain(plain, tuple(walk.unwritable))


@dataclass(slots=True)
class _Walk:
    named: dict[str, Any]
    kept: frozenset[str]
    unreadable: list[str] = field(default_factory=list)
    unwritable: list[str] = field(default_factory=list)
    ancestors: list[str] = field(default_factory=list)
    names: int = 0

    def type(self, schema: Any, path: str) -> Any:
        """Return the reduced form of any schema; a refused one is noted and becomes null."""
        if isinstance(schema, list):
            return self._union(schema, path)
        if isinstance(schema, str):
            return self._reference(schema, path)
        kind = schema["type"]
        if kind in self.named:
            return self.type(kind, path)
        match kind:
            case "record" | "error":
                return self._record(schema, path)
            case "array":
                return {"type": "array", "items": self.type(schema["items"], f"{path}[]")}
            case "map":
                return {"type": "map", "values": self.type(schema["values"], f"{path}{{}}")}
            case "enum":
                reduced = {"type": "enum", "name": self._name(), "symbols": schema["symbols"]}
                return reduced | self._kept(schema)
            case _:
                return self._annotated(schema, path)

    def _reference(self, name: str, path: str) -> Any:
        if name in PRIMITIVES:
            return name
        if name == "null":
            return self._refuse(path, "null alone")
        return self.type(self.named[name], path)

    def _union(self, branches: list[Any], path: str) -> Any:
        if len(branches) != 2 or "null" not in branches:
            return self._refuse(path, f"union {_shown(branches)}")
        if branches[1] == "null":
            self.unwritable.append(f"{path}: union {_shown(branches)} with null last")
        return [b if b == "null" else self.type(b, path) for b in branches]

    def _record(self, schema: dict[str, Any], path: str) -> Any:
        name = schema["name"]
        if name in self.ancestors:
            return self._refuse(path, f"recursive record '{name}'")
        if not schema["fields"]:
            return self._refuse(path, f"empty record '{name}'")
        self.ancestors.append(name)
        reduced = {"type": "record", "name": self._name(), "fields": self._fields(schema, path)}
        self.ancestors.pop()
        return reduced

    def _fields(self, schema: dict[str, Any], path: str) -> list[dict[str, Any]]:
        prefix = f"{path}." if path else ""
        return [
            {"name": each["name"], "type": self.type(each["type"], f"{prefix}{each['name']}")}
            | self._kept(each)
            for each in schema["fields"]
        ]

    def _annotated(self, schema: dict[str, Any], path: str) -> Any:
        base, logical = schema["type"], schema.get("logicalType")
        if logical == "decimal" and base in ("bytes", "fixed"):
            return self._decimal(schema, path)
        if base == "fixed":
            if logical == "duration":
                return self._refuse(path, "duration")
            if schema["size"] == 0:
                return self._refuse(path, "fixed(0)")
            return {"type": "fixed", "name": self._name(), "size": schema["size"]}
        if logical in LOGICAL_TYPES.get(base, ()):
            return {"type": base, "logicalType": logical}
        return self._reference(base, path)

    def _decimal(self, schema: dict[str, Any], path: str) -> Any:
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if not isinstance(precision, int) or not 0 <= scale <= precision <= MAX_PRECISION:
            return self._refuse(path, f"decimal({precision}, {scale})")
        reduced = {"logicalType": "decimal", "precision": precision, "scale": scale}
        if schema["type"] == "bytes":
            return {"type": "bytes", **reduced}
        self.unwritable.append(f"{path}: decimal on fixed({schema['size']})")
        return {"type": "fixed", "name": self._name(), "size": schema["size"], **reduced}

    def _refuse(self, path: str, what: str) -> str:
        self.unreadable.append(f"{path}: {what}")
        return "null"

    def _kept(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {key: schema[key] for key in sorted(self.kept) if key in schema}

    def _name(self) -> str:
        self.names += 1
        return f"t{self.names}"


def _shown(branches: list[Any]) -> str:
    names = [b if isinstance(b, str) else b.get("name", b["type"]) for b in branches]
    return f"[{', '.join(names)}]"
