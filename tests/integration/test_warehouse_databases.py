"""The source ``warehouse`` on real servers: the same rows, whichever database holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.program import WarehouseConnector
from pipelines.context import RunContext
from pipelines.errors import MisplacedRows, WarehouseFailed
from pipelines.failure import Failure, Lookback
from pipelines.read import ReadEntries
from pipelines.sources.warehouse import Warehouse, WarehouseSource
from transforms.conform import Conform
from transforms.kernel import ROW

pytestmark = pytest.mark.integration

DAYS = ("2017-03-01", "2017-03-02", "2017-03-03")
CONTEXT = RunContext("solicit", "reviews", "f" * 64, "1")

#: n, customer, product, value, placed (UTC): edges of days, nulls, decimals, text beyond ASCII.
ROWS = (
    (1, "a", 10, "1.50", "2017-02-28 23:59:59.999999"),
    (2, "a", 10, "0.10", "2017-03-01 00:00:00"),
    (3, "bjørn", 11, None, "2017-03-01 12:30:00.123"),
    (4, None, 12, "99999999.99", "2017-03-01 23:59:59.999"),
    (5, "c", None, "-3.05", "2017-03-03 00:00:00"),
    (6, "c", 12, "7", "2017-03-03 23:59:59"),
    (7, "d", 13, "8", "2017-03-04 00:00:00"),
)
SELECT = (
    "SELECT n, customer, product, value, {2} FROM orders "
    "WHERE orders.placed >= {0} AND orders.placed < {1} ORDER BY n"
)
#: SQLite keeps times as text: made ISO 8601 by the query.
ISO = "strftime('%Y-%m-%dT%H:%M:%fZ', placed) AS placed"


@dataclass(frozen=True)
class Database:
    """A database with the table, how it writes the table's times, and how a query must ask."""

    warehouse: Warehouse
    bounds: tuple[str, str]
    placed: str = "placed"

    @property
    def query(self) -> str:
        return SELECT.format(*self.bounds, self.placed)


def _literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def _fill(url: str, placed: str, value: str = "NUMERIC(10, 2)", zone: str = "") -> None:
    values = ", ".join(
        f"({n}, {_literal(c)}, {_literal(p)}, {v or 'NULL'}, {_literal(at + zone)})"
        for n, c, p, v, at in ROWS
    )
    statements = (
        "DROP TABLE IF EXISTS orders",
        f"CREATE TABLE orders "
        f"(n INTEGER, customer TEXT, product BIGINT, value {value}, placed {placed})",
        f"INSERT INTO orders VALUES {values}",
    )
    with closing(Warehouse(url, {}).connect()) as connection:
        for statement in statements:
            connection.execute(statement, "fill")
        connection.opened.commit()


@pytest.fixture(params=["TIMESTAMP", "TIMESTAMPTZ"])
def on_postgresql(request: pytest.FixtureRequest, postgresql: str) -> Database:
    zone = "+00" if request.param == "TIMESTAMPTZ" else ""
    _fill(postgresql, request.param, zone=zone)
    return Database(Warehouse(postgresql, {}), ("$1", "$2"))


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'w.sqlite'}"
    _fill(url, "TEXT")
    return Database(Warehouse(url, {}), ("datetime($1)", "datetime($2)"), ISO)


@pytest.fixture
def on_duckdb(tmp_path: Path) -> Database:
    url = f"duckdb:///{tmp_path / 'w.duckdb'}"
    _fill(url, "TIMESTAMP")
    return Database(Warehouse(url, {}), ("$1", "$2"))


def source(database: Database, query: str | None = None, read_days: int = 2) -> WarehouseSource:
    connector = WarehouseConnector.model_validate(
        {
            "sourceId": "orders",
            "connectorType": "warehouse",
            "tableName": "orders",
            "subjectType": "product",
            "marketplace": "US",
            "query": query or database.query,
            "partition": {"column": "placed"},
            "fieldMappings": {
                "customerId": "customer",
                "subjectId": "product",
                "eventDate": "placed",
                "orderValue": "value",
            },
        }
    )
    return WarehouseSource(database.warehouse, connector, read_days, 2)


def conformed(made: WarehouseSource, days: tuple[str, ...] = DAYS) -> list[Any]:
    """Every batch as its place, the fields that later steps read, and why rows were rejected."""
    conform = Conform(made.connector, ("US",))
    fields = ["n", ROW, "customerId", "subjectId", "eventDate", "orderValue"]
    found = []
    with closing(made.open()) as reader:
        for entry in made.plan(days, ()):
            for batch in reader.read(entry):
                split = conform(batch.frame, CONTEXT.unit(batch.unit))
                passed = split.passed.select(fields).with_columns(pl.col("n").cast(pl.Int64))
                reasons = split.rejected.select(ROW, "reasonCode", "reason").rows()
                found.append((batch.unit, batch.last, passed.rows(), reasons))
    return found


def test_postgresql_gives_the_batches_that_duckdb_gives(
    on_postgresql: Database, on_duckdb: Database
) -> None:
    expected = conformed(source(on_duckdb))
    assert sum(len(passed) + len(rejected) for _, _, passed, rejected in expected) == 5
    assert conformed(source(on_postgresql)) == expected


def test_sqlite_gives_the_batches_that_duckdb_gives(
    on_sqlite: Database, on_duckdb: Database
) -> None:
    assert conformed(source(on_sqlite)) == conformed(source(on_duckdb))


@pytest.mark.parametrize("read_days", [1, 3])
def test_the_days_read_together_do_not_matter(on_postgresql: Database, read_days: int) -> None:
    assert conformed(source(on_postgresql, read_days=read_days)) == conformed(source(on_postgresql))


def test_sqlite_without_datetime_is_refused_and_not_read_wrongly(on_sqlite: Database) -> None:
    """A bound time is text with a T, which is greater than the same day's text with a blank."""
    made = source(on_sqlite, SELECT.format("$1", "$2", ISO))
    with pytest.raises(MisplacedRows):
        conformed(made)


def test_databases_count_the_rows_of_a_day_alike(
    on_postgresql: Database, on_sqlite: Database, on_duckdb: Database
) -> None:
    expected = {"2017-03-01": 3, "2017-03-02": 0, "2017-03-03": 2}
    for database in (on_postgresql, on_sqlite, on_duckdb):
        found = source(database).witness(DAYS)
        assert {day: item.rows for day, (item,) in found.items()} == expected


def test_a_changed_row_shows_where_the_database_can_hash(
    on_postgresql: Database, on_sqlite: Database, on_duckdb: Database
) -> None:
    """SQLite cannot: there a program gives an aggregate of its own, or counts must do."""
    assert moved_by_a_change(on_postgresql) == ["2017-03-03"]
    assert moved_by_a_change(on_duckdb) == ["2017-03-03"]
    assert moved_by_a_change(on_sqlite) == []


def moved_by_a_change(database: Database) -> list[str]:
    """Change one row of the third of March, and return the days whose witness differs."""
    made = source(database)
    before = made.witness(DAYS)
    assert made.witness(DAYS) == before
    with closing(database.warehouse.connect()) as connection:
        connection.execute("UPDATE orders SET product = 99 WHERE n = 5", "change")
        connection.opened.commit()
    after = made.witness(DAYS)
    return [day for day in DAYS if before[day] != after[day]]


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return request.getfixturevalue("on_sqlite")
    url = request.getfixturevalue("postgresql")
    _fill(url, "TIMESTAMP")
    return Database(Warehouse(url, {}), ("$1", "$2"))


@contextmanager
def refused(told: str) -> Iterator[None]:
    with pytest.raises(WarehouseFailed) as error:
        yield
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_is_missing_is_named(database: Database) -> None:
    with refused("nowhere"):
        conformed(source(database, "SELECT * FROM nowhere WHERE $1 < $2"))


def test_a_preview_has_the_columns_of_the_rows(database: Database) -> None:
    made = source(database)
    frame = made.preview(made.plan(DAYS, ()))
    assert frame is not None
    assert frame.columns == ["n", "customer", "product", "value", "placed", ROW]


def test_a_day_that_fails_in_the_database_leaves_its_neighbours(postgresql: str) -> None:
    """After an error, a transaction of PostgreSQL answers nothing any more."""
    _fill(postgresql, "TIMESTAMP")
    database = Database(Warehouse(postgresql, {}), ("$1", "$2"))
    broken = database.query.replace("value,", "1 / (n - 3) AS value,")
    step = ReadEntries(source(database, broken, 3), Lookback(DAYS, 0), "read")
    (entry,) = source(database, broken, 3).plan(DAYS, ())
    found = [getattr(each, "value", each) for each in step.process(entry)]
    step.teardown()
    assert [each.unit for each in found if isinstance(each, Failure)] == [DAYS[0]]
    whole = [each.unit for each in found if getattr(each, "last", False)]
    assert whole == list(DAYS[1:])


def test_a_server_that_is_not_there_is_named() -> None:
    with refused("connect: "):
        Warehouse("postgresql:///postgres?host=/no/such/folder", {}).connect()


def test_a_lookup_reads_its_values(database: Database) -> None:
    with closing(database.warehouse.connect()) as connection:
        frame = connection.frame('SELECT DISTINCT "product" FROM orders', (), "lookup")
    assert sorted(frame.to_series().drop_nulls().cast(pl.Int64)) == [10, 11, 12, 13]


def test_a_read_without_any_row_goes_through_the_later_steps(database: Database) -> None:
    """SQLite gives no types where there is no row."""
    assert conformed(source(database), ("2018-01-01",)) == [("2018-01-01", True, [], [])]
