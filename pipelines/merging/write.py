"""Writing one output: the piece of work that engines spread.

It knows a lake and an output, and neither plan nor ledger. Bytes are streamed, checked on the way,
and read back. Doing it again writes the same bytes to the same place.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from pipelines.errors import PipelineError
from pipelines.lake import Lake, LakeSettings
from pipelines.merging.ahead import Stretch, read_ahead
from pipelines.merging.bad import BAD, problem_of
from pipelines.merging.feed import Feed, Windows, stretches
from pipelines.merging.fragment import Target
from pipelines.merging.outfile import OutFiles
from pipelines.merging.parts import Merged, Output, Piece, Problem
from pipelines.merging.stream import bad_part, stream
from pipelines.telling import tell_merged
from schemas.container import read_header
from schemas.registry import record_type
from schemas.walk import BlockSum

#: Progress is told of so many bytes.
_TOLD = 16 << 20


@dataclass(frozen=True, slots=True)
class WriteMerged:
    """Writes outputs of one month's next generation below ``location``."""

    lake: LakeSettings
    record_type: str
    location: str
    codec: str
    schema_policy: str
    limit_bytes: int
    check_crc: bool = False

    def __call__(self, output: Output) -> Merged:
        """Write one output; what went wrong with the storage or the check is in ``error``."""
        started = time.perf_counter()
        try:
            merged = self._merged(output)
        except PipelineError as error:
            merged = Merged((), error=error)
        return replace(merged, seconds=time.perf_counter() - started)

    def _merged(self, output: Output) -> Merged:
        lake = Lake(replace(self.lake, codec=self.codec))
        problems: list[Problem] = []
        pieces = output.pieces
        while True:
            attempt = _Attempt(self, lake, replace(output, pieces=pieces))
            try:
                attempt.run()
            except _Spoilt as spoilt:
                # Bytes of it are in the file already, so that is written anew without them.
                found = [*attempt.problems, spoilt.problem]
            else:
                told = (*problems, *attempt.problems)
                return Merged(tuple(attempt.out.files), told, attempt.moved)
            problems += found
            for problem in found:
                pieces = bad_part(pieces, problem.key)


class _Spoilt(Exception):
    """A piece turned out to be bad after some of its bytes were written."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class _Attempt:
    """One try to write an output."""

    def __init__(self, work: WriteMerged, lake: Lake, output: Output) -> None:
        record = record_type(work.record_type)
        encoder = lake.encoder(record)
        self._storage, self._pieces, self._work = lake.storage, output.pieces, work
        self._target = Target(record, work.codec, encoder.sync, work.schema_policy)
        self._header = read_header(encoder.header)
        place = f"{work.location}/{output.stem}"
        self.out = OutFiles(self._storage, place, output.kind, encoder, work.limit_bytes)
        self.problems: list[Problem] = []
        self._read = 0
        self._rows = self._bytes = 0

    @property
    def moved(self) -> int:
        """Bytes that went through this process."""
        return self._read + self.out.moved

    def run(self) -> None:
        """Write all pieces in order.

        Raises:
            _Spoilt: a piece is bad, and has to be left out of the output from the start.
            PipelineError: the storage failed, or what was written is not what was read.
        """
        try:
            with closing(read_ahead(self._storage, self._stretches())) as windows:
                for copied, pieces in _runs(self._pieces):
                    if copied:
                        self._copy(pieces)
                    else:
                        self._stream(pieces[0], windows)
            self.out.close()
        except BaseException:
            self.out.abort()
            raise

    def _stretches(self) -> Iterator[Stretch]:
        """Yield everything that goes through this process, in the order in which it is needed."""
        for copied, pieces in _runs(self._pieces):
            if not copied:
                yield from stretches(pieces[0])

    def _copy(self, pieces: Sequence[Piece]) -> None:
        """Let the storage copy segments that lie one behind the other in one merged file."""
        file, first, last = pieces[0].file, pieces[0].segment, pieces[-1].segment
        assert file is not None, "merged before"
        assert first is not None, "merged before"
        assert last is not None, "merged before"
        end = last.offset + last.length
        self.out.open(end - first.offset)
        moved = self.out.at - first.offset
        self.out.copy(file, first.offset, end)
        for piece in pieces:
            assert piece.segment is not None, "merged before"
            self.out.add(replace(piece.segment, offset=piece.segment.offset + moved))
            read = BlockSum(piece.segment.records, digest=int(piece.segment.digest, 16))
            self.out.say_merged(piece, read)
            self._told(piece, piece.segment.records)

    def _told(self, piece: Piece, rows: int) -> None:
        """Tell of progress now and then: there may be thousands of pieces."""
        self._rows += rows
        self._bytes += piece.size
        if self._bytes >= _TOLD:
            tell_merged(piece.day[:7], self._rows)
            self._rows = self._bytes = 0

    def _stream(self, piece: Piece, windows: Windows) -> None:
        """Take a piece through this process; a bad one is told, and leaves no trace."""
        before = self.out.written
        feed = Feed(piece, windows, self._header)
        try:
            rows = stream(piece, feed, self._target, self.out, check_crc=self._work.check_crc)
        except BAD as error:
            problem = problem_of(self._storage, piece, error)
            if self.out.written != before or piece.start is not None:
                raise _Spoilt(problem) from error
            self.problems.append(problem)
        else:
            self._told(piece, rows)
        finally:
            feed.close()
            self._read += feed.moved


def _runs(pieces: Sequence[Piece]) -> Iterator[tuple[bool, list[Piece]]]:
    """Yield pieces one by one, and those that the storage copies in one go together.

    With each comes whether the storage copies it.
    """
    run: list[Piece] = []
    for piece in pieces:
        if run and not _follows(run[-1], piece):
            yield True, run
            run = []
        if piece.copied:
            run.append(piece)
        else:
            yield False, [piece]
    if run:
        yield True, run


def _follows(one: Piece, other: Piece) -> bool:
    """Say whether a piece lies right behind another in the same merged file."""
    if one.segment is None or other.segment is None or not other.copied:
        return False
    same = one.file is not None and other.file is not None and one.file.key == other.file.key
    return same and other.segment.offset == one.segment.offset + one.segment.length
