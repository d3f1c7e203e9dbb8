"""Plain data as a settings model: every fault of its shape, named by its path in the YAML."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from conf.errors import Problem
from conf.program import Settings

Model = TypeVar("Model", bound=Settings)

_PASSWORD = re.compile(r"//[^/@\s]*:[^/@\s]*@")
_PREFIX = re.compile(r"^(Value error, |Input should be |Input should |String should )")
_LONGEST = 80


def shaped(data: Any, model: type[Model], file: str) -> tuple[Model | None, list[Problem]]:
    """Return ``data`` as ``model``, or None and every problem of its shape.

    Types are strict: text is no number and no number is text, as JSON has it.
    """
    try:
        return model.model_validate_json(json.dumps(data, default=str), strict=True), []
    except ValidationError as error:
        faults = (details for details in error.errors() if not _follows_from_others(details))
        return None, [_problem(details, data, file) for details in faults]
    except (TypeError, ValueError) as error:
        return None, [Problem(file, "", "plain YAML data", str(error))]


def _follows_from_others(details: ErrorDetails) -> bool:
    """Tell whether a list is called too short only because its items are wrong."""
    context, found = details.get("ctx", {}), details["input"]
    return details["type"] == "too_short" and len(found) >= context["min_length"]


def _problem(details: ErrorDetails, data: Any, file: str) -> Problem:
    context, kind = details.get("ctx", {}), details["type"]
    path = _path(details["loc"], data)
    if kind == "extra_forbidden":
        return Problem(file, path, "no such key", "it")
    if kind == "missing":
        return Problem(file, path, "a value (the key is required)", "none")
    if kind.startswith("union_tag"):
        return _tag_problem(context, path, file)
    expected = context.get("expected") or _PREFIX.sub("", details["msg"])
    return Problem(file, path, expected, context.get("given") or seen(details["input"]))


def _tag_problem(context: dict[str, Any], path: str, file: str) -> Problem:
    key = context["discriminator"].split(" | ")[-1].strip("'")
    tag = context.get("tag")
    expected = context.get("expected_tags") or "a value (the key is required)"
    return Problem(file, f"{path}.{key}", expected, seen(tag) if tag else "none")


def _path(location: tuple[int | str, ...], data: Any) -> str:
    """Write a location as in the YAML: steps that are not there are tags of unions, and left out.

    The last step stays in any case, since it may be the key that is missing.
    """
    path = ""
    for depth, step in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(step, int) and isinstance(data, list) and step < len(data):
            path, data = f"{path}[{step}]", data[step]
        elif isinstance(data, dict) and (step in data or last):
            path, data = f"{path}.{step}" if path else str(step), data.get(step)
    return path


def seen(value: Any) -> str:
    """Return a short text for what was found, without passwords.

    >>> seen("postgresql://me:hush@host/db"), seen({"a": 1}), seen([])
    ("'postgresql://***@host/db'", 'a map', 'a list of 0 items')
    """
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} items"
    text = _PASSWORD.sub("//***@", "nothing" if value is None else repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
