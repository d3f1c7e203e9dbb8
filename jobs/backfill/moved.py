"""What has moved since a plan was made, in words that name file, setting or module."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jobs.backfill.plan import ProgramPlan
from jobs.backfill.work import Work
from jobs.code_fingerprint import Code
from jobs.code_fingerprint import difference as module_differences
from pipelines.sources.inputs import Input, differences


def what_moved(part: ProgramPlan, work: Work, days: Collection[str]) -> list[str]:
    """Return how inputs of the planned ``days``, settings and code differ now."""
    told = [f"settings: {line}" for line in setting_differences(part.settings, work.settings)]
    told += [f"code: {line}" for line in module_differences(part.code, said_of(work.code))]
    planned = [unit for unit in part.units if unit.day in days]
    if not planned:
        return told
    now = work.inputs(sorted(unit.day for unit in planned))
    before: dict[str, Input] = {}
    after: dict[str, Input] = {}
    for unit in planned:
        before |= part.inputs_of(unit).by_name
        after |= now[unit.day].by_name
    return told + [f"input {line}" for line in differences(before, after)]


def said_of(code: Code) -> dict[str, str]:
    """Return what a plan says of the code: a hash by module, and one by schema."""
    return {**code.modules, **{f"schema {name}": said for name, said in code.data.items()}}


def setting_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say which settings differ, by their path.

    >>> setting_differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1, 2]})
    ['a.b: expected 1, found 2', 'c[1]: expected none, found 2']
    """
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        f"{path}: expected {_shown(old, path)}, found {_shown(new, path)}"
        for path in sorted({*old, *new})
        if _shown(old, path) != _shown(new, path)
    ]


def _shown(leaves: Mapping[str, Any], path: str) -> str:
    return repr(leaves[path]) if path in leaves else "none"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value
