"""Keyed work in two passes with a thin shuffle (ADR 0005).

The first pass sends only keys, order columns and row ids across; what comes back are the rows that
lose. The second pass reads the source again and drops them. Whole frames never travel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import apache_beam as beam
import numpy as np
import polars as pl
import polars_hash  # noqa: F401  (registers the expression namespace)
from apache_beam.typehints import with_input_types, with_output_types

from conf.program import Capacity, Dedupe
from pipelines.batch import Batch
from pipelines.failure import FAILURES, Failure, caught
from transforms.kernel import ROW
from transforms.keyed import verdicts
from transforms.verdict import VERDICT

Losers = Mapping[tuple[object, ...], pl.DataFrame]
_EPOCH = date(1970, 1, 1).toordinal()


def day_number(unit: str) -> int:
    """Return the unit's day as days since 1970-01-01."""
    return date.fromisoformat(unit).toordinal() - _EPOCH


@dataclass(frozen=True, slots=True)
class Thin:
    """Which columns of a batch take part in keyed work, and where its verdicts must go back to."""

    entry_of: Mapping[tuple[str, int], int]
    order_by: Sequence[str]
    score: str | None
    banded: bool
    shards: int

    def __call__(self, batch: Batch) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the batch's thin rows by shard; a customer's rows are always in one shard."""
        if batch.frame.is_empty():
            return
        thin = batch.frame.select(
            "customerId",
            "subjectId",
            "eventDate",
            *(
                _ordinal(batch.frame, name).alias(f"order.{i}")
                for i, name in enumerate(self.order_by)
            ),
            pl.lit(day_number(batch.unit), pl.Int32).alias("unit"),
            pl.lit(self.entry_of[batch.unit, batch.split], pl.UInt32).alias("entry"),
            pl.lit(batch.split, pl.UInt32).alias("split"),
            ROW,
            self._score(batch).alias("score"),
            pl.lit(batch.emit).alias("emit"),
            self._ranked(batch).alias("ranked"),
        )
        shard = (pl.col("customerId").nchash.xxhash64() % self.shards).alias("_shard")  # type: ignore[attr-defined]
        parts = thin.with_columns(shard).partition_by("_shard", as_dict=True, include_key=False)
        for (number,), rows in sorted(parts.items(), key=lambda kv: int(str(kv[0][0]))):
            yield int(str(number)), rows

    def _score(self, batch: Batch) -> pl.Expr:
        known = self.score is not None and batch.emit
        return pl.col(f"score.{self.score}") if known else pl.lit(None, pl.Float64)

    def _ranked(self, batch: Batch) -> pl.Expr:
        return pl.col("band").is_not_null() if self.banded and batch.emit else pl.lit(True)


def _ordinal(frame: pl.DataFrame, name: str) -> pl.Expr:
    whole = frame.schema[name].is_integer()
    return pl.col(name).cast(pl.Int64 if whole else pl.String)


@with_input_types(tuple[int, Iterable[pl.DataFrame]])
@with_output_types(tuple[int, pl.DataFrame], failures=Failure)
class Decide(beam.DoFn):
    """Finds the losing rows of one shard, by the entry that must hear of them."""

    def __init__(
        self, dedupe: Dedupe | None, capacity: Capacity | None, units: Sequence[str]
    ) -> None:
        self._rules = (dedupe, capacity)
        self._units = tuple(units)

    def process(self, element: tuple[int, Iterable[pl.DataFrame]]) -> Iterator[object]:
        """Yield (entry, frame of unit, split, row and verdict)."""
        try:
            losers = verdicts(pl.concat(list(element[1])), *self._rules)
            for (entry,), rows in losers.partition_by("entry", as_dict=True).items():
                yield int(str(entry)), rows.select("unit", "split", ROW, "verdict")
        except Exception as error:  # noqa: BLE001
            for unit in self._units:
                yield beam.pvalue.TaggedOutput(FAILURES, caught(unit, "dedupe", error))


def by_part(frames: Sequence[pl.DataFrame]) -> Losers:
    """Group an entry's losing rows by (unit, split), each sorted by row."""
    if not frames:
        return {}
    return pl.concat(frames).sort(ROW).partition_by("unit", "split", as_dict=True)


def judged(batch: Batch, losers: Losers) -> Batch:
    """Return the batch with the verdict on each row: 0 keep, 1 duplicate, 2 over capacity."""
    mine = losers.get((day_number(batch.unit), batch.split))
    verdict = np.zeros(batch.frame.height, np.uint8)
    if mine is not None and batch.frame.height:
        first = int(batch.frame[ROW][0])
        rows = mine[ROW].to_numpy().astype(np.int64) - first
        here = slice(*np.searchsorted(rows, (0, batch.frame.height)))
        verdict[rows[here]] = mine["verdict"].to_numpy()[here]
    return batch.with_frame(batch.frame.with_columns(pl.Series(VERDICT, verdict)))
