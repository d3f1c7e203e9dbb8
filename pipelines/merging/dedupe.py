"""Rows whose ``dedupeHash`` came before in a merge: found by reading that column alone.

Rows are compared by 128 bits of a hash of their ``dedupeHash``, in passes over ranges of it, so
that memory stays bounded whatever the number of rows. A row without a hash is never a duplicate.

Source: campaign-workers, "Dedupe Hashing".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh

from pipelines.lake import Lake, LakeSettings
from pipelines.merging import bitmap
from pipelines.merging.ahead import read_ahead
from pipelines.merging.bad import BAD, problem_of
from pipelines.merging.feed import Feed, stretches
from pipelines.merging.fragment import Target, path_of
from pipelines.merging.parts import Piece, Problem
from pipelines.merging.rewrite import WholeBlocks
from schemas.codec import Decoder
from schemas.container import put_long, read_header
from schemas.registry import record_type

COLUMN = "dedupeHash"
#: Different hashes that one pass holds, of 24 bytes each; several passes are made at a time.
_HASHES_A_PASS = 300_000
#: Rows that are read before repeated ones are told from them.
_ROWS_AT_ONCE = 100_000
#: Bytes that a row is taken to have where nobody knows how many rows there are.
_BYTES_A_ROW = 128

Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Found:
    """Of each piece, by its place in the order, the rows that came before, as ``Piece.dropped``.

    ``too_many`` says that the range has more different hashes than a pass may hold.
    """

    dropped: dict[int, bytes]
    problems: tuple[Problem, ...] = ()
    too_many: bool = False


@dataclass(frozen=True, slots=True)
class FindDuplicates:
    """Finds the duplicates of one range of hashes; ``of`` ranges are all."""

    lake: LakeSettings
    record_type: str
    codec: str
    schema_policy: str
    pieces: tuple[Piece, ...]
    of: int

    def __call__(self, number: int) -> Found:
        """Return the duplicates among the hashes of range ``number``."""
        lake = Lake(replace(self.lake, codec=self.codec))
        record = record_type(self.record_type)
        encoder = lake.encoder(record)
        target = Target(record, self.codec, encoder.sync, self.schema_policy)
        own = read_header(encoder.header)
        seen = _Seen()
        problems: list[Problem] = []
        every = (each for piece in self.pieces for each in stretches(piece))
        with closing(read_ahead(lake.storage, every)) as windows:
            for place, piece in enumerate(self.pieces):
                feed = Feed(piece, windows, own)
                try:
                    hashes = _hashes(feed, target, merged=piece.fragment is None)
                    for found in _of_range(hashes, place, number, self.of):
                        seen.add(found)
                except BAD as error:
                    problems.append(problem_of(lake.storage, piece, error))
                except _TooMany:
                    return Found({}, too_many=True)
                finally:
                    feed.close()
        try:
            return Found(seen.repeated(), tuple(problems))
        except _TooMany:
            return Found({}, too_many=True)


def passes(pieces: Sequence[Piece]) -> int:
    """Return into how many ranges the hashes of some pieces are cut."""
    rows = sum(_rows(piece) for piece in pieces)
    return max(1, -(-rows // _HASHES_A_PASS))


def _rows(piece: Piece) -> int:
    if piece.segment is not None:
        return piece.segment.records
    known = piece.fragment.records if piece.fragment else None
    return piece.size // _BYTES_A_ROW if known is None else known


def _hashes(feed: Feed, target: Target, *, merged: bool) -> Iterator[pl.Series]:
    """Yield the hashes of a piece, block by block, in order; none where it has no such field."""
    feed.open()
    _, written = path_of(feed.header, target, merged=merged)
    names = [field["name"] for field in written.schema["fields"]]
    decoder = Decoder(feed.header)
    blocks = WholeBlocks(feed.header, feed.began)
    for chunk, _ in feed.chunks():
        for block, payload in blocks.feed(chunk):
            if COLUMN not in names:
                continue
            head = put_long(block.rows) + put_long(len(payload))
            whole = b"".join([head, payload, feed.header.sync])
            yield decoder.decode(whole, [COLUMN], block.offset)[COLUMN]
    blocks.end()


def _of_range(found: Iterable[pl.Series], place: int, number: int, of: int) -> Iterator[Numbers]:
    """Yield, for a piece's hashes of the range, arrays of hash, hash, and place with row."""
    row = 0
    for values in found:
        frame = values.to_frame(COLUMN)
        text = plh.col(COLUMN).nchash
        hashed = frame.select(a=text.xxh3_64(), b=text.wyhash(), kept=pl.col(COLUMN).is_not_null())
        a, b = (hashed[name].cast(pl.UInt64).fill_null(0).to_numpy() for name in ("a", "b"))
        mine = hashed["kept"].to_numpy() & (a % np.uint64(of) == number)
        rows = np.flatnonzero(mine).astype(np.uint64) + np.uint64(row)
        if len(rows):
            at = rows + (np.uint64(place) << np.uint64(40))
            yield np.stack([a[mine], b[mine], at])
        row += len(values)


class _TooMany(Exception):
    """A range has more different hashes than a pass may hold."""


class _Seen:
    """Hashes that were seen, each with the first row that has it, and all other rows.

    The rows of a piece that turns out bad stay in: whoever asks begins anew without it.
    """

    def __init__(self) -> None:
        self._first: Numbers = np.empty((3, 0), np.uint64)
        self._new: list[Numbers] = []
        self._rows = 0
        self._repeated: dict[int, bytearray] = {}

    def add(self, found: Numbers) -> None:
        """Take hashes with their rows, later than all that came before; raises _TooMany."""
        self._new.append(found)
        self._rows += found.shape[1]
        if self._rows >= _ROWS_AT_ONCE:
            self._settle()

    def repeated(self) -> dict[int, bytes]:
        """Return the rows whose hashes came before, by piece; raises _TooMany."""
        self._settle()
        return {place: bytes(bits) for place, bits in sorted(self._repeated.items())}

    def _settle(self) -> None:
        """Tell the first rows of what is new from those that repeat them or earlier ones."""
        if not self._new:
            return
        table = np.concatenate([self._first, *self._new], axis=1)
        self._new.clear()
        self._rows = 0
        a, b, _ = table
        table = table[:, np.lexsort((b, a))]  # stable: of equal hashes the first row comes first
        same = np.zeros(table.shape[1], dtype=np.bool_)
        same[1:] = (table[:2, 1:] == table[:2, :-1]).all(axis=0)
        self._tell(table[2, same])
        self._first = table[:, ~same]
        if self._first.shape[1] > _HASHES_A_PASS:
            raise _TooMany

    def _tell(self, at: npt.NDArray[np.uint64]) -> None:
        places, rows = at >> np.uint64(40), at & np.uint64((1 << 40) - 1)
        for place in np.unique(places).tolist():
            bitmap.add(self._repeated.setdefault(place, bytearray()), rows[places == place])
