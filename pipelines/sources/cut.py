"""Cutting a stream of frames into batches of a fixed number of rows.

The cut depends on the rows alone, never on how they arrived, so outputs made batch by batch are
the same whatever the database's or the reader's own batch size was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from pipelines.batch import Batch
from pipelines.sources.entry import Part
from transforms.kernel import ROW


@dataclass(slots=True)
class Cutter:
    """Collects the rows of one part and gives them out ``rows`` at a time, numbered."""

    part: Part
    rows: int
    _held: list[pl.DataFrame] = field(default_factory=list)
    _count: int = 0
    _given: int = 0

    def add(self, frame: pl.DataFrame) -> Iterator[Batch]:
        """Take rows; yield every batch that is full and surely not the last."""
        self._held.append(frame)
        self._count += frame.height
        if self._count <= self.rows:
            return
        whole = pl.concat(self._held)
        while whole.height > self.rows:
            yield self._batch(whole.head(self.rows), last=False)
            whole = whole.slice(self.rows)
        self._held, self._count = [whole], whole.height

    def finish(self, empty: pl.DataFrame) -> Batch:
        """Return the last batch, empty when the part had no rows; ``empty`` gives its columns."""
        return self._batch(pl.concat(self._held) if self._held else empty.clear(), last=True)

    def _batch(self, frame: pl.DataFrame, *, last: bool) -> Batch:
        numbers = pl.int_range(self._given, self._given + frame.height, dtype=pl.UInt32, eager=True)
        self._given += frame.height
        return Batch(
            self.part.unit,
            self.part.split,
            self.part.emit,
            last,
            frame.with_columns(numbers.alias(ROW)),
        )


def cut(
    part: Part, frames: Iterable[pl.DataFrame], rows: int, empty: pl.DataFrame
) -> Iterator[Batch]:
    """Cut one part's frames into batches of ``rows`` rows; the last one may have fewer, or none."""
    cutter = Cutter(part, rows)
    for frame in frames:
        yield from cutter.add(frame)
    yield cutter.finish(empty)
