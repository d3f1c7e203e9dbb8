"""A piece's bytes as they are read: its header, then its blocks, window by window."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipelines.merging.ahead import WINDOW, Stretch, Window
from pipelines.merging.parts import Piece
from schemas.container import Header, read_header
from schemas.errors import NotAnAvroFile, TruncatedHeader

#: A header is looked for in so many bytes where a stretch does not begin with it.
_HEADER = 1 << 20

Windows = Iterator[Window]


def stretches(piece: Piece) -> Iterator[Stretch]:
    """Yield what is read of a piece, its header first if that lies apart."""
    if piece.segment is not None:
        assert piece.file is not None, "a segment is of a merged file"
        first, end = piece.segment.offset, piece.segment.offset + piece.segment.length
        if not piece.same:
            yield Stretch(piece.file.key, 0, min(_HEADER, piece.file.size), piece.file.etag)
        yield from Stretch(piece.file.key, first, end, piece.file.etag).windows()
        return
    fragment = piece.fragment
    assert fragment is not None, "a piece is of a fragment or of a merged file"
    if piece.start is None:
        if fragment.size:
            whole = fragment.sha256 is not None and fragment.size <= WINDOW
            yield from Stretch(fragment.key, 0, fragment.size, fragment.etag, whole).windows()
        return
    yield Stretch(fragment.key, 0, min(_HEADER, fragment.size), fragment.etag)
    yield from Stretch(fragment.key, piece.start, piece.end or 0, fragment.etag).windows()


class Feed:
    """One piece's share of the windows that are read ahead; all of it is taken, whatever happens.

    ``header`` says how its blocks are written, ``began`` where in its file the first of them is.
    """

    def __init__(self, piece: Piece, windows: Windows, own_header: Header) -> None:
        """``own_header`` is that of merged files, whose pieces begin behind it."""
        self._piece, self._windows = piece, windows
        self._left = sum(1 for _ in stretches(piece))
        known = piece.fragment is not None and piece.fragment.sha256 is not None
        self._sha = hashlib.sha256() if known and piece.start is None else None
        self._found: str | None = None
        self._own = own_header
        self._first = memoryview(b"")
        self.moved = 0
        self.header = own_header
        self.began = 0

    def open(self) -> None:
        """Read the header.

        Raises:
            NotAnAvroFile: there is none.
            ObjectNotFound, ObjectChanged: the file is not what was planned.
        """
        piece = self._piece
        if piece.segment is not None and piece.same:
            self.began = piece.segment.offset
            return
        if not self._left:
            raise NotAnAvroFile("expected an Avro file, found no bytes")
        data = self._next()
        while True:
            try:
                self.header = read_header(data)
                break
            except TruncatedHeader:
                if not self._left or self._apart is not None:
                    raise
                data = memoryview(bytes(data) + bytes(self._next()))
        self.began = self.header.length if self._apart is None else self._apart
        if self._apart is None:
            self._first = data[self.header.length :]

    @property
    def _apart(self) -> int | None:
        """Where the piece begins, if that is not behind its file's header."""
        piece = self._piece
        return piece.start if piece.segment is None else piece.segment.offset

    def chunks(self) -> Iterator[tuple[memoryview, bool]]:
        """Yield the bytes behind the header, with whether they are the last."""
        if len(self._first) or not self._left:
            yield self._first, not self._left
        while self._left:
            data = self._next()
            yield data, not self._left

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the file, once all of it was read; None where nobody knows another."""
        if self._sha is None or self._left:
            return None
        return self._found or self._sha.hexdigest()

    def close(self) -> None:
        """Leave what was read ahead: the next piece begins behind it."""
        while self._left:
            self._left -= 1
            next(self._windows)

    def _next(self) -> memoryview:
        self._left -= 1
        window = next(self._windows)
        data = window.data
        self.moved += len(data)
        self._found = window.sha256
        if self._sha is not None and self._found is None:
            self._sha.update(data)
        return data
