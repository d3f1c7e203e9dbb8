"""What a merge asks of a catalog: to say, and to change at once, which files of a month count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pointer:
    """A generation of a partition.

    ``location`` is the folder of its files (a key of the lake, without a slash at its end) and
    ``files`` are their keys, sorted; ``generation`` is its number, from 1 on.
    """

    record_type: str
    month: str
    generation: int
    location: str
    files: tuple[str, ...]


class Catalog(Protocol):
    """Follows the ledger: the generation that was published is made the one that readers see."""

    def current(self, record_type: str, month: str) -> str | None:
        """Return the location that readers are sent to; None for a partition that is not there.

        Raises:
            CatalogFailed: the catalog refused or cannot be reached.
        """
        ...

    def switch(self, pointer: Pointer) -> None:
        """Send readers to a generation, all at once; doing it again changes nothing.

        A later generation that is current already stays.

        Raises:
            CatalogFailed: the catalog refused or cannot be reached.
        """
        ...
