"""Filter and band as a short polars-avro script: ``python -m benchmarks.peers.polars_script``.

Tried on 1M rows: whole files (kept), rechunked, 8k and 32k slices, lazy scans with 1k and 32k
batches, the streaming engine, all files in one frame; the others took 1.0 to 1.4 times as long.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
from polars_avro import Codec, read_avro, write_avro

from benchmarks.measure import avro_files, run
from benchmarks.peers.work import COUNTRIES, HIGH, LEAST_ORDER_VALUE, MID, QUANTITY


def filtered_and_banded(frame: pl.DataFrame) -> pl.DataFrame:
    score = pl.col("score")
    return frame.filter(
        pl.col("quantity").is_between(*QUANTITY),
        pl.col("orderValue") >= LEAST_ORDER_VALUE,
        pl.col("optIn"),
        pl.col("country").is_in(COUNTRIES),
    ).with_columns(
        band=pl.when(score < MID)
        .then(pl.lit("low"))
        .when(score < HIGH)
        .then(pl.lit("mid"))
        .otherwise(pl.lit("high"))
    )


def script(source: Path, out: Path) -> None:
    for path in avro_files(source):
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_avro(filtered_and_banded(read_avro(path)), target, codec=Codec.Snappy)


if __name__ == "__main__":
    run(script)
