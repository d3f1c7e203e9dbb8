"""Structured logs: JSON lines that all carry the run's id, with personal data masked.

Source: solicitation-platform, properties 37 and 55.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from jobs.redaction import redact, redact_text

_RUN = logging.getLogger("muster.run")
_METRICS = logging.getLogger("muster.metrics")
_FIELDS = {"levelname": "level", "name": "logger"}


@contextmanager
def logging_to(path: Path, correlation_id: str, level: int = logging.INFO) -> Iterator[None]:
    """Append every record of the process, other libraries' too, to ``path`` while the block runs.

    One JSON object a line: ``timestamp`` (UTC), ``level``, ``logger``, ``message``,
    ``correlation_id`` and whatever the record has as extra (``unit`` and ``stage`` by habit); from
    ERROR up also ``error_type``, ``error_message`` and ``stack``. An exception that leaves the
    block is logged on its way. Afterwards logging is as it was before.
    """
    root = logging.getLogger()
    before = root.level
    handler = _handler(path, correlation_id, level)
    root.addHandler(handler)
    root.setLevel(min(level, before))
    try:
        yield
    except (Exception, KeyboardInterrupt):
        _RUN.exception("run failed")
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()


def log_metrics(lines: Iterable[Mapping[str, Any]]) -> None:
    """Publish metrics to the run's log, one record a line (property 26)."""
    for line in lines:
        _METRICS.info("metric", extra=dict(line))


def _handler(path: Path, correlation_id: str, level: int) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _PrivateCopies(path, encoding="utf-8", errors="backslashreplace")
    handler.setLevel(level)
    for step in (_ErrorDetails(), _Redacted(), _Correlated(correlation_id)):
        handler.addFilter(step)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message", "correlation_id"],
            timestamp=True,
            rename_fields=_FIELDS,
            json_ensure_ascii=False,
        )
    )
    return handler


class _PrivateCopies(logging.FileHandler):
    """Filters a copy of each record, so that other handlers see it as it was logged."""

    def handle(self, record: logging.LogRecord) -> bool:
        return bool(super().handle(copy.copy(record)))


class _Correlated(logging.Filter):
    """Puts the run's id on a record, whatever it had there before."""

    def __init__(self, correlation_id: str) -> None:
        super().__init__()
        self._correlation_id = correlation_id

    def filter(self, record: logging.LogRecord) -> bool:
        record.correlation_id = self._correlation_id
        return True


class _ErrorDetails(logging.Filter):
    """Turns the exception of a record into fields; a failure without one still has the fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.error_type = type(error).__qualname__
            record.error_message = str(error)
            record.stack = logging.Formatter().formatException(record.exc_info)  # type: ignore[arg-type]
        elif record.levelno >= logging.ERROR:
            record.error_type = getattr(record, "error_type", None)
            record.error_message = getattr(record, "error_message", _message(record))
            record.stack = record.stack_info
        record.exc_info = record.exc_text = None
        return True


class _Redacted(logging.Filter):
    """Masks personal data in the message, its arguments and every field of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        extra = {k: v for k, v in vars(record).items() if k not in RESERVED_ATTRS}
        record.msg = _message(record)
        record.args = None
        if record.stack_info:
            record.stack_info = redact_text(record.stack_info)
        vars(record).update({key: redact(value, key) for key, value in extra.items()})
        return True


def _message(record: logging.LogRecord) -> str:
    """Return the redacted message; arguments are masked by key before they are put in."""
    args = redact(record.args)
    text = str(redact(record.msg))
    try:
        if record.args:
            text = str(record.msg) % (args if isinstance(args, dict) else record.args)
    except Exception:  # noqa: BLE001 - a message that does not fit its arguments must not stop work
        text = f"{text} {args}"
    return redact_text(text)
