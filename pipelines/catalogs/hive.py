"""The Hive metastore that a Spark session is connected to, by SQL statements.

Tables are made with the statement of ``muster athena ddl``. The number of a generation is in its
folder's name, so that the location alone says which of two is the later one.
"""

from __future__ import annotations

from typing import Any

from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.names import Names, is_later
from schemas.athena import MONTH, add_partition, set_location

_DETAILS = "# Detailed Partition Information"


class HiveCatalog:
    """Tables of one database; ``spark`` is a session that has Hive support.

    The metastore compares nothing when a location is set: that a month has one merge at a time
    (the ledger's lease) is what keeps a late writer from setting an older one.
    """

    def __init__(self, spark: Any, root: str, database: str, table_prefix: str = "") -> None:
        self._spark = spark
        self._names = Names("Hive", root, database, table_prefix)

    def current(self, record_type: str, month: str) -> str | None:
        """Return the location that readers are sent to; None for a partition that is not there.

        Raises:
            CatalogFailed: the metastore refused or cannot be reached; there is no such table; the
                partition points outside the lake.
        """
        location = self._location(record_type, month)
        return self._names.key(record_type, location) if location is not None else None

    def switch(self, pointer: Pointer) -> None:
        """Add the partition, or set its location: each is one change that readers see whole.

        Raises:
            CatalogFailed: as ``current``, and for another generation of the same number.
        """
        current = self.current(pointer.record_type, pointer.month)
        if not is_later("Hive", pointer, current):
            return
        change = add_partition if current is None else set_location
        table = self._names.table(pointer.record_type)
        url = self._names.url(pointer.location)
        self._run(
            pointer.record_type, change(table, pointer.month, url, database=self._names.database)
        )

    def _location(self, record_type: str, month: str) -> str | None:
        table = f"`{self._names.database}`.`{self._names.table(record_type)}`"
        partition = f"PARTITION (`{MONTH}` = '{month}')"
        if not self._run(record_type, f"SHOW PARTITIONS {table} {partition}"):
            return None
        rows = self._run(record_type, f"DESCRIBE FORMATTED {table} {partition}")
        names = [row["col_name"] for row in rows]
        # The table's own location follows the partition's under the same name.
        at = names.index("Location", names.index(_DETAILS))
        return str(rows[at]["data_type"])

    def _run(self, record_type: str, statement: str) -> list[Any]:
        try:
            return list(self._spark.sql(statement).collect())
        # What a session raises has no class that could be named without importing Spark.
        except Exception as error:
            raise self._names.failed(record_type, error) from error
