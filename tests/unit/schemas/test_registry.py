from __future__ import annotations

import hashlib
import json
import pickle

import pytest

from schemas.errors import InvalidSchema, UnknownRecordType, UnsupportedSchema
from schemas.registry import define, record_type, record_types

SCHEMA = {
    "type": "record",
    "name": "r",
    "namespace": "a.b",
    "doc": "documentation",
    "fields": [{"name": "n", "type": {"type": "long", "logicalType": "timestamp-millis"}}],
}


def test_registered_types_are_found_with_their_latest_version() -> None:
    names = [r.name for r in record_types()]
    assert {"candidate", "rejection", "quarantine"} <= set(names)
    assert names == sorted(names)
    for each in record_types():
        assert record_type(each.name, each.version) == each
        assert json.loads(each.text) == each.schema
        assert each.arrow.names == [f["name"] for f in each.schema["fields"]]


@pytest.mark.parametrize(("name", "version"), [("nothing", None), ("candidate", 99)])
def test_unknown_types_are_refused_with_the_known_ones(name: str, version: int | None) -> None:
    with pytest.raises(UnknownRecordType, match=f"'{name}.*not registered; known: candidate v1"):
        record_type(name, version)


def test_the_fingerprint_is_that_of_the_parsing_canonical_form() -> None:
    canonical = '{"name":"a.b.r","type":"record","fields":[{"name":"n","type":"long"}]}'
    assert define(SCHEMA).fingerprint == hashlib.sha256(canonical.encode()).hexdigest()


def test_text_is_compact_and_keeps_the_schema_whole() -> None:
    defined = define(SCHEMA, 3)
    assert defined.text.startswith('{"type":"record","name":"r","namespace":"a.b","doc"')
    assert (defined.name, defined.version) == ("r", 3)


def test_record_types_travel_to_workers() -> None:
    defined = define(SCHEMA)
    assert pickle.loads(pickle.dumps(defined)) == defined
    assert pickle.loads(pickle.dumps(defined)).arrow == defined.arrow
    assert len({defined, define(SCHEMA)}) == 1


@pytest.mark.parametrize(
    "schema", [{"type": "record"}, {"type": "nonsense", "name": "x"}, {"name": "r", "fields": []}]
)
def test_what_is_no_schema_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(InvalidSchema):
        define(schema)


def test_a_schema_that_is_no_record_is_refused() -> None:
    with pytest.raises(UnsupportedSchema, match="must be a record"):
        define({"type": "string"})
