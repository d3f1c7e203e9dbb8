"""The SQLite store: the contract, and what is its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import NotAStore, StoreBusy, StoreNotFound, StoreUnavailable, UnknownStore
from pipelines.sinks.stores import open_store as open_url
from tests.integration.store_contract import Open, StoreContract, frame_of, record

pytestmark = pytest.mark.integration


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "candidates.sqlite"


class TestSqliteStore(StoreContract):
    """SQLite passes the contract."""

    @pytest.fixture
    def open_store(self, path: Path) -> Open:
        return lambda: open_url(f"sqlite:///{path}", write=True)


def test_a_second_writer_is_refused_at_once_and_readers_are_not(path: Path) -> None:
    held = (
        f"from pipelines.sinks.stores import open_store; open_store('sqlite:///{path}', write=True)"
    )
    with open_url(f"sqlite:///{path}", write=True) as store:
        store.apply("u1", frame_of([record()]))
        other = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True)
        assert other.returncode != 0
        assert StoreBusy.__name__ in other.stderr
        with open_url(f"sqlite:///{path}", write=False) as reader:
            assert len(reader.by_customer("7").items) == 1
    assert subprocess.run([sys.executable, "-c", held], check=False).returncode == 0


def test_a_killed_writer_leaves_neither_lock_nor_half_a_unit(path: Path) -> None:
    script = (
        "import os, signal\n"
        "from pipelines.sinks.stores import open_store\n"
        f"store = open_store('sqlite:///{path}', write=True)\n"
        "with store._transaction() as connection:\n"
        "    connection.execute(\"INSERT INTO units VALUES ('u1', 'x', 1)\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    with open_url(f"sqlite:///{path}", write=True) as store:
        assert store.apply("u1", frame_of([record()])).written == 1


def test_what_is_no_store_is_refused_and_left_as_it_was(path: Path) -> None:
    path.write_bytes(b"some other file, long enough to be looked at" * 40)
    before = path.read_bytes()
    for write in (True, False):
        with pytest.raises(NotAStore, match=r"candidates\.sqlite"):
            open_url(f"sqlite:///{path}", write=write)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(NotAStore):
        open_url(f"sqlite:///{path}", write=True)


def test_a_store_that_is_not_there_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(StoreNotFound, match="expected a candidate store"):
        open_url(f"sqlite:///{path}", write=False)
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_named(path: Path) -> None:
    path.parent.joinpath("file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"file/candidates\.sqlite"):
        open_url(f"sqlite:///{path.parent}/file/candidates.sqlite", write=True)


@pytest.mark.parametrize("url", ["dynamodb://table", "sqlite:///", "candidates.sqlite"])
def test_an_unknown_url_says_what_was_expected(url: str) -> None:
    with pytest.raises(UnknownStore, match="expected a store URL like"):
        open_url(url, write=True)
