"""Query merged files through the table that ``muster athena ddl`` prints, in Spark with Hive.

``python infra/query_with_spark.py --out demo`` needs Java 17 and the ``bench`` extra. Athena runs
the same statements; here a throw-away Hive catalog stands in for it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from conf.load import load_environment
from jobs.athena import define_table

QUERIES = {
    "candidate": "SELECT month, metadata.band AS band, count(*) AS candidates, "
    "round(avg(attributes.orderValue), 2) AS mean_order_value "
    "FROM candidate GROUP BY month, metadata.band ORDER BY month, band",
    "rejection": "SELECT month, reasonCode, count(*) AS customers "
    "FROM rejection GROUP BY month, reasonCode ORDER BY month, customers DESC",
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", default="demo", help="The folder that the demo wrote.")
    out = asked.parse_args().out
    with tempfile.TemporaryDirectory(prefix="muster-hive-") as folder:
        spark = _session(Path(folder))
        try:
            for name, query in QUERIES.items():
                for statement in _statements(name, out):
                    spark.sql(statement)
                print(f"\n{query}")
                spark.sql(query).show(truncate=False)
        finally:
            spark.stop()


def _statements(name: str, out: str) -> tuple[str, ...]:
    environment = load_environment("local").with_out(out)
    return define_table(environment, name, partitions=True).statements


def _session(folder: Path) -> SparkSession:
    settings = {
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -Duser.timezone=UTC",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    for name, value in settings.items():
        builder = builder.config(name, value)
    made: SparkSession = builder.getOrCreate()
    made.sparkContext.setLogLevel("OFF")
    return made


if __name__ == "__main__":
    main()
