"""Merge files in Spark SQL over Hive's Avro SerDe: ``python -m benchmarks.peers.spark_rewrite``.

One statement reads a table and writes one file. Starting the session is told apart, and is not
timed; nor are Derby and the two tables' DDL.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.generate import registration_schema
from benchmarks.measure import Stopwatch, avro_files, folders
from benchmarks.merge_measure import checked, tell
from benchmarks.peers.spark_sql import COLUMNS, STORED, session

WORK = "INSERT INTO merged SELECT /*+ COALESCE(1) */ * FROM fragments"


def create_table(spark: SparkSession, name: str, location: Path) -> None:
    literal = json.dumps(registration_schema()).replace("'", "\\'")
    spark.sql(
        f"CREATE EXTERNAL TABLE {name} ({COLUMNS}) {STORED} LOCATION '{location.resolve()}'"
        f" TBLPROPERTIES ('avro.schema.literal'='{literal}')"
    )


def main() -> None:
    source, out = folders(sys.argv[1:])
    sources = avro_files(source)
    if len({path.parent for path in sources}) != 1:
        raise SystemExit(f"expected all files in one folder, found several: {source}")
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        spark = session(Path(scratch))
        session_seconds = round(time.perf_counter() - started, 3)
        create_table(spark, "fragments", sources[0].parent)
        create_table(spark, "merged", out)
        with Stopwatch() as watch:
            spark.sql(WORK)
        spark.stop()
    merged = avro_files(out)
    if len(merged) != 1:
        raise SystemExit(f"expected one merged file, found {len(merged)}")
    tell(watch, sources, checked(sources, merged), session_seconds=session_seconds)


if __name__ == "__main__":
    main()
