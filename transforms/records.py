"""From frames to the records that are stored: candidates and rejections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
import pyarrow as pa

from conf.program import Connector, Program
from schemas.registry import record_type
from transforms import arrays
from transforms.errors import MissingColumn, MissingValue
from transforms.instants import INSTANT, format_iso_8601, utc
from transforms.kernel import ROW, UnitContext

_REQUIRED = ("customerId", "subjectType", "subjectId", "marketplace", "eventDate")
_TEXT = pa.string()
_TIMESTAMP = pa.timestamp("ms", "UTC")


def candidate_table(
    frame: pl.DataFrame, context: UnitContext, program: Program, connector: Connector
) -> pa.Table:
    """Return rows as records of type ``candidate`` (properties 2, 3, 11, 35 and 51).

    Input: the canonical columns of ``Conform``, and per scoring model, enabled experiment and
    channel of ``program`` the columns ``score.<id>``, ``confidence.<id>``, ``scoreSource.<id>``,
    ``treatment.<id>`` and ``channel.<id>``; ``band`` if the program has bands. Null only in
    ``orderValue`` and ``band``. Output: one record a row, in order, of exactly the record type's
    Arrow schema; created and updated at the unit's logical time, version 1, not rejected. The
    timing window is an ISO 8601 interval from the event on, where the program has one.

    Raises MissingColumn and MissingValue.
    """
    schema = record_type("candidate").arrow
    rows = _Rows(frame, context, program, connector)
    _require_values(frame, "candidate", (*_REQUIRED, *rows.needed()))
    _require_columns(frame, "candidate", ("orderValue", *(("band",) if program.bands else ())))
    columns = {
        "customerId": rows.text("customerId"),
        "context": rows.contexts(schema.field("context").type),
        "subject": arrays.struct(
            schema.field("subject").type,
            {"type": rows.text("subjectType"), "id": rows.text("subjectId")},
        ),
        "scores": rows.scores(schema.field("scores").type),
        "attributes": rows.attributes(schema.field("attributes").type),
        "metadata": rows.metadata(schema.field("metadata").type),
        "rejectionHistory": pa.nulls(frame.height, schema.field("rejectionHistory").type),
    }
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The parts of a candidate, each for all rows at once."""

    frame: pl.DataFrame
    context: UnitContext
    program: Program
    connector: Connector

    def needed(self) -> list[str]:
        """Return the columns without nulls that the program's own parts are made from."""
        prefixes = ("score", "confidence", "scoreSource")
        return [
            *(f"{prefix}.{model}" for model in self.models for prefix in prefixes),
            *(f"treatment.{experiment}" for experiment in self.experiments),
            *(f"channel.{channel}" for channel in self.channels),
        ]

    @property
    def models(self) -> list[str]:
        return [model.model_id for model in self.program.scoring_models]

    @property
    def experiments(self) -> list[str]:
        return [e.experiment_id for e in self.program.experiments if e.enabled]

    @property
    def channels(self) -> list[str]:
        return [channel.channel_id for channel in self.program.channels]

    def text(self, name: str) -> pa.Array:
        return arrays.column(self.frame[name], _TEXT)

    def same(self, value: object, dtype: pa.DataType, each: int = 1) -> pa.Array:
        return arrays.constant(value, dtype, self.frame.height * each)

    def side_by_side(self, prefix: str, ids: Iterable[str], dtype: pa.DataType) -> pa.Array:
        columns = [arrays.column(self.frame[f"{prefix}.{i}"], dtype) for i in ids]
        return arrays.interleave(columns)

    def map_by_id(
        self, dtype: pa.MapType, prefix: str, ids: Sequence[str], items: pa.Array | None = None
    ) -> pa.Array:
        if items is None:
            items = self.side_by_side(prefix, ids, dtype.item_type)
        keys = arrays.cycle(ids, self.frame.height)
        return arrays.maps(dtype, keys, items, len(ids), self.frame.height)

    def contexts(self, dtype: pa.ListType) -> pa.Array:
        program_id = self.same(self.program.program_id, _TEXT)
        items = {
            "type": arrays.cycle(("marketplace", "program"), self.frame.height),
            "id": arrays.interleave([self.text("marketplace"), program_id]),
        }
        return arrays.lists(dtype, arrays.struct(dtype.value_type, items), 2, self.frame.height)

    def scores(self, dtype: pa.MapType) -> pa.Array:
        models, score = self.models, dtype.item_type
        items = {
            "modelId": arrays.cycle(models, self.frame.height),
            "value": self.side_by_side("score", models, pa.float64()),
            "confidence": self.side_by_side("confidence", models, pa.float64()),
            "timestamp": self.same(utc(self.context.logical_time), _TIMESTAMP, len(models)),
            "metadata": self.score_sources(score.field("metadata").type),
        }
        return self.map_by_id(dtype, "score", models, arrays.struct(score, items))

    def score_sources(self, dtype: pa.MapType) -> pa.Array:
        each = self.frame.height * len(self.models)
        sources = self.side_by_side("scoreSource", self.models, _TEXT)
        return arrays.maps(dtype, arrays.constant("source", _TEXT, each), sources, 1, each)

    def attributes(self, dtype: pa.StructType) -> pa.Array:
        eligible = dtype.field("channelEligibility").type
        known = {
            "eventDate": arrays.column(self.frame["eventDate"], _TIMESTAMP),
            "orderValue": arrays.column(self.frame["orderValue"], pa.float64()),
            "channelEligibility": self.map_by_id(eligible, "channel", self.channels),
        }
        if self.program.timing_window_days is not None:
            known["timingWindow"] = self.timing_windows(self.program.timing_window_days)
        return arrays.struct(dtype, known)

    def timing_windows(self, days: int) -> pa.Array:
        start = pl.col("eventDate")
        window = pl.format(
            "{}/{}", format_iso_8601(start), format_iso_8601(start + timedelta(days))
        )
        return arrays.column(self.frame.select(window).to_series(), _TEXT)

    def metadata(self, dtype: pa.StructType) -> pa.Array:
        created = utc(self.context.logical_time)
        known = {
            "createdAt": self.same(created, _TIMESTAMP),
            "updatedAt": self.same(created, _TIMESTAMP),
            "expiresAt": self.same(
                created + timedelta(days=self.program.candidate_ttl_days), _TIMESTAMP
            ),
            "version": self.same(1, pa.int64()),
            "sourceConnectorId": self.same(self.connector.source_id, _TEXT),
            "workflowExecutionId": self.same(self.context.execution_id, _TEXT),
        }
        if self.program.bands is not None:
            known["band"] = self.text("band")
        if self.experiments:
            treatments = dtype.field("treatments").type
            known["treatments"] = self.map_by_id(treatments, "treatment", self.experiments)
        return arrays.struct(dtype, known)


def rejection_table(rejected: pl.DataFrame, context: UnitContext, split: int) -> pa.Table:
    """Return rejections as records of type ``rejection`` (property 10).

    Input: ``kernel.REJECTION_SCHEMA``, of which ``_row`` and the four texts about the filter are
    never null; ``split`` is the split of the unit's source that the rows came from. Output: one
    record a row, in order, stamped with the unit's logical time. Raises MissingColumn and
    MissingValue.
    """
    schema = record_type("rejection").arrow
    _require_values(rejected, "rejection", (ROW, "filterId", "filterType", "reason", "reasonCode"))
    added = rejected.select(
        pl.all().exclude(ROW),
        pl.lit(context.program_id).alias("programId"),
        pl.lit(split).alias("sourceSplit"),
        pl.col(ROW).alias("sourceRow"),
        pl.lit(utc(context.logical_time)).cast(INSTANT).alias("timestamp"),
        pl.lit(context.execution_id).alias("workflowExecutionId"),
    )
    columns = [arrays.column(added[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _require_columns(frame: pl.DataFrame, record: str, columns: Iterable[str]) -> None:
    for name in columns:
        if name not in frame.columns:
            raise MissingColumn(record, name, frame.columns)


def _require_values(frame: pl.DataFrame, record: str, columns: Sequence[str]) -> None:
    _require_columns(frame, record, columns)
    for name in columns:
        if frame[name].null_count():
            raise MissingValue(record, name, frame[name].null_count())
