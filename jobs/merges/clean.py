"""``muster merge clean``: what is removed of a lake, and a table of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conf.environment import Environment
from jobs.errors import WrongUse
from jobs.merges.catalogs import open_catalog
from jobs.sizes import size_text
from pipelines.ledger.ledger import Clock, Ledger, now, stamp
from pipelines.ledger.runs import Run
from pipelines.merging.clean import Line, Share, look, remove
from pipelines.merging.engines import Engine
from pipelines.merging.finding import number
from pipelines.merging.removal import end, unended
from pipelines.storage import Storage

_AGE = re.compile(r"(?P<number>[0-9]{1,5})(?P<unit>[hdw])")
_OLDEST = timedelta(days=36_500)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_STYLE = {"remove": "yellow", "removed": "green", "kept": "dim"}


def age(text: str) -> timedelta:
    """Return an age like 12h, 7d or 4w.

    >>> age("12h"), age("4w")
    (datetime.timedelta(seconds=43200), datetime.timedelta(days=28))
    """
    match = _AGE.fullmatch(text)
    found = int(match["number"]) * _UNITS[match["unit"]] if match else None
    # Times of the ledger are compared as texts: the years must all have four digits.
    if found is None or found > _OLDEST:
        raise WrongUse(f"--older-than: expected an age like 12h, 7d or 4w, found '{text}'")
    return found


def clean(
    environment: Environment,
    types: Sequence[str],
    engine: Engine,
    *,
    older_than: timedelta | None = None,
    dry_run: bool = False,
    clock: Clock = now,
) -> tuple[Share, ...]:
    """Remove what is needed no more of record types, or only say what that is.

    Without an age it is the environment's ``merges.archiveDays``.

    Raises:
        WrongUse: the catalog cannot be asked without Spark.
        StorageFailed: the storage refused or broke.
    """
    storage = Storage(environment.lake.root)
    ledger = Ledger(storage, clock)
    catalog = open_catalog(environment, storage, engine)
    kept = timedelta(days=environment.merges.archive_days) if older_than is None else older_than
    cutoff = stamp(clock() - min(kept, _OLDEST))
    held = [] if dry_run else unended(ledger)
    if held:
        with Run(ledger, environment.runs.lease_seconds) as run:
            for last in held:
                end(ledger, last, run.token)
    found = [s for name in types for s in look(storage, ledger, catalog, name, cutoff)]
    if dry_run or not any(share.removes for share in found):
        return tuple(found)
    with Run(ledger, environment.runs.lease_seconds) as run:
        return tuple(remove(storage, ledger, found, run.token))


def document(found: Iterable[Share]) -> dict[str, Any]:
    """Return what came of it as ``--json`` prints it."""
    lines = [
        {
            "recordType": share.record_type,
            "month": share.month or None,
            "what": line.what,
            "fate": line.fate,
            "why": line.why,
            "files": line.files,
            "bytes": line.size,
            "keys": [*line.keys, *map(str, line.staged)],
        }
        for share in found
        for line in share.lines
    ]
    return {"lines": lines}


def print_found(found: Sequence[Share], console: Console, *, dry_run: bool) -> None:
    """Print a table for each record type, and the sum of what goes or went."""
    for record_type, some in groupby(found, key=lambda share: share.record_type):
        console.print(_table(record_type, some))
    fate = "remove" if dry_run else "removed"
    gone = [line for share in found for line in share.lines if line.fate == fate]
    if not gone:
        console.out("nothing to remove", highlight=False)
        return
    keys = [key for line in gone for key in (*line.keys, *line.staged)]
    size = size_text(sum(line.size for line in gone))
    told = "to remove" if dry_run else "removed"
    console.out(f"{told}: {number(keys, 'file')}, {size}", highlight=False)


def _table(record_type: str, shares: Iterable[Share]) -> Table:
    table = Table(title=Text(record_type, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.add_column("month", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("why", overflow="fold")
    for month, line, files, size in _summed(shares):
        fate = Text(line.fate, style=_STYLE[line.fate])
        table.add_row(month, line.what, f"{files:,}", size_text(size), fate, line.why)
    return table


def _summed(shares: Iterable[Share]) -> Iterator[tuple[str, Line, int, int]]:
    """Yield one line for all of a month of which the same is said, with their files and bytes."""
    groups: dict[tuple[str, str, str, str], list[Line]] = {}
    for share in shares:
        for line in share.lines:
            groups.setdefault((share.month, line.what, line.fate, line.why), []).append(line)
    for (month, *_), lines in sorted(groups.items(), key=lambda group: group[0][0]):
        yield month, lines[0], sum(n.files for n in lines), sum(n.size for n in lines)
