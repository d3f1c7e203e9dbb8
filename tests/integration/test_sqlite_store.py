"""The SQLite store: the contract, and what is its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipelines.errors import NotAStore, StoreBusy, StoreNotFound, StoreUnavailable, UnknownStore
from pipelines.sinks.sqlite_store import SqliteStore
from pipelines.sinks.stores import open_store as open_url
from tests.integration.store_contract import DAY_ONE, Open, StoreContract, frame_of, keys, record

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


def test_a_second_writer_in_the_same_process_is_refused_too(path: Path) -> None:
    with (
        open_url(f"sqlite:///{path}", write=True),
        pytest.raises(StoreBusy, match=r"candidates\.sqlite.*\.lock"),
    ):
        open_url(f"sqlite:///{path}", write=True)


def test_readers_and_the_writer_do_not_wait_for_each_other(path: Path) -> None:
    day = date(2017, 3, 1)
    with SqliteStore(path, write=True) as writer:
        writer.apply("u1", frame_of([record(), record(subject="B")]))
        with open_url(f"sqlite:///{path}", write=False) as reader:
            exported = reader.export("reviews", day)
            assert keys([next(exported)]) == ["7/A"]
            with writer._transaction() as connection:
                connection.execute("DELETE FROM candidates")
                assert len(reader.by_customer("7").items) == 2
            assert keys(exported) == ["7/B"]
            assert reader.by_customer("7").items == []
    assert [each.name for each in path.parent.glob("candidates.sqlite-*")] == []


def test_a_store_opened_for_reading_cannot_be_written(path: Path) -> None:
    with open_url(f"sqlite:///{path}", write=True) as store:
        store.apply("u1", frame_of([record()]))
    with open_url(f"sqlite:///{path}", write=False) as reader:
        with pytest.raises(StoreUnavailable, match=r"candidates\.sqlite.*open for reading"):
            reader.apply("u2", frame_of([record(day=2)]))
        assert len(reader.by_customer("7").items) == 1


def test_a_full_disk_leaves_the_store_as_it_was(path: Path) -> None:
    with SqliteStore(path, write=True) as store:
        store.apply("u1", frame_of([record()]))
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        many = frame_of([record(str(n)) for n in range(200)])
        with pytest.raises(StoreUnavailable, match=r"candidates\.sqlite.*make room"):
            store.apply("u2", many)
        assert len(store.by_date("reviews", date(2017, 3, 1)).items) == 1
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert store.apply("u2", many).written + 1 == 200


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.by_customer("7"), "by_key"),
        (lambda store: store.by_customer("7", program="reviews", marketplace="US"), "by_key"),
        (lambda store: store.by_channel("reviews", "email"), "PRIMARY KEY"),
        (lambda store: store.by_date("reviews", date(2017, 3, 1)), "by_date"),
        (lambda store: list(store.export("reviews", date(2017, 3, 1))), "by_update"),
        (lambda store: store.purge_expired(DAY_ONE), "by_ttl"),
    ],
)
def test_no_question_reads_the_whole_store(
    path: Path, ask: Callable[[SqliteStore], object], index: str
) -> None:
    asked: list[str] = []
    with SqliteStore(path, write=True) as store:
        store.apply("u1", frame_of([record()]))
        store._connection.set_trace_callback(asked.append)
        ask(store)
        store._connection.set_trace_callback(None)
        (statement,) = [each for each in asked if each.startswith(("SELECT", "DELETE"))]
        plan = [row[3] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any(index in step for step in plan)
    assert not any(step.startswith("SCAN") for step in plan)
