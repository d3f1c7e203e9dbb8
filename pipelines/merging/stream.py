"""One piece on its way through this process: checked, and written as it is or made anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.merging.errors import NotVerified, Unmergeable
from pipelines.merging.feed import Feed
from pipelines.merging.fragment import Target, Written, path_of
from pipelines.merging.outfile import OutFiles
from pipelines.merging.parts import Path, Piece, Segment, SourceSaid
from pipelines.merging.rewrite import Rewriter, WholeBlocks
from schemas.compression import Undecodable, unpack
from schemas.walk import BlockSum, BlockWalk, block_digest


def stream(piece: Piece, feed: Feed, target: Target, out: OutFiles, *, check_crc: bool) -> int:
    """Write a piece's rows to ``out``, and return how many rows were read.

    A piece that fits one window is checked whole before any byte of it is written.

    Raises:
        Unmergeable, CorruptBlock, NotAnAvroFile: it must not be merged.
        ObjectNotFound, ObjectChanged: it is not what was planned.
        NotVerified: rows went missing.
    """
    feed.open()
    path, written = path_of(feed.header, target, merged=piece.fragment is None)
    walk = BlockWalk(feed.header.sync, feed.began, target.sync)
    if piece.dropped or path in ("repacked", "rewritten"):
        path = "rewritten" if piece.dropped else path
        rewriter = Rewriter(feed.header, written, target, piece.dropped)
        segments, dropped = _Anew(piece, feed, out, rewriter, written, path).run(walk)
    else:
        segments, dropped = _verbatim(piece, feed, walk, out, path, check_crc=check_crc), 0
        _say(piece, walk.sum, written, path, 0, out)
    kept = sum(segment.records for segment in segments)
    if walk.sum.records != kept + dropped:
        found = f"read {walk.sum.records:,} rows, wrote {kept:,}, left out {dropped:,}"
        raise NotVerified(piece.key, found)
    return walk.sum.records


def _verbatim(
    piece: Piece, feed: Feed, walk: BlockWalk, out: OutFiles, path: Path, *, check_crc: bool
) -> list[Segment]:
    """Write the blocks as they are, but for the sync marker where the file has another."""
    payloads = WholeBlocks(feed.header, feed.began) if check_crc else None
    start: int | None = None
    for chunk, last in feed.chunks():
        data = list(walk.through(chunk))
        if payloads is not None:
            _check_payloads(payloads, chunk, feed.header.codec, last=last)
        if last:
            walk.end()
            _check_known(piece, feed, walk.sum)
        if start is None:
            out.open(piece.size)
            start = out.at
        for each in data:
            out.write(each)
    assert start is not None, "a file has at least one chunk"
    segment = _segment(piece, feed, start, out.at, walk.sum, path)
    out.add(segment)
    return [segment]


def _check_payloads(payloads: WholeBlocks, chunk: memoryview, codec: str, *, last: bool) -> None:
    """Unpack every block: that is where snappy's checksums are looked at."""
    for block, payload in payloads.feed(chunk):
        try:
            unpack(payload, codec)
        except Undecodable as error:
            raise Unmergeable(f"block at byte {block.offset}: {error}") from error
    if last:
        payloads.end()


class _Anew:
    """Blocks that are made anew; where a file is full, the segment ends with it.

    The receipt of each file is told of those of the source's rows that it took.
    """

    def __init__(
        self,
        piece: Piece,
        feed: Feed,
        out: OutFiles,
        rewriter: Rewriter,
        written: Written,
        path: Path,
    ) -> None:
        self._piece, self._feed, self._out = piece, feed, out
        self._rewriter, self._written, self._path = rewriter, written, path
        self._segments: list[Segment] = []
        self._began, self._start, self._sum = feed.began, -1, BlockSum()
        self._dropped = 0
        self._untold, self._untold_dropped = BlockSum(), 0

    def run(self, walk: BlockWalk) -> tuple[list[Segment], int]:
        """Return the segments that were written, and how many rows were left out."""
        blocks = WholeBlocks(self._feed.header, self._feed.began)
        for chunk, last in self._feed.chunks():
            walk.feed(chunk)
            if last:
                walk.end()
                _check_known(self._piece, self._feed, walk.sum)
            for block, payload in blocks.feed(chunk):
                made = self._rewriter.block(block, payload)
                if len(made.data):
                    self._write(made.data, block.offset)
                self._untold += BlockSum(block.rows, 1, block_digest(block.rows, payload))
                self._untold_dropped += made.dropped
                self._dropped += made.dropped
        blocks.end()
        self._end_segment()
        if not self._segments:
            self._add_nothing()
        return self._segments, self._dropped

    def _add_nothing(self) -> None:
        """Add a segment without rows: a fragment is merged once a segment names it."""
        self._out.open(0)
        self._start = self._out.at
        self._end_segment()

    def _write(self, data: bytes, began: int) -> None:
        if not self._out.has_room(len(data)):
            self._end_segment()
        self._out.open(len(data))
        if self._start < 0:
            self._start, self._began, self._sum = self._out.at, began, BlockSum()
        walk = BlockWalk(self._rewriter.sync, 0)
        walk.feed(data)
        self._sum += walk.end()
        self._out.write(data)

    def _end_segment(self) -> None:
        if self._start < 0:
            return
        segment = _segment(
            *(self._piece, self._feed, self._start, self._out.at, self._sum, self._path),
            began=self._began,
        )
        self._out.add(segment)
        self._segments.append(segment)
        self._start = -1
        read, dropped = self._untold, self._untold_dropped
        _say(self._piece, read, self._written, self._path, dropped, self._out)
        self._untold, self._untold_dropped = BlockSum(), 0


def _check_known(piece: Piece, feed: Feed, found: BlockSum) -> None:
    """Compare a whole file with what the ledger says of it, a segment with its receipt."""
    fragment, segment = piece.fragment, piece.segment
    if segment is not None and (found.records, found.hex) != (segment.records, segment.digest):
        raise Unmergeable(
            f"expected {segment.records:,} rows ({segment.digest[:12]}), "
            f"found {found.records:,} ({found.hex[:12]})"
        )
    if fragment is None or piece.start is not None:
        return
    if fragment.sha256 is not None and feed.sha256 != fragment.sha256:
        raise Unmergeable(f"expected bytes of SHA-256 {fragment.sha256}, found {feed.sha256}")
    if fragment.records is not None and found.records != fragment.records:
        raise Unmergeable(f"expected {fragment.records:,} rows, found {found.records:,}")


def _segment(
    piece: Piece,
    feed: Feed,
    start: int,
    end: int,
    summed: BlockSum,
    path: Path,
    began: int | None = None,
) -> Segment:
    if piece.segment is not None:
        moved = 0 if began is None else began - feed.began
        return replace(
            piece.segment,
            start=piece.segment.start + moved,
            offset=start,
            length=end - start,
            records=summed.records,
            digest=summed.hex,
            path=path,
        )
    fragment = piece.fragment
    assert fragment is not None, "a piece is of a fragment or of a merged file"
    return Segment(
        fragment=fragment.key,
        day=fragment.day,
        size=fragment.size,
        sha256=fragment.sha256,
        etag=fragment.etag,
        start=feed.began if began is None else began,
        offset=start,
        length=end - start,
        records=summed.records,
        digest=summed.hex,
        path=path,
    )


def _say(
    piece: Piece, read: BlockSum, written: Written, path: Path, dropped: int, out: OutFiles
) -> None:
    """Tell the receipt of the source."""
    fragment = piece.fragment
    if fragment is None:
        out.say_merged(piece, read, path, dropped)
        return
    out.say(
        SourceSaid(
            fragment.key,
            fragment.size,
            fragment.etag,
            read.records,
            written.fingerprint,
            read.hex,
            path,
            dropped,
        )
    )


def bad_part(pieces: Sequence[Piece], key: str) -> tuple[Piece, ...]:
    """Return the pieces of all other fragments: a part of a bad file is as bad as the whole."""
    return tuple(piece for piece in pieces if piece.key != key)
