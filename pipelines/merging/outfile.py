"""The files that an output becomes: one, or more where what is made anew outgrows the limit."""

from __future__ import annotations

from dataclasses import replace

from pipelines.merging.errors import NotVerified
from pipelines.merging.parts import Kind, MergedFile, Path, Piece, Segment, SourceSaid
from pipelines.merging.receipts import receipt_key
from pipelines.merging.verify import check_seams, verify
from pipelines.storage import Storage
from pipelines.storage_writer import Writer
from schemas.codec import Encoder
from schemas.container import Buffer, read_header
from schemas.walk import BlockSum


class OutFiles:
    """Takes bytes and segments in order; ``files`` are those that are finished and verified."""

    def __init__(
        self, storage: Storage, place: str, kind: Kind, encoder: Encoder, limit: int
    ) -> None:
        """``place`` is the key of the first file without its ending."""
        self._storage, self._place, self._kind = storage, place, kind
        self._encoder, self._limit = encoder, limit
        self._codec = read_header(encoder.header).codec
        self.files: list[tuple[MergedFile, tuple[SourceSaid, ...]]] = []
        self.moved = 0
        self.at = 0
        self._writer: Writer | None = None
        self._key = ""
        self._segments: list[Segment] = []
        self._sources: dict[str, SourceSaid] = {}
        self._seams: list[int] = []
        self._headed = False

    @property
    def written(self) -> tuple[int, int]:
        """Where writing is: the number of the file, and the position in it."""
        return len(self.files), self.at

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more fit into the file that is open."""
        return self._writer is None or self.at + size <= self._limit

    def open(self, size: int) -> None:
        """Make room for so many bytes: in the file that is open, else in the next one."""
        if not self.has_room(size):
            self.close()
        if self._writer is None:
            roll = f".{len(self.files)}" if self.files else ""
            self._key = f"{self._place}{roll}.avro"
            self._writer = self._storage.writer(self._key)
            self._headed = False
            self.at = len(self._encoder.header)

    def write(self, data: Buffer) -> None:
        """Add bytes to the file that is open."""
        self._with_header().write(data)
        self.at += len(data)

    def copy(self, file: MergedFile, start: int, end: int) -> None:
        """Let the storage add bytes of another merged file."""
        assert self._writer is not None, "opened before"
        if not self._headed and self._begins_alike(file, start):
            self._headed = True
            self._writer.copy(file.key, 0, end, file.etag)
        else:
            self._with_header().copy(file.key, start, end, file.etag)
        self.at += end - start
        self._seams.append(self.at)

    def _with_header(self) -> Writer:
        """Return the writer of the file that is open; its header is written by now."""
        assert self._writer is not None, "opened before"
        if not self._headed:
            self._headed = True
            self._writer.write(self._encoder.header)
        return self._writer

    def _begins_alike(self, file: MergedFile, start: int) -> bool:
        """Say whether a file has the wanted header up to ``start``, so that it need not be sent.

        On S3, a header that is sent alone would take 5 MiB of what is copied with it.
        """
        header = self._encoder.header
        if not self._storage.is_s3 or start != len(header):
            return False
        return self._storage.read_range(file.key, 0, start, etag=file.etag) == header

    def add(self, segment: Segment) -> None:
        """Say what the bytes just written are."""
        self._segments.append(segment)

    def say_merged(
        self, piece: Piece, read: BlockSum, path: Path = "whole", dropped: int = 0
    ) -> None:
        """Add what was read of a segment to what is said of the merged file it comes from."""
        file = piece.file
        assert file is not None, "a piece of a merged file"
        self.say(
            SourceSaid(
                file.key,
                file.size,
                file.etag,
                read.records,
                self._encoder.record_type.fingerprint,
                read.hex,
                path,
                dropped,
            )
        )

    def say(self, source: SourceSaid) -> None:
        """Add rows of a source to what the receipt says of it."""
        before = self._sources.get(source.key)
        if before is not None:
            both = BlockSum.of(before.digest) + BlockSum.of(source.digest)
            source = replace(
                source,
                records=before.records + source.records,
                digest=both.hex,
                path=before.path if source.path == "whole" else source.path,
                duplicates=before.duplicates + source.duplicates,
            )
        self._sources[source.key] = source

    def close(self) -> None:
        """Finish the file that is open, and check it.

        Raises:
            NotVerified: it is not what was written.
        """
        if self._writer is None:
            return
        written = self._with_header().close()
        self._writer = None
        self.moved += written.moved
        if written.size != self.at:
            raise NotVerified(self._key, f"wrote {self.at:,} bytes, found {written.size:,}")
        segments, sources = tuple(self._segments), tuple(self._sources.values())
        self._segments, self._sources = [], {}
        file = MergedFile(
            self._key,
            self._kind,
            written.size,
            written.etag,
            self._encoder.record_type.version,
            self._codec,
            segments,
            receipt_key(self._key),
        )
        seams, self._seams = self._seams, []
        if written.verified:
            check_seams(self._storage, file, seams, self._encoder.sync)
        else:
            verify(self._storage, file, self._encoder.header, self._encoder.sync)
        self.files.append((file, sources))

    def abort(self) -> None:
        """Leave nothing of the file that is open."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
