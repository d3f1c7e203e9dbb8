from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from schemas.nested import struct_like, with_values


def doubled(values: pa.Array) -> pa.Array:
    return pc.multiply(values, 2)


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.int64())])
def test_lists_keep_their_nulls_and_places(kind: pa.DataType) -> None:
    array = pa.array([[1], None, [], [2, 3]], kind)
    assert with_values(array, doubled).to_pylist() == [[2], None, [], [4, 6]]
    assert with_values(array.slice(1), doubled).to_pylist() == [None, [], [4, 6]]


def test_maps_keep_their_keys() -> None:
    array = pa.array([[("a", 1)], None, [("b", 2)]], pa.map_(pa.string(), pa.int64()))
    assert with_values(array, doubled).to_pylist() == [[("a", 2)], None, [("b", 4)]]
    assert with_values(array.slice(2), doubled).to_pylist() == [[("b", 4)]]


def test_structs_keep_their_nulls() -> None:
    array = pa.array([{"x": 1}, None])
    rebuilt = struct_like(array, {"y": pa.array([5, 6])})
    assert rebuilt.to_pylist() == [{"y": 5}, None]
