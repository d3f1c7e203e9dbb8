"""What a fragment's header says of it, and so by which path its rows go into a merged file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipelines.merging.errors import Unmergeable
from pipelines.merging.parts import Path
from schemas.compression import CODECS
from schemas.container import Header
from schemas.errors import SchemaError
from schemas.plain import reduce
from schemas.registry import RecordType, define, record_types
from schemas.resolve import Resolver

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Target:
    """What merged files of a record type are like."""

    record: RecordType
    codec: str
    sync: bytes
    schema_policy: str


@dataclass(frozen=True, slots=True)
class Written:
    """The schema that a file was written by, and whether its blocks may stand as they are."""

    fingerprint: str
    schema: Mapping[str, Any]
    same: bool


def path_of(header: Header, target: Target, *, merged: bool = False) -> tuple[Path, Written]:
    """Return how a file of this header is merged.

    One that was ``merged`` before counts already: no policy refuses it.

    Raises:
        Unmergeable: it is of another record type, of a schema that is refused or does not resolve,
            or of a codec that is not known.
    """
    if header.codec not in CODECS:
        raise Unmergeable(f"expected a codec of {', '.join(CODECS)}, found '{header.codec}'")
    written = _written(header.schema_text, target.record.name, target.record.version)
    if not written.same:
        if not merged:
            _check_policy(written, target)
        return "rewritten", written
    if header.codec != target.codec:
        return "repacked", written
    return ("whole" if header.sync == target.sync else "blocks"), written


@lru_cache(maxsize=256)
def _written(text: str, name: str, version: int) -> Written:
    """Compare a file's schema with a registered one.

    The fingerprint does not see logical types, and they decide what a number means: they must
    agree too before blocks are copied.
    """
    record = next(r for r in record_types() if (r.name, r.version) == (name, version))
    if text == record.text:
        return Written(record.fingerprint, record.schema, True)
    try:
        schema = json.loads(text)
        found = define(schema)
    except (ValueError, SchemaError, KeyError, TypeError) as error:
        raise Unmergeable(f"expected a schema of '{name}', found one of no use: {error}") from error
    same = found.fingerprint == record.fingerprint and reduce(schema) == reduce(record.schema)
    if not same:
        _check_type(found, record)
        _resolver(schema, record)
    return Written(found.fingerprint, schema, same)


def _check_type(found: RecordType, record: RecordType) -> None:
    others = {each.name for each in record_types()} - {record.name}
    if found.name in others:
        raise Unmergeable(f"expected record type '{record.name}', found '{found.name}'")


def _resolver(schema: Mapping[str, Any], record: RecordType) -> Resolver:
    try:
        return Resolver(schema, record)
    except SchemaError as error:
        raise Unmergeable(
            f"expected a schema that resolves to {record.name} v{record.version}, found: {error}"
        ) from error


def _check_policy(written: Written, target: Target) -> None:
    if target.schema_policy == "current-only":
        record = target.record
        raise Unmergeable(
            f"expected the current schema {record.name} v{record.version} "
            f"({record.fingerprint[:_SHOWN]}), found {written.fingerprint[:_SHOWN]}, which "
            "resolves to it: merges.schemaPolicy: resolve rewrites such files"
        )
