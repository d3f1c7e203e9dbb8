"""Arrow arrays of nested types, built column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa


def constant(value: Any, dtype: pa.DataType, rows: int) -> pa.Array:
    """Return ``value`` for each of ``rows``."""
    return pa.repeat(pa.scalar(value, dtype), rows)


def column(series: pl.Series, dtype: pa.DataType) -> pa.Array:
    """Return a column of a frame as an Arrow array of type ``dtype``."""
    return series.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(dtype)


def struct(dtype: pa.StructType, children: Mapping[str, pa.Array]) -> pa.Array:
    """Return records made of ``children``; fields that are not among them are null."""
    rows = len(next(iter(children.values())))
    arrays = [children[f.name] if f.name in children else pa.nulls(rows, f.type) for f in dtype]
    return pa.StructArray.from_arrays(arrays, fields=list(dtype))


def interleave(arrays: Sequence[pa.Array]) -> pa.Array:
    """Return the values of equally long arrays row by row: all first ones, all second ones, ...

    >>> interleave([pa.array([1, 2]), pa.array([10, 20])]).to_pylist()
    [1, 10, 2, 20]
    """
    if len(arrays) == 1:
        return arrays[0]
    positions = np.arange(len(arrays) * len(arrays[0])).reshape(len(arrays), -1)
    return pa.concat_arrays(arrays).take(pa.array(positions.T.ravel()))


def cycle(texts: Sequence[str], rows: int) -> pa.Array:
    """Return ``texts`` in order, again for each of ``rows``."""
    positions = np.tile(np.arange(len(texts)), rows)
    return pa.array(texts, pa.string()).take(pa.array(positions))


def lists(dtype: pa.ListType, items: pa.Array, length: int, rows: int) -> pa.Array:
    """Return a list of ``length`` of the ``items`` for each of ``rows``."""
    return pa.ListArray.from_arrays(_offsets(length, rows), items, type=dtype)


def maps(dtype: pa.MapType, keys: pa.Array, items: pa.Array, length: int, rows: int) -> pa.Array:
    """Return a map of ``length`` of the ``keys`` and ``items`` for each of ``rows``."""
    return pa.MapArray.from_arrays(_offsets(length, rows), keys, items, type=dtype)


def _offsets(length: int, rows: int) -> pa.Array:
    return pa.array(np.arange(rows + 1) * length, pa.int32())
