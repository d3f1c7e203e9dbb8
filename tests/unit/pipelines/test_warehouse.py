from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from conf.program import WarehouseConnector
from pipelines.batch import Batch
from pipelines.errors import MisplacedRows, WarehouseFailed
from pipelines.sources.warehouse import Warehouse, WarehouseSource, midnight
from transforms.kernel import ROW

RANGE = "SELECT * FROM orders WHERE placed >= $1 AND placed < $2 ORDER BY placed, n"
AS_TEXT = (
    "SELECT * FROM orders WHERE placed >= CAST($1 AS VARCHAR) AND placed < CAST($2 AS VARCHAR) "
    "ORDER BY n"
)
DAYS = ("2017-03-01", "2017-03-02", "2017-03-03", "2017-03-04")
#: Rows of each day: two, none, three, one.
TIMES = [
    datetime(2017, 3, 1, 0, 0),
    datetime(2017, 3, 1, 23, 59, 59, 999_000),
    datetime(2017, 3, 3, 0, 0),
    datetime(2017, 3, 3, 12, 0),
    datetime(2017, 3, 3, 12, 0),
    datetime(2017, 3, 4, 6, 0),
]
BY_DAY = {"2017-03-01": [0, 1], "2017-03-02": [], "2017-03-03": [2, 3, 4], "2017-03-04": [5]}


def orders(times: pl.Series | None = None) -> pl.DataFrame:
    at = pl.Series("placed", TIMES, pl.Datetime("us")) if times is None else times
    return pl.DataFrame({"n": range(len(at)), "placed": at})


def connector(query: str = RANGE, column: str = "placed") -> WarehouseConnector:
    return WarehouseConnector.model_validate(
        {
            "sourceId": "orders",
            "connectorType": "warehouse",
            "tableName": "orders",
            "subjectType": "product",
            "marketplace": "US",
            "query": query,
            "partition": {"column": column},
            "fieldMappings": {"customerId": "n", "subjectId": "n", "eventDate": "placed"},
        }
    )


def source(
    folder: Path, frame: pl.DataFrame | None = None, query: str = RANGE, **changes: Any
) -> WarehouseSource:
    path = folder / "orders.parquet"
    (orders() if frame is None else frame).write_parquet(path)
    warehouse = Warehouse("duckdb://", {"orders": str(path)})
    return replace(WarehouseSource(warehouse, connector(query), 10, 2), **changes)


def read(made: WarehouseSource, units: tuple[str, ...] = DAYS) -> list[Batch]:
    with closing(made.open()) as reader:
        return [batch for entry in made.plan(units, ()) for batch in reader.read(entry)]


def by_day(batches: list[Batch], column: str = "n") -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for batch in batches:
        found.setdefault(batch.unit, []).extend(batch.frame[column])
    return found


@pytest.mark.parametrize("read_days", [1, 2, 3, 100])
def test_every_day_has_its_rows_whichever_days_are_read_together(
    tmp_path: Path, read_days: int
) -> None:
    batches = read(source(tmp_path, read_days=read_days))
    assert by_day(batches) == BY_DAY
    assert by_day(batches, ROW) == {day: list(range(len(n))) for day, n in BY_DAY.items()}
    assert [(b.unit, b.frame.height, b.last) for b in batches] == [
        ("2017-03-01", 2, True),
        ("2017-03-02", 0, True),
        ("2017-03-03", 2, False),
        ("2017-03-03", 1, True),
        ("2017-03-04", 1, True),
    ]
    assert len({tuple(b.frame.schema.items()) for b in batches}) == 1


def test_days_are_read_in_runs_without_gaps(tmp_path: Path) -> None:
    made = source(tmp_path, read_days=2)
    emit = ("2017-03-05", "2017-03-01", "2017-03-02", "2017-03-03")
    entries = made.plan(emit, ("2017-02-27", "2017-02-28"))
    runs = [tuple(part.unit for part in entry.parts) for entry in entries]
    assert runs == [
        ("2017-02-27", "2017-02-28"),
        ("2017-03-01", "2017-03-02"),
        ("2017-03-03",),
        ("2017-03-05",),
    ]
    assert [entry.emits for entry in entries] == [False, True, True, True]
    assert [entry.index for entry in entries] == [0, 1, 2, 3]


def test_a_gap_between_days_is_not_read(tmp_path: Path) -> None:
    assert by_day(read(source(tmp_path), ("2017-03-01", "2017-03-04"))) == {
        "2017-03-01": [0, 1],
        "2017-03-04": [5],
    }


def test_a_table_without_rows_gives_every_day_an_empty_batch(tmp_path: Path) -> None:
    batches = read(source(tmp_path, orders().clear()))
    assert [(b.unit, b.frame.height, b.last) for b in batches] == [(day, 0, True) for day in DAYS]
    assert batches[0].frame.columns == ["n", "placed", "file_row_number", ROW]


@pytest.mark.parametrize(
    ("dtype", "query"),
    [
        (pl.Datetime("ms"), RANGE),
        (pl.Datetime("ns"), RANGE),
        (pl.Datetime("us", "UTC"), RANGE),
        (pl.Date, RANGE),
        (pl.String, AS_TEXT),
    ],
)
def test_the_partition_column_may_be_of_any_kind_of_time(
    tmp_path: Path, dtype: Any, query: str
) -> None:
    at = orders()["placed"]
    times = at.dt.strftime("%Y-%m-%d %H:%M:%S") if dtype == pl.String else at.cast(dtype)
    assert by_day(read(source(tmp_path, orders(times), query))) == BY_DAY


def test_text_with_a_t_between_date_and_time_is_a_time(tmp_path: Path) -> None:
    times = orders()["placed"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert by_day(read(source(tmp_path, orders(times), AS_TEXT))) == BY_DAY


def test_times_of_another_zone_belong_to_the_day_in_utc(tmp_path: Path) -> None:
    times = orders()["placed"].dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    query = (
        "SELECT n, placed FROM orders WHERE placed >= CAST($1 AS TIMESTAMP) AT TIME ZONE 'UTC' "
        "AND placed < CAST($2 AS TIMESTAMP) AT TIME ZONE 'UTC' ORDER BY n"
    )
    assert by_day(read(source(tmp_path, orders(times), query))) == BY_DAY


ALL = "SELECT n, placed FROM orders WHERE $1 < $2"


def reader_of(made: WarehouseSource) -> Any:
    return closing(made.open())


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ([2, 0, 5], "2017-03-01"),  # a day that is over comes again
        ([0, 5, 1], "2017-03-01"),
        ([0, 2, 5, 3], "2017-03-03"),
    ],
)
def test_rows_out_of_order_are_refused(tmp_path: Path, order: list[int], found: str) -> None:
    made = source(tmp_path, orders()[order], ALL)
    with pytest.raises(MisplacedRows, match=f"found rows of {found}"):
        read(made)


@pytest.mark.parametrize("strange", [datetime(2017, 2, 28), datetime(2017, 3, 5)])
def test_rows_of_a_day_that_was_not_asked_for_are_refused_before_a_day_ends(
    tmp_path: Path, strange: datetime
) -> None:
    """A day that was given out whole counts as read: the day at hand must not be."""
    made = source(tmp_path, orders(pl.Series("placed", [*TIMES, strange])), ALL)
    (entry,) = made.plan(DAYS, ())
    given = []
    with reader_of(made) as reader, pytest.raises(MisplacedRows) as told:
        given.extend(reader.read(entry))
    assert f"expected rows of 2017-03-01 to 2017-03-04, found rows of {strange:%Y-%m-%d}" in str(
        told.value
    )
    assert "'orders'" in str(told.value)


def test_the_last_day_is_not_over_when_a_stranger_comes_behind_it(tmp_path: Path) -> None:
    times = pl.Series("placed", [datetime(2017, 3, 1), datetime(2017, 3, 9)])
    made = source(tmp_path, orders(times), ALL)
    (entry,) = made.plan(("2017-03-01",), ())
    given: list[Batch] = []
    with reader_of(made) as reader, pytest.raises(MisplacedRows):
        given.extend(reader.read(entry))
    assert [batch for batch in given if batch.last] == []


@pytest.mark.parametrize("place", [0, 1, 3, 6])
def test_rows_without_a_time_are_refused_wherever_they_come(tmp_path: Path, place: int) -> None:
    times = [*TIMES[:place], None, *TIMES[place:]]
    made = source(tmp_path, orders(pl.Series("placed", times, pl.Datetime("us"))), ALL)
    with pytest.raises(MisplacedRows, match="found rows of None"):
        read(made)


@pytest.mark.parametrize("frame_rows", [1, 2, 3, 4, 1000])
def test_batches_have_the_rows_that_were_asked_for(tmp_path: Path, frame_rows: int) -> None:
    first = datetime(2017, 3, 1)
    times = pl.Series("placed", [first + timedelta(seconds=n) for n in range(7)])
    heights = [
        b.frame.height for b in read(source(tmp_path, orders(times), frame_rows=frame_rows))[:-3]
    ]
    assert sum(heights) == 7
    assert heights[:-1] == [frame_rows] * (len(heights) - 1)


def test_a_day_of_more_rows_than_the_database_gives_at_once(tmp_path: Path) -> None:
    many = pl.Series("placed", [datetime(2017, 3, 1)] * 5000 + [datetime(2017, 3, 2)] * 3000)
    found = by_day(read(source(tmp_path, orders(many), frame_rows=1100)))
    assert {day: len(n) for day, n in found.items()} == dict(
        zip(DAYS, [5000, 3000, 0, 0], strict=True)
    )
    assert found["2017-03-01"] == list(range(5000))


@pytest.mark.parametrize(
    ("url", "tables", "told"),
    [
        (
            "mysql://x",
            {},
            "mysql://x: connect: expected the Python package 'adbc_driver_mysql', found none",
        ),
        ("duckdb:////no/such/folder/w.duckdb", {}, "duckdb:////no/such/folder/w.duckdb: connect:"),
        ("sqlite:////no/such/folder/w.sqlite", {}, "sqlite:////no/such/folder/w.sqlite: connect:"),
        ("postgresql:///x?host=/no/such/folder", {}, "connect:"),
        ("duckdb://", {"t": "/no/such.parquet"}, "table 't' at /no/such.parquet: "),
        ("duckdb://", {"t": "package:nothere_at_all/x"}, "'nothere_at_all', found none installed"),
    ],
)
def test_what_cannot_be_reached_is_named(url: str, tables: dict[str, str], told: str) -> None:
    with pytest.raises(WarehouseFailed) as error:
        Warehouse(url, tables).connect()
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT * FROM nowhere WHERE $1 < $2", "nowhere"),
        ("SELECT missing FROM orders WHERE $1 < $2", "missing"),
        ("SELEKT $1 < $2", "SELEKT"),
    ],
)
def test_a_query_that_is_refused_names_source_and_days(
    tmp_path: Path, query: str, told: str
) -> None:
    with pytest.raises(WarehouseFailed) as error:
        read(source(tmp_path, query=query))
    message = str(error.value)
    assert "source 'orders', 2017-03-01 to 2017-03-04" in message
    assert told in message
    assert "\n" not in message


def test_a_row_that_the_database_cannot_compute_is_told(tmp_path: Path) -> None:
    query = "SELECT CAST('x' || n AS INTEGER) AS n, placed FROM orders WHERE $1 < $2"
    with pytest.raises(WarehouseFailed, match="source 'orders'"):
        read(source(tmp_path, query=query))


def test_a_query_without_its_partition_column_is_told(tmp_path: Path) -> None:
    query = "SELECT n FROM orders WHERE placed >= $1 AND placed < $2"
    made = source(tmp_path, query=query)
    told = "expected the partition column 'placed' in the query, found .*'n'"
    with pytest.raises(WarehouseFailed, match=told):
        made.preview(made.plan(DAYS, ()))
    with pytest.raises(WarehouseFailed, match=told):
        read(made)


def test_a_preview_has_the_columns_of_the_rows(tmp_path: Path) -> None:
    made = source(tmp_path)
    frame = made.preview(made.plan(DAYS, ()))
    assert frame is not None
    assert frame.is_empty()
    assert frame.schema == read(made)[0].frame.schema
    assert made.preview(()) is None


def test_a_database_file_of_duckdb_is_a_warehouse(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    frame = orders()
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE orders AS SELECT * FROM frame")
    assert frame.height == 6
    made = replace(source(tmp_path), warehouse=Warehouse(f"duckdb:///{path}", {}))
    assert by_day(read(made)) == BY_DAY


def test_a_name_with_a_quote_in_it_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "o'brien"
    folder.mkdir()
    assert by_day(read(source(folder))) == BY_DAY


def test_values_are_bound_and_not_pasted(tmp_path: Path) -> None:
    made = source(tmp_path)
    with closing(made.warehouse.connect()) as connection:
        odd = "x'; DROP VIEW orders; --"
        frame = connection.frame("SELECT $1 AS text, count(*) AS n FROM orders", (odd,), "test")
        assert frame.to_dicts() == [{"text": odd, "n": 6}]


def test_midnight_has_no_zone() -> None:
    assert midnight("2017-03-01") == datetime(2017, 3, 1)
    assert midnight("2017-03-01").tzinfo is None


def test_the_day_of_a_batch_is_the_day_of_its_rows(tmp_path: Path) -> None:
    for batch in read(source(tmp_path, read_days=100)):
        days = batch.frame["placed"].dt.date().unique().to_list()
        assert days in ([], [date.fromisoformat(batch.unit)])


def test_the_zone_of_a_session_is_utc_wherever_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time with a zone is compared with one without by the session's zone."""
    monkeypatch.setenv("TZ", "America/New_York")
    times = orders()["placed"].dt.replace_time_zone("UTC")
    made = source(tmp_path, orders(times))
    assert by_day(read(made)) == BY_DAY
    with closing(made.warehouse.connect()) as connection:
        zone = connection.frame("SELECT current_setting('TimeZone')", (), "zone")
    assert zone.item() == "UTC"


def test_a_witness_counts_the_rows_of_each_day(tmp_path: Path) -> None:
    found = source(tmp_path).witness(DAYS)
    assert {day: item.rows for day, (item,) in found.items()} == {
        day: len(rows) for day, rows in BY_DAY.items()
    }
    assert [item.name for (item,) in found.values()] == [f"orders/{day}" for day in DAYS]
    assert found["2017-03-02"][0].version is None
    assert len({item.version for (item,) in found.values()}) == len(DAYS)


def test_a_witness_is_the_same_however_many_days_are_asked_for(tmp_path: Path) -> None:
    made = source(tmp_path)
    together = made.witness(DAYS)
    assert {**made.witness(DAYS[2:]), **made.witness(DAYS[:2])} == together
    assert made.witness(()) == {}


def test_a_witness_tells_a_changed_row_and_no_other_day(tmp_path: Path) -> None:
    """Also where the number of rows stays, and where two equal rows become two others."""
    before = source(tmp_path).witness(DAYS)
    for changed in ([2, 2], [7, 7]):
        frame = orders().with_columns(n=pl.Series([0, 1, 2, *changed, 5]))
        after = source(tmp_path, frame).witness(DAYS)
        moved = [day for day in DAYS if before[day] != after[day]]
        assert moved == ["2017-03-03"]
        before = after


def test_a_digest_of_ones_own_is_taken(tmp_path: Path) -> None:
    said = connector().model_dump(by_alias=True, exclude_none=True)
    said["partition"]["digest"] = "max(n)"
    made = source(tmp_path, connector=WarehouseConnector.model_validate(said))
    assert made.witness(DAYS)["2017-03-03"][0].version == "4"


def test_a_query_may_end_with_a_comment_or_a_semicolon(tmp_path: Path) -> None:
    plain = source(tmp_path).witness(DAYS)
    assert source(tmp_path, query=f"{RANGE} -- newest last").witness(DAYS) == plain
    assert source(tmp_path, query=f"{RANGE} ;\n").witness(DAYS) == plain
