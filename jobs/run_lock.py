"""One run at a time writes to a folder; a killed run's lock is freed by the operating system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fasteners

from jobs.errors import RunBusy

_NAME = ".muster.lock"


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Hold ``out`` for one run.

    Raises:
        RunBusy: another run holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = fasteners.InterProcessLock(out / _NAME)
    if not lock.acquire(blocking=False):
        lock.lockfile.close()
        raise RunBusy(
            f"{out}: expected no other run, found one at work (it holds {out / _NAME}); "
            "wait for it, or choose another --out"
        )
    try:
        yield
    finally:
        lock.release()
