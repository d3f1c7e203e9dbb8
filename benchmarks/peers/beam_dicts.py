"""Filter and band as an idiomatic Beam pipeline: ``python -m benchmarks.peers.beam_dicts``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io import ReadFromAvro, WriteToAvro
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.measure import run
from benchmarks.peers.work import (
    COUNTRIES,
    HIGH,
    LEAST_ORDER_VALUE,
    MID,
    QUANTITY,
    banded_schema,
)

Row = dict[str, Any]


def quantity_sane(row: Row) -> bool:
    return QUANTITY[0] <= row["quantity"] <= QUANTITY[1]


def order_value_enough(row: Row) -> bool:
    return row["orderValue"] >= LEAST_ORDER_VALUE


def opted_in(row: Row) -> bool:
    return row["optIn"]


def country_served(row: Row) -> bool:
    return row["country"] in COUNTRIES


def with_band(row: Row) -> Row:
    score = row["score"]
    return {**row, "band": "low" if score < MID else "mid" if score < HIGH else "high"}


def pipeline(source: Path, out: Path) -> None:
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as p:
        (
            p
            | ReadFromAvro(str(source / "events" / "*" / "*.avro"))
            | "quantity-sane" >> beam.Filter(quantity_sane)
            | "order-value" >> beam.Filter(order_value_enough)
            | "opted-in" >> beam.Filter(opted_in)
            | "country-served" >> beam.Filter(country_served)
            | "band" >> beam.Map(with_band)
            | WriteToAvro(
                str(out / "part"), banded_schema(), codec="snappy", file_name_suffix=".avro"
            )
        )


if __name__ == "__main__":
    run(pipeline)
