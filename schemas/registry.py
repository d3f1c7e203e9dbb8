"""The record types that are known by name: one Avro schema each, with versions.

Schemas are files, ``avsc/<name>.v<version>.avsc``; a change of one is a new version beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import fastavro.schema
import pyarrow as pa

from schemas.arrow import arrow_schema
from schemas.errors import UnknownRecordType

_FILE = re.compile(r"(?P<name>\w+)\.v(?P<version>[1-9][0-9]*)\.avsc")


@dataclass(frozen=True, slots=True)
class RecordType:
    """An Avro schema with what is derived from it.

    ``text`` is the compact JSON that file headers carry; ``fingerprint`` is the SHA-256 of the
    Parsing Canonical Form, in hex, and so does not see documentation, defaults or logical types.
    """

    name: str
    version: int
    text: str
    fingerprint: str
    schema: Mapping[str, Any] = field(compare=False, repr=False)
    arrow: pa.Schema = field(compare=False, repr=False)


def define(schema: Mapping[str, Any], version: int = 1) -> RecordType:
    """Return the record type of a schema that need not be registered.

    Raises InvalidSchema and UnsupportedSchema.
    """
    arrow = arrow_schema(schema)
    canonical = fastavro.schema.to_parsing_canonical_form(dict(schema))
    return RecordType(
        name=schema["name"],
        version=version,
        text=json.dumps(schema, separators=(",", ":")),
        fingerprint=fastavro.schema.fingerprint(canonical, "sha256"),
        schema=schema,
        arrow=arrow,
    )


@cache
def record_types() -> tuple[RecordType, ...]:
    """Return every registered record type, by name and then version."""
    found = []
    for entry in files("schemas").joinpath("avsc").iterdir():
        match = _FILE.fullmatch(entry.name)
        if match:
            found.append(define(json.loads(entry.read_text("utf-8")), int(match["version"])))
    return tuple(sorted(found, key=lambda r: (r.name, r.version)))


def record_type(name: str, version: int | None = None) -> RecordType:
    """Return a registered record type, the latest version of it by default.

    Raises UnknownRecordType with the names that are known.
    """
    versions = [r for r in record_types() if r.name == name and version in (None, r.version)]
    if not versions:
        known = ", ".join(f"{r.name} v{r.version}" for r in record_types())
        wanted = name if version is None else f"{name} v{version}"
        raise UnknownRecordType(f"record type '{wanted}' is not registered; known: {known}")
    return versions[-1]
