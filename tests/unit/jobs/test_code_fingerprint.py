from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from jobs.code_fingerprint import Code, CodeNotFound, code_of, difference
from jobs.errors import JobError

TOP = ("engine_a", "engine_b", "own_filters", "own_tools")

KERNEL = '''
    """Says what."""
    from dataclasses import dataclass

    LIMIT = 3

    @dataclass(frozen=True)
    class Rule:
        """A rule."""

        least: int = 1

    def keep(value: float, *, most=9, **rest) -> bool:
        """Tell whether."""
        # why
        return value < LIMIT + most and bool({**rest, "a": None})
'''


class Tree:
    """Packages below a folder on sys.path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str = "") -> None:
        path = self.root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        importlib.invalidate_caches()

    def hash_of(self, text: str) -> str:
        self.write("engine_a.kernel", text)
        return self.code("engine_a.kernel").modules["engine_a.kernel"]

    def code(self, *entries: str, also: tuple[str, ...] = ()) -> Code:
        return code_of(entries, also=also, packages=("engine_a", "engine_b"))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Tree(tmp_path)
    made.write("engine_a.__init__")
    made.write("engine_b.__init__")
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] in TOP]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why", "# why not"),
        ("        # why\n", ""),
        ('"""Says what."""', '"""Says\n    more."""'),
        ('    """Says what."""\n', ""),
        ('"""A rule."""', "'''Another.'''"),
        ('        """A rule."""\n', ""),
        ('"""Tell whether."""', '"""Tell."""'),
        ("LIMIT = 3", "\n\n\n    LIMIT = (\n    3)"),
        ('"a"', "'a'"),
        ("least: int = 1", "least :  int=1; pass"),
    ],
)
def test_how_it_is_written_does_not_count(tree: Tree, old: str, new: str) -> None:
    before = tree.hash_of(KERNEL)
    assert old in KERNEL
    assert tree.hash_of(KERNEL.replace(old, new)) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", "LIMIT = True"),
        ("LIMIT = 3", "LIMIT = '3'"),
        ("LIMIT = 3", "LIMIT = b'3'"),
        ("LIMIT = 3", "LIMIT = None"),
        ("LIMIT = 3", "LIMIT: int = 3"),
        ("value < LIMIT", "value <= LIMIT"),
        ("LIMIT + most", "LIMIT - most"),
        ("LIMIT + most", "most + LIMIT"),
        (" and ", " or "),
        ("most=9", "most=8"),
        ("most=9", "most"),
        ("frozen=True", "frozen=False"),
        ("@dataclass(frozen=True)", ""),
        ("least: int = 1", "least: float = 1"),
        ("value: float", "value: int"),
        ("value: float", "value"),
        ("-> bool", "-> int"),
        ('{**rest, "a": None}', '{"a": None, **rest}'),
        ("def keep", "async def keep"),
        ("LIMIT = 3", "LIMIT = 'é'"),
    ],
)
def test_what_it_says_counts(tree: Tree, old: str, new: str) -> None:
    before = tree.hash_of(KERNEL)
    assert old in KERNEL
    assert tree.hash_of(KERNEL.replace(old, new)) != before


def test_a_docstring_is_no_more_than_pass(tree: Tree) -> None:
    said = {tree.hash_of(text) for text in ("", '"""Doc."""', "pass", "# comment")}
    assert len(said) == 1


def test_a_hash_is_the_same_on_every_version_of_python(tree: Tree) -> None:
    assert tree.hash_of(KERNEL) == "2e0fa8aa57ab32d9"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import engine_b.deep.leaf", {"engine_b", "engine_b.deep", "engine_b.deep.leaf"}),
        ("import engine_b.deep.leaf as leaf", {"engine_b", "engine_b.deep", "engine_b.deep.leaf"}),
        ("from engine_b.deep.leaf import x", {"engine_b", "engine_b.deep", "engine_b.deep.leaf"}),
        ("from engine_b.deep import leaf, x", {"engine_b", "engine_b.deep", "engine_b.deep.leaf"}),
        ("from engine_b.deep import attribute", {"engine_b", "engine_b.deep"}),
        ("from engine_b.deep import *", {"engine_b", "engine_b.deep"}),
        ("from . import sibling", {"engine_a.sibling"}),
        ("from .sibling import x", {"engine_a.sibling"}),
        ("import sys, json.decoder", set()),
        ("import engine_bb", set()),
        ("from engine_bb import engine_b", set()),
        ("def f():\n    import engine_b", {"engine_b"}),
        ("class C:\n    def f(self):\n        from engine_b import x", {"engine_b"}),
        ("try:\n    pass\nexcept ValueError:\n    import engine_b", {"engine_b"}),
        ("match 1:\n    case _:\n        import engine_b", {"engine_b"}),
        ("if TYPE_CHECKING:\n    import engine_b", set()),
        ("if typing.TYPE_CHECKING:\n    import engine_b", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import engine_b", {"engine_b"}),
        ("if not TYPE_CHECKING:\n    import engine_b", {"engine_b"}),
    ],
)
def test_which_imports_are_followed(tree: Tree, line: str, found: set[str]) -> None:
    tree.write("engine_a.sibling")
    tree.write("engine_b.deep.__init__")
    tree.write("engine_b.deep.leaf")
    tree.write("engine_a.kernel", line)
    modules = tree.code("engine_a.kernel").modules
    assert modules.keys() - {"engine_a", "engine_a.kernel"} == found


def test_relative_imports_start_at_the_package(tree: Tree) -> None:
    tree.write("engine_a.deep.__init__", "from . import leaf\nfrom .. import kernel")
    tree.write("engine_a.deep.leaf", "from ..other import x")
    tree.write("engine_a.kernel")
    tree.write("engine_a.other", "x = 1")
    names = ("deep", "deep.leaf", "kernel", "other")
    assert tree.code("engine_a.deep").modules.keys() == {
        "engine_a",
        *(f"engine_a.{name}" for name in names),
    }


def test_a_cycle_ends_and_no_module_of_it_is_run(tree: Tree) -> None:
    tree.write("engine_a.one", "import engine_b.two\nraise SystemExit")
    tree.write("engine_b.two", "import engine_a.one\nraise SystemExit")
    modules = tree.code("engine_a.one").modules
    assert list(modules) == ["engine_a", "engine_a.one", "engine_b", "engine_b.two"]
    assert modules == tree.code("engine_b.two").modules


def test_a_module_of_ones_own_counts_and_what_it_takes_from_the_packages(tree: Tree) -> None:
    tree.write("engine_a.kernel")
    tree.write("engine_b.helper")
    tree.write("own_tools", "LIMIT = 1")
    tree.write("own_filters", "import own_tools, json\nfrom engine_b import helper\nLIMIT = 1")
    before = tree.code("engine_a.kernel", also=("own_filters",))
    taken = {"own_filters", "engine_b", "engine_b.helper"}
    assert before.modules.keys() == {"engine_a", "engine_a.kernel", *taken}
    tree.write("own_filters", "import own_tools, json\nfrom engine_b import helper\nLIMIT = 2")
    after = tree.code("engine_a.kernel", also=("own_filters",))
    assert difference(before.modules, after.modules) == ["own_filters changed"]
    assert before.fingerprint != after.fingerprint
    named = tree.code("engine_a.kernel", also=("own_filters", "own_tools"))
    assert difference(after.modules, named.modules) == ["own_tools is new"]


def test_the_packages_around_a_module_of_ones_own_count(tree: Tree) -> None:
    tree.write("own_filters.__init__", "import engine_b")
    tree.write("own_filters.rules")
    modules = tree.code(also=("own_filters.rules",)).modules
    assert modules.keys() == {"engine_b", "own_filters", "own_filters.rules"}


def test_a_folder_without_init_is_a_package(tree: Tree) -> None:
    tree.write("own_tools.rules", "x = 1")
    assert tree.code(also=("own_tools.rules",)).modules.keys() == {"own_tools", "own_tools.rules"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import engine_b.absent", r"engine_b\.absent \(needed by engine_a\.kernel\): .*none"),
        ("from engine_b.absent import x", r"engine_b\.absent .*needed by engine_a\.kernel"),
        ("import engine_a.kernel.x", r"engine_a\.kernel\.x \(needed by engine_a\.kernel\)"),
        ("from ... import x", r"needed by engine_a\.kernel"),
        ("x = (", r"engine_a\.kernel \(needed by the job\): expected Python.*kernel\.py, line 1"),
        ("# coding: nonsense", r"engine_a\.kernel .*expected Python"),
        ("x = '\0'", r"engine_a\.kernel .*expected Python.*null"),
    ],
)
def test_a_module_that_cannot_be_read_is_named(tree: Tree, text: str, message: str) -> None:
    tree.write("engine_a.kernel", text)
    with pytest.raises(CodeNotFound, match=message):
        tree.code("engine_a.kernel")


@pytest.mark.parametrize("name", ["own_filters", "own_filters.rules", "engine_a.absent", "sys", ""])
def test_what_is_named_has_to_be_there(tree: Tree, name: str) -> None:
    with pytest.raises(JobError, match="needed by the job"):
        tree.code("engine_a", also=(name,))


def test_a_package_of_ones_own_that_is_no_python_is_named(tree: Tree) -> None:
    tree.write("own_filters.__init__", "x = (")
    tree.write("own_filters.rules")
    with pytest.raises(CodeNotFound, match=r"own_filters .*expected Python"):
        tree.code(also=("own_filters.rules",))


def test_data_count_beside_modules() -> None:
    code = Code({"a": "0" * 16}, {"b.avsc": "1" * 16})
    assert len(code.fingerprint) == 64
    assert code.fingerprint != Code({"a": "0" * 16}, {"b.avsc": "2" * 16}).fingerprint
    assert code.fingerprint != Code({"a": "0" * 16, "b.avsc": "1" * 16}).fingerprint


def test_no_difference() -> None:
    assert difference({"a": "1"}, {"a": "1"}) == []


def test_the_code_of_the_main_job() -> None:
    code = code_of(["pipelines.solicit"])
    assert {"transforms.filters", "conf.program", "schemas.codec"} <= code.modules.keys()
    assert {"conf", "pipelines.sources", "pipelines.sinks"} <= code.modules.keys()
    assert {name.partition(".")[0] for name in code.modules} == {
        *("conf", "schemas", "transforms", "pipelines")
    }
    assert all(len(said) == 16 and int(said, 16) >= 0 for said in code.modules.values())
    assert code == code_of(["pipelines.solicit", "pipelines.solicit", "conf"])
