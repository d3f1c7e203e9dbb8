"""A fragment after its merge: from where it was, from the archive, or from its merged file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipelines.errors import ObjectNotFound
from pipelines.lake import Lake
from pipelines.ledger.ledger import Ledger
from pipelines.merging.errors import NotRecovered
from pipelines.merging.layout import archived
from pipelines.merging.parts import MergedFile, Segment
from pipelines.merging.receipts import read_receipts
from pipelines.merging.survey import published
from pipelines.storage import Storage

_CHUNK = 8 << 20
Held = tuple[MergedFile, Segment]


def read_fragment(lake: Lake, record: str, key: str) -> bytes:
    """Return the bytes of a fragment that was merged, wherever they are now.

    Raises:
        ObjectNotFound: it is in none of the three places.
        NotRecovered: its blocks in the merged file are not as it wrote them.
    """
    storage = lake.storage
    for place in (key, archived(key)):
        if storage.look(place) is not None:
            return storage.read(place)
    month = key.split("/")[3][:7]
    of_month = published(Ledger(storage), record, month)
    files = read_receipts(storage, of_month.details["receipts"]) if of_month else ()
    held = segments_of(files, key)
    if not held:
        raise ObjectNotFound(storage.root, key)
    file = held[0][0]
    header = storage.read_range(file.key, 0, file.segments[0].offset)
    blocks = [storage.read_range(f.key, s.offset, s.offset + s.length) for f, s in held]
    data = b"".join([header, *blocks])
    check_whole(key, held, len(data), hashlib.sha256(data).hexdigest())
    return data


def segments_of(files: Sequence[MergedFile], fragment: str) -> list[Held]:
    """Return where a generation holds the rows of a fragment, in their order."""
    held = [(f, s) for f in files for s in f.segments if s.fragment == fragment]
    return sorted(held, key=lambda each: each[1].start)


def check_whole(key: str, held: Sequence[Held], size: int, sha256: str) -> None:
    """Check that what was put together is the fragment that was merged.

    Raises:
        NotRecovered: it is not.
    """
    expected = held[0][1]
    if (size, sha256) != (expected.size, expected.sha256):
        paths = ", ".join(sorted({segment.path for _, segment in held}))
        raise NotRecovered(
            f"{key}: expected {expected.size:,} bytes of SHA-256 {expected.sha256 or 'unknown'}, "
            f"found {size:,} of {sha256}: the merge took its rows '{paths}', and the archive does "
            "not hold it"
        )


def put_back(storage: Storage, key: str, held: Sequence[Held], header: bytes) -> None:
    """Put a fragment back where it was before its merge; doing it again changes nothing.

    Raises:
        NotRecovered: it is not archived, and its merged file does not hold it as it was.
    """
    expected = held[0][1]
    found = storage.look(archived(key))
    if found is not None and found.size == expected.size:
        storage.copy(archived(key), key)
        return
    with storage.writer(key) as writer:
        writer.write(header)
        for file, segment in held:
            writer.copy(file.key, segment.offset, segment.offset + segment.length, file.etag)
    digest, size = hashlib.sha256(), 0
    written = storage.look(key)
    assert written is not None, "written just now"
    for start in range(0, written.size, _CHUNK):
        data = storage.read_range(key, start, min(start + _CHUNK, written.size))
        digest.update(data)
        size += len(data)
    try:
        check_whole(key, held, size, digest.hexdigest())
    except NotRecovered:
        storage.delete([key])
        raise
