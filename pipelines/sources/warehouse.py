"""Rows of a query, a few days at a time: DuckDB over Parquet, or any database with ADBC."""

from __future__ import annotations

import importlib
import importlib.util
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from conf.program import WarehouseConnector
from pipelines.batch import Batch
from pipelines.errors import MisplacedRows, WarehouseFailed
from pipelines.sources.cut import Cutter
from pipelines.sources.entry import Entry, Part
from pipelines.sources.inputs import Input
from transforms.kernel import ROW

#: Databases in a file: their drivers take its path.
_FILES = ("duckdb", "sqlite")
#: Databases that convert times to the zone of their session.
_ZONED = ("duckdb", "postgresql")
_DAY = "_day"
#: What adds up hashes of whole rows, in any order, so that one that changed shows. DuckDB's own
#: hash() is faster and another in each of its versions.
_DIGESTS = {
    "duckdb": "CAST(sum(md5_number_lower(CAST(to_json(_rows) AS VARCHAR))) AS VARCHAR)",
    "postgresql": "CAST(sum(hashtextextended(CAST(_rows AS TEXT), 0)) AS TEXT)",
}


def _location(text: str) -> str:
    """Return where a table's Parquet is; ``package:`` names data that a Python package ships.

    The package is found without importing it: data need not cost its import time.
    """
    if not text.startswith("package:"):
        return text
    package, _, rest = text.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WarehouseFailed(
            text, "find the data", f"expected the Python package '{package}', found none installed"
        )
    return str(Path(spec.submodule_search_locations[0], rest))


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Where a warehouse is: a URL, and for DuckDB the Parquet behind each table name.

    ``duckdb://`` is in memory; ``duckdb:///file``, ``sqlite:///file`` and ``postgresql://...`` are
    what they say; any other URL goes whole to the ADBC driver of its scheme. Passwords come from
    the driver's own means (PGPASSWORD, a service file).
    """

    url: str
    tables: Mapping[str, str]

    def connect(self) -> Connection:
        """Open a connection.

        Raises:
            WarehouseFailed: no driver for the URL, no such database, or a table's file is missing.
        """
        driver = self._driver()
        target = self.url.partition("://")[2][1:] if self._scheme in _FILES else self.url
        try:
            opened = driver.connect(target) if target else driver.connect()
        except driver.Error as error:
            raise _failed(self.url, "connect", error) from error
        connection = Connection(self.url, opened, driver.Error)
        with ExitStack() as undo:
            undo.callback(connection.close)
            self._prepare(connection)
            undo.pop_all()
        return connection

    @property
    def _scheme(self) -> str:
        return urlsplit(self.url).scheme

    def _driver(self) -> Any:
        """Import the driver: ``adbc_driver_<scheme>``, as all ADBC drivers are called."""
        package = f"adbc_driver_{self._scheme}"
        try:
            return importlib.import_module(f"{package}.dbapi")
        except ModuleNotFoundError as error:
            expected = f"expected the Python package '{package}', found none installed"
            raise WarehouseFailed(self.url, "connect", expected) from error

    def _prepare(self, connection: Connection) -> None:
        """Make the session's zone UTC, which bound times are in, and give tables their names."""
        if self._scheme in _ZONED:
            connection.execute("SET TimeZone = 'UTC'", "set the time zone")
            connection.opened.commit()
        for name, where in sorted(self.tables.items()):
            path = _location(where).replace("'", "''")
            connection.execute(
                f"CREATE TEMP VIEW {name} AS "
                f"SELECT * FROM read_parquet('{path}', file_row_number = true)",
                f"table '{name}' at {_location(where)}",
            )


@dataclass(frozen=True, slots=True)
class Connection:
    """An open warehouse; statements bind their values."""

    url: str
    opened: Any
    failure: type[Exception]

    def execute(self, statement: str, what: str) -> None:
        """Run a statement that returns nothing."""
        with self.opened.cursor() as cursor:
            try:
                cursor.execute(statement)
            except self.failure as error:
                raise _failed(self.url, what, error) from error

    def stream(self, query: str, values: Sequence[object], what: str) -> Iterator[pl.DataFrame]:
        """Yield the rows of a query as frames; an empty result yields one frame without rows.

        Raises:
            WarehouseFailed: the warehouse refused the query; names ``what`` was read.
        """
        with self.opened.cursor() as cursor:
            try:
                cursor.execute(query, tuple(values))
                reader = cursor.fetch_record_batch()
                first = next(reader, None)
                yield self._empty(reader.schema, typed=first is not None)
                for batch in chain(() if first is None else (first,), reader):
                    yield _frame(pa.Table.from_batches([batch]))
            except (self.failure, pa.ArrowException, OSError) as error:
                raise _failed(self.url, what, error) from error

    def _empty(self, schema: pa.Schema, *, typed: bool) -> pl.DataFrame:
        """Return a frame of the result's columns; SQLite knows their types from rows alone."""
        if not typed and self.url.startswith("sqlite:"):
            schema = pa.schema([(name, pa.null()) for name in schema.names])
        return _frame(schema.empty_table())

    def frame(self, query: str, values: Sequence[object], what: str) -> pl.DataFrame:
        """Return all rows of a query as one frame."""
        return pl.concat(list(self.stream(query, values, what)))

    def witness(
        self,
        query: str,
        values: Sequence[object],
        what: str,
        *,
        day: str | None = None,
        digest: str | None = None,
    ) -> dict[str, Input]:
        """Return the rows of a query as inputs named ``what``, counted and digested where they are.

        By day of the column ``day`` (``what/<day>``), else as one. ``digest`` is an aggregate in
        the database's SQL that tells contents apart; without it DuckDB and PostgreSQL add up
        hashes of whole rows, and others are told apart by their counts alone.
        """
        scheme = urlsplit(self.url).scheme
        key = f'substr(CAST("{day}" AS VARCHAR), 1, 10)' if day else "''"
        statement = (
            f"SELECT {key} AS _day, count(*) AS _count, "
            f"{digest or _DIGESTS.get(scheme, 'NULL')} AS _digest "
            f"FROM (\n{query.strip().rstrip(';')}\n) AS _rows" + (" GROUP BY 1" if day else "")
        )
        found = self.frame(statement, values, what).rows()
        return {
            key or "": Input(f"{what}/{key}" if day else what, _text(version), int(count))
            for key, count, version in found
        }

    def close(self) -> None:
        """Close the connection."""
        self.opened.close()


def _frame(table: pa.Table) -> pl.DataFrame:
    """Return a table as a frame; what a driver has no type for (PostgreSQL's numeric) is text."""
    for index, field in enumerate(table.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            stored = table.column(index).cast(field.type.storage_type)
            table = table.set_column(index, field.name, stored)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _failed(url: str, what: str, error: Exception) -> WarehouseFailed:
    """Return what a driver's error means; out of reach is what DB-API calls operational."""
    out_of_reach = any(kind.__name__ == "OperationalError" for kind in type(error).__mro__)
    return WarehouseFailed(url, what, _first_line(error), transient=out_of_reach)


def midnight(day: str) -> datetime:
    """Return the start of a day without a zone, as timestamps without zone (UTC) are stored."""
    return datetime.combine(date.fromisoformat(day), time.min)


@dataclass(frozen=True, slots=True)
class WarehouseSource:
    """A connector's query, read ``read_days`` days at a time and cut into one part a day."""

    warehouse: Warehouse
    connector: WarehouseConnector
    read_days: int
    frame_rows: int

    def plan(self, emit: Sequence[str], evidence: Sequence[str]) -> tuple[Entry, ...]:
        """List the reads: runs of consecutive days, evidence and output apart."""
        runs = [
            (days, emits)
            for units, emits in ((evidence, False), (emit, True))
            for days in _runs(sorted(units), self.read_days)
        ]
        return tuple(
            Entry(index, self.connector.table_name, tuple(Part(day, 0, emits) for day in days))
            for index, (days, emits) in enumerate(runs)
        )

    def witness(self, days: Sequence[str]) -> dict[str, tuple[Input, ...]]:
        """Return each day's partition; a day without rows has one of no rows."""
        if not days:
            return {}
        connector, partition = self.connector, self.connector.partition
        bounds = (midnight(min(days)), midnight(max(days)) + timedelta(days=1))
        with closing(self.warehouse.connect()) as connection:
            found = connection.witness(
                connector.query,
                bounds,
                connector.source_id,
                day=partition.column,
                digest=partition.digest,
            )
        return {
            day: (found.get(day) or Input(f"{connector.source_id}/{day}", rows=0),) for day in days
        }

    def open(self) -> WarehouseReader:
        """Connect."""
        return WarehouseReader(self, self.warehouse.connect())

    def preview(self, entries: Sequence[Entry]) -> pl.DataFrame | None:
        """Run the query over an empty span of time."""
        if not entries:
            return None
        day = midnight(entries[0].parts[0].unit)
        with closing(self.warehouse.connect()) as connection:
            what = f"source '{self.connector.source_id}'"
            frame = connection.frame(self.connector.query, (day, day), what)
        frame.select(_day(frame, self.connector))
        return frame.with_columns(pl.lit(0, pl.UInt32).alias(ROW))


def _runs(days: Sequence[str], longest: int) -> list[list[str]]:
    """Group days into runs without a gap, of at most ``longest`` days."""
    runs: list[list[str]] = []
    for day in days:
        follows = runs and (
            date.fromisoformat(runs[-1][-1]) + timedelta(days=1) == date.fromisoformat(day)
        )
        if follows and len(runs[-1]) < longest:
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


@dataclass(frozen=True, slots=True)
class WarehouseReader:
    """An open :class:`WarehouseSource`."""

    source: WarehouseSource
    connection: Connection

    def read(self, entry: Entry) -> Iterator[Batch]:
        """Yield the batches of every day of ``entry``, in order, from one query.

        Raises:
            MisplacedRows: rows of another day, or not in the order of days; then the days that
                were given out before are not to be trusted either.
            WarehouseFailed: the warehouse refused the query.
        """
        connector, parts = self.source.connector, entry.parts
        bounds = (midnight(parts[0].unit), midnight(parts[-1].unit) + timedelta(days=1))
        what = f"source '{connector.source_id}', {parts[0].unit} to {parts[-1].unit}"
        frames = self.connection.stream(connector.query, bounds, what)
        empty = next(frames)
        cutters = deque(Cutter(part, self.source.frame_rows) for part in parts)
        for frame in frames:
            for day, rows in self._by_day(frame):
                # Checked before any day is given out as complete: a failure must not look so.
                if day not in {cutter.part.unit for cutter in cutters}:
                    raise MisplacedRows(connector.source_id, _span(parts), str(day))
                while cutters[0].part.unit != day:
                    yield cutters.popleft().finish(empty)
                yield from cutters[0].add(rows)
        for cutter in cutters:
            yield cutter.finish(empty)

    def _by_day(self, frame: pl.DataFrame) -> Iterator[tuple[str | None, pl.DataFrame]]:
        """Split a frame into stretches of one day of the partition column."""
        if frame.is_empty():
            return
        days = frame.select(_day(frame, self.source.connector).alias(_DAY)).to_series()
        starts = [0, *((days.ne_missing(days.shift(1)))[1:].arg_true() + 1)]
        for start, end in zip(starts, [*starts[1:], frame.height], strict=True):
            yield days[start], frame.slice(start, end - start)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _span(parts: Sequence[Part]) -> str:
    return f"{parts[0].unit} to {parts[-1].unit}"


def _day(frame: pl.DataFrame, connector: WarehouseConnector) -> pl.Expr:
    """Return the day of the partition column as text: a timestamp, a date, or ISO 8601 text."""
    name = connector.partition.column
    if name not in frame.columns:
        raise WarehouseFailed(
            connector.table_name,
            f"source '{connector.source_id}'",
            f"expected the partition column '{name}' in the query, found {frame.columns}",
        )
    column, dtype = pl.col(name), frame.schema[name]
    if dtype == pl.Null:
        return column.cast(pl.String)
    if dtype == pl.String:
        return column.str.head(10)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone not in (None, "UTC"):
        column = column.dt.convert_time_zone("UTC")
    return column.dt.date().cast(pl.String)
