from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest

from schemas.compression import Undecodable
from schemas.plain import reduce
from schemas.rows import RowDecoder

KINDS: list[Any] = [
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "string",
    "bytes",
    ["null", "string"],
    ["string", "null"],
    {"type": "fixed", "name": "f", "size": 4},
    {"type": "enum", "name": "e", "symbols": ["A"]},
    {"type": "enum", "name": "e", "symbols": ["A", "B"]},
    {"type": "array", "items": ["null", "long"]},
    {"type": "map", "values": {"type": "array", "items": "int"}},
    {"type": "record", "name": "p", "fields": [{"name": "x", "type": ["null", "double"]}]},
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-nanos"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "bytes", "logicalType": "decimal", "precision": 1},
    {"type": "fixed", "name": "d", "size": 5, "logicalType": "decimal", "precision": 9},
]


def decoder(kind: Any) -> RowDecoder:
    schema = {"type": "record", "name": "r", "fields": [{"name": "x", "type": kind}]}
    return RowDecoder(reduce(schema).schema)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_type_has_witnesses(kind: Any) -> None:
    assert decoder(kind).decode([], 0).height == 0


def test_rows_are_decoded_across_payloads_in_order() -> None:
    assert decoder("int").decode([b"\x02", b"", b"\x04\x06"], 3)["x"].to_list() == [1, 2, 3]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["int", "boolean", "long"])
@pytest.mark.parametrize("rows", [0, 1, 3, 100])
def test_rows_that_do_not_use_up_their_bytes_are_refused(kind: str, rows: int) -> None:
    with pytest.raises(Undecodable):
        decoder(kind).decode([b"\x00\x01"], rows)


@pytest.mark.timeout(30)
def test_any_two_bytes_of_text_are_rows_or_refused() -> None:
    for first in range(256):
        for second in (0, 1, 2, 4, 65, 128, 255):
            payload = bytes([first, second])
            try:
                found = decoder_of_text.decode([payload], 1)["x"].to_list()
            except Undecodable:
                continue
            written = {b"\x02" + found[0].encode(), b"\x80\x00" if found == [""] else b""}
            assert payload in written


decoder_of_text = decoder("string")


def test_columns_are_decoded_alone() -> None:
    fields = [{"name": n, "type": "string"} for n in "abc"]
    schema = {"type": "record", "name": "r", "fields": fields}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"a": "1", "b": "2", "c": "3"})
    rows = RowDecoder(reduce(schema).schema)
    assert rows.decode([out.getvalue()], 1, ["c", "a"]).to_dicts() == [{"c": "3", "a": "1"}]
    with pytest.raises(Undecodable):
        rows.decode([out.getvalue()[:-1]], 1, ["a"])
