"""Reads tables by Spark's Hive support: ``hive_script.py <work folder>``.

``work.json`` in the folder says the lake's root, the database, the statements that make tables, and
the pointers of each table in the order in which readers are switched to them; what was seen goes to
``seen.json``.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from pyspark.sql import Row, SparkSession

from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.hive import HiveCatalog
from pipelines.errors import CatalogFailed


def session(folder: Path) -> SparkSession:
    settings = {
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -Duser.timezone=UTC",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "spark"),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
    }
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    for name, value in settings.items():
        builder = builder.config(name, value)
    made: SparkSession = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Row):
        return {name: plain(inner) for name, inner in value.asDict().items()}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="milliseconds")
    return str(value) if isinstance(value, (Decimal, dt.date)) else value


def rows(spark: SparkSession, table: str, order: str) -> list[Any]:
    read: list[Any] = plain(spark.sql(f"SELECT * FROM {table} ORDER BY month, {order}").collect())
    return read


def look(spark: SparkSession, table: str) -> dict[str, Any]:
    """Return what a reader sees: all rows, and what Spark counts and adds up."""
    summed = "count(*), sum(micros), sum(double)"
    counted = spark.sql(f"SELECT month, {summed} FROM {table} GROUP BY month")
    return {
        "rows": rows(spark, table, "id"),
        "sums": {month: list(values) for month, *values in counted.collect()},
    }


def followed(spark: SparkSession, work: dict[str, Any]) -> dict[str, Any]:
    """Switch every table through its pointers, and look after each."""
    catalog = HiveCatalog(spark, work["root"], work["database"], work["prefix"])
    other = spark.newSession()
    seen: dict[str, Any] = {}
    for name, pointers in work["tables"].items():
        looks = []
        for told in pointers:
            pointer = Pointer(**{**told, "files": ()})
            before = catalog.current(name, pointer.month)
            refused = None
            try:
                catalog.switch(pointer)
            except CatalogFailed as error:
                refused = str(error)
            looks.append(
                {
                    "before": before,
                    "refused": refused,
                    "current": catalog.current(name, pointer.month),
                    **look(other, f"{work['database']}.{work['prefix']}{name}"),
                }
            )
        seen[name] = looks
    return seen


def failures(spark: SparkSession, work: dict[str, Any]) -> dict[str, str]:
    """Return what a catalog says of a table that is not there, and of another lake's table."""
    name = next(iter(work["tables"]))
    month = work["tables"][name][0]["month"]
    asked = {
        "absent": HiveCatalog(spark, work["root"], work["database"], "nothing_"),
        "elsewhere": HiveCatalog(spark, "s3://elsewhere/lake", work["database"], work["prefix"]),
    }
    said = {}
    for key, catalog in asked.items():
        try:
            catalog.current(name, month)
        except CatalogFailed as error:
            said[key] = str(error)
    return said


def main(folder: Path) -> None:
    work = json.loads((folder / "work.json").read_text())
    spark = session(folder)
    try:
        spark.sql(f"CREATE DATABASE {work['database']}")
        for statement in work["statements"]:
            spark.sql(statement)
        printed = {
            name: rows(spark, f"{work['database']}.{name}", order)
            for name, order in work["printed"].items()
        }
        types = {
            row["tableName"]: {
                field.name: field.dataType.simpleString()
                for field in spark.table(f"{work['database']}.{row['tableName']}").schema
            }
            for row in spark.sql(f"SHOW TABLES IN {work['database']}").collect()
        }
        seen = {
            "types": types,
            "printed": printed,
            "tables": followed(spark, work),
            "failures": failures(spark, work),
        }
    finally:
        spark.stop()
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
