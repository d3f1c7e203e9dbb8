"""Something to know of a lake, and how it is said."""

from __future__ import annotations

import calendar
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from typing import Literal

from pipelines.merging.parts import Fragment, MergedFile, total
from pipelines.storage import StoredObject

Severity = Literal["error", "warning", "note"]
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know of a lake; without a ``month`` it is of the whole record type.

    ``next`` says what to do, ``command`` is what to run for it.
    """

    severity: Severity
    what: str
    next: str = ""
    command: str = ""
    month: str | None = None
    files: int = 0
    size: int = 0
    rows: int | None = None
    examples: tuple[str, ...] = ()


def of_fragments(finding: Finding, some: Sequence[Fragment]) -> Finding:
    """Return a finding with the count, the bytes and some of the keys of what it is of."""
    return _of(finding, [fragment.key for fragment in some], total(some))


def of_files(finding: Finding, some: Sequence[MergedFile]) -> Finding:
    """Return the same for merged files."""
    return _of(finding, [file.key for file in some], total(some))


def of_objects(finding: Finding, some: Sequence[StoredObject]) -> Finding:
    """Return the same for whatever lies in the lake."""
    return _of(finding, [each.key for each in some], sum(each.size for each in some))


def of_keys(finding: Finding, keys: Sequence[str]) -> Finding:
    """Return the same for files of which only the keys are known."""
    return _of(finding, keys, 0)


def without_examples(finding: Finding) -> Finding:
    """Return a finding of which the keys say nothing."""
    return replace(finding, examples=())


def _of(finding: Finding, keys: Sequence[str], size: int) -> Finding:
    return replace(finding, files=len(keys), size=size, examples=tuple(keys[:_EXAMPLES]))


def number(some: Sized, noun: str) -> str:
    """Return how many there are.

    >>> number("a", "file"), number("ab", "file")
    ('1 file', '2 files')
    """
    return f"{len(some):,} {noun}{'' if len(some) == 1 else 's'}"


def merge_command(kind: str, record_type: str, month: str) -> str:
    """Return the command that merges a month.

    >>> merge_command("daily", "candidate", "2017-02")
    'muster merge daily --type candidate --from 2017-02-01 --to 2017-02-28'
    """
    if kind == "monthly":
        return f"muster merge monthly --type {record_type} --month {month}"
    last = calendar.monthrange(*map(int, month.split("-")))[1]
    days = f"--from {month}-01 --to {month}-{last:02d}"
    return f"muster merge daily --type {record_type} {days}"
