"""Runs and their signs of life: by them others know whether a unit that is held is worked on.

A run renews its sign three times in a lease. It holds what it claimed until the lease runs out
without a new sign, until it ends, or until its process is gone from this very machine: then another
run may take its units over. Judging wrongly costs work and doubles nothing, since every record has
a number that is written once.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pipelines.errors import ObjectNotFound, PipelineError
from pipelines.ledger.ledger import Ledger, stamp

_RUNS = "_ledger/runs"
#: Start times of one process, asked for twice, may differ by this much (seconds).
_SAME_START = 2.0


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as its sign of life describes it; ``process`` is its id and when it was started."""

    run: str
    host: str
    process: tuple[int, float]
    started: str
    expires: str
    ended: bool = False

    def lives(self, moment: datetime) -> bool:
        """Whether what the run holds is to be left alone."""
        if self.ended or self.expires <= stamp(moment):
            return False
        return self.host != _host() or _is_running(*self.process)

    def __str__(self) -> str:
        return f"run {self.run} (process {self.process[0]} on {self.host.split('/')[0]})"


class Run:
    """A run at work: inside its block a thread renews its sign of life."""

    def __init__(self, ledger: Ledger, lease_seconds: float, token: str | None = None) -> None:
        self._ledger, self._lease = ledger, timedelta(seconds=lease_seconds)
        started = ledger.clock()
        self.token = token or f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        pid = os.getpid()
        process = (pid, psutil.Process(pid).create_time())
        at = stamp(started)
        self._info = RunInfo(self.token, _host(), process, at, at)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="muster lease", daemon=True)

    def __enter__(self) -> Self:
        self.renew()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        # A storage that is away now must not hide how the run ended; the lease runs out by itself.
        with suppress(PipelineError):
            self._write(replace(self._info, ended=True))

    def renew(self) -> None:
        """Give a sign of life now."""
        self._write(replace(self._info, expires=stamp(self._ledger.clock() + self._lease)))

    def _beat(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / 3):
            with suppress(PipelineError):  # away for a moment: a lease allows for missed signs
                self.renew()

    def _write(self, info: RunInfo) -> None:
        self._ledger.storage.write(
            f"{_RUNS}/{self.token}.json", [json.dumps(asdict(info)).encode()]
        )


def run_info(ledger: Ledger, token: str) -> RunInfo | None:
    """Return what a run last said of itself; None for one that never gave a sign."""
    try:
        said = json.loads(ledger.storage.read(f"{_RUNS}/{token}.json"))
    except ObjectNotFound:
        return None
    return RunInfo(**{**said, "process": tuple(said["process"])})


class Living:
    """Says which runs live, asking once for each."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, RunInfo | None] = {}

    def __getitem__(self, token: str) -> RunInfo | None:
        """Return the run if it lives."""
        if token not in self._known:
            info = run_info(self._ledger, token)
            self._known[token] = info if info and info.lives(self._ledger.clock()) else None
        return self._known[token]


def _host() -> str:
    """Name this machine, and the name space of its processes where there is one."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{space}"


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
