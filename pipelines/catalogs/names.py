"""Names that catalogs share: of tables, and of the generation that a location is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.catalogs.catalog import Pointer
from pipelines.errors import CatalogFailed
from pipelines.merging import layout

_GENERATION = re.compile(r".*/g(?P<number>\d+)(-[^/]*)?/?")


@dataclass(frozen=True, slots=True)
class Names:
    """The tables of the lake at ``root`` in one database; ``catalog`` is its name in messages."""

    catalog: str
    root: str
    database: str
    table_prefix: str = ""

    def table(self, record_type: str) -> str:
        """Return a record type's table; catalogs know names in lower case only."""
        return f"{self.table_prefix}{record_type}".lower()

    def url(self, key: str) -> str:
        """Return a folder of the lake as catalogs name it.

        >>> Names("Glue", "s3://bucket/lake", "muster").url("merged/candidate/2017-03/g000001-ab")
        's3://bucket/lake/merged/candidate/2017-03/g000001-ab/'
        """
        return f"{self.root.rstrip('/')}/{key}/"

    def key(self, record_type: str, location: str) -> str:
        """Return the folder of the lake that a catalog's location is.

        Raises:
            CatalogFailed: it is no generation of this record type in this lake.
        """
        key = _comparable(location).removeprefix(_comparable(self.root) + "/")
        below = f"{layout.table(record_type)}/"
        if not key.startswith(below) or generation_of(key) is None:
            expected = f"a generation below {self.url(layout.table(record_type))}"
            what = f"table {self.database}.{self.table(record_type)}"
            raise CatalogFailed(self.catalog, what, f"expected {expected}, found '{location}'")
        return key

    def failed(
        self, record_type: str, error: Exception, *, transient: bool = False
    ) -> CatalogFailed:
        """Return the error that says which table was asked for."""
        what = f"table {self.database}.{self.table(record_type)}"
        return CatalogFailed(self.catalog, what, str(error), transient=transient)


def generation_of(location: str) -> int | None:
    """Return the number in the name of a generation's folder; None for another folder.

    >>> generation_of("merged/candidate/2017-03/g000003-ab12")
    3
    """
    match = _GENERATION.fullmatch(location)
    return int(match["number"]) if match else None


def is_later(catalog: str, pointer: Pointer, current: str | None) -> bool:
    """Return whether ``pointer`` is to replace ``current``, the generation's location now.

    Raises:
        CatalogFailed: they are two generations of one number.
    """
    number = generation_of(current) if current is not None else None
    if number is None or number < pointer.generation:
        return True
    if number == pointer.generation and current != pointer.location:
        what = f"generation {number} of {pointer.record_type} {pointer.month}"
        raise CatalogFailed(catalog, what, f"expected '{pointer.location}', found '{current}'")
    return False


def _comparable(location: str) -> str:
    """Spark writes ``file:/`` for ``file:///`` and reads ``s3://`` as ``s3a://``."""
    same = re.sub(r"^s3[an]://", "s3://", location)
    return re.sub(r"^file:/+", "/", same).rstrip("/")
