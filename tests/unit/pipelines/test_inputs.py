from __future__ import annotations

import pytest

from pipelines.sources.inputs import Input, differences, grown, input_of


def by_name(*items: Input) -> dict[str, Input]:
    return {item.name: item for item in items}


BEFORE = by_name(Input("a", "1", 3), Input("f.avro", "x", size=10))


def test_an_input_is_read_back_as_it_was_written() -> None:
    for item in BEFORE.values():
        assert input_of(item.name, item.said()) == item


def test_nothing_differs_from_itself() -> None:
    assert differences(BEFORE, dict(reversed(BEFORE.items()))) == []
    assert grown(BEFORE, BEFORE) == []


@pytest.mark.parametrize(
    ("after", "differs", "grew"),
    [
        (
            by_name(Input("a", "2", 3), BEFORE["f.avro"]),
            ["a: expected 3 rows, version 1, found 3 rows, version 2"],
            [],
        ),
        (
            by_name(Input("a", "2", 1004), BEFORE["f.avro"]),
            ["a: expected 3 rows, version 1, found 1,004 rows, version 2"],
            ["a: 3 rows, now 1,004 rows"],
        ),
        (
            by_name(BEFORE["a"], Input("f.avro", "y", size=12)),
            ["f.avro: expected 10 bytes, version x, found 12 bytes, version y"],
            ["f.avro: 10 bytes, now 12 bytes"],
        ),
        (by_name(BEFORE["a"]), ["f.avro: expected 10 bytes, version x, found none"], []),
        (
            by_name(*BEFORE.values(), Input("g.avro", "z", size=1)),
            ["g.avro: expected none, found 1 bytes, version z"],
            ["g.avro: new"],
        ),
    ],
)
def test_what_moved_is_named_and_what_grew_is_told_apart(
    after: dict[str, Input], differs: list[str], grew: list[str]
) -> None:
    assert differences(BEFORE, after) == differs
    assert grown(BEFORE, after) == grew
