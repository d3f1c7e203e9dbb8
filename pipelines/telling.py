"""Telling of units that are done and of waiting, to whoever shows progress (``jobs.progress``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_PROGRESS = logging.getLogger("muster.progress")


def tell_unit(
    unit: str, status: str, error: str | None = None, balance: Mapping[str, Any] | None = None
) -> None:
    """Say what became of a unit; ``balance`` is its document, if it has one."""
    said: dict[str, Any] = {}
    if balance is not None:
        rejected = {line["reasonCode"]: line["count"] for line in balance["rejected"]}
        said = {**balance, "rejected": rejected}
    extra = {"unit": unit, "status": status, "error": error, "balance": said}
    _PROGRESS.info("unit", extra=extra)


def tell_waiting(why: str) -> None:
    """Say that a run waits for another."""
    _PROGRESS.info("waiting", extra={"error": why})


def tell_merged(unit: str, rows: int) -> None:
    """Say that so many more rows of a unit are in merged files."""
    _PROGRESS.info("batch", extra={"unit": unit, "rows": rows, "pass_": 1})
