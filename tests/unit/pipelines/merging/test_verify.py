from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.merging import ahead
from pipelines.merging.errors import NotVerified
from pipelines.merging.parts import MergedFile
from pipelines.merging.verify import verify
from pipelines.storage_writer import FileWriter, Written
from schemas.container import Buffer
from tests.unit.pipelines.merging.lakes import SmallLake, foreign, rows


def merged(small: SmallLake) -> MergedFile:
    """Return a file of three segments, the second without rows."""
    sources = [rows(range(8)), [], rows(range(8, 12))]
    fragments = [small.put(str(i), foreign(some)) for i, some in enumerate(sources)]
    [(file, _)] = small.merge(fragments).files
    return file


def check(small: SmallLake, file: MergedFile) -> None:
    encoder = small.lake.encoder(small.record)
    verify(small.lake.storage, file, encoder.header, encoder.sync)


def rewritten(small: SmallLake, file: MergedFile, data: bytes) -> MergedFile:
    small.lake.storage.write(file.key, [data])
    return replace(file, size=len(data))


@pytest.mark.parametrize("window", [7, 100, 1 << 20])
def test_what_was_written_is_found_again(
    small: SmallLake, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = merged(small)
    monkeypatch.setattr(ahead, "WINDOW", window)
    check(small, file)


def test_every_changed_byte_is_noticed(small: SmallLake) -> None:
    file = merged(small)
    data = small.data(file)
    for at in range(len(data)):
        rewritten(small, file, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(NotVerified, match=r"out\.avro: expected every row"):
            check(small, file)


def test_a_missing_segment_is_noticed(small: SmallLake) -> None:
    file = merged(small)
    data, [first, _, last] = small.data(file), file.segments
    without_last = rewritten(small, file, data[: last.offset])
    with pytest.raises(NotVerified, match="where its segments end at"):
        check(small, without_last)
    with pytest.raises(NotVerified, match=r"wrote 4 rows .* found 0"):
        check(small, file)
    rewritten(small, file, data[: first.offset] + data[last.offset :])
    with pytest.raises(NotVerified, match="expected every row"):
        check(small, file)


def test_a_file_that_ends_within_a_segment_is_noticed(small: SmallLake) -> None:
    file = merged(small)
    rewritten(small, file, small.data(file)[:-20])
    with pytest.raises(NotVerified, match=r"found its end within fragments/.*/2\.avro"):
        check(small, file)


def test_an_additional_segment_is_noticed(small: SmallLake) -> None:
    file = merged(small)
    data, last = small.data(file), file.segments[-1]
    twice = rewritten(small, file, data + data[last.offset :])
    with pytest.raises(NotVerified, match="where its segments end at"):
        check(small, twice)


def test_segments_that_changed_places_are_noticed(small: SmallLake) -> None:
    file = merged(small)
    data, [first, _, last] = small.data(file), file.segments
    rewritten(
        small, file, data[: first.offset] + data[last.offset :] + data[first.offset : last.offset]
    )
    with pytest.raises(NotVerified):
        check(small, file)


@pytest.mark.parametrize("change", ["offset", "length", "records", "digest"])
def test_a_segment_that_says_something_else_is_noticed(small: SmallLake, change: str) -> None:
    file = merged(small)
    [first, *rest] = file.segments
    other = {"digest": "0" * 32}.get(change, getattr(first, change, 0) and first.records + 1)
    changed = replace(file, segments=(replace(first, **{change: other}), *rest))
    with pytest.raises(NotVerified):
        check(small, changed)


def test_a_segment_without_bytes_has_no_rows(small: SmallLake) -> None:
    file = merged(small)
    [first, empty, last] = file.segments
    lying = replace(empty, records=1)
    for segments in ((first, lying, last), (first, last, replace(lying, offset=file.size))):
        with pytest.raises(NotVerified, match=r"wrote 1 rows .* found 0"):
            check(small, replace(file, segments=segments))


class Spoiling(FileWriter):
    """A writer that loses a byte of what it is given, and says nothing."""

    def write(self, data: Buffer) -> None:
        super().write(bytes(data).replace(b"code-5", b"code-6"))


class Shortening(FileWriter):
    """A writer that holds what it was sent for whole, and is not."""

    def close(self) -> Written:
        return replace(super().close(), size=10, verified=True)


@pytest.mark.parametrize("writer", [Spoiling, Shortening])
def test_a_file_is_checked_when_it_is_finished(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch, writer: type[FileWriter]
) -> None:
    monkeypatch.setattr("pipelines.storage.FileWriter", writer)
    with pytest.raises(NotVerified):
        merged(small)
