"""What a unit reads, pinned down far enough to notice when it moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Input:
    """A file, a day of a table, or a table.

    ``version`` is a file's ETag or a digest of a partition's rows; None where the source has none,
    and then ``rows`` alone must do. ``rows`` and ``size`` (bytes) are None where nobody knows them.
    """

    name: str
    version: str | None = None
    rows: int | None = None
    size: int | None = None

    def said(self) -> list[object]:
        """Return it as plans and records write it, without the name."""
        return [self.version, self.rows, self.size]

    def __str__(self) -> str:
        told = (
            None if self.rows is None else f"{self.rows:,} rows",
            None if self.size is None else f"{self.size:,} bytes",
            None if self.version is None else f"version {self.version}",
        )
        return ", ".join(filter(None, told)) or "nothing known"


def input_of(name: str, said: Iterable[object]) -> Input:
    """Return the input that a plan or a record wrote down."""
    return Input(name, *said)  # type: ignore[arg-type]


def differences(before: Mapping[str, Input], after: Mapping[str, Input]) -> list[str]:
    """Say in which inputs two readings differ, sorted by name.

    >>> differences({"t/1": Input("t/1", "a", 3)}, {"t/1": Input("t/1", "b", 4)})
    ['t/1: expected 3 rows, version a, found 4 rows, version b']
    """
    told = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            told.append(f"{name}: expected {old or 'none'}, found {new or 'none'}")
    return told


def grown(before: Mapping[str, Input], after: Mapping[str, Input]) -> list[str]:
    """Say which inputs are new or larger than before: data that came late.

    >>> grown({"t/1": Input("t/1", "a", 3)}, {"t/1": Input("t/1", "b", 4)})
    ['t/1: 3 rows, now 4 rows']
    """
    told = []
    for name, new in sorted(after.items()):
        old = before.get(name)
        if old is None:
            told.append(f"{name}: new")
        elif (new.rows or 0) > (old.rows or 0):
            told.append(f"{name}: {old.rows or 0:,} rows, now {new.rows:,} rows")
        elif (new.size or 0) > (old.size or 0):
            told.append(f"{name}: {old.size or 0:,} bytes, now {new.size:,} bytes")
    return told
