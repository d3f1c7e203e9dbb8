"""Which kernels a program runs, in which order, and the tables and models they are given.

A :class:`Chain` is settings only and crosses to workers; calling it there connects to the
warehouse, loads what the kernels need and lets the connection go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import polars as pl

from conf.program import (
    AnyConnector,
    AnyModel,
    LookupRule,
    OnnxModel,
    Program,
)
from pipelines.sources.warehouse import Connection, Warehouse, midnight
from transforms import channels, filters
from transforms.bands import Band
from transforms.channels import ChannelEligibility
from transforms.conform import Conform
from transforms.features import FeatureJoin
from transforms.filters import Filters
from transforms.kernel import Kernel
from transforms.linear import LinearProvider
from transforms.marketplaces import ByMarketplace
from transforms.onnx import OnnxProvider
from transforms.scoring import Provider, Score
from transforms.treatments import AssignTreatment
from transforms.verdict import DropLosers


class Purpose(Enum):
    """What a pass over the source is for."""

    #: Rows of the look-back: only whether they pass the filters matters.
    EVIDENCE = "evidence"
    #: The first pass over the units' own rows: what keyed work must know.
    DECIDE = "decide"
    #: The pass that makes the output.
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Chain:
    """The kernels of one pass; ``span`` is the first and the last day of the units.

    ``models`` holds the model files by the path that the program gives: an override may have
    another file for the same model.
    """

    program: Program
    connector: AnyConnector
    warehouse: Warehouse
    models: Mapping[str, bytes]
    span: tuple[str, str]
    purpose: Purpose

    def __call__(self) -> tuple[Kernel, ...]:
        """Build the kernels in the order in which they run.

        Raises:
            WarehouseFailed: a lookup's or the features' table cannot be read.
            ModelNotLoaded: a model file does not load.
        """
        with closing(self.warehouse.connect()) as connection:
            return tuple(self._kernels(connection))

    def _kernels(self, connection: Connection) -> Iterator[Kernel]:
        yield Conform(self.connector, self.program.marketplaces)
        special = self.program.marketplace_overrides
        if not special:
            yield from self._decisions(self.program, connection)
            return
        yield ByMarketplace(
            {
                code: tuple(self._decisions(self.program.for_marketplace(code), connection))
                for code in sorted(special)
            },
            tuple(self._decisions(self.program, connection)),
        )

    def _decisions(self, program: Program, connection: Connection) -> Iterator[Kernel]:
        yield Filters(program.filter_chain, _lookups(program, connection))
        if self.purpose is Purpose.OUTPUT:
            if program.dedupe or program.capacity:
                yield DropLosers(program.capacity)
            yield from self._scores(program, program.scoring_models, connection)
            if program.bands:
                yield Band(program.bands)
            if program.experiments:
                yield AssignTreatment(program.experiments)
            yield ChannelEligibility(program.channels)
        elif self.purpose is Purpose.DECIDE and program.capacity:
            yield from self._scores(program, deciding_models(program), connection)
            if program.bands:
                yield Band(program.bands)

    def _scores(
        self, program: Program, models: Sequence[AnyModel], connection: Connection
    ) -> Iterator[Kernel]:
        features = program.features
        if features and any(set(model.features) & set(features.columns) for model in models):
            first, last = (midnight(day) for day in self.span)
            bounds = (first, last + timedelta(days=1))
            what = f"features of '{program.program_id}'"
            yield FeatureJoin(connection.frame(features.query, bounds, what), features.columns)
        for model in models:
            yield Score(self._provider(model), model)

    def _provider(self, model: AnyModel) -> Provider:
        if isinstance(model, OnnxModel):
            return OnnxProvider(model, self.models[model.path])
        return LinearProvider(model)


def deciding_models(program: Program) -> tuple[AnyModel, ...]:
    """Return the models whose scores decide about capacity: by rank, or by having a band."""
    wanted = {program.capacity.score if program.capacity else None}
    if program.bands:
        wanted.add(program.bands.score)
    return tuple(model for model in program.scoring_models if model.model_id in wanted)


def columns_needed(program: Program, connector: AnyConnector, purpose: Purpose) -> tuple[str, ...]:
    """Return the source's columns that anything in a pass reads, sorted: what must be decoded."""
    read = (
        name
        for each in (program, *map(program.for_marketplace, program.marketplace_overrides))
        for name in _columns_read(each, purpose)
    )
    mapped = connector.field_mappings.model_dump(exclude_none=True).values()
    return tuple(sorted({*mapped, *connector.order_by, *read}))


def _columns_read(program: Program, purpose: Purpose) -> Iterator[str]:
    output = purpose is Purpose.OUTPUT
    for model in program.scoring_models if output else deciding_models(program):
        yield from model.features
    yield from filters.columns_read(program.filter_chain)
    if output:
        yield from channels.columns_read(program.channels)


def lookup_rules(program: Program) -> tuple[tuple[str, str], ...]:
    """Return the tables and keys that lookups ask for, each once, sorted."""
    rules = [f.parameters for f in program.filter_chain.active]
    return tuple(sorted({(r.table, r.key) for r in rules if isinstance(r, LookupRule)}))


def lookup_query(table: str, key: str) -> str:
    """Return the query for a lookup's values."""
    return f'SELECT DISTINCT "{key}" FROM {table}'


def _lookups(program: Program, connection: Connection) -> dict[tuple[str, str], pl.Series]:
    """Load the values that lookups ask for."""
    return {
        rule: connection.frame(lookup_query(*rule), (), f"lookup '{'.'.join(rule)}'").to_series()
        for rule in lookup_rules(program)
    }
