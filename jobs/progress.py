"""Progress of a run on standard error, driven by the records of the logger ``muster.progress``.

Pipelines log ``"batch"`` with ``rows``, ``unit`` and ``pass_`` (1 or 2) for every frame they took
in, and ``"unit"`` with ``unit``, ``status``, ``balance`` and ``error`` when a unit is done; a run
that waits for another logs ``"waiting"`` with ``error``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import rich.progress as bars
from rich.console import Console
from rich.text import Text

LOGGER = logging.getLogger("muster.progress")

#: How much of a unit's work is behind it once rows of a pass were seen: the first reads keys only.
_SHARE = {1: 0.3, 2: 0.9}


class Progress:
    """Shows a bar on a terminal, else one line a unit; counts what is logged inside its block."""

    def __init__(self, total_units: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._handler: _Display = (
            _Bar(total_units, self._console) if self._console.is_terminal else _Lines(self._console)
        )
        self._level = logging.NOTSET

    def __enter__(self) -> Self:
        self._level = LOGGER.level
        LOGGER.setLevel(logging.INFO)
        LOGGER.addHandler(self._handler)
        self._handler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        LOGGER.removeHandler(self._handler)
        LOGGER.setLevel(self._level)
        self._handler.stop()


def unit_line(unit: str, status: str, balance: Mapping[str, Any], error: str | None = None) -> str:
    """Return one unit as a line of text.

    >>> unit_line("2017-03-05", "published", {"read": 4123, "written": 310, "rejected": 3813})
    '2017-03-05  read 4,123  written 310  deduplicated 0  quarantined 0  rejected 3,813'
    >>> unit_line("2017-03-06", "failed", {}, "no such table")
    '2017-03-06  failed  no such table'
    """
    if status in ("failed", "skipped"):
        return "  ".join(filter(None, (unit, status, error)))
    names = ("read", "written", "deduplicated", "quarantined", "rejected")
    counts = (f"{name} {_count(balance.get(name, 0)):,}" for name in names)
    return "  ".join((unit, *counts, *([status] if status != "published" else [])))


def _count(value: int | Mapping[str, int]) -> int:
    return sum(value.values()) if isinstance(value, Mapping) else value


class _Display(logging.Handler):
    """Takes records apart; records with another message are none of its business."""

    def start(self) -> None:
        """Begin to show."""

    def stop(self) -> None:
        """Leave the terminal as it was."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        if record.msg == "batch":
            self.batch(str(fields["unit"]), int(fields["rows"]), int(fields.get("pass_", 1)))
        elif record.msg == "waiting":
            self.waiting(str(fields["error"]))
        elif record.msg == "unit":
            given = (fields.get("balance") or {}, fields.get("error"))
            self.unit(str(fields["unit"]), str(fields["status"]), *given)

    def batch(self, unit: str, rows: int, pass_: int) -> None:
        """Take note of ``rows`` more rows."""

    def unit(self, unit: str, status: str, balance: Mapping[str, Any], error: str | None) -> None:
        """Take note of a unit that is done."""

    def waiting(self, why: str) -> None:
        """Take note that the run waits for another."""


class _Lines(_Display):
    """One plain line a unit."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def unit(self, unit: str, status: str, balance: Mapping[str, Any], error: str | None) -> None:
        self._say(unit_line(unit, status, balance, error))

    def waiting(self, why: str) -> None:
        self._say(f"waiting: {why}")

    def _say(self, line: str) -> None:
        self._console.out(line, highlight=False)
        self._console.file.flush()


class _Bar(_Display):
    """A bar over units; a unit in work counts in part, so that long runs move from the start."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__()
        self._total = total
        self._console = console
        self._shares: dict[str, float] = {}
        self._finished: set[str] = set()
        self._failed = 0
        self._rows: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._progress = bars.Progress(
            bars.SpinnerColumn(),
            bars.BarColumn(bar_width=None),
            bars.TaskProgressColumn(),
            bars.TextColumn("{task.fields[counts]}"),
            bars.TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("", total=total, counts=f"0/{total:,} units")

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def batch(self, unit: str, rows: int, pass_: int) -> None:
        self._since.setdefault(pass_, time.monotonic())
        self._rows[pass_] = self._rows.get(pass_, 0) + rows
        self._advance(unit, _SHARE.get(pass_, 0.9))

    def unit(self, unit: str, status: str, balance: Mapping[str, Any], error: str | None) -> None:
        self._finished.add(unit)
        if status == "failed":
            self._failed += 1
            line = unit_line(unit, status, balance, error)
            self._progress.console.print(Text(line, style="red"))
        self._advance(unit, 1.0)

    def waiting(self, why: str) -> None:
        self._progress.console.print(Text(f"waiting: {why}", style="yellow"))

    def _advance(self, unit: str, share: float) -> None:
        self._shares[unit] = max(share, self._shares.get(unit, 0.0))
        done = sum(self._shares.values())
        self._progress.update(self._task, completed=done, counts=self._counts())

    def _counts(self) -> str:
        """Return rows and rate of the pass at work (each pass reads the rows anew), and units."""
        words = [f"{len(self._finished):,}/{self._total:,} units"]
        if self._failed:
            words.append(f"[red]{self._failed:,} failed[/red]")
        if self._rows:
            pass_ = max(self._rows)
            seconds = time.monotonic() - self._since[pass_]
            words.append(f"pass {pass_}: {self._rows[pass_]:,} rows")
            if seconds > 0.2:
                words.append(f"{self._rows[pass_] / seconds:,.0f} rows/s")
        return "  ".join(words)
