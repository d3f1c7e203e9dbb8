"""Object storage behind one small interface: local folders, S3, GCS, Azure (obstore).

Keys are relative to a root such as ``/data/out/lake`` or ``s3://bucket/lake``. A put is atomic: the
object is there whole or not at all. ``create`` never replaces: it is how a unit becomes visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from pipelines.errors import ObjectNotFound, StorageFailed

#: What obstore calls a local file that it has not finished writing.
_STAGED = re.compile(r"#\d+$")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    size: int
    etag: str | None


class Storage:
    """Objects below one root; a local folder is made by the first write."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._opened: Any = None
        if "://" in self.root:
            with self._named(""):
                self._opened = from_url(self.root)

    @property
    def _store(self) -> Any:
        if self._opened is None:
            self._opened = LocalStore(Path(self.root).absolute(), mkdir=True)
        return self._opened

    @property
    def _is_nowhere(self) -> bool:
        """Whether it is a folder that nobody has written to: looking must not make it."""
        return "://" not in self.root and not Path(self.root).is_dir()

    def read(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            ObjectNotFound: there is no such object.
            StorageFailed: the storage refused or broke.
        """
        self._check_is_there(key)
        with self._named(key):
            return bytes(obstore.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        """Return bytes ``start`` to ``end`` (excluded) of an object, without copying them."""
        self._check_is_there(key)
        with self._named(key):
            return memoryview(obstore.get_range(self._store, key, start=start, end=end))

    def look(self, key: str) -> StoredObject | None:
        """Return an object as a listing shows it; None where there is none."""
        if self._is_nowhere:
            return None
        try:
            with self._named(key):
                return _stored(obstore.head(self._store, key))
        except ObjectNotFound:
            return None

    def write(self, key: str, parts: Sequence[bytes]) -> None:
        """Write an object, whole, over whatever was there; its bytes are those of ``parts``."""
        with self._named(key):
            obstore.put(self._store, key, iter(parts), use_multipart=False)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless its key is taken; say whether it was written."""
        with self._named(key):
            try:
                obstore.put(self._store, key, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below ``prefix`` (a folder) in the order of their keys."""
        if self._is_nowhere:
            return
        with self._named(prefix):
            pages = obstore.list(self._store, prefix or None)
            found = sorted((meta for page in pages for meta in page), key=lambda m: str(m["path"]))
        yield from map(_stored, found)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no fault."""
        for key in keys:
            with self._named(key), suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def staged(self, prefix: str) -> tuple[Path, ...]:
        """Return files that are half-written below ``prefix``: of a killed process, or at work.

        Only local folders show such files.
        """
        if "://" in self.root:
            return ()
        found = Path(self.root, prefix).rglob("*#*")
        return tuple(sorted(p for p in found if p.is_file() and _STAGED.search(p.name)))

    def _check_is_there(self, key: str) -> None:
        if self._is_nowhere:
            raise ObjectNotFound(self.root, key)

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Turn the storage's own errors into ours, which name root and key."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectNotFound(self.root, key) from error
        except (BaseError, OSError, ValueError) as error:
            raise StorageFailed(self.root, key, str(error).split("\n\nDebug source")[0]) from error


def _stored(meta: Any) -> StoredObject:
    return StoredObject(str(meta["path"]), int(meta["size"]), meta.get("e_tag"))
