"""The fingerprint of the code that decides the bytes of a job's output.

A module counts by what it says and not by how: comments, layout and docstrings are left out.
Nothing is run to find out, save the ``__init__`` of packages on the way to a module.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from typing import TypeGuard

from jobs.errors import JobError

#: The packages whose modules are followed; ``jobs`` decides what runs, not what is written.
PACKAGES = ("conf", "schemas", "transforms", "pipelines")

#: Fields of a syntax tree that say nothing: how text was prefixed, and what type comments say.
_UNSAID = frozenset({"kind", "type_comment", "type_ignores"})


class CodeNotFound(JobError):
    """A module that a job needs is not there, or is no Python that can be read."""


@dataclass(frozen=True, slots=True)
class Code:
    """What decides the output: a hash (16 hex digits) for each module and for each data file."""

    modules: Mapping[str, str]
    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all names and hashes.

        >>> one, other = Code({"a": "0f", "b": "1e"}), Code({"b": "1e", "a": "0f"})
        >>> one.fingerprint == other.fingerprint != Code({"a": "0f"}, {"b": "1e"}).fingerprint
        True
        """
        kinds = (("module", self.modules), ("data", self.data))
        lines = (f"{kind} {name} {said}" for kind, named in kinds for name, said in named.items())
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    is_package: bool
    tree: ast.Module

    @property
    def package(self) -> str:
        """Where its relative imports start."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def code_of(
    entries: Sequence[str], *, also: Sequence[str] = (), packages: tuple[str, ...] = PACKAGES
) -> Code:
    """Return the modules that importing ``entries`` and ``also`` can bring in from ``packages``.

    Imports are followed wherever they stand, in functions too; those for types only are not. Of
    other packages there are just ``entries`` and ``also``, so that a helper of a module of one's
    own counts when it is named. ``from package import *`` stands for the package alone. Each
    module brings the packages that hold it.

    Raises:
        CodeNotFound: a module is missing, has no source or is no Python.
    """
    found: dict[str, str] = {}
    waiting = [(name, "the job") for name in (*entries, *also)]
    while waiting:
        wanted, by = waiting.pop()
        # From the outside in: finding a module runs the packages around it, which are sound then.
        for name in _lineage(wanted):
            if name not in found:
                module = _module(name, by)
                found[name] = _fingerprint(module.tree)
                waiting += ((imported, name) for imported in _imports(module, packages))
    return Code(dict(sorted(found.items())))


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line for each name that is not the same in both, sorted.

    >>> difference({"a": "1", "b": "2", "c": "3"}, {"b": "4", "c": "3", "d": "5"})
    ['a is gone', 'b changed', 'd is new']
    """
    gone = (f"{name} is gone" for name in before.keys() - after.keys())
    new = (f"{name} is new" for name in after.keys() - before.keys())
    both = before.keys() & after.keys()
    return sorted([*gone, *new, *(f"{n} changed" for n in both if before[n] != after[n])])


def _lineage(name: str) -> Iterator[str]:
    """Yield the packages around a module, outermost first, and the module.

    >>> list(_lineage("pipelines.sources.avro"))
    ['pipelines', 'pipelines.sources', 'pipelines.sources.avro']
    """
    parts = name.split(".")
    yield from (".".join(parts[: depth + 1]) for depth in range(len(parts)))


def _module(name: str, by: str) -> _Module:
    spec = _spec(name, by)
    if spec is None:
        raise CodeNotFound(f"{name} (needed by {by}): expected a module, found none")
    try:
        tree = ast.parse(_source(spec, by), spec.origin or name)
    except (SyntaxError, ValueError) as error:
        raise CodeNotFound(f"{name} (needed by {by}): expected Python, found {error}") from error
    return _Module(name, spec.submodule_search_locations is not None, tree)


def _spec(name: str, by: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ImportError, ValueError) as error:  # what should hold it is no package, or fails
        raise CodeNotFound(f"{name} (needed by {by}): expected a module, found {error}") from error


def _source(spec: ModuleSpec, by: str) -> str:
    """Return a module's text; a folder without ``__init__`` has the empty one."""
    if spec.loader is None:
        return ""
    try:
        source = getattr(spec.loader, "get_source", lambda _: None)(spec.name)
    except (ImportError, OSError) as error:  # gone since it was found
        raise CodeNotFound(f"{spec.name} (needed by {by}): expected source, {error}") from error
    if source is None:
        raise CodeNotFound(f"{spec.name} (needed by {by}): expected source, found {spec.origin}")
    return str(source)


def _imports(module: _Module, packages: tuple[str, ...]) -> Iterator[str]:
    for node in _running(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _within(alias.name, packages))
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module)
            if _within(origin, packages):
                yield origin
                yield from _submodules(origin, node, module.name)


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the statements that can run; expressions hold no import and are passed over."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        inner = node.orelse if _for_types_only(node) else ast.iter_child_nodes(node)
        waiting += (
            n for n in inner if isinstance(n, ast.stmt | ast.excepthandler | ast.match_case)
        )


def _for_types_only(node: ast.AST) -> TypeGuard[ast.If]:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _origin(node: ast.ImportFrom, module: _Module) -> str:
    name = "." * node.level + (node.module or "")
    try:
        return resolve_name(name, module.package)
    except ImportError as error:
        raise CodeNotFound(f"{name} (needed by {module.name}): {error}") from error


def _submodules(package: str, node: ast.ImportFrom, by: str) -> Iterator[str]:
    """Yield those imported names that are modules; only a package is asked, so that none runs."""
    spec = _spec(package, by)
    if spec is not None and spec.submodule_search_locations is not None:
        names = (f"{package}.{alias.name}" for alias in node.names if alias.name != "*")
        yield from (name for name in names if _spec(name, by) is not None)


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return name.partition(".")[0] in packages


def _fingerprint(tree: ast.Module) -> str:
    return hashlib.sha256(_said(tree).encode()).hexdigest()[:16]


def _said(value: object) -> str:
    """Return what a syntax tree says, the same on every version of Python.

    ``ast.dump`` is not: 3.13 leaves out more than 3.12 does. Text is escaped, since what counts as
    printable grows with Unicode.

    >>> _said(ast.parse("x = 1  # one"))
    "Module(body=[Assign(targets=[Name(id='x',ctx=Store())],value=int:1)])"
    """
    if isinstance(value, ast.Constant):
        return f"{type(value.value).__name__}:{value.value!a}"
    if isinstance(value, ast.AST):
        fields = ((name, getattr(value, name, None)) for name in value._fields)
        said = (f"{n}={_said(v)}" for n, v in fields if n not in _UNSAID and not _is_empty(v))
        return f"{type(value).__name__}({','.join(said)})"
    if isinstance(value, list):
        return f"[{','.join(_said(item) for item in value if not _is_idle(item))}]"
    return ascii(value)


def _is_empty(field: object) -> bool:
    return field is None or (isinstance(field, list) and all(map(_is_idle, field)))


def _is_idle(item: object) -> bool:
    """Tell whether a statement does nothing: docstrings, and ``pass`` where one is taken away."""
    if isinstance(item, ast.Expr):
        return isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
    return isinstance(item, ast.Pass)
