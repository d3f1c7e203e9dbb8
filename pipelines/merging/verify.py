"""A merged file read back and compared with what its sources were, segment by segment."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.merging.ahead import Stretch, read_ahead
from pipelines.merging.errors import NotVerified
from pipelines.merging.parts import MergedFile, Segment
from pipelines.storage import Storage
from schemas.errors import CorruptBlock
from schemas.walk import BlockWalk


def verify(storage: Storage, file: MergedFile, header: bytes, sync: bytes) -> None:
    """Check that a file is its header and its segments, and nothing else.

    Every block's length and sync marker is looked at, and each segment's rows and multiset hash
    are compared with those of its source.

    Raises:
        NotVerified: something differs.
        StorageFailed: it cannot be read.
    """
    _check_layout(file, len(header))
    windows = read_ahead(storage, Stretch(file.key, 0, file.size).windows())
    check = _Check(file, header, sync)
    for window in windows:
        check.feed(window.stretch.start, window.data)
    check.end()


def check_seams(storage: Storage, file: MergedFile, seams: Sequence[int], sync: bytes) -> None:
    """Check that stretches that the storage copied begin and end where they are said to.

    They were pinned to a version that was verified before, so their ends are looked at, and not
    every byte again. ``seams`` are where such stretches end.

    Raises:
        NotVerified: there is no sync marker before an end.
        StorageFailed: it cannot be read.
    """
    ends = {segment.offset + segment.length for segment in file.segments if segment.length}
    for seam in seams:
        if seam not in ends or storage.read_range(file.key, seam - len(sync), seam) != sync:
            raise NotVerified(file.key, f"found no end of a block at byte {seam:,}")


def _check_layout(file: MergedFile, begin: int) -> None:
    at = begin
    for segment in file.segments:
        if segment.offset != at:
            raise NotVerified(
                file.key, f"found {segment.fragment} at byte {segment.offset}, not at {at}"
            )
        at += segment.length
    if at != file.size:
        raise NotVerified(file.key, f"found {file.size:,} bytes where its segments end at {at:,}")


class _Check:
    def __init__(self, file: MergedFile, header: bytes, sync: bytes) -> None:
        self._file, self._header, self._sync = file, header, sync
        self._segments = iter(file.segments)
        self._segment: Segment | None = None
        self._walk = BlockWalk(sync, 0)

    def feed(self, start: int, data: memoryview) -> None:
        """Take the bytes from ``start`` on."""
        known = self._header[start : start + len(data)]
        if data[: len(known)] != known:
            raise NotVerified(self._file.key, "its header is another")
        at, end = start + len(known), start + len(data)
        while at < end:
            segment = self._at(at)
            upto = min(end, segment.offset + segment.length)
            try:
                self._walk.feed(data[at - start : upto - start])
                if upto == segment.offset + segment.length:
                    self._compare(segment)
            except CorruptBlock as error:
                raise NotVerified(self._file.key, f"{segment.fragment}: {error}") from error
            at = upto

    def _at(self, at: int) -> Segment:
        if self._segment is None:
            self._segment = next(self._segments)
            self._walk = BlockWalk(self._sync, at)
        return self._segment

    def _compare(self, segment: Segment) -> None:
        found = self._walk.end()
        if (found.records, found.hex) != (segment.records, segment.digest):
            raise NotVerified(
                self._file.key,
                f"{segment.fragment}: wrote {segment.records:,} rows ({segment.digest[:12]}), "
                f"found {found.records:,} ({found.hex[:12]})",
            )
        self._segment = None

    def end(self) -> None:
        """Check that nothing is missing."""
        if self._segment is not None:
            raise NotVerified(self._file.key, f"found its end within {self._segment.fragment}")
        for segment in self._segments:
            self._walk = BlockWalk(self._sync, segment.offset)
            self._compare(segment)
