"""Object storage behind one small interface: local folders, S3, GCS, Azure (obstore).

Keys are relative to a root such as ``/data/out/lake`` or ``s3://bucket/lake``. A put is atomic: the
object is there whole or not at all. ``create`` never replaces: it is how a unit becomes visible.
What is too large to be held in memory is written by a ``writer``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url

from pipelines.errors import ObjectChanged, ObjectNotFound, StorageFailed
from pipelines.storage_s3 import Bucket, S3Writer
from pipelines.storage_writer import PART, FileWriter, StreamWriter, Writer

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
        self._bucket: Bucket | None = None
        self._lock = Lock()
        if "://" in self.root:
            with self.naming(""):
                self._opened = from_url(self.root)

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return type(self), (self.root,)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "://" not in self.root

    @property
    def is_s3(self) -> bool:
        """Whether the root is a bucket of S3, or a folder in one."""
        return self.root.startswith(("s3://", "s3a://"))

    @property
    def _store(self) -> Any:
        if self._opened is None:
            self._opened = LocalStore(Path(self.root).absolute(), mkdir=True)
        return self._opened

    @property
    def _is_nowhere(self) -> bool:
        """Whether it is a folder that nobody has written to: looking must not make it."""
        return self.is_local and not Path(self.root).is_dir()

    def read(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            ObjectNotFound: there is no such object.
            StorageFailed: the storage refused or broke.
        """
        self._check_is_there(key)
        with self.naming(key):
            return bytes(obstore.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> memoryview:
        """Return bytes ``start`` to ``end`` (excluded) of an object, without copying them.

        ``etag``, as ``look`` and ``list`` return it, pins the version.

        Raises:
            ObjectNotFound: there is no such object.
            ObjectChanged: it is another version.
            StorageFailed: the storage refused or broke.
        """
        self._check_is_there(key)
        with self.naming(key, etag):
            if etag is None:
                return memoryview(obstore.get_range(self._store, key, start=start, end=end))
            pinned: obstore.GetOptions = {"range": (start, end), "if_match": etag}
            return memoryview(obstore.get(self._store, key, options=pinned).bytes())

    def look(self, key: str) -> StoredObject | None:
        """Return an object as a listing shows it; None where there is none."""
        if self._is_nowhere:
            return None
        try:
            with self.naming(key):
                return _stored(obstore.head(self._store, key))
        except ObjectNotFound:
            return None

    def write(self, key: str, parts: Sequence[bytes]) -> None:
        """Write an object, whole, over whatever was there; its bytes are those of ``parts``."""
        with self.naming(key):
            obstore.put(self._store, key, iter(parts), use_multipart=False)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless its key is taken; say whether it was written."""
        with self.naming(key):
            try:
                obstore.put(self._store, key, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def copy(self, source: str, target: str) -> None:
        """Copy an object, over whatever was at the target, without its bytes coming here.

        In a local folder both are names of one file then. S3 copies up to 5 GB.

        Raises:
            ObjectNotFound: there is no such object.
            StorageFailed: the storage refused or broke.
        """
        self._check_is_there(source)
        with self.naming(source):
            # Renaming between two names of one file does nothing, and would leave the staged one.
            if not self._are_one(source, target):
                obstore.copy(self._store, source, target)

    def _are_one(self, key: str, other: str) -> bool:
        if not self.is_local:
            return False
        with suppress(FileNotFoundError, NotADirectoryError):
            return Path(self.root, key).samefile(Path(self.root, other))
        return False

    def writer(self, key: str) -> Writer:
        """Return what writes an object piece by piece; it is visible when it is closed.

        Raises:
            StorageFailed: the storage refused or broke.
        """
        if self.is_s3:
            return S3Writer(self, key, self._reached())
        if self.is_local:
            return FileWriter(self, key)
        with self.naming(key):
            stream = obstore.open_writer(self._store, key, buffer_size=PART, max_concurrency=4)
        return StreamWriter(self, key, stream)

    def _reached(self) -> Bucket:
        # One client for all writers: making one takes a tenth of a second.
        with self._lock:
            if self._bucket is None:
                store = self._store
                self._bucket = Bucket.open(self.root, store.config["bucket"], store.prefix or "")
            return self._bucket

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below ``prefix`` (a folder) in the order of their keys."""
        if self._is_nowhere:
            return
        with self.naming(prefix):
            pages = obstore.list(self._store, prefix or None)
            found = sorted((meta for page in pages for meta in page), key=lambda m: str(m["path"]))
        yield from map(_stored, found)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no fault."""
        if self.is_s3:
            self._delete_many(list(keys))
            return
        for key in keys:
            with self.naming(key), suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def _delete_many(self, keys: Sequence[str]) -> None:
        """Remove objects a thousand a request; S3 says nothing of those that are not there."""
        if keys:
            with self.naming(keys[0]):
                obstore.delete(self._store, list(keys))

    def staged(self, prefix: str) -> tuple[Path, ...]:
        """Return files that are half-written below ``prefix``: of a killed process, or at work.

        Only local folders show such files.
        """
        if not self.is_local:
            return ()
        found = Path(self.root, prefix).rglob("*#*")
        return tuple(sorted(p for p in found if p.is_file() and _STAGED.search(p.name)))

    def _check_is_there(self, key: str) -> None:
        if self._is_nowhere:
            raise ObjectNotFound(self.root, key)

    @contextmanager
    def naming(self, key: str, etag: str | None = None) -> Iterator[None]:
        """Turn the storage's own errors into ours, which name root and key."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectNotFound(self.root, key) from error
        except PreconditionError as error:
            if etag is None:
                raise StorageFailed(self.root, key, _told(error)) from error
            found = self.look(key)
            raise ObjectChanged(self.root, key, etag, found.etag if found else None) from error
        except (BaseError, OSError, ValueError) as error:
            raise StorageFailed(self.root, key, _told(error)) from error


def _told(error: Exception) -> str:
    return str(error).split("\n\nDebug source")[0]


def _stored(meta: Any) -> StoredObject:
    return StoredObject(str(meta["path"]), int(meta["size"]), meta.get("e_tag"))
