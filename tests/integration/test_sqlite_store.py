"""The SQLite store: the contract, and what is its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from threading import Barrier, Timer
from typing import Any

import pytest

from pipelines.errors import NotAStore, StoreBusy, StoreNotFound, StoreUnavailable, UnknownStore
from pipelines.sinks.sqlite_store import SqliteStore
from pipelines.sinks.store import ApplyReceipt
from pipelines.sinks.stores import open_store as open_url
from tests.integration.store_contract import (
    DAY_ONE,
    KEY,
    Open,
    StoreContract,
    frame_of,
    item_of_record,
    keys,
    record,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "candidates.sqlite"


class TestSqliteStore(StoreContract):
    """SQLite passes the contract."""

    @pytest.fixture
    def open_store(self, path: Path) -> Open:
        return lambda: open_url(f"sqlite:///{path}", write=True)


def _python(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


_TWENTY_UNITS = """
from pipelines.sinks.stores import open_store
from tests.integration.store_contract import frame_of, record
rows = [record(str(customer), {name!r}) for customer in range(100)]
rows += [record(str(customer), "of both") for customer in range(100)]
with open_store("sqlite:///{path}", write=True) as store:
    for number in range(20):
        store.apply(f"{name}/{{number:02}}", frame_of(rows))
"""


def test_programs_that_write_at_once_take_turns(path: Path) -> None:
    writers = [_python(_TWENTY_UNITS.format(path=path, name=name)) for name in "ab"]
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors
    units = [f"{name}/{number:02}" for name in "ab" for number in range(20)]
    with open_url(f"sqlite:///{path}", write=False) as store:
        assert store.applied("") == dict.fromkeys(units, 1)
        proposed_by = {
            "of both": units,
            **{name: [unit for unit in units if unit.startswith(name)] for name in "ab"},
        }
        for customer in range(100):
            found = {keys([i])[0].split("/")[1]: i for i in store.by_customer(str(customer)).items}
            assert {subject: item["units"] for subject, item in found.items()} == proposed_by
            assert [found[s]["metadata"]["version"] for s in ("a", "of both")] == [20, 40]


def test_threads_may_make_one_store_at_the_same_time(tmp_path: Path) -> None:
    for attempt in range(30):
        path = tmp_path / f"{attempt}.sqlite"
        ready = Barrier(4)

        def opened(name: str, path: Path = path, ready: Barrier = ready) -> None:
            ready.wait()
            with open_url(f"sqlite:///{path}", write=True) as store:
                store.apply(name, frame_of([]))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(opened, "abcd"))
        with open_url(f"sqlite:///{path}", write=False) as store:
            assert list(store.applied("")) == list("abcd")


def test_a_turn_that_does_not_come_is_said(path: Path) -> None:
    with (
        SqliteStore(path, write=True) as first,
        SqliteStore(path, write=True, patience=0.1) as next,
    ):
        with first._transaction():
            with pytest.raises(StoreBusy, match=r"candidates\.sqlite: waited for a turn"):
                next.apply("u1", frame_of([record()]))
            with pytest.raises(StoreBusy):
                SqliteStore(path, write=True, patience=0.1)
            assert next.by_customer("7").items == []
        assert next.apply("u1", frame_of([record()])).written == 1


def test_a_store_that_another_is_making_is_waited_for(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        SqliteStore(path, write=True, patience=0.1)
    Timer(0.3, other.execute, ["ROLLBACK"]).start()
    with SqliteStore(path, write=True, patience=30) as store:
        assert store.apply("u1", frame_of([record()])).written == 1
        (mode,) = store._connection.execute("PRAGMA journal_mode").fetchone()
        assert mode == "wal"
    other.close()


def test_an_update_returns_what_it_stored_though_others_write(path: Path) -> None:
    refused: list[StoreBusy] = []
    with (
        SqliteStore(path, write=True) as store,
        SqliteStore(path, write=True, patience=0) as other,
    ):
        store.apply("u1", frame_of([record()]))

        def delete_before_it_is_read(statement: str) -> None:
            if statement.startswith("SELECT c.pk"):
                try:
                    other.delete(KEY)
                except StoreBusy as error:
                    refused.append(error)

        store._connection.set_trace_callback(delete_before_it_is_read)
        changed: Any = item_of_record(record(score=0.75))
        assert store.update(changed, expected_version=1)["metadata"]["version"] == 2
        assert len(refused) == 1


def test_a_unit_again_does_not_write_to_the_disk(path: Path) -> None:
    content = frame_of([record()])
    with SqliteStore(path, write=True) as store, SqliteStore(path, write=False) as other:
        versions = []
        for attempt in (1, 1, 2, 2):
            store.apply("u1", content, attempt=attempt)
            versions += other._connection.execute("PRAGMA data_version").fetchone()
        first, second, third, fourth = versions
        assert first == second < third == fourth


def test_a_killed_writer_leaves_neither_turn_nor_half_a_unit(path: Path) -> None:
    script = (
        "import os, signal\n"
        "from pipelines.sinks.stores import open_store\n"
        f"store = open_store('sqlite:///{path}', write=True)\n"
        "with store._transaction() as connection:\n"
        "    connection.execute(\"INSERT INTO units VALUES ('u1', 'x', 1, 1)\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    with open_url(f"sqlite:///{path}", write=True) as store:
        assert store.apply("u1", frame_of([record()])).written == 1


def test_a_replacement_that_is_killed_has_not_happened(path: Path) -> None:
    old = [record(day=2), record(subject="B", day=2), record(subject="C", day=2)]
    with open_url(f"sqlite:///{path}", write=True) as store:
        store.apply("u1", frame_of([record()]))
        store.apply("u2", frame_of(old))
        before = store.by_customer("7").items
    script = (
        "import os\n"
        "from pipelines.sinks.stores import open_store\n"
        "from tests.integration.store_contract import frame_of, record\n"
        "old = [record(day=2), record(subject='B', day=2), record(subject='C', day=2)]\n"
        f"store = open_store('sqlite:///{path}', write=True)\n"
        "store.apply('u2', frame_of([record(subject='C', score=0.9, day=2)]), attempt=2,\n"
        "            replaces=frame_of(old), others=lambda _: os.kill(os.getpid(), 9))\n"
    )
    killed = _python(script)
    assert (killed.wait(), killed.communicate()[1]) == (-9, "")
    with open_url(f"sqlite:///{path}", write=True) as store:
        assert store.by_customer("7").items == before
        assert store.applied("") == {"u1": 1, "u2": 1}
        receipt = store.apply(
            "u2",
            frame_of([]),
            attempt=2,
            replaces=frame_of(old),
            others=lambda _: frame_of([record()]),
        )
        assert receipt == ApplyReceipt(withdrawn=3)


def test_what_is_no_store_is_refused_and_left_as_it_was(path: Path) -> None:
    path.write_bytes(b"some other file, long enough to be looked at" * 40)
    before = path.read_bytes()
    for write in (True, False):
        with pytest.raises(NotAStore, match=r"candidates\.sqlite"):
            open_url(f"sqlite:///{path}", write=write)
    assert path.read_bytes() == before


def test_a_store_of_another_layout_is_refused(path: Path) -> None:
    open_url(f"sqlite:///{path}", write=True).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    for write in (True, False):
        with pytest.raises(NotAStore, match=r"expected layout 2, found layout 1; .*new one"):
            open_url(f"sqlite:///{path}", write=write)


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
        (lambda store: store.applied("u"), "PRIMARY KEY"),
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
