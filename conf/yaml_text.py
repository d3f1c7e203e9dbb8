"""YAML text as plain data, with what PyYAML lets pass refused.

PyYAML keeps the last of two equal keys and reads the bare words yes, no, on and off as booleans
(``NO`` is also a marketplace): here the first is a problem and the second are words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from conf.errors import Problem

_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader in which only true and false are booleans."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, regexp) for tag, regexp in resolvers if tag != _BOOLEAN or first in "tTfF"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse(text: str, file: str) -> tuple[Any, list[Problem]]:
    """Return the data that ``text`` says and the problems of its syntax.

    >>> parse("a: 1\\na: 2", "p.yaml")[1][0].path
    'a'
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        repeated = [Problem(file, *fault) for fault in _repeated_keys(node, "", set())]
        return loader.construct_document(node), repeated
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return None, [Problem(file, "", "YAML", f"{error.problem or error.context}{place}")]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return None, [Problem(file, "", "YAML", " ".join(str(error).split()))]
    finally:
        loader.dispose()


def _repeated_keys(node: yaml.Node, path: str, seen: set[int]) -> Iterator[tuple[str, str, str]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, f"{path}[{index}]", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            here = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in lines:
                yield here, "each key once", f"it on lines {lines[name]} and {line}"
            lines[name] = line
            yield from _repeated_keys(value, here, seen)
