from __future__ import annotations

import polars as pl
import pyarrow as pa

from transforms import arrays


def test_constant_keeps_its_type_for_no_rows_too() -> None:
    assert arrays.constant(1, pa.int64(), 2).to_pylist() == [1, 1]
    assert arrays.constant("x", pa.string(), 0).type == pa.string()


def test_column_takes_the_type_asked_for() -> None:
    found = arrays.column(pl.Series(["a", None]), pa.string())
    assert (found.type, found.to_pylist()) == (pa.string(), ["a", None])


def test_interleave_goes_row_by_row_and_keeps_nulls() -> None:
    columns = [pa.array(["a", None]), pa.array(["b", "c"]), pa.array(["d", "e"])]
    assert arrays.interleave(columns).to_pylist() == ["a", "b", "d", None, "c", "e"]
    assert arrays.interleave(columns[:1]).to_pylist() == ["a", None]


def test_struct_fills_fields_that_are_not_given_and_keeps_nullability() -> None:
    dtype = pa.struct([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.string())])
    found = arrays.struct(dtype, {"a": pa.array([1, 2])})
    assert found.type == dtype
    assert found.to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": None}]


def test_lists_and_maps_have_the_same_length_for_each_row() -> None:
    keys = arrays.cycle(["x", "y"], 2)
    items = pa.array([1, 2, 3, 4])
    made = arrays.maps(pa.map_(pa.string(), pa.int64()), keys, items, 2, 2)
    assert made.to_pylist() == [[("x", 1), ("y", 2)], [("x", 3), ("y", 4)]]
    listed = arrays.lists(pa.list_(pa.int64()), items, 2, 2)
    assert listed.to_pylist() == [[1, 2], [3, 4]]


def test_no_rows() -> None:
    assert arrays.interleave([pa.array([], pa.int64())] * 2).to_pylist() == []
    assert arrays.cycle(["x", "y"], 0).to_pylist() == []
