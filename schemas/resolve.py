"""Frames of an older or newer schema turned into those of a registered one.

Source: the Avro specification, "Schema Resolution"; record names are not compared, because many
writers give none of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from schemas.arrow import arrow_type, frame_types
from schemas.errors import SchemaMismatch
from schemas.nested import struct_like, with_values
from schemas.plain import PRIMITIVES, reduce
from schemas.registry import RecordType

#: Changes one column's values; None leaves them as they are.
Step = Callable[[pa.Array], pa.Array] | None

_PROMOTIONS = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}


def resolve(frame: pl.DataFrame, writer: Mapping[str, Any], reader: RecordType) -> pl.DataFrame:
    """Return a frame that was decoded by the schema ``writer`` as one of ``reader``.

    Rows and order are kept; columns are the reader's. Raises as ``Resolver`` does.
    """
    return Resolver(writer, reader).apply(frame)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    source: str | None
    step: Step
    default: pa.Array | None


class Resolver:
    """What must be done to frames of one writer's schema, found out once for a file.

    ``needs`` names the writer's columns to decode for the reader's ``columns`` (by default all).
    Raises SchemaMismatch with every field that does not resolve.
    """

    def __init__(
        self,
        writer: Mapping[str, Any],
        reader: RecordType,
        columns: Sequence[str] | None = None,
    ) -> None:
        plan = _Plan()
        written = reduce(writer).schema
        fields = plan.fields(written, reduce(reader.schema, resolving=True).schema, "")
        if plan.differences:
            raise SchemaMismatch(reader.name, plan.differences)
        kinds = frame_types(reader.arrow)
        names = list(kinds) if columns is None else list(columns)
        unknown = [f"{name}: not in the record" for name in names if name not in kinds]
        if unknown:
            raise SchemaMismatch(reader.name, unknown)
        by_name = {each.name: each for each in fields}
        self._columns = [by_name[name] for name in names]
        self._types = {name: kinds[name] for name in names}
        self._record = reader.name
        sources = dict.fromkeys(each.source for each in self._columns if each.source)
        self.needs: tuple[str, ...] = tuple(sources) or (written["fields"][0]["name"],)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return ``frame``, which has the columns ``needs``, with the reader's columns.

        Raises SchemaMismatch for values that the reader's schema cannot hold: a null or an enum
        symbol that it does not know, bytes that are not text.
        """
        columns = [self._column(frame, each).cast(self._types[each.name]) for each in self._columns]
        return pl.DataFrame(columns)

    def _column(self, frame: pl.DataFrame, column: _Column) -> pl.Series:
        if column.source is None:
            assert column.default is not None
            values = _repeat(column.default, frame.height)
            return pl.Series(column.name, values)
        series = frame.get_column(column.source)
        if column.step is None:
            return series.alias(column.name)
        try:
            return pl.Series(column.name, column.step(series.to_arrow()))
        except pa.ArrowInvalid as error:
            raise SchemaMismatch(self._record, [f"{column.name}: {error}"]) from error


@dataclass(slots=True)
class _Plan:
    differences: list[str] = field(default_factory=list)

    def fields(self, writer: Any, reader: Any, path: str) -> list[_Column]:
        """Match the fields of two records."""
        written = {each["name"]: each["type"] for each in writer["fields"]}
        return [self._field(written, each, f"{path}{each['name']}") for each in reader["fields"]]

    def _field(self, written: dict[str, Any], wanted: dict[str, Any], path: str) -> _Column:
        names = [wanted["name"], *wanted.get("aliases", ())]
        source = next((name for name in names if name in written), None)
        if source is not None:
            step = self._match(written[source], wanted["type"], path)
            return _Column(wanted["name"], source, step, None)
        if "default" not in wanted:
            self.differences.append(f"{path}: not written, and has no default")
            return _Column(wanted["name"], None, None, None)
        default = pa.array([_value(wanted["default"], wanted["type"])], arrow_type(wanted["type"]))
        return _Column(wanted["name"], None, None, default)

    def _match(self, writer: Any, reader: Any, path: str) -> Step:
        step = self._values(_branch(writer), _branch(reader), path)
        if isinstance(writer, list) and not isinstance(reader, list):
            return partial(_required, step=step, path=path)
        return step

    def _values(self, writer: Any, reader: Any, path: str) -> Step:
        kinds = _kind(writer), _kind(reader)
        match kinds:
            case "record", "record":
                return self._record(writer, reader, path)
            case "array", "array":
                return _below(self._match(writer["items"], reader["items"], f"{path}[]"))
            case "map", "map":
                return _below(self._match(writer["values"], reader["values"], f"{path}{{}}"))
            case "enum", "enum":
                return _enum_step(writer, reader, path)
        if arrow_type(writer) == arrow_type(reader):
            return None
        return self._promotion(writer, reader, path)

    def _record(self, writer: Any, reader: Any, path: str) -> Step:
        columns = self.fields(writer, reader, f"{path}.")
        same = [c.source for c in columns] == [f["name"] for f in writer["fields"]]
        if same and all(c.step is None and c.name == c.source for c in columns):
            return None
        return partial(_struct, columns=columns)

    def _promotion(self, writer: Any, reader: Any, path: str) -> Step:
        bases = _kind(writer), _kind(reader)
        both_logical = _logical(writer) is not None and _logical(reader) is not None
        decimals = "decimal" in (_logical(writer), _logical(reader))
        same = bases[0] == bases[1] and bases[0] in PRIMITIVES
        if both_logical or decimals or not (same or bases in _PROMOTIONS):
            self.differences.append(f"{path}: wrote {_shown(writer)}, wanted {_shown(reader)}")
            return None
        through = [arrow_type(bases[0]), arrow_type(bases[1]), arrow_type(reader)]
        return partial(_cast, through=through)


def _branch(schema: Any) -> Any:
    return next(b for b in schema if b != "null") if isinstance(schema, list) else schema


def _kind(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])


def _logical(schema: Any) -> str | None:
    return None if isinstance(schema, str) else schema.get("logicalType")


def _shown(schema: Any) -> str:
    kind, logical = _kind(schema), _logical(schema)
    if logical == "decimal":
        return f"decimal({schema['precision']}, {schema['scale']})"
    return f"{kind}({schema['size']})" if kind == "fixed" else logical or kind


def _required(array: pa.Array, step: Step, path: str) -> pa.Array:
    if array.null_count:
        raise pa.ArrowInvalid(f"{path}: required, found {array.null_count} nulls")
    return step(array) if step else array


def _below(step: Step) -> Step:
    return partial(with_values, change=step) if step else None


def _struct(array: pa.Array, columns: Sequence[_Column]) -> pa.Array:
    # Children under a null parent must not fail as nulls of a required field.
    valid = array.filter(array.is_valid()) if array.null_count else array
    children = {c.name: _child(valid, c) for c in columns}
    rebuilt = struct_like(valid, children)
    if not array.null_count:
        return rebuilt
    places = pc.if_else(array.is_valid(), pc.subtract(pc.cumulative_sum(_ones(array)), 1), None)
    return rebuilt.take(places)


def _ones(array: pa.Array) -> pa.Array:
    return array.is_valid().cast(pa.int64())


def _child(array: pa.StructArray, column: _Column) -> pa.Array:
    if column.source is None:
        assert column.default is not None
        return _repeat(column.default, len(array))
    child = array.field(column.source)
    return column.step(child) if column.step else child


def _repeat(one: pa.Array, times: int) -> pa.Array:
    return one.take(pa.repeat(pa.scalar(0, pa.int64()), times))


def _cast(array: pa.Array, through: Sequence[pa.DataType]) -> pa.Array:
    """Cast to the writer's bare type, to the reader's, and to its logical type."""
    for kind in through:
        array = array.cast(kind, safe=not types.is_floating(kind))
    return array


def _enum_step(writer: Any, reader: Any, path: str) -> Step:
    gone = [s for s in writer["symbols"] if s not in reader["symbols"]]
    if not gone:
        return None
    return partial(_replaced, gone=pa.array(gone), default=reader.get("default"), path=path)


def _replaced(array: pa.Array, gone: pa.Array, default: str | None, path: str) -> pa.Array:
    texts = array.cast(pa.string())
    strange = pc.is_in(texts, value_set=gone)
    if default is None and pc.any(strange).as_py():
        found = pc.unique(texts.filter(strange)).to_pylist()
        raise pa.ArrowInvalid(f"{path}: symbols {found} are unknown, and there is no default")
    return pc.if_else(strange, pa.scalar(default, pa.string()), texts)


def _value(default: Any, schema: Any) -> Any:
    """Return a default in JSON as the value that an Arrow array is made from."""
    if default is None:
        return None
    schema = _branch(schema)
    match _kind(schema):
        case "record":
            return {
                f["name"]: _value(default.get(f["name"], f.get("default")), f["type"])
                for f in schema["fields"]
            }
        case "array":
            return [_value(each, schema["items"]) for each in default]
        case "map":
            return [(key, _value(each, schema["values"])) for key, each in default.items()]
        case "bytes" | "fixed":
            content = default.encode("latin-1")
            if _logical(schema) != "decimal":
                return content
            return Decimal(int.from_bytes(content, signed=True)).scaleb(-schema["scale"])
    return default
