from __future__ import annotations

import pytest

from conf.yaml_text import parse


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("codes: [NO, ON, yes, off, y]", {"codes": ["NO", "ON", "yes", "off", "y"]}),
        ("flags: [true, False, TRUE]", {"flags": [True, False, True]}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("", None),
    ],
)
def test_words_are_words(text: str, data: object) -> None:
    assert parse(text, "f") == (data, [])


def test_repeated_keys_are_found_at_every_depth() -> None:
    _, problems = parse("a:\n  - b: 1\n    c: 2\n    b: 3\nd: 1\nd: 2\n", "f.yaml")
    assert [(problem.path, problem.found) for problem in problems] == [
        ("a[0].b", "it on lines 2 and 4"),
        ("d", "it on lines 5 and 6"),
    ]


def test_syntax_names_the_place() -> None:
    data, (problem,) = parse("a: 1\n b: 2", "f.yaml")
    assert data is None
    assert "line 2" in problem.found
