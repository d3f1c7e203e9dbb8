"""Filter and band in Spark SQL over Hive's Avro SerDe: ``python -m benchmarks.peers.spark_sql``.

One statement reads a table and writes a table. Starting the session, Derby and the two tables'
DDL are not timed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.generate import registration_schema
from benchmarks.measure import Stopwatch, folders, report
from benchmarks.peers.work import (
    COUNTRIES,
    HIGH,
    LEAST_ORDER_VALUE,
    MID,
    QUANTITY,
    banded_schema,
)

COLUMNS = """customerId string, subjectId string, marketplace string, eventDate timestamp,
    orderValue double, quantity int, email string, phone string, city string, country string,
    optIn boolean, score double"""

STORED = """
    ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.avro.AvroSerDe'
    STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat'
    OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat'"""

WORK = f"""
    INSERT INTO banded
    SELECT customerId, subjectId, marketplace, eventDate, orderValue, quantity, email, phone,
        city, country, optIn, score,
        CASE WHEN score < {MID} THEN 'low' WHEN score < {HIGH} THEN 'mid' ELSE 'high' END
    FROM registrations
    WHERE quantity BETWEEN {QUANTITY[0]} AND {QUANTITY[1]}
        AND orderValue >= {LEAST_ORDER_VALUE} AND optIn AND country IN {COUNTRIES}"""


def session(scratch: Path) -> SparkSession:
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={scratch} -Duser.timezone=UTC",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.hadoop.hive.exec.compress.output": "true",
        "spark.hadoop.avro.output.codec": "snappy",
        "spark.log.level": "OFF",
    }
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def create_tables(spark: SparkSession, source: Path, out: Path) -> None:
    literal = json.dumps(registration_schema()).replace("'", "\\'")
    spark.sql(
        f"CREATE EXTERNAL TABLE registrations ({COLUMNS}) PARTITIONED BY (`date` string) {STORED}"
        f" LOCATION '{source.resolve() / 'events'}'"
        f" TBLPROPERTIES ('avro.schema.literal'='{literal}')"
    )
    spark.sql("MSCK REPAIR TABLE registrations")
    literal = json.dumps(banded_schema()).replace("'", "\\'")
    spark.sql(
        f"CREATE EXTERNAL TABLE banded ({COLUMNS}, band string) {STORED}"
        f" LOCATION '{out.resolve()}' TBLPROPERTIES ('avro.schema.literal'='{literal}')"
    )


def main() -> None:
    source, out = folders(sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        spark = session(Path(scratch))
        create_tables(spark, source, out)
        with Stopwatch() as watch:
            spark.sql(WORK)
        spark.stop()
    report(watch, source, out)


if __name__ == "__main__":
    main()
