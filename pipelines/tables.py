"""Frames to the Arrow tables of the record types that are written: what sinks are given."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from conf.program import AnyConnector, Program
from transforms.kernel import ROW, UnitContext
from transforms.records import candidate_table, rejection_table


@dataclass(frozen=True, slots=True)
class CandidateTable:
    """Rows that passed everything, as candidates under their marketplace's settings."""

    program: Program
    connector: AnyConnector

    def __call__(self, frame: pl.DataFrame, context: UnitContext, _split: int) -> pa.Table:
        """Return one candidate a row, in order."""
        constant = self.connector.marketplace
        if constant is not None or not self.program.marketplace_overrides:
            return self._table(frame, context, constant)
        groups = frame.partition_by("marketplace", as_dict=True, maintain_order=True)
        order = pl.concat([rows[ROW] for rows in groups.values()]).arg_sort()
        tables = [self._table(rows, context, str(code)) for (code,), rows in groups.items()]
        return pa.concat_tables(tables).take(order.to_arrow())

    def _table(
        self, frame: pl.DataFrame, context: UnitContext, marketplace: str | None
    ) -> pa.Table:
        program = self.program.for_marketplace(marketplace) if marketplace else self.program
        return candidate_table(frame, context, program, self.connector)


@dataclass(frozen=True, slots=True)
class RejectionTable:
    """Rows that were turned away, with their reasons."""

    def __call__(self, frame: pl.DataFrame, context: UnitContext, split: int) -> pa.Table:
        """Return one rejection a row, in order."""
        return rejection_table(frame, context, split)
