"""What a candidate store is: its items, what it answers, and the rule by which units merge.

A store is filled by units, and what it holds depends on which units were applied and what they
hold now, not on their order nor on how often (solicitation-platform, properties 4 and 12 to 16;
docs/decisions/0004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict

import polars as pl

from pipelines.sinks.store_keys import CandidateKey

#: Gives the candidates that the store has noted of a unit, read back from the lake.
Others = Callable[[str], pl.DataFrame]


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
    """What became of a unit's candidates.

    ``written``: made an item; ``refreshed``: is now what an item shows; ``superseded``: a newer
    proposal is shown instead, or the item was deleted since; ``unchanged``: the unit had proposed
    the same before. These four add up to the number of candidates. ``withdrawn`` counts
    proposals taken back, because the unit held them once and holds them no more.
    """

    written: int = 0
    refreshed: int = 0
    unchanged: int = 0
    superseded: int = 0
    withdrawn: int = 0


def key_of(item: Item) -> CandidateKey:
    """Return the key of ``item``; raises ``InvalidItem`` when PK or SK is no key."""
    return CandidateKey.parse(item["PK"], item["SK"])


class CandidateStore(Protocol):
    """Candidates by key, by customer, by channel and by date; every call is all or nothing.

    Reads take ``as_of`` to hide what has expired by then (``ttl <= as_of``). Times have a zone.
    Pages follow each other by cursor without gap or repeat as long as nobody writes. Several may
    write at once: they take turns, and any call that writes raises ``StoreBusy`` when its turn
    does not come. Any call raises ``StoreUnavailable`` when the store cannot be reached, read or
    written.
    """

    def apply(
        self,
        unit: str,
        candidates: pl.DataFrame,
        *,
        attempt: int = 1,
        replaces: pl.DataFrame | None = None,
        others: Others | None = None,
    ) -> ApplyReceipt:
        """Make ``unit`` propose ``candidates`` (rows of ``candidate.v1``), in one transaction.

        An item shows the newest proposal (``metadata.createdAt``, then the unit's name);
        ``version`` rises by one with each change that a reader can see; ``updatedAt`` is the
        newest ``createdAt`` so far. Rows of one unit with the same key merge into the newest (then
        latest ``eventDate``, then greatest content). A unit that is applied again with the same
        content changes nothing but the attempt noted, if that is higher.

        ``attempt`` is a fencing token: one lower than the attempt noted raises ``Superseded``.
        Other content than noted needs a higher attempt and ``replaces``, the candidates that the
        unit proposes until now. Keys whose content is the same in both are not touched. At the
        others the old proposal is replaced or withdrawn; where it was shown, the newest of
        what is proposed then is shown, and an item that nobody proposes any more goes. ``others``
        gives the candidates of another unit whose proposal comes back: those that the store has
        noted, of the attempt that ``applied`` tells, also when asked from inside ``others``. It is
        called at most once a unit, while other writers wait.

        What was deleted since stays so: a replaced proposal does not bring it back, only one at a
        key that is new to the unit. An ``update`` belongs to the proposal that is shown: it goes
        when that is replaced or withdrawn, as it does when a newer unit comes. An item that was
        ``put`` without units is shown until a newer proposal is, and no unit withdraws it.

        Raises ``Superseded``; ``UnitChanged`` when the unit was applied with other content and
        ``replaces`` is missing, or ``attempt`` is not higher, or ``replaces`` or what ``others``
        gives is not what was noted, or ``others`` is missing and needed; ``InvalidItem`` for a row
        without program or marketplace context, with a number that is not finite, or with a ranking
        score outside 0..1.
        """
        ...

    def applied(self, prefix: str) -> dict[str, int]:
        """Return the attempt noted of each unit whose name begins with ``prefix``, by name."""
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
        """Remove an item and say whether it was there; what was proposed does not revive it."""
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
