"""Being asked to stop: by Ctrl-C, or by SIGTERM as schedulers send it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Pipelines tell of every batch and unit here, between two pieces of work.
_PROGRESS = logging.getLogger("muster.progress")


class Stop:
    """Inside its block both signals raise KeyboardInterrupt, and are remembered.

    While a pipeline runs in this process, the first one waits for the next batch or unit: decoders
    call back into Python, and some do not survive an exception there (polars-avro 0.13 ends the
    process with a fault). A second signal does not wait. An engine may turn an exception of the
    code that it runs into one of its own: ``requested`` tells an interruption from a failure.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False
        self._before: dict[int, Any] = {}
        self._watch = _Watch(self)

    def __enter__(self) -> Self:
        _PROGRESS.addHandler(self._watch)
        try:
            self._before = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        except ValueError:  # not in the main thread: whoever runs us there has signals of its own
            self._before = {}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _PROGRESS.removeHandler(self._watch)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a signal wait for a safe place inside the block, at the latest for its end."""
        self.check()
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was asked for."""
        if self.requested:
            raise KeyboardInterrupt

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        waits = self._deferred and not self.requested
        self.requested = True
        if not waits:
            raise KeyboardInterrupt


class _Watch(logging.Handler):
    """Ends the work of a run that was asked to stop, where it is between two pieces of work."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def emit(self, _record: logging.LogRecord) -> None:
        self._stop.check()
