"""What a candidate store is: its items, what it answers, and the rule by which units merge.

A store is filled by units, and what it holds depends on which units were applied, not on their
order nor on how often (solicitation-platform, properties 4 and 12 to 16; docs/decisions/0004).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict

import polars as pl

from pipelines.sinks.store_keys import CandidateKey


class Item(TypedDict):
    """A candidate as it lies in the store, with the document's attribute names.

    Timestamps are ISO 8601 text in UTC with milliseconds and ``Z``; ``ttl`` is the whole second
    (since 1970) of ``metadata.expiresAt``; ``units`` are those that proposed it, sorted.
    """

    PK: str
    SK: str
    context: list[dict[str, Any]]
    subject: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    attributes: dict[str, Any]
    metadata: dict[str, Any]
    rejectionHistory: list[dict[str, Any]] | None
    ttl: int
    units: list[str]


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of an answer, and the cursor of those after them (none after the last)."""

    items: list[Item]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class ApplyReceipt:
    """What became of a unit's candidates; the four add up to their number.

    ``written``: new; ``refreshed``: replaced an older proposal; ``superseded``: a newer proposal
    is kept instead; ``unchanged``: the unit had been applied before.
    """

    written: int = 0
    refreshed: int = 0
    unchanged: int = 0
    superseded: int = 0


def key_of(item: Item) -> CandidateKey:
    """Return the key of ``item``; raises ``InvalidItem`` when PK or SK is no key."""
    return CandidateKey.parse(item["PK"], item["SK"])


class CandidateStore(Protocol):
    """Candidates by key, by customer, by channel and by date; every call is all or nothing.

    Reads take ``as_of`` to hide what has expired by then (``ttl <= as_of``). Times have a zone.
    Pages follow each other by cursor without gap or repeat as long as nobody writes. Any call
    raises ``StoreUnavailable`` when the store cannot be reached, read or written.
    """

    def apply(self, unit: str, candidates: pl.DataFrame) -> ApplyReceipt:
        """Merge all candidates of ``unit`` (rows of ``candidate.v1``), in one transaction.

        An item holds the newest proposal (``metadata.createdAt``, then the unit's name);
        ``version`` counts the units that proposed it and the updates it had; ``updatedAt`` is the
        newest ``createdAt``. Rows of one unit with the same key merge into the newest (then latest
        ``eventDate``, then greatest content). A unit that was applied before changes nothing.
        Raises ``UnitChanged`` when it was applied with other content, ``InvalidItem`` for a row
        without program or marketplace context, with a number that is not finite, or with a
        ranking score outside 0..1.
        """
        ...

    def get(self, key: CandidateKey, *, as_of: datetime | None = None) -> Item | None:
        """Return the item (property 12)."""
        ...

    def put(self, item: Item) -> None:
        """Add a new item as it is; raises ``AlreadyExists``, ``InvalidItem``."""
        ...

    def put_batch(self, items: Iterable[Item]) -> int:
        """Add new items, all or none (property 15), and return how many; raises as ``put``."""
        ...

    def update(self, item: Item, *, expected_version: int) -> Item:
        """Replace an item of that version and return it as stored (properties 4 and 14).

        Its version becomes ``expected_version + 1``, its ``updatedAt`` the later of both, its
        units stay. Raises ``VersionConflict`` when the version is another or there is no such item.
        """
        ...

    def delete(self, key: CandidateKey) -> bool:
        """Remove an item and say whether it was there; units applied before do not revive it."""
        ...

    def purge_expired(self, now: datetime) -> int:
        """Remove every item with ``ttl <= now`` and return how many."""
        ...

    def by_customer(
        self,
        customer_id: str,
        *,
        program: str | None = None,
        marketplace: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        as_of: datetime | None = None,
    ) -> Page:
        """Return a customer's items in the order of their keys (property 13)."""
        ...

    def by_channel(
        self,
        program: str,
        channel: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        as_of: datetime | None = None,
    ) -> Page:
        """Return items eligible for a channel, best score first, ties in falling key order."""
        ...

    def by_date(
        self,
        program: str,
        day: date,
        *,
        limit: int = 100,
        cursor: str | None = None,
        as_of: datetime | None = None,
    ) -> Page:
        """Return items of a day of ``createdAt``, oldest first, ties in the order of keys."""
        ...

    def export(self, program: str, day: date) -> Iterator[Item]:
        """Yield every item created or updated that day, in the order of keys (property 16)."""
        ...

    def close(self) -> None:
        """Let go of the store; closing twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
