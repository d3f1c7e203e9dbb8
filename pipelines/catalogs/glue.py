"""The Glue data catalog, as Athena reads it: one update of a partition, or of a table, is a switch.

Tables are made with the statement of ``muster athena ddl``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unconnected
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.names import Names, is_later
from pipelines.errors import CatalogFailed
from pipelines.merging import layout
from schemas.athena import VALUES, Projection

#: The parameter by which a partition says which generation it is, for people.
PARAMETER = "muster.generation"

_ABSENT, _THERE = "EntityNotFoundException", "AlreadyExistsException"
_OVERTAKEN = "ConcurrentModificationException"
_THROTTLED = frozenset(
    {
        "OperationTimeoutException",
        "RequestLimitExceeded",
        "ResourceNotReadyException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "InternalServiceException",
    }
)
_ATTEMPTS = 10
#: What UpdateTable takes of what GetTable gives.
_TABLE_INPUT = (
    "Name",
    "Description",
    "Owner",
    "LastAccessTime",
    "LastAnalyzedTime",
    "Retention",
    "StorageDescriptor",
    "PartitionKeys",
    "ViewOriginalText",
    "ViewExpandedText",
    "TableType",
    "Parameters",
    "TargetTable",
)

_Made = TypeVar("_Made")


class _Glue:
    """Tables of one database; the client is made when it is first needed."""

    def __init__(
        self, root: str, database: str, table_prefix: str = "", client: Any = None
    ) -> None:
        self._names = Names("Glue", root, database, table_prefix)
        self._given = client

    @cached_property
    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        import boto3

        return boto3.client("glue")

    def _table(self, record_type: str) -> dict[str, Any]:
        """Return the table as Glue has it."""
        name = self._names.table(record_type)
        try:
            found = self._client.get_table(DatabaseName=self._names.database, Name=name)
        except ClientError as error:
            if _code(error) != _ABSENT:
                raise
            what = f"table {self._names.database}.{name}"
            how = f"make it first with `muster athena ddl --type {record_type}`"
            raise CatalogFailed("Glue", what, f"not there; {how}") from error
        return dict(found["Table"])

    def _asked(self, record_type: str, work: Callable[[], _Made]) -> _Made:
        """Do what asks Glue, again while others are faster; its errors become ours."""
        retrying = Retrying(
            retry=retry_if_exception(_was_overtaken),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            reraise=True,
        )
        try:
            return retrying(work)
        except (ClientError, BotoCoreError) as error:
            raise self._names.failed(record_type, error, transient=_is_transient(error)) from error


class GlueCatalog(_Glue):
    """Partitions that Glue keeps, one a month.

    UpdatePartition compares nothing: that a month has one merge at a time (the ledger's lease) is
    what keeps a late writer from setting an older generation.
    """

    def current(self, record_type: str, month: str) -> str | None:
        """Return the location that readers are sent to; None for a partition that is not there.

        Raises:
            CatalogFailed: Glue refused or cannot be reached; the partition points outside the lake.
        """
        return self._asked(record_type, lambda: self._current(record_type, month))

    def switch(self, pointer: Pointer) -> None:
        """Create or update the partition: readers see it with its new location, or the old one.

        It is given the table's storage descriptor, so that a schema's new version comes with it.

        Raises:
            CatalogFailed: as ``current``; the table is not there; another generation of the same
                number is current.
        """
        self._asked(pointer.record_type, lambda: self._switch(pointer))

    def _current(self, record_type: str, month: str) -> str | None:
        try:
            found = self._client.get_partition(**self._where(record_type), PartitionValues=[month])
        except ClientError as error:
            if _code(error) == _ABSENT:
                return None
            raise
        return self._names.key(record_type, found["Partition"]["StorageDescriptor"]["Location"])

    def _switch(self, pointer: Pointer) -> None:
        table = self._table(pointer.record_type)
        current = self._current(pointer.record_type, pointer.month)
        if not is_later("Glue", pointer, current):
            return
        where = self._where(pointer.record_type)
        partition = self._partition(pointer, table)
        if current is None:
            self._client.create_partition(**where, PartitionInput=partition)
        else:
            self._client.update_partition(
                **where, PartitionValueList=[pointer.month], PartitionInput=partition
            )

    def _partition(self, pointer: Pointer, table: Mapping[str, Any]) -> dict[str, Any]:
        storage = copy.deepcopy(table["StorageDescriptor"])
        storage["Location"] = self._names.url(pointer.location)
        return {
            "Values": [pointer.month],
            "StorageDescriptor": storage,
            "Parameters": {PARAMETER: str(pointer.generation)},
        }

    def _where(self, record_type: str) -> dict[str, str]:
        return {
            "DatabaseName": self._names.database,
            "TableName": self._names.table(record_type),
        }


class GlueProjection(_Glue):
    """Generations that a table itself lists: one property is the pointer of all its months.

    UpdateTable refuses a version of the table that is not the current one, so that two writers
    cannot undo each other's switch.
    """

    def current(self, record_type: str, month: str) -> str | None:
        """Return the location that readers are sent to; None for a month that is not listed.

        Raises:
            CatalogFailed: Glue refused or cannot be reached; the table is not there, or is made
                without projection.
        """
        table = self._asked(record_type, lambda: self._table(record_type))
        return _location(record_type, self._projection(record_type, table).current(month))

    def switch(self, pointer: Pointer) -> None:
        """Put the generation into the table's list, in the place of the month's former one.

        Raises:
            CatalogFailed: as ``current``, and for another generation of the same number.
        """
        self._asked(pointer.record_type, lambda: self._switch(pointer))

    def _switch(self, pointer: Pointer) -> None:
        table = self._table(pointer.record_type)
        listed = self._projection(pointer.record_type, table)
        current = _location(pointer.record_type, listed.current(pointer.month))
        if not is_later("Glue", pointer, current):
            return
        generation = pointer.location.rpartition("/")[2]
        values = listed.switched(pointer.month, generation).values
        self._client.update_table(
            DatabaseName=self._names.database,
            TableInput={key: table[key] for key in _TABLE_INPUT if key in table}
            | {"Parameters": {**table["Parameters"], VALUES: values}},
            VersionId=table["VersionId"],
            # A version a switch would soon be more than Glue keeps of a table.
            SkipArchive=True,
        )

    def _projection(self, record_type: str, table: Mapping[str, Any]) -> Projection:
        values = table.get("Parameters", {}).get(VALUES)
        if values is None:
            what = f"table {self._names.database}.{self._names.table(record_type)}"
            how = f"make it with `muster athena ddl --type {record_type} --projection`"
            raise CatalogFailed("Glue", what, f"expected the property {VALUES}, found none; {how}")
        return Projection.of(values)


def _location(record_type: str, value: str | None) -> str | None:
    return f"{layout.table(record_type)}/{value}" if value is not None else None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _was_overtaken(error: BaseException) -> bool:
    """Whether another writer came between looking and changing: look again."""
    return isinstance(error, ClientError) and _code(error) in (_OVERTAKEN, _THERE)


def _is_transient(error: Exception) -> bool:
    if not isinstance(error, ClientError):
        return isinstance(error, (HTTPClientError, Unconnected))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or _code(error) in _THROTTLED or _was_overtaken(error)
