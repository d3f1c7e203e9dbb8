"""What can go wrong around a pipeline; each message names place, expected and found."""

from __future__ import annotations


class PipelineError(Exception):
    """Base of this package's errors."""


class StorageFailed(PipelineError):
    """The storage refused or broke."""

    def __init__(self, root: str, key: str, found: str) -> None:
        super().__init__(f"{root}: cannot reach '{key}': {found}")


class ObjectNotFound(PipelineError):
    """There is no object of that key."""

    def __init__(self, root: str, key: str) -> None:
        super().__init__(f"{root}: expected an object '{key}', found none")


class ObjectChanged(PipelineError):
    """An object is not the version that was asked for."""

    def __init__(self, root: str, key: str, expected_etag: str | None, found: str | None) -> None:
        super().__init__(
            f"{root}: expected version {expected_etag} of the object '{key}', "
            f"found {'another' if found is None else found}"
        )


class WarehouseFailed(PipelineError):
    """The warehouse cannot be reached (``transient``), or refused a statement."""

    def __init__(self, url: str, what: str, found: str, *, transient: bool = False) -> None:
        self.transient = transient
        super().__init__(f"warehouse {url}: {what}: {found}")


class MisplacedRows(PipelineError):
    """A query gave rows of a day that it was not asked for."""

    def __init__(self, source: str, expected: str, found: str) -> None:
        super().__init__(
            f"source '{source}': expected rows of {expected}, found rows of {found}; "
            "the query must select the half-open range $1 to $2 of its partition column, "
            "ordered by time"
        )


class NothingToRead(PipelineError):
    """A source has no file or table for a unit."""

    def __init__(self, source: str, unit: str, expected: str) -> None:
        super().__init__(f"source '{source}', unit {unit}: expected {expected}, found nothing")


class Unbalanced(PipelineError):
    """Rows went missing or came twice: nothing of the unit is published."""

    def __init__(self, unit: str, read: int, accounted: int) -> None:
        super().__init__(
            f"unit {unit}: expected {read} rows (read) to be accounted for, found {accounted} "
            "(written + deduplicated + quarantined + rejected)"
        )


class TooMuchQuarantined(PipelineError):
    """More of a source is damaged than the program accepts."""

    def __init__(self, unit: str, expected: float, found: float, rows: int) -> None:
        super().__init__(
            f"unit {unit}: expected at most {expected:.2%} of the rows in quarantine "
            f"(quarantineThreshold), found {found:.2%} ({rows} rows)"
        )


class InputMoved(PipelineError):
    """What was read is not what the plan says."""

    def __init__(self, unit: str, what: str, expected: object, found: object) -> None:
        super().__init__(
            f"unit {unit}: {what}: expected {expected} as planned, found {found}; plan again"
        )


class LedgerError(PipelineError):
    """Base of what the ledger refuses."""


class Fenced(LedgerError):
    """Another run took the unit over, and what this one did counts for nothing."""

    def __init__(self, unit: str, event: str, found: str) -> None:
        super().__init__(
            f"unit {unit}: expected to be the next to write ('{event}'), found {found}"
        )


class NotMyUnit(LedgerError):
    """A record was to be written by a run that does not hold the unit, or out of order."""

    def __init__(self, unit: str, event: str, found: str) -> None:
        super().__init__(f"unit {unit}: expected to hold it and go on to '{event}', found {found}")


class StoreError(PipelineError):
    """Base of everything that a candidate store raises."""


class UnknownStore(StoreError):
    """The store's URL names no kind of store that there is."""


class StoreNotFound(StoreError):
    """There is no store at this place."""


class NotAStore(StoreError):
    """What lies at this place is not a candidate store, or one of another layout."""


class StoreBusy(StoreError):
    """Other writers held the store for longer than this one waits for its turn."""


class StoreUnavailable(StoreError):
    """The store cannot be read or written now: disk full, no permission, damaged file."""


class InvalidItem(StoreError):
    """A candidate cannot be stored as it is."""


class AlreadyExists(StoreError):
    """A candidate with this key is in the store already."""


class VersionConflict(StoreError):
    """A candidate's version is not the one that its update was made from."""


class UnitChanged(StoreError):
    """A unit's candidates are not those that the store noted of it."""


class Superseded(StoreError):
    """A later attempt of the unit has reached the store: this one may not write any more."""

    def __init__(self, unit: str, expected: int, found: int) -> None:
        super().__init__(
            f"unit {unit}: expected attempt {expected} or a later one, found attempt {found}; "
            "nothing was changed"
        )


class StoreBehind(StoreError):
    """A store holds an output of a unit that the lake does not have any more."""

    def __init__(self, unit: str, found: int, expected: int) -> None:
        super().__init__(
            f"unit {unit}: expected the store to be at most one output behind attempt {expected}, "
            f"found attempt {found}, whose fragments are gone (an older copy of the store?); "
            "remove the store and run again: it is filled from the lake"
        )


class InvalidCursor(StoreError):
    """A cursor does not belong to this query."""


class CatalogFailed(PipelineError):
    """The catalog refused, or cannot be reached (``transient``)."""

    def __init__(self, catalog: str, what: str, found: str, *, transient: bool = False) -> None:
        self.transient = transient
        super().__init__(f"catalog {catalog}: {what}: {found}")
