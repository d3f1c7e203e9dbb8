"""Writing an object piece by piece in bounded memory, with pieces that the store copies itself.

What is written becomes visible whole, by ``close``, or not at all. On S3 (``storage_s3``) S3 copies
what is in the bucket already; in a local folder the kernel does; elsewhere obstore streams, and
ranges of other objects are read and written.

A process that is killed leaves an unfinished upload on S3, Azure and GCS: a lifecycle rule of the
bucket has to remove those.
"""

from __future__ import annotations

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipelines.errors import ObjectChanged, ObjectNotFound, PipelineError, StorageFailed
from schemas.container import Buffer

if TYPE_CHECKING:
    from pipelines.storage import Storage

#: Bytes that are read at once to be written.
PART = 10 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """An object that was written.

    ``moved`` are the bytes that went through this process. ``verified`` says that the store
    confirmed by MD5s to hold all that were sent; of what it copied itself there is its word.
    """

    key: str
    size: int
    etag: str | None
    moved: int
    verified: bool


class Writer(Protocol):
    """Writes one object; a block left by an exception leaves nothing of it, else it is closed.

    A call that raises aborts, too: what would become visible would not be whole.
    """

    def write(self, data: Buffer) -> None:
        """Add bytes; the caller may change them afterwards.

        Raises:
            StorageFailed: the storage refused or broke, maybe while it took earlier bytes.
        """
        ...

    def copy(self, key: str, start: int, end: int, etag: str | None) -> None:
        """Add bytes ``start`` to ``end`` (excluded) of another object of the same storage.

        ``etag``, as a listing shows it, pins the version. An empty range asks nothing of the
        store. S3 may tell of errors by a later call.

        Raises:
            ObjectNotFound: there is no such object.
            ObjectChanged: it is another version.
            StorageFailed: the storage refused or broke, or the object ends before ``end``.
        """
        ...

    def close(self) -> Written:
        """Make the object visible, over whatever was there; again, it only returns the same.

        Raises:
            ObjectNotFound, ObjectChanged: what was to be copied.
            StorageFailed: the storage refused or broke, or does not hold what was sent; that is
                the one case in which something stays at the key.
        """
        ...

    def abort(self) -> None:
        """Leave nothing behind; after ``close``, or a second time, it does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of an object."""

    key: str
    start: int
    end: int
    etag: str | None

    def __len__(self) -> int:
        return self.end - self.start

    def split(self, size: int) -> tuple[Range, Range]:
        """Return the first ``size`` bytes (or all, if fewer) and the rest."""
        at = min(self.start + size, self.end)
        return replace(self, end=at), replace(self, start=at)

    def evenly(self, most: int) -> Iterator[Range]:
        """Yield it in parts of about the same size: no part is much smaller than the others."""
        count = -(-len(self) // most)
        cuts = [self.start + len(self) * n // count for n in range(count + 1)]
        for start, end in pairwise(cuts):
            yield replace(self, start=start, end=end)


class Writing(ABC):
    """What all writers have in common: they are open, closed, or aborted."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self.key = storage, key
        self._open = True
        self._written: Written | None = None
        self._moved = self._size = 0

    def write(self, data: Buffer) -> None:
        """Add bytes."""
        with self._or_abort():
            size = memoryview(data).nbytes
            self._size += size
            self._moved += size
            if size:
                self._write(data)

    def copy(self, key: str, start: int, end: int, etag: str | None) -> None:
        """Add bytes of another object."""
        if not 0 <= start <= end:
            raise ValueError(f"expected a range, found {start} to {end}")
        with self._or_abort():
            self._size += end - start
            if end > start:
                self._copy(Range(key, start, end, etag))

    def close(self) -> Written:
        """Make the object visible."""
        if self._written is None:
            with self._or_abort():
                self._written = self._finish()
            self._open = False
        return self._written

    def abort(self) -> None:
        """Leave nothing behind."""
        if not self._open:
            return
        self._open = False
        try:
            self._drop()
        except PipelineError as error:
            # Whatever made the caller give up matters more.
            _log.warning("an unfinished upload stays: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._open:
            self.close()

    @contextmanager
    def _or_abort(self) -> Iterator[None]:
        if not self._open:
            raise ValueError(f"'{self.key}' is not being written any more")
        try:
            yield
        except BaseException:
            self.abort()
            raise

    def _pull(self, wanted: Range) -> Iterator[memoryview]:
        """Yield a range's bytes, read piece by piece."""
        while wanted:
            piece, wanted = wanted.split(PART)
            data = self._storage.read_range(piece.key, piece.start, piece.end, etag=piece.etag)
            if len(data) != len(piece):
                found = f"expected bytes {piece.start} to {piece.end}, found {len(data)} bytes"
                raise StorageFailed(self._storage.root, piece.key, found)
            yield data

    def _result(self, *, verified: bool = False, etag: str | None = None) -> Written:
        """Look at the object, which is to have this ETag (None: nobody can know it).

        Raises:
            StorageFailed: its size or its ETag is another.
        """
        found = self._storage.look(self.key)
        if found is None or found.size != self._size:
            told = f"expected {self._size} bytes as written, found {found and found.size}"
            raise StorageFailed(self._storage.root, self.key, told)
        if etag is not None and (found.etag or "").strip('"') != etag:
            told = f"expected the ETag {etag} of what was sent, found {found.etag}"
            raise StorageFailed(self._storage.root, self.key, told)
        return Written(self.key, found.size, found.etag, self._moved, verified)

    @abstractmethod
    def _write(self, data: Buffer) -> None: ...

    @abstractmethod
    def _copy(self, wanted: Range) -> None: ...

    @abstractmethod
    def _finish(self) -> Written: ...

    @abstractmethod
    def _drop(self) -> None: ...


class StreamWriter(Writing):
    """Writes through obstore, for stores that are neither S3 nor a local folder."""

    def __init__(self, storage: Storage, key: str, stream: Any) -> None:
        super().__init__(storage, key)
        self._stream = stream

    def _write(self, data: Buffer) -> None:
        # obstore keeps what it is given, which the caller may change or be waiting to let go.
        with self._storage.naming(self.key):
            self._stream.write(data if isinstance(data, bytes) else bytes(data))

    def _copy(self, wanted: Range) -> None:
        for data in self._pull(wanted):
            self._moved += len(data)
            with self._storage.naming(self.key):
                self._stream.write(data)

    def _finish(self) -> Written:
        with self._storage.naming(self.key):
            self._stream.close()
        return self._result()

    def _drop(self) -> None:
        # A stream that nobody closes or holds removes what it has staged.
        self._stream = None


class FileWriter(Writing):
    """Writes a local file beside its name, and gives it that name in the end.

    The kernel copies ranges of other files. Through obstore's own writer the bytes would be copied
    twice more on their way.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        super().__init__(storage, key)
        self._path = Path(storage.root, key).absolute()
        #: Named like what obstore has not finished writing: ``Storage.staged`` finds both.
        self._staged = self._path.with_name(f"{self._path.name}#{os.getpid()}")
        with storage.naming(key):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._staged.open("wb", buffering=0)

    def _write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        with self._storage.naming(self.key):
            while view:
                view = view[self._file.write(view) :]

    def _copy(self, wanted: Range) -> None:
        if sys.platform != "linux":  # elsewhere it sends to sockets only
            for data in self._pull(wanted):
                self._moved += len(data)
                self._write(data)
            return
        self._check_version(wanted)
        source = Path(self._storage.root, wanted.key)
        with self._storage.naming(wanted.key), source.open("rb", buffering=0) as file:
            self._send(file.fileno(), wanted)
        self._check_version(wanted)

    def _send(self, source: int, wanted: Range) -> None:
        at = wanted.start
        while at < wanted.end:
            sent = os.sendfile(self._file.fileno(), source, at, wanted.end - at)
            if sent == 0:
                sent = at - wanted.start
                found = f"expected bytes {wanted.start} to {wanted.end}, found {sent} bytes"
                raise StorageFailed(self._storage.root, wanted.key, found)
            at += sent

    def _check_version(self, wanted: Range) -> None:
        if wanted.etag is None:
            return
        found = self._storage.look(wanted.key)
        if found is None:
            raise ObjectNotFound(self._storage.root, wanted.key)
        if found.etag != wanted.etag:
            raise ObjectChanged(self._storage.root, wanted.key, wanted.etag, found.etag)

    def _finish(self) -> Written:
        with self._storage.naming(self.key):
            self._file.close()
            self._staged.replace(self._path)
        return self._result()

    def _drop(self) -> None:
        self._file.close()
        self._staged.unlink(missing_ok=True)
