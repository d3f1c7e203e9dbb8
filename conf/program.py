"""What a program is: sources, filters, scores, bands, channels, experiments.

Source: solicitation-platform, "Configuration Models" and properties 30, 31 and 33. Field names in
YAML keep the document's spelling (camelCase); in Python they are snake_case. Unknown keys are
refused everywhere, so that a misspelt setting can never be silently ignored. What one part of a
program says about another is checked in ``conf.check``.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from conf.merge import merged

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Marketplace = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


def _parsed(expression: str) -> str:
    try:
        pl.sql_expr(expression)
    except pl.exceptions.PolarsError as error:
        raise PydanticCustomError(
            "expression",
            "a SQL expression",
            {"expected": "a SQL expression", "given": f"{expression!r}: {error}"},
        ) from None
    return expression


#: A SQL expression over the columns of one row, as ``polars.sql_expr`` reads it.
Expression = Annotated[str, AfterValidator(_parsed)]


class Settings(BaseModel):
    """Base of every settings model: camelCase in YAML, no unknown keys, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class FilterType(StrEnum):
    """Kinds of filters, in the document's words."""

    TRUST = "TRUST"
    ELIGIBILITY = "ELIGIBILITY"
    BUSINESS_RULE = "BUSINESS_RULE"
    QUALITY = "QUALITY"
    CAPACITY = "CAPACITY"


class ChannelType(StrEnum):
    """Kinds of channels, in the document's words."""

    EMAIL = "EMAIL"
    IN_APP = "IN_APP"
    PUSH = "PUSH"
    VOICE = "VOICE"
    SMS = "SMS"


class FieldMappings(Settings):
    """Which source column becomes which field of a candidate."""

    customer_id: str
    subject_id: str
    event_date: str
    order_value: str | None = None
    marketplace: str | None = None


class Partition(Settings):
    """How a source is cut into units.

    ``digest`` is an aggregate over a day's rows in the warehouse's SQL by which changed rows are
    noticed, such as ``max(updated_at)``; DuckDB and PostgreSQL need none.
    """

    column: str
    grain: Literal["day"] = "day"
    digest: str | None = None


class DateRange(Settings):
    """Event dates from ``earliest`` to ``latest_days_ahead`` after the unit's end (property 50)."""

    earliest: date = date(2000, 1, 1)
    latest_days_ahead: Annotated[int, Field(ge=0, le=3660)] = 0


class Connector(Settings):
    """What every data source says about itself: how its columns become a candidate's fields."""

    source_id: Identifier
    connector_version: str = "1"
    subject_type: Identifier
    marketplace: Marketplace | None = None
    field_mappings: FieldMappings
    order_by: tuple[str, ...] = ()
    date_range: DateRange = DateRange()
    quarantine_threshold: Probability = 0.01

    @model_validator(mode="after")
    def _one_marketplace(self) -> Self:
        if (self.marketplace is None) == (self.field_mappings.marketplace is None):
            raise ValueError(
                "give the marketplace once: either 'marketplace' (a constant) or "
                "'fieldMappings.marketplace' (a column)"
            )
        return self


class WarehouseConnector(Connector):
    """Rows of a query; ``$1`` and ``$2`` are bound to the half-open range of time that is read."""

    connector_type: Literal["warehouse"]
    table_name: str
    query: str
    partition: Partition

    @model_validator(mode="after")
    def _binds_its_range(self) -> Self:
        if "$1" not in self.query or "$2" not in self.query:
            raise ValueError("query must bind the range it reads as $1 (from) and $2 (to)")
        if self.query.index("$1") > self.query.index("$2"):
            raise ValueError("query must use $1 (from) before $2 (to)")
        return self


class AvroConnector(Connector):
    """Avro files, one unit a date: ``path`` is a pattern below the source root with ``{date}``."""

    connector_type: Literal["avro"]
    path: str
    record_schema: str | None = None

    @model_validator(mode="after")
    def _names_its_date(self) -> Self:
        if "{date}" not in self.path:
            raise ValueError("path must contain {date}, the day of the unit")
        return self


AnyConnector = Annotated[WarehouseConnector | AvroConnector, Field(discriminator="connector_type")]


class Features(Settings):
    """A feature store read by SQL: one row a customer and day, as it was known before that day.

    ``$1`` and ``$2`` are bound to the half-open range of days. The query returns the columns
    ``customerId`` (text), ``date`` (date) and one numeric column a feature.
    """

    query: str
    columns: Annotated[tuple[str, ...], Field(min_length=1)]


class ScoringModel(Settings):
    """What every model has: an id, the features that it needs, and what to say when it fails."""

    model_id: Identifier
    model_version: str = "1"
    fallback_score: Probability
    fallback_confidence: Probability = 0.0


class LinearModel(ScoringModel):
    """``intercept + sum(coefficient * feature)``, cut to 0..1."""

    type: Literal["linear"]
    intercept: Finite = 0.0
    coefficients: Annotated[dict[str, Finite], Field(min_length=1)]
    confidence: Probability = 1.0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that the model reads."""
        return tuple(self.coefficients)


class OnnxModel(ScoringModel):
    """A model file for onnxruntime: one float32 input of shape (rows, features), a score a row."""

    type: Literal["onnx"]
    path: str
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    confidence: Probability = 1.0


AnyModel = Annotated[LinearModel | OnnxModel, Field(discriminator="type")]


class Tier(Settings):
    """Scores from ``at_least`` (included) up to the next tier's bound."""

    name: Identifier
    at_least: Probability


class Bands(Settings):
    """Half-open tiers over one score, ascending; the last one includes 1.0."""

    score: Identifier
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for low, high in pairwise(self.tiers):
            if not low.at_least < high.at_least:
                raise ValueError(f"tiers must ascend: '{low.name}' is not below '{high.name}'")
        return self


class ExpressionRule(Settings):
    """A row passes when this SQL expression over its columns is true; false and null reject.

    It must look at one row only: no aggregate, no window, no subquery.
    """

    expression: Expression


class LookupRule(Settings):
    """A row passes when its ``column`` is among the values of ``key`` in ``table``."""

    column: str
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
    key: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class FunctionRule(Settings):
    """A row passes where ``module:name`` (frame -> boolean series) says true."""

    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    arguments: dict[str, Any] = {}


def _kind_of_rule(rule: Any) -> str | None:
    """Tell rules apart by the keys that only they have, so that faults name one kind only."""
    if not isinstance(rule, dict):
        return _KIND_OF_MODEL.get(type(rule))
    kinds = {"expression": "expression", "function": "function"}
    kinds |= dict.fromkeys(("column", "table", "key"), "lookup")
    return next((kinds[key] for key in rule if key in kinds), None)


_KIND_OF_MODEL: dict[type, str] = {
    ExpressionRule: "expression",
    LookupRule: "lookup",
    FunctionRule: "function",
}

Rule = Annotated[
    Annotated[ExpressionRule, Tag("expression")]
    | Annotated[LookupRule, Tag("lookup")]
    | Annotated[FunctionRule, Tag("function")],
    Discriminator(
        _kind_of_rule,
        custom_error_type="rule",
        custom_error_message="a rule",
        custom_error_context={"expected": "expression; or column, table and key; or function"},
    ),
]


class Filter(Settings):
    """One link of the chain."""

    filter_id: Identifier
    filter_type: FilterType
    enabled: bool = True
    order: int
    reason_code: Code
    reason: str
    parameters: Rule


class FilterChain(Settings):
    """Filters in the order of their numbers; the first that fails names the reason.

    ``parallel_execution`` lets neighbouring expressions run in one pass; the outcome is the same.
    """

    filters: Annotated[tuple[Filter, ...], Field(min_length=1)]
    parallel_execution: bool = True
    fail_fast: Literal[True] = True

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for key in ("filter_id", "order"):
            counts = Counter(getattr(link, key) for link in self.filters)
            twice = sorted(value for value, count in counts.items() if count > 1)
            if twice:
                raise ValueError(f"{to_camel(key)} must be unique, found twice: {twice}")
        return self

    @property
    def active(self) -> tuple[Filter, ...]:
        """The enabled filters in the order in which they run (property 9)."""
        return tuple(sorted((f for f in self.filters if f.enabled), key=lambda f: f.order))


class Dedupe(Settings):
    """A row is a duplicate when the same customer and subject came before it within the window."""

    window_hours: Annotated[int, Field(gt=0, le=24 * 366)]


class Capacity(Settings):
    """At most ``per_customer`` candidates a customer and unit, best ``score`` first."""

    per_customer: Annotated[int, Field(gt=0)]
    score: Identifier
    filter_id: Identifier = "customer-capacity"
    reason_code: Code = "CUSTOMER_CAPACITY"


class Channel(Settings):
    """A way to reach a customer; ``eligible`` is a SQL expression over a row, null counts as no."""

    channel_id: Identifier
    channel_type: ChannelType
    enabled: bool = True
    shadow_mode: bool = False
    eligible: Expression = "true"


class Treatment(Settings):
    """One arm of an experiment."""

    treatment_id: Identifier
    weight: Annotated[int, Field(gt=0)]


class Experiment(Settings):
    """Arms that customers are assigned to by a keyed hash of their id (property 34)."""

    experiment_id: Identifier
    enabled: bool = True
    salt: Annotated[str, Field(min_length=1)]
    treatments: Annotated[tuple[Treatment, ...], Field(min_length=2)]


class LateData(Settings):
    """How many days before the newest day of a plan are done anew when their inputs have grown."""

    lookback_days: Annotated[int, Field(gt=0, le=3660)]


#: What says when and whether a program runs, how its inputs are watched and who is told.
_OPERATION: Any = {
    "enabled": True,
    "batch_schedule": True,
    "late_data": True,
    "on_completion": True,
    "data_connectors": {"__all__": {"partition": {"digest"}}},
}


class Program(Settings):
    """A program as its YAML file says it (properties 30 and 31).

    ``on_completion`` names what waits for a unit's output (property 27): each is told by an object
    below ``triggers/`` of the lake.
    """

    program_id: Identifier
    program_name: str
    enabled: bool
    marketplaces: Annotated[tuple[Marketplace, ...], Field(min_length=1)]
    data_connectors: Annotated[tuple[AnyConnector, ...], Field(min_length=1)]
    features: Features | None = None
    scoring_models: Annotated[tuple[AnyModel, ...], Field(min_length=1)]
    bands: Bands | None = None
    filter_chain: FilterChain
    dedupe: Dedupe | None = None
    capacity: Capacity | None = None
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    experiments: tuple[Experiment, ...] = ()
    batch_schedule: str | None = None
    reactive_enabled: bool = False
    candidate_ttl_days: Annotated[int, Field(alias="candidateTTLDays", gt=0, le=3660)]
    timing_window_days: Annotated[int, Field(gt=0)] | None = None
    late_data: LateData | None = None
    on_completion: tuple[Identifier, ...] = ()
    marketplace_overrides: dict[Marketplace, dict[str, Any]] = {}

    def deciding(self) -> dict[str, Any]:
        """Return what decides the bytes of the output: all but what says when and whether to run.

        Comments, the order of keys and defaults that are spelt out do not show.
        """
        return self.model_dump(mode="json", by_alias=True, exclude=_OPERATION)

    def for_marketplace(self, code: str) -> Program:
        """Return the program as it applies to marketplace ``code`` (property 33).

        Its override is merged in as ``conf.merge`` says and validated; without one this program
        is returned. Raises ValueError for a marketplace that the program does not serve.
        """
        if code not in self.marketplaces:
            raise ValueError(f"{self.program_id}: marketplace {code} is not in {self.marketplaces}")
        override = self.marketplace_overrides.get(code)
        if override is None:
            return self
        said = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        said.pop("marketplaceOverrides")
        return Program.model_validate_json(json.dumps(merged(said, override)), strict=True)
