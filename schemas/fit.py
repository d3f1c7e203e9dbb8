"""A table brought to exactly the Arrow types of a record type, or refused.

The encoder trusts its input: it writes 0 for a null in a required field of a nested record, and
numbers an enum by whatever dictionary it is handed. Everything it trusts is checked here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from schemas.arrow import SYMBOLS
from schemas.errors import SchemaMismatch
from schemas.nested import struct_like, with_values


def fit(table: pa.Table, wanted: pa.Schema, record: str) -> pa.Table:
    """Return ``table`` with the columns, order and types of ``wanted``; rows and order are kept.

    Strings and bytes of any Arrow layout fit each other, lists fit large lists, strings and
    dictionaries fit enums, times of day of any unit fit when nothing is cut off. Raises
    SchemaMismatch with every missing, unknown or differently typed field, else with every null in
    a required field, else with every value that is none of an enum's symbols.
    """
    _refuse(record, _differences(table.schema, wanted, ""))
    columns = [_one_chunk(table.column(field.name)) for field in wanted]
    for column, field in zip(columns, wanted, strict=True):
        _refuse(record, _nulls(column, field, field.name))
    fitted = [_cast(c, f, f.name, record) for c, f in zip(columns, wanted, strict=True)]
    return pa.Table.from_arrays(fitted, schema=wanted)


def _refuse(record: str, problems: Iterator[str]) -> None:
    found = list(problems)
    if found:
        raise SchemaMismatch(record, found)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined


def _differences(found: pa.Schema | pa.StructType, wanted: pa.Schema, path: str) -> Iterator[str]:
    names = [f.name for f in found]
    twice = sorted({n for n in names if names.count(n) > 1})
    yield from (f"{path}{name}: found twice" for name in twice)
    wanted_names = {f.name for f in wanted}
    for field in wanted:
        if field.name not in names:
            yield f"{path}{field.name}: expected {field.type}, found nothing"
        elif field.name not in twice:
            yield from _difference(found.field(field.name).type, field, path + field.name)
    yield from (f"{path}{n}: expected nothing, found it" for n in names if n not in wanted_names)


def _difference(found: pa.DataType, wanted: pa.Field, path: str) -> Iterator[str]:
    kind = wanted.type
    if types.is_struct(kind) and types.is_struct(found):
        yield from _differences(found, kind, f"{path}.")
    elif types.is_list(kind) and (types.is_list(found) or types.is_large_list(found)):
        yield from _difference(found.value_type, kind.value_field, f"{path}[]")
    elif types.is_map(kind) and types.is_map(found):
        if not _is_text(found.key_type):
            yield f"{path}: expected string keys, found {found.key_type}"
        yield from _difference(found.item_type, kind.item_field, f"{path}{{}}")
    elif not _fits(found, kind):
        shown = "enum" if types.is_dictionary(kind) else kind
        yield f"{path}: expected {shown}, found {found}"


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    if types.is_dictionary(wanted) or types.is_string(wanted):
        return _is_text(found.value_type if types.is_dictionary(found) else found)
    if types.is_binary(wanted) and types.is_fixed_size_binary(found):
        return True
    if types.is_binary(wanted) or types.is_fixed_size_binary(wanted):
        return bool(found == wanted) or _is_bytes(found)
    if types.is_time(wanted):
        return bool(types.is_time(found))
    if types.is_timestamp(wanted):
        return _is_same_clock(found, wanted)
    return bool(found == wanted) or types.is_null(found)


def _is_same_clock(found: pa.DataType, wanted: pa.DataType) -> bool:
    if types.is_null(found):
        return True
    if not types.is_timestamp(found) or found.unit != wanted.unit:
        return False
    utc = ("UTC", "+00:00", "Etc/UTC")
    return bool(found.tz == wanted.tz) or (wanted.tz == "UTC" and found.tz in utc)


def _is_text(found: pa.DataType) -> bool:
    kinds = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(is_kind(found) for is_kind in kinds)


def _is_bytes(found: pa.DataType) -> bool:
    kinds = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_null)
    return any(is_kind(found) for is_kind in kinds)


def _nulls(array: pa.Array, field: pa.Field, path: str) -> Iterator[str]:
    """Yield each required field that holds nulls; what lies under a null parent does not count."""
    nulls = array.null_count
    if nulls and not field.nullable:
        yield f"{path}: required, found {nulls} nulls"
    if types.is_null(array.type) or not types.is_nested(field.type):
        return
    kind = field.type
    if types.is_struct(kind):
        present = array.filter(array.is_valid()) if nulls else array
        for each in kind:
            child = present.field(present.type.get_field_index(each.name))
            yield from _nulls(child, each, f"{path}.{each.name}")
    elif types.is_map(kind):
        entries = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
        items = entries.flatten()
        yield from _nulls(items.field(1), kind.item_field, f"{path}{{}}")
    else:
        yield from _nulls(array.flatten(), kind.value_field, f"{path}[]")


def _cast(array: pa.Array, field: pa.Field, path: str, record: str) -> pa.Array:
    try:
        return _exact(array, field, path, record)
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(record, [f"{path}: {error}"]) from error


def _exact(array: pa.Array, field: pa.Field, path: str, record: str) -> pa.Array:
    """Bring an array to the type of ``field``.

    Nested arrays are rebuilt: Arrow's own cast also refuses nulls that lie under a null parent.
    """
    kind = field.type
    if types.is_dictionary(kind):
        return _enum(array, field, path, record)
    if not types.is_nested(kind) or types.is_null(array.type):
        return array if array.type == kind else array.cast(kind)
    if types.is_struct(kind):
        children = {
            f.name: _exact(array.field(f.name), f, f"{path}.{f.name}", record) for f in kind
        }
        return struct_like(array, children, kind)
    if types.is_map(kind):
        inner, below = kind.item_field, f"{path}{{}}"
    else:
        inner, below = kind.value_field, f"{path}[]"
    return with_values(array, lambda values: _exact(values, inner, below, record), kind)


def _enum(array: pa.Array, field: pa.Field, path: str, record: str) -> pa.Array:
    symbols = pa.array(json.loads(field.metadata[SYMBOLS]), pa.string())
    texts = array.cast(pa.string())
    indices = pc.index_in(texts, value_set=symbols)
    if indices.null_count > texts.null_count:
        strange = pc.unique(texts.filter(pc.and_(indices.is_null(), texts.is_valid())))
        raise SchemaMismatch(
            record, [f"{path}: expected one of {symbols.to_pylist()}, found {strange[0].as_py()!r}"]
        )
    return pa.DictionaryArray.from_arrays(indices, symbols)
