"""Runs ``muster`` as a user does: the installed command, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).parent / "muster"


class Muster:
    """The command, in one working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self, *arguments: str) -> list[str]:
        return [str(COMMAND), *arguments]

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.arguments(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    def document(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def muster(tmp_path: Path) -> Muster:
    return Muster(tmp_path)


@pytest.fixture(scope="module")
def shared_muster(tmp_path_factory: pytest.TempPathFactory) -> Muster:
    """The command in a folder that all tests of a module share."""
    return Muster(tmp_path_factory.mktemp("muster"))


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_ledger" not in path.parts  # the one place that holds the clock
    }


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, str]]:
    """Return a function that gives every output below a folder with the hash of its bytes."""
    return _tree


def _items(store: Path) -> list[dict[str, Any]]:
    from pipelines.sinks.stores import open_store

    with open_store(f"sqlite:///{store}", write=False) as opened:
        day_by_day = (
            opened.export("product-reviews", day) for day in _days("2017-01-01", "2018-01-01")
        )
        return [dict(item) for items in day_by_day for item in items]


def _days(first: str, last: str) -> list[Any]:
    from datetime import date, timedelta

    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + timedelta(days=n) for n in range((end - start).days)]


@pytest.fixture(scope="session")
def items() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that gives every item of a store, in order."""
    return _items
