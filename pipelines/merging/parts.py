"""What merged files are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from schemas.walk import BlockSum

#: How a fragment's rows came into a merged file: its body as it was; its blocks under the lake's
#: sync marker; its blocks compressed anew; its rows decoded and encoded anew.
Path = Literal["whole", "blocks", "repacked", "rewritten"]
Kind = Literal["daily", "monthly"]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A file that a run, or another program, wrote, and that is not merged yet.

    ``version`` tells whether it is still what was planned: its SHA-256 where the ledger knows it,
    else its ETag. ``records`` is None where only the file itself knows.
    """

    key: str
    program: str
    day: str
    size: int
    etag: str | None
    sha256: str | None = None
    records: int | None = None

    @property
    def version(self) -> str | None:
        """What a plan says of it."""
        return self.sha256 or self.etag


@dataclass(frozen=True, slots=True)
class Segment:
    """A fragment's rows in a merged file: whole blocks, ``length`` bytes of it from ``offset``.

    ``size``, ``etag`` and ``sha256`` (None where the ledger does not know it) are the fragment's.
    ``digest`` is the multiset hash of the blocks (schemas/walk.py). A fragment that is too large
    for one file has several segments, in the order of ``start``: where in the fragment the
    segment's blocks began.
    """

    fragment: str
    day: str
    size: int
    sha256: str | None
    etag: str | None
    start: int
    offset: int
    length: int
    records: int
    digest: str
    path: Path


@dataclass(frozen=True, slots=True)
class MergedFile:
    """A file of a generation; its segments lie one behind the other, from its header to its end.

    ``version`` is that of its schema among those of its record type.
    """

    key: str
    kind: Kind
    size: int
    etag: str | None
    version: int
    codec: str
    segments: tuple[Segment, ...]
    receipt: str

    @property
    def records(self) -> int:
        """Rows of all segments."""
        return sum(segment.records for segment in self.segments)

    @property
    def digest(self) -> str:
        """The multiset hash of all its blocks."""
        return sum((BlockSum.of(s.digest) for s in self.segments), BlockSum()).hex

    @property
    def days(self) -> frozenset[str]:
        """The days that the file has rows of."""
        return frozenset(segment.day for segment in self.segments)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes into a merged file: a fragment, or a segment of a file that was merged before.

    ``same`` says that the merged file is of the schema and the codec that are wanted.
    ``start`` and ``end`` are the bytes of a large fragment that are meant, whole blocks of it; None
    for all of it. ``dropped`` are the positions of rows that are left out as duplicates, a set
    of ``bitmap``.
    """

    fragment: Fragment | None = None
    file: MergedFile | None = None
    segment: Segment | None = None
    same: bool = True
    start: int | None = None
    end: int | None = None
    dropped: bytes = b""

    @property
    def key(self) -> str:
        """The fragment whose rows these are."""
        if self.fragment is not None:
            return self.fragment.key
        assert self.segment is not None, "a piece is of a fragment or of a merged file"
        return self.segment.fragment

    @property
    def day(self) -> str:
        """The day of its rows."""
        if self.fragment is not None:
            return self.fragment.day
        assert self.segment is not None, "a piece is of a fragment or of a merged file"
        return self.segment.day

    @property
    def size(self) -> int:
        """Its bytes, as far as they are known before it is read."""
        if self.fragment is not None:
            end = self.fragment.size if self.end is None else self.end
            return end - (self.start or 0)
        assert self.segment is not None, "a piece is of a fragment or of a merged file"
        return self.segment.length

    @property
    def copied(self) -> bool:
        """Whether the storage can copy it, so that nothing of it is read."""
        return self.segment is not None and self.same and not self.dropped

    @property
    def order(self) -> tuple[str, str, int]:
        """What pieces are sorted by, whatever file they come from."""
        start = self.segment.start if self.segment is not None else self.start or 0
        return self.day, self.key, start


@dataclass(frozen=True, slots=True)
class Output:
    """A merged file to be written; ``stem`` is its name without the hash of its content."""

    stem: str
    kind: Kind
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """About how large it will be, in bytes."""
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Problem:
    """A source that must not be merged: it stays where it is, and is named."""

    key: str
    version: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


@dataclass(frozen=True, slots=True)
class SourceSaid:
    """A source as receipts name it: a fragment, or a merged file of the former generation."""

    key: str
    size: int
    etag: str | None
    records: int
    fingerprint: str
    digest: str
    path: Path
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of one output: its files with their sources, and what had to be left out."""

    files: tuple[tuple[MergedFile, tuple[SourceSaid, ...]], ...]
    problems: tuple[Problem, ...] = field(default=())
    #: Bytes that went through this process, and seconds.
    moved: int = 0
    seconds: float = 0.0
    error: Exception | None = None


def total(sizes: Iterable[Fragment | Piece | MergedFile | Output]) -> int:
    """Return the bytes of several of them."""
    return sum(each.size for each in sizes)
