"""Pointer files in the lake itself: what readers follow where no catalog service is.

``pointers/<record type>/<month>/<number>.json`` is put once and never changed; the highest number
is the current generation. A put is atomic, so a reader finds the former generation or the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.catalogs.catalog import Pointer
from pipelines.errors import CatalogFailed, ObjectNotFound, StorageFailed
from pipelines.merging import layout
from pipelines.storage import Storage

_KEY = re.compile(rf"{layout.POINTERS}/(?P<type>[^/]+)/(?P<month>[^/]+)/(?P<number>\d{{6}})\.json")
#: How often a reader looks again when the pointer that it saw was gone when it read it.
_LOOKS = 5


class FileCatalog:
    """The pointers of one lake."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def current(self, record_type: str, month: str) -> str | None:
        """Return the location that readers are sent to; None where no generation is.

        Raises:
            CatalogFailed: the storage failed, or a pointer is not what it must be.
        """
        pointer = self.pointer(record_type, month)
        return pointer.location if pointer else None

    def switch(self, pointer: Pointer) -> None:
        """Put the pointer's file, unless a later one is there.

        Raises:
            CatalogFailed: another pointer of the same number is there, or the storage failed.
        """
        key = _key(pointer)
        data = _data(pointer)
        with self._named(key):
            if self._latest(pointer.record_type, pointer.month) > key:
                return
            if self._storage.create(key, data):
                return
            found = self._storage.read(key)
        if found != data:
            expected = f"expected {data.decode()}, found {found.decode(errors='replace')}"
            raise CatalogFailed(self._storage.root, f"pointer '{key}'", expected)

    def pointer(self, record_type: str, month: str) -> Pointer | None:
        """Return the current generation with its files; None where no generation is.

        It is safe while pointers are put, and while old ones are removed.

        Raises:
            CatalogFailed: the storage failed, or a pointer is not what it must be.
        """
        for _ in range(_LOOKS):
            with self._named(f"{layout.POINTERS}/{record_type}/{month}"):
                key = self._latest(record_type, month)
                if not key:
                    return None
                try:
                    return _pointer(self._storage.root, key, self._storage.read(key))
                except ObjectNotFound:
                    continue
        raise CatalogFailed(
            self._storage.root,
            f"pointer of {record_type} {month}",
            f"gone each of the {_LOOKS} times that it was read",
            transient=True,
        )

    def months(self, record_type: str) -> tuple[str, ...]:
        """Return the months that have a generation, sorted; raises as ``pointer`` does."""
        with self._named(f"{layout.POINTERS}/{record_type}"):
            return tuple(sorted({match["month"] for match in self._keys(record_type)}))

    def _latest(self, record_type: str, month: str) -> str:
        """Return the key of the highest number, "" for none; keys sort as their numbers do."""
        found = self._keys(f"{record_type}/{month}")
        return max((match.string for match in found), default="")

    def _keys(self, below: str) -> Iterator[re.Match[str]]:
        listed = self._storage.list(f"{layout.POINTERS}/{below}")
        return (match for each in listed if (match := _KEY.fullmatch(each.key)))

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        try:
            yield
        except (StorageFailed, ObjectNotFound) as error:
            root = self._storage.root
            raise CatalogFailed(root, f"'{key}'", str(error), transient=True) from error


def _key(pointer: Pointer) -> str:
    name = f"{pointer.generation:06d}.json"
    return f"{layout.POINTERS}/{pointer.record_type}/{pointer.month}/{name}"


def _data(pointer: Pointer) -> bytes:
    told = {
        "recordType": pointer.record_type,
        "month": pointer.month,
        "generation": pointer.generation,
        "location": pointer.location,
        "files": list(pointer.files),
    }
    return json.dumps(told, separators=(",", ":")).encode()


def _pointer(root: str, key: str, data: bytes) -> Pointer:
    try:
        told = json.loads(data)
        pointer = Pointer(
            record_type=str(told["recordType"]),
            month=str(told["month"]),
            generation=int(told["generation"]),
            location=str(told["location"]),
            files=tuple(map(str, told["files"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CatalogFailed(root, f"pointer '{key}'", f"not a pointer: {error!r}") from error
    if _key(pointer) != key:
        raise CatalogFailed(root, f"pointer '{key}'", f"it is of '{_key(pointer)}'")
    return pointer
