"""What a source plans to read, before it reads anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from pipelines.batch import Batch
from pipelines.sources.inputs import Input
from schemas.container import Damage


@dataclass(frozen=True, slots=True)
class Part:
    """One split of one unit's rows; ``emit`` is false for evidence that a look-back needs."""

    unit: str
    split: int
    emit: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One read: some days of a table, or a range of a file. Each is read independently.

    ``start`` and ``end`` are byte positions of a file's range, and 0 for a table; ``etag`` is the
    version of the file that was planned.
    """

    index: int
    location: str
    parts: tuple[Part, ...]
    start: int = 0
    end: int = 0
    size: int = 0
    etag: str | None = None

    @property
    def emits(self) -> bool:
        """Whether any of its rows may reach an output."""
        return any(part.emit for part in self.parts)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A stretch of a source that could not be read, with its bytes."""

    unit: str
    split: int
    emit: bool
    source: str
    damage: Damage
    content: bytes


class Reader(Protocol):
    """An open source, in a worker."""

    def read(self, entry: Entry) -> Iterator[Batch | Damaged]:
        """Yield the rows of each part in order; the last batch of a part says so."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...


class Source(Protocol):
    """A picklable description of where rows come from."""

    def plan(self, emit: Sequence[str], evidence: Sequence[str]) -> tuple[Entry, ...]:
        """List what will be read for these units, without reading it."""
        ...

    def witness(self, days: Sequence[str]) -> Mapping[str, tuple[Input, ...]]:
        """Return what each day's rows are read from, as it is now, without reading the rows."""
        ...

    def open(self) -> Reader:
        """Open the source in this worker."""
        ...

    def preview(self, entries: Sequence[Entry]) -> pl.DataFrame | None:
        """Return a frame without rows that has the source's columns; None where nothing is."""
        ...
