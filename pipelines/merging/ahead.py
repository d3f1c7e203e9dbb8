"""Reading ahead: stretches of objects in order, several under way at a time."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pipelines.errors import PipelineError
from pipelines.storage import Storage

#: Bytes that are read at once, and that are held at most by one reader. Larger ones are no faster,
#: and what is freed of them the allocator keeps.
WINDOW = 4 << 20
_MOST = 3 * WINDOW
#: Small stretches are read one after the other by one thread, up to so many bytes.
_BATCH = 1 << 20
#: How many read at a time: a store that is far away answers many, a folder as fast as it reads.
_FAR, _NEAR = 8, 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes ``start`` to ``end`` (excluded) of an object, in the version of ``etag`` if given.

    ``whole`` says that it is all of the object, and that its SHA-256 is wanted.
    """

    key: str
    start: int
    end: int
    etag: str | None = None
    whole: bool = False

    def __len__(self) -> int:
        return self.end - self.start

    def windows(self) -> Iterator[Stretch]:
        """Cut it into what is read at once: no stretch at all where there are no bytes."""
        if 0 < len(self) <= WINDOW:
            yield self
            return
        for start in range(self.start, self.end, WINDOW):
            yield Stretch(self.key, start, min(start + WINDOW, self.end), self.etag)


@dataclass(frozen=True, slots=True)
class Window:
    """What was read of a stretch, or why it could not be; ``sha256`` is that of a whole object."""

    stretch: Stretch
    _data: memoryview
    error: PipelineError | None = None
    sha256: str | None = None

    @property
    def data(self) -> memoryview:
        """The bytes; raises what went wrong."""
        if self.error is not None:
            raise self.error
        return self._data


def read_ahead(storage: Storage, stretches: Iterable[Stretch]) -> Generator[Window, None, None]:
    """Yield each stretch as it was read, in order.

    At most ``_MOST`` bytes are held that were not asked for yet.
    """
    waiting: deque[tuple[int, Future[list[Window]]]] = deque()
    held = 0
    threads = _NEAR if storage.is_local else _FAR
    with ThreadPoolExecutor(threads, "muster read") as pool:
        try:
            for batch in _batches(stretches):
                size = sum(map(len, batch))
                while waiting and held + size > _MOST:
                    held -= waiting[0][0]
                    yield from waiting.popleft()[1].result()
                waiting.append((size, pool.submit(_read, storage, batch)))
                held += size
            while waiting:
                yield from waiting.popleft()[1].result()
        finally:
            for _, future in waiting:
                future.cancel()


def _batches(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    batch: list[Stretch] = []
    size = 0
    for stretch in stretches:
        if batch and size + len(stretch) > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(stretch)
        size += len(stretch)
    if batch:
        yield batch


def _read(storage: Storage, batch: Sequence[Stretch]) -> list[Window]:
    return [_read_one(storage, stretch) for stretch in batch]


def _read_one(storage: Storage, stretch: Stretch) -> Window:
    try:
        data = storage.read_range(stretch.key, stretch.start, stretch.end, etag=stretch.etag)
    except PipelineError as error:
        return Window(stretch, memoryview(b""), error)
    # Hashed here, beside the thread that writes: hashing a file whole is what costs most.
    sha = hashlib.sha256(data).hexdigest() if stretch.whole else None
    return Window(stretch, data, None, sha)
