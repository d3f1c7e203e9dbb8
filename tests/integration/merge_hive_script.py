"""Merges by the scripts within a session that is there already, as Glue has it, and reads tables.

``merge_hive_script.py <folder> <environment> <statements as JSON>``; prints what Spark counts.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from tests.integration.hive_script import session

_JOBS = Path(__file__).parents[2] / "jobs"
_MERGES = {
    "merge_daily": ("--type", "rejection", "--from", "2017-02-28", "--to", "2017-03-02"),
    "merge_monthly": ("--type", "rejection", "--month", "2017-02", "--to", "2017-03"),
}
#: Rows of each month, and from how many files they were read.
_COUNTED = """
    SELECT month, count(*), sum(sourceRow), count(DISTINCT file)
    FROM (SELECT month, sourceRow, input_file_name() AS file FROM muster.rejection)
    GROUP BY month
"""


def main(folder: Path, environment: str, statements: list[str]) -> dict[str, list[list[object]]]:
    spark = session(folder)
    for statement in statements:
        spark.sql(statement)
    reader = spark.newSession()
    seen = {}
    for name, days in _MERGES.items():
        sys.argv = [name, "--JOB_NAME", name, "--env", environment, "--out", str(folder), *days]
        runpy.run_path(str(_JOBS / f"{name}.py"), run_name="__main__")
        seen[name] = sorted(list(row) for row in reader.sql(_COUNTED).collect())
    spark.stop()
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))))  # noqa: T201
