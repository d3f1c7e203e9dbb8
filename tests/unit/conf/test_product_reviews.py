"""The packaged program on the real data: what its queries return and what its model says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import numpy as np
import onnxruntime
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from conf.load import load_environment, load_program, model_bytes
from conf.program import OnnxModel, WarehouseConnector
from conf.resources import packaged

PROGRAM = load_program("product-reviews")
YEAR = (date(2017, 1, 1), date(2018, 1, 2))


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for name, address in load_environment("local").warehouse.tables.items():
            file = f"read_parquet('{packaged(address)}', file_row_number=true)"
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {file}")
        yield connection


def read(warehouse: duckdb.DuckDBPyConnection, query: str, start: date, end: date) -> pl.DataFrame:
    return pl.DataFrame(warehouse.sql(query, params=[start, end]).to_arrow_table())


@pytest.fixture(scope="module")
def features(warehouse: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    assert PROGRAM.features is not None
    return read(warehouse, PROGRAM.features.query, *YEAR)


def test_features_are_one_row_a_household_and_day_of_shopping(
    warehouse: duckdb.DuckDBPyConnection, features: pl.DataFrame
) -> None:
    assert PROGRAM.features is not None
    assert tuple(features.columns) == ("customerId", "date", *PROGRAM.features.columns)
    assert set(features.dtypes[2:]) == {pl.Float64}
    days = warehouse.sql(
        'SELECT DISTINCT CAST(household_id AS VARCHAR) AS "customerId", '
        "CAST(transaction_timestamp AS DATE) AS date FROM transactions"
    ).to_arrow_table()
    keys = ["customerId", "date"]
    assert_frame_equal(features.select(keys), pl.DataFrame(days), check_row_order=False)


@pytest.mark.parametrize(
    ("start", "end"),
    [(date(2017, 3, 1), date(2017, 3, 2)), (date(2017, 6, 10), date(2017, 7, 15))],
)
def test_features_do_not_depend_on_the_span_that_is_read(
    warehouse: duckdb.DuckDBPyConnection, features: pl.DataFrame, start: date, end: date
) -> None:
    assert PROGRAM.features is not None
    part = read(warehouse, PROGRAM.features.query, start, end)
    expected = features.filter(pl.col("date").is_between(start, end, closed="left"))
    assert part.height > 0
    assert_frame_equal(part, expected, check_exact=True)


ORACLE = """
WITH t AS (
  SELECT *, CAST(transaction_timestamp AS DATE) AS day FROM transactions
  WHERE CAST(household_id AS VARCHAR) = $1 AND transaction_timestamp < $2
    AND transaction_timestamp >= $2 - INTERVAL 56 DAY
)
SELECT
  min($2::DATE - day), count(DISTINCT basket_id), coalesce(sum(sales_value), 0),
  coalesce(sum(retail_disc + coupon_disc + coupon_match_disc)
    / sum(sales_value + retail_disc + coupon_disc + coupon_match_disc), 0),
  (SELECT count(*) FROM coupon_redemptions WHERE CAST(household_id AS VARCHAR) = $1
    AND redemption_date < $2 AND redemption_date >= $2 - INTERVAL 56 DAY),
  (SELECT count(*) FROM campaigns JOIN campaign_descriptions USING (campaign_id)
    WHERE CAST(household_id AS VARCHAR) = $1 AND start_date < $2 AND end_date >= $2)
FROM t
"""


def test_features_are_what_was_known_before_the_day(
    warehouse: duckdb.DuckDBPyConnection, features: pl.DataFrame
) -> None:
    busy = features.filter(pl.col("redemptionsLast56Days") > 2)
    sample = pl.concat([features.sample(40, seed=1), busy.sample(20, seed=1)])
    for customer, day, *found in sample.iter_rows():
        expected = warehouse.execute(ORACLE, [customer, day]).fetchall()[0]
        assert found == pytest.approx(expected, rel=1e-9), (customer, day)


def test_rows_of_the_source_come_in_order_and_once(warehouse: duckdb.DuckDBPyConnection) -> None:
    connector = PROGRAM.data_connectors[0]
    assert isinstance(connector, WarehouseConnector)
    rows = read(warehouse, connector.query, date(2017, 3, 1), date(2017, 3, 3))
    counted = warehouse.sql(
        "SELECT count(*) FROM transactions "
        "WHERE transaction_timestamp >= '2017-03-01' AND transaction_timestamp < '2017-03-03'"
    ).fetchall()
    assert [(rows.height,)] == counted
    assert rows["file_row_number"].is_unique().all()
    order = ["transaction_timestamp", *connector.order_by]
    assert_frame_equal(rows, rows.sort(order, maintain_order=True))


def test_expressions_read_columns_that_there_are(warehouse: duckdb.DuckDBPyConnection) -> None:
    connector = PROGRAM.data_connectors[0]
    assert isinstance(connector, WarehouseConnector)
    row = read(warehouse, connector.query, date(2017, 3, 1), date(2017, 3, 2)).head(1)
    row = row.with_columns(pl.lit(0.1).alias("score.response"), pl.lit(5.0).alias("orderValue"))
    rules = [link.parameters for link in PROGRAM.filter_chain.active]
    texts = [rule.expression for rule in rules if hasattr(rule, "expression")]
    for text in [*texts, *(channel.eligible for channel in PROGRAM.channels)]:
        assert row.select(pl.sql_expr(text)).dtypes == [pl.Boolean], text


def test_scores_are_many_and_fall_into_every_tier(features: pl.DataFrame) -> None:
    model = PROGRAM.scoring_models[0]
    assert isinstance(model, OnnxModel)
    session = onnxruntime.InferenceSession(model_bytes("product-reviews", model.path))
    known = features.drop_nulls().select(model.features).cast(pl.Float32)
    (scores,) = session.run(None, {session.get_inputs()[0].name: known.to_numpy()})
    assert scores.shape == (known.height,)
    assert np.isfinite(scores).all()
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores.round(6))) > 10_000
    assert PROGRAM.bands is not None
    bounds = [tier.at_least for tier in PROGRAM.bands.tiers]
    assert bounds[0] == 0.0
    assert np.bincount(np.digitize(scores, bounds) - 1).min() > 0.05 * len(scores)


def test_a_household_without_history_is_not_scored() -> None:
    model = PROGRAM.scoring_models[0]
    assert isinstance(model, OnnxModel)
    session = onnxruntime.InferenceSession(model_bytes("product-reviews", model.path))
    unknown = np.array([[np.nan, 0, 0, 0, 0, 0]], dtype=np.float32)
    (scores,) = session.run(None, {session.get_inputs()[0].name: unknown})
    assert np.isnan(scores).all()
