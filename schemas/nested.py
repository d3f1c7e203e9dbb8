"""Nested Arrow arrays rebuilt around changed children; nulls and row order are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
from pyarrow import types


def struct_like(
    array: pa.StructArray, children: Mapping[str, pa.Array], kind: pa.StructType | None = None
) -> pa.StructArray:
    """Return a struct array of ``children`` that is null where ``array`` is null.

    ``kind`` is its type, by default one of nullable fields.
    """
    fields = list(kind or [pa.field(name, child.type) for name, child in children.items()])
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(list(children.values()), fields=fields, mask=mask)


def with_values(
    array: pa.Array, change: Callable[[pa.Array], pa.Array], kind: pa.DataType | None = None
) -> pa.Array:
    """Return a list or map array whose items, or values, went through ``change`` as one array.

    ``change`` may also see values that no row refers to. ``kind`` is the type of the result, by
    default a list or map of nullable values.
    """
    if array.offset:
        # Arrow refuses a null mask together with offsets that do not begin at 0.
        array = array.take(pa.array(range(len(array)), pa.int64()))
    mask = array.is_null() if array.null_count else None
    if types.is_map(array.type):
        keys, values = array.keys, change(array.items)
        if kind is not None:
            keys = keys.cast(kind.key_type)
        return pa.MapArray.from_arrays(array.offsets, keys, values, type=kind, mask=mask)
    values = change(array.values)
    offsets = array.offsets.cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, values, type=kind or pa.list_(values.type), mask=mask)
