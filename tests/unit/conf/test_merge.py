from __future__ import annotations

import pytest

from conf.merge import merged


@pytest.mark.parametrize(
    ("base", "override", "result"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}, {"a": [{"name": "y"}]}),
        (
            [{"filterId": "x", "order": 1}, {"filterId": "y", "order": 2}],
            [{"filterId": "z", "order": 3}, {"filterId": "x", "order": 9}],
            [
                {"filterId": "x", "order": 9},
                {"filterId": "y", "order": 2},
                {"filterId": "z", "order": 3},
            ],
        ),
        ([{"modelId": "x"}], [], [{"modelId": "x"}]),
        ([{"modelId": "x"}], [{"order": 1}], [{"order": 1}]),
    ],
)
def test_merged(base: object, override: object, result: object) -> None:
    assert merged(base, override) == result


def test_neither_side_is_changed() -> None:
    base, override = [{"modelId": "x", "p": {"a": 1}}], [{"modelId": "x", "p": {"b": 2}}]
    merged(base, override)
    assert (base, override) == (
        [{"modelId": "x", "p": {"a": 1}}],
        [{"modelId": "x", "p": {"b": 2}}],
    )
