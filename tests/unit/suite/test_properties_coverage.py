"""The suite about itself: property tests are one a property, and their list is up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

PROPERTIES = Path(__file__).parents[2] / "properties"


def _coverage() -> Any:
    spec = importlib.util.spec_from_file_location("coverage_list", PROPERTIES / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_property_has_exactly_one_test() -> None:
    found = _coverage().found()
    assert {key: tests for key, tests in found.items() if len(tests) != 1} == {}
    assert all(1 <= number <= _coverage().DOCUMENTS[document] for document, number in found)


def test_every_file_of_properties_holds_one_property() -> None:
    tests = [test for tests in _coverage().found().values() for _, test in tests]
    files = sorted(path.name for path in PROPERTIES.glob("test_*.py"))
    assert sorted(test.partition("::")[0] for test in tests) == files


def test_the_list_is_up_to_date() -> None:
    assert (PROPERTIES / "COVERAGE.md").read_text() == _coverage().coverage()
