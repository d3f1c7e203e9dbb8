"""Child processes that kill themselves before their nth write, and how they are started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NoReturn, Self

from pipelines.storage import Storage
from pipelines.storage_writer import Written

#: Where a child finds the modules of tests.
ROOT = Path(__file__).parents[2]
#: Experiments at a time.
AT_ONCE = 2
#: Seconds that a child may take; it takes about one.
PATIENCE = 60.0

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    [
        "apache_beam.runners.portability.fn_api_runner.fn_runner",
        "jobs.backfill.application",
        "jobs.merges.application",
        "jobs.solicit",
        "pipelines.sinks.sqlite_store",
        "pytest",
    ]
)

#: To start a child asks for the exit codes of all, and each can be read but once.
_TURN = threading.Lock()


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a child dies: before its nth write, or right after it loaded its nth unit."""

    at: int
    after_loading: bool = False

    def __str__(self) -> str:
        return f"killed {'after load' if self.after_loading else 'before write'} {self.at}"


class Doom:
    """Counts what a process does to lake and store, and kills it when its time has come."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._lock = threading.Lock()
        self.writes: list[str] = []
        self.loads: list[str] = []

    def before(self, what: str) -> None:
        with self._lock:
            self.writes.append(what)
            if self._fault == Fault(len(self.writes)):
                _die()

    def loaded(self, unit: str) -> None:
        with self._lock:
            self.loads.append(unit)
            if self._fault == Fault(len(self.loads), after_loading=True):
                _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nothing comes after a SIGKILL")


#: Is told what is about to be done.
Before = Callable[[str], None]


class _ToldWriter:
    """A writer that tells of every step before it."""

    def __init__(self, before: Before, key: str, writer: Any) -> None:
        self._before, self._key, self._writer = before, key, writer

    def write(self, data: Any) -> None:
        self._before(f"write into {self._key}")
        self._writer.write(data)

    def copy(self, key: str, start: int, end: int, etag: str | None) -> None:
        self._before(f"copy {key} into {self._key}")
        self._writer.copy(key, start, end, etag)

    def close(self) -> Written:
        self._before(f"close {self._key}")
        written: Written = self._writer.close()
        return written

    def abort(self) -> None:
        self._writer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def told_storage(before: Before) -> dict[str, Callable[..., Any]]:
    """Return the methods of a ``Storage`` that tells of everything that it writes."""
    write, create, delete = Storage.write, Storage.create, Storage.delete
    copy, writer = Storage.copy, Storage.writer

    def told_write(self: Storage, key: str, parts: Any) -> None:
        before(f"write {key}")
        write(self, key, parts)

    def told_create(self: Storage, key: str, data: bytes) -> bool:
        if self.look(key) is None:  # else it writes nothing, and the next write comes to the same
            before(f"create {key}")
        return create(self, key, data)

    def told_delete(self: Storage, keys: Iterable[str]) -> None:
        for key in keys:
            before(f"delete {key}")
            delete(self, [key])

    def told_copy(self: Storage, source: str, target: str) -> None:
        before(f"copy {source} to {target}")
        copy(self, source, target)

    def told_writer(self: Storage, key: str) -> Any:
        return _ToldWriter(before, key, writer(self, key))

    return {
        "write": told_write,
        "create": told_create,
        "delete": told_delete,
        "copy": told_copy,
        "writer": told_writer,
    }


def doom_storage(doom: Doom) -> None:
    """Let every write of this process pass by ``doom``: it is the child's own, and dies with it."""
    for name, method in told_storage(doom.before).items():
        setattr(Storage, name, method)


def log_to(folder: Path) -> None:
    """Send what this process prints to a file of the folder."""
    folder.mkdir(exist_ok=True)
    with (folder / "child.log").open("ab", buffering=0) as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def run_child(target: Callable[..., None], *given: Any) -> int:
    """Run a child to its end, and return its exit code: minus nine when it was killed."""
    child = CHILDREN.Process(target=target, args=given)
    with _TURN:
        child.start()
    wait([child.sentinel], PATIENCE)
    with _TURN:
        code = child.exitcode
        if code is None:
            child.kill()
    assert code is not None, f"{given}: expected an end within {PATIENCE} s"
    return code
