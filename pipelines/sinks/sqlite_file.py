"""The SQLite file of a candidate store: its layout, whose turn it is, and what errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipelines.errors import NotAStore, StoreBusy, StoreError, StoreNotFound, StoreUnavailable

#: "MUST": written into the file's header, so that another program's database is never touched.
APPLICATION_ID = 0x4D555354
LAYOUT = 2

#: Seconds that a writer waits for its turn; one day of a large program takes a few.
PATIENCE = 60.0

_DDL = f"""
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    pk TEXT NOT NULL,
    sk TEXT NOT NULL,
    content TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    version INTEGER NOT NULL,
    ttl INTEGER NOT NULL,
    date_pk TEXT NOT NULL,
    date_sk TEXT NOT NULL,
    updated_pk TEXT NOT NULL,
    created_at TEXT NOT NULL,
    winner TEXT NOT NULL,
    proposals TEXT NOT NULL
);
CREATE UNIQUE INDEX by_key ON candidates (pk, sk);
CREATE INDEX by_date ON candidates (date_pk, date_sk);
CREATE INDEX by_update ON candidates (updated_pk) WHERE updated_pk <> date_pk;
CREATE INDEX by_ttl ON candidates (ttl);
CREATE TABLE candidate_channels (
    channel_pk TEXT NOT NULL,
    score_sk TEXT NOT NULL,
    candidate INTEGER NOT NULL REFERENCES candidates (id) ON DELETE CASCADE,
    PRIMARY KEY (channel_pk, score_sk, candidate)
) WITHOUT ROWID;
CREATE INDEX by_candidate ON candidate_channels (candidate);
CREATE TABLE units (
    unit TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    candidates INTEGER NOT NULL,
    attempt INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {LAYOUT};
"""

_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing store for reading; a writer at work neither blocks nor shows half a unit.

    Raises ``StoreNotFound``, ``NotAStore``, ``StoreUnavailable``.
    """
    if not path.is_file():
        raise StoreNotFound(f"{path}: expected a candidate store, found no such file")
    with translated(path):
        # A folder that cannot be written has no room for SQLite's "-shm" file beside the store;
        # without a "-wal" file nobody is writing, and the file can be read as it is.
        alone = not os.access(path.parent, os.W_OK) and not _beside(path, "-wal").exists()
        connection = _connect(path, "ro&immutable=1" if alone else "rw", PATIENCE)
        try:
            connection.execute("PRAGMA query_only = ON")
            _check_layout(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_writer(path: Path, patience: float = PATIENCE) -> sqlite3.Connection:
    """Open or make a store for writing; every turn waits ``patience`` seconds, this one too.

    Raises ``StoreBusy``, ``NotAStore``, ``StoreUnavailable``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be written: {error.strerror}") from error
    with translated(path):
        connection = _connect(path, "rwc", patience)
        try:
            _use_wal(connection, patience)
            with turn(connection):
                if _is_empty(connection):
                    _make_tables(connection)
                _check_layout(connection, path)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cache_size = -131072")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def turn(connection: sqlite3.Connection) -> Iterator[None]:
    """Be the only writer for one transaction, which is all or nothing; waits for others to end."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors (disk full, for one).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the store's own, with the file and what to do."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise StoreUnavailable(f"{path}: expected an open store, found: {error}") from error
    except sqlite3.Error as error:
        raise _meaning(path, error) from error


def _meaning(path: Path, error: sqlite3.Error) -> StoreError:
    name = _name(error)
    if name.startswith(_BUSY):
        return StoreBusy(
            f"{path}: waited for a turn to write, but other programs kept writing; "
            "run again when they have ended"
        )
    if name == "SQLITE_NOTADB":
        return NotAStore(f"{path}: expected a candidate store, found another kind of file")
    hint = {
        "SQLITE_FULL": "; make room on the disk and run again",
        "SQLITE_READONLY": "; it is open for reading, or the file may not be written",
    }.get(name, "")
    return StoreUnavailable(f"{path}: {error}{hint}; nothing was changed")


def _use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Let readers read while a writer writes: said once, when the file is new."""
    deadline = time.monotonic() + patience
    while _is_empty(connection):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not always wait by itself for whoever is making the same store.
            if not _name(error).startswith(_BUSY) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _make_tables(connection: sqlite3.Connection) -> None:
    # Not executescript: it would end the transaction first.
    for statement in _DDL.strip().removesuffix(";").split(";"):
        connection.execute(statement)


def _connect(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    # Beam may open a sink in one thread and use it in another; never in two at a time.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=patience,
    )


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(tables == 0 and application_id == 0)


def _check_layout(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.cursor()) as cursor:
        (found_id,) = cursor.execute("PRAGMA application_id").fetchone()
        (layout,) = cursor.execute("PRAGMA user_version").fetchone()
    if found_id != APPLICATION_ID:
        raise NotAStore(
            f"{path}: expected a candidate store (application id {APPLICATION_ID:#x}), "
            f"found another database ({found_id:#x})"
        )
    if layout != LAYOUT:
        raise NotAStore(
            f"{path}: expected layout {LAYOUT}, found layout {layout}; "
            "another version of Muster made this store: fill a new one from the lake"
        )


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
